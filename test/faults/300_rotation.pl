# Each call that a rotation's worker makes fails, one after the other: of memory, of SPI, of OpenSSL, of files, of libpq, of
# transactions. Whichever it is, the caller is told what is on record, the version labelled current logs in, and the next
# attempt succeeds. rotor is not preloaded, so each rotation has a worker of its own, which has nothing in memory yet.

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use RotorCrash;
use RotorFaults;
use RotorTest;
use Test::More;

# Failures that end the worker, because it has no rotation in hand yet; the caller is told that it ended.
my %ends_worker = map { $_ => 1 } 'process dsm_attach', 'memory palloc0';

my $node = faulty_cluster('each_call');
my @passwords;

# Retries are far off: whatever happens next is what the test asks for.
sql($node, q{UPDATE rotor.policy SET backoff = '30 days', backoff_max = '30 days'});
sql($node, 'CREATE ROLE app_user LOGIN');

# rotate() with nothing in the way, once no other worker is at it, which may have found the rotation due by itself. Returns
# its status and what is wrong afterwards. A rotation that was on its way back ends there, and is told as what it is.
sub next_attempt
{
	my ($refused) = @_;
	my $result;

	poll_until(
		sub {
			$result = attempt($node, in_workers() . q{SELECT status FROM rotor.rotate('app_user');} . complaints('app_user'));
			$result->{sqlstate} ne '55006';
		});
	return $result->{out} if $result->{ok};
	return next_attempt() if $refused && $result->{err} =~ /55000: the new password could not be proved by a login/;
	return $result->{err};
}

# How the last rotation stands; what is wrong now.
sub state_now
{
	my ($status, $password, @problems) = split /\n/, sql($node, <<'SQL' . complaints('app_user'));
SELECT coalesce((SELECT status FROM rotor.rotations WHERE secret = 'app_user' ORDER BY queued_at DESC LIMIT 1), 'none');
SELECT coalesce((SELECT rotor.get_secret('app_user') ->> 'password' FROM rotor.version WHERE stage = 'current'), 'none');
SQL

	return ($status, @problems) if $password eq 'none';
	my $login = login($node, 'app_user', $password);
	push @passwords, $password;
	push @problems, "the version labelled current does not log in: $login->{err}" unless $login->{ok};
	return ($status, @problems);
}

# The n-th call fails, for n = 1, 2 ... until nothing is left that could fail.
#   rule     what fails and how, before and after n
#   before   done before each rotation
#   call     SQL that rotates and returns the status
#   least    so many calls there are at least
sub sweep
{
	my ($name, %how) = @_;
	my $n = $how{from} // 1;
	my $call = $how{call} // q{SELECT status FROM rotor.rotate('app_user')};

	for (;; $n++)
	{
		$how{before}->() if $how{before};
		my $offset = -s $node->logfile;
		my $result = attempt($node, in_workers(sprintf $how{rule}, $n) . $call);
		my ($hit)  = hits($node, $offset);
		last unless defined $hit;

		my ($class, $point) = split / /, $hit;
		my $label   = "$name: call $n, $hit, fails";
		my ($status, @problems) = state_now();
		my $expected = $class =~ /^(committed|process)$/ ? qr/^none$/ : told($class, $point);

		$expected = qr/$expected|^57P01$/ if $ends_worker{$hit} || $how{rule} =~ /\+/;
		$expected = qr/$expected|^55000$/ if $how{refused};
		if ($result->{ok}) { is($status, 'success', "$label: the caller is told of a success, and that is on record") }
		else               { like($result->{sqlstate}, $expected, "$label: the caller is told") or diag $result->{err} }
		is("@problems", '', "$label: nothing is lost");
		$how{after}->() if $how{after};
		is(next_attempt($how{refused}), 'success', "$label: the next attempt succeeds");
	}
	cmp_ok($n - ($how{from} // 1), '>=', $how{least}, "$name: " . ($n - 1) . ' calls were made');
	$how{after}->() if $how{after};
	is(next_attempt(), 'success', "$name: with nothing in the way it succeeds");
}

#---------------------------------------------------------------------------------------------------------------------
# The first of all: a key file and a data key are made

sub start_anew
{
	unlink $node->data_dir . '/rotor.key';
	sql($node, <<'SQL');
SET client_min_messages = error;
DROP EXTENSION rotor CASCADE;
DROP ROLE app_user;
CREATE EXTENSION rotor;
CREATE ROLE app_user LOGIN;
UPDATE rotor.policy SET backoff = '30 days', backoff_max = '30 days';
SQL
}

for my $class (qw(file random crypto own role))
{
	sweep("the first rotation, $class", rule => "$class:fail:%d", before => \&start_anew, least => $class eq 'random' ? 2 : 5);
}

#---------------------------------------------------------------------------------------------------------------------
# A rotation like most: one call fails; one call fails and all that follow, which ends the worker; only SPI fails from then
# on, so that not even the failure can be recorded

sweep('a rotation', rule => 'any:fail:%d', least => 190);
sweep('a rotation, from then on', rule => 'any:fail:%d+', least => 190);
sweep('a rotation, without SPI from then on', rule => 'spi:fail:%d+', least => 40);

#---------------------------------------------------------------------------------------------------------------------
# The way back

my $gate = new_gate($node);
my ($offset, $until_login) = (-s $node->logfile, 0);
sql($node, in_workers('any:trace') . q{SELECT status FROM rotor.rotate('app_user')});
for (hits($node, $offset, 'passes')) { $until_login++; last if $_ eq 'committed set.ok.committed' }
sweep('the way back',
	rule => 'any:fail:%d', from => $until_login + 1, before => sub { open_gate($gate, 1) }, after => sub { open_gate($gate) },
	refused => 1, least => 20);
stop_listener($gate);

tells_no_password($node, @passwords);
done_testing();
