# What the tests of faults share: rules for workers and for sessions, and what the log says of the calls that were hit.
# They need a library whose calls can be made to fail, see fault.h; `make coverage` builds one.
package RotorFaults;

use strict;
use warnings;
use Exporter 'import';
use PostgreSQL::Test::Utils;
use RotorTest;
use Test::More;

our @EXPORT = qw(faulty_cluster in_workers hits class_of told complaints tells_no_password);

# The class of each function that has a wrapper, as the sources say.
my %class_of;
for my $file (glob(($ENV{ROTOR_TOP} // '..') . '/test/faults/wrap_*.c'))
{
	my $text = slurp_file($file);
	$class_of{$2} = $1 while $text =~ /^WRAP\((\w+), [^,]+, (\w+),/mg;
}
$class_of{$_} = 'transaction' for qw(StartTransactionCommand CommitTransactionCommand);

sub class_of
{
	my ($point) = @_;
	return $class_of{$point} // die "no wrapper of $point";
}

# The SQLSTATE that a caller is told when a function fails: by the function, else by its class.
my %told = (
	commit      => qr/^53100$/,
	crypto      => qr/^XX000$/,
	file        => qr/^(58P01|58030|53000|53100)$/,
	login       => qr/^(08001|53000|53200)$/,
	memory      => qr/^53200$/,
	own         => qr/^54000$/,
	process     => qr/^53200$/,
	random      => qr/^XX000$/,
	role        => qr/^(53200|53100|XX000)$/,
	spi         => qr/^XX000$/,
	transaction => qr/^(53200|53100)$/,
	EVP_DecryptFinal_ex => qr/^XX001$/,    # that is how it tells of damage
	get_role_password   => qr/^28P01$/,    # then nothing accepts the password
);

sub told
{
	my ($class, $point) = @_;
	return $told{$point} // $told{$class} // die "nothing is said of $class";
}

# A server like RotorTest::new_cluster() makes. No session of the tests has a rule unless it sets one itself: what
# in_workers() says is for workers.
sub faulty_cluster
{
	my ($name, %options) = @_;
	my $node = new_cluster($name, %options);

	die "this library has no faults: 'make coverage' builds one that has\n"
	  unless sql($node, q{LOAD 'rotor'; SELECT count(*) FROM pg_settings WHERE name = 'rotor_test.fault'}) eq '1';
	$ENV{PGOPTIONS} = '-c rotor_test.fault=';
	return $node;
}

# SQL that gives a rule to each worker that connects to the database from now on; none without one.
sub in_workers
{
	my ($rule) = @_;
	return $rule ? "ALTER DATABASE postgres SET rotor_test.fault = '$rule';" : 'ALTER DATABASE postgres RESET rotor_test.fault;';
}

# The calls that failed, or those that a trace saw pass, as the log has them since an offset: ("memory palloc", ...).
sub hits
{
	my ($node, $offset, $how) = @_;
	$how //= 'fails';
	return slurp_file($node->logfile, $offset) =~ /LOG:\s+fault: (.*), call \d+, $how$/mg;
}

# SQL that tells what is wrong with a secret while nothing is running, a line each; nothing if all is well.
sub complaints
{
	my ($secret) = @_;
	return <<"SQL";
SELECT 'the role has another verifier than the version labelled current' FROM rotor.coverage WHERE secret = '$secret' AND NOT in_sync;
SELECT 'rotation ' || id || ' is over and has no audit row' FROM rotor.rotation r
WHERE finished_at IS NOT NULL AND NOT EXISTS (SELECT FROM rotor.audit a WHERE a.rotation = r.id);
SELECT 'rotation ' || id || ' is ' || status || ', and it has an end or none' FROM rotor.rotation
WHERE (finished_at IS NULL) <> (status IN ('pending', 'in_progress', 'verifying'));
SELECT 'rotation ' || rotation_id || ' is over and keeps the former verifier' FROM rotor.saved_verifier
JOIN rotor.rotation ON id = rotation_id WHERE status IN ('success', 'rolled_back', 'cancelled');
SELECT 'there are ' || count(*) || ' values ' || stage FROM rotor.version v JOIN rotor.secret s ON s.id = secret_id
WHERE s.name = '$secret' AND stage IS NOT NULL GROUP BY s.id, stage HAVING count(*) > 1;
SQL
}

# The server's log shows none of the passwords, and no crash or leak of its own.
sub tells_no_password
{
	my ($node, @passwords) = @_;
	my $log = slurp_file($node->logfile);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	cmp_ok(scalar @passwords, '>', 0, 'there were passwords');
	is(scalar(grep { index($log, $_) >= 0 } @passwords), 0, 'the log shows none of them');
	my @bad = $log =~ /^.*(?:PANIC:|TRAP:|reference leak|resource was not closed|own a lock of type|leaked).*$/mg;
	ok(!@bad, 'and no leak') or diag(@bad);
}

1;
