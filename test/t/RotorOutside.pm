# What the tests of `rotor worker` share: the program, workers that run in the background, what they say over HTTP, a network
# that is bad on command, and imitations of stores.
#
# No password reaches the output: what a worker logs stays in a file, and tests look for passwords there.
package RotorOutside;

use strict;
use warnings;
use Digest::SHA qw(hmac_sha256 hmac_sha256_hex sha256_hex);
use Exporter 'import';
use HTTP::Tiny;
use IO::Handle;
use IPC::Open2 qw(open2);
use IO::Socket::INET;
use IPC::Run ();
use JSON::PP ();
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorTest;
use Test::More;

our @EXPORT = qw(
  the_program start_worker worker_pid worker_runs kill_worker end_worker answer_of is_ready worker_log log_lines
  add_outside_policy add_target give_boss write_password unfinished comes_to_rest_outside
  ask_rotations count_rotations
  toxic say traffic stop_toxic start_peer start_vault stop_peer ask_aws credentials_of published_in_file published_in_vault published_in_aws end_lease
  request_gate hold_request is_held
);

my $top = $ENV{ROTOR_TOP} // '..';
# To the program what steers the tests would be settings that there are not.
delete $ENV{$_} for grep { /^(?:ROTOR|AWS|VAULT)_/ } keys %ENV;
# Nobody is to wait for a machine of Amazon's to say who we are.
$ENV{AWS_EC2_METADATA_DISABLED} = 'true';

#---------------------------------------------------------------------------------------------------------------------
# The program

my $program;

# Its path. WORKER_PROGRAM names it; without that one is built in the tests' copy of the checkout.
sub the_program
{
	return $program if defined $program;
	$program = $ENV{WORKER_PROGRAM} // "$top/build/worker/rotor";
	my $log = '';
	if (!$ENV{WORKER_PROGRAM} && !IPC::Run::run([ 'make', '--no-print-directory', '-s', '-C', "$top/worker" ], '>&', \$log))
	{
		diag $log;
		BAIL_OUT('the worker does not build');
	}
	return $program;
}

# start_worker('name', 'control-port' => 5432, environment => {...}, ...): a worker with these settings besides the usual ones
# of tests. It logs everything into a file, to which another worker of that name adds.
sub start_worker
{
	my ($name, %settings) = @_;
	my %environment = %{ delete $settings{environment} // {} };
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $log  = PostgreSQL::Test::Utils::tempdir("worker_$name") . '/log';
	my %all  = (
		'config' => '/dev/null', 'control-host' => '127.0.0.1', 'worker-name' => $name, 'metrics-listen' => "127.0.0.1:$port",
		'poll-interval' => '200ms', 'connect-timeout' => '2s', 'act-timeout' => '5s', 'breaker-pause' => '200ms',
		'log-format' => 'json', 'log-level' => 'debug', %settings);
	local %ENV = (%ENV, %environment);

	append_to_file($log, '');
	my $run = IPC::Run::start([ the_program(), 'worker', map { "--$_=$all{$_}" } sort keys %all ], '<', \undef, '>>', $log, '2>>', $log);
	return { name => $name, run => $run, pid => $run->{KIDS}[0]{PID}, url => "http://127.0.0.1:$port", log => $log };
}

sub worker_pid { return $_[0]->{pid} }

# Has it not ended by itself?
sub worker_runs
{
	my ($worker) = @_;
	return $worker->{run}->pumpable ? 1 : 0;
}

sub kill_worker
{
	my ($worker) = @_;
	kill 'KILL', $worker->{pid};
	eval { $worker->{run}->finish };
}

# Asks it to end; its exit status.
sub end_worker
{
	my ($worker) = @_;
	kill 'TERM', $worker->{pid};
	eval { $worker->{run}->finish };
	return $worker->{run}->result(0);
}

# 'status text' of what it answers at a path, such as '503 the worker stops'.
sub answer_of
{
	my ($worker, $path) = @_;
	my $answer = HTTP::Tiny->new(timeout => 60)->get("$worker->{url}$path");
	chomp(my $text = $answer->{content} // '');
	return "$answer->{status} $text";
}

sub is_ready
{
	my ($worker) = @_;
	return answer_of($worker, '/readyz') =~ /^200 / ? 1 : 0;
}

sub worker_log
{
	my ($worker) = @_;
	return slurp_file($worker->{log});
}

# The events that it logged, each a hash, of those that have all of these members, texts as they stand in JSON.
sub log_lines
{
	my ($worker, %members) = @_;
	my @lines = split /\n/, worker_log($worker);

	for my $name (keys %members)
	{
		@lines = grep { index($_, qq("$name":"$members{$name}")) >= 0 } @lines;
	}
	return map { eval { JSON::PP::decode_json($_) } // () } @lines;
}

#---------------------------------------------------------------------------------------------------------------------
# The control database's side

# A policy that takes up again what failed at once, and often.
sub add_outside_policy
{
	my ($node, $name, %columns) = @_;
	my %all = (scram_iterations => 256, backoff => "'20 ms'", backoff_max => "'200 ms'", max_attempts => 50, %columns);
	my @names = sort keys %all;

	sql($node, "INSERT INTO rotor.policy (name, @{[join ', ', @names]}) VALUES ('$name', @{[join ', ', @all{@names}]})");
}

# add_target($node, 'name', port => ..., admin => ...)
sub add_target
{
	my ($node, $name, %columns) = @_;
	my $admin = defined $columns{admin} ? "'$columns{admin}'" : 'NULL';

	sql($node, "INSERT INTO rotor.target (name, type, host, port, dbname, sslmode, admin) VALUES ('$name', 'postgresql', '127.0.0.1', "
		  . "$columns{port}, 'postgres', 'disable', $admin)");
}

# The administrator 'boss' of other servers has the password that rotor keeps for its own role of that name.
sub give_boss
{
	my ($node, @targets) = @_;

	sql($node, 'CREATE ROLE boss LOGIN');
	sql($node, q{SELECT rotor.rotate('boss')});
	my $verifier = sql($node, q{SELECT rolpassword FROM pg_authid WHERE rolname = 'boss'});
	sql($_, "CREATE ROLE boss LOGIN SUPERUSER PASSWORD '$verifier'") for @targets;
}

# Makes the workers' role, and a file with its password; returns the file's path.
sub write_password
{
	my ($node) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir('password') . '/password';

	sql($node, 'SELECT rotor.setup_worker()');
	sql($node, q{SELECT rotor.rotate('rotor_worker')});
	append_to_file($file, current_password($node, 'rotor_worker') . "\n");
	chmod 0600, $file;
	return $file;
}

# Asks for a rotation of each secret, all in one session; their ids.
sub ask_rotations
{
	my ($node, @secrets) = @_;
	return split /\n/, sql($node, join ';', map { "SELECT id FROM rotor.rotate('$_', wait => false)" } @secrets);
}

# How many of the rotations with these ids meet the condition, an expression over rotor.rotations.
sub count_rotations
{
	my ($node, $condition, @ids) = @_;
	return sql($node, "SELECT count(*) FROM rotor.rotations WHERE id IN (@{[join ', ', map { qq('$_') } @ids]}) AND $condition");
}

# What has not come to its end, in words; '' if everything has.
sub unfinished
{
	my ($node) = @_;
	return sql($node, q{SELECT coalesce(string_agg(format('%s %s %s %s', secret, step, status, error_message), '; '), '') FROM rotor.rotations WHERE finished_at IS NULL});
}

# A dead worker's lease is over, as it would be in time.
sub end_lease
{
	my ($node, $rotation) = @_;
	sql($node, "UPDATE rotor.rotation SET leased_until = clock_timestamp() - interval '1 second' WHERE id = '$rotation' AND lease IS NOT NULL");
}

# Waits until no rotation is under way.
sub comes_to_rest_outside
{
	my ($node, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return ok(poll_until(sub { my $left = attempt($node, q{SELECT count(*) FROM rotor.rotations WHERE finished_at IS NULL}); $left->{ok} && $left->{out} eq '0' }),
		$name) || (diag(unfinished($node)), 0)[1];
}

#---------------------------------------------------------------------------------------------------------------------
# A bad network: test/worker/proxy.c, which has the commands

my $toxic_program;

# A proxy to a port of 127.0.0.1.
sub toxic
{
	my ($port) = @_;

	if (!defined $toxic_program)
	{
		my $output = '';
		$toxic_program = PostgreSQL::Test::Utils::tempdir('toxic') . '/proxy';
		IPC::Run::run([ 'cc', qw(-std=gnu11 -D_GNU_SOURCE -O1 -Wall), '-o', $toxic_program, "$top/test/worker/proxy.c" ], '>&', \$output)
		  or die "could not build the proxy:\n$output";
	}
	# Not by IPC::Run: servers that are started later would keep its pipes open, and the proxy ends with them.
	my $toxic = {};
	$toxic->{pid} = open2($toxic->{out}, $toxic->{in}, $toxic_program, "127.0.0.1:$port");
	$toxic->{port} = _next_line($toxic);
	return $toxic;
}

sub _next_line
{
	my ($from) = @_;
	my $line = readline $from->{out};

	die 'a helper of the test has ended' unless defined $line;
	chomp $line;
	return $line;
}

# Gives it a command, which is in force when this returns; what it answered.
sub say
{
	my ($toxic, $command) = @_;

	print { $toxic->{in} } "$command\n";
	$toxic->{in}->flush;
	my $answer = _next_line($toxic);
	die "proxy: $command: $answer" unless $answer =~ /^ok/;
	return $answer;
}

# {open, accepted, up, down} of a proxy.
sub traffic
{
	my ($toxic) = @_;
	my %traffic;

	@traffic{qw(ok open accepted up down)} = split / /, say($toxic, 'stats');
	return \%traffic;
}

sub stop_toxic
{
	my ($toxic) = @_;
	close $toxic->{in};
	waitpid $toxic->{pid}, 0;
}

#---------------------------------------------------------------------------------------------------------------------
# Imitations of stores: test/worker/peers

# start_peer('vault'), start_peer('moto'): what it said of itself, such as {port}; {missing} names what there is not. The second
# may have been started by whoever runs the tests (test/run), if the tests' user cannot reach the program.
sub start_peer
{
	my ($name) = @_;
	my $peer = {};

	if ($name eq 'moto' && $ENV{MOTO_PEER})
	{
		my %said = slurp_file($ENV{MOTO_PEER}) =~ /^(\w+)=(.*)$/mg;
		return \%said;
	}
	$peer->{pid} = open2($peer->{out}, $peer->{in}, 'bash', "$top/test/worker/peers/$name.sh");
	while ((my $line = _next_line($peer)) ne 'ready')
	{
		$peer->{$1} = $2 if $line =~ /^(\w+)=(.*)$/;
	}
	return $peer;
}

# An OpenBao or a Vault if there is one, else the imitation.
sub start_vault
{
	my $peer = start_peer('openbao');

	if ($peer->{absent})
	{
		stop_peer($peer);
		return start_peer('vault');
	}
	note('a real OpenBao or Vault, not its imitation');
	return $peer;
}

sub stop_peer
{
	my ($peer) = @_;
	stop_toxic($peer) if $peer->{pid};
}

# One call of AWS Secrets Manager, signed (Signature Version 4) as its documentation has it: {status, and what was answered}.
sub ask_aws
{
	my ($peer, $what, %body) = @_;
	my ($host, $json) = ("127.0.0.1:$peer->{port}", JSON::PP::encode_json(\%body));
	my $time = POSIX::strftime('%Y%m%dT%H%M%SZ', gmtime);
	my $scope = substr($time, 0, 8) . '/eu-central-1/secretsmanager/aws4_request';
	my %headers = (
		'content-type' => 'application/x-amz-json-1.1', host => $host, 'x-amz-date' => $time,
		'x-amz-target' => "secretsmanager.$what");
	my $names = join ';', sort keys %headers;
	my $request = join "\n", 'POST', '/', '', (map { "$_:$headers{$_}" } sort keys %headers), '', $names, sha256_hex($json);
	my $key = "AWS4$peer->{secret_key}";

	$key = hmac_sha256($_, $key) for split m{/}, $scope;
	my $signature = hmac_sha256_hex(join("\n", 'AWS4-HMAC-SHA256', $time, $scope, sha256_hex($request)), $key);
	$headers{authorization} = "AWS4-HMAC-SHA256 Credential=$peer->{key_id}/$scope, SignedHeaders=$names, Signature=$signature";
	delete $headers{host};
	my $answer = HTTP::Tiny->new(timeout => 60)->post("http://$host/", { headers => \%headers, content => $json });
	my $said = eval { JSON::PP::decode_json($answer->{content}) } // {};
	return { status => $answer->{status}, %$said };
}

# What a worker needs to be let in by these: vault => peer, aws => peer.
sub credentials_of
{
	my (%peers) = @_;
	return (
		VAULT_TOKEN => 'root', AWS_CONFIG_FILE => '/nonexistent', AWS_SHARED_CREDENTIALS_FILE => '/nonexistent',
		AWS_ACCESS_KEY_ID => $peers{aws}{key_id} // '', AWS_SECRET_ACCESS_KEY => $peers{aws}{secret_key} // '');
}

# What a store has as current: (version's id, password); nothing if the secret is not there.
sub published_in_file
{
	my ($file, $key) = @_;
	my $current = JSON::PP::decode_json(slurp_file($file))->{$key}{current};
	return $current ? @{$current}{qw(version_id password)} : ();
}

sub published_in_vault
{
	my ($peer, $key) = @_;
	my $answer = HTTP::Tiny->new(timeout => 60)
	  ->get("http://127.0.0.1:$peer->{port}/v1/secret/data/$key", { headers => { 'X-Vault-Token' => 'root' } });
	my $data = $answer->{success} ? JSON::PP::decode_json($answer->{content})->{data}{data} : undef;
	return $data ? @{$data}{qw(rotor_version password)} : ();
}

sub published_in_aws
{
	my ($peer, $key, $stage) = @_;
	# Without a stage moto gives the version that was current first.
	my $answer = ask_aws($peer, 'GetSecretValue', SecretId => $key, VersionStage => $stage // 'AWSCURRENT');
	return $answer->{SecretString} ? ($answer->{VersionId}, JSON::PP::decode_json($answer->{SecretString})->{password}) : ();
}

#---------------------------------------------------------------------------------------------------------------------
# A proxy in front of a store that holds one request: listener() has what it is

# request_gate(port): requests pass, until hold_request() names one. It serves one connection after the other.
sub request_gate
{
	my ($port) = @_;
	my $plan = PostgreSQL::Test::Utils::tempdir('gate') . '/plan';
	my ($token, $when, $number, $count) = ('', '', 0, 0);
	my $gate = listener(
		sub {
			my ($client, $note) = @_;

			while (defined(my $request = _http_message($client)))
			{
				my ($new, @hold) = -e $plan ? split / /, slurp_file($plan) : ('');
				($token, $when, $number, $count) = ($new, @hold, 0) if $new ne $token;
				$count++;
				my $is_held = $token ne '' && $count == $number;
				if (!$is_held || $when eq 'after')
				{
					my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or die "connect: $!\n";
					syswrite $server, $request;
					my $answer = _http_message($server, 1);
					syswrite $client, $answer unless $is_held;
				}
				next unless $is_held;
				$note->("held $token");
				sysread $client, my $nothing, 1; # until the client is gone
				return;
			}
		});

	$gate->{plan} = $plan;
	return $gate;
}

# One request, or answer, as it came; undef if there is none.
sub _http_message
{
	my ($socket, $may_end) = @_;
	my $message = '';

	until ($message =~ /\r\n\r\n/)
	{
		sysread($socket, $message, 65536, length $message) or return undef;
	}
	my $head = index($message, "\r\n\r\n") + 4;
	my ($length) = substr($message, 0, $head) =~ /^content-length: *(\d+)/mi;
	return $message if !defined $length && (!$may_end || $message =~ m{^HTTP/\S+ 204});
	while (!defined $length || length $message < $head + $length)
	{
		last unless sysread($socket, $message, 65536, length $message);
	}
	return $message;
}

my $plans = 0;

# The request of that number, counted from the next one on, is held, until its client is gone: 'before' it reaches the store, or
# 'after' the store has answered. Returns a name for is_held().
sub hold_request
{
	my ($gate, $when, $number) = @_;
	my $token = 'plan_' . ++$plans;

	open my $out, '>', "$gate->{plan}.new" or die "$gate->{plan}: $!";
	print $out "$token $when $number";
	close $out;
	rename "$gate->{plan}.new", $gate->{plan} or die "$gate->{plan}: $!";
	return $token;
}

sub is_held
{
	my ($gate, $token) = @_;
	return noted($gate, "held $token");
}

1;
