# When scheduled rotations begin. The clock that schedules go by is set by the test, and stands still: what must not happen
# at a moment has all the time to happen there. Nothing waits for real time to pass.
use strict;
use warnings;
use IO::Socket::INET;
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorTest;
use Test::More;

sub clock
{
	my ($node, $time) = @_;
	set_conf($node, 'rotor.test_clock' => "$time+00");
}

sub run_due
{
	my ($node) = @_;
	return sql($node, 'SELECT status, rotations FROM rotor.run_due()');
}

sub planned
{
	my ($node, $secret) = @_;
	return sql($node, "SELECT to_char(next_rotation AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') FROM rotor.secrets WHERE secret = '$secret'");
}

sub due_at
{
	my ($node, $secret) = @_;
	return sql($node, "SELECT to_char(due_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' ' || overdue FROM rotor.upcoming WHERE secret = '$secret'");
}

#---------------------------------------------------------------------------------------------------------------------
# Driven by run_due(), which comes back when nothing more is to be done at this moment

{
	my $node = new_cluster('driven', conf => "rotor.test_clock = '2027-03-26 12:00:00+00'\nrotor.lock_timeout = '100ms'\n");

	# Cron, through a change of clocks
	sql($node, q{CREATE ROLE app_user LOGIN; INSERT INTO rotor.policy (name, schedule, time_zone) VALUES ('berlin', '30 2 * * *', 'Europe/Berlin');
		SELECT rotor.manage('app_user', policy => 'berlin')});
	is(planned($node, 'app_user'), '2027-03-27 01:30', 'a new secret is planned by its schedule, at the time of the test');
	is(run_due($node), '', 'before then nothing is due');
	is(due_at($node, 'app_user'), '2027-03-27 01:30 false', 'and upcoming says when something is');
	clock($node, '2027-03-27 01:29:59');
	is(run_due($node), '', 'nor a second before');
	clock($node, '2027-03-27 01:30:00');
	is(run_due($node), 'success|1', 'at the time itself it is');
	is(run_due($node), '', 'once');
	is(planned($node, 'app_user'), '2027-03-28 01:00', 'the next one, in the hour that is skipped, comes right after the gap');
	clock($node, '2027-03-28 01:05:00');
	is(due_at($node, 'app_user'), '2027-03-28 01:00 true', 'upcoming goes by the same clock');
	like(health_of($node, 'overdue'), qr/^warning .*: 1$/, 'and so does health()');
	like(health_of($node, 'clock'), qr/^error schedules stand still at 2027-03-28/, 'which says that a clock is set');
	is(run_due($node), 'success|1', 'it is done');
	is(planned($node, 'app_user'), '2027-03-29 00:30', 'from then on it is summer');
	clock($node, '2027-10-30 12:00:00');
	is(run_due($node), 'success|1', 'a schedule that was missed for half a year is caught up once');
	is(planned($node, 'app_user'), '2027-10-31 00:30', 'the hour that is repeated has its run the first time');
	clock($node, '2027-10-31 00:30:00');
	is(run_due($node), 'success|1', 'there it is done');
	is(planned($node, 'app_user'), '2027-11-01 01:30', 'and not a second time');
	rotate_ok($node, 'app_user', 'a rotation by hand');
	is(planned($node, 'app_user'), '2027-11-01 01:30', 'leaves a schedule by cron where it is');
	assert_invariants($node, 'app_user', 'after a year by cron');

	# Off and on
	sql($node, q{SELECT rotor.disable('app_user')});
	clock($node, '2027-11-02 12:00:00');
	is(run_due($node), '', 'a disabled secret is not rotated');
	sql($node, q{SELECT rotor.enable('app_user')});
	is(run_due($node), 'success|1', 'enabled again, it does what it missed, once');
	is(planned($node, 'app_user'), '2027-11-03 01:30', 'and goes on as planned');

	# A window
	sql($node, q{INSERT INTO rotor.policy (name, rotation_interval, window_schedule, window_duration, backoff, backoff_max) VALUES ('fridays', '1 day', '0 22 * * fri', '4 hours', '1 ms', '1 ms');
		SELECT rotor.manage('app_user', policy => 'fridays')});
	is(planned($node, 'app_user'), '2027-11-05 22:00', 'what is due outside of a window waits for the next one');
	clock($node, '2027-11-05 21:59:59');
	is(run_due($node), '', 'and not less');
	clock($node, '2027-11-06 02:00:00');
	is(run_due($node), '', 'what could not begin before the window closed');
	is(planned($node, 'app_user'), '2027-11-12 22:00', 'waits for the next window');
	rotate_ok($node, 'app_user', 'with the window closed rotate() works as ever');
	no_worker_is_left($node);
	sql($node, q{SELECT rotor.rotate('app_user', wait => false)});
	is(run_due($node), 'success|1', 'and so does what rotate(wait => false) queued');
	is(planned($node, 'app_user'), '2027-11-12 22:00', 'neither moves the schedule out of the window');
	clock($node, '2027-11-13 01:59:59');
	is(run_due($node), 'success|1', 'in the last second of the window it begins');
	is(planned($node, 'app_user'), '2027-11-19 22:00', 'the next one is due in the next window');

	# An attempt that has changed nothing waits for a window too, ...
	clock($node, '2027-11-19 22:00:00');
	{
		my $locker = $node->background_psql('postgres', on_error_stop => 1);
		my $before = role_state($node, 'app_user');

		$locker->query_safe("BEGIN; SELECT FROM pg_authid WHERE rolname = 'app_user' FOR UPDATE");
		is(run_due($node), 'in_progress|1', 'given an attempt that fails before the password is set');
		is(last_rotation($node, 'app_user', 'trigger, step'), 'schedule|set', '(in step set)');
		$locker->query_safe('ROLLBACK');
		$locker->quit;
		clock($node, '2027-11-20 03:00:00');
		is(run_due($node), '', 'when the window has closed it is not tried again');
		is(due_at($node, 'app_user'), '2027-11-26 22:00 false', 'but when the next one opens');
		is(role_state($node, 'app_user'), $before, 'the role has not been touched');
		clock($node, '2027-11-26 22:00:00');
		is(run_due($node), 'success|1', 'then it is');
		is(sql($node, q{SELECT count(*) FROM rotor.rotations WHERE finished_at IS NULL}), '0', 'it is the same one, and it is over');
	}

	# ... and one whose password is set does not.
	clock($node, '2027-12-03 22:00:00');
	{
		my $nobody = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'tcp') or die "socket: $!";

		set_conf($node, 'rotor.verify_port' => $nobody->sockport);
		is(run_due($node), 'verifying|1', 'given a rotation whose login is not possible now');
		clock($node, '2027-12-04 03:00:00');
		is(run_due($node), 'verifying|1', 'it is tried again though the window has closed');
		set_conf($node, 'rotor.verify_port' => 0);
		clock($node, '2027-12-04 03:00:01');
		is(run_due($node), 'success|1', 'and proved');
	}
	assert_invariants($node, 'app_user', 'after a year of windows');

	# A failure for good
	clock($node, '2027-12-10 23:30:00');
	sql($node, 'ALTER ROLE app_user NOLOGIN');
	is(run_due($node), 'failed|1', 'given a scheduled rotation that fails for good');
	is(planned($node, 'app_user'), '2027-12-10 23:31', 'the schedule comes back after a pause');
	clock($node, '2027-12-11 01:59:00');
	is(run_due($node), 'failed|1', 'which fails too');
	is(planned($node, 'app_user'), '2027-12-17 22:00', 'but not outside of a window');
	sql($node, 'ALTER ROLE app_user LOGIN');

	# Jitter
	sql($node, q{INSERT INTO rotor.policy (name, schedule, window_duration, jitter) VALUES ('spread', '0 3 * * *', '1 hour', '2 hours');
		DO $$BEGIN FOR i IN 1 .. 200 LOOP EXECUTE format('CREATE ROLE spread_%s LOGIN', i); PERFORM rotor.manage('spread_' || i, policy => 'spread'); END LOOP; END$$});
	is(sql($node, q{SELECT min(next_rotation) >= '2027-12-11 03:00+00', max(next_rotation) < '2027-12-11 04:00+00' FROM rotor.secrets WHERE policy = 'spread'}),
		't|t', 'jitter keeps to the window');
	# That 200 uniform times leave a tenth of the hour empty happens once in 10 ** 8 times.
	is(sql($node, q{SELECT count(DISTINCT extract(minute FROM next_rotation)::int / 6) FROM rotor.secrets WHERE policy = 'spread'}),
		'10', 'and spreads over all of it');
	sql($node, q{UPDATE rotor.policy SET jitter = '3 minutes' WHERE name = 'spread'});
	is(sql($node, q{SELECT min(next_rotation) >= '2027-12-11 03:00+00', max(next_rotation) <= '2027-12-11 03:03+00', count(DISTINCT next_rotation) > 150 FROM rotor.secrets WHERE policy = 'spread'}),
		't|t|t', 'a policy that is changed draws anew, for each secret');

	# Who cannot be rotated now is not in the way of the others
	sql($node, q{UPDATE rotor.secret SET next_rotation = CASE WHEN substr(name, 8)::int <= 100 THEN '2027-12-11 03:00+00'::timestamptz
		WHEN substr(name, 8)::int <= 105 THEN '2027-12-11 03:03+00' END WHERE policy = 'spread'});
	clock($node, '2027-12-11 03:05:00');
	{
		my $locker = $node->background_psql('postgres', on_error_stop => 1);

		$locker->query_safe(q{BEGIN; DO $$BEGIN FOR i IN 1 .. 100 LOOP EXECUTE format('DROP ROLE spread_%s', i); END LOOP; END$$});
		is(run_due($node), 'success|5', 'given a hundred at the head whose roles are locked: those behind them are done');
		$locker->query_safe('ROLLBACK');
		$locker->quit;
		is(run_due($node), 'success|100', 'and the others when they are free');
	}

	fails($node, q{LOAD 'rotor'; ALTER SYSTEM SET rotor.test_clock = 'tomorrow'}, '22023', qr/2027-03-28 00:59:59\+00/, 'a clock that cannot be read');
	fails($node, q{LOAD 'rotor'; ALTER SYSTEM SET rotor.test_clock = '2027-02-29 00:00:00+00'}, '22023', undef, 'a day that does not exist');
	$node->stop;
}

#---------------------------------------------------------------------------------------------------------------------
# Preloaded: what was missed, and what is due now

{
	my $node = new_cluster('missed', preload => 1, conf => <<'CONF');
rotor.test_clock = '2027-05-01 12:00:00+00'
rotor.catch_up_rate = 60
rotor.poll_interval = '100ms'
rotor.maintenance_interval = 0
CONF
	my $done = sub { sql($node, "SELECT count(*) FROM rotor.rotations WHERE secret LIKE '$_[0]%' AND status = 'success'") };

	sql($node, q{INSERT INTO rotor.policy (name, schedule) VALUES ('daily', '0 3 * * *'), ('minutely', '* * * * *');
		DO $$BEGIN FOR i IN 1 .. 6 LOOP EXECUTE format('CREATE ROLE late_%s LOGIN', i); PERFORM rotor.manage('late_' || i, policy => 'daily'); END LOOP; END$$;
		CREATE ROLE now_1 LOGIN});
	$node->stop('immediate');
	$node->append_conf('postgresql.conf', "rotor.test_clock = '2027-05-04 12:00:00+00'\n");
	$node->start;
	ok(poll_until(sub { $done->('late') eq '1' }), 'of six that were missed while the server was down, one begins at once');
	sql($node, q{SELECT rotor.manage('now_1', policy => 'minutely')});
	for my $minute (1 .. 3)
	{
		# Each step is longer than any pause between two missed ones may be: 1 s, half of it more or less.
		clock($node, "2027-05-04 12:0$minute:00");
		ok(poll_until(sub { $done->('now') eq $minute }), "minute $minute: what falls due now is done");
		ok(poll_until(sub { $done->('late') eq $minute + 1 }), "minute $minute: and one more of the missed ones");
		rotate_ok($node, 'now_1', "minute $minute: a caller is served");
		is($done->('late'), $minute + 1, "minute $minute: the others wait for their time");
		sql($node, q{DELETE FROM rotor.rotation WHERE secret_id = (SELECT id FROM rotor.secret WHERE name = 'now_1') AND trigger = 'manual'});
	}
	is(sql($node, q{SELECT * FROM rotor.run_due()}), 'success|2', 'run_due() by hand keeps no pace');
	is(sql($node, q{SELECT count(*), count(DISTINCT secret) FROM rotor.rotations WHERE secret LIKE 'late%'}), '6|6', 'each is caught up once, though it was missed three times');
	is(sql($node, q{SELECT bool_and(next_rotation = '2027-05-05 03:00+00') FROM rotor.secrets WHERE secret LIKE 'late%'}), 't', 'and is planned as ever');

	# What falls due while rotor is up is not held up, however much of it there is
	clock($node, '2027-05-05 03:00:00');
	ok(poll_until(sub { $done->('late') eq '12' }), 'what falls due now is done at once, all of it');
	assert_invariants($node, 'late_1', 'after catching up');
	$node->stop;
}

#---------------------------------------------------------------------------------------------------------------------
# A caller does not wait for a backlog

{
	my $node = new_cluster('backlog', preload => 1, conf => <<'CONF');
rotor.test_clock = '2027-05-01 12:00:00+00'
rotor.workers = 1
rotor.connect_timeout = '10min'
rotor.maintenance_interval = 0
CONF
	my $gate  = PostgreSQL::Test::Utils::tempdir('gate') . '/open';
	my $proxy = proxy($node, sub { poll_until(sub { -e $gate }) or die });

	sql($node, q{CREATE ROLE caller LOGIN; SELECT rotor.manage('caller'); INSERT INTO rotor.policy (name, schedule) VALUES ('daily', '0 3 * * *');
		DO $$BEGIN FOR i IN 1 .. 5 LOOP EXECUTE format('CREATE ROLE due_%s LOGIN', i); PERFORM rotor.manage('due_' || i, policy => 'daily'); END LOOP; END$$});
	set_conf($node, 'rotor.verify_port' => $proxy->{port}, 'rotor.test_clock' => '2027-05-02 03:00:00+00');
	ok(poll_until(sub { noted($proxy, 'connection') }), 'given the one worker at the first of five that are due');
	set_conf($node, 'rotor.verify_port' => 0);
	my $call = start_call($node, q{SELECT status FROM rotor.rotate('caller')});
	ok(poll_until(sub { sql($node, "SELECT count(*) FROM pg_stat_activity WHERE application_name = '$call->{name}' AND wait_event_type = 'Extension'") eq '1' }),
		'and a caller who comes');
	append_to_file($gate, '');
	my $result = end_call($call);
	is($result->{out}, 'success', 'the caller gets an answer') or diag $result->{err};
	ok(poll_until(sub { sql($node, q{SELECT count(*) FROM rotor.rotations WHERE status = 'success'}) eq '6' }), 'and the backlog goes on');
	is(sql($node, q{SELECT count(*) FROM rotor.rotations WHERE started_at < (SELECT started_at FROM rotor.rotations WHERE secret = 'caller')}),
		'1', 'the caller came second');
	stop_listener($proxy);

	# A policy that is changed while one of its rotations ends
	clock($node, '2027-05-02 12:00:00');
	my $holder = holder($node, q{UPDATE rotor.policy SET schedule = '30 4 * * *' WHERE name = 'daily'});
	my $rotation = start_call($node, q{SELECT status FROM rotor.rotate('due_1')});
	ok(waits_for_lock($node, wait_for_worker($node, 'due_1')), 'given a rotation that ends while its policy is being changed');
	let_go($holder, 'COMMIT');
	is(end_call($rotation)->{out}, 'success', 'it ends well');
	is(planned($node, 'due_1'), '2027-05-03 04:30', 'and is planned by the new policy');
	is(sql($node, q{SELECT count(DISTINCT next_rotation) FROM rotor.secrets WHERE policy = 'daily'}), '1', 'as all others');
	$holder = holder($node, q{SELECT rotor.manage('due_1', policy => 'default')});
	$rotation = start_call($node, q{SELECT status FROM rotor.rotate('due_1')});
	ok(waits_for_lock($node, wait_for_worker($node, 'due_1')), 'given a rotation that ends while its secret is given another policy');
	let_go($holder, 'COMMIT');
	is(end_call($rotation)->{out}, 'success', 'it ends well');
	is(planned($node, 'due_1'), '', 'and is planned by that one: not at all');
	$node->stop;
}

#---------------------------------------------------------------------------------------------------------------------
# A wake costs what is due, not what exists

{
	# One worker: a call wakes all of them, and what another one takes up is not counted by run_due().
	my $node = new_cluster('many', preload => 1, conf => "rotor.workers = 1\nrotor.poll_interval = '1h'\nrotor.maintenance_interval = 0\n");
	my $counts = sub {
		return split /\|/, sql($node, q{SELECT sum(seq_scan), sum(idx_scan), sum(idx_tup_fetch) FROM pg_stat_user_tables
			WHERE relid IN ('rotor.secret'::regclass, 'rotor.rotation'::regclass)}, dbname => 'postgres');
	};

	# No statistics at all, then those of nothing, then right ones: the planner has no say in it. Others rest, out of a dump.
	sql($node, q{CREATE ROLE app_user LOGIN; SELECT rotor.manage('app_user'); UPDATE rotor.policy SET rotation_interval = '1 day' WHERE name = 'default';
		ANALYZE rotor.secret; ANALYZE rotor.rotation;
		INSERT INTO rotor.secret (name, username, role_oid, system_identifier, created_by, next_rotation)
			SELECT 'many_' || i, 'many', 3000000000 + i, CASE WHEN i % 2 = 0 THEN system_identifier ELSE 0 END, 'test',
				now() + CASE WHEN i % 2 = 0 THEN interval '1 year' ELSE '-1 year' END FROM generate_series(1, 100000) i, pg_control_system();
		INSERT INTO rotor.rotation (id, secret_id, trigger, strategy, step, status, requested_by, finished_at)
			SELECT gen_random_uuid(), id, 'schedule', 'staged', 'done', 'success', 'test', now() FROM rotor.secret WHERE name LIKE 'many%'});
	for my $statistics ('of an empty table', 'of a full one')
	{
		# The first calls look up names.
		my $since = sql($node, 'SELECT clock_timestamp()');
		sql($node, 'SELECT * FROM rotor.run_due()') for 1 .. 3;
		ok(poll_until(sub { sql($node, qq{SELECT bool_and(state = 'idle' AND state_change > '$since') FROM pg_stat_activity WHERE backend_type = 'rotor worker'}) eq 't' }), "statistics $statistics: the workers rest");
		my @before;
		ok(poll_until(sub { my @last = @before; @before = $counts->(); return @last && "@last" eq "@before" }), 'and have told what they read');
		is(sql($node, 'SELECT * FROM rotor.run_due()'), '', 'nothing is due') for 1 .. 10;
		my @after;
		ok(poll_until(sub { @after = $counts->(); return $after[1] >= $before[1] + 20 }), 'ten looks at what is due use an index');
		is($after[0], $before[0], 'and read no table from end to end');
		cmp_ok($after[2] - $before[2], '<=', 60, 'and no more rows than a few each');
		sql($node, 'ANALYZE rotor.secret; ANALYZE rotor.rotation');
	}
	sql($node, q{UPDATE rotor.secret SET next_rotation = now() WHERE name = 'app_user'});
	is(sql($node, 'SELECT * FROM rotor.run_due()'), 'success|1', 'the one that is due is found');
	$node->stop;
}

done_testing();
