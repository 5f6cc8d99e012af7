# pg_upgrade from 15 to 17 to 18, as docs/operations.md has it: all that rotor knows comes through, sealed values open with the
# key that was copied, nothing is rotated before a superuser's reconcile(), and everything is afterwards.
#
# Needs the three servers side by side, each with rotor; `make test-majors` runs it in a folder that has them.
use strict;
use warnings;
use File::Copy qw(copy);
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorDump;
use RotorTest;
use Test::More;

my @majors = (15, 17, 18);

# A role with an odd name, in bytes as psql gives it back.
my $odd = q{Größe "x" O'Neil; --};

# Secrets whose password logs in, before and after, with the names of their roles.
my %working = (
	app_user   => 'app_user',
	$odd       => $odd,
	renamed    => 'renamed_role',
	by_another => 'another_name',
	resting    => 'resting',
	nightly    => 'nightly',
	unfinished => 'unfinished',
);

# A name in the name of a test.
sub plain
{
	my ($name) = @_;
	return $name =~ s/[^ -~]/?/gr;
}

# A cluster of that major version, set up as the page says.
sub cluster_of
{
	my ($major, %options) = @_;

	# initdb of 18 and later turns on checksums, which the clusters before have not.
	return new_cluster("pg$major", install_path => "/usr/lib/postgresql/$major", preload => 1,
		initdb => [ $major >= 18 ? '--no-data-checksums' : () ], conf => "rotor.maintenance_interval = '1d'\n", %options);
}

# Digests of what must be the same before and after, by kind: rotor's tables, and what the catalogs say of its objects.
# The owner's own privileges are left out, as new versions have new ones.
sub all_facts
{
	my ($node) = @_;

	return (
		facts($node),
		audit => sql($node, q{SELECT string_agg(md5(a::text), E'\n' ORDER BY at, id) FROM rotor.audit a}),
		map { $_->[0] => sql($node, $_->[1]) } (
			[ partitions => q{SELECT string_agg(format('%s of %s %s', inhrelid::regclass, inhparent::regclass, pg_get_expr(c.relpartbound, c.oid)), E'\n' ORDER BY c.relname)
				FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE c.relnamespace = 'rotor'::regnamespace AND c.relkind = 'r'} ],
			[ triggers => q{SELECT string_agg(format('%s %s %s', tgrelid::regclass, tgname, tgenabled), E'\n' ORDER BY tgrelid::regclass::text, tgname)
				FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid WHERE c.relnamespace = 'rotor'::regnamespace AND NOT tgisinternal} ],
			[ event_triggers => q{SELECT string_agg(format('%s %s %s', evtname, evtevent, evtenabled), E'\n' ORDER BY evtname) FROM pg_event_trigger} ],
			[ members => q{SELECT string_agg(o, E'\n' ORDER BY o) FROM (SELECT pg_describe_object(classid, objid, 0) AS o, classid FROM pg_depend
				WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'rotor')) d
				WHERE classid <> 'pg_type'::regclass} ],
			[ dumped => q{SELECT string_agg(format('%s %s', t::regclass, c), E'\n' ORDER BY t::regclass::text) FROM pg_extension, unnest(extconfig, extcondition) u(t, c) WHERE extname = 'rotor'} ],
			[ acls => q{SELECT string_agg(format('%s: %s %s', object, a.grantee::regrole, a.privilege_type), E'\n' ORDER BY object, a.grantee::regrole::text, a.privilege_type)
				FROM (SELECT oid::regclass::text AS object, relowner AS owner, relacl AS acl FROM pg_class WHERE relnamespace = 'rotor'::regnamespace
					UNION ALL SELECT oid::regprocedure::text, proowner, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc WHERE pronamespace = 'rotor'::regnamespace
					UNION ALL SELECT nspname, nspowner, nspacl FROM pg_namespace WHERE nspname = 'rotor') o, aclexplode(acl) a WHERE a.grantee <> owner} ]));
}

# The verifiers of all roles, as one digest.
sub verifiers
{
	my ($node) = @_;
	return sql($node, q{SELECT md5(string_agg(rolname || ' ' || coalesce(rolpassword, ''), ',' ORDER BY rolname)) FROM pg_authid});
}

# Does each secret that works open, and log in? Its values by name.
sub passwords
{
	my ($node, $name) = @_;
	my %password = map { $_ => password_at($node, $_) } sort keys %working;

	logs_in($node, $working{$_}, $password{$_}, "$name: the value of " . plain($_) . ' logs in') for sort keys %password;
	return %password;
}

# What a role with a right of its own gets.
sub read_as
{
	my ($node, $role) = @_;
	return attempt($node, q{SELECT length(rotor.get_secret('app_user') ->> 'password') >= 32}, user => $role, password => $role, host => '127.0.0.1');
}

#---------------------------------------------------------------------------------------------------------------------
# What there is

sub fill
{
	my ($node) = @_;
	my $quoted  = quote_name($odd);
	my $literal = "'" . $odd =~ s/'/''/gr . "'";

	sql($node, <<"SQL");
INSERT INTO rotor.policy (name, length, symbols, rotation_interval, description) VALUES ('every night', 40, false, '1 day', 'no symbols, every day');
INSERT INTO rotor.policy (name, backoff, backoff_max) VALUES ('patient', '30 days', '30 days');
UPDATE rotor.policy SET length = 48 WHERE name = 'default';
CREATE ROLE $quoted LOGIN;
CREATE ROLE reader LOGIN PASSWORD 'reader';
CREATE ROLE stranger LOGIN PASSWORD 'stranger';
SQL
	sql($node, "CREATE ROLE $_ LOGIN")
	  for qw(app_user first_name another_name resting nightly unfinished stuck gone leaving moved);
	sql($node, $_)
	  for q{SELECT rotor.manage('renamed', username => 'first_name')}, q{SELECT rotor.manage('by_another', username => 'another_name')},
	  q{SELECT rotor.manage('nightly', policy => 'every night')}, q{SELECT rotor.manage('unfinished', policy => 'patient')};
	sql($node, "SELECT rotor.rotate($_)")
	  for $literal, map { "'$_'" } qw(app_user app_user renamed by_another resting nightly unfinished stuck gone leaving moved);
	sql($node, <<'SQL');
SELECT rotor.disable('resting');
SELECT rotor.unmanage('leaving');
SELECT rotor.grant_access('app_user', 'reader', 'read');
SELECT rotor.grant_access('nightly', 'reader', 'rotate');
DROP ROLE gone;
ALTER ROLE first_name RENAME TO renamed_role;
SQL
	ok(poll_until(sub { sql($node, q{SELECT username FROM rotor.secret WHERE name = 'renamed'}) eq 'renamed_role' }),
		'given: a role that was renamed, of which rotor knows');
}

# A dead letter, and a rotation in the middle: its password is set, and no login could prove it so far.
sub leave_work
{
	my ($node, $name) = @_;

	sql($node, q{BEGIN; SELECT rotor.rotate('stuck', wait => false); ALTER ROLE stuck NOLOGIN; COMMIT});
	ok(poll_until(sub { sql($node, 'SELECT secret FROM rotor.dead_letter') eq 'stuck' }), "$name: given: a dead letter");

	set_conf($node, 'rotor.verify_port' => PostgreSQL::Test::Cluster::get_free_port());
	is(sql($node, q{SELECT status FROM rotor.rotate('unfinished', strategy => 'immediate')}), 'verifying', "$name: given: a rotation whose password is set");
	ok(poll_until(sub { last_rotation($node, 'unfinished', 'attempt') >= 1 }), "$name: given: its login has failed");
	sql($node, q{UPDATE rotor.rotation SET next_attempt_at = now() + interval '1 day' WHERE status = 'verifying'});
	set_conf($node, 'rotor.verify_port' => '0');
}

#---------------------------------------------------------------------------------------------------------------------
# The way to another version

# As the page has it: a cluster of the new version, the file with the keys, pg_upgrade.
sub upgrade
{
	my ($old, $from, $to) = @_;
	my $new = cluster_of($to, start => 0);
	my $output;

	$old->stop;
	copy($old->data_dir . '/pg_hba.conf', $new->data_dir . '/pg_hba.conf') or die "pg_hba.conf: $!";
	copy($old->data_dir . '/rotor.key', $new->data_dir . '/rotor.key') or die "rotor.key: $!";
	my $folder = PostgreSQL::Test::Utils::tempdir_short();
	my $ok = IPC::Run::run([ "/usr/lib/postgresql/$to/bin/pg_upgrade", '-b', "/usr/lib/postgresql/$from/bin", '-B', "/usr/lib/postgresql/$to/bin",
			'-d', $old->data_dir, '-D', $new->data_dir, '-s', $folder, '-U', 'postgres', '-p', $old->port, '-P', $new->port ],
		'<', \undef, '>&', \$output, init => sub { chdir $folder or die "$folder: $!" });
	ok($ok, "pg_upgrade from $from to $to") or BAIL_OUT($output);
	$new->start;
	return $new;
}

sub same_facts
{
	my ($node, $before, $name) = @_;
	my %now = all_facts($node);

	is($now{$_}, $before->{$_}, "$name: $_ as before") for sort keys %$before;
}

# Nothing is rotated, whoever asks, and only superusers read.
sub rests
{
	my ($node, $name) = @_;
	my $verifiers = verifiers($node);
	my $rotations = sql($node, 'SELECT count(*) FROM rotor.rotation');

	like(health_of($node, 'other_cluster'), qr/^error /, "$name: health() says that the secrets are another cluster's");
	rotate_fails($node, 'app_user', '55000', qr/another cluster.*reconcile/s, "$name: no rotation on request");
	fails($node, q{SELECT rotor.rotate('nightly')}, '42501', undef, "$name: nor for one with a right", user => 'reader', password => 'reader', host => '127.0.0.1');
	sql($node, q{UPDATE rotor.secret SET next_rotation = now() - interval '1 hour' WHERE name = 'nightly'});
	sql($node, q{UPDATE rotor.rotation SET next_attempt_at = now() - interval '1 hour' WHERE status = 'verifying'});
	is(sql($node, 'SELECT * FROM rotor.run_due()'), '', "$name: nor what is due");
	is(read_as($node, 'reader')->{sqlstate}, '42501', "$name: one with a right does not read");
	is(sql($node, 'SELECT count(*) FROM rotor.rotation'), $rotations, "$name: no rotation was begun");
	is(verifiers($node), $verifiers, "$name: every role has its verifier");
}

# The superuser's word; the findings that are not 'bound', as secret|role|finding.
sub reconciled
{
	my ($node) = @_;
	return sql($node, q{SELECT secret_name, role, finding FROM rotor.reconcile() WHERE finding <> 'bound' ORDER BY secret_name});
}

sub works
{
	my ($node, $name) = @_;

	like(health_of($node, 'other_cluster'), qr/^error .*: 1$/, "$name: health() still names the one without a role");
	ok(poll_until(sub { last_rotation($node, 'nightly', q{status = 'success' AND trigger = 'schedule' AND finished_at > pg_postmaster_start_time()}) eq 't' }),
		"$name: a worker rotates what is due by itself");
	ok(poll_until(sub { last_rotation($node, 'unfinished', 'status') eq 'success' }), "$name: a rotation in the middle comes to its end");

	sql($node, 'ALTER ROLE stuck LOGIN');
	sql($node, q{SELECT rotor.requeue(id) FROM rotor.dead_letter});
	ok(poll_until(sub { last_rotation($node, 'stuck', 'status') eq 'success' }), "$name: a dead letter is taken up again");

	is(read_as($node, 'reader')->{out}, 't', "$name: a right to read holds");
	is(read_as($node, 'stranger')->{sqlstate}, '42501', "$name: and nobody else has one");
	rotate_ok($node, 'nightly', "$name: a right to rotate holds", user => 'reader', password => 'reader', host => '127.0.0.1');
	is(sql($node, q{SELECT enabled FROM rotor.secrets WHERE secret = 'resting'}), 'f', "$name: what was disabled is so");
	is(sql($node, q{SELECT policy FROM rotor.secrets WHERE secret = 'nightly'}), 'every night', "$name: a policy is kept");

	for my $secret (sort keys %working)
	{
		my $quoted = $secret =~ s/'/''/gr;

		rotate_ok($node, $quoted, "$name: " . plain($secret) . ' is rotated');
		assert_invariants($node, $quoted, "$name: " . plain($secret));
	}
	is(sql($node, q{SELECT length(rotor.get_secret('app_user') ->> 'password')}), '48', "$name: by the policy that was changed");
	fails($node, 'DELETE FROM rotor.audit', '42501', undef, "$name: the audit is append-only");
	is(sql($node, q{SELECT count(*) FROM rotor.audit_log WHERE event = 'resolved'}) > 0, 1, "$name: and has that the secrets were resolved");
}

#---------------------------------------------------------------------------------------------------------------------
# 15, 17, 18

my $node = cluster_of($majors[0]);
fill($node);

for my $step (1 .. $#majors)
{
	my ($from, $to) = @majors[ $step - 1, $step ];
	my $name = "from $from to $to";

	leave_work($node, $name);
	sql($node, q{SELECT * FROM rotor.run_due()});
	# Of this one rotor does not hear before the upgrade: no hook sees it.
	sql($node, q{UPDATE pg_authid SET rolname = 'moved_away' WHERE rolname = 'moved'}) if $step == 1;

	my %before   = all_facts($node);
	my %password = passwords($node, "$name: given");
	my $new      = upgrade($node, $from, $to);

	is(sql($new, 'SHOW server_version') =~ s/\D.*//sr, $to, "$name: the server is a $to");
	same_facts($new, \%before, "$name: after pg_upgrade");
	my %now = passwords($new, "$name: after pg_upgrade");
	ok($now{$_} eq $password{$_}, "$name: the value of " . plain($_) . ' is as before') for sort keys %password;
	rests($new, $name);

	if ($step == 1)
	{
		is(reconciled($new), "gone|gone|role_missing\nmoved|moved|role_missing\nunfinished|unfinished|rotating", "$name: reconcile() binds all but those whose role is not found");
		sql($new, q{SELECT rotor.manage('moved', username => 'moved_away')});
		rotate_ok($new, 'moved', "$name: a role that was renamed behind rotor's back is told by manage()");
		assert_invariants($new, 'moved', "$name: moved");
	}
	else
	{
		is(reconciled($new), "gone|gone|role_missing\nunfinished|unfinished|rotating", "$name: reconcile() binds all but the one without a role");
	}
	works($new, $name);
	$node = $new;
}

succeeds($node, q{SELECT rotor.restore('leaving')}, 'what was unmanaged before both upgrades is brought back');
rotate_ok($node, 'leaving', 'and rotated');
assert_invariants($node, 'leaving', 'leaving');
$node->stop;

done_testing();
