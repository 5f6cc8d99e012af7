# A next version: the library and the SQL are built from these sources and from an update script as a real one would be, and
# installed into a copy of the PostgreSQL installation. What is there keeps working or says what to do; nothing is lost.
use strict;
use warnings;
use File::Copy qw(copy);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorDump;
use RotorTest;
use Test::More;

my $top  = $ENV{ROTOR_TOP} // '..';
my $work = PostgreSQL::Test::Utils::tempdir('next');

sub run_or_die
{
	my (@command) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run(\@command, '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(600)) or die "@command failed:\n$out$err";
	chomp $out;
	return $out;
}

#---------------------------------------------------------------------------------------------------------------------
# Given: an installation of 1.0, and 1.1 that is not installed yet

my $now = '1.0';
my $next = '1.1';
my $config = run_or_die("$top/scripts/copy-server.sh", "$work/installation");
my ($bindir, $libdir, $sharedir) = map { run_or_die($config, "--$_") } qw(bindir pkglibdir sharedir);
my $extension = "$sharedir/extension";

like(slurp_file("$extension/rotor.control"), qr/^default_version = '\Q$now\E'/m, "given an installation of $now");
mkdir "$work/source" or die $!;
run_or_die('cp', '-R', map({ "$top/$_" } qw(src common sql Makefile rotor.control)), glob("$top/rotor--*.sql"), "$work/source");
{
	my $control = slurp_file("$work/source/rotor.control") =~ s/^default_version = .*/default_version = '$next'/mr;
	open my $handle, '>', "$work/source/rotor.control" or die $!;
	print $handle $control;
	close $handle;
	# Nothing of the make that runs the tests.
	delete local @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES)};
	run_or_die($ENV{MAKE} || 'make', '-C', "$work/source", 'rotor.so', 'PG_CONFIG=' . ($ENV{PG_CONFIG} // 'pg_config'));
}
append_to_file("$work/rotor--$now--$next.sql", <<'SQL');
ALTER TABLE rotor.policy ADD COLUMN owner text NOT NULL DEFAULT 'nobody';
COMMENT ON COLUMN rotor.policy.owner IS 'who answers for it';
INSERT INTO rotor.policy (name, length, description, builtin) VALUES ('next', 40, 'new in this version', true);
UPDATE rotor.policy SET description = description || '; new words' WHERE builtin AND name IN ('high', 'compat');
CREATE OR REPLACE VIEW rotor.audit_log AS
    SELECT id, at, actor, session_user_name, client_addr, event, secret, rotation, version, result, duration_ms,
           detail, result = 'ok' AS good
    FROM rotor.audit;
CREATE FUNCTION rotor.owner(policy text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    AS 'SELECT p.owner FROM rotor.policy p WHERE p.name = $1';
COMMENT ON FUNCTION rotor.owner(text) IS 'who answers for a policy';
CREATE OR REPLACE FUNCTION rotor.generate_uuid() RETURNS uuid LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'rotor_generate_uuid';
REVOKE ALL ON FUNCTION rotor.owner(text) FROM PUBLIC;
SQL

sub install_sql
{
	copy("$work/rotor--$now--$next.sql", "$extension/rotor--$now--$next.sql") or die $!;
	copy("$work/source/rotor.control", "$extension/rotor.control") or die $!;
}

# Beside, then renamed: a server that has the old one loaded keeps it.
sub install_library
{
	my ($file) = @_;
	copy($file, "$libdir/rotor.so.new") or die $!;
	chmod 0755, "$libdir/rotor.so.new";
	rename "$libdir/rotor.so.new", "$libdir/rotor.so" or die $!;
}

copy("$libdir/rotor.so", "$work/rotor-$now.so") or die $!;

#---------------------------------------------------------------------------------------------------------------------
# Given: a server that has run for a while

my $install_path = $bindir =~ s{/bin$}{}r;
my $node = new_cluster('updated', preload => 1, install_path => $install_path,
	hba => [ 'local all monitor trust', 'host all all 127.0.0.1/32 scram-sha-256' ],
	conf => "rotor.workers = 2\nrotor.poll_interval = '100ms'\n");

sql($node, 'CREATE ROLE app_user LOGIN; CREATE ROLE halfway LOGIN; CREATE ROLE monitor LOGIN');
sql($node, <<'SQL');
UPDATE rotor.policy SET length = 48, description = 'edited' WHERE name = 'compat';
INSERT INTO rotor.policy (name, backoff, backoff_max) VALUES ('ours', '10 days', '10 days');
SELECT rotor.manage('app_user', policy => 'compat'), rotor.manage('halfway', policy => 'ours');
GRANT USAGE ON SCHEMA rotor TO monitor;
GRANT EXECUTE ON FUNCTION rotor.health() TO monitor;
SQL
rotate_ok($node, $_, "given a secret $_") for qw(app_user app_user halfway);
set_conf($node, 'rotor.verify_port' => 1);
rotate_fails($node, 'halfway', '08001', undef, 'given a rotation that is to be proved yet');
set_conf($node, 'rotor.verify_port' => 0);
my %before = facts($node);

#---------------------------------------------------------------------------------------------------------------------
# The SQL cannot run ahead of the library that is loaded

install_sql();
install_library("$work/source/rotor.so");
fails($node, 'ALTER EXTENSION rotor UPDATE', '55000', qr/cannot become version \Q$next\E.*\Q$now\E.*Restart the server/s, 'UPDATE under the old library');
is(sql($node, q{SELECT extversion FROM pg_extension WHERE extname = 'rotor'}), $now, 'the extension is what it was');
is(sql($node, q{SELECT count(*) FROM rotor.policy WHERE name = 'next'}), '0', 'with nothing of the update');
rotate_ok($node, 'app_user', 'and rotates');

#---------------------------------------------------------------------------------------------------------------------
# The new library over the old SQL: everything waits, and says why

%before = facts($node);
my %state = map { ($_ => role_state($node, $_)) } qw(app_user halfway);
my $offset = -s $node->logfile;
$node->restart;
sql($node, q{UPDATE rotor.secret SET next_rotation = now() - interval '1 day'; UPDATE rotor.rotation SET next_attempt_at = now() - interval '1 day' WHERE finished_at IS NULL});

my @calls = (
	q{rotor.rotate('app_user')}, q{rotor.rotate('app_user', wait => false)}, q{rotor.rotate('monitor')}, q{rotor.run_due()}, q{rotor.rollback('app_user')},
	q{rotor.get_secret('app_user')}, q{rotor.connection_uri('app_user')}, q{rotor.describe('app_user')},
	q{rotor.manage('monitor')}, q{rotor.unmanage('app_user')}, q{rotor.disable('app_user')}, q{rotor.grant_access('app_user', 'monitor', 'read')},
	q{rotor.purge()}, q{rotor.reconcile()});
for my $call (@calls)
{
	my $error = fails($node, "SELECT * FROM $call", '55000', qr/version \Q$now\E, the library \Q$next\E/, "$call over the old SQL");
	like($error->{hint}, qr/ALTER EXTENSION rotor UPDATE/, "$call over the old SQL: with the remedy");
}
fails($node, q{UPDATE rotor.policy SET length = 9}, '55000', qr/version/, 'a change of a policy over the old SQL');
for my $user ('postgres', 'monitor')
{
	is(sql($node, 'SELECT check_name, status FROM rotor.health()', user => $user), 'version|error', "health(), by $user, is one finding");
}
like(health_of($node, 'version'), qr/^error .*\Q$now\E.*\Q$next\E/, 'which names both versions');
{
	my %turns;
	ok( poll_until(sub {
			$turns{$_}++ for split /\n/, sql($node, q{SELECT pid || ' ' || state_change FROM pg_stat_activity WHERE backend_type = 'rotor worker' AND state_change IS NOT NULL});
			return keys %turns >= 10;
		}),
		'the workers have had several turns');
	my @said = log_since($node, $offset) =~ /(rotor: the extension has version)/g;
	cmp_ok(scalar @said, '<=', 2, 'and have said so once each');
	cmp_ok(scalar @said, '>=', 1, 'but have said so');
}
is(role_state($node, $_), $state{$_}, "nothing has touched $_") for sort keys %state;
is(sql($node, 'SELECT count(*) FROM rotor.rotation WHERE finished_at IS NULL AND next_attempt_at < now()'), '1', 'the unfinished rotation rests, though it is overdue');

#---------------------------------------------------------------------------------------------------------------------
# The update, while clients keep calling

{
	my %call = (reader => q{SELECT 'read' FROM rotor.get_secret('app_user')}, rotator => q{SELECT status FROM rotor.rotate('app_user')});
	my %client = map { ($_ => $node->background_psql('postgres', on_error_stop => 0)) } keys %call;
	my %well = (reader => 0, rotator => 0);
	my %refused = (reader => 0, rotator => 0);
	my @strange;
	my $ask = sub {
		for my $who (sort keys %client)
		{
			$client{$who}->{stderr} = '';
			my $out = $client{$who}->query($call{$who});
			my $err = $client{$who}->{stderr};
			if ($out =~ /^(?:read|success)$/) { $well{$who}++ }
			elsif ($err =~ /the extension has version \Q$now\E, the library \Q$next\E/) { $refused{$who}++ }
			elsif ($err =~ /a rotation is already active/) { }
			else { push @strange, "$who: $out $err" }
		}
	};

	$ask->();
	my $update = start_call($node, 'ALTER EXTENSION rotor UPDATE');
	$ask->() for 1 .. 3;
	my $result = end_call($update);
	ok($result->{ok}, 'ALTER EXTENSION rotor UPDATE while clients keep calling') or diag $result->{err};
	ok(poll_until(sub { $ask->(); $well{reader} > 1 && $well{rotator} > 1 }), 'their sessions go on to work, without a new connection');
	cmp_ok($refused{$_}, '>', 0, "the $_ had been refused before") for sort keys %refused;
	is(join("\n", @strange), '', 'and nobody has met another error');
	$_->quit for values %client;
}
is(sql($node, q{SELECT extversion FROM pg_extension WHERE extname = 'rotor'}), $next, "the extension is $next");
ok(poll_until(sub { sql($node, 'SELECT count(*) FROM rotor.rotation WHERE finished_at IS NULL') eq '0' }), 'workers go on without a restart: the unfinished rotation ends');
is(last_rotation($node, 'halfway', 'status'), 'success', 'well');
assert_invariants($node, $_, 'after the update') for qw(app_user halfway);
like(health_of($node, 'version'), qr/^ok \Q$next\E/, 'health() is content');
my %after = facts($node);
is($after{$_}, $before{$_}, "every $_ is what it was") for qw(rights data_keys target);
is(sql($node, q{SELECT name, length, builtin, owner, description FROM rotor.policy WHERE name IN ('compat', 'ours', 'next') ORDER BY name}),
	"compat|48|f|nobody|edited\nnext|40|t|nobody|new in this version\nours|32|f|nobody|", 'an edited policy stays as it was edited, new rows and columns are there');
is(sql($node, q{SELECT description LIKE '%new words' FROM rotor.policy WHERE name = 'high'}), 't', 'a built-in one that nobody edited is as the update says');
is(sql($node, q{SELECT rotor.owner('next'), bool_or(good) FROM rotor.audit_log}), 'nobody|t', 'new functions and columns of views are there');
is(sql($node, q{SELECT rotor.generate_uuid() IS NOT NULL}), 't', 'and a function that was replaced');
unlike(text_of(dump_of($node, 'updated', dbname => 'postgres')), qr/new in this version/, 'a new built-in policy is not in a dump');

#---------------------------------------------------------------------------------------------------------------------
# Back

fails($node, "ALTER EXTENSION rotor UPDATE TO '$now'", '22023', undef, 'there is no way back by UPDATE');
install_library("$work/rotor-$now.so");
$node->restart;
my $error = rotate_fails($node, 'app_user', '55000', qr/version \Q$next\E, the library \Q$now\E/, 'the old library over the new SQL');
like($error->{hint}, qr/Restart the server/, 'says what helps');
like(health_of($node, 'version'), qr/^error/, 'health() says so');
install_library("$work/source/rotor.so");
$node->restart;
rotate_ok($node, 'app_user', 'with the right library again it rotates');
assert_invariants($node, 'app_user', 'the right library again');
no_crash_in($node);

#---------------------------------------------------------------------------------------------------------------------
# A new installation of 1.1 has what the updated one has; and the same way without preloading

my $catalog = <<'SQL';
SELECT string_agg(line, E'\n' ORDER BY line COLLATE "C") FROM (
    SELECT format('%s: %s', pg_describe_object(d.classid, d.objid, 0), obj_description(d.objid, d.classid::regclass::name)) AS line
    FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid AND x.extname = 'rotor' WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    UNION ALL
    SELECT format('%s.%s %s %s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(f.adbin, f.adrelid), col_description(c.oid, a.attnum))
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef f ON f.adrelid = c.oid AND f.adnum = a.attnum
    WHERE c.relnamespace = 'rotor'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL SELECT pg_get_functiondef(oid) || coalesce((SELECT string_agg(e.privilege_type || e.grantee::regrole::text, ',' ORDER BY 1) FROM aclexplode(proacl) e WHERE e.grantee IN (0, 10)), '') FROM pg_proc WHERE pronamespace = 'rotor'::regnamespace
    UNION ALL SELECT relname || pg_get_viewdef(oid) FROM pg_class WHERE relnamespace = 'rotor'::regnamespace AND relkind = 'v'
    UNION ALL SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'rotor'::regnamespace
    UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE c.relnamespace = 'rotor'::regnamespace
    UNION ALL SELECT pg_get_triggerdef(t.oid) || tgenabled::text FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid WHERE c.relnamespace = 'rotor'::regnamespace AND NOT tgisinternal
    UNION ALL SELECT evtname || evtevent || evttags::text || evtenabled::text FROM pg_event_trigger
    UNION ALL SELECT (SELECT string_agg(t::regclass || c, ' ' ORDER BY t::regclass::text) FROM unnest(extconfig, extcondition) u(t, c)) FROM pg_extension WHERE extname = 'rotor'
    UNION ALL SELECT name || description || length FROM rotor.policy WHERE builtin AND name <> 'compat') l
SQL
my $fresh = new_cluster('fresh', install_path => $install_path);
is(sql($fresh, q{SELECT extversion FROM pg_extension WHERE extname = 'rotor'}), $next, 'CREATE EXTENSION makes the new version');
is(sql($fresh, $catalog), sql($node, $catalog), 'in every object, column, comment and right as the updated one');
sql($fresh, 'CREATE ROLE app_user LOGIN');
rotate_ok($fresh, 'app_user', 'and it rotates');
sql($fresh, "DROP EXTENSION rotor; CREATE EXTENSION rotor VERSION '$now'");
rotate_fails($fresh, 'app_user', '55000', qr/ALTER EXTENSION rotor UPDATE/, 'not preloaded: the old SQL waits');
sql($fresh, 'ALTER EXTENSION rotor UPDATE');
rotate_ok($fresh, 'app_user', 'not preloaded: once updated it rotates');
assert_invariants($fresh, 'app_user', 'not preloaded');

done_testing();
