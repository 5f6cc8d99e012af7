# A worker is killed right before and right after each commit of a rotation, also on the way back; the whole server starts
# anew, and the rotation comes to its end by itself. And a worker is stopped there, while somebody cancels.

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorFaults;
use RotorTest;
use Test::More;

my $node = faulty_cluster('commits', preload => 1, conf => <<'CONF');
restart_after_crash = on
rotor.workers = 1
rotor.poll_interval = '200ms'
CONF
my $gate = new_gate($node);
my $token = $node->data_dir . '/rotor_test.crash';

short_backoff($node);
sql($node, 'CREATE ROLE app_user LOGIN');
rotate_ok($node, 'app_user', 'without faults');

# The rule of the workers; sessions of the tests have none.
sub set_rule
{
	my ($rule) = @_;
	set_conf($node, 'rotor_test.fault' => $rule);
}

sub rotation_id
{
	return last_rotation($node, 'app_user', 'id');
}

#---------------------------------------------------------------------------------------------------------------------
# Killed

# on_record  whether the rotation is known afterwards
# ends     how it ends by itself
my @deaths = (
	{ at => 'create.ok.commit',           on_record => 0 },
	{ at => 'create.ok.committed',        on_record => 1, ends => 'success' },
	{ at => 'set.ok.commit',              on_record => 1, ends => 'success' },
	{ at => 'set.ok.committed',           on_record => 1, ends => 'success' },
	{ at => 'finish.ok.commit',           on_record => 1, ends => 'success' },
	{ at => 'finish.ok.committed',        on_record => 1, ends => 'success' },
	{ at => 'test.inconclusive.commit',   on_record => 1, ends => 'rolled_back' },
	{ at => 'test.inconclusive.committed', on_record => 1, ends => 'rolled_back' },
	{ at => 'undo.ok.commit',             on_record => 1, ends => 'rolled_back' },
	{ at => 'undo.ok.committed',          on_record => 1, ends => 'rolled_back' },
);

for my $death (@deaths)
{
	my $name     = "killed at $death->{at}";
	my $former   = rotation_id();
	my $password = current_password($node, 'app_user');
	my $refused  = defined $death->{ends} && $death->{ends} eq 'rolled_back';

	open_gate($gate, $refused);
	append_to_file($token, '');
	chmod 0666, $token;
	set_rule("$death->{at}:crash");
	my $offset = -s $node->logfile;
	my $result = end_call(start_call($node, q{SELECT status FROM rotor.rotate('app_user')}));

	ok(!$result->{ok}, "$name: the caller is not told of a success");
	server_is_back($node, $offset);
	ok(!-e $token, "$name: that is where it died");
	poll_until(sub { active_rotations($node, 'app_user') eq '0' }) or die 'the rotation does not end';
	if ($death->{on_record})
	{
		isnt(rotation_id(), $former, "$name: the rotation is on record");
		is(last_rotation($node, 'app_user', 'status'), $death->{ends}, "$name: and ends by itself");
	}
	else { is(rotation_id(), $former, "$name: nothing is on record") }
	if ($refused || !$death->{on_record})
	{
		is(current_password($node, 'app_user') eq $password ? 'former' : 'another', 'former', "$name: the former password is current");
	}
	else { is(current_password($node, 'app_user') eq $password ? 'former' : 'another', 'another', "$name: the new password is current") }
	assert_invariants($node, 'app_user', $name);
	set_rule('');
	open_gate($gate);
	rotate_ok($node, 'app_user', "$name: the next rotation");
}

#---------------------------------------------------------------------------------------------------------------------
# Stopped, and cancelled meanwhile

sub is_stopped
{
	my ($pid) = @_;
	return slurp_file("/proc/$pid/stat") =~ /^\d+ \(.*\) T /s;
}

# Rotates until the worker stops at a point: the call, and the worker.
sub stop_at
{
	my ($point) = @_;

	set_rule("$point:stop");
	my $call   = start_call($node, q{SELECT status FROM rotor.rotate('app_user')});
	my $worker = wait_for_worker($node, 'app_user');
	poll_until(sub { is_stopped($worker) }) or die "the worker does not stop at $point";
	return ($call, $worker);
}

my $password = current_password($node, 'app_user');
my ($call, $worker) = stop_at('create.ok.committed');
succeeds($node, "SELECT rotor.cancel('" . rotation_id() . "')", 'between create and set a rotation can be cancelled');
kill 'CONT', $worker;
my $result = end_call($call);
is($result->{sqlstate}, '57014', 'the worker finds it cancelled, and its caller is told so');
like($result->{detail}, qr/The role was not changed/, 'and that the role was not changed');
is(last_rotation($node, 'app_user', 'status'), 'cancelled', 'that is on record');
is(current_password($node, 'app_user') eq $password ? 'former' : 'another', 'former', 'the former password is current');
assert_invariants($node, 'app_user', 'cancelled between create and set');
set_rule('');
rotate_ok($node, 'app_user', 'after that');

($call, $worker) = stop_at('set.ok.commit');
my $id     = rotation_id();
my $cancel = start_call($node, "SELECT rotor.cancel('$id')");
ok(waits_for_lock($node, call_pid($node, $cancel)), 'whoever cancels while the password is being set waits for that');
kill 'CONT', $worker;
is(end_call($cancel)->{sqlstate}, '55000', 'and is refused');
is(end_call($call)->{out}, 'success', 'the rotation succeeds');
assert_invariants($node, 'app_user', 'not cancelled in set');
set_rule('');

stop_listener($gate);
$node->stop;    # in order: workers that are stopped at once do not write what they counted
done_testing();
