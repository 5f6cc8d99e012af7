# Who calls, from inside what, and how many at once: nothing uncommitted is rotated, nobody deadlocks with himself, rights
# follow the role that acts, and at most one rotation of a role is active, whoever asks.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorTest;
use RotorCrash;
use Test::More;
use Time::HiRes qw(time);

my ($node, $kind);

# Statements of one session, each by itself.
sub lines { return join ";\n", @_ }

# One active version, one that is current, and nothing under way.
sub is_settled
{
	my ($secret, $name, %options) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok(poll_until(sub { sql($node, "SELECT count(*) FROM rotor.rotations WHERE secret = '$secret' AND finished_at IS NULL", %options) eq '0' }),
		"$name: no rotation is under way");
	is(sql($node, <<"SQL", %options), '1|0', "$name: one version is current, none pending");
SELECT count(*) FILTER (WHERE stage = 'current'), count(*) FILTER (WHERE stage = 'pending')
FROM rotor.version v JOIN rotor.secret s ON s.id = v.secret_id WHERE s.name = '$secret' AND s.deleted_at IS NULL
SQL
}

#---------------------------------------------------------------------------------------------------------------------
# What the caller has not committed

sub uncommitted
{
	my $refused = sub {
		my ($name, @statements) = @_;
		my $before = sql($node, 'SELECT count(*) FROM rotor.rotation');
		my $error = fails($node, lines('BEGIN', @statements), '55000', undef, $name);

		like("$error->{detail} $error->{hint}", qr/commit first/i, "$name: commit first");
		is(sql($node, 'SELECT count(*) FROM rotor.rotation'), $before, "$name: nothing was begun");
	};

	sql($node, "CREATE ROLE known LOGIN");
	rotate_ok($node, 'known', 'given a managed role');
	my $state = role_state($node, 'known');
	$refused->('CREATE ROLE', 'CREATE ROLE fresh LOGIN', q{SELECT status FROM rotor.rotate('fresh')});
	$refused->('CREATE ROLE in a subtransaction', 'SAVEPOINT s', 'CREATE ROLE fresh LOGIN', 'RELEASE s', q{SELECT status FROM rotor.rotate('fresh')});
	$refused->('ALTER ROLE', 'ALTER ROLE known CONNECTION LIMIT 3', q{SELECT status FROM rotor.rotate('known')});
	$refused->('ALTER ROLE RENAME', 'ALTER ROLE known RENAME TO renamed', q{SELECT status FROM rotor.rotate('known')});
	$refused->('a new policy', q{INSERT INTO rotor.policy (name) VALUES ('fresh')}, q{SELECT rotor.manage('known', policy => 'fresh')},
		q{SELECT status FROM rotor.rotate('known')});
	$refused->('a changed policy', q{UPDATE rotor.policy SET length = 40 WHERE name = 'default'}, q{SELECT status FROM rotor.rotate('known')});
	sql($node, 'CREATE ROLE unmanaged LOGIN');
	$refused->('a changed policy, of a role that is not managed yet', q{UPDATE rotor.policy SET length = 40 WHERE name = 'default'},
		q{SELECT status FROM rotor.rotate('unmanaged')});
	$refused->('manage()', q{SELECT rotor.manage('unmanaged')}, q{SELECT status FROM rotor.rotate('unmanaged')});
	$refused->('manage() with another policy', q{SELECT rotor.manage('known', policy => 'compat')}, q{SELECT status FROM rotor.rotate('known')});
	is(role_state($node, 'known'), $state, 'the role is as it was');
	is(sql($node, q{SELECT count(*) FROM rotor.secret WHERE name = 'unmanaged'}), '0', 'what was not committed is not there');

	my $holder = holder($node, 'CREATE ROLE elsewhere LOGIN');
	rotate_fails($node, 'elsewhere', '42704', qr/elsewhere/, "a role that another session has not committed");
	let_go($holder, 'COMMIT');
	rotate_ok($node, 'elsewhere', 'when it is committed, rotate()');

	# wait => false belongs to the caller's transaction, so all of this is fine there, and is undone with it.
	my $queue = q{SELECT status FROM rotor.rotate('queued', wait => false)};
	is((split /\n/, sql($node, lines('BEGIN', 'CREATE ROLE queued LOGIN', q{SELECT FROM rotor.manage('queued', policy => 'compat')}, $queue, 'ROLLBACK')))[-1],
		'pending', 'wait => false queues for a role that the transaction has made');
	is(sql($node, q{SELECT count(*) FROM rotor.secret WHERE name = 'queued'}), '0', 'and is undone with it');
	sql($node, lines('BEGIN', 'CREATE ROLE queued LOGIN', q{SELECT FROM rotor.manage('queued', policy => 'compat')}, $queue, 'COMMIT'));
	sql($node, 'SELECT * FROM rotor.run_due()');
	ok(poll_until(sub { last_rotation($node, 'queued', 'status') eq 'success' }), 'committed, it is carried out');
	assert_invariants($node, 'queued', 'queued in the transaction that made the role');
	$refused->('rotate() after queueing', q{UPDATE rotor.policy SET description = 'x' WHERE name = 'compat'}, q{SELECT status FROM rotor.rotate('queued')});
	my $twice = attempt($node, lines('BEGIN', $queue, q{SELECT status FROM rotor.rotate('queued')}));
	like($twice->{sqlstate}, qr/^(55000|55006|55P03)$/, 'rotate() of what this very transaction has queued ends with an error') or diag $twice->{err};
	is_settled('queued', 'afterwards');
}

#---------------------------------------------------------------------------------------------------------------------
# What the caller holds locked

sub locked_by_the_caller
{
	sql($node, 'CREATE ROLE locked LOGIN');
	rotate_ok($node, 'locked', 'given a managed role');
	# So that nobody tries again by himself.
	sql($node, q{UPDATE rotor.policy SET backoff = '30 days', backoff_max = '30 days'});

	my $blocked = sub {
		my ($lock, $sqlstate, %how) = @_;
		my $state   = role_state($node, 'locked');
		my $started = time;
		my $call    = start_call($node, [ 'BEGIN', $lock, q{SELECT status FROM rotor.rotate('locked')} ], timeout => 60);
		my $error   = end_call($call);

		ok(!$error->{timed_out}, "$lock: no deadlock");
		like($error->{sqlstate}, $sqlstate, "$lock: an error that speaks of the lock") or diag $error->{err};
		ok($error->{hint}, "$lock: with a remedy");
		cmp_ok(time - $started, '<', 40, "$lock: after rotor.lock_timeout");
		if ($how{in_effect})
		{
			like($error->{detail}, qr/new password is in effect/, "$lock: DETAIL says that the password is in effect");
		}
		else
		{
			is(role_state($node, 'locked'), $state, "$lock: the role is as it was");
		}
		current_logs_in($node, 'locked', "$lock: I1 holds");
		rotate_ok($node, 'locked', "$lock: afterwards rotate()");
		is(active_rotations($node, 'locked'), '0', "$lock: which took up what was begun");
		assert_invariants($node, 'locked', "$lock: afterwards");
	};
	my $lock = qr/^55P03$/;

	$blocked->(q{COMMENT ON ROLE locked IS 'holds the lock of DROP ROLE'}, $lock);
	$blocked->(q{SELECT FROM pg_authid WHERE rolname = 'locked' FOR UPDATE}, $lock);
	$blocked->(q{SELECT FROM rotor.secret WHERE name = 'locked' FOR UPDATE}, $lock);
	$blocked->(q{SELECT FROM rotor.secret WHERE name = 'locked' FOR NO KEY UPDATE}, $lock, in_effect => 1);
	$blocked->("LOCK TABLE rotor.$_ IN ACCESS EXCLUSIVE MODE", $lock) for qw(version rotation policy secret);
	$blocked->('LOCK TABLE rotor.saved_verifier IN ACCESS EXCLUSIVE MODE', $lock);
	$blocked->('LOCK TABLE rotor.audit IN ACCESS EXCLUSIVE MODE', $lock);
	$blocked->('LOCK TABLE pg_authid IN SHARE ROW EXCLUSIVE MODE', $lock);
	short_backoff($node);
}

#---------------------------------------------------------------------------------------------------------------------
# Inside of what it is called

sub transactions
{
	sql($node, 'CREATE ROLE tx LOGIN');
	rotate_ok($node, 'tx', 'given a managed role');

	my $not_undone = sub {
		my ($name, @statements) = @_;
		my $before   = sql($node, q{SELECT count(*) FROM rotor.rotations WHERE secret = 'tx' AND status = 'success'});
		my $password = current_password($node, 'tx');

		attempt($node, lines(@statements));
		is(sql($node, q{SELECT count(*) FROM rotor.rotations WHERE secret = 'tx' AND status = 'success'}) - $before,
			1, "$name: the rotation is not undone");
		cannot_log_in($node, 'tx', $password, "$name: the former password logs in no more");
		is(story($node, 'tx'), 'value_sealed/ok password_set/ok login_proved/ok finished/ok', "$name: the audit is not undone either");
		assert_invariants($node, 'tx', $name);
	};
	my $rotate = q{SELECT status FROM rotor.rotate('tx')};

	$not_undone->('ROLLBACK', 'BEGIN', $rotate, 'ROLLBACK');
	$not_undone->('ROLLBACK TO SAVEPOINT', 'BEGIN', 'SAVEPOINT s', $rotate, 'ROLLBACK TO s', 'COMMIT');
	$not_undone->('a later error', 'BEGIN', $rotate, 'SELECT 1/0');
	$not_undone->('an exception that is caught', q{DO $$BEGIN PERFORM rotor.rotate('tx'); RAISE 'no'; EXCEPTION WHEN OTHERS THEN NULL; END$$});
	$not_undone->('REPEATABLE READ', 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT 1', $rotate, 'COMMIT');
	$not_undone->('SERIALIZABLE', 'BEGIN ISOLATION LEVEL SERIALIZABLE', 'SELECT count(*) FROM rotor.secrets', $rotate, 'COMMIT');
	$not_undone->('COPY', "COPY ($rotate) TO STDOUT");
	$not_undone->('a prepared statement', 'PREPARE p(text) AS SELECT status FROM rotor.rotate($1)', q{EXECUTE p('tx')});
	$not_undone->('EXPLAIN ANALYZE', "EXPLAIN (ANALYZE, COSTS OFF) $rotate");
	$not_undone->('a cursor', 'BEGIN', "DECLARE c CURSOR FOR $rotate", 'FETCH c', 'COMMIT');

	# A transaction with an old snapshot rotates and reads what is right now.
	my $in = sql($node, lines('BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT 1', $rotate, q{SELECT md5(rotor.get_secret('tx') ->> 'password')}, 'COMMIT'));
	is((split /\n/, $in)[-1], sql($node, q{SELECT md5(rotor.get_secret('tx') ->> 'password')}),
		'REPEATABLE READ: get_secret() reads what the server accepts now');

	my $state = role_state($node, 'tx');
	fails($node, lines('BEGIN READ ONLY', $rotate), '25006', undef, 'BEGIN READ ONLY');
	fails($node, lines('SET default_transaction_read_only = on', $rotate), '25006', undef, 'default_transaction_read_only of the session');
	is(role_state($node, 'tx'), $state, 'read only: the role is as it was');
	is(sql($node, lines('BEGIN READ ONLY', q{SELECT rotor.get_secret('tx') ->> 'username'})), 'tx', 'read only: reading works');
	rotate_ok($node, 'tx', 'in the end');

	# Several in one transaction.
	sql($node, lines(map { "CREATE ROLE many_$_ LOGIN" } 1 .. 3));
	is(sql($node, q{DO $$BEGIN FOR i IN 1 .. 3 LOOP PERFORM rotor.rotate('many_' || i); PERFORM rotor.rotate('many_' || i); END LOOP; END$$}),
		'', 'six rotations in one transaction');
	assert_invariants($node, "many_$_", "role $_ of one transaction") for 1 .. 3;
	is(sql($node, q{SELECT string_agg((rotor.rotate(secret)).status, ' ') FROM rotor.secrets WHERE secret LIKE 'many%'}),
		'success success success', 'rotate() for each row of a query');
}

#---------------------------------------------------------------------------------------------------------------------
# Who calls

sub rights
{
	sql($node, lines(
			'CREATE ROLE served LOGIN', 'CREATE ROLE plain LOGIN', 'CREATE ROLE creator CREATEROLE LOGIN', 'CREATE ROLE boss SUPERUSER LOGIN',
			'GRANT USAGE ON SCHEMA rotor TO plain, creator', 'GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA rotor TO plain, creator',
			'GRANT SELECT ON ALL TABLES IN SCHEMA rotor TO plain, creator'));
	my $version = sql($node, 'SHOW server_version_num');
	sql($node, lines('SET createrole_self_grant = $$$$', 'GRANT served TO creator WITH ADMIN OPTION')) if $version >= 160000;
	my $rotate = q{SELECT status FROM rotor.rotate('served')};
	my $actor  = q{SELECT requested_by, session_user_name FROM rotor.rotations WHERE secret = 'served' ORDER BY queued_at DESC LIMIT 1};
	rotate_ok($node, 'served', 'given a managed role');

	my $state = role_state($node, 'served');
	fails($node, lines('SET ROLE plain', $rotate), '42501', qr/served/, 'SET ROLE to one without the right');
	fails($node, lines('SET SESSION AUTHORIZATION plain', $rotate), '42501', undef, 'SET SESSION AUTHORIZATION to one without the right');
	fails($node, lines('SET ROLE plain', q{SELECT rotor.get_secret('served') IS NULL}), '42501', undef, 'reading, too');
	fails($node, lines('SET ROLE plain', q{SELECT rotor.rotate('boss')}), '42501', undef, 'and enrolling a superuser');
	fails($node, lines('SET ROLE creator', q{SELECT rotor.rotate('boss')}), '42501', undef, 'CREATEROLE does not reach a superuser');
	is(role_state($node, 'served'), $state, 'the role is as it was');
	is(sql($node, lines('SET ROLE creator', $rotate)), 'success', 'SET ROLE to one that could set the password');
	is(sql($node, $actor), 'creator|postgres', 'the rotation names the role and the session user');
	is(sql($node, q{SELECT DISTINCT actor || '|' || session_user_name FROM rotor.audit_log WHERE rotation = (SELECT id FROM rotor.rotations WHERE secret = 'served' ORDER BY queued_at DESC LIMIT 1)}),
		'creator|postgres', 'so does the audit');
	is(sql($node, lines('SET ROLE plain', 'RESET ROLE', $rotate)), 'success', 'RESET ROLE');

	# SECURITY DEFINER: the definer acts.
	for my $owner (qw(postgres plain creator))
	{
		sql($node, lines(
				"CREATE FUNCTION rotate_as_$owner() RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS \$\$$rotate\$\$",
				"ALTER FUNCTION rotate_as_$owner() OWNER TO $owner", "GRANT EXECUTE ON FUNCTION rotate_as_$owner() TO PUBLIC"));
	}
	is(sql($node, lines('SET SESSION AUTHORIZATION plain', 'SELECT rotate_as_postgres()')), 'success', "a superuser's SECURITY DEFINER function rotates for whoever may call it");
	is(sql($node, $actor), 'postgres|plain', 'the definer acted, in the session of the caller');
	is(sql($node, lines('SET SESSION AUTHORIZATION plain', 'SELECT rotate_as_creator()')), 'success', "so does that of a role with CREATEROLE");
	fails($node, 'SELECT rotate_as_plain()', '42501', undef, 'called by a superuser, the function of one without the right has none');
	fails($node, lines('SET SESSION AUTHORIZATION plain', 'SELECT rotate_as_plain()'), '42501', undef, 'nor by its owner');
	is(sql($node, lines('SET SESSION AUTHORIZATION plain', 'SELECT rotate_as_postgres()', 'SELECT current_user')), "success\nplain", 'afterwards the caller is who he was');
	fails($node, lines('SET SESSION AUTHORIZATION plain', 'SELECT rotate_as_postgres()', $rotate), '42501', undef, 'and has no more rights than before');

	# A right on this one secret.
	sql($node, q{SELECT rotor.grant_access('served', 'plain', 'rotate')});
	is(sql($node, lines('SET SESSION AUTHORIZATION plain', $rotate)), 'success', 'grant_access(rotate): rotate()');
	fails($node, lines('SET SESSION AUTHORIZATION plain', q{SELECT rotor.get_secret('served') IS NULL}), '42501', undef, 'grant_access(rotate): no reading');
	sql($node, q{SELECT rotor.revoke_access('served', 'plain', 'rotate')});
	fails($node, lines('SET SESSION AUTHORIZATION plain', $rotate), '42501', undef, 'revoke_access(): no more');

	# The caller's own error does not leave a superuser behind.
	fails($node, lines('SET SESSION AUTHORIZATION plain', q{DO $$BEGIN PERFORM rotor.rotate('served'); EXCEPTION WHEN OTHERS THEN NULL; END$$}, 'SELECT rolpassword FROM pg_authid'),
		'42501', undef, 'after a refusal that is caught, the caller is nobody else');
	fails($node, lines('SET SESSION AUTHORIZATION creator', q{DO $$BEGIN PERFORM rotor.rotate('served', wait => false); PERFORM rotor.rotate('served', wait => false); EXCEPTION WHEN OTHERS THEN NULL; END$$}, 'SELECT rolpassword FROM pg_authid'),
		'42501', undef, 'nor after an error inside');

	# A role that rotates itself cannot (its password is not its to set on a schedule), unless it was given the right.
	sql($node, lines(q{SELECT rotor.grant_access('served', 'served', 'rotate')}, q{SELECT rotor.grant_access('served', 'served', 'read')}));
	my $own = attempt($node, $rotate, host => '127.0.0.1', user => 'served', password => current_password($node, 'served'));
	is($own->{out}, 'success', 'a role rotates itself over its own session') or diag $own->{err};
	is(sql($node, q{SELECT host(client_addr) FROM rotor.rotations WHERE secret = 'served' ORDER BY queued_at DESC LIMIT 1}), '127.0.0.1', 'the address is on record');
	$own = attempt($node, q{SELECT status FROM rotor.rotate('served', terminate_sessions => true)}, host => '127.0.0.1', user => 'served', password => current_password($node, 'served'));
	is($own->{out}, 'success', 'terminate_sessions spares the caller') or diag $own->{err};
	assert_invariants($node, 'served', 'at the end');
}

sub parallel
{
	my $version = sql($node, 'SHOW server_version_num');
	my $force = 'SET ' . ($version >= 160000 ? 'debug_parallel_query' : 'force_parallel_mode') . ' = on';

	sql($node, 'CREATE ROLE par LOGIN');
	is(sql($node, lines($force, q{SELECT status FROM rotor.rotate('par')})), 'success', 'parallel query forced: rotate()');
	is(sql($node, lines($force, q{SELECT rotor.get_secret('par') ->> 'username'})), 'par', 'parallel query forced: get_secret()');
	is(sql($node, lines($force, q{SELECT rotor.connection_uri('par') LIKE 'postgresql://par:%'})), 't', 'parallel query forced: connection_uri()');
	is(sql($node, lines($force, q{SELECT rotor.describe('par') ->> 'secret'})), 'par', 'parallel query forced: describe()');
	is(sql($node, lines($force, q{SELECT length(rotor.generate_password('default'))})), '32', 'parallel query forced: generate_password(policy)');
	is(sql($node, lines($force, q{SELECT count(*) > 5 FROM rotor.health()})), 't', 'parallel query forced: health()');
	is(sql($node, lines($force, q{SELECT rotor.statistics() ->> 'active_rotations'})), '0', 'parallel query forced: statistics()');
	sql($node, lines($force, 'SELECT * FROM rotor.run_due()', 'SELECT * FROM rotor.coverage', 'SELECT * FROM rotor.upcoming', 'SELECT * FROM rotor.secrets'));
	pass('parallel query forced: run_due() and the views');

	# In real parallel workers, whatever may run there gives different values.
	sql($node, lines('CREATE TABLE rows AS SELECT i FROM generate_series(1, 20000) i', 'ALTER TABLE rows SET (parallel_workers = 2)', 'ANALYZE rows'));
	my $parallel = lines('SET parallel_setup_cost = 0', 'SET parallel_tuple_cost = 0', 'SET min_parallel_table_scan_size = 0');
	is(sql($node, lines($parallel, 'SELECT count(DISTINCT rotor.generate_password(16)) FROM rows')), '20000', 'generate_password() in parallel workers: all different');
	is(sql($node, lines($parallel, 'SELECT count(DISTINCT p) FROM (SELECT rotor.generate_hex(16) AS p FROM rows WHERE length(rotor.generate_hex(4)) = 8) r')),
		'20000', 'generate_hex() in parallel workers: all different');
	assert_invariants($node, 'par', 'at the end');
}

#---------------------------------------------------------------------------------------------------------------------
# Many at once

sub crowd
{
	my ($name) = @_;

	# A caller who is told of a lock is told of a rotation; nobody waits so long for anything else.
	set_conf($node, 'rotor.lock_timeout' => '1min');
	sql($node, lines(map { "CREATE ROLE crowd_$_ LOGIN" } 1 .. 20));
	for my $round (qw(first second))
	{
		my @calls   = map { start_call($node, "SELECT status FROM rotor.rotate('crowd_$_')") } 1 .. 20;
		my @results = map { end_call($_) } @calls;
		is((grep { $_->{out} eq 'success' } @results), 20, "$name: 20 roles from 20 sessions, $round time: all succeed")
		  or diag map { $_->{err} } grep { $_->{out} ne 'success' } @results;
	}
	my @out = grep { !try_login($node, "crowd_$_", current_password($node, "crowd_$_"))->{ok} } 1 .. 20;
	is("@out", '', "$name: all of them log in");
	is(sql($node, q{SELECT count(*) FROM rotor.coverage WHERE managed AND NOT in_sync}), '0', "$name: all are in sync");

	sql($node, 'CREATE ROLE wanted LOGIN');
	for my $round (qw(first second third))
	{
		my @calls   = map { start_call($node, q{SELECT status FROM rotor.rotate('wanted')}) } 1 .. 10;
		my @results = map { end_call($_) } @calls;
		my @odd     = grep { $_->{out} ne 'success' && $_->{sqlstate} ne '55006' } @results;
		is(@odd, 0, "$name: 10 rotations of one role at once, $round time: each succeeds or is told 55006") or diag map { "$_->{out} $_->{err}" } @odd;
		cmp_ok(scalar(grep { $_->{out} eq 'success' } @results), '>=', 1, "$name: at least one succeeds");
		ok(!(grep { $_->{sqlstate} eq '55006' && $_->{hint} eq '' } @results), "$name: 55006 comes with a remedy");
		is_settled('wanted', "$name, $round time");
		assert_invariants($node, 'wanted', "$name, $round time");
	}
	is(sql($node, q{SELECT count(*) FROM rotor.rotations WHERE status <> 'success' AND secret ~ '^(crowd|wanted)'}), '0', "$name: no rotation of theirs has failed");
}

#---------------------------------------------------------------------------------------------------------------------
# DROP ROLE and RENAME in the middle

sub dropped_and_renamed
{
	set_conf($node, 'rotor.lock_timeout' => '5min');
	my $gate = new_gate($node);
	my $held = sub {
		my ($role) = @_;
		my $arrived = arrivals($gate);
		close_gate($gate);
		my $call = start_call($node, "SELECT status FROM rotor.rotate('$role')");
		poll_until(sub { arrivals($gate) > $arrived }) or die 'the login did not come';
		return $call;
	};

	# DROP ROLE waits for the rotation's lock.
	sql($node, 'CREATE ROLE dropped LOGIN');
	rotate_ok($node, 'dropped', 'given a managed role');
	my $call = $held->('dropped');
	fails($node, lines("SET lock_timeout = '100ms'", 'DROP ROLE dropped'), '55P03', undef, 'DROP ROLE during a rotation waits');
	current_logs_in($node, 'dropped', 'the role is there');
	my $drop = start_call($node, 'DROP ROLE dropped');
	ok(waits_for_lock($node, call_pid($node, $drop)), 'DROP ROLE waits');
	open_gate($gate);
	is(end_call($call)->{out}, 'success', 'the rotation ends well');
	ok(end_call($drop)->{ok}, 'then the role is dropped');
	ok(poll_until(sub { active_rotations($node, 'dropped') eq '0' }), 'no rotation is left over');
	rotate_fails($node, 'dropped', '42704', qr/does not exist|dropped/, 'rotate() of a role that was dropped');
	is(sql($node, q{SELECT role_exists FROM rotor.secrets WHERE secret = 'dropped'}), 'f', 'rotor.secrets shows it');
	like(health_of($node, 'dropped_roles'), qr/^warning/, 'so does health()');
	sql($node, 'CREATE ROLE dropped LOGIN');
	my $error = rotate_fails($node, 'dropped', '42704', undef, 'another role of that name is not taken for it');
	like($error->{hint}, qr/unmanage.*manage/s, 'the remedy');
	sql($node, lines(q{SELECT rotor.unmanage('dropped')}, q{SELECT rotor.manage('dropped')}));
	rotate_ok($node, 'dropped', 'by the remedy, rotate() works');
	assert_invariants($node, 'dropped', 'by the remedy');

	# A DROP ROLE that is not committed holds the rotation up; what comes of it decides.
	my $holder = holder($node, 'DROP ROLE dropped');
	$call = start_call($node, q{SELECT status FROM rotor.rotate('dropped')});
	poll_until(sub { sql($node, q{SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND classid = 'pg_authid'::regclass AND NOT granted}) eq '1' || !is_running($call) });
	let_go($holder, 'COMMIT');
	$error = end_call($call);
	like($error->{sqlstate}, qr/^(42704|55P03)$/, 'a DROP ROLE that commits while the rotation waits: a clean error') or diag $error->{err};
	sql($node, lines(q{SELECT rotor.unmanage('dropped')}, 'CREATE ROLE dropped LOGIN', q{SELECT rotor.manage('dropped')}));
	rotate_ok($node, 'dropped', 'made anew');
	$holder = holder($node, 'DROP ROLE dropped');
	$call = start_call($node, q{SELECT status FROM rotor.rotate('dropped')});
	poll_until(sub { sql($node, q{SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND classid = 'pg_authid'::regclass AND NOT granted}) eq '1' || !is_running($call) });
	let_go($holder, 'ROLLBACK');
	is(end_call($call)->{out}, 'success', 'a DROP ROLE that is rolled back: the rotation succeeds');
	assert_invariants($node, 'dropped', 'a DROP ROLE that is rolled back');

	# Renamed between set and login.
	sql($node, 'CREATE ROLE before_name LOGIN');
	rotate_ok($node, 'before_name', 'given a managed role');
	$call = $held->('before_name');
	sql($node, 'ALTER ROLE before_name RENAME TO after_name');
	open_gate($gate);
	my $result = end_call($call);
	ok(!$result->{timed_out}, 'renamed in the middle: an answer');
	ok($result->{ok} || $result->{detail} =~ /Rotation/, 'renamed in the middle: success, or an error that names the rotation') or diag $result->{err};
	sql($node, 'SELECT * FROM rotor.run_due()');
	ok(poll_until(sub { active_rotations($node, 'before_name') eq '0' }), 'renamed in the middle: the rotation ends');
	like(last_rotation($node, 'before_name', 'status'), qr/^(success|rolled_back)$/, 'renamed in the middle: it succeeds or is rolled back');
	my $login = try_login($node, 'after_name', current_password($node, 'before_name'));
	ok($login->{ok}, 'I1: the version labelled current logs in, by the new name') or diag $login->{err};
	is(sql($node, q{SELECT rotor.get_secret('before_name') ->> 'username'}), 'after_name', 'get_secret() gives the new name');
	rotate_ok($node, 'before_name', 'the secret keeps its name: rotate()');
	assert_invariants($node, 'before_name', 'renamed in the middle');
	is(sql($node, q{SELECT role FROM rotor.secrets WHERE secret = 'before_name'}), 'after_name', 'rotor.secrets gives the new name');

	# Renamed while set waits for the row.
	$holder = holder($node, 'ALTER ROLE after_name RENAME TO third_name');
	$call = start_call($node, q{SELECT status FROM rotor.rotate('before_name')});
	waits_for_lock($node, wait_for_worker($node, 'after_name'));
	let_go($holder, 'COMMIT');
	is(end_call($call)->{out}, 'success', 'renamed before set: success');
	logs_in($node, 'third_name', current_password($node, 'before_name'), 'renamed before set: the new password logs in by the new name');
	assert_invariants($node, 'before_name', 'renamed before set');

	set_conf($node, 'rotor.verify_port' => '0');
	stop_listener($gate);
}

#---------------------------------------------------------------------------------------------------------------------

for my $case ([ 'not preloaded', 0, 0 ], [ 'preloaded', 1, 1 ], [ 'preloaded, 3 workers', 1, 3 ])
{
	(my $name, my $preload, my $workers) = @$case;
	$kind = $preload ? 'preloaded' : 'one-shot';
	$node = new_cluster('callers_' . ($preload ? $workers : 'one_shot'), preload => $preload,
		conf => "rotor.lock_timeout = '800ms'\nrotor.connect_timeout = '20s'\nrotor.poll_interval = '500ms'\n" . ($preload ? "rotor.workers = $workers\n" : ''));
	short_backoff($node);
	subtest "$name: uncommitted"  => \&uncommitted          unless $workers == 3;
	subtest "$name: locked"       => \&locked_by_the_caller unless $workers == 3;
	subtest "$name: transactions" => \&transactions         unless $workers == 3;
	subtest "$name: rights"       => \&rights               unless $workers == 3;
	subtest "$name: parallel"     => \&parallel             unless $workers == 3;
	subtest "$name: crowd"        => sub { crowd($name) };
	subtest "$name: dropped and renamed" => \&dropped_and_renamed;
	no_crash_in($node);
	$node->stop;
}

#---------------------------------------------------------------------------------------------------------------------
# Two databases with rotor in one cluster, both managing one role

subtest 'two databases, one role' => sub {
	$node = new_cluster('two_databases', conf => "restart_after_crash = on\nrotor.lock_timeout = '3s'\nrotor.connect_timeout = '2min'\n");
	my @other = (dbname => 'other');
	short_backoff($node);
	sql($node, 'CREATE DATABASE other');
	sql($node, 'CREATE EXTENSION rotor', @other);
	sql($node, q{UPDATE rotor.policy SET backoff = '1 ms', backoff_max = '1 ms'}, @other);
	sql($node, 'CREATE ROLE shared_user LOGIN');
	rotate_ok($node, 'shared_user', 'in the one database');
	rotate_ok($node, 'shared_user', 'in the other', @other);
	my $password = sub { sql($node, q{SELECT rotor.get_secret('shared_user') ->> 'password'}, @_) };
	logs_in($node, 'shared_user', $password->(@other), 'what the last one set logs in');
	is(sql($node, q{SELECT in_sync FROM rotor.coverage WHERE role = 'shared_user'}), 'f', 'the first one knows that it is not in sync');
	like(health_of($node, 'changed_elsewhere'), qr/^warning/, 'and its health() says so');

	# One at a time.
	my $gate = new_gate($node);
	close_gate($gate);
	my $call = start_call($node, q{SELECT status FROM rotor.rotate('shared_user')});
	poll_until(sub { arrivals($gate) == 1 }) or die 'the login did not come';
	rotate_fails($node, 'shared_user', '55006', qr/active/, 'while it is being rotated in the one database, rotate() in the other', @other);
	is(sql($node, q{SELECT status FROM rotor.rotate('shared_user', wait => false)}, @other), 'pending', 'queueing works');
	is(sql($node, 'SELECT * FROM rotor.run_due()', @other), '', 'run_due() there leaves it alone');
	open_gate($gate);
	is(end_call($call)->{out}, 'success', 'the first one ends well');
	is(sql($node, 'SELECT * FROM rotor.run_due()', @other), 'success|1', 'then run_due() in the other does its own');
	logs_in($node, 'shared_user', $password->(@other), 'whose password logs in');

	# A crash in the one database, a rotation in the other, then recovery: what is not ours is left alone.
	close_gate($gate);
	my $arrived = arrivals($gate);
	$call = start_call($node, q{SELECT status FROM rotor.rotate('shared_user')});
	poll_until(sub { arrivals($gate) > $arrived }) or die 'the login did not come';
	my $offset = -s $node->logfile;
	kill 'KILL', worker_of($node, 'shared_user');
	server_is_back($node, $offset);
	end_call($call);
	open_gate($gate);
	rotate_ok($node, 'shared_user', 'after a crash in the one, rotate() in the other', @other);
	my $state = role_state($node, 'shared_user');
	sql($node, 'SELECT * FROM rotor.run_due()');
	ok(poll_until(sub { active_rotations($node, 'shared_user') eq '0' }), 'the interrupted rotation ends');
	is(role_state($node, 'shared_user'), $state, 'the role keeps what the other database gave it');
	logs_in($node, 'shared_user', $password->(@other), 'whose password still logs in');
	is(last_rotation($node, 'shared_user', 'status'), 'failed', 'the interrupted rotation has failed');
	like(story($node, 'shared_user'), qr{superseded/superseded$}, 'because the role was changed by somebody else');
	rotate_ok($node, 'shared_user', 'and rotate() there works again');
	is(sql($node, 'SELECT count(*) FROM rotor.dead_letter'), '0', 'which settles the dead letter');

	# All at once.
	set_conf($node, 'rotor.verify_port' => '0');
	stop_listener($gate);
	my @calls = map { start_call($node, q{SELECT status FROM rotor.rotate('shared_user')}, dbname => $_ % 2 ? 'other' : 'postgres') } 1 .. 12;
	my @results = map { end_call($_) } @calls;
	my @odd = grep { $_->{out} ne 'success' && $_->{sqlstate} ne '55006' } @results;
	is(@odd, 0, '12 rotations from both databases: each succeeds or is told 55006') or diag map { $_->{err} } @odd;
	cmp_ok(scalar(grep { $_->{out} eq 'success' } @results), '>=', 1, 'at least one succeeds');
	poll_until(sub { worker_of($node, 'shared_user') eq '' });
	my @logs_in = grep { try_login($node, 'shared_user', $password->(@$_))->{ok} } [], [@other];
	is(@logs_in, 1, 'the current version of exactly one of them logs in: the last to rotate');
	no_crash_in($node);
	$node->stop;
};

#---------------------------------------------------------------------------------------------------------------------
# No worker to be had

subtest 'max_worker_processes is exhausted' => sub {
	$node = new_cluster('no_processes', conf => "max_worker_processes = 0\n");
	sql($node, 'CREATE ROLE app_user LOGIN');
	my $state   = role_state($node, 'app_user');
	my $started = time;
	my $error   = rotate_fails($node, 'app_user', '53400', qr/max_worker_processes/, 'rotate()');
	like($error->{hint}, qr/max_worker_processes.*shared_preload_libraries/s, 'the remedy');
	cmp_ok(time - $started, '>', 1, 'it has waited');
	cmp_ok(time - $started, '<', 60, 'but not for ever');
	is(role_state($node, 'app_user'), $state, 'the role is as it was');
	$started = time;
	fails($node, lines("SET statement_timeout = '500ms'", q{SELECT rotor.rotate('app_user')}), '57014', undef, 'the wait can be cancelled');
	cmp_ok(time - $started, '<', 8, 'at once');
	$error = fails($node, 'SELECT * FROM rotor.run_due()', '53400', undef, 'run_due() likewise');
	$node->stop;
};

subtest 'all workers are busy' => sub {
	$node = new_cluster('busy', preload => 1, conf => "rotor.workers = 1\nrotor.lock_timeout = '2min'\n");
	sql($node, lines('CREATE ROLE app_user LOGIN', 'CREATE ROLE other_user LOGIN'));
	rotate_ok($node, 'app_user', 'given a managed role');
	my $holder = holder($node, q{SELECT FROM pg_authid WHERE rolname = 'app_user' FOR UPDATE});
	my $call = start_call($node, q{SELECT status FROM rotor.rotate('app_user')});
	waits_for_lock($node, wait_for_worker($node, 'app_user'));
	my $error = rotate_fails($node, 'other_user', '53400', qr/busy/, 'rotate() of another role');
	like($error->{hint}, qr/rotor\.workers/, 'the remedy');
	fails($node, lines("SET statement_timeout = '3s'", q{SELECT rotor.rotate('other_user')}), '57014', qr/cancelled before the role was changed/, 'the wait can be cancelled');
	let_go($holder);
	is(end_call($call)->{out}, 'success', 'the first one ends well');
	is(sql($node, q{SELECT count(*) FROM rotor.secret WHERE name = 'other_user'}), '0', 'the one that was told no is not carried out later');
	rotate_ok($node, 'other_user', 'when the worker is free, rotate()');
	$node->stop;
};

subtest 'preloaded, but without workers' => sub {
	$node = new_cluster('no_workers', preload => 1, conf => "rotor.workers = 0\n");
	sql($node, 'CREATE ROLE app_user LOGIN');
	my $error = rotate_fails($node, 'app_user', '53400', qr/none of its workers is running/, 'rotate()');
	like($error->{hint}, qr/rotor\.workers/, 'the remedy');
	like(health_of($node, 'workers'), qr/^error/, 'health() says so');
	$node->stop;
};

subtest 'more callers than request slots' => sub {
	$node = new_cluster('slots', preload => 1, conf => "rotor.workers = 3\nmax_connections = 120\nrotor.lock_timeout = '5min'\n");
	sql($node, lines(map { "CREATE ROLE slot_$_ LOGIN" } 1 .. 80));
	# All are there before the first one calls, so that no call's time goes by while the others start.
	my $start = holder($node, 'SELECT pg_advisory_xact_lock(1)');
	my @calls = map { start_call($node, [ 'DO $$BEGIN PERFORM pg_advisory_xact_lock_shared(1); END$$', "SELECT status FROM rotor.rotate('slot_$_')" ]) } 1 .. 80;
	poll_until(sub { sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'}) eq '80' }) or die 'the callers did not come';
	my $holder = holder($node, 'LOCK TABLE rotor.version IN ACCESS EXCLUSIVE MODE');
	let_go($start);
	poll_until(sub { sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query ~ '^SELECT status FROM rotor.rotate'}) eq '80' }) or die 'not all have called';
	let_go($holder);
	my @results = map { end_call($_) } @calls;
	is((grep { $_->{out} eq 'success' } @results), 80, 'all succeed as slots become free') or diag map { $_->{err} } grep { $_->{out} ne 'success' } @results;
	$node->stop;
};

done_testing();
