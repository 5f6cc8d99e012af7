# Patroni switches over and back while roles are rotated without a pause: role and secret agree after each switchover, and no
# rotation that was told to be done is lost. Two nodes on loopback, Raft between them, everything in a folder of the test's own.
use strict;
use warnings;
use HTTP::Tiny;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use POSIX ();
use RotorCrash;
use RotorTest;
use Test::More;
use Time::HiRes qw(usleep);

# setpriv ends Patroni, and Patroni its server, even if this process is killed.
for my $needed (qw(patroni setpriv))
{
	plan skip_all => "$needed is not installed" unless grep { -x "$_/$needed" } split /:/, $ENV{PATH};
}
plan skip_all => 'pysyncobj is not installed, which Patroni needs for Raft' if system('/usr/bin/python3 -c "import pysyncobj" 2>/dev/null') != 0;

# As much of a server as RotorTest asks for.
{
	package Node;
	sub host       { return $_[0]{folder} }
	sub port       { return $_[0]{port} }
	sub name       { return $_[0]{name} }
	sub logfile    { return "$_[0]{folder}/log/server.log" }
	sub data_dir   { return "$_[0]{folder}/data" }
	sub pg_version { return (`psql --version` =~ /(\d+)/)[0] }
}

my $switchovers = 5;
my @roles = qw(app_user other_user third_user);
my $http  = HTTP::Tiny->new(timeout => 60);
my $keys  = PostgreSQL::Test::Utils::tempdir('keys') . '/rotor.key';
my $notes = PostgreSQL::Test::Utils::tempdir('notes');
my ($test, @nodes, @rotating) = ($$);
my ($primary, $standby);

for my $i (0, 1)
{
	my $folder = PostgreSQL::Test::Utils::tempdir_short();
	push @nodes, bless {
		name => "node_$i", folder => $folder, port => PostgreSQL::Test::Cluster::get_free_port(),
		raft => PostgreSQL::Test::Cluster::get_free_port(), rest => PostgreSQL::Test::Cluster::get_free_port()
	}, 'Node';
}

# What the answer to a request to Patroni says: a status, 599 if there was none.
sub ask
{
	my ($node, $path) = @_;
	return $http->get("http://127.0.0.1:$node->{rest}$path")->{status};
}

sub start_patroni
{
	my ($node, $other) = @_;
	my $bin = (PostgreSQL::Test::Utils::run_command([ $ENV{PG_CONFIG} // 'pg_config', '--bindir' ]))[0];

	mkdir "$node->{folder}/$_" for qw(raft log);
	append_to_file("$node->{folder}/patroni.yml", <<"YAML");
scope: rotor
name: $node->{name}
restapi: {listen: "127.0.0.1:$node->{rest}", connect_address: "127.0.0.1:$node->{rest}"}
raft: {data_dir: "$node->{folder}/raft", self_addr: "127.0.0.1:$node->{raft}", partner_addrs: ["127.0.0.1:$other->{raft}"]}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 1
    retry_timeout: 3
    postgresql:
      use_pg_rewind: true
      parameters:
        shared_preload_libraries: rotor
        rotor.key_file: $keys
        rotor.poll_interval: 200ms
        wal_log_hints: "on"
        wal_keep_size: 256MB
        fsync: "off"
  initdb: [{encoding: UTF8}, {locale: C}, {username: postgres}, {auth: trust}]
postgresql:
  listen: 127.0.0.1:$node->{port}
  connect_address: 127.0.0.1:$node->{port}
  data_dir: $node->{folder}/data
  bin_dir: $bin
  pgpass: $node->{folder}/pgpass
  use_unix_socket: true
  authentication:
    superuser: {username: postgres}
    replication: {username: postgres}
    rewind: {username: postgres}
  parameters:
    unix_socket_directories: $node->{folder}
    logging_collector: "on"
    log_directory: $node->{folder}/log
    log_filename: server.log
    log_min_messages: log
  pg_hba: ["local all postgres trust", "local replication postgres trust", "host replication postgres 127.0.0.1/32 trust",
    "host all postgres 127.0.0.1/32 trust", "host all all 127.0.0.1/32 scram-sha-256"]
YAML
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		open STDOUT, '>>', "$node->{folder}/log/patroni.log";
		open STDERR, '>&', \*STDOUT;
		# From here on nothing of the test's own end may run.
		exec 'setpriv', '--pdeathsig', 'TERM', 'patroni', "$node->{folder}/patroni.yml" or POSIX::_exit(1);
	}
	$node->{pid} = $pid;
}

# Rotates a role again and again, wherever the primary is, and notes what came of it, until it is told to stop. While there is
# the file pause, it does nothing, and says so.
sub start_rotating
{
	my ($role) = @_;
	my $conninfo = 'host=' . join(',', map { $_->host } @nodes) . ' port=' . join(',', map { $_->port } @nodes)
	  . ' dbname=postgres user=postgres target_session_attrs=read-write connect_timeout=5';
	my $pid = fork() // die "fork: $!";

	if ($pid == 0)
	{
		local $SIG{__DIE__} = sub { };
		while (getppid() == $test && !-e "$notes/stop")
		{
			if (-e "$notes/pause")
			{
				append_to_file("$notes/$role.pauses", '');
				usleep(10_000);
				next;
			}
			unlink "$notes/$role.pauses";
			my $told = `psql -XAtqw -d '$conninfo' -c "SELECT id || ' ' || status FROM rotor.rotate('$role')" 2>>'$notes/errors'`;
			append_to_file("$notes/$role", $told) if $told;
			usleep(50_000) unless $told;
		}
		POSIX::_exit(0);
	}
	push @rotating, $pid;
}

sub told
{
	my ($role) = @_;
	return -e "$notes/$role" ? split /\n/, slurp_file("$notes/$role") : ();
}

# Nobody rotates any more, on return.
sub pause
{
	append_to_file("$notes/pause", '');
	return poll_until(sub { !grep { !-e "$notes/$_.pauses" } @roles })
	  && poll_until(sub { sql($primary, 'SELECT count(*) FROM rotor.rotation WHERE finished_at IS NULL') eq '0' });
}

sub has_ended
{
	my ($pid) = @_;
	return waitpid($pid, POSIX::WNOHANG()) != 0;
}

sub end_all
{
	append_to_file("$notes/stop", '');
	waitpid $_, 0 for splice @rotating;
	# Both are told before one is waited for: alone, a node has nobody to agree with.
	my @left = grep { $_->{pid} } @nodes;
	kill 'TERM', $_->{pid} for @left;
	for my $node (@left)
	{
		my $pid = delete $node->{pid};
		next if poll_until(sub { has_ended($pid) }, 60);
		kill 'KILL', $pid;
		waitpid $pid, 0;
		kill 'QUIT', (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0] if -e $node->data_dir . '/postmaster.pid';
	}
}

END
{
	my $status = $?;
	end_all() if defined $test && $$ == $test;
	$? = $status;
}

$SIG{INT} = $SIG{TERM} = sub { exit 1 };
start_patroni(@nodes);
start_patroni(reverse @nodes);
my $is_up = poll_until(sub {
		($primary) = grep { ask($_, '/primary') == 200 } @nodes;
		($standby) = grep { ask($_, '/replica') == 200 } @nodes;
		$primary && $standby;
	});
ok($is_up, 'given two nodes under Patroni') or do { diag slurp_file("$_->{folder}/log/patroni.log") for @nodes; done_testing(); exit };

sql($primary, 'CREATE EXTENSION rotor; ' . join '; ', map { "CREATE ROLE $_ LOGIN" } @roles);
rotate_ok($primary, $_, "given secret $_") for @roles;
start_rotating($_) for @roles;

for my $round (1 .. $switchovers)
{
	my %before = map { ($_ => scalar told($_)) } @roles;
	ok(poll_until(sub { !grep { told($_) == $before{$_} } @roles }), "switchover $round: given roles that are rotated");
	my $answer;
	# Patroni refuses a candidate that it does not know yet to be in good health; and one that takes its time may be switched
	# over to after Patroni has given up waiting.
	ok(poll_until(sub {
			$answer = $http->post("http://127.0.0.1:$primary->{rest}/switchover",
				{ headers => { 'Content-Type' => 'application/json' }, content => qq({"leader": "$primary->{name}", "candidate": "$standby->{name}"}) });
			$answer->{status} == 200 || ask($standby, '/primary') == 200;
		}), "switchover $round: Patroni switches over") or diag $answer->{content};
	($primary, $standby) = ($standby, $primary);
	ok(poll_until(sub { ask($primary, '/primary') == 200 && ask($standby, '/replica') == 200 }), "switchover $round: the nodes have changed places");
	ok(pause(), "switchover $round: what was on its way comes to its end");
	logs_in($primary, $_, current_password($primary, $_), "switchover $round: $_ logs in by what the new primary gives its readers") for @roles;
	is(sql($primary, 'SELECT count(*) FROM rotor.coverage WHERE managed AND NOT in_sync'), '0', "switchover $round: roles and secrets agree");
	unlink "$notes/pause";
}

append_to_file("$notes/stop", '');
waitpid $_, 0 for splice @rotating;
ok(poll_until(sub { sql($primary, 'SELECT count(*) FROM rotor.rotation WHERE finished_at IS NULL') eq '0' }), 'in the end nothing is left unfinished');
for my $role (@roles)
{
	my @told = told($role);
	my %known = map { ($_ => 1) } split /\n/, sql($primary, "SELECT id || ' ' || status FROM rotor.rotations WHERE secret = '$role'");
	is(scalar(grep { !/ success$/ } @told), 0, "$role: who was told anything was told of a success");
	is(scalar(grep { !$known{$_} } @told), 0, "$role: none of the " . @told . ' rotations that were told is lost');
	is(sql($primary, "SELECT count(*) FROM rotor.rotations WHERE secret = '$role' AND (dead_letter OR status NOT IN ('success'))"), '0', "$role: none has failed");
	assert_invariants($primary, $role, "after $switchovers switchovers");
}
my $lsn = sql($primary, 'SELECT pg_current_wal_flush_lsn()');
ok(poll_until(sub { sql($standby, "SELECT pg_last_wal_replay_lsn() >= '$lsn'") eq 't' }), 'the standby has it all');
logs_in($standby, $_, current_password($standby, $_), "$_ logs in on the standby by what that gives its readers") for @roles;
no_crash_in($_) for @nodes;
end_all();

done_testing();
