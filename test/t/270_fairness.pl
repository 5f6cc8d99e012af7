# Whoever fails is in nobody's way, and rotor is in nobody's: a secret that keeps failing comes after all others, and at last
# from time to time only; slots that are used up, locks and hung logins are passing states that are told; neither a shutdown nor
# DROP DATABASE waits for any of it.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorTest;
use Test::More;

my $never = 'SELECT pg_sleep(3600)';

# Roles NAME_1 ... NAME_N that rotor manages by a policy.
sub given_secrets
{
	my ($node, $name, $count, $policy, %options) = @_;

	sql($node, <<"SQL", %options);
DO \$\$BEGIN FOR i IN 1 .. $count LOOP EXECUTE format('CREATE ROLE %I LOGIN', '${name}_' || i); END LOOP; END\$\$;
SELECT count(rotor.manage('${name}_' || i, policy => '$policy')) FROM generate_series(1, $count) i;
SQL
}

sub policy
{
	my ($node, $name, $query, %options) = @_;
	sql($node, "INSERT INTO rotor.policy (name, rotation_interval, backoff, backoff_max, max_attempts, verify_query)
		VALUES ('$name', '30 days', '1 ms', '1 ms', " . ($options{attempts} // 100) . ', ' . ($query ? "'$query'" : 'NULL') . ')', %options);
}

sub rotated
{
	my ($node, $name, %options) = @_;
	return sql($node, "SELECT count(*) FROM rotor.rotations WHERE secret LIKE '$name\\_%' AND status = 'success'", %options);
}

# The session of a verification login that has got as far as the policy's query.
sub hangs
{
	my ($node) = @_;
	return sql($node, "SELECT count(*) FROM pg_stat_activity WHERE query = '$never' AND state = 'active'") > 0;
}

#---------------------------------------------------------------------------------------------------------------------
# One worker, and logins that hang

{
	my $node = new_cluster('one_worker', preload => 1, conf => "rotor.workers = 1\nrotor.connect_timeout = '500ms'\nrotor.poll_interval = '200ms'\n");

	policy($node, 'well', undef);
	policy($node, 'hangs', $never);
	policy($node, 'hangs_once', $never, attempts => 1);
	given_secrets($node, 'well', 50, 'well');
	given_secrets($node, 'hung', 1, 'hangs');
	# Due before all others, and nothing is known against it yet. Nothing of it counts as missed: that would be paced.
	sql($node, q{UPDATE rotor.secret SET next_rotation = now() - CASE WHEN name LIKE 'hung%' THEN interval '1 ms' ELSE interval '0' END});
	ok(poll_until(sub { rotated($node, 'well') eq '50' }), 'while a login hangs again and again, one worker rotates fifty other secrets');
	is(sql($node, q{SELECT status FROM rotor.rotations WHERE secret = 'hung_1'}), 'verifying', 'and the one that hangs is not over');
	is( sql($node, <<'SQL'), '1', 'which had one attempt before they had theirs, for then it was known to fail');
SELECT count(*) FROM rotor.audit WHERE secret = 'hung_1' AND event = 'attempt_failed'
AND id < (SELECT max(id) FROM rotor.audit WHERE secret LIKE 'well%' AND event = 'value_sealed')
SQL
	like(sql($node, q{SELECT outcome, error_code FROM rotor.rotations WHERE secret = 'hung_1'}), qr/^transient\|(08001|57014)$/, 'what is wrong with it is told');
	logs_in($node, 'hung_1', current_password($node, 'hung_1'), 'its current password logs in meanwhile');

	# Many that are known to fail, due long before the others.
	given_secrets($node, 'known', 5, 'hangs_once');
	sql($node, <<'SQL');
UPDATE rotor.secret SET failures = CASE WHEN name LIKE 'known%' THEN 3 ELSE 0 END,
    next_rotation = now() - CASE WHEN name LIKE 'known%' THEN interval '1 ms' ELSE interval '0' END
WHERE name NOT LIKE 'hung%'
SQL
	ok(poll_until(sub { rotated($node, 'well') eq '100' }), 'fifty secrets that are due after five known to hang are rotated');
	is( sql($node, <<'SQL'), 't', 'while at most one of the five had its turn');
SELECT count(*) <= 1 FROM rotor.audit WHERE secret LIKE 'known%' AND event = 'value_sealed'
AND id < (SELECT max(id) FROM rotor.audit WHERE secret LIKE 'well%' AND event = 'value_sealed')
SQL

	# Quarantine: it is over for now, and comes back by itself.
	ok(poll_until(sub { sql($node, q{SELECT count(*) FROM rotor.secrets WHERE secret LIKE 'known%' AND state = 'quarantined' AND failures = 4}) eq '5' }),
		'the five fail once more, and are quarantined');
	like(health_of($node, 'quarantined'), qr/^warning .*: 5$/, 'health() counts them');
	is(sql($node, q{SELECT count(*) FROM rotor.upcoming WHERE secret LIKE 'known%' AND due_at > now() AND NOT overdue}), '5', 'they are scheduled for later');
	sql($node, q{UPDATE rotor.policy SET verify_query = NULL});
	sql($node, q{UPDATE rotor.secret SET next_rotation = now(), quarantined_until = now() WHERE name LIKE 'known%'});
	ok(poll_until(sub { rotated($node, 'known') eq '5' && rotated($node, 'hung') eq '1' }), 'when what was wrong is mended, and the pause is over, they are rotated');
	is(sql($node, q{SELECT count(*) FROM rotor.secrets WHERE state <> 'active' OR failures > 0 OR quarantined_until IS NOT NULL}), '0', 'none is quarantined any more');
	is(sql($node, 'SELECT count(*) FROM rotor.dead_letter'), '0', 'and no dead letter is left');
	assert_invariants($node, $_, $_) for qw(hung_1 known_1 well_50);

	# Locks: by one who changes the role, and by one who keeps rotations from it.
	set_conf($node, 'rotor.lock_timeout' => '500ms', 'rotor.connect_timeout' => '5s');
	my $changing = holder($node, 'ALTER ROLE well_1 CONNECTION LIMIT 50');
	my $keeping = holder($node, q{COMMENT ON ROLE well_2 IS 'kept'});
	sql($node, q{UPDATE rotor.secret SET next_rotation = now() - CASE WHEN name IN ('well_1', 'well_2') THEN interval '1 ms' ELSE interval '0' END WHERE name LIKE 'well%'});
	ok(poll_until(sub { rotated($node, 'well') eq '148' }), 'while two roles are locked, the others are rotated');
	ok(poll_until(sub { last_rotation($node, 'well_1', 'error_code, outcome') eq '55P03|transient' }), 'a role that is being changed: the rotation waits, and says for what');
	is(sql($node, q{SELECT count(*) FROM rotor.rotations WHERE secret = 'well_2'}), '2', 'one that is kept is left alone');
	let_go($_) for $changing, $keeping;
	ok(poll_until(sub { rotated($node, 'well') eq '150' }), 'when the locks are gone, both are rotated');
	assert_invariants($node, $_, $_) for qw(well_1 well_2);
	no_crash_in($node);
	$node->stop;
}

#---------------------------------------------------------------------------------------------------------------------
# Connections are used up

{
	my $node = new_cluster('crowded', preload => 1,
		conf => "max_connections = 10\nmax_wal_senders = 0\nrotor.poll_interval = '200ms'\n");
	my $sleeping = q{FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(3600)'};
	my @crowd;

	sql($node, 'CREATE ROLE app_user LOGIN');
	sql($node, q{UPDATE rotor.policy SET max_attempts = 100, backoff = '1 s', backoff_max = '1 s'});
	rotate_ok($node, 'app_user', 'given a secret');
	my $before = current_password($node, 'app_user');
	my $session = $node->background_psql('postgres');
	# A session that has just ended may take its place a moment longer.
	ok( poll_until(sub {
			push @crowd, start_call($node, 'SELECT pg_sleep(3600)') if @crowd < 100;
			$session->query_safe("SELECT count(*) $sleeping") eq '9';
		}), 'given that all connections are in use');
	like(attempt($node, 'SELECT 1')->{err}, qr/too many clients/, 'also those for superusers');
	$session->query_safe(q{SELECT rotor.rotate('app_user', wait => false)});
	ok(poll_until(sub { $session->query_safe(q{SELECT status, step, outcome, error_code FROM rotor.rotations ORDER BY queued_at DESC LIMIT 1}) eq 'verifying|test|transient|53300' }),
		'a rotation waits for the login of its test, and says for what');
	ok($session->query_safe(q{SELECT rotor.get_secret('app_user') ->> 'password'}) ne $before, 'the new password is current');
	is($session->query_safe(q{SELECT detail FROM rotor.health() WHERE check_name = 'workers'}), '2 of 2 running', 'workers need no connection');
	$session->query_safe("SELECT count(pg_terminate_backend(pid)) $sleeping");
	end_call($_) for @crowd;
	$session->quit;
	ok(poll_until(sub { last_rotation($node, 'app_user', 'status') eq 'success' }), 'when there is room again, it ends by itself');
	is_locked_out($node, 'app_user', $before, 'the former password no longer logs in');
	assert_invariants($node, 'app_user', 'after the crowd');
	no_crash_in($node);
	$node->stop;
}

#---------------------------------------------------------------------------------------------------------------------
# Background workers are used up, where each call needs one

{
	my $node = new_cluster('no_worker', conf => "max_worker_processes = 1\nmax_logical_replication_workers = 0\nrotor.connect_timeout = '10min'\n");

	sql($node, 'CREATE ROLE app_user LOGIN; CREATE ROLE other_user LOGIN');
	rotate_ok($node, $_, "given secret $_") for qw(app_user other_user);
	my $gate = new_gate($node);
	my $state = role_state($node, 'other_user');
	close_gate($gate);
	my $call = start_call($node, q{SELECT status FROM rotor.rotate('app_user')});
	wait_for_worker($node, 'app_user');
	my $result = rotate_fails($node, 'other_user', '53400', qr/max_worker_processes/, 'a call while the only background worker is in use');
	is(role_state($node, 'other_user'), $state, 'has changed nothing');
	is(sql($node, q{SELECT count(*) FROM rotor.rotations WHERE secret = 'other_user'}), '1', 'and has begun nothing');
	open_gate($gate);
	end_call($call);
	poll_until(sub { sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rotor worker'}) eq '0' });
	rotate_ok($node, 'other_user', 'when it is free again, the call');
	sql($node, 'SELECT * FROM rotor.run_due()');
	is(last_rotation($node, 'app_user', 'status'), 'success', 'and the one that waited for its login has ended well');
	assert_invariants($node, $_, $_) for qw(app_user other_user);
	stop_listener($gate);
	no_crash_in($node);
	$node->stop;
}

#---------------------------------------------------------------------------------------------------------------------
# A shutdown while fifty are due, and a login hangs for longer than anybody would wait

{
	my $node = new_cluster('shut_down', preload => 1, conf => "rotor.connect_timeout = '10min'\nrotor.lock_timeout = '10min'\nrotor.poll_interval = '200ms'\nrotor.catch_up_rate = 0\n");

	policy($node, 'well', undef);
	policy($node, 'hangs', $never);
	given_secrets($node, 'well', 50, 'well');
	given_secrets($node, 'hung', 2, 'hangs');
	for my $mode (qw(fast immediate))
	{
		my $before = rotated($node, 'well');
		sql($node, q{UPDATE rotor.secret SET next_rotation = now() - CASE WHEN name LIKE 'hung%' THEN interval '1 ms' ELSE interval '0' END});
		ok(poll_until(sub { hangs($node) }), "$mode: given that all workers hang in logins, and fifty secrets are due");
		$node->stop($mode);
		pass("$mode: the server stops nevertheless");
		$node->start;
		is( sql($node, <<"SQL"), '50', "$mode: started again, every one of the fifty is due or done");
SELECT (SELECT count(*) FROM rotor.secret WHERE name LIKE 'well%' AND next_rotation < now())
    + (SELECT count(*) FROM rotor.rotations WHERE secret LIKE 'well%' AND status = 'success') - $before
SQL
		# The two that hang are freed as often as they hang.
		sql($node, q{UPDATE rotor.policy SET verify_query = NULL WHERE name = 'hangs'});
		ok( poll_until(sub {
				sql($node, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = '$never'");
				rotated($node, 'well') == $before + 50 && sql($node, q{SELECT count(*) FROM rotor.rotation WHERE finished_at IS NULL}) eq '0';
			}), "$mode: all are rotated");
		sql($node, "UPDATE rotor.policy SET verify_query = '$never' WHERE name = 'hangs'");
		assert_invariants($node, $_, "$mode, $_") for qw(hung_1 hung_2 well_50);
	}
	no_crash_in($node);
	$node->stop;
}

#---------------------------------------------------------------------------------------------------------------------
# DROP DATABASE of the home database, whatever its workers wait for

{
	my @home = (dbname => 'home');
	my $node = new_cluster('dropped', preload => 1, extension => 0,
		conf => "rotor.database = 'home'\nrotor.connect_timeout = '10min'\nrotor.lock_timeout = '10min'\nrotor.poll_interval = '200ms'\n");
	my $holder;

	for my $wait ('a login that hangs', 'a lock on the role')
	{
		sql($node, 'CREATE DATABASE home');
		sql($node, 'CREATE EXTENSION rotor', @home);
		policy($node, 'hangs', $never, @home);
		sql($node, q{CREATE ROLE app_user LOGIN; SELECT rotor.manage('app_user', policy => 'hangs')}, @home);
		$holder = holder($node, 'ALTER ROLE app_user CONNECTION LIMIT 50') if $wait =~ /lock/;
		sql($node, q{SELECT rotor.rotate('app_user', wait => false)}, @home);
		ok( poll_until(sub {
				$wait =~ /lock/
				  ? sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rotor worker' AND wait_event_type = 'Lock'}) eq '1'
				  : hangs($node);
			}), "given a worker that waits for $wait");
		# The verification login's own session is in the database too; it ends with its worker.
		succeeds($node, 'DROP DATABASE home', "$wait does not keep DROP DATABASE from working");
		let_go($holder) if $holder;
		sql($node, 'DROP ROLE app_user');
	}
	no_crash_in($node);
	$node->stop;
}

done_testing();
