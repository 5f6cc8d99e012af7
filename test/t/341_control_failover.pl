# The control database fails over while `rotor worker` rotates accounts of another server: the worker finds the server that takes
# writes by itself, no rotation that somebody was told of is lost, and what is labelled current logs in. It waits for a control
# database that is not there yet, or that takes no writes, and says so.
use strict;
use warnings;
use JSON::PP ();
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorOutside;
use RotorTest;
use Test::More;
use Time::HiRes qw(usleep);

my $keys   = PostgreSQL::Test::Utils::tempdir('keys') . '/rotor.key';
my $folder = PostgreSQL::Test::Utils::tempdir('store');
my $file   = "$folder/secrets.json";
my $test   = $$;
my $target = new_cluster('target', extension => 0);
my $gated  = toxic($target->port);
my @nodes  = (
	new_cluster('control_0', preload => 1, init => { allows_streaming => 1 },
		hba  => [ 'local replication postgres trust', 'host all all 127.0.0.1/32 scram-sha-256' ],
		conf => "rotor.key_file = '$keys'\nrotor.poll_interval = '200ms'\nrotor.lease_duration = '1min'\n"),
	map { PostgreSQL::Test::Cluster->new("control_$_") } 1 .. 3);
my ($primary, $standby) = ($nodes[0], undef);
my @own    = map { "own_$_" } 1 .. 3;
my @stored = map { "stored_$_" } 1 .. 3;
my @all    = (@own, @stored, 'held_own');

sql($target, "CREATE ROLE $_ LOGIN") for @all;
give_boss($primary, $target);
my $password = write_password($primary);
add_outside_policy($primary, 'quick');
add_target($primary, 'second', port => $target->port, admin => 'boss');
add_target($primary, 'gated', port => $gated->{port}, admin => 'boss');
sql($primary, "INSERT INTO rotor.store (name, type, options) VALUES ('file', 'file', '{\"path\": \"$file\"}')");
sql($primary, "SELECT rotor.manage('$_', policy => 'quick', target => 'second')") for @own;
sql($primary, "SELECT rotor.manage('$_', policy => 'quick', target => 'second', store => 'file')") for @stored;
sql($primary, q{SELECT rotor.manage('held_own', policy => 'quick', target => 'gated')});

# Makes a standby that confirms every commit, and starts it.
sub new_standby
{
	my ($number) = @_;

	$primary->backup("for_$number");
	$standby = $nodes[$number];
	$standby->init_from_backup($primary, "for_$number", has_streaming => 1);
	$standby->append_conf('postgresql.conf', 'port = ' . $standby->port . "\nsynchronous_standby_names = ''\n");
	$standby->start;
}

sub be_synchronous
{
	set_conf($primary, 'synchronous_standby_names' => '*');
	poll_until(sub { sql($primary, 'SELECT sync_state FROM pg_stat_replication') eq 'sync' }) or die 'the standby is not synchronous';
}

# The primary is gone, and, when the worker has noticed, the standby takes its place.
sub fail_over
{
	my ($how, $worker) = @_;

	$how eq 'SIGKILL' ? $primary->kill9 : $primary->stop('immediate');
	ok(poll_until(sub { !is_ready($worker) }), "$how: without a primary the worker is not ready");
	$standby->promote;
	($primary, $standby) = ($standby, undef);
}

sub successes
{
	my $count = attempt($primary, q{SELECT count(*) FROM rotor.rotations WHERE status = 'success' AND secret ~ '^(own|stored)'});
	return $count->{ok} ? $count->{out} : 0;
}

#---------------------------------------------------------------------------------------------------------------------
# Somebody who asks for rotations again and again, wherever the primary is, and notes which he was told of

my $notes = PostgreSQL::Test::Utils::tempdir('notes');
my $asking;

sub start_asking
{
	my $conninfo = 'host=' . join(',', map { $_->host } @nodes) . ' port=' . join(',', map { $_->port } @nodes)
	  . ' dbname=postgres user=postgres target_session_attrs=read-write connect_timeout=5';

	unlink "$notes/stop";
	$asking = fork() // die "fork: $!";
	return if $asking;
	local $SIG{__DIE__} = sub { };
	while (getppid() == $test && !-e "$notes/stop")
	{
		for my $secret (@own, @stored)
		{
			my $told = `psql -XAtqw -d '$conninfo' -c "SELECT rotor.rotate('$secret', wait => false)::text" 2>>'$notes/errors'`;
			append_to_file("$notes/told", $told) if $? == 0 && $told;
		}
		usleep(20_000);
	}
	POSIX::_exit(0);
}

sub stop_asking
{
	append_to_file("$notes/stop", '');
	waitpid $asking, 0;
}

# What must hold when all has come to rest.
sub all_is_well
{
	my ($name) = @_;
	my $published = -e $file ? JSON::PP::decode_json(slurp_file($file)) : {};
	my @complaints;
	my %told = map { (/^\(([0-9a-f-]{36}),/ ? $1 : $_) => 1 } split /\n/, -e "$notes/told" ? slurp_file("$notes/told") : '';
	my %known = map { split /\|/ } split /\n/, sql($primary, 'SELECT id, status FROM rotor.rotations');

	for my $secret (@all)
	{
		my $current = attempt($primary, "SELECT rotor.get_secret('$secret', 'current') ->> 'password'");

		push(@complaints, "$secret has no current value"), next unless $current->{ok};
		push @complaints, "current of $secret does not log in" unless login($target, $secret, $current->{out})->{ok};
		push @complaints, "the store has another current value of $secret"
		  if $secret =~ /^stored/ && ($published->{$secret}{current}{password} // '') ne $current->{out};
	}
	push @complaints, map { "rotation $_ is lost" } grep { !$known{$_} } keys %told;
	push @complaints, map { "rotation $_ has ended as $known{$_}" } grep { ($known{$_} // 'success') ne 'success' } keys %known;
	is("@complaints", '', "$name: what is current logs in, and is what the store has; no rotation is lost or has failed");
	cmp_ok(scalar keys %told, '>', 0, "$name: and there were some") if %told;
}

#---------------------------------------------------------------------------------------------------------------------
# A worker that is there first

# The reason that it gives is that of the last one: the standby, at first.
my %settings = ('control-host' => join(',', ('127.0.0.1') x @nodes), 'control-port' => join(',', map { $_->port } @nodes[ 0, 2, 3, 1 ]),
	'password-file' => $password, 'connect-timeout' => '4s');

sql($primary, "SELECT rotor.rotate('$_', wait => false)") for @all;
new_standby(1);
$standby->stop;
$primary->stop;
my $worker = start_worker('first', %settings);
ok(poll_until(sub { log_lines($worker, message => 'could not connect to the control database') }), 'given a worker whose control database is down');
like(answer_of($worker, '/readyz'), qr/^503 ./, 'it is not ready, and says why');
like(answer_of($worker, '/healthz'), qr/^200 /, 'but alive');
like(answer_of($worker, '/metrics'), qr/^rotor_control_connected 0$/m, 'and its figures say so');

my $read_only = qr/read-only|hot standby/;
$standby->start;
ok(poll_until(sub { answer_of($worker, '/readyz') =~ /^503 .*$read_only/s }), 'given a standby and no primary, it says that nothing can be written')
  or diag answer_of($worker, '/readyz');

$primary->start;
ok(poll_until(sub { is_ready($worker) }), 'when the primary has come, it is ready');
comes_to_rest_outside($primary, 'and does what has waited');
like(answer_of($worker, '/metrics'), qr/^rotor_control_connected 1$/m, 'and its figures say so');
all_is_well('after a late start');

#---------------------------------------------------------------------------------------------------------------------
# The primary is lost under load

be_synchronous();
for my $round ([ 1, 'SIGKILL' ], [ 2, 'immediate stop' ])
{
	my ($number, $how) = @$round;
	my ($before, $connections);

	new_standby($number), be_synchronous() unless $standby;
	$before = successes();
	start_asking();
	ok(poll_until(sub { successes() >= $before + 10 }), "$how: given rotations that go on all the time");
	$connections = () = log_lines($worker, message => 'connected to the control database');
	fail_over($how, $worker);
	ok(poll_until(sub { log_lines($worker, message => 'connected to the control database') > $connections }), "$how: the worker connects to the new primary by itself");
	$before = successes();
	ok(poll_until(sub { successes() >= $before + 10 }), "$how: and rotations go on");
	stop_asking();
	comes_to_rest_outside($primary, "$how: all come to their end");
	ok(is_ready($worker), "$how: the worker is ready");
	all_is_well($how);
}

#---------------------------------------------------------------------------------------------------------------------
# The primary is lost while the worker is in the middle of a step: it reports to the new one

new_standby(3);
be_synchronous();
say($gated, 'blackhole');
{
	my $accepted = traffic($gated)->{accepted};
	my $id = sql($primary, q{SELECT (rotor.rotate('held_own', wait => false)).id});

	ok(poll_until(sub { traffic($gated)->{accepted} > $accepted }), 'given a worker that waits for the target in step set');
	fail_over('SIGKILL', $worker);
	say($gated, 'pass');
	ok(poll_until(sub { my $s = attempt($primary, "SELECT status FROM rotor.rotations WHERE id = '$id'"); $s->{ok} && $s->{out} eq 'success' }),
		'the rotation ends well at the new primary');
	is(sql($primary, "SELECT count(*) FROM rotor.audit WHERE rotation = '$id' AND event = 'password_set' AND result = 'ok'"), '1',
		'its password was set once, as far as is on record');
	is(scalar(log_lines($worker, rotation => $id, message => 'reported too late: the lease was over')), 0, 'no report came too late');
}
comes_to_rest_outside($primary, 'all come to their end');
all_is_well('after a step in the middle');

is(end_worker($worker), 0, 'it was one and the same worker, and ends as it should');
{
	my $text = worker_log($worker);
	my @values = map { current_password($primary, $_), password_of($primary, $_, 'previous') } @own, @stored;

	is(scalar(grep { index($text, $_) >= 0 } @values), 0, 'its log has no password');
}
stop_toxic($gated);
no_crash_in($primary);
done_testing();
