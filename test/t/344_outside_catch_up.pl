# After a restart with two hundred secrets overdue whose target is outside: their rotations begin at the pace of
# rotor.catch_up_rate, however many `rotor worker` could do, and neither a caller nor what falls due now waits for them. The
# clock that schedules go by is set by the test, and stands still: what must not happen at a moment has all the time to happen.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorOutside;
use RotorTest;
use Test::More;

my $count  = 200;
my $target = new_cluster('target', extension => 0);
my $node   = new_cluster('control', preload => 1, conf => <<'CONF');
rotor.test_clock = '2027-05-01 12:00:00+00'
rotor.catch_up_rate = 60
rotor.poll_interval = '100ms'
rotor.maintenance_interval = 0
CONF

sub clock
{
	my ($time) = @_;
	set_conf($node, 'rotor.test_clock' => "$time+00");
}

# How many rotations there are of the secrets that were overdue, or of the others, in all and with success: 'all|success'.
sub rotations_of
{
	my ($kind) = @_;
	return sql($node, "SELECT count(*), count(*) FILTER (WHERE status = 'success') FROM rotor.rotations WHERE secret LIKE '${kind}\\_%'");
}

sub come_to
{
	my ($kind, $number, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok(poll_until(sub { rotations_of($kind) eq "$number|$number" }), $name) || (diag(rotations_of($kind)), 0)[1];
}

sql($target, "DO \$\$BEGIN FOR i IN 1 .. $count LOOP EXECUTE format('CREATE ROLE late_%s LOGIN', i); END LOOP; END\$\$; CREATE ROLE now_1 LOGIN; CREATE ROLE asked_1 LOGIN");
give_boss($node, $target);
my $password = write_password($node);
add_outside_policy($node, 'daily',    schedule => q{'0 3 * * *'});
add_outside_policy($node, 'minutely', schedule => q{'* * * * *'});
add_outside_policy($node, 'quick');
add_target($node, 'second', port => $target->port, admin => 'boss');
sql($node, "SELECT count(rotor.manage('late_' || i, policy => 'daily', target => 'second')) FROM generate_series(1, $count) i");
$node->stop('immediate');
$node->append_conf('postgresql.conf', "rotor.test_clock = '2027-05-04 12:00:00+00'\n");
$node->start;
my $worker = start_worker('worker', 'control-port' => $node->port, 'password-file' => $password, 'concurrency' => 64, 'claim-batch' => 64,
	'per-target-limit' => 64);

come_to('late', 1, "of $count that were missed while the server was down, one begins at once, and ends");
is(sql($node, q{SELECT count(*) FROM rotor.upcoming WHERE overdue AND secret LIKE 'late\_%'}), $count - 1, 'the others are overdue');
sql($node, q{SELECT rotor.manage('now_1', policy => 'minutely', target => 'second'); SELECT rotor.manage('asked_1', policy => 'quick', target => 'second')});
for my $minute (1 .. 3)
{
	# Each step is longer than any pause between two missed ones may be: 1 s, half of it more or less.
	clock("2027-05-04 12:0$minute:00");
	come_to('now', $minute, "minute $minute: what falls due now is done");
	come_to('late', $minute + 1, "minute $minute: and one more of the missed ones");
	sql($node, q{SELECT rotor.rotate('asked_1', wait => false)});
	come_to('asked', $minute, "minute $minute: what is asked for is done");
	is(rotations_of('late'), ($minute + 1) . '|' . ($minute + 1), "minute $minute: the others wait for their time");
}

# One at most begins while the clock stands.
for my $second (1 .. 20)
{
	clock(sprintf '2027-05-04 12:04:%02d', $second);
}
is(sql($node, 'SHOW rotor.test_clock'), '2027-05-04 12:04:20+00', 'given that the clock has moved');
# Each worker has looked once more before they are counted.
my $since = sql($node, 'SELECT clock_timestamp()');
ok(poll_until(sub { sql($node, qq{SELECT bool_and(state_change > '$since') FROM pg_stat_activity WHERE backend_type = 'rotor worker'}) eq 't' }), 'and that every worker of the server knows');
sql($node, q{SELECT rotor.rotate('asked_1', wait => false)});
come_to('asked', 4, 'after twenty seconds, one by one');
my ($begun) = split /\|/, rotations_of('late');
cmp_ok($begun, '>', 4, 'some more have begun');
cmp_ok($begun, '<=', 4 + 20, 'and no more than the pace lets');

# A restart in the middle changes nothing of it.
$node->stop('immediate');
$node->start;
ok(poll_until(sub { is_ready($worker) }), 'given another restart');
come_to('late', $begun + 1, 'one more begins');
clock('2027-05-04 12:05:00');
come_to('late', $begun + 2, 'and another one when it is time');

set_conf($node, 'rotor.catch_up_rate' => 0);
come_to('late', $count, 'without a pace all are done');
is(sql($node, q{SELECT count(DISTINCT secret) FROM rotor.rotations WHERE secret LIKE 'late\_%'}), $count, 'each once, though it was missed three times');
is(sql($node, q{SELECT bool_and(next_rotation = '2027-05-05 03:00+00') FROM rotor.secrets WHERE secret LIKE 'late\_%'}), 't', 'and is planned as ever');
logs_in($target, $_, current_password($node, $_), "the version labelled current of $_ logs in") for 'late_1', "late_$count", 'now_1', 'asked_1';

is(end_worker($worker), 0, 'the worker ends as it should');
no_crash_in($_) for $node, $target;
done_testing();
