# What the tests of crashes, keys, callers and leaks share: sessions that hold locks, calls that are waited for later, a gate
# in the way of the verification login, and waiting for a server that restarts by itself.
package RotorCrash;

use strict;
use warnings;
use Exporter 'import';
use IO::Select;
use IO::Socket::INET;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorTest;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(
  start_call end_call call_pid is_running holder lasting_holder let_go new_gate close_gate open_gate arrivals
  worker_of waits_for_lock wait_for_worker active_rotations story try_login cannot_log_in current_logs_in server_is_back start_again log_since no_crash_in
);

my $calls = 0;

#---------------------------------------------------------------------------------------------------------------------
# Calls that go on while the test does something else

# start_call($node, 'SQL', ['SQL' ...], option => ...): psql in the background; end_call() waits for it and takes its outcome
# apart as RotorTest::attempt() does. Each statement runs by itself. Options: user, password, dbname, options.
sub start_call
{
	my ($node, $sql, %options) = @_;
	my %call = (out => '', err => '', name => 'rotor_test_call_' . ++$calls);
	my @connection = ('host=' . ($options{host} // $node->host), 'port=' . $node->port, "dbname='" . ($options{dbname} // 'postgres') . "'",
		"application_name=$call{name}");
	local %ENV = %ENV;

	push @connection, "user='$options{user}'"       if defined $options{user};
	push @connection, "options='$options{options}'" if defined $options{options};
	$ENV{PGPASSWORD} = $options{password} if defined $options{password};
	$call{run} = IPC::Run::start(
		[   'psql', '-XAtqw', '-v', 'VERBOSITY=verbose', '-v', 'ON_ERROR_STOP=1', '-d', "@connection",
			map { ('-c', $_) } ref $sql ? @$sql : $sql ],
		'<', \undef, '>', \$call{out}, '2>', \$call{err}, IPC::Run::timeout($options{timeout} // 150));
	return \%call;
}

sub is_running
{
	my ($call) = @_;
	return eval { $call->{run}->pump_nb; $call->{run}->pumpable } ? 1 : 0;
}

sub end_call
{
	my ($call) = @_;
	my $ended = eval { $call->{run}->finish; 1 };
	my %result = (ok => 0, timed_out => 0, out => $call->{out}, err => $call->{err});

	if ($ended) { $result{ok} = $call->{run}->full_result(0) == 0 ? 1 : 0 }
	else
	{
		$result{timed_out} = 1;
		$result{err} .= "the call did not end: $@";
		eval { $call->{run}->kill_kill };
	}
	chomp $result{out};
	%result = (%result, what_psql_says($result{err}));
	return \%result;
}

# The backend of a call, once it is there.
sub call_pid
{
	my ($node, $call) = @_;
	my $pid = '';

	poll_until(sub { $pid = sql($node, "SELECT pid FROM pg_stat_activity WHERE application_name = '$call->{name}'") })
	  or die 'the call has no backend';
	return $pid;
}

#---------------------------------------------------------------------------------------------------------------------
# Sessions that hold something until they are let go

# holder($node, 'SQL', dbname => ..., ...): a session in an open transaction that has run the SQL.
sub holder
{
	my ($node, $sql, %options) = @_;
	my $session = $node->background_psql($options{dbname} // 'postgres', on_error_stop => 0);

	$session->query_safe('BEGIN');
	$session->query_safe($sql) if defined $sql;
	return $session;
}

# The same by a prepared transaction, which outlives sessions and servers.
sub lasting_holder
{
	my ($node, $sql) = @_;

	sql($node, "BEGIN;\n$sql;\nPREPARE TRANSACTION 'holder'");
	return $node;
}

# Ends a holder's transaction, if it still has a server: by ROLLBACK, or as told.
sub let_go
{
	my ($session, $how) = @_;

	return unless $session;
	if ($session->isa('PostgreSQL::Test::Cluster'))
	{
		sql($session, ($how // 'ROLLBACK') . " PREPARED 'holder'");
		return;
	}
	eval { $session->query($how // 'ROLLBACK') };
	eval { $session->quit };
}

#---------------------------------------------------------------------------------------------------------------------
# A gate in the way of the verification login: rotor.verify_port names it, and it passes everything on to the server, or
# refuses the login as wrong, but not before it is open.

sub new_gate
{
	my ($node) = @_;
	my $folder = PostgreSQL::Test::Utils::tempdir('gate');
	my $port = $node->port;
	my $gate = listener(
		sub {
			my ($client, $note) = @_;

			usleep(10_000) while -e "$folder/closed";
			if (-e "$folder/refuse")
			{
				RotorTest::_read_startup($client);
				syswrite $client, RotorTest::_message('E', "SFATAL\0VFATAL\0C28P01\0Mmade up for a test\0\0");
				return;
			}
			my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or die "connect: $!\n";
			my %other = ($client => $server, $server => $client);
			my $ready = IO::Select->new($client, $server);
			for (;;)
			{
				for my $from ($ready->can_read(0.5))
				{
					my $n = sysread $from, my $data, 65536;
					return unless $n;
					syswrite $other{$from}, $data;
				}
			}
		});

	$gate->{folder} = $folder;
	# Closed for as long as the test takes.
	set_conf($node, 'rotor.verify_port' => $gate->{port}, 'rotor.connect_timeout' => '5min');
	return $gate;
}

sub close_gate
{
	my ($gate) = @_;
	append_to_file("$gate->{folder}/closed", '');
}

# open_gate($gate) lets logins pass, open_gate($gate, 1) refuses them.
sub open_gate
{
	my ($gate, $refuse) = @_;
	unlink "$gate->{folder}/refuse" unless $refuse;
	append_to_file("$gate->{folder}/refuse", '') if $refuse;
	unlink "$gate->{folder}/closed";
}

# How many logins have come to the gate so far.
sub arrivals
{
	my ($gate) = @_;
	return noted($gate, 'connection');
}

#---------------------------------------------------------------------------------------------------------------------
# Workers and rotations

# The process that holds the role's lock; '' if none.
sub worker_of
{
	my ($node, $role) = @_;
	return sql($node, <<"SQL");
SELECT l.pid FROM pg_locks l WHERE l.locktype = 'object' AND l.classid = 'pg_authid'::regclass
AND l.objid = (SELECT oid FROM pg_roles WHERE rolname = '$role') AND l.granted AND l.mode = 'ShareUpdateExclusiveLock'
SQL
}

sub wait_for_worker
{
	my ($node, $role) = @_;
	my $pid = '';

	poll_until(sub { $pid = worker_of($node, $role) }) or die "no worker came for $role";
	return $pid;
}

sub waits_for_lock
{
	my ($node, $pid) = @_;
	return poll_until(
		sub { sql($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid AND wait_event_type = 'Lock'") eq '1' });
}

sub active_rotations
{
	my ($node, $secret) = @_;
	return sql($node,
		"SELECT count(*) FROM rotor.rotations WHERE secret = '$secret' AND status IN ('pending', 'in_progress', 'verifying')");
}

# What the audit tells of the youngest rotation of a secret: 'event/result event/result ...'
sub story
{
	my ($node, $secret) = @_;
	return sql($node, <<"SQL");
SELECT string_agg(event || '/' || result, ' ' ORDER BY id) FROM rotor.audit_log
WHERE rotation = (SELECT id FROM rotor.rotations WHERE secret = '$secret' ORDER BY queued_at DESC LIMIT 1)
SQL
}

# A login over TCP that may well be refused: {ok, refused, err}. Unlike RotorTest::login() it writes nothing to psql's input,
# which a psql that cannot connect never reads.
sub try_login
{
	my ($node, $role, $password) = @_;
	my $result = end_call(start_call($node, 'SELECT current_user', host => '127.0.0.1', user => $role, password => $password));

	$result->{ok} = 0 unless $result->{out} eq $role;
	$result->{refused} = was_refused($result->{err});
	return $result;
}

sub cannot_log_in
{
	my ($node, $role, $password, $name) = @_;
	my $result = try_login($node, $role, $password);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok(!$result->{ok} && $result->{refused}, $name) || (diag($result->{err}), 0)[1];
}

# I1, at any moment: the version labelled current logs in. A reader whose value went out of date between reading and logging
# in reads once more, as rotation.md says.
sub current_logs_in
{
	my ($node, $role, $name) = @_;
	my $result;

	for my $attempt (1 .. 2)
	{
		$result = try_login($node, $role, current_password($node, $role));
		last if $result->{ok} || !$result->{refused};
	}
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($result->{ok}, $name) || (diag($result->{err}), 0)[1];
}

#---------------------------------------------------------------------------------------------------------------------
# Servers that crash

sub log_since
{
	my ($node, $offset) = @_;
	return slurp_file($node->logfile, $offset);
}

# After a process was killed: waits until the postmaster has started everything anew. $offset is the log's size before.
sub server_is_back
{
	my ($node, $offset) = @_;

	poll_until(sub { log_since($node, $offset) =~ /all server processes terminated; reinitializing/ })
	  or die 'the server did not notice the crash';
	poll_until(sub { end_call(start_call($node, 'SELECT 1'))->{ok} }) or die 'the server did not come back';
}

# Kills the postmaster, waits until none of its processes is left, and starts the server again.
sub start_again
{
	my ($node, @pids) = @_;

	poll_until(sub { !grep { kill 0, $_ } @pids }) or die 'processes outlive their postmaster';
	# One that is not among them may still be ending.
	poll_until(sub { $node->start(fail_ok => 1) }) or die 'the server does not start again';
}

# The log shows no crash but those which the test brought about.
sub no_crash_in
{
	my ($node) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @bad = slurp_file($node->logfile) =~ /^.*(?:PANIC:|TRAP:|terminated by signal (?:4|6|7|8|11)\b|reference leak|resource was not closed).*$/mg;
	return ok(!@bad, 'no process has crashed by itself') || (diag(@bad), 0)[1];
}

1;
