# A worker that waits within a rotation hears of a caller who comes meanwhile as soon as it is done, though the wait has
# reset its latch. Polling would not help here: the worker would sleep for an hour.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorTest;
use Test::More;

my $node = new_cluster('wake_ups', preload => 1,
	conf => "rotor.workers = 1\nrotor.poll_interval = '1h'\nrotor.connect_timeout = '10min'\n");
my $gate = PostgreSQL::Test::Utils::tempdir('gate') . '/open';

sql($node, 'CREATE ROLE first LOGIN; CREATE ROLE second LOGIN');
rotate_ok($node, $_, "given $_") for qw(first second);

for my $case (
	[ 'run_due()', 'SELECT * FROM rotor.run_due()' ],
	[ 'rotate()', q{SELECT status FROM rotor.rotate('second')} ])
{
	my ($name, $sql) = @$case;
	my $proxy = proxy($node, sub { poll_until(sub { -e $gate }) or die });

	set_conf($node, 'rotor.verify_port' => $proxy->{port});
	sql($node, q{SELECT rotor.rotate('first', wait => false)});
	ok(poll_until(sub { noted($proxy, 'connection') }), "$name: given the one worker, waiting for a login");
	set_conf($node, 'rotor.verify_port' => 0);
	my $call = start_call($node, $sql);
	ok(poll_until(sub { sql($node, "SELECT count(*) FROM pg_stat_activity WHERE application_name = '$call->{name}' AND wait_event_type = 'Extension'") eq '1' }),
		"$name: a caller comes and waits");
	append_to_file($gate, '');
	my $result = end_call($call);
	ok($result->{ok}, "$name: the caller is served when the worker is done") or diag $result->{err};
	ok(poll_until(sub { sql($node, 'SELECT count(*) FROM rotor.rotations WHERE finished_at IS NULL') eq '0' }), "$name: nothing is left to do");
	stop_listener($proxy);
	unlink $gate or die "$gate: $!";
}

assert_invariants($node, $_, 'at the end') for qw(first second);
done_testing();
