# The kill test of what is outside: two workers rotate accounts of a second server, and publish them to a file, while workers,
# servers and callers get SIGKILL at random moments, workers are stopped until their lease is over, and commits are followed
# by immediate stops. Whenever all has come to rest, what the store labels current logs in at its target, and so does what
# rotor labels current.
#
# KILLS is how many, SEED makes the order of events again.
use strict;
use warnings;
use HTTP::Tiny;
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorTest;
use Test::More;
use Time::HiRes qw(usleep time);

my $top = $ENV{ROTOR_TOP} // '..';
# To the program what steers the tests would be settings that there are not.
delete $ENV{$_} for grep { /^ROTOR_/ } keys %ENV;
my $kills = delete $ENV{KILLS} || 30;
my $seed  = delete $ENV{SEED}  || int(time * 1000) % 1_000_000_007;
srand $seed;
note "SEED=$seed KILLS=$kills";

#---------------------------------------------------------------------------------------------------------------------
# Two servers, two workers, a file

my $program = $ENV{WORKER_PROGRAM} // "$top/build/worker/rotor";
{
	my $log = '';
	if (!$ENV{WORKER_PROGRAM} && !IPC::Run::run([ 'make', '--no-print-directory', '-s', '-C', "$top/worker" ], '>&', \$log))
	{
		diag $log;
		BAIL_OUT('the worker does not build');
	}
}
my $folder = PostgreSQL::Test::Utils::tempdir('store');
my $file   = "$folder/secrets.json";
my $target = new_cluster('target', extension => 0, conf => "restart_after_crash = on\n");
my $node   = new_cluster('control', preload => 1, conf => <<'CONF');
restart_after_crash = on
rotor.poll_interval = '200ms'
rotor.lease_duration = '5s'
CONF
my @own    = map { "own_$_" } 1 .. 3;
my @stored = map { "stored_$_" } 1 .. 4;
my @here   = ('here_1');
# Two accounts each, which are used in turn.
my @turned = ('turned_1', 'turned_2');

sql($target, "CREATE ROLE $_ LOGIN") for @own, @stored, @turned;
sql($target, 'CREATE ROLE boss LOGIN SUPERUSER');
sql($node, "CREATE ROLE $_ LOGIN") for @here, 'boss';
sql($node, 'SELECT rotor.setup_worker()');
sql($node, q{INSERT INTO rotor.policy (name, scram_iterations, backoff, backoff_max, max_attempts) VALUES ('quick', 256, '20 ms', '200 ms', 50)});
sql($node, q{INSERT INTO rotor.policy (name, strategy, grace_period, scram_iterations, backoff, backoff_max, max_attempts)
	VALUES ('turns', 'blue_green', '300 ms', 256, '20 ms', '200 ms', 50)});
sql($node, "INSERT INTO rotor.store (name, type, options) VALUES ('file', 'file', '{\"path\": \"$file\"}')");
sql($node, "INSERT INTO rotor.target (name, type, host, port, dbname, sslmode, admin) VALUES ('second', 'postgresql', '127.0.0.1', "
	  . $target->port . q{, 'postgres', 'disable', 'boss')});

# The administrator of the target has the password that rotor keeps for its own role of that name.
sql($node, q{SELECT rotor.rotate('boss'), rotor.rotate('rotor_worker')});
{
	my $verifier = sql($node, q{SELECT rolpassword FROM pg_authid WHERE rolname = 'boss'});
	sql($target, "ALTER ROLE boss PASSWORD '$verifier'");
}
sql($node, "SELECT rotor.manage('$_', policy => 'quick', target => 'second')") for @own;
sql($node, "SELECT rotor.manage('$_', policy => 'quick', store => 'file', target => 'second')") for @stored;
sql($node, "SELECT rotor.manage('$_', policy => 'turns', store => 'file', target => 'second')") for @turned;
sql($node, "SELECT rotor.manage('$_', policy => 'quick', store => 'file')") for @here;

write_password();
my (@workers, @logs);

sub write_password
{
	open my $out, '>', "$folder/password" or die "$folder/password: $!";
	chmod 0600, "$folder/password";
	print $out current_password($node, 'rotor_worker'), "\n";
	close $out;
}

sub start_worker
{
	my ($i) = @_;
	$logs[$i] //= "$folder/worker_$i.log";
	$workers[$i] = IPC::Run::start([ $program, 'worker', '--config=/dev/null', '--control-host=127.0.0.1', '--control-port=' . $node->port,
		"--password-file=$folder/password", '--metrics-listen=off', "--worker-name=worker_$i", '--poll-interval=200ms', '--act-timeout=2s',
		'--connect-timeout=2s', '--breaker-pause=200ms', '--log-format=json', '--log-level=debug' ], '<', \undef, '>>', $logs[$i], '2>>', $logs[$i]);
}

sub worker_pid { return $workers[ $_[0] ]->{KIDS}[0]{PID} }

sub kill_worker
{
	my $i = int rand 2;
	kill 'KILL', worker_pid($i);
	eval { $workers[$i]->finish };
	start_worker($i);
	return 'a worker is killed';
}

start_worker($_) for 0, 1;

#---------------------------------------------------------------------------------------------------------------------
# What must hold when all has come to rest

my %met;

sub store_value
{
	my ($secret) = @_;
	my $value = eval { JSON::PP::decode_json(slurp_file($file))->{$secret}{current} };
	return $value ? @$value{qw(username password)} : ();
}

sub complaints
{
	my @complaints;

	for my $secret (@own, @stored, @here, @turned)
	{
		my $where = $secret eq 'here_1' ? $node : $target;
		my $value = attempt($node, "SELECT v ->> 'username', v ->> 'password' FROM rotor.get_secret('$secret') v");
		# Before the first success there is none.
		next unless $value->{ok};
		my ($role, $password) = split /\|/, $value->{out}, 2;
		$met{$password} = 1;
		push @complaints, "current of $secret does not log in" unless login($where, $role, $password)->{ok};
		next if $secret =~ /^own/;
		my @published = store_value($secret);
		push @complaints, "the store has no current value of $secret" unless @published;
		push @complaints, "what the store labels current of $secret does not log in" if @published && !login($where, @published)->{ok};
	}
	for my $role (split /\n/, sql($node, q{SELECT split_part(resting, '/', 2) FROM rotor.pairs WHERE retire_at IS NULL}))
	{
		push @complaints, "$role rests, and can still log in" if sql($target, "SELECT rolcanlogin FROM pg_roles WHERE rolname = '$role'") eq 't';
	}
	return @complaints;
}

sub at_rest
{
	# A dead letter that nobody knows the end of is taken up again by the next rotation.
	attempt($node, q{SELECT rotor.requeue(id) FROM rotor.dead_letter});
	return poll_until(sub {
		my $left = attempt($node, q{SELECT (SELECT count(*) FROM rotor.rotations WHERE finished_at IS NULL)
			+ (SELECT count(*) FROM rotor.pairs WHERE retire_at IS NOT NULL)});
		$left->{ok} && $left->{out} eq '0';
	});
}

#---------------------------------------------------------------------------------------------------------------------
# What happens

sub server_back
{
	my ($server) = @_;
	poll_until(sub { attempt($server, 'SELECT 1')->{ok} }) or die 'the server does not come back';
}

my %events = (
	'a worker is killed' => \&kill_worker,
	'a worker is stopped until its lease is over' => sub {
		my $pid = worker_pid(int rand 2);
		kill 'STOP', $pid;
		poll_until(sub { sql($node, q{SELECT count(*) FROM rotor.rotation WHERE leased_until > clock_timestamp()}) eq '0' }, 10);
		kill 'CONT', $pid;
	},
	'the target is stopped, mode immediate' => sub { $target->stop('immediate'); usleep rand 300_000; $target->start },
	'a session of the target is killed' => sub {
		my $pid = sql($target, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() LIMIT 1});
		kill 'KILL', $pid if $pid;
		server_back($target);
	},
	'the control database is stopped, mode immediate' => sub { $node->stop('immediate'); $node->start },
	'the control database loses its postmaster' => sub {
		my @pids = split /\n/, sql($node, 'SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()');
		$node->kill9;
		start_again($node, @pids);
	},
	"a worker's session at the control database is killed" => sub {
		my $pid = sql($node, q{SELECT pid FROM pg_stat_activity WHERE usename = 'rotor_worker' ORDER BY random() LIMIT 1});
		kill 'KILL', $pid if $pid;
		server_back($node);
	},
	"a worker's session at the control database is ended" => sub {
		sql($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rotor_worker'});
	},
	'the worker of the server is killed' => sub {
		my $pid = sql($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'rotor worker' LIMIT 1});
		kill 'KILL', $pid if $pid;
		server_back($node);
	},
);

my %done;
my @problems;

for my $kill (1 .. $kills)
{
	my $event = (sort keys %events)[ $kill <= keys %events ? $kill - 1 : rand keys %events ];

	for my $secret (@own, @stored, @here, @turned)
	{
		attempt($node, "SELECT status FROM rotor.rotate('$secret', wait => false)") if rand() < 0.7;
	}
	usleep rand 250_000;
	$events{$event}->();
	server_back($_) for $node, $target;
	$done{$event}++;
	next if rand() < 0.5 && $kill < $kills;
	if (!at_rest())
	{
		push @problems, "after $kill, '$event': not everything comes to its end: "
		  . sql($node, q{SELECT string_agg(format('%s %s %s %s', secret, step, status, error_message), '; ') FROM rotor.rotations WHERE finished_at IS NULL});
		last;
	}
	if (my @complaints = complaints())
	{
		push @problems, map { "after $kill, '$event': $_" } @complaints;
		last;
	}
}

is(scalar @problems, 0, 'after every kill, what is labelled current logs in, here and at the store') or diag("SEED=$seed", @problems);
cmp_ok(scalar keys %met, '>', $kills / 3, 'while passwords changed');
cmp_ok(sql($node, q{SELECT count(*) FROM rotor.rotations WHERE status = 'success' AND secret LIKE 'stored%'}), '>', 3, 'and the store followed');
cmp_ok(sql($node, q{SELECT count(*) FROM rotor.rotations WHERE status = 'success' AND trigger = 'grace_period'}), '>', 1, 'and roles that rest were locked');
ok($done{$_}, "$_: " . ($done{$_} // 0) . ' times') for sort keys %events;
is(sql($node, <<'SQL'), '', 'of one secret there was one rotation at a time');
SELECT string_agg(format('%s and %s', a.id, b.id), ' ') FROM rotor.rotation a JOIN rotor.rotation b
ON a.secret_id = b.secret_id AND a.id < b.id AND a.started_at < b.finished_at AND b.started_at < a.finished_at
WHERE a.started_at IS NOT NULL AND b.started_at IS NOT NULL AND NOT a.unsettled AND NOT b.unsettled
SQL

for my $i (0, 1)
{
	kill 'TERM', worker_pid($i);
	eval { $workers[$i]->finish };
	is($workers[$i]->result(0), 0, "worker $i ends as it should");
}
no_password_in(\%met, @logs, $node->logfile, $target->logfile);
note 'rotations: ' . sql($node, q{SELECT string_agg(format('%s %s', status, n), ', ') FROM
	(SELECT status, count(*) AS n FROM rotor.rotations GROUP BY 1 ORDER BY 1) r});
no_crash_in($_) for $node, $target;
done_testing();
