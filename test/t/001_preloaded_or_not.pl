# Rotor works without configuration and without a restart; preloaded, it also works by itself.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use RotorTest;
use Test::More;

# A worker that has left comes back within this many seconds, however slow the machine.
my $patience = 90;

sub workers_in
{
	my ($node, $dbname) = @_;
	return sql($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rotor worker' AND datname = '$dbname'",
		dbname => 'template1');
}

sub workers_are_in
{
	my ($node, $dbname, $count, $name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok(poll_until(sub { workers_in($node, $dbname) == $count }, $patience), $name);
}

#---------------------------------------------------------------------------------------------------------------------
# Nothing configured

{
	my $node = new_cluster('none');

	sql($node, 'CREATE ROLE app_user LOGIN');
	my $first = succeeds($node,
		q{SELECT status, version_id IS NOT NULL, duration >= interval '0' FROM rotor.rotate('app_user')},
		'the first rotation works with nothing configured');
	is($first->{out}, 'success|t|t', 'it returns status, version and duration');
	like($first->{notices}, qr/first master key/, 'a NOTICE announces the first key file');
	like($first->{err}, qr/DETAIL:.*rotor\.key_file/, 'and says where it is');
	like($first->{err}, qr/HINT:.*copy elsewhere/, 'and what to do with it');

	my $key_file = $node->data_dir . '/rotor.key';
	ok(-f $key_file, 'the key file is in the data directory');
	is(sprintf('%04o', (stat $key_file)[2] & 07777), '0600', 'its mode is 0600');
	my @leavings = grep { !/rotor\.key$/ } glob($node->data_dir . '/rotor.key*');
	is("@leavings", '', 'no temporary file is left beside it');

	my $old = current_password($node, 'app_user');
	is(length $old, 32, 'get_secret() gives a password of 32 characters');
	logs_in($node, 'app_user', $old, 'it logs in');

	my $second = rotate_ok($node, 'app_user', 'the second rotation');
	unlike($second->{notices}, qr/master key/, 'the key file is announced once');
	my $new = current_password($node, 'app_user');
	ok($new ne $old, 'the password is another');
	logs_in($node, 'app_user', $new, 'the new password logs in');
	is_locked_out($node, 'app_user', $old, 'the old one no longer does');
	ok($old eq password_of($node, 'app_user', 'previous'), 'the old one is labelled previous');
	assert_invariants($node, 'app_user', 'after two rotations');

	like(health_of($node, 'preload'), qr/^warning rotor is not preloaded/, 'health() says that rotor is not preloaded');
	like(sql($node, q{SELECT hint FROM rotor.health() WHERE check_name = 'preload'}),
		qr/shared_preload_libraries.*run_due/, 'with both remedies');
	ok(poll_until(sub { workers_in($node, 'postgres') == 0 }), 'the one-shot worker is gone after its work');

	# wait => false
	my $queued = succeeds($node, q{SELECT status FROM rotor.rotate('app_user', wait => false)}, 'a rotation is queued');
	is($queued->{out}, 'pending', 'its status is pending');
	like($queued->{notices}, qr/not preloaded/, 'a NOTICE says that nothing runs by itself');
	ok($new eq current_password($node, 'app_user'), 'the password is still the same');
	fails($node, q{SELECT rotor.rotate('app_user', wait => false)}, '55006', qr/already active/,
		'a second one cannot be queued beside it');
	is(sql($node, 'SELECT * FROM rotor.run_due()'), 'success|1', 'run_due() does it');
	ok($new ne current_password($node, 'app_user'), 'then the password is another');
	is(sql($node, 'SELECT * FROM rotor.run_due()'), '', 'run_due() finds nothing more to do');
	assert_invariants($node, 'app_user', 'after run_due()');

	sql($node, q{BEGIN; SELECT rotor.rotate('app_user', wait => false); ROLLBACK});
	is(sql($node, q{SELECT count(*) FROM rotor.rotations WHERE status = 'pending'}),
		'0', 'a queued rotation goes with the transaction that queued it');

	sql($node, q{SELECT rotor.rotate('app_user', wait => false)});
	rotate_ok($node, 'app_user', 'rotate() takes up what is queued');
	is(sql($node, q{SELECT count(*) FROM rotor.rotations WHERE finished_at IS NULL}), '0', 'so nothing stays queued');

	# Schedule, driven from outside
	sql($node, q{UPDATE rotor.policy SET rotation_interval = '1 day' WHERE name = 'default'});
	rotate_ok($node, 'app_user', 'a rotation under a policy with an interval');
	is( sql($node, q{SELECT next_rotation - last_rotation BETWEEN '23 hours' AND '25 hours' FROM rotor.secret}),
		't', 'the next one is due a day later');
	sql($node, q{UPDATE rotor.secret SET next_rotation = now() - interval '10 minutes'});
	like(health_of($node, 'overdue'), qr/^warning .*\b1\b/, 'health() says that a rotation is overdue');
	my $before = current_password($node, 'app_user');
	is(sql($node, 'SELECT * FROM rotor.run_due()'), 'success|1', 'run_due() does what is due by schedule');
	is(last_rotation($node, 'app_user', 'trigger'), 'schedule', 'its trigger is the schedule');
	is_locked_out($node, 'app_user', $before, 'the password from before no longer logs in');
	is(health_of($node, 'overdue'), 'ok none', 'nothing is overdue any more');
	sql($node, q{SELECT rotor.disable('app_user'); UPDATE rotor.secret SET next_rotation = now() - interval '10 minutes'});
	is(sql($node, 'SELECT * FROM rotor.run_due()'), '', 'a disabled secret is not rotated on schedule');

	# Another home
	sql($node, 'CREATE DATABASE elsewhere');
	my $other = succeeds($node, 'CREATE EXTENSION rotor', 'not preloaded, the extension may be created in any database',
		dbname => 'elsewhere');
	like($other->{err}, qr/set rotor\.database = 'elsewhere'/, 'a NOTICE says what to set before it is preloaded');
	$node->stop;
}

#---------------------------------------------------------------------------------------------------------------------
# Preloaded

{
	my $node = new_cluster('preloaded', preload => 1, conf => "rotor.workers = 3\nrotor.poll_interval = '200ms'\n");

	workers_are_in($node, 'postgres', 3, 'rotor.workers = 3: three workers run');
	is(health_of($node, 'preload'), 'ok rotor is in shared_preload_libraries', 'health() says that rotor is preloaded');
	ok(poll_until(sub { health_of($node, 'workers') eq 'ok 3 of 3 running' }), 'and counts the workers');

	sql($node, 'CREATE ROLE app_user LOGIN; CREATE ROLE other_user LOGIN');
	rotate_ok($node, 'app_user', 'a rotation by a preloaded worker');
	my $old = current_password($node, 'app_user');
	logs_in($node, 'app_user', $old, 'its password logs in');

	my $queued = succeeds($node, q{SELECT status FROM rotor.rotate('app_user', wait => false)}, 'a rotation is queued');
	is($queued->{out}, 'pending', 'its status is pending');
	is($queued->{notices}, '', 'nobody needs to be told anything');
	ok(poll_until(sub { last_rotation($node, 'app_user', 'status') eq 'success' }), 'it is done by itself');
	is_locked_out($node, 'app_user', $old, 'the old password no longer logs in');
	assert_invariants($node, 'app_user', 'after a queued rotation');

	$queued = sql($node, q{SELECT status FROM rotor.rotate('other_user', wait => false)});
	is($queued, 'pending', 'queueing the first rotation of a role takes it under management');
	ok(poll_until(sub { last_rotation($node, 'other_user', 'status') eq 'success' }), 'and it is done by itself');

	sql($node, q{UPDATE rotor.policy SET rotation_interval = '1 minute' WHERE name = 'default'});
	rotate_ok($node, 'app_user', 'a rotation under a policy with an interval of a minute');
	is( sql($node, q{SELECT next_rotation - last_rotation BETWEEN '50 seconds' AND '70 seconds' FROM rotor.secret WHERE name = 'app_user'}),
		't', 'the next one is due a minute later');
	$old = current_password($node, 'app_user');
	my $count = sql($node, q{SELECT count(*) FROM rotor.rotations WHERE secret = 'app_user'});
	sql($node, q{UPDATE rotor.secret SET next_rotation = now() - interval '1 second' WHERE name = 'app_user'});
	ok( poll_until(
			sub { last_rotation($node, 'app_user', 'trigger, status') eq 'schedule|success' }),
		'a rotation that is due is done by itself');
	is_locked_out($node, 'app_user', $old, 'the old password no longer logs in');
	is(sql($node, q{SELECT count(*) FROM rotor.rotations WHERE secret = 'app_user'}),
		$count + 1, 'three workers have done it once');
	is( sql($node, q{SELECT next_rotation > now() + interval '30 seconds' FROM rotor.secret WHERE name = 'app_user'}),
		't', 'and it is due again a minute later');
	sql($node, q{UPDATE rotor.policy SET rotation_interval = NULL WHERE name = 'default'});
	sql($node, q{UPDATE rotor.secret SET next_rotation = NULL});
	assert_invariants($node, 'app_user', 'after a scheduled rotation');

	# Nothing to do: the statistics of another database show what the workers do in this one, once they have told of it.
	set_conf($node, 'rotor.poll_interval' => '60s');
	sql($node, q{
		BEGIN;
		CREATE TEMP TABLE queued AS SELECT id FROM rotor.rotate('app_user', wait => false);
		UPDATE rotor.rotation SET next_attempt_at = now() + interval '1 hour' WHERE id = (SELECT id FROM queued);
		UPDATE rotor.secret SET next_rotation = now() - interval '1 minute' WHERE name = 'app_user';
		COMMIT});
	my $transactions = sub {
		return sql($node, q{SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'postgres'}, dbname => 'template1');
	};
	ok( poll_until(
			sub {
				my $before = $transactions->();
				sleep 1;
				return $transactions->() - $before < 30;
			},
			20),
		'the workers rest while a secret is due whose rotation waits for another attempt');
	ok( poll_until(sub { sql($node, q{SELECT n_tup_ins > 0 FROM pg_stat_user_tables WHERE relid = 'rotor.version'::regclass}) eq 't' }),
		'what they wrote is known to autovacuum while they run');
	sql($node, q{SELECT rotor.cancel(id) FROM rotor.rotations WHERE secret = 'app_user' AND status = 'pending'});
	sql($node, q{UPDATE rotor.secret SET next_rotation = NULL});
	set_conf($node, 'rotor.poll_interval' => '200ms');

	is(sql($node, 'SELECT * FROM rotor.run_due()'), '', 'run_due() may be called on such a server too');

	# One home database
	sql($node, 'CREATE DATABASE elsewhere');
	fails($node, 'CREATE EXTENSION rotor', '55000', qr/rotor\.database = 'elsewhere'/,
		'the extension is refused in another database than rotor.database', dbname => 'elsewhere');

	set_conf($node, 'rotor.database' => 'elsewhere');
	workers_are_in($node, 'elsewhere', 3, 'after a reload with another rotor.database the workers are there');
	is(workers_in($node, 'postgres'), '0', 'and not in the former one');
	rotate_fails($node, 'app_user', '55000', qr/elsewhere/, 'in the former one rotate() says where the workers are');
	like(health_of($node, 'workers'), qr/^error the workers serve database "elsewhere"/, 'and so does health()');
	logs_in($node, 'app_user', current_password($node, 'app_user'), 'reading works there all the same');

	sql($node, 'CREATE EXTENSION rotor', dbname => 'elsewhere');
	sql($node, 'CREATE ROLE third_user LOGIN');
	rotate_ok($node, 'third_user', 'in the new home rotation works', dbname => 'elsewhere');
	logs_in($node, 'third_user', sql($node, q{SELECT rotor.get_secret('third_user') ->> 'password'}, dbname => 'elsewhere'),
		'and its password logs in');

	# Statements that need the home database to be empty
	sql($node, 'ALTER DATABASE elsewhere RENAME TO moved');
	pass('the home database can be renamed while workers are connected');
	sql($node, 'ALTER DATABASE moved RENAME TO elsewhere');
	workers_are_in($node, 'elsewhere', 3, 'the workers come back to it');
	succeeds($node, 'CREATE DATABASE copied TEMPLATE elsewhere',
		'the home database can be a template while workers are connected');
	workers_are_in($node, 'elsewhere', 3, 'the workers come back');
	succeeds($node, 'DROP DATABASE elsewhere', 'the home database can be dropped while workers are connected');
	is(sql($node, q{SELECT count(*) FROM pg_database WHERE datname = 'elsewhere'}), '0', 'it is gone');
	rotate_fails($node, 'app_user', '55000', undef, 'rotate() elsewhere says that no worker serves it');

	sql($node, 'CREATE DATABASE elsewhere');
	workers_are_in($node, 'elsewhere', 3, 'the workers come when it exists again');
	sql($node, 'CREATE EXTENSION rotor', dbname => 'elsewhere');
	sql($node, 'CREATE ROLE fourth_user LOGIN');
	rotate_ok($node, 'fourth_user', 'and rotation works', dbname => 'elsewhere');

	sql($node, 'DROP EXTENSION rotor', dbname => 'elsewhere');
	set_conf($node, 'rotor.database' => 'postgres');
	workers_are_in($node, 'postgres', 3, 'back in the first home after another reload');
	rotate_ok($node, 'app_user', 'where what was there still works');
	assert_invariants($node, 'app_user', 'at the end');
	unlike(slurp_file($node->logfile), qr/PANIC|TRAP:|terminated by signal/, 'no process has crashed');
	$node->stop;
}

done_testing();
