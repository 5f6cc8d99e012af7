# `rotor worker` is killed around every single request to a store, AWS's Secrets Manager (moto) and Vault (an imitation): before
# the request reaches the store, and after the store has answered; of a secret that the store has, and of one that is new to it.
# Another worker takes over, and what the store has as current is what rotor has as current, and what the target accepts.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorOutside;
use RotorTest;
use Test::More;

my $target = new_cluster('target', extension => 0);
my $node   = new_cluster('control', preload => 1, conf => "rotor.poll_interval = '200ms'\nrotor.lease_duration = '10min'\n");
my %peers  = (vault => start_vault(), aws => start_peer('moto'));
my @stores = ('vault', $peers{aws}{missing} ? () : 'aws');
my %gates  = map { $_ => request_gate($peers{$_}{port}) } @stores;
my %options = (
	vault => qq({"address": "http://127.0.0.1:$gates{vault}{port}"}),
	aws   => $gates{aws} ? qq({"endpoint": "http://127.0.0.1:$gates{aws}{port}", "region": "eu-central-1"}) : '');
my (%met, $worker, @workers);

give_boss($node, $target);
my $password = write_password($node);
add_outside_policy($node, 'quick');
add_target($node, 'second', port => $target->port, admin => 'boss');
sql($node, "INSERT INTO rotor.store (name, type, options) VALUES ('$_', '$_', '$options{$_}')") for @stores;

# One job at a time, so that a worker has one connection to a store: the gate serves one after the other.
sub next_worker
{
	my $name = 'worker_' . scalar @workers;

	push @workers, $worker = start_worker($name, 'control-port' => $node->port, 'password-file' => $password, 'concurrency' => 1,
		'act-timeout' => '1min', 'breaker-failures' => 1000, environment => { credentials_of(%peers) });
}

sub manage_new
{
	my ($store, $secret) = @_;

	sql($target, "CREATE ROLE $secret LOGIN");
	sql($node, "SELECT rotor.manage('$secret', policy => 'quick', target => 'second', store => '$store')");
}

sub status_of
{
	my ($id) = @_;
	return sql($node, "SELECT status FROM rotor.rotations WHERE id = '$id'");
}

# False if there is no request of that number.
sub kill_at
{
	my ($store, $secret, $when, $number, $name) = @_;
	my $plan = hold_request($gates{$store}, $when, $number);
	my $id = sql($node, "SELECT id FROM rotor.rotate('$secret', wait => false)");
	my @complaints;

	poll_until(sub { is_held($gates{$store}, $plan) || status_of($id) eq 'success' }) or die "$name: neither held nor done: " . unfinished($node);
	return 0 unless is_held($gates{$store}, $plan);
	my $step = sql($node, "SELECT step FROM rotor.rotations WHERE id = '$id'");
	kill_worker($worker);
	end_lease($node, $id);
	next_worker();
	poll_until(sub { sql($node, "SELECT finished_at IS NOT NULL FROM rotor.rotations WHERE id = '$id'") eq 't' });

	my ($current, $value) = split /\|/, sql($node, "SELECT v ->> 'version_id', v ->> 'password' FROM rotor.get_secret('$secret') v"), 2;
	my ($published, $there) = $store eq 'aws' ? published_in_aws($peers{aws}, $secret) : published_in_vault($peers{vault}, $secret);
	my ($pending) = $store eq 'aws' ? published_in_aws($peers{aws}, $secret, 'AWSPENDING') : published_in_vault($peers{vault}, "$secret.rotor-pending");
	$met{$value} = 1;
	push @complaints, 'the store has a version as pending still' if defined $pending;
	push @complaints, 'its end is ' . status_of($id) . ': ' . unfinished($node) if status_of($id) ne 'success';
	push @complaints, "the store has version $published as current, rotor $current" if ($published // '') ne $current;
	push @complaints, 'the store has another value as current' if ($there // '') ne $value;
	push @complaints, 'the target does not accept what is current' unless login($target, $secret, $value)->{ok};
	is(join('; ', @complaints), '', "$name, in step $step: store, rotor and target agree");
	return 1;
}

next_worker();
for my $store (@stores)
{
	my $secret = "known_$store";
	my $number = 1;

	manage_new($store, $secret);
	my $id = sql($node, "SELECT id FROM rotor.rotate('$secret', wait => false)");
	poll_until(sub { status_of($id) eq 'success' }) or die "$store: " . unfinished($node);
	$number++ while kill_at($store, $secret, 'before', $number, "$store: before request $number") && kill_at($store, $secret, 'after', $number, "$store: after request $number");
	cmp_ok($number, '>', 4, "$store: that were all requests of a rotation");

	my $fresh = 1;
	for (;; $fresh++)
	{
		manage_new($store, "new_${store}_${fresh}_$_") for 'before', 'after';
		last unless kill_at($store, "new_${store}_${fresh}_before", 'before', $fresh, "$store: a new secret, before request $fresh");
		kill_at($store, "new_${store}_${fresh}_after", 'after', $fresh, "$store: a new secret, after request $fresh");
	}
	cmp_ok($fresh, '>', 3, "$store: that were all requests of the first one");
}
SKIP:
{
	skip 'no moto_server (MOTO_SERVER says where it is)', 1 if $peers{aws}{missing};
	pass('with an imitation of AWS');
}

is(end_worker($worker), 0, 'the last worker ends as it should');
no_password_in(\%met, $node->logfile, $target->logfile, map { $_->{log} } @workers);
stop_listener($_) for values %gates;
stop_peer($_) for values %peers;
no_crash_in($_) for $node, $target;
done_testing();
