# `rotor worker` and the control database behind a bad network, from end to end: the connection is delayed, reset, cut, swallowed,
# and half open, while rotations are under way. The worker says that it is not ready, lives, and when the network is back it
# goes on by itself: everything comes to its end, and what is current logs in.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorOutside;
use RotorTest;
use Test::More;

my $target = new_cluster('target', extension => 0);
my $node   = new_cluster('control', preload => 1, conf => "rotor.poll_interval = '200ms'\nrotor.lease_duration = '5s'\n");
my $to_control = toxic($node->port);
# More than jobs run at once, so that some wait.
my @all = map { "app_$_" } 1 .. 12;
my %met;

sql($target, join ';', map { "CREATE ROLE $_ LOGIN" } @all);
give_boss($node, $target);
my $password = write_password($node);
add_outside_policy($node, 'quick', backoff_max => "'1 s'", max_attempts => 100);
add_target($node, 'second', port => $target->port, admin => 'boss');
sql($node, "SELECT rotor.manage('$_', policy => 'quick', target => 'second')") for @all;

my $worker = start_worker('worker', 'control-port' => $to_control->{port}, 'password-file' => $password,
	'connect-timeout' => '1s', 'act-timeout' => '2s');

sub all_end_well
{
	my ($name, @ids) = @_;

	ok(poll_until(sub { count_rotations($node, 'finished_at IS NOT NULL', @ids) == @ids }), "$name: everything comes to its end") or diag unfinished($node);
	is(count_rotations($node, "status = 'success'", @ids), scalar @ids, "$name: and ends well");
	my @locked_out;
	# Some of them, or the logins would take longest.
	for my $secret (@all[ 0, rand @all ])
	{
		my $value = current_password($node, $secret);
		$met{$value} = 1;
		push @locked_out, $secret unless login($target, $secret, $value)->{ok};
	}
	is("@locked_out", '', "$name: what is current logs in");
}

all_end_well('a good network', ask_rotations($node, @all));

for my $how ('delay 50', 'reset', 'blackhole', 'half down', 'refuse', 'cut 1', 'cut 300', 'cut 2000')
{
	my $name = "the control database's network: $how";
	my @ids  = ask_rotations($node, @all);
	my $lost = () = log_lines($worker, message => 'lost the connection to the control database');

	# Some have begun, and their reports meet the bad network.
	ok(poll_until(sub { count_rotations($node, 'started_at IS NOT NULL', @ids) > 0 }), "$name: given rotations that have begun");
	say($to_control, $how);
	if ($how =~ /^delay/)
	{
		all_end_well($name, @ids);
		say($to_control, 'delay 0');
		next;
	}
	# Those that are open go on.
	say($to_control, 'reset'), say($to_control, 'refuse') if $how eq 'refuse';
	ok(poll_until(sub { log_lines($worker, message => 'lost the connection to the control database') > $lost }), "$name: the worker loses it");
	# Of the longest pieces something gets through now and then.
	ok(poll_until(sub { !is_ready($worker) }), "$name: and is not ready") if $how ne 'cut 2000';
	like(answer_of($worker, '/healthz'), qr/^200 /, "$name: it is alive");
	ok(worker_runs($worker), "$name: and runs");
	say($to_control, 'pass');
	ok(poll_until(sub { is_ready($worker) }), "$name: when it is back, the worker is ready");
	all_end_well($name, @ids);
}

# All of them at last.
logs_in($target, $_, current_password($node, $_), "at the end what is current of $_ logs in") for @all;
is(end_worker($worker), 0, 'it was one and the same worker, and ends as it should');
no_password_in(\%met, $worker->{log}, $node->logfile, $target->logfile);
stop_toxic($to_control);
no_crash_in($_) for $node, $target;
done_testing();
