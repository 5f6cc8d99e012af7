# Steps by events: for 110 (preloaded) and 111 (not preloaded).
#
# Each case is given a role that rotor manages and whose password is current; a rotation is held at a step by a lock or by
# the gate in the way of its login; something happens to it; then what must hold is looked at.
package RotorMatrix;

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorTest;
use RotorCrash;
use Test::More;
use Time::HiRes qw(time);

my @steps = qw(create set test finish undo);

# What happens to the rotation, and whether the server, the caller's connection and the worker outlive it. When sessions end
# one by one, whoever stands in the way must not be one of them: the rotation might go on before its own process ends.
my @events = (
	{ name => 'kill_worker',      what => 'the worker is killed (SIGKILL)',                restarts => 1 },
	{ name => 'terminate_worker', what => 'the worker is terminated (SIGTERM)',            restarts => 0 },
	{ name => 'cancel_worker',    what => "the worker's statement is cancelled (SIGINT)",  restarts => 0 },
	{ name => 'immediate',        what => 'the server is stopped, mode immediate',         restarts => 1 },
	{ name => 'fast',             what => 'the server is stopped, mode fast',              restarts => 1, one_by_one => 1 },
	{ name => 'kill_postmaster',  what => 'the postmaster is killed (SIGKILL)',            restarts => 1, one_by_one => 1 },
	{ name => 'kill_caller',      what => "the caller's backend is killed (SIGKILL)",      restarts => 1 },
	{ name => 'terminate_caller', what => "the caller's backend is terminated",            restarts => 0 },
	{ name => 'cancel_caller',    what => 'the caller cancels',                            restarts => 0 },
);

# No timeout of rotor's may be what ends a case.
my $conf = <<'CONF';
restart_after_crash = on
log_min_messages = debug1
rotor.lock_timeout = '10min'
rotor.connect_timeout = '10min'
rotor.poll_interval = '500ms'
rotor.workers = 2
wal_level = replica
max_wal_senders = 2
max_prepared_transactions = 2
CONF

my ($node, $gate, $preload);
my $cases = 0;

#---------------------------------------------------------------------------------------------------------------------
# Holding a rotation at a step

# Prepares what has to stand in the way before the rotation begins; $stays: no matter what becomes of the server.
sub stand_in_the_way
{
	my ($step, $role, $stays) = @_;
	my $hold = $stays ? \&lasting_holder : \&holder;

	return $hold->($node, 'LOCK TABLE rotor.version IN ACCESS EXCLUSIVE MODE') if $step eq 'create';
	return $hold->($node, "ALTER ROLE $role CONNECTION LIMIT 7")               if $step eq 'set';
	close_gate($gate);
	return undef;
}

# Returns the worker and who holds it, when the rotation has come to the step.
sub wait_for_step
{
	my ($step, $role, $holder, $arrived, $stays) = @_;
	my $hold   = $stays ? \&lasting_holder : \&holder;
	my $worker = wait_for_worker($node, $role);

	if (!$holder)
	{
		poll_until(sub { arrivals($gate) > $arrived }) or die 'the login did not come';
		# Whatever reads or writes pg_authid's row or the audit from here on has to wait.
		$holder = $hold->($node, 'LOCK TABLE rotor.audit IN ACCESS EXCLUSIVE MODE')            if $step eq 'finish';
		$holder = $hold->($node, "SELECT 1 FROM pg_authid WHERE rolname = '$role' FOR UPDATE") if $step eq 'undo';
		open_gate($gate, $step eq 'undo') if $holder;
	}
	waits_for_lock($node, $worker) or die 'the worker does not wait' if $holder;
	is(sql($node, "SELECT step FROM rotor.rotations WHERE secret = '$role' AND finished_at IS NULL"),
		$step, 'the rotation has come to the step, and that is on record') if $step =~ /^(set|test|undo)$/;
	return ($worker, $holder);
}

#---------------------------------------------------------------------------------------------------------------------
# What happens

sub happen
{
	my ($event, $role, $worker, $call) = @_;
	my $caller = call_pid($node, $call);
	my $offset = -s $node->logfile;

	if ($event =~ /^kill_(worker|caller)$/)
	{
		kill 'KILL', $1 eq 'worker' ? $worker : $caller;
		server_is_back($node, $offset);
	}
	elsif ($event eq 'kill_postmaster')
	{
		my @pids = split /\n/, sql($node, 'SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()');
		$node->kill9;
		start_again($node, @pids);
	}
	elsif ($event =~ /^(terminate|cancel)_(worker|caller)$/)
	{
		my ($function, $pid) = ($1, $2 eq 'worker' ? $worker : $caller);
		sql($node, "SELECT pg_${function}_backend($pid)");
		return unless $function eq 'terminate';
		poll_until(sub { !kill 0, $pid }) or die 'the process does not end';
		isnt(worker_of($node, $role), $worker, 'its lock on the role is gone with it') if $pid == $worker;
	}
	else
	{
		my $start = time;
		$node->stop($event);
		cmp_ok(time - $start, '<', 30, 'the rotation that waits does not hold up the shutdown');
		$node->start;
	}
}

# What the caller is told.
sub check_answer
{
	my ($event, $step, $result, $id) = @_;

	ok(!$result->{timed_out}, 'the caller gets an answer');
	if ($event eq 'cancel_caller')
	{
		is($result->{sqlstate}, '57014', 'the caller is told that it was cancelled');
		like($result->{detail}, $step =~ /create|set/ ? qr/cancelled before the role was changed/ : qr/goes on by itself/,
			'DETAIL says what becomes of the rotation');
	}
	elsif ($event eq 'terminate_worker' || ($event eq 'cancel_worker' && $step eq 'test'))
	{
		is($result->{sqlstate}, '57P01', 'the caller is told that the worker has ended');
		like($result->{detail}, qr/$id/, "DETAIL has the rotation's uuid") if $id;
		like($result->{hint}, qr/run_due/, 'HINT says how it goes on');
	}
	elsif ($event eq 'cancel_worker' && $result->{ok})
	{
		is($result->{out}, 'success', 'the cancelled attempt was followed by another one, which succeeded');
	}
	elsif ($event eq 'cancel_worker')
	{
		like($result->{detail}, qr/Rotation [0-9a-f-]{36}/, "DETAIL has the rotation's uuid") or diag $result->{err};
	}
	else
	{
		ok(!$result->{ok}, 'the caller is not told of a success');
	}
}

#---------------------------------------------------------------------------------------------------------------------
# The end

# How the rotation ends, whoever has to do it.
sub expected_end
{
	my ($event, $step) = @_;

	return 'rolled_back' if $step eq 'undo';
	return 'success'     if $step =~ /^(test|finish)$/;
	return 'cancelled'   if $event eq 'cancel_caller';
	# Nothing is on record before the first commit, unless the worker itself lived to write it down.
	return 'none' if $step eq 'create' && $event !~ /^(cancel_worker|terminate_caller)$/;
	return 'success';
}

# Not preloaded: somebody has to come by. In turn rotate() of the same role, of another one, and run_due().
sub come_by
{
	my ($end, $role) = @_;
	my $way = $end eq 'rolled_back' ? 2 : $cases % 3;

	if ($way == 0)
	{
		my $result = succeeds($node, "SELECT status FROM rotor.rotate('$role')", 'the next rotate() takes the rotation up');
		is($result->{out}, 'success', 'and brings it to its end');
		like($result->{notices}, qr/an earlier rotation of this secret was taken up/, 'saying so');
	}
	elsif ($way == 1)
	{
		rotate_ok($node, 'bystander', 'the next rotate() of another role does its own');
	}
	else
	{
		is(sql($node, 'SELECT status, rotations FROM rotor.run_due()'), "$end|1", 'run_due() brings it to its end');
	}
}

my %stories = (
	success     => qr{^value_sealed/ok password_set/ok login_proved/ok finished/ok$},
	rolled_back => qr{^value_sealed/ok password_set/ok login_unproved/inconclusive rolled_back/ok$},
	cancelled   => qr{^value_sealed/ok cancelled/cancelled$},
);

sub check_end
{
	my ($event, $step, $role, $former) = @_;
	my $end = expected_end($event, $step);
	my $now = current_password($node, $role);

	is(active_rotations($node, $role), '0', 'no rotation is left over');
	if ($end eq 'none')
	{
		is(sql($node, "SELECT count(*) FROM rotor.rotations WHERE secret = '$role'"),
			'1', 'nothing had been committed, and nothing is on record');
	}
	else
	{
		is(last_rotation($node, $role, 'status'), $end, "the rotation has ended: $end");
		my $story = story($node, $role);
		$story =~ s{attempt_failed/transient }{}g if $event eq 'cancel_worker';
		like($story, $stories{$end}, 'the audit tells each step once');
	}
	is($now eq $former ? 'former' : 'new', $end eq 'success' ? 'new' : 'former', 'current is the version that it should be');
	cannot_log_in($node, $role, $former, 'the former password logs in no more') if $end eq 'success';
	is( sql($node, "SELECT count(*) FROM rotor.saved_verifier v JOIN rotor.rotations r ON r.id = v.rotation_id WHERE r.secret = '$role'"),
		'0', 'the former verifier is forgotten');
	assert_invariants($node, $role, 'at the end');
}

sub run_case
{
	my ($step, $event) = @_;
	my $role = "r_${step}_$event->{name}";

	subtest "step $step: $event->{what}" => sub {
		$cases++;
		sql($node, "CREATE ROLE $role LOGIN; SELECT rotor.rotate('$role')" =~ s/; /;\n/r);
		my $former  = current_password($node, $role);
		my $arrived = arrivals($gate);
		my $holder  = stand_in_the_way($step, $role, $event->{one_by_one});
		my $call    = start_call($node, "SELECT status FROM rotor.rotate('$role')");
		(my $worker, $holder) = wait_for_step($step, $role, $holder, $arrived, $event->{one_by_one});
		my $id = $step eq 'create' ? '' : sql($node, "SELECT id FROM rotor.rotations WHERE secret = '$role' AND finished_at IS NULL");

		current_logs_in($node, $role, 'I1: while it is held, the version labelled current logs in') unless $step eq 'create';
		happen($event->{name}, $role, $worker, $call);

		# Where the lock or the gate outlives it, they still hold whoever takes the rotation up.
		my $result;
		$result = end_call($call) unless $event->{name} eq 'cancel_worker';
		current_logs_in($node, $role, 'I1: afterwards too') unless $step eq 'create' && (!$event->{restarts} || $event->{one_by_one});
		let_go($holder, $step eq 'set' ? 'COMMIT' : 'ROLLBACK');
		open_gate($gate, $step eq 'undo') if $step eq 'test';
		$result //= end_call($call);
		check_answer($event->{name}, $step, $result, $id);

		my $end = expected_end($event->{name}, $step);
		# A worker that lives on may take up by itself what is to be tried again.
		my $worker_lives = $event->{name} =~ /_caller$/ && !$event->{restarts};
		poll_until(sub { !kill 0, $worker }) if !$preload && $event->{name} eq 'cancel_worker';
		if (!$preload && !$worker_lives && $end ne 'none' && active_rotations($node, $role) ne '0')
		{
			come_by($end, $role);
		}
		ok(poll_until(sub { active_rotations($node, $role) eq '0' }), 'the rotation comes to its end');
		ok(poll_until(sub { worker_of($node, $role) eq '' }),        'and nobody holds the role any more');
		is(sql($node, "SELECT rolconnlimit FROM pg_roles WHERE rolname = '$role'"),
			$event->{restarts} && !$event->{one_by_one} ? '-1' : '7', 'what else was changed of the role is as it was left') if $step eq 'set';
		check_end($event->{name}, $step, $role, $former);
		open_gate($gate);
		rotate_ok($node, $role, 'the next rotation');
		sql($node, "DROP ROLE $role");
	};
}

#---------------------------------------------------------------------------------------------------------------------
# Cases of their own

# The first rotation of a role: there is no secret yet, and no password.
sub first_rotation
{
	for my $event ('kill_worker', 'terminate_worker')
	{
		subtest "a role's first rotation, step create: $event" => sub {
			my $role = "first_$event";

			sql($node, "CREATE ROLE $role LOGIN");
			my $state  = role_state($node, $role);
			my $holder = stand_in_the_way('create', $role);
			my $call   = start_call($node, "SELECT status FROM rotor.rotate('$role')");
			my ($worker) = wait_for_step('create', $role, $holder);
			happen($event, $role, $worker, $call);
			let_go($holder);
			ok(!end_call($call)->{ok}, 'the caller is not told of a success');
			is(role_state($node, $role), $state, 'the role is as it was');
			is(sql($node, "SELECT count(*) FROM rotor.secret WHERE name = '$role'"), '0', 'it is not half managed');
			rotate_ok($node, $role, 'the next rotate()');
			assert_invariants($node, $role, 'at the end');
		};
	}

	subtest "a role's first rotation is refused, and the worker killed on the way back" => sub {
		my $role = 'first_undo';

		sql($node, "CREATE ROLE $role LOGIN VALID UNTIL '2100-01-01'");
		my $state   = role_state($node, $role);
		my $arrived = arrivals($gate);
		my $holder  = stand_in_the_way('undo', $role);
		my $call    = start_call($node, "SELECT status FROM rotor.rotate('$role')");
		(my $worker, $holder) = wait_for_step('undo', $role, $holder, $arrived);
		isnt(role_state($node, $role), $state, 'the new password is set');
		happen('kill_worker', $role, $worker, $call);
		let_go($holder);
		end_call($call);
		sql($node, 'SELECT * FROM rotor.run_due()') unless $preload;
		ok(poll_until(sub { active_rotations($node, $role) eq '0' }), 'the rotation comes to its end');
		is(last_rotation($node, $role, 'status'), 'rolled_back', 'it is rolled back');
		is(role_state($node, $role), $state, 'the role has no password, as before, and its VALID UNTIL');
		open_gate($gate);
		rotate_ok($node, $role, 'the next rotate()');
		assert_invariants($node, $role, 'at the end');
	};
}

# A queued rotation is on record before its first step: it is not lost at create either.
sub queued_rotation
{
	for my $event ('kill_worker', 'terminate_worker', 'immediate')
	{
		subtest "a queued rotation, step create: $event" => sub {
			my $role = "queued_$event";

			sql($node, "CREATE ROLE $role LOGIN");
			rotate_ok($node, $role, 'given a managed role');
			my $former = current_password($node, $role);
			# Queueing needs rotor.version (for a foreign key), but no key.
			my $holder = holder($node, 'LOCK TABLE rotor.data_key IN ACCESS EXCLUSIVE MODE');
			sql($node, "SELECT rotor.rotate('$role', wait => false)");
			my $call = start_call($node, $preload ? 'SELECT pg_sleep(3600)' : 'SELECT * FROM rotor.run_due()');
			my ($worker) = wait_for_step('create', $role, $holder);
			happen($event, $role, $worker, $call);
			let_go($holder);
			sql($node, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '$call->{name}'");
			end_call($call);
			sql($node, 'SELECT * FROM rotor.run_due()') unless $preload;
			ok(poll_until(sub { active_rotations($node, $role) eq '0' }), 'the rotation comes to its end');
			is(last_rotation($node, $role, 'status'), 'success', 'which is a success');
			cannot_log_in($node, $role, $former, 'the former password logs in no more');
			assert_invariants($node, $role, 'at the end');
		};
	}
}

# strategy => 'immediate' answers when the password is set; what remains is not lost with the worker.
sub immediate_rotation
{
	subtest 'an immediate rotation has answered, then the worker is killed' => sub {
		my $role = 'immediate_user';

		sql($node, "CREATE ROLE $role LOGIN");
		rotate_ok($node, $role, 'given a managed role');
		my $former  = current_password($node, $role);
		my $arrived = arrivals($gate);
		close_gate($gate);
		is( sql($node, "SELECT status FROM rotor.rotate('$role', strategy => 'immediate')"),
			'verifying', 'it answers before the login');
		current_logs_in($node, $role, 'I1: the version labelled current logs in');
		cannot_log_in($node, $role, $former, 'the former password logs in no more');
		my $worker = wait_for_worker($node, $role);
		poll_until(sub { arrivals($gate) > $arrived });
		my $offset = -s $node->logfile;
		kill 'KILL', $worker;
		server_is_back($node, $offset);
		current_logs_in($node, $role, 'I1: afterwards too');
		open_gate($gate);
		sql($node, 'SELECT * FROM rotor.run_due()') unless $preload;
		ok(poll_until(sub { active_rotations($node, $role) eq '0' }), 'the rotation comes to its end');
		is(last_rotation($node, $role, 'status'), 'success', 'which is a success');
		assert_invariants($node, $role, 'at the end');
	};
}

# A role that is locked in pg_authid keeps even the login from answering: only a deadline of the client's own ends that.
sub login_that_hangs
{
	subtest 'a login that hangs on pg_authid ends by rotor.connect_timeout, and is tried again' => sub {
		my $role = 'hanging_user';

		sql($node, "CREATE ROLE $role LOGIN");
		rotate_ok($node, $role, 'given a managed role');
		my $former = current_password($node, $role);
		set_conf($node, 'rotor.connect_timeout' => '1s', 'rotor.lock_timeout' => '1s');
		my $arrived = arrivals($gate);
		close_gate($gate);
		my $call = start_call($node, "SELECT status FROM rotor.rotate('$role')");
		poll_until(sub { arrivals($gate) > $arrived }) or die 'the login did not come';
		my $holder = holder($node, 'LOCK TABLE pg_authid IN ACCESS EXCLUSIVE MODE');
		open_gate($gate);
		my $result = end_call($call);
		ok(!$result->{timed_out}, 'the caller gets an answer while the lock is held');
		like($result->{detail}, qr/Step test, attempt \d of/, 'which says where the rotation stands');
		let_go($holder);
		sql($node, 'SELECT * FROM rotor.run_due()') unless $preload;
		ok(poll_until(sub { sql($node, 'SELECT * FROM rotor.run_due()') unless $preload; active_rotations($node, $role) eq '0' }),
			'the rotation comes to its end');
		is(last_rotation($node, $role, 'status'), 'success', 'which is a success');
		cannot_log_in($node, $role, $former, 'the former password logs in no more');
		set_conf($node, 'rotor.connect_timeout' => '10min', 'rotor.lock_timeout' => '10min');
		assert_invariants($node, $role, 'at the end');
	};
}

# A commit that waits for a synchronous standby which is not there: nobody sees it, and it does not hold up a shutdown.
sub missing_standby
{
	subtest 'the commit of step set waits for a synchronous standby that is missing' => sub {
		my $role = 'waiting_user';

		sql($node, "CREATE ROLE $role LOGIN");
		rotate_ok($node, $role, 'given a managed role');
		my $former = current_password($node, $role);
		my $holder = holder($node, "SELECT 1 FROM pg_authid WHERE rolname = '$role' FOR UPDATE");
		my $call   = start_call($node, "SELECT status FROM rotor.rotate('$role')");
		my $worker = wait_for_worker($node, $role);
		waits_for_lock($node, $worker);
		set_conf($node, 'synchronous_standby_names' => 'missing');
		# Commits wait once the checkpointer has taken it up.
		my $waits = '';
		until ($waits)
		{
			my $probe = start_call($node, q{SELECT pg_logical_emit_message(true, 'x', 'x')});
			poll_until(sub { $waits = sql($node, "SELECT pid FROM pg_stat_activity WHERE application_name = '$probe->{name}' AND wait_event = 'SyncRep'"); $waits || !is_running($probe) })
			  or die 'a commit neither waits nor ends';
			sql($node, "SELECT pg_cancel_backend($waits)") if $waits;
			end_call($probe);
		}
		let_go($holder);
		ok( poll_until(sub { sql($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $worker AND wait_event = 'SyncRep'") eq '1' }),
			'the worker waits for the standby');
		current_logs_in($node, $role, 'I1: while it waits, the version labelled current logs in');
		is(current_password($node, $role) eq $former ? 'former' : 'new', 'former', 'which is the former one');
		my $start = time;
		$node->stop('fast');
		cmp_ok(time - $start, '<', 30, 'it does not hold up the shutdown');
		ok(!end_call($call)->{ok}, 'the caller is not told of a success');
		$node->append_conf('postgresql.conf', "synchronous_standby_names = ''\n");
		$node->start;
		current_logs_in($node, $role, 'I1: after the restart too');
		sql($node, 'SELECT * FROM rotor.run_due()') unless $preload;
		ok(poll_until(sub { active_rotations($node, $role) eq '0' }), 'the rotation comes to its end');
		is(last_rotation($node, $role, 'status'), 'success', 'which is a success');
		cannot_log_in($node, $role, $former, 'the former password logs in no more');
		assert_invariants($node, $role, 'at the end');
	};
}

# Blind shots: a client reads and logs in without a pause while workers are killed at moments nobody has chosen.
sub blind_shots
{
	subtest 'workers are killed at any moment while roles are rotated' => sub {
		sql($node, "CREATE ROLE shot_$_ LOGIN") for 1 .. 3;
		rotate_ok($node, "shot_$_", "given a managed role, $_") for 1 .. 3;
		for my $round (1 .. 6)
		{
			my @calls = map { start_call($node, "SELECT status FROM rotor.rotate('shot_$_')") } 1 .. 3;
			my $offset = -s $node->logfile;
			my $worker = '';
			poll_until(
				sub {
					$worker = sql($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'rotor worker' ORDER BY random() LIMIT 1});
					$worker || !grep { is_running($_) } @calls;
				}, 20);
			# It may have been about to end anyway: the postmaster says which.
			if ($worker && kill 'KILL', $worker)
			{
				poll_until(sub { log_since($node, $offset) =~ /\(PID $worker\) (?:exited with|was terminated by)/ }) or die 'the worker does not end';
				server_is_back($node, $offset) if log_since($node, $offset) =~ /\(PID $worker\) was terminated by signal 9/;
			}
			end_call($_) for @calls;
			current_logs_in($node, "shot_$_", "I1, round $round: role $_") for 1 .. 3;
		}
		for my $i (1 .. 3)
		{
			ok(poll_until(sub { sql($node, 'SELECT * FROM rotor.run_due()') unless $preload; active_rotations($node, "shot_$i") eq '0' }), "nothing is left over, role $i");
			assert_invariants($node, "shot_$i", "role $i at the end");
		}
	};
}

# The same without a crash: callers and workers are cancelled and terminated at any moment, so often that whatever was forgotten
# on the way is missed in the end: locks, rotations, request slots (there are 64).
sub blind_interruptions
{
	subtest 'callers and workers are cancelled and terminated at any moment' => sub {
		my @roles = map { "any_$_" } 1 .. 4;
		my $hung  = 0;
		my $wrong = '';
		my $control = $node->background_psql('postgres', on_error_stop => 0);

		sql($node, join ";\n", map { "CREATE ROLE $_ LOGIN" } @roles);
		rotate_ok($node, $_, "given a managed role, $_") for @roles;
		for my $round (1 .. 60)
		{
			my @calls = map { start_call($node, "SELECT status FROM rotor.rotate('$_')") } @roles[ 0, 1 + $round % 3 ];
			my $function = $round % 2 ? 'cancel' : 'terminate';
			my $whom = ("application_name LIKE 'rotor_test_call%'", "backend_type = 'rotor worker'", q{query LIKE '%rotor.rotate%'})[ $round % 3 ];

			# The moment is anybody's.
			$control->query("SELECT pg_sleep(random() * 0.06)");
			$control->query("SELECT pg_${function}_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND $whom");
			for my $result (map { end_call($_) } @calls)
			{
				$hung += $result->{timed_out};
				# A caller that was terminated before its statement began is told so without a SQLSTATE.
				$wrong .= $result->{err} unless $result->{ok} || $result->{sqlstate} =~ /^(57014|57P01|55006|55P03|53400)$/
				  || $result->{err} =~ /FATAL:  terminating connection due to administrator command$/m;
			}
		}
		$control->quit;
		is($hung, 0, 'every call has ended');
		is($wrong, '', 'with success or an error that was to be expected');
		for my $role (@roles)
		{
			ok(poll_until(sub { sql($node, 'SELECT * FROM rotor.run_due()') unless $preload; active_rotations($node, $role) eq '0' }),
				"$role: nothing is left over");
		}
		ok(poll_until(sub { sql($node, <<'SQL') eq '0' }), 'no role is locked by anybody');
SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND classid = 'pg_authid'::regclass
SQL
		is(sql($node, q{SELECT count(*) FROM rotor.rotations WHERE secret LIKE 'any%' AND status NOT IN ('success', 'cancelled')}),
			'0', 'every rotation has succeeded or was cancelled');
		is( sql($node, q{SELECT count(*) FROM rotor.saved_verifier}), '0', 'no former verifier is kept');
		for my $role (@roles)
		{
			rotate_ok($node, $role, "$role: the next rotation");
			assert_invariants($node, $role, "$role at the end");
		}
	};
}

sub run
{
	my (%options) = @_;

	$preload = $options{preload};
	$node = new_cluster($preload ? 'crash_preloaded' : 'crash_one_shot', preload => $preload, conf => $conf);
	short_backoff($node);
	sql($node, 'CREATE ROLE bystander LOGIN');
	$gate = new_gate($node);

	# ROTOR_CASE="undo_kill" chooses, for whoever looks into one.
	for my $step (@steps)
	{
		run_case($step, $_) for grep { !$ENV{ROTOR_CASE} || "${step}_$_->{name}" =~ /$ENV{ROTOR_CASE}/ } @events;
	}
	first_rotation();
	queued_rotation();
	immediate_rotation();
	login_that_hangs();
	missing_standby();
	blind_interruptions();
	blind_shots();
	no_crash_in($node);
	stop_listener($gate);
	$node->stop;
	done_testing();
}

1;
