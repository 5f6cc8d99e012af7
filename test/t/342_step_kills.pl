# `rotor worker` is killed at each step of a rotation, publish, set, test, finish and undo, with a store that is a file, AWS's
# Secrets Manager (moto) and Vault (an imitation): before what the step asks for was done, when it was done and nobody was told,
# and when it was told and the answer was lost. Another worker takes over, and what the store has as current is what rotor has
# as current, and what the target accepts.
#
# A worker is held before a step by a proxy in front of the target or of the store, or by the file's lock; and after it by a
# lock of the rotation's row, which its report waits for. Nothing waits for time to pass: leases are made to end.
use strict;
use warnings;
use Fcntl qw(:flock);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorOutside;
use RotorTest;
use Test::More;

my $folder = PostgreSQL::Test::Utils::tempdir('store');
my $file   = "$folder/secrets.json";
my $target = new_cluster('target', extension => 0);
my $node   = new_cluster('control', preload => 1, conf => "rotor.poll_interval = '200ms'\nrotor.lease_duration = '10min'\n");
my %peers  = (vault => start_vault(), aws => start_peer('moto'));
my @stores = ('file', 'vault', $peers{aws}{missing} ? () : 'aws');
my %toxics = map { $_ => toxic($peers{$_}{port}) } grep { $_ ne 'file' } @stores;
my $at_target = toxic($target->port);

#---------------------------------------------------------------------------------------------------------------------
# A secret for each store

my %options = (
	file  => qq({"path": "$file"}),
	vault => $toxics{vault} ? qq({"address": "http://127.0.0.1:$toxics{vault}{port}"}) : '',
	aws   => $toxics{aws} ? qq({"endpoint": "http://127.0.0.1:$toxics{aws}{port}", "region": "eu-central-1"}) : '');

give_boss($node, $target);
my $password = write_password($node);
add_outside_policy($node, 'quick');
add_target($node, 'second', port => $at_target->{port}, admin => 'boss');
for my $store (@stores)
{
	sql($target, "CREATE ROLE in_$store LOGIN");
	sql($node, "INSERT INTO rotor.store (name, type, options) VALUES ('$store', '$store', '$options{$store}')");
	sql($node, "SELECT rotor.manage('in_$store', policy => 'quick', target => 'second', store => '$store')");
}

my %environment = credentials_of(%peers);
my ($worker, @workers);

sub next_worker
{
	my $name = 'worker_' . scalar @workers;

	push @workers, $worker = start_worker($name, 'control-port' => $node->port, 'password-file' => $password,
		'act-timeout' => '1min', 'connect-timeout' => '1min', 'breaker-failures' => 1000, environment => \%environment);
}

# What the store has as current: (version's id, password)
sub published
{
	my ($store) = @_;
	return published_in_file($file, 'in_file') if $store eq 'file';
	return $store eq 'vault' ? published_in_vault($peers{vault}, 'in_vault') : published_in_aws($peers{aws}, 'in_aws');
}

#---------------------------------------------------------------------------------------------------------------------
# Where a worker is held

my $file_lock;

# Nothing of what a worker asks for is done from now on.
sub close_gates
{
	say($_, 'blackhole') for $at_target, values %toxics;
	open $file_lock, '>>', "$folder/.secrets.json.rotor-lock" or die "$folder: $!";
	flock $file_lock, LOCK_EX or die "flock: $!";
}

# It is done again; what was on its way comes through, or, if it is lost, never does.
sub open_gates
{
	my ($lost) = @_;

	for my $toxic ($at_target, values %toxics)
	{
		say($toxic, 'reset') if $lost;
		say($toxic, 'pass');
	}
	close $file_lock if $file_lock;
	undef $file_lock;
}

sub wait_for_step
{
	my ($id, $step) = @_;
	poll_until(sub { grep { $_->{message} =~ /^begins/ } log_lines($worker, rotation => $id, step => $step) }) or die "step $step does not begin";
}

# The step that a worker is held before is done, and its report waits. Returns what it waits for, and the report's backend.
sub do_step
{
	my ($id) = @_;
	# A lock that a heartbeat's row lock goes with, and a report's does not.
	my $holder = holder($node, "SELECT FROM rotor.rotation WHERE id = '$id' FOR KEY SHARE");
	my $pid = '';

	open_gates(0);
	poll_until(sub { $pid = sql($node, q{SELECT pid FROM pg_stat_activity WHERE usename = 'rotor_worker' AND wait_event_type = 'Lock' AND query ~ 'rotor\.(complete|fail)'}) })
	  or die 'no report waits';
	return ($holder, $pid);
}

sub is_gone
{
	my ($pid) = @_;
	return poll_until(sub { sql($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid") eq '0' });
}

#---------------------------------------------------------------------------------------------------------------------
# One kill

my %ways = (undo => [qw(publish set test undo)], map { $_ => [qw(publish set test finish)] } qw(publish set test finish));
my %met;

sub remember
{
	my ($secret) = @_;
	my $values = sql($node, "SELECT rotor.get_secret('$secret', v.stage) ->> 'password' FROM rotor.version v JOIN rotor.secret s ON s.id = v.secret_id
		WHERE s.name = '$secret' AND v.stage IS NOT NULL");
	$met{$_} = 1 for split /\n/, $values;
}

sub kill_at
{
	my ($store, $step, $when) = @_;
	my ($secret, $name) = ("in_$store", "$store: killed $when $step");
	my ($holder, $pid);

	close_gates();
	my $id = sql($node, "SELECT id FROM rotor.rotate('$secret', wait => false)");
	for my $now (@{ $ways{$step} })
	{
		wait_for_step($id, $now);
		last if $now eq $step;
		# What a login is refused for: somebody else has changed the password.
		sql($target, "ALTER ROLE $secret PASSWORD 'somebody''s own'") if $step eq 'undo' && $now eq 'test';
		($holder, $pid) = do_step($id);
		close_gates();
		let_go($holder);
	}
	($holder, $pid) = do_step($id) if $when ne 'before';
	kill_worker($worker);
	open_gates(1);
	sql($node, "SELECT pg_terminate_backend($pid)") if $when eq 'after';
	if ($holder)
	{
		let_go($holder) if $when ne 'before';
		is_gone($pid) or die 'the backend of a dead worker stays' if $when ne 'before';
	}
	remember($secret);
	end_lease($node, $id);
	next_worker();
	poll_until(sub { sql($node, "SELECT finished_at IS NOT NULL FROM rotor.rotations WHERE id = '$id'") eq 't' });

	my ($end, $is_version) = split /\|/, sql($node, "SELECT status, version_id FROM rotor.rotations WHERE id = '$id'");
	my ($current, $value) = split /\|/, sql($node, "SELECT v ->> 'version_id', v ->> 'password' FROM rotor.get_secret('$secret') v"), 2;
	my ($published, $there) = published($store);
	my @complaints;

	$met{$value} = 1;
	push @complaints, "its end is $end: " . unfinished($node) if $end ne ($step eq 'undo' ? 'rolled_back' : 'success');
	push @complaints, 'the version that is current is not the one that is meant' if ($current eq $is_version) == ($step eq 'undo');
	push @complaints, "the store has version $published as current, rotor $current" if $published ne $current;
	push @complaints, 'the store has another value as current' if $there ne $value;
	push @complaints, 'the target does not accept what is current' unless login($target, $secret, $value)->{ok};
	push @complaints, 'more than one set is on record'
	  if sql($node, "SELECT count(*) FROM rotor.audit WHERE rotation = '$id' AND event = 'password_set' AND result = 'ok'") ne '1';
	return is(join('; ', @complaints), '', "$name: store, rotor and target agree");
}

next_worker();
for my $store (@stores)
{
	my $id = sql($node, "SELECT (rotor.rotate('in_$store', wait => false)).id");
	poll_until(sub { sql($node, "SELECT status FROM rotor.rotations WHERE id = '$id'") eq 'success' }) or die "$store: " . unfinished($node);
	for my $step (qw(publish set test finish undo))
	{
		kill_at($store, $step, $_) || last for 'before', 'after', 'after the report of';
	}
}
SKIP:
{
	skip 'no moto_server (MOTO_SERVER says where it is)', 1 if $peers{aws}{missing};
	pass('with an imitation of AWS');
}

is(end_worker($worker), 0, 'the last worker ends as it should');
no_password_in(\%met, $node->logfile, $target->logfile, map { $_->{log} } @workers);
stop_toxic($_) for $at_target, values %toxics;
stop_peer($_) for values %peers;
no_crash_in($_) for $node, $target;
done_testing();
