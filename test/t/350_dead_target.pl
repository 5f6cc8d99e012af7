# More is due at a target that does not answer than a worker may hold, and it is older than all else; and more at a slow one than
# its limit lets through within a lease: what is due elsewhere goes on, no other worker is kept from anything, and nothing is
# called a failure that was not tried. A pause is an hour here, so that nothing would go on in time if the dead target's
# jobs stood in the way.
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
my $far    = toxic($target->port);
my @fine   = map { "fine_$_" } 1 .. 6;
my @slow   = map { "slow_$_" } 1 .. 8;

give_boss($node, $target);
sql($target, "CREATE ROLE $_ LOGIN") for @fine, @slow;
my $password = write_password($node);
add_outside_policy($node, 'quick', max_attempts => 100);
add_target($node, 'dead', port => PostgreSQL::Test::Cluster::get_free_port(), admin => 'boss');
add_target($node, 'fine', port => $target->port, admin => 'boss');
add_target($node, 'slow', port => $far->{port}, admin => 'boss');
sql($node, "SELECT rotor.manage('$_', policy => 'quick', target => 'fine')") for @fine;
sql($node, "SELECT rotor.manage('$_', policy => 'quick', target => 'slow')") for @slow;
# More than the 512 that a worker holds at most.
sql($node, q{SELECT count(rotor.manage('dead_' || i, policy => 'quick', target => 'dead')) FROM generate_series(1, 600) i});

sub worker
{
	my ($name) = @_;
	return start_worker($name, 'control-port' => $node->port, 'password-file' => $password, 'breaker-failures' => 2,
		'breaker-pause' => '1h', 'per-target-limit' => 1, 'poll-interval' => '1s');
}

# True when all of them have succeeded.
sub all_end_well
{
	my ($name, @ids) = @_;
	ok(poll_until(sub { count_rotations($node, q{status = 'success'}, @ids) == @ids }), $name) or diag(substr unfinished($node), 0, 2000);
}

{
	sql($node, q{SELECT count((rotor.rotate(name, wait => false)).id) FROM rotor.secret WHERE target = 'dead'});
	ok(poll_until(sub { sql($node, q{SELECT count(*) FROM rotor.rotations WHERE outside AND secret LIKE 'dead%' AND finished_at IS NULL}) == 600 }),
		'given 600 that wait for a target that does not answer');
	my $worker = worker('one');
	my @ids    = ask_rotations($node, @fine);
	all_end_well('what is due elsewhere is done', @ids);
	is(count_rotations($node, 'attempt > 0', @ids), 0, 'at the first attempt');
	ok(poll_until(sub { sql($node, q{SELECT count(*) FROM rotor.rotations WHERE leased_by IS NOT NULL}) eq '0' }),
		'and no lease is kept of what cannot be done, so that others may try');
	cmp_ok(sql($node, q{SELECT count(*) FROM rotor.rotations WHERE secret LIKE 'dead%' AND error_code IS NOT NULL}), '<=', 3,
		'no more of them have failed than it takes to find out');
	is(sql($node, q{SELECT count(*) FROM rotor.rotations WHERE secret LIKE 'dead%' AND error_message LIKE '%lease%'}), 0, 'each for a reason of its own');

	# Each step takes so long that those behind it wait for longer than a lease.
	say($far, 'delay 60');
	@ids = ask_rotations($node, @slow);
	all_end_well('what has to wait for its turn is done, too', @ids);
	is(count_rotations($node, 'attempt > 0', @ids), 0, 'at the first attempt, under a lease that was renewed');
	logs_in($target, $_, current_password($node, $_), "$_: what is current logs in") for $slow[0], $slow[-1], $fine[0];
	end_worker($worker);
	no_password_in({ map { (current_password($node, $_) => 1) } 'boss', @fine, @slow }, $worker->{log}, $node->logfile, $target->logfile);
}
stop_toxic($far);
no_crash_in($_) for $node, $target;
done_testing();
