# `rotor worker` and a target behind a bad network, from end to end: connections are delayed, reset at once and in the middle,
# cut, swallowed, and half open, also while a password is being set. Each attempt ends in a state that is on record and says
# why, other targets are rotated as ever, and when the network is back everything comes to its end by itself: what is current
# logs in. t/346 does the same to the connection to the control database.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorOutside;
use RotorTest;
use Test::More;

my %servers = map { $_ => new_cluster($_, extension => 0) } qw(far near);
my $node = new_cluster('control', preload => 1, conf => "rotor.poll_interval = '200ms'\nrotor.lease_duration = '5s'\n");
my $to_far = toxic($servers{far}->port);
# More than jobs run at once: they are in the way of the others if anything is.
my @far  = map { "far_$_" } 1 .. 10;
my @near = map { "near_$_" } 1 .. 3;
my %met;

sql($servers{far}, join ';', map { "CREATE ROLE $_ LOGIN" } @far);
sql($servers{near}, join ';', map { "CREATE ROLE $_ LOGIN" } @near);
give_boss($node, values %servers);
my $password = write_password($node);
add_outside_policy($node, 'quick', backoff_max => "'1 s'", max_attempts => 100);
add_target($node, 'far', port => $to_far->{port}, admin => 'boss');
add_target($node, 'near', port => $servers{near}->port, admin => 'boss');
sql($node, "SELECT rotor.manage('$_', policy => 'quick', target => 'far')") for @far;
sql($node, "SELECT rotor.manage('$_', policy => 'quick', target => 'near')") for @near;

my $worker = start_worker('worker', 'control-port' => $node->port, 'password-file' => $password,
	'connect-timeout' => '1s', 'act-timeout' => '2s');

sub all_end_well
{
	my ($name, @ids) = @_;

	ok(poll_until(sub { count_rotations($node, 'finished_at IS NOT NULL', @ids) == @ids }), "$name: everything comes to its end") or diag unfinished($node);
	is(count_rotations($node, "status = 'success'", @ids), scalar @ids, "$name: and ends well");
	my @locked_out;
	# Some of them, or the logins would take longest.
	for my $secret ($far[0], $far[ rand @far ], $near[ rand @near ])
	{
		my $value = current_password($node, $secret);
		$met{$value} = 1;
		push @locked_out, $secret unless login($servers{ $secret =~ s/_.*//r }, $secret, $value)->{ok};
	}
	is("@locked_out", '', "$name: what is current logs in");
}

all_end_well('a good network', ask_rotations($node, @far, @near));

#---------------------------------------------------------------------------------------------------------------------
# To a target

# How much a server answers to the session that sets a password, and to the one that logs in.
my $before = traffic($to_far);
all_end_well('one alone', ask_rotations($node, $far[0]));
my $after = traffic($to_far);
my $answers = ($after->{down} - $before->{down}) / ($after->{accepted} - $before->{accepted});
cmp_ok($answers, '>', 100, 'given how much a server answers');

for my $how ('delay 100', 'reset', 'blackhole', 'half up', 'half down', 'refuse', map { 'cut ' . int($answers * $_ / 3) } 1 .. 2)
{
	my $name = "the target's network: $how";
	my @ids;

	say($to_far, $how);
	@ids = ask_rotations($node, @far);
	if ($how =~ /^delay/)
	{
		all_end_well($name, @ids, ask_rotations($node, @near));
		say($to_far, 'delay 0');
		next;
	}
	ok(poll_until(sub { count_rotations($node, 'attempt > 0', @ids) > 0 }), "$name: an attempt fails");
	is(count_rotations($node, "attempt > 0 AND (error_code !~ '^(08|57)' OR error_message IS NULL)", @ids), '0', "$name: for a passing reason, which is told")
	  or diag sql($node, q{SELECT DISTINCT error_code, error_message FROM rotor.rotations WHERE attempt > 0});
	my @others = ask_rotations($node, @near);
	ok(poll_until(sub { count_rotations($node, 'finished_at IS NOT NULL', @others) == @others }), "$name: others are rotated meanwhile");
	is(count_rotations($node, "status = 'success'", @others), scalar @others, "$name: well");
	is(count_rotations($node, "status IN ('pending', 'in_progress', 'verifying')", @ids), scalar @ids, "$name: while those behind it wait");
	say($to_far, 'pass');
	all_end_well($name, @ids);
}

# The connection is lost while the server is setting a password: nobody knows whether it will.
for my $how ('reset', 'half down', 'blackhole')
{
	my $name = "the target's network while a password is set: $how";
	my $holder = holder($servers{far}, q{ALTER ROLE far_1 CONNECTION LIMIT 50});
	my $unknown = () = log_lines($worker, step => 'set', class => 'unknown');
	my ($id) = ask_rotations($node, 'far_1');

	poll_until(sub { sql($servers{far}, q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'boss' AND wait_event_type = 'Lock'}) eq '1' })
	  or die 'nobody waits for the lock';
	say($to_far, $how);
	let_go($holder) if $how eq 'half down';
	ok(poll_until(sub { log_lines($worker, step => 'set', class => 'unknown') > $unknown }), "$name: nobody knows what became of it");
	ok(poll_until(sub { sql($node, "SELECT unsettled FROM rotor.rotations WHERE id = '$id'") eq 't' }), "$name: which is on record");
	let_go($holder) if $how ne 'half down';
	say($to_far, 'pass');
	all_end_well($name, $id);
}

# All of them at last.
for my $secret (@far, @near)
{
	logs_in($servers{ $secret =~ s/_.*//r }, $secret, current_password($node, $secret), "at the end what is current of $secret logs in");
}
is(end_worker($worker), 0, 'it was one and the same worker, and ends as it should');
no_password_in(\%met, $worker->{log}, $node->logfile, map { $_->logfile } values %servers);
stop_toxic($_) for $to_far;
no_crash_in($_) for $node, values %servers;
done_testing();
