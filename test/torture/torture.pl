# The kill test: rotations of every kind run while processes are killed at random moments and at named points, stopped, refused
# a write, or misled about the time. After each kill the version labelled current must log in (I1); now and then everything is
# let come to rest, and the rest of what docs/protocol.md promises is looked at (I2 to I5).
#
# KILLS is how many, SEED makes a run again (the moments within the server stay its own). It needs a library whose calls can be
# made to fail: scripts/torture.sh builds one.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../faults";
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorFaults;
use RotorTest;
use Test::More;
use Time::HiRes qw(usleep time);

my $kills = $ENV{KILLS} || 100;
my $seed  = $ENV{SEED}  || int(time * 1000) % 1_000_000_007;
my $rest  = 10;    # kills between two rests

srand $seed;
note "SEED=$seed KILLS=$kills";

my @roles = map { "tortured_$_" } 1 .. 10;
# Two roles used in turn are two secrets; what is asked for and rotated has another name.
my @pairs = map { "turned_$_" } 1, 2;
my @members = map { ("${_}_blue", "${_}_green") } @pairs;
my @secrets = (@roles, @pairs);
my $node = faulty_cluster('torture', preload => 1, conf => <<'CONF');
restart_after_crash = on
rotor.workers = 2
rotor.poll_interval = '200ms'
rotor.lock_timeout = '1s'
rotor.connect_timeout = '3s'
rotor.catch_up_rate = 0
max_connections = 60
log_min_messages = log
CONF

# Every password that was ever met, for the search of the log.
my %met;
my (%done, @problems);
my $switch = $node->data_dir . '/rotor_test.crash';

sql($node, "CREATE ROLE $_ LOGIN") for @secrets;
sql($node, q{UPDATE rotor.policy SET backoff = '10 ms', backoff_max = '100 ms', max_attempts = 30});
sql($node, q{INSERT INTO rotor.policy (name, rotation_interval, backoff, backoff_max, max_attempts, scram_iterations, strategy)
VALUES ('timed', '1 day', '10 ms', '100 ms', 30, 256, 'staged'), ('quick', '1 day', '10 ms', '100 ms', 30, 1, 'immediate')});
for my $i (0 .. $#roles)
{
	my $policy = (qw(default timed quick))[ $i % 3 ];
	sql($node, "SELECT rotor.manage('$roles[$i]', policy => '$policy')");
	sql($node, "SELECT rotor.rotate('$roles[$i]')");
}

sql($node, q{INSERT INTO rotor.policy (name, rotation_interval, backoff, backoff_max, max_attempts, scram_iterations, strategy, grace_period)
VALUES ('turns', '1 day', '10 ms', '100 ms', 30, 256, 'blue_green', '500 ms')});
sql($node, "SELECT rotor.manage('$_', policy => 'turns')", "SELECT rotor.rotate('$_')") for @pairs;

#---------------------------------------------------------------------------------------------------------------------
# What runs

sub anyone { return $secrets[ rand @secrets ] }

# Calls that go on while something is killed. Whatever they end with is theirs: what counts is what is left.
my @work = (
	sub { start_call($node, "SELECT status FROM rotor.rotate('" . anyone() . "')", timeout => 60) },
	sub { start_call($node, "SELECT status FROM rotor.rotate('" . anyone() . "', strategy => 'immediate')", timeout => 60) },
	sub { start_call($node, "SELECT status FROM rotor.rotate('" . anyone() . "', wait => false)", timeout => 60) },
	sub { start_call($node, "SELECT status FROM rotor.rollback('" . anyone() . "')", timeout => 60) },
	sub { start_call($node, 'SELECT * FROM rotor.rotate_all()', timeout => 60) },
	sub { start_call($node, q{SELECT * FROM rotor.rotate_all(pattern => '%\_1%', terminate_sessions => true)}, timeout => 60) },
	sub { start_call($node, 'SELECT * FROM rotor.run_due()', timeout => 60) },
	sub { start_call($node, q{UPDATE rotor.secret SET next_rotation = now() WHERE policy <> 'default'}, timeout => 60) },
	sub { start_call($node, 'SELECT rotor.cancel(id) FROM rotor.rotations WHERE finished_at IS NULL', timeout => 60) },
	sub { start_call($node, 'SELECT rotor.rotate_data_key()', timeout => 60) },
	sub { start_call($node, 'SELECT * FROM rotor.reconcile()', timeout => 60) },
	# A password that has expired by the time of its login is refused, and the former one comes back.
	sub {
		my $who = anyone();
		start_call($node, [ "ALTER ROLE $who VALID UNTIL '2001-01-01'", 'SELECT pg_sleep(random() * 0.05)', "ALTER ROLE $who VALID UNTIL 'infinity'" ],
			timeout => 60);
	},
	sub {
		my $who = anyone();
		start_call($node, [ "SELECT rotor.unmanage('$who')", "SELECT rotor.restore('$who')" ], timeout => 60);
	},
);

#---------------------------------------------------------------------------------------------------------------------
# What happens to it

sub pids_of
{
	my ($where) = @_;
	my $result = attempt($node, "SELECT pid FROM pg_stat_activity WHERE $where", timeout => 60);
	return $result->{ok} ? split /\n/, $result->{out} : ();
}

sub kill_one
{
	my ($where) = @_;
	my @pids = pids_of($where);

	return 0 unless @pids;
	return kill 'KILL', $pids[ rand @pids ];
}

# The points at which a worker can be killed, as the sources name them, and around each commit of a step.
my @points = qw(CommitTransactionCommand StartTransactionCommand PQconnectStartParams PQconnectPoll SPI_execute_snapshot ProcessUtility
  create.ok.commit create.ok.committed set.ok.commit set.ok.committed finish.ok.commit finish.ok.committed
  undo.ok.commit undo.ok.committed test.refused.commit any);

sub set_rule
{
	my ($rule) = @_;
	my $result;

	# What does not answer in time is a server that is not back yet.
	poll_until(sub { eval { $result = attempt($node, "ALTER SYSTEM SET rotor_test.fault = '$rule'", timeout => 60); $result->{ok} } });
	attempt($node, 'SELECT pg_reload_conf()', timeout => 60);
}

# The rule holds for each worker and call, counted from when it was set; the file says that it is to happen once.
sub crash_at_point
{
	my $point = $points[ rand @points ];
	my $call = 1 + int rand($point eq 'any' ? 400 : $point =~ /\./ ? 3 : 20);
	my $offset = -s $node->logfile;

	append_to_file($switch, '');
	chown((getpwnam 'postgres')[ 2, 3 ], $switch) if $> == 0;
	set_rule("$point:crash:$call");
	my $crashed = poll_until(sub { !-e $switch }, 3);
	unlink $switch;
	server_is_back($node, $offset) if $crashed;
	set_rule('');
	return $crashed ? "at $point" : 0;
}

my %events = (
	'a worker is killed'               => sub { kill_one(q{backend_type = 'rotor worker'}) },
	"a caller's backend is killed"     => sub { kill_one(q{application_name LIKE 'rotor_test_call%'}) },
	'a verification login is killed'   => sub { kill_one(q{application_name = 'rotor verification'}) || kill_one(q{backend_type = 'rotor worker'}) },
	'a worker is stopped, then killed' => sub {
		my @pids = pids_of(q{backend_type = 'rotor worker'}) or return 0;
		my $pid = $pids[ rand @pids ];
		kill 'STOP', $pid or return 0;
		usleep rand 300_000;
		return kill 'KILL', $pid;
	},
	'a worker is stopped for a while' => sub {
		my @pids = pids_of(q{backend_type = 'rotor worker'}) or return 0;
		my $pid = $pids[ rand @pids ];
		kill 'STOP', $pid or return 0;
		usleep rand 500_000;
		return kill 'CONT', $pid;
	},
	'the postmaster is killed' => sub {
		my @pids = pids_of('pid <> pg_backend_pid()');
		$node->kill9;
		start_again($node, @pids);
		return 1;
	},
	'the server is stopped, mode immediate' => sub { $node->stop('immediate'); $node->start; return 1 },
	'the server is stopped, mode fast'      => sub { $node->stop('fast');      $node->start; return 1 },
	'a worker is killed at a named point'   => \&crash_at_point,
	'a commit finds the disk full'          => sub {
		set_rule('commit:53100:' . (1 + int rand 5));
		usleep 200_000;
		set_rule('');
		return 1;
	},
	'the clock jumps' => sub {
		my $offset = (qw(-1\ hour 1\ day 30\ days))[ rand 3 ];
		my $result = attempt($node, "SELECT now() + interval '$offset'", timeout => 60);
		return 0 unless $result->{ok};
		attempt($node, "ALTER SYSTEM SET rotor.test_clock = '$result->{out}'", timeout => 60);
		attempt($node, 'SELECT pg_reload_conf()', timeout => 60);
		usleep 200_000;
		attempt($node, 'ALTER SYSTEM RESET rotor.test_clock', timeout => 60);
		attempt($node, 'SELECT pg_reload_conf()', timeout => 60);
		return 1;
	},
);

#---------------------------------------------------------------------------------------------------------------------
# What must hold

sub complain
{
	my ($what) = @_;
	push @problems, $what;
	diag "PROBLEM (SEED=$seed): $what";
}

# I1. A rotation may end between reading and logging in: then what is read again must log in.
sub look_at_current
{
	my ($when) = @_;

	for my $secret (@secrets)
	{
		my ($result, $role, $password);
		for my $try (1 .. 5)
		{
			$result = attempt($node, "SELECT v ->> 'username', v ->> 'password' FROM rotor.get_secret('$secret') v", timeout => 30);
			# Its management may have been ended just now by one of the calls.
			last if $result->{sqlstate} eq '42704';
			if (!$result->{ok})
			{
				# The server notices only now that a process of its was killed.
				poll_until(sub { eval { attempt($node, 'SELECT 1', timeout => 60)->{ok} } });
				next;
			}
			($role, $password) = split /\|/, $result->{out}, 2;
			$met{$password} = 1;
			$result = login($node, $role, $password, timeout => 30);
			last if $result->{ok};
			# That is the doing of one of the calls, which was killed before it could undo it.
			attempt($node, "ALTER ROLE $role VALID UNTIL 'infinity'", timeout => 30);
			usleep 50_000;
		}
		next if $result->{ok} || $result->{sqlstate} eq '42704';
		complain("I1: $when, current of $secret does not log in: $result->{err}");
	}
}

my $log_offset = 0;

# Everything has come to its end: who waits, what was queued, what a crash left.
sub let_rest
{
	my ($when) = @_;

	attempt($node, "SELECT rotor.restore('$_')", timeout => 30) for @secrets;
	unless (poll_until(sub {
		my $left = attempt($node, q{SELECT (SELECT count(*) FROM rotor.rotations WHERE finished_at IS NULL)
			+ (SELECT count(*) FROM rotor.pairs WHERE retire_at < now() + interval '1 minute')
			+ (SELECT count(*) FROM rotor.emergencies WHERE state = 'running')}, timeout => 30);
		$left->{ok} && $left->{out} eq '0';
	}))
	{
		complain("$when, not everything comes to its end: " . sql($node, q{SELECT string_agg(format('%s %s %s %s', secret, step, status, error_message), '; ')
			FROM rotor.rotations WHERE finished_at IS NULL}));
		return;
	}
	look_at_current("$when, at rest");
	complain("$when: $_") for map { split /\n/, sql($node, complaints($_)) } @roles, @members;
	complain("$when: $_") for split /\n/, sql($node, <<'SQL');
SELECT format('%s rests, and can still log in', r.rolname) FROM rotor.pairs p JOIN pg_roles r ON r.rolname = p.resting
WHERE r.rolcanlogin AND p.retire_at IS NULL AND p.resting NOT IN (SELECT secret FROM rotor.dead_letter)
SQL
	complain("$when, I4: $_") for split /\n/, sql($node, <<'SQL');
SELECT format('rotations %s and %s of one secret overlapped', a.id, b.id) FROM rotor.rotation a JOIN rotor.rotation b
ON a.secret_id = b.secret_id AND a.id < b.id AND a.started_at < b.finished_at AND b.started_at < a.finished_at
WHERE a.started_at IS NOT NULL AND b.started_at IS NOT NULL LIMIT 5
SQL
	complain("$when, I5: $_") for split /\n/, sql($node, <<'SQL');
SELECT format('rotation %s is %s, its audit says %s', r.id, r.status, a.events) FROM rotor.rotation r
CROSS JOIN LATERAL (SELECT string_agg(event || '/' || result, ' ' ORDER BY a.id) AS events FROM rotor.audit a WHERE a.rotation = r.id) a
WHERE r.status = 'success' AND a.events !~ 'value_sealed/ok .*password_set/ok .*login_proved/\w+ .*finished/ok$' AND r.trigger NOT IN ('rollback', 'grace_period')
   OR r.status = 'success' AND r.trigger = 'grace_period' AND a.events !~ 'former_retired/ok$'
   OR r.status = 'rolled_back' AND a.events !~ 'rolled_back/ok( quarantined/ok)?$'
   OR r.status = 'cancelled' AND a.events !~ 'cancelled/\w+$' LIMIT 5
SQL
	complain("$when, I2: $_") for split /\n/, sql($node, <<'SQL');
SELECT format('version %s of %s is current and was never set', v.id, s.name) FROM rotor.version v JOIN rotor.secret s ON s.id = v.secret_id
WHERE v.stage = 'current' AND (v.set_at IS NULL OR v.fingerprint IS NULL)
SQL
	my $log = slurp_file($node->logfile, $log_offset);
	$log_offset = -s $node->logfile;
	my @shown = grep { index($log, $_) >= 0 } keys %met;
	complain("$when, I3: the log shows " . @shown . ' passwords') if @shown;
	my @bad = $log =~ /^(.*(?:PANIC:|TRAP:|reference leak|resource was not closed|own a lock of type|terminated by signal (?:4|6|7|8|11)).*)$/mg;
	complain("$when: the log says $_") for @bad;
}

#---------------------------------------------------------------------------------------------------------------------
# The run

my $start = time;
my $count = 0;
my $tries = 0;

# What has not happened yet.
sub events_missing
{
	return grep { my $event = $_; !grep { $_ eq $event || index($_, "$event, ") == 0 } keys %done } sort keys %events;
}

sub triggers_missing
{
	return grep { sql($node, "SELECT count(*) FROM rotor.rotations WHERE trigger = '$_' AND status = 'success'") eq '0' } qw(manual schedule emergency grace_period);
}

# In a long run everything happens at some time: what is missing after two thirds of it comes first.
my $long = $kills >= 100;
while (@problems < 5 && $tries++ < 10 * $kills && ($count < $kills || $long && events_missing()))
{
	my @missing = $count > $kills * 2 / 3 ? events_missing() : ();
	my @from = $long && @missing ? @missing : sort keys %events;
	my @calls = map { $work[ rand @work ]->() } 1 .. 2 + int rand 3;
	my $event = $from[ rand @from ];
	my $offset = -s $node->logfile;

	usleep rand 80_000;
	my $happened = $events{$event}->();
	server_is_back($node, $offset) if $happened && log_since($node, $offset) =~ /was terminated by signal 9/;
	poll_until(sub { eval { attempt($node, 'SELECT 1', timeout => 60)->{ok} } }) or complain("after '$event' the server does not come back");
	look_at_current("after '$event'");
	for my $call (@calls)
	{
		my $result = end_call($call);
		complain("after '$event', a call did not end") if $result->{timed_out};
	}
	next unless $happened;
	$done{ $happened =~ /^at / ? "$event, $happened" : $event }++;
	$count++;
	let_rest("after $count kills") if $count % $rest == 0;
	print STDERR "# $count of $kills kills, " . int($count / (time - $start) * 60) . " a minute\n" if $count % 100 == 0;
}
let_rest('at the end');
# So does each trigger succeed, if only once nobody is in its way.
for my $try (1 .. 20)
{
	last unless triggers_missing();
	end_call($_->()) for @work;
	let_rest('at the end, undisturbed');
}

is(scalar @problems, 0, 'what the protocol promises holds after every kill') or diag "SEED=$seed";
cmp_ok($count, '>=', $kills, "$kills kills took place");
cmp_ok(scalar keys %met, '>', $kills / 4, 'while passwords changed');
is(join(', ', events_missing()), '', 'of every kind') if $long;
is(join(', ', triggers_missing()), '', 'rotations succeeded for each reason there is');
my @summary = ("SEED=$seed KILLS=$kills",
	sprintf('%d kills in %d s; %s', $count, time - $start, join ', ', map { "$_: $done{$_}" } sort keys %done),
	'rotations: ' . sql($node, q{SELECT string_agg(format('%s %s %s', trigger, status, n), ', ') FROM
	(SELECT trigger, status, count(*) AS n FROM rotor.rotations GROUP BY 1, 2 ORDER BY 1, 2) r}));
note $_ for @summary;
append_to_file($ENV{TORTURE_LOG}, join "\n", @summary, '') if $ENV{TORTURE_LOG};
done_testing();
