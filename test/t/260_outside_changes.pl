# What others do to managed roles is noticed: from any database, by any spelling, only if it is committed; the policy says
# allow, warn or refuse; a rename is followed; a dropped role ends its rotations; drift is found, reported or healed, without a
# login and without PBKDF2; and nothing is missed for good when there is no room, no worker, or a crash.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorTest;
use Test::More;

my $node = new_cluster('main', preload => 1, conf => "max_prepared_transactions = 10\nrotor.poll_interval = '1h'\n");

sub manage
{
	my ($role, $policy) = @_;

	sql($node, qq{CREATE ROLE "$role" LOGIN});
	sql($node, "SELECT rotor.manage('$role', policy => '$policy')");
	rotate_ok($node, $role, "given $role, policy $policy");
	return $role;
}

# Events of a secret so far, in the order of time: those of others' changes and what they lead to.
sub events
{
	my ($secret) = @_;
	return sql($node, <<"SQL");
SELECT coalesce(string_agg(event, ' ' ORDER BY id), '') FROM rotor.audit WHERE secret = '$secret'
    AND event IN ('password_changed_outside', 'outside_change_refused', 'drift_found', 'relabelled', 'renamed', 'role_dropped')
SQL
}

sub comes_to
{
	my ($secret, $expected, $name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	poll_until(sub { events($secret) eq $expected });
	return is(events($secret), $expected, $name);
}

# Every change that was committed before this has been seen to: a marked change of another role comes after it, in order.
my $marks = 0;
sub settle
{
	$marks++;
	sql($node, "ALTER ROLE mark PASSWORD 'mark $marks'");
	poll_until(sub { sql($node, q{SELECT count(*) FROM rotor.audit WHERE secret = 'mark' AND event = 'password_changed_outside'}) eq $marks })
	  or die 'no worker has seen to the mark';
}

sub state_of
{
	my ($secret) = @_;
	return sql($node, "SELECT state FROM rotor.secrets WHERE secret = '$secret'");
}

sub the_set_is_complete
{
	my ($server) = @_;
	return poll_until(sub { health_of($server, 'watched_roles') =~ /^ok watched: \d+, changes to see to: 0$/ });
}

sql($node, q{INSERT INTO rotor.policy (name, outside_change, on_drift) VALUES ('allow', 'allow', 'report'), ('warn', 'warn', 'report'),
    ('refuse', 'refuse', 'report'), ('heal', 'allow', 'heal')});
sql($node, 'CREATE DATABASE elsewhere');
ok(the_set_is_complete($node), 'given a worker that has read the managed roles');
manage('mark', 'allow');

#---------------------------------------------------------------------------------------------------------------------
# Noticed, from any database, by any spelling

{
	my $role = manage('app', 'warn');
	my $told = qr/the password of role "app" is managed by rotor/;
	my $said = '';

	for my $case (
		[ 'ALTER ROLE',        q{ALTER ROLE app PASSWORD 'a'} ],
		[ 'ALTER USER',        q{ALTER USER app WITH ENCRYPTED PASSWORD 'b'} ],
		[ 'what \password does', q{\password app} ],
		[ 'PASSWORD NULL',     q{ALTER ROLE app PASSWORD NULL} ],
		[ 'a DO block',        q{DO $$BEGIN EXECUTE $q$ALTER ROLE app PASSWORD 'c'$q$; END$$} ],
		[ 'a function',        q{CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE sql AS $$ALTER ROLE app PASSWORD 'd'$$; SELECT pg_temp.f()} ],
		[ 'by himself',        q{SET SESSION AUTHORIZATION app; ALTER ROLE CURRENT_USER PASSWORD 'e'} ],
		[ 'with other options', q{ALTER ROLE app VALID UNTIL '2100-01-01' PASSWORD 'f' CONNECTION LIMIT 7} ])
	{
		my ($name, $statement) = @$case;

		# psql reads what is typed for \password from a terminal only.
		$statement = 'ALTER USER app PASSWORD ' . q{'SCRAM-SHA-256$4096:AAAAAAAAAAAAAAAAAAAAAA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='} if $statement =~ /^\\/;
		my $result = succeeds($node, $statement, "$name goes through", dbname => 'elsewhere');
		like($result->{notices}, $told, "$name: who does it is warned");
		$said .= ($said ? ' ' : '') . 'password_changed_outside' . ($said ? '' : ' drift_found');
		comes_to('app', $said, "$name: and it is on record");
	}
	is( sql($node, q{SELECT DISTINCT actor, session_user_name, detail ->> 'role', detail ->> 'database', (detail ->> 'at')::timestamptz <= at FROM rotor.audit
		    WHERE secret = 'app' AND event = 'password_changed_outside' ORDER BY 1}),
		"app|app|app|elsewhere|t\npostgres|postgres|app|elsewhere|t", 'with who, as what, where and when');
	is(state_of('app'), 'changed_elsewhere', 'rotor.secrets says so');
	like(health_of($node, 'changed_elsewhere'), qr/^warning .*: [12]$/, 'and so does health()');
	rotate_ok($node, 'app', 'a rotation');
	is(state_of('app'), 'active', 'mends it');
	assert_invariants($node, 'app', 'afterwards');

	for my $case (
		[ 'VALID UNTIL',       q{ALTER ROLE app VALID UNTIL '2100-01-01'} ],
		[ 'a connection limit', 'ALTER ROLE app CONNECTION LIMIT 9' ],
		[ 'a setting',         q{ALTER ROLE app SET work_mem = '1MB'} ],
		[ 'a member',          'GRANT app TO postgres; REVOKE app FROM postgres' ],
		[ 'DROP OWNED',        'DROP OWNED BY app' ],
		[ 'a role that is not managed', q{CREATE ROLE stranger LOGIN PASSWORD 'a'; ALTER ROLE stranger PASSWORD 'b'; DROP ROLE stranger} ])
	{
		my $result = succeeds($node, $case->[1], "$case->[0] goes through");
		is($result->{notices}, '', "$case->[0]: nobody is warned");
	}
	settle();
	is(events('app'), $said, 'none of these is a change of a password');
	is(sql($node, q{SELECT count(*) FROM rotor.audit WHERE detail ->> 'role' = 'stranger'}), '0', 'nor of a role that is managed');
}

#---------------------------------------------------------------------------------------------------------------------
# Only what is committed

{
	manage('careful', 'warn');
	for my $case (
		[ 'a rollback',               q{BEGIN; ALTER ROLE careful PASSWORD 'a'; ROLLBACK} ],
		[ 'ROLLBACK TO a savepoint',  q{BEGIN; SAVEPOINT s; ALTER ROLE careful PASSWORD 'a'; ROLLBACK TO s; COMMIT} ],
		[ 'an exception in a block',  q{DO $$BEGIN BEGIN EXECUTE $q$ALTER ROLE careful PASSWORD 'a'$q$; PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END; END$$} ],
		[ 'a savepoint within one',   q{BEGIN; SAVEPOINT s; SAVEPOINT t; ALTER ROLE careful PASSWORD 'a'; RELEASE t; ROLLBACK TO s; COMMIT} ],
		[ 'a rename and a drop that are undone', q{BEGIN; ALTER ROLE careful RENAME TO careless; DROP ROLE careless; ROLLBACK} ])
	{
		succeeds($node, $case->[1], "$case->[0] goes through");
		settle();
		is(events('careful'), '', "$case->[0]: nothing is told");
	}
	sql($node, q{BEGIN; ALTER ROLE careful PASSWORD 'a'; SAVEPOINT s; ALTER ROLE mark PASSWORD 'x'; ROLLBACK TO s; SAVEPOINT t; RELEASE t; COMMIT});
	comes_to('careful', 'password_changed_outside drift_found', 'what came before a savepoint that was undone is told');
	assert_invariants($node, 'mark', 'the role within the savepoint, after a rotation') if rotate_ok($node, 'mark', 'a rotation of the other');

	my $session = $node->background_psql('postgres');
	rotate_ok($node, 'careful', 'another rotation');
	$session->query_safe(q{SET client_min_messages = error});
	$session->query_safe(q{BEGIN; ALTER ROLE careful PASSWORD 'b'});
	settle();
	is(events('careful'), 'password_changed_outside drift_found', 'another session: nothing is told before its commit');
	$session->query_safe('COMMIT');
	comes_to('careful', 'password_changed_outside drift_found' x 1 . ' password_changed_outside drift_found', 'then it is');
	$session->quit;

	rotate_ok($node, 'careful', 'one more');
	sql($node, q{BEGIN; ALTER ROLE careful PASSWORD 'c'; PREPARE TRANSACTION 'later'});
	settle();
	is(state_of('careful'), 'active', 'a prepared transaction: nothing is told');
	sql($node, q{COMMIT PREPARED 'later'}, dbname => 'postgres');
	ok(poll_until(sub { state_of('careful') eq 'changed_elsewhere' }), 'a prepared transaction: found once it is committed');
}

#---------------------------------------------------------------------------------------------------------------------
# The same verifier again, and a former one

{
	manage('again', 'allow');
	my $first = sql($node, q{SELECT rolpassword FROM pg_authid WHERE rolname = 'again'});
	my $password = current_password($node, 'again');

	succeeds($node, "ALTER ROLE again PASSWORD '$first'", 'the same verifier again');
	comes_to('again', 'password_changed_outside', 'is told');
	settle();
	is(state_of('again'), 'active', 'and is no drift');
	rotate_ok($node, 'again', 'a rotation');
	my $second = current_password($node, 'again');
	is(succeeds($node, "ALTER ROLE again PASSWORD '$first'", 'the former verifier, as a dump of roles would bring it')->{notices}, '', 'allow: nobody is warned');
	comes_to('again', 'password_changed_outside password_changed_outside relabelled', 'allow: it is on record; and the labels follow');
	ok(current_password($node, 'again') eq $password, 'what was previous is current again');
	ok(password_of($node, 'again', 'previous') eq $second, 'and the other way round');
	assert_invariants($node, 'again', 'relabelled');
	rotate_ok($node, 'again', 'the next rotation') for 1 .. 2;
	my $third = current_password($node, 'again');
	sql($node, "ALTER ROLE again PASSWORD '$first'");
	comes_to('again', 'password_changed_outside password_changed_outside relabelled password_changed_outside relabelled', 'a verifier of a version without a label');
	ok(current_password($node, 'again') eq $password && password_of($node, 'again', 'previous') eq $third, 'is current too');
	assert_invariants($node, 'again', 'relabelled once more');
}

#---------------------------------------------------------------------------------------------------------------------
# Refused

{
	manage('strict', 'refuse');
	my $state = role_state($node, 'strict');
	my $password = current_password($node, 'strict');

	fails($node, q{ALTER ROLE strict PASSWORD 'mine'}, '42501', qr/managed by rotor.*rotor\.rotate\(\).*allow_outside_change/s, 'refuse: a superuser');
	fails($node, q{ALTER USER CURRENT_USER PASSWORD 'mine'}, '42501', qr/managed by rotor/, 'refuse: the role itself, from another database',
		dbname => 'elsewhere', host => '127.0.0.1', user => 'strict', password => $password);
	fails($node, q{DO $$BEGIN EXECUTE $q$ALTER ROLE strict PASSWORD NULL$q$; END$$}, '42501', undef, 'refuse: in a DO block');
	fails($node, q{SET SESSION AUTHORIZATION strict; SET rotor.allow_outside_change = on}, '42501', undef, 'refuse: the way round is for superusers');
	fails($node, q{CREATE ROLE nobody; SET ROLE nobody; ALTER ROLE strict PASSWORD 'mine'}, '42501', undef, 'refuse: who has no right gets the refusal of the server, which is not on record');
	is(role_state($node, 'strict'), $state, 'refuse: nothing was changed');
	comes_to('strict', 'outside_change_refused ' x 2 . 'outside_change_refused', 'refuse: each is on record, though its transaction was undone');
	is(sql($node, q{SELECT string_agg(actor || ' ' || result, ', ' ORDER BY id) FROM rotor.audit WHERE secret = 'strict' AND event = 'outside_change_refused'}),
		'postgres refused, strict refused, postgres refused', 'refuse: with who tried');
	for my $statement (q{ALTER ROLE strict VALID UNTIL '2100-01-01'}, 'ALTER ROLE strict CONNECTION LIMIT 5', 'ALTER ROLE strict RENAME TO stricter', 'ALTER ROLE stricter RENAME TO strict')
	{
		succeeds($node, $statement, "not refused: $statement");
	}
	rotate_ok($node, 'strict', 'refuse: rotor itself is not refused');
	assert_invariants($node, 'strict', 'refused');

	like(succeeds($node, q{SET rotor.allow_outside_change = on; ALTER ROLE strict PASSWORD 'mine'}, 'a superuser lets it pass')->{notices},
		qr/managed by rotor/, 'and is warned');
	ok(poll_until(sub { events('strict') =~ /password_changed_outside drift_found$/ }), 'and it is on record');
	rotate_ok($node, 'strict', 'a rotation mends it');

	# What the policy says holds from the commit of its change on.
	sql($node, q{BEGIN; UPDATE rotor.policy SET outside_change = 'allow' WHERE name = 'refuse'; ROLLBACK});
	fails($node, q{ALTER ROLE strict PASSWORD 'mine'}, '42501', undef, 'a change of the policy that was undone');
	sql($node, q{UPDATE rotor.policy SET outside_change = 'allow' WHERE name = 'refuse'});
	is(succeeds($node, q{ALTER ROLE strict PASSWORD 'mine'}, 'a change of the policy holds at once')->{notices}, '', 'for roles that it has already');
	sql($node, q{UPDATE rotor.policy SET outside_change = 'refuse' WHERE name = 'refuse'});
	fails($node, q{ALTER ROLE strict PASSWORD 'mine'}, '42501', undef, 'and back');
	sql($node, q{SELECT rotor.manage('strict', policy => 'allow')});
	is(succeeds($node, q{ALTER ROLE strict PASSWORD 'mine'}, 'another policy holds at once')->{notices}, '', 'for the secret that gets it');
	sql($node, q{SELECT rotor.manage('strict', policy => 'refuse')});
	sql($node, q{BEGIN; SELECT rotor.unmanage('strict'); ROLLBACK});
	fails($node, q{ALTER ROLE strict PASSWORD 'mine'}, '42501', undef, 'unmanage() that was undone');
	sql($node, q{SELECT rotor.unmanage('strict')});
	succeeds($node, q{ALTER ROLE strict PASSWORD 'mine'}, 'who is not managed is not refused');
	sql($node, q{SELECT rotor.restore('strict')});
	fails($node, q{ALTER ROLE strict PASSWORD 'mine'}, '42501', undef, 'restored');
	sql($node, q{CREATE ROLE never LOGIN; BEGIN; SELECT rotor.manage('never', policy => 'refuse'); ROLLBACK});
	succeeds($node, q{ALTER ROLE never PASSWORD 'mine'}, 'manage() that was undone leaves nothing behind');
	sql($node, q{SELECT rotor.reconcile('strict')});
	rotate_ok($node, 'strict', 'a rotation');
}

#---------------------------------------------------------------------------------------------------------------------
# Renamed, dropped

{
	manage('Old name', 'warn');
	my $password = current_password($node, 'Old name');
	sql($node, q{ALTER ROLE "Old name" RENAME TO "New ""name"""}, dbname => 'elsewhere');
	comes_to('Old name', 'renamed', 'a rename is on record');
	is(sql($node, q{SELECT role FROM rotor.secrets WHERE secret = 'Old name'}), 'New "name"', 'and followed');
	is(sql($node, q{SELECT rotor.get_secret('Old name') ->> 'username'}), 'New "name"', 'readers get the name');
	logs_in($node, 'New "name"', $password, 'that logs in');
	is(sql($node, q{SELECT actor FROM rotor.audit WHERE event = 'renamed' AND secret = 'Old name'}), 'postgres', 'with who did it');

	manage('short', 'warn');
	sql($node, q{UPDATE rotor.policy SET backoff = '1 hour', backoff_max = '1 day' WHERE name = 'warn'});
	sql($node, 'ALTER ROLE short NOLOGIN');
	set_conf($node, 'rotor.verify_port' => 1);
	sql($node, q{ALTER ROLE short LOGIN});
	fails($node, q{SELECT rotor.rotate('short')}, '08001', undef, 'given a rotation that waits for its next attempt');
	is(sql($node, q{SELECT next_attempt_at > now() FROM rotor.rotations WHERE secret = 'short' AND finished_at IS NULL}), 't', 'in a while');
	sql($node, q{DROP ROLE short}, dbname => 'elsewhere');
	ok(poll_until(sub { sql($node, q{SELECT count(*) FROM rotor.rotations WHERE secret = 'short' AND finished_at IS NULL}) eq '0' }), 'a role is dropped: its rotation ends');
	is(last_rotation($node, 'short', 'status, outcome, dead_letter'), 'failed|permanent|t', 'as permanent');
	comes_to('short', 'role_dropped', 'which is on record');
	is(state_of('short'), 'no_role', 'the secret is still there');
	sql($node, 'CREATE ROLE short LOGIN');
	sql($node, q{SELECT rotor.unmanage('short')});
	set_conf($node, 'rotor.verify_port' => 0);
	sql($node, q{UPDATE rotor.policy SET backoff = '1 second', backoff_max = '10 minutes' WHERE name = 'warn'});
	rotate_ok($node, 'short', 'the name can be used anew');
	assert_invariants($node, 'short', 'the new role');
}

#---------------------------------------------------------------------------------------------------------------------
# Drift that no hook sees, reported and healed

{
	manage($_, $_ =~ /^heal/ ? 'heal' : 'warn') for qw(report healed healing_disabled);
	my $known = current_password($node, 'healed');
	my $tampered = q{UPDATE pg_authid SET rolpassword = 'md5' || md5('secret' || rolname) WHERE rolname = };

	sql($node, "$tampered 'report'");
	is(sql($node, q{SELECT finding FROM rotor.reconcile('report')}), 'changed_elsewhere', 'a verifier written into pg_authid is found');
	is(sql($node, q{SELECT finding FROM rotor.reconcile() WHERE secret_name = 'report'}), 'changed_elsewhere', 'by a look at all, too');
	comes_to('report', 'drift_found', 'and on record once');
	is(last_rotation($node, 'report', 'trigger'), 'manual', 'report: nothing is rotated');
	is(state_of('report'), 'changed_elsewhere', 'report: it is seen');

	sql($node, q{SELECT rotor.disable('healing_disabled')});
	sql($node, "$tampered '$_'") for qw(healed healing_disabled);
	is(sql($node, q{SELECT secret_name, finding FROM rotor.reconcile() WHERE secret_name LIKE 'heal%' ORDER BY 1}),
		"healed|healing\nhealing_disabled|changed_elsewhere", 'heal: a rotation is due at once, if the secret is enabled');
	ok(poll_until(sub { last_rotation($node, 'healed', 'trigger, status') eq 'schedule|success' }), 'heal: a worker rotates it');
	ok($known ne current_password($node, 'healed'), 'heal: forward to a new value');
	is(state_of('healed'), 'active', 'heal: role and secret agree');
	is(sql($node, q{SELECT next_rotation IS NULL FROM rotor.secrets WHERE secret = 'healed'}), 't', 'heal: no schedule is left behind');
	assert_invariants($node, 'healed', 'healed');

	$known = current_password($node, 'healed');
	sql($node, q{ALTER ROLE healed PASSWORD 'mine'}, dbname => 'elsewhere');
	ok(poll_until(sub { current_password($node, 'healed') ne $known && state_of('healed') eq 'active' }), 'heal: what is noticed is healed by itself');
	ok(poll_until(sub { sql($node, q{SELECT count(*) FROM rotor.rotations WHERE finished_at IS NULL}) eq '0' }), 'heal: until nothing is left to do');
	assert_invariants($node, 'healed', 'healed by itself');
	is(sql($node, q{SELECT finding FROM rotor.reconcile('healed')}), 'ok', 'heal: nothing more is found');
	ok(poll_until(sub { sql($node, q{SELECT count(*) FROM rotor.rotations WHERE finished_at IS NULL}) eq '0' }), 'nothing is left to do');

	# In quarantine a secret waits for its turn.
	sql($node, q{UPDATE rotor.secret SET next_rotation = now() + interval '1 day', quarantined_until = now() + interval '1 day' WHERE name = 'healed'});
	sql($node, "$tampered 'healed'");
	is(sql($node, q{SELECT finding FROM rotor.reconcile('healed')}), 'changed_elsewhere', 'heal: a secret in quarantine is left there');
	is(sql($node, q{SELECT next_rotation > now() FROM rotor.secrets WHERE secret = 'healed'}), 't', 'heal: until its turn comes');
	rotate_ok($node, $_, "a rotation of $_") for qw(healed report);
}

#---------------------------------------------------------------------------------------------------------------------
# Whoever keeps his role's row locked keeps nobody else's changes from being seen to

{
	manage($_, 'allow') for qw(keeper other tampered);
	# As much of a lock as lets the change itself pass.
	my $held = holder($node, q{SELECT FROM pg_authid WHERE rolname = 'keeper' FOR KEY SHARE});

	sql($node, q{ALTER ROLE keeper PASSWORD 'mine'});
	comes_to('keeper', 'password_changed_outside', 'a change of a role that is locked is on record');
	sql($node, q{ALTER ROLE other PASSWORD 'mine'});
	comes_to('other', 'password_changed_outside drift_found', 'and so are those of others');
	sql($node, q{UPDATE pg_authid SET rolpassword = 'md5' || md5('secret' || rolname) WHERE rolname = 'tampered'});
	sql($node, q{UPDATE rotor.policy SET outside_change = 'warn' WHERE name = 'allow'});
	comes_to('tampered', 'drift_found', 'a comparison goes on behind it');
	is(events('keeper'), 'password_changed_outside', 'whose verifier waits');
	let_go($held);
	comes_to('keeper', 'password_changed_outside drift_found', 'until it is let go');
	sql($node, q{UPDATE rotor.policy SET outside_change = 'allow' WHERE name = 'allow'});
	rotate_ok($node, $_, "a rotation of $_") for qw(keeper other tampered);
	assert_invariants($node, 'keeper', 'afterwards');
}

#---------------------------------------------------------------------------------------------------------------------
# DROP EXTENSION: nobody is managed any more, at once

{
	sql($node, q{BEGIN; SET LOCAL client_min_messages = error; DROP EXTENSION rotor; ROLLBACK});
	fails($node, q{ALTER ROLE strict PASSWORD 'mine'}, '42501', undef, 'DROP EXTENSION that was undone');
	sql($node, q{SET client_min_messages = error; DROP EXTENSION rotor});
	is(succeeds($node, q{ALTER ROLE strict PASSWORD 'mine'}, 'after DROP EXTENSION nothing is refused')->{notices}, '', 'nor warned of');
	sql($node, 'CREATE EXTENSION rotor');
	sql($node, q{INSERT INTO rotor.policy (name, outside_change) VALUES ('refuse', 'refuse')});
	sql($node, q{SELECT rotor.manage('strict', policy => 'refuse')});
	fails($node, q{ALTER ROLE strict PASSWORD 'mine'}, '42501', undef, 'a new extension, a new secret: refused');
	rotate_ok($node, 'strict', 'a rotation');
}

#---------------------------------------------------------------------------------------------------------------------
# Restart, crash, and a worker that dies

{
	# A worker puts on record what was refused; a restart would come before it.
	comes_to('strict', 'outside_change_refused', 'what was refused is on record');
	$node->restart;
	ok(the_set_is_complete($node), 'after a restart the set is read again');
	fails($node, q{ALTER ROLE strict PASSWORD 'mine'}, '42501', undef, 'and refuses');
	comes_to('strict', 'outside_change_refused outside_change_refused', 'which is on record too');
	$node->append_conf('postgresql.conf', "rotor.workers = 0\n");
	$node->restart;
	succeeds($node, q{ALTER ROLE strict PASSWORD 'mine'}, 'while no worker has read the set nothing is refused');
	$node->stop('immediate');
	$node->append_conf('postgresql.conf', "rotor.workers = 2\nrotor.poll_interval = '200ms'\nrestart_after_crash = on\n");
	$node->start;
	comes_to('strict', 'outside_change_refused ' . 'outside_change_refused ' . 'drift_found', 'what was changed then is found at the next start, after a crash too');
	rotate_ok($node, 'strict', 'a rotation');
	sql($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'rotor worker'});
	fails($node, q{ALTER ROLE strict PASSWORD 'mine'}, '42501', undef, 'without workers the set is there');
	ok(poll_until(sub { health_of($node, 'workers') eq 'ok 2 of 2 running' }), 'the workers come back');
	comes_to('strict', 'outside_change_refused ' x 2 . 'drift_found outside_change_refused', 'and see to what happened meanwhile');

	# A session that is killed takes the server down, and up again, with no lock left behind.
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	$session->query_safe(q{SET client_min_messages = error; SET rotor.allow_outside_change = on});
	$session->query_safe(q{BEGIN; ALTER ROLE strict PASSWORD 'mine'});
	my $offset = -s $node->logfile;
	kill 'KILL', $pid;
	server_is_back($node, $offset);
	pass('a session is killed: the server comes back');
	ok(poll_until(sub { my $r = attempt($node, q{SELECT status FROM rotor.health() WHERE check_name = 'watched_roles' AND detail LIKE 'watched: 1,%'}); $r->{ok} && $r->{out} eq 'ok' }), 'with its set');
	fails($node, q{ALTER ROLE strict PASSWORD 'mine'}, '42501', undef, 'which refuses');
	assert_invariants($node, 'strict', 'killed');
	$session->{run}->kill_kill;
	unlike(slurp_file($node->logfile), qr/PANIC|TRAP:/, 'and nobody panics');
}
$node->stop;

#---------------------------------------------------------------------------------------------------------------------
# More than there is room for

{
	my $many = new_cluster('many', preload => 1, conf => "rotor.max_watched_roles = 5\nrotor.poll_interval = '200ms'\n");
	my $count = 10_000;

	$node = $many;
	# As many secrets, each with a value that is not its role's: what a look at all of them costs does not depend on it.
	sql($many, q{CREATE ROLE app LOGIN; SELECT rotor.rotate('app')});
	sql($many, <<"SQL", timeout => 900);
SELECT format('CREATE ROLE r%s LOGIN PASSWORD %L', n, 'SCRAM-SHA-256\$4096:AAAAAAAAAAAAAAAAAAAAAA==\$' || encode(sha256(n::text::bytea), 'base64') || ':AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=')
FROM generate_series(1, $count) n \\gexec
INSERT INTO rotor.secret (name, username, role_oid, system_identifier, created_by)
SELECT a.rolname, a.rolname, a.oid, c.system_identifier, 'postgres' FROM pg_authid a, pg_control_system() c WHERE a.rolname ~ '^r[0-9]+\$';
INSERT INTO rotor.version (id, secret_id, stage, key_id, sealed, fingerprint, set_at)
SELECT gen_random_uuid(), s.id, 'current', k.id, 'x', sha256(convert_to(a.rolpassword, 'UTF8')), now()
FROM rotor.secret s JOIN pg_authid a ON a.oid = s.role_oid, rotor.data_key k WHERE s.name <> 'app';
SQL
	$many->restart;
	ok(poll_until(sub { health_of($many, 'watched_roles') =~ /^warning .*rotor\.max_watched_roles, 5$/ }), 'too many roles for the set: health() says so');
	succeeds($many, q{ALTER ROLE r9999 PASSWORD 'mine'}, 'a role beyond it');
	comes_to('r9999', 'password_changed_outside drift_found', 'is noticed all the same');

	$many->append_conf('postgresql.conf', "rotor.max_watched_roles = 20000\n");
	$many->restart;
	ok(poll_until(sub { health_of($many, 'watched_roles') =~ /^ok watched: 10001,/ }), 'with room enough, ' . ($count + 1) . ' roles are watched');
	is(sql($many, q{SELECT count(*), count(*) FILTER (WHERE finding = 'ok') FROM rotor.reconcile()}), ($count + 1) . "|$count", 'reconcile() looks at all of them');
	is(sql($many, q{SELECT secret_name, finding FROM rotor.reconcile() WHERE finding <> 'ok'}), 'r9999|changed_elsewhere', 'and finds the one');

	# More changes in one transaction than the ring has room for.
	sql($many, q{SET client_min_messages = error; DO $$BEGIN FOR i IN 1 .. 1500 LOOP EXECUTE format('ALTER ROLE r%s PASSWORD NULL', i); END LOOP; END$$});
	ok(poll_until(sub { sql($many, q{SELECT count(*) FROM rotor.secrets WHERE state = 'changed_elsewhere'}) eq '1501' }, 180), 'more changes at once than there is room for: all are found');
	is(sql($many, q{SELECT count(*) FROM rotor.audit WHERE event = 'drift_found'}), '1501', 'each of them once');
	ok(poll_until(sub { sql($many, q{SELECT count(*) FROM rotor.audit WHERE event = 'password_changed_outside' AND secret <> 'r9999'}) eq '1024' }), 'with who did it, as far as there was room');
	ok(poll_until(sub { sql($many, q{SELECT count(*) > 0 FROM rotor.audit WHERE event = 'reconciled' AND detail ->> 'why' = 'lost'}) eq 't' }), 'and the audit says that some were lost');

	# The worker goes through the other notes, of what the comparison has found already, a few at a time.
	ok(poll_until(sub { health_of($many, 'watched_roles') eq 'ok watched: 10001, changes to see to: 0, found later by a comparison: 476' }), 'as health() does')
	  or diag health_of($many, 'watched_roles');

	# Names, after a comparison by a worker.
	sql($many, q{SET session_replication_role = replica; UPDATE pg_authid SET rolname = 'renamed_behind_our_back' WHERE rolname = 'r5000'});
	sql($many, q{UPDATE rotor.home SET maintained_at = NULL});
	$many->restart;
	ok(poll_until(sub { sql($many, q{SELECT role FROM rotor.secrets WHERE secret = 'r5000'}) eq 'renamed_behind_our_back' && events('r5000') eq 'renamed' }), 'a name that was changed behind our back is learned');
	$many->stop;
}

#---------------------------------------------------------------------------------------------------------------------
# Home database dropped: nothing is refused for ever

{
	my $gone = new_cluster('gone', preload => 1, extension => 0, conf => "rotor.database = 'home'\n");

	sql($gone, 'CREATE DATABASE home');
	sql($gone, q{CREATE EXTENSION rotor; CREATE ROLE app LOGIN; INSERT INTO rotor.policy (name, outside_change) VALUES ('refuse', 'refuse'); SELECT rotor.manage('app', policy => 'refuse')}, dbname => 'home');
	fails($gone, q{ALTER ROLE app PASSWORD 'mine'}, '42501', undef, 'given a role that is refused');
	sql($gone, 'DROP DATABASE home');
	succeeds($gone, q{ALTER ROLE app PASSWORD 'mine'}, 'the home database is dropped: its roles are free');
	$gone->stop;
}

#---------------------------------------------------------------------------------------------------------------------
# Not preloaded: nothing is noticed at once, but found

{
	my $plain = new_cluster('plain');

	$node = $plain;
	sql($plain, q{CREATE ROLE app LOGIN; INSERT INTO rotor.policy (name, outside_change, on_drift) VALUES ('heal', 'refuse', 'heal'); SELECT rotor.manage('app', policy => 'heal')});
	rotate_ok($plain, 'app', 'not preloaded: a rotation');
	succeeds($plain, q{ALTER ROLE app PASSWORD 'mine'}, 'not preloaded: nothing is refused');
	is(sql($plain, q{SELECT count(*) FROM rotor.health() WHERE check_name = 'watched_roles'}), '0', 'not preloaded: health() has nothing to say of it');
	sql($plain, 'UPDATE rotor.home SET maintained_at = NULL');
	sql($plain, 'SELECT rotor.run_due()');
	ok(poll_until(sub { events('app') eq 'drift_found' }), 'not preloaded: maintenance finds it');
	sql($plain, 'SELECT rotor.run_due()');
	is(state_of('app'), 'active', 'not preloaded: and the next run_due() heals it');
	assert_invariants($plain, 'app', 'not preloaded');
	$plain->stop;
}

done_testing();
