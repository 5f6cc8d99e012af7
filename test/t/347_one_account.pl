# What fails for one account of a target is in no other's way, though `rotor worker` leaves a target alone that does not answer:
# an account whose password somebody else has changed, and one that somebody holds a lock of. Both come to their end when
# the cause is gone. A pause is an hour here, so that nothing would go on in time once a target is left alone.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorOutside;
use RotorTest;
use Test::More;

my $target = new_cluster('target', extension => 0);
my $node   = new_cluster('control', preload => 1, conf => "rotor.poll_interval = '200ms'\n");
my @alone  = qw(changed other_1);
my @ruled  = qw(locked other_2);

sql($target, "CREATE ROLE $_ LOGIN") for @alone, @ruled;
give_boss($node, $target);
my $password = write_password($node);
add_outside_policy($node, 'quick', max_attempts => 100);
add_target($node, 'alone', port => $target->port);
add_target($node, 'ruled', port => $target->port, admin => 'boss');
sql($node, "SELECT rotor.manage('$_', policy => 'quick', target => 'ruled')") for @alone, @ruled;
my $worker = start_worker('worker', 'control-port' => $node->port, 'password-file' => $password, 'act-timeout' => '4s',
	'breaker-failures' => 2, 'breaker-pause' => '1h');

sub rotate
{
	my ($secret) = @_;
	return sql($node, "SELECT id FROM rotor.rotate('$secret', wait => false)");
}

sub ends_well
{
	my ($id, $secret, $name) = @_;

	ok(poll_until(sub { sql($node, "SELECT status FROM rotor.rotations WHERE id = '$id'") eq 'success' }), $name) or diag unfinished($node);
	logs_in($target, $secret, current_password($node, $secret), "$name: and what is current logs in");
}

# How often a rotation has failed, and why, the last time.
sub failed_with
{
	my ($id, $codes, $name) = @_;

	ok(poll_until(sub { sql($node, "SELECT attempt >= 4 FROM rotor.rotations WHERE id = '$id'") eq 't' }), "$name has failed again and again")
	  or diag unfinished($node);
	like(sql($node, "SELECT error_code FROM rotor.rotations WHERE id = '$id'"), $codes, 'and it is on record why');
}

ends_well(rotate($_), $_, "given a secret, $_") for @alone, @ruled;
# From now on they change themselves.
sql($node, "UPDATE rotor.secret SET target = 'alone' WHERE name = '$_'") for @alone;

{
	my $value = current_password($node, 'changed');
	sql($target, q{ALTER ROLE changed PASSWORD 'somebody''s own'});
	my $id = rotate('changed');
	failed_with($id, qr/^28P01$/, 'an account whose password somebody else has changed');
	ends_well(rotate('other_1'), 'other_1', 'another one of that target is rotated');
	my $quoted = $value =~ s/'/''/gr;
	sql($target, "ALTER ROLE changed PASSWORD '$quoted'");
	ends_well($id, 'changed', 'with its password back it comes to its end');
}
{
	my $holder = holder($target, 'ALTER ROLE locked CONNECTION LIMIT 50');
	my $id = rotate('locked');
	failed_with($id, qr/^55P03$/, 'an account that somebody holds a lock of');
	ends_well(rotate('other_2'), 'other_2', 'another one of that target is rotated');
	let_go($holder);
	ends_well($id, 'locked', 'without the lock it comes to its end');
}
unlike(answer_of($worker, '/metrics'), qr/^rotor_breaker_state\{.*\} [12]$/m, 'no target was left alone');

is(end_worker($worker), 0, 'the worker ends as it should');
no_crash_in($_) for $node, $target;
done_testing();
