# Dump and restore: what travels and what does not, that nothing restored is rotated or read before reconcile(), that roles
# are found by their names whatever their oids are, and that a missing key loses nothing.
use strict;
use warnings;
use File::Copy qw(copy);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorDump;
use RotorTest;
use Test::More;

my @home = (dbname => 'home');
my @odd = ('a plain name', 'B"quoted', q{o'brien}, 'UPPER', '50%s', 'back\\slash', 'x;y--', 'per.iod');
my %keys = map { ($_ => PostgreSQL::Test::Utils::tempdir("keys_$_") . '/rotor.key') } qw(source target);
#---------------------------------------------------------------------------------------------------------------------
# Given: a cluster with all that a dump can meet

my $source = home_cluster('source', $keys{source});
sql($source, 'CREATE EXTENSION rotor', @home);
# Oids grow in this order; pg_dumpall creates roles in the order of their names.
sql($source, "CREATE ROLE " . quote_name($_) . ' LOGIN') for reverse sort @odd;
sql($source, "CREATE ROLE $_ LOGIN") for qw(zz_reader only_here cross_b former swap cross_a left_alone dead waiting halfway valueless);
rotate_ok($source, $_ =~ s/'/''/gr, "given a secret of role <$_>", @home) for @odd, qw(cross_a cross_b former swap left_alone waiting halfway);
rotate_ok($source, 'cross_a', 'given a previous version', @home);
sql($source, <<'SQL', @home);
SELECT rotor.manage('valueless');
SELECT rotor.grant_access('cross_a', 'cross_a', 'read'), rotor.grant_access('cross_a', 'cross_b', 'read'),
       rotor.grant_access('cross_a', 'zz_reader', 'rotate'), rotor.grant_access('cross_a', 'only_here', 'manage'),
       rotor.grant_access('cross_b', 'zz_reader', 'read');
SELECT rotor.unmanage('left_alone');
UPDATE rotor.policy SET length = 48, description = 'ours now' WHERE name = 'compat';
INSERT INTO rotor.policy (name, rotation_interval, symbols, description) VALUES ('mine', '1 hour', false, E'with\ta tab');
INSERT INTO rotor.policy (name, backoff, backoff_max) VALUES ('patient', '10 days', '10 days');
SELECT rotor.manage('cross_b', policy => 'mine'), rotor.manage('swap', policy => 'compat');
UPDATE rotor.target SET host = 'db.example', port = 6543;
SELECT rotor.manage('waiting', policy => 'patient'), rotor.manage('halfway', policy => 'patient');
ALTER ROLE former RENAME TO renamed;
ALTER ROLE swap RENAME TO swapped;
CREATE ROLE swap LOGIN;
SQL
rotate_fails($source, 'dead', '55000', qr/would prove nothing/, 'given a dead letter', @home);
{
	my $holder = holder($source, q{SELECT FROM pg_authid WHERE rolname = 'waiting' FOR UPDATE});
	rotate_fails($source, 'waiting', '55P03', undef, 'given a rotation that is to be set yet', @home);
	let_go($holder);
	set_conf($source, 'rotor.verify_port' => 1);
	rotate_fails($source, 'halfway', '08001', undef, 'given a rotation that is to be proved yet', @home);
	set_conf($source, 'rotor.verify_port' => 0);
}
is(sql($source, q{SELECT string_agg(s.name || ' ' || r.step, ', ' ORDER BY s.name) FROM rotor.rotation r JOIN rotor.secret s ON s.id = r.secret_id WHERE r.finished_at IS NULL}, @home),
	'halfway test, waiting set', 'two rotations are unfinished');

# A dump knows roles by their names only, so rotor learns new ones before somebody makes one.
set_conf($source, 'rotor.maintenance_interval' => '1s');
ok(poll_until(sub { sql($source, q{SELECT string_agg(username, ' ' ORDER BY username) FROM rotor.secret WHERE name IN ('former', 'swap')}, @home) eq 'renamed swapped' }),
	'maintenance learns the new names of roles');
set_conf($source, 'rotor.maintenance_interval' => 0);

my %at_source = facts($source, @home);
my @plaintexts = map { split /\n/ } sql($source, <<'SQL', @home);
SELECT rotor.get_secret(s.name, v.stage) ->> 'password' FROM rotor.secret s JOIN rotor.version v ON v.secret_id = s.id
WHERE s.deleted_at IS NULL AND v.stage IS NOT NULL
SQL
my @sealed = split /\n/, sql($source, <<'SQL', @home);
SELECT encode(sealed, 'hex') FROM rotor.version UNION ALL SELECT encode(sealed, 'hex') FROM rotor.saved_verifier
SQL
my @wrapped = split /\n/, sql($source, q{SELECT encode(wrapped, 'hex') FROM rotor.data_key}, @home);
my ($key_id) = split /\n/, sql($source, q{SELECT DISTINCT master_key_id FROM rotor.data_key}, @home);
cmp_ok(scalar @plaintexts, '>=', @odd + 8, 'given plaintexts to look for');
cmp_ok(scalar @sealed, '>', 15, 'given sealed values to look for');

#---------------------------------------------------------------------------------------------------------------------
# What is in a dump

my %dumps = (
	plain     => dump_of($source, 'plain'),
	inserts   => dump_of($source, 'inserts', args => ['--inserts']),
	rows      => dump_of($source, 'rows', args => [ '--rows-per-insert=3', '--on-conflict-do-nothing' ]),
	noprivs   => dump_of($source, 'noprivs', args => ['-x']),
	custom    => dump_of($source, 'custom', args => ['-Fc']),
	values    => dump_of($source, 'values', values => 'on'),
	values_c  => dump_of($source, 'values_c', values => 'true', args => ['-Fc']),
	values_d  => dump_of($source, 'values_d', values => 'on', args => [ '-Fd', '-j2' ]),
	values_i  => dump_of($source, 'values_i', values => '1', args => [ '--inserts', '-x' ]),
	schema    => dump_of($source, 'schema', args => ['--schema-only']),
	data      => dump_of($source, 'data', args => ['--data-only']),
	values_data => dump_of($source, 'values_data', values => 'on', args => ['--section=data']));

for my $name (sort keys %dumps)
{
	my $text = text_of($dumps{$name});

	is(count_in($text, @plaintexts), 0, "$name: no plaintext");
	is(count_in($text, @sealed), $name =~ /^values/ ? @sealed : 0, "$name: " . ($name =~ /^values/ ? 'every' : 'no') . ' sealed value');
	is(count_in($text, @wrapped), $name =~ /^values/ ? @wrapped : 0, "$name: " . ($name =~ /^values/ ? 'every' : 'no') . ' wrapped data key');
	unlike($text, qr/\baudit\w*\b.*\n.*(?:ATTACH|PARTITION|COPY|CREATE TABLE)/, "$name: nothing of the audit and its partitions");
	unlike($text, qr/rotor\.(?:audit|home|statistics_reset)/, "$name: nothing of the audit, of the home and of the statistics");
	unlike($text, qr/^CREATE (?:TABLE|VIEW|FUNCTION|EVENT TRIGGER|SEQUENCE|SCHEMA)/m, "$name: what the extension makes is left to CREATE EXTENSION");
	unlike($text, qr/^(?:high|default)\t|VALUES \(.(?:high|default)'/m, "$name: built-in policies that nobody changed stay at home") unless $name eq 'schema';
	like($text, qr/cross_a/, "$name: secrets are in it") unless $name eq 'schema';
	like($text, qr/ours now/, "$name: and a built-in policy that was changed") unless $name eq 'schema';
}
unlike(text_of($dumps{schema}), qr/cross_a\t/, 'schema: no secret');
like(text_of($dumps{schema}), qr/GRANT .* ON FUNCTION rotor\.rotate.* TO zz_reader/, 'schema: but the privileges');
unlike(text_of($dumps{noprivs}), qr/^GRANT/m, 'noprivs: none');

# Whoever may not read the tables gets nothing.
{
	sql($source, q{CREATE ROLE clerk LOGIN; GRANT CONNECT ON DATABASE home TO clerk});
	my $result = try_dump($source, 'clerk', user => 'clerk');
	ok(!$result->{ok}, 'pg_dump by a role without rights fails');
	# From 18 on pg_dump first asks for the values of all sequences, and speaks for itself of those it does not get.
	like($result->{err}, qr/permission denied|user may lack SELECT privilege/, 'by the server\'s refusal');
	is(-s $result->{path} ? count_in(text_of($result->{path}), @plaintexts, @sealed) : 0, 0, 'and has written no value');
	$result = try_dump($source, 'clerk_values', user => 'clerk', values => 'on');
	ok(!$result->{ok}, 'pg_dump with values by such a role');
	like($result->{err}, qr/permission denied to set parameter/, 'does not even connect');
	$result = try_dump($source, 'misspelt', values => 'onn');
	ok(!$result->{ok}, 'a misspelt rotor.dump_values fails, instead of leaving the values out');
}

#---------------------------------------------------------------------------------------------------------------------
# Given: another cluster, in which the roles have other oids, two of them each other's

my $target = home_cluster('target', $keys{target});
my $globals = globals_of($source);
my ($low, $high) = split /\n/, sql($source, q{SELECT oid FROM pg_authid WHERE rolname IN ('cross_a', 'cross_b') ORDER BY oid});
my %oid = map { split /=/ } split /\n/, sql($source, q{SELECT rolname || '=' || oid FROM pg_authid WHERE rolname LIKE 'cross_%'});
make_role_with_oid($target, $oid{cross_a} == $low ? 'cross_b' : 'cross_a', $low);
make_role_with_oid($target, $oid{cross_a} == $low ? 'cross_a' : 'cross_b', $high);
is(sql($target, q{SELECT string_agg(rolname || '=' || oid, ' ' ORDER BY rolname) FROM pg_authid WHERE rolname LIKE 'cross_%'}),
	"cross_a=$oid{cross_b} cross_b=$oid{cross_a}", 'two roles have each other\'s oid');
run_sql_file($target, 'postgres', $globals);
sql($target, 'DROP ROLE only_here');
is(role_state($target, $_), role_state($source, $_), "role $_ came with its verifier") for qw(cross_a cross_b renamed);

my @states = map { ($_ => role_state($target, $_)) } qw(cross_a cross_b renamed swap swapped waiting halfway);

sub nothing_was_rotated
{
	my ($name) = @_;
	my %was = @states;

	is(join(' ', grep { role_state($target, $_) ne $was{$_} } sort keys %was), '', "$name: no role was touched");
}

# Restores into an empty database home, everything being overdue, and looks at what is there before reconcile().
sub restore_into_target
{
	my ($name, $how) = @_;

	sql($target, 'DROP DATABASE home');
	sql($target, 'CREATE DATABASE home');
	# A role that is not here is granted nothing.
	my @errors = grep { !/role "only_here" does not exist/ } @{ $how->() };
	is(join("\n", @errors), '', "$name: restored without an error");
	is(sql($target, q{SELECT string_agg(DISTINCT state, ' ') FROM rotor.secrets}, @home), 'other_cluster', "$name: every secret waits for reconcile()");
	like(health_of($target, 'other_cluster', @home), qr/^error /, "$name: health() says so");
	is(sql($target, q{SELECT count(*) FROM rotor.audit_default}, @home), '0', "$name: CREATE EXTENSION made the partitions of the audit");
	is(sql($target, q{SELECT count(*) > 2 FROM pg_partition_tree('rotor.audit') WHERE isleaf}, @home), 't', "$name: for more than this month");
	sql($target, q{UPDATE rotor.secret SET next_rotation = now() - interval '1 year' WHERE deleted_at IS NULL; UPDATE rotor.rotation SET next_attempt_at = now() - interval '1 year' WHERE finished_at IS NULL}, @home);
	is(sql($target, 'SELECT * FROM rotor.run_due()', @home), '', "$name: though all is overdue, nothing is done");
	is(sql($target, 'SELECT count(*) FROM rotor.upcoming', @home), '0', "$name: and nothing is upcoming");
	is(health_of($target, 'overdue', @home), 'ok none', "$name: nor late, for this cluster");
	nothing_was_rotated($name);
	ok(poll_until(sub { sql($target, q{SELECT bool_and(state = 'idle' AND clock_timestamp() - state_change > interval '500 ms') FROM pg_stat_activity WHERE backend_type = 'rotor worker'}) eq 't' }),
		"$name: and the workers sleep");
	sql($target, q{UPDATE rotor.secret SET next_rotation = NULL}, @home);
	return;
}

sub plain_restore
{
	my ($name) = @_;
	return sub { run_sql_file($target, 'home', $dumps{$name}) };
}

sub reconcile
{
	my ($name) = @_;
	return { map { my ($secret, @rest) = split /\|/; ($secret => join('|', @rest)) } split /\n/,
		sql($target, 'SELECT secret_name, role, finding FROM rotor.reconcile()', @home) };
}

#---------------------------------------------------------------------------------------------------------------------
# A dump with values

for my $way ('values', 'values_c', 'values_d', 'values_i', 'values_data')
{
	# pg_restore -j knows no order among the tables of an extension, so docs/backup.md has rotor restored by itself.
	my %how = (
		values_c => sub { restore_archive($target, 'home', $dumps{values_c}) },
		values_d => sub { [ map { @{ restore_archive($target, 'home', $dumps{values_d}, @$_) } } [ '-j2', '-N', 'rotor' ], [ '-n', 'rotor' ] ] },
		values_data => sub { [ map { @{ run_sql_file($target, 'home', $dumps{$_}) } } 'schema', 'values_data' ] });

	unlink $keys{target};
	restore_into_target($way, $how{$way} // plain_restore($way));
	is_deeply({ facts($target, @home) }, \%at_source, "$way: every row is there as it was");

	# Before reconcile(): superusers read, others nothing; nobody rotates.
	rotate_fails($target, 'cross_a', '55000', qr/another cluster.*reconcile\(\)/s, "$way: rotate()", @home);
	fails($target, q{SELECT rotor.get_secret('cross_b')}, '42501', undef, "$way: a grantee reads nothing", @home, user => 'zz_reader');
	fails($target, q{SELECT rotor.rotate('cross_a')}, '42501', undef, "$way: a grantee rotates nothing", @home, user => 'zz_reader')
	  unless $way eq 'values_i';
	fails($target, q{SELECT rotor.get_secret('cross_a')}, '42501', undef, "$way: nor does who has another's oid here", @home, user => $_)
	  for qw(cross_a cross_b);
	fails($target, q{SELECT rotor.grant_access('cross_a', 'zz_reader', 'read')}, '55000', qr/reconcile/, "$way: rights wait too", @home);
	is(sql($target, q{SELECT rotor.describe('cross_a') ->> 'username'}, @home), 'cross_a', "$way: describe() names no stranger");

	# Without the key.
	fails($target, q{SELECT rotor.get_secret('cross_a')}, '58P01', qr/\Q$key_id\E.*\Q$keys{target}\E.*Nothing is lost/s, "$way: without the key file", @home);
	like(health_of($target, 'key', @home), qr/^error .*\Q$key_id\E/, "$way: health() names the missing key");

	my $found = reconcile();
	is($found->{$_}, "$_|bound", "$way: secret <$_> is bound") for @odd, 'cross_a', 'cross_b';
	is($found->{former}, 'renamed|bound', "$way: a role that was renamed is found by its new name");
	is($found->{swap}, 'swapped|bound', "$way: and not mistaken for a new role that has its old one");
	is($found->{valueless}, 'valueless|no_value', "$way: one without a value");
	is($found->{$_}, "$_|rotating", "$way: $_, being rotated") for qw(waiting halfway);
	is(sql($target, q{SELECT string_agg(g.role_oid::regrole || ' ' || g.privilege, ', ' ORDER BY g.role_name) FROM rotor.access_grant g JOIN rotor.secret s ON s.id = g.secret_id WHERE s.name = 'cross_a'}, @home),
		'cross_a read, cross_b read, zz_reader rotate', "$way: rights are bound by name, though their oids were crossed");
	is(sql($target, q{SELECT detail ->> 'role' || ' ' || (detail ->> 'privilege') FROM rotor.audit_log WHERE event = 'access_lost'}, @home),
		'only_here manage', "$way: a right of a role that is not here is on record as lost");
	fails($target, q{SELECT rotor.get_secret('cross_a')}, '58P01', qr/\Q$key_id\E/, "$way: still without the key file", @home);
	rotate_fails($target, 'cross_a', '58P01', qr/\Q$key_id\E/, "$way: and rotate()", @home);

	# With it.
	copy($keys{source}, $keys{target}) or die "copy: $!";
	chmod 0600, $keys{target};
	for my $role ('cross_b', 'renamed', @odd)
	{
		my $secret = $role eq 'renamed' ? 'former' : $role;
		logs_in($target, $role, password_at($target, $secret, @home), "$way: with the key file the restored password of <$role> logs in");
	}
	is(sql($target, q{SELECT rotor.get_secret('cross_a') ->> 'username'}, @home, user => $_), 'cross_a', "$way: $_ reads, by its right") for qw(cross_a cross_b);
	is(sql($target, q{SELECT rotor.get_secret('cross_b') ->> 'host'}, @home, user => 'zz_reader'), 'db.example', "$way: a grantee reads, and the target is the restored one");
	sql($target, q{UPDATE rotor.rotation SET next_attempt_at = now() WHERE finished_at IS NULL; SELECT FROM rotor.run_due()}, @home);
	ok(poll_until(sub { sql($target, q{SELECT count(*) FROM rotor.rotation WHERE finished_at IS NULL}, @home) eq '0' }), "$way: unfinished rotations end");
	is(sql($target, q{SELECT string_agg(secret || ' ' || last_status, ', ' ORDER BY secret) FROM rotor.secrets WHERE secret IN ('waiting', 'halfway', 'cross_a')}, @home),
		'cross_a success, halfway success, waiting success', "$way: well");
	for my $role (qw(waiting halfway cross_a))
	{
		logs_in($target, $role, password_at($target, $role, @home), "$way: $role logs in with what they left");
	}
	rotate_ok($target, $_ =~ s/'/''/gr, "$way: secret <$_> rotates", @home) for @odd[ 0 .. 2 ], 'valueless';
	is(sql($target, q{SELECT name FROM rotor.restore('left_alone')}, @home), 'left_alone', "$way: the unmanaged secret can be restored");
	is(sql($target, q{SELECT finding FROM rotor.reconcile('left_alone')}, @home), 'ok', "$way: and knows its role's password");
	is(sql($target, q{SELECT secret FROM rotor.dead_letter}, @home), 'dead', "$way: the dead letter is there");
	ok(sql($target, q{SELECT (rotor.manage('zz_reader')).id}, @home) > $at_source{last_id}, "$way: a new secret has a new id");
	is(health_of($target, 'other_cluster', @home), 'ok none', "$way: health() is content");

	# The next way finds the roles as this one did.
	run_sql_file($target, 'postgres', $globals);
	sql($target, 'DROP ROLE only_here');
	nothing_was_rotated("$way, once the roles were restored again");
}

#---------------------------------------------------------------------------------------------------------------------
# A dump without values

unlink $keys{target};
for my $way ('plain', 'inserts', 'rows', 'noprivs', 'data', 'custom')
{
	my %how = (
		custom => sub { restore_archive($target, 'home', $dumps{custom}) },
		data   => sub { [ map { @{ run_sql_file($target, 'home', $dumps{$_}) } } 'schema', 'data' ] });

	restore_into_target($way, $how{$way} // plain_restore($way));
	is(sql($target, q{SELECT (SELECT count(*) FROM rotor.version), (SELECT count(*) FROM rotor.data_key), (SELECT count(*) FROM rotor.rotation), (SELECT count(*) FROM rotor.saved_verifier)}, @home),
		'0|0|0|0', "$way: no value, key and history");
	my %here = facts($target, @home);
	is($here{$_}, $at_source{$_}, "$way: every $_ is there as it was") for qw(policies secrets rights target);
}
{
	my $found = reconcile();
	my @bound = (@odd, qw(cross_a cross_b former swap waiting halfway dead valueless));
	is(join("\n", map { $found->{$_} =~ s/.*\|//r } @bound), join("\n", ('no_value') x @bound), 'without values: every secret is bound and has none');
	rotate_ok($target, 'cross_b', 'without values: a rotation makes one, and the first key', @home);
	logs_in($target, 'cross_b', password_at($target, 'cross_b', @home), 'without values: it logs in');
	sql($target, q{UPDATE rotor.secret SET next_rotation = now() WHERE name = 'swap'; SELECT FROM rotor.run_due()}, @home);
	ok(poll_until(sub { sql($target, q{SELECT last_status FROM rotor.secrets WHERE secret = 'swap'}, @home) eq 'success' }),
		'without values: what is due is done, now that this cluster has taken it over');
	logs_in($target, 'swapped', password_at($target, 'swap', @home), 'without values: to the role under its new name');
	is(sql($target, q{SELECT rotor.get_secret('cross_b') ->> 'username'}, @home, user => 'zz_reader'), 'cross_b', 'without values: rights are back');
}

#---------------------------------------------------------------------------------------------------------------------
# Logical replication of rotor's tables brings secrets of another cluster, which are neither rotated nor read

sql($target, 'DROP DATABASE home');
sql($target, 'CREATE DATABASE home');
sql($target, 'CREATE EXTENSION rotor', @home);
sql($source, 'CREATE PUBLICATION copied FOR TABLE rotor.secret, rotor.version, rotor.data_key, rotor.access_grant', @home);
sql($target, 'CREATE SUBSCRIPTION copied CONNECTION ' . "'host=" . $source->host . ' port=' . $source->port . " user=postgres dbname=home' PUBLICATION copied", @home);
ok(poll_until(sub { sql($target, q{SELECT string_agg(DISTINCT srsubstate::text, '') FROM pg_subscription_rel}, @home) eq 'r' }), 'given a subscription to the tables of another cluster');
is(sql($target, q{SELECT string_agg(DISTINCT state, ' '), count(*) > 10 FROM rotor.secrets}, @home), 'other_cluster|t', 'its secrets are another cluster\'s');
sql($source, q{UPDATE rotor.secret SET next_rotation = now() WHERE name = 'cross_b'; SELECT FROM rotor.run_due()}, @home);
# The caller, or the other worker.
ok(poll_until(sub { sql($source, q{SELECT next_rotation > now() FROM rotor.secrets WHERE secret = 'cross_b'}, @home) eq 't' }), 'what is due there is done');
rotate_ok($source, 'cross_b', 'a rotation there', @home);
my $current = q{SELECT version_id FROM rotor.secrets WHERE secret = 'cross_b'};
ok(poll_until(sub { sql($target, $current, @home) eq sql($source, $current, @home) }), 'is seen here by a superuser');
fails($target, q{SELECT rotor.get_secret('cross_b')}, '58P01', qr/\Q$key_id\E/, 'who needs the key of there', @home);
is(sql($target, 'SELECT * FROM rotor.run_due()', @home), '', 'and rotates nothing here');
sql($target, 'DROP SUBSCRIPTION copied', @home);

#---------------------------------------------------------------------------------------------------------------------
# A server that does not preload rotor makes the same dumps

$source->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$source->restart;
is(count_in(text_of(dump_of($source, 'unloaded')), @sealed, @wrapped), 0, 'not preloaded: no value in a dump');
is(count_in(text_of(dump_of($source, 'unloaded_values', values => 'on')), @wrapped), scalar @wrapped, 'not preloaded: on request they are');

done_testing();
