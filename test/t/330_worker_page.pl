# The README's examples of a second PostgreSQL and of AWS Secrets Manager, with a worker, from their beginning to their end; and
# every command of docs/worker.md that needs no other machine. And how a worker keeps its own password.
#
# WORKER_PROGRAM is the program; without it one is built in the tests' copy of the checkout. What the commands print is not
# shown: there are passwords in it.
use strict;
use warnings;
use Fcntl qw(LOCK_EX);
use HTTP::Tiny;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorPages;
use RotorTest;
use RotorOutside;
use Test::More;

# The pages call it by its name.
my $bin = PostgreSQL::Test::Utils::tempdir('program');
symlink the_program(), "$bin/rotor" or die "$bin/rotor: $!";
$ENV{PATH} = "$bin:$ENV{PATH}";

# What a machine has and this one may not: another user to become, the user rotor, the socket's usual folder.
sub on_this_machine
{
	my ($node, $text) = @_;
	my $socket = $node->host;
	return $text =~ s{\bsudo -u postgres }{}gr =~ s{ -o rotor -g rotor }{ }gr =~ s{/var/run/postgresql}{$socket}gr;
}

sub run_page_block
{
	my ($node, $block, $change, %environment) = @_;
	my $text = $change->($block->{text});
	my $result = $block->{language} eq 'sql' ? attempt($node, $text) : run_sh($node, $text, %environment);

	ok($result->{ok}, "$block->{file}:$block->{line}: the $block->{language} block succeeds") or diag $result->{err};
	return $result;
}

#---------------------------------------------------------------------------------------------------------------------
# The README's second PostgreSQL

{
	my $node = new_cluster('control', preload => 1);
	my $second = new_cluster('second', extension => 0);
	my ($port, $metrics) = ($second->port, PostgreSQL::Test::Cluster::get_free_port());
	my %environment = (
		ROTOR_CONTROL_HOST => $node->host, ROTOR_CONTROL_PORT => $node->port, ROTOR_METRICS_LISTEN => "127.0.0.1:$metrics",
		ROTOR_CONFIG => '/dev/null');
	my ($worker, $log, $out) = (undef, '', '');

	for my $block (grep { $_->{heading} eq 'Other servers and stores' } blocks_of('README.md'))
	{
		if ($block->{text} =~ /^rotor worker/m)
		{
			local %ENV = (%ENV, %environment, PGHOST => $node->host, PGPORT => $node->port, PGUSER => 'postgres', PGDATABASE => 'postgres');
			my $text = $block->{text} =~ s/^rotor worker/exec rotor worker/mr;

			$worker = IPC::Run::start([ 'sh', '-e', '-c', $text ], '<', \undef, '>', \$out, '2>', \$log);
			next;
		}
		my $result = run_page_block($node, $block, sub { $_[0] =~ s/\b5433\b/$port/gr }, %environment);
		# What follows would wait for what did not begin.
		last unless $result->{ok};
		$out = $result->{out};
	}
	like($out, qr/^\s*app$/m, 'and the new password logs in at the second server');
	is_locked_out($second, 'app', 'wrong', 'which asks for one');
	is(sql($node, q{SELECT string_agg(DISTINCT status, ',') FROM rotor.rotations WHERE secret LIKE 'pg2\_%'}), 'success', 'all rotations have succeeded');

	# These commands of docs/worker.md have to bear the page's own settings, which are for the worker alone.
	my @page = blocks_of('docs/worker.md');
	my ($file) = grep { $_->{first} eq '[control]' } @page;
	my ($check) = grep { $_->{first} =~ /\brotor check / } @page;
	my ($adopt) = grep { $_->{first} =~ /\brotor set --adopt / } @page;
	my $settings = PostgreSQL::Test::Utils::tempdir('settings') . '/rotor.conf';
	my %its_settings = (ROTOR_CONTROL_PORT => $node->port, ROTOR_CONFIG => $settings);

	append_to_file($settings, $file->{text} . "own_secret = rotor_worker\n");
	like(run_page_block($node, $check, sub { on_this_machine($node, $_[0]) }, %its_settings)->{out}, qr/^ok +target pg2: PostgreSQL /m,
		'rotor check has nothing to say against the target');
	like(run_page_block($node, $adopt, sub { q{psql -X -A -t -c "SELECT rotor.get_secret('pg2_admin') ->> 'password'" | } . on_this_machine($node, $_[0]) },
			%its_settings)->{out}, qr/^adopted$/m, 'rotor set makes known what the account has');

	my $http = HTTP::Tiny->new(timeout => 60);
	is($http->get("http://127.0.0.1:$metrics/readyz")->{status}, 200, 'the worker is ready');
	is($http->get("http://127.0.0.1:$metrics/healthz")->{status}, 200, 'and alive');
	like($http->get("http://127.0.0.1:$metrics/metrics")->{content}, qr/^rotor_steps_total\{step="set",result="ok",target="pg2",store="local"\} 2$/m,
		'and has counted what it did');

	my $value = current_password($node, 'pg2_app');
	$worker->signal('TERM');
	ok($worker->finish, 'it ends as it should') or diag "status $?";
	ok(index($log, $value) < 0, 'and its log has no password');
	like($log, qr/"secret":"pg2_app","step":"set"/, 'but what it did');
}

#---------------------------------------------------------------------------------------------------------------------
# The README's secret in AWS Secrets Manager, imitated by moto

SKIP:
{
	my $aws = start_peer('moto');
	skip "no moto_server (MOTO_SERVER says where it is)", 1 if $aws->{missing};
	my $node = new_cluster('aws', preload => 1);
	my %environment = (ROTOR_CONTROL_HOST => $node->host, ROTOR_CONTROL_PORT => $node->port, ROTOR_METRICS_LISTEN => 'off', ROTOR_CONFIG => '/dev/null',
		AWS_CONFIG_FILE => '/nonexistent', AWS_SHARED_CREDENTIALS_FILE => '/nonexistent', AWS_EC2_METADATA_DISABLED => 'true');
	my ($worker, $log) = (undef, '');

	sql($node, q{SELECT rotor.setup_worker()});
	sql($node, q{SELECT rotor.rotate('rotor_worker')});
	for my $block (grep { $_->{heading} eq 'And AWS Secrets Manager' } blocks_of('README.md'))
	{
		my $text = $block->{text} =~ s/\b5000\b/$aws->{port}/gr;
		if ($text =~ /^moto_server/)
		{
			pass("$block->{file}:$block->{line}: an imitation runs already, at a port of its own");
			next;
		}
		$text =~ s/(AWS_ACCESS_KEY_ID)=testing (AWS_SECRET_ACCESS_KEY)=testing/$1=$aws->{key_id} $2=$aws->{secret_key}/;
		if ($text =~ s/^rotor worker/exec rotor worker/m)
		{
			local %ENV = (%ENV, %environment, PGHOST => $node->host, PGPORT => $node->port, PGUSER => 'postgres', PGDATABASE => 'postgres');
			$worker = IPC::Run::start([ 'sh', '-e', '-c', $text ], '<', \undef, '>', \my $out, '2>', \$log);
			next;
		}
		last unless run_page_block($node, $block, sub { $text }, %environment)->{ok};
	}
	my ($version, $password) = published_in_aws($aws, 'reporting');
	ok(($password // '') eq current_password($node, 'reporting'), 'AWS has the current password, labelled AWSCURRENT');
	logs_in($node, 'reporting', $password // '', 'which logs in');
	$worker->signal('TERM');
	ok($worker->finish, 'the worker ends as it should') or diag "status $?: $log";
	ok(index($log, $password // '-') < 0, 'and its log has no password');
	stop_peer($aws);
}

#---------------------------------------------------------------------------------------------------------------------
# docs/worker.md

my %not_run = (
	'make worker' => 'installing needs root; the program is built above',
	'[control]' => 'a file of settings; test_options.c has such',
	'own_secret = rotor_worker' => 'likewise',
	'{"action": "set", "secret": "mailer_key", "version": "…", "username": "api", "password": "…", "by": null, "options": {}}' =>
	  'what the program reads; test_target_command.c has such',
	'sudo -u postgres rotor check --control-host=/var/run/postgresql --control-user=postgres \\' => 'run above, where the targets are',
	'adduser --system --group --home /var/lib/rotor --no-create-home rotor' => 'needs root',
	'systemctl enable --now rotor-worker' => 'needs root and systemd',
	'[Service]' => 'needs systemd',
	'sudo -u postgres rotor set --adopt pg2_admin --control-host=/var/run/postgresql --control-user=postgres --password-file=' => 'run above',
	'sudo -u postgres rotor set --from-store orders --control-host=/var/run/postgresql --control-user=postgres --password-file=' =>
	  '349_adopt_from_store.pl does this',
	'curl -s http://127.0.0.1:9469/readyz' => 'asked above, without curl',
	'rotor_control_connected == 0                          for 5 minutes' => 'expressions for Prometheus',
);

{
	my $node = new_cluster('page', preload => 1);
	my $folder = PostgreSQL::Test::Utils::tempdir('machine');
	my %met;

	for my $block (blocks_of('docs/worker.md'))
	{
		$met{ $block->{first} }++;
		if (exists $not_run{ $block->{first} })
		{
			pass("docs/worker.md:$block->{line}: not run: $not_run{ $block->{first} }");
			next;
		}
		run_page_block($node, $block, sub { on_this_machine($node, $_[0]) =~ s{/var/lib/}{$folder/}gr });
	}
	ok($met{$_}, "the block that begins with '$_' is still there") for sort keys %not_run;
	ok(slurp_file("$folder/rotor/password") eq current_password($node, 'rotor_worker') . "\n", 'the file has the password of the role');
	is((stat "$folder/rotor/password")[2] & 07777, 0600, 'and nobody else can read it');
	is(sql($node, q{SELECT count(*) FROM rotor.target WHERE type <> 'self'}), '4', 'the targets of the page are there');

	# Those that no admin logs in to are looked at all the same.
	my %environment = (ROTOR_CONTROL_HOST => $node->host, ROTOR_CONTROL_PORT => $node->port, ROTOR_CONFIG => '/dev/null');
	my $check = sub { run_sh($node, 'rotor check --control-user=postgres --metrics-listen=off', %environment, @_) };
	my $program = "$folder/mailer";

	like($check->()->{out}, qr/^ok +target hooks: its options are right/m, 'rotor check looks at the options of an http target');
	like($check->()->{out}, qr/^skip +target mailer: .*allow_commands is off$/m, 'and at no command where none is run');
	like($check->(ROTOR_ALLOW_COMMANDS => 'on')->{out}, qr/^FAIL +target mailer: ENOENT: /m, 'else it says that the program is missing');
	sql($node, qq{UPDATE rotor.target SET options = jsonb_set(options, '{command,0}', '"$program"') WHERE name = 'mailer'});
	append_to_file($program, "#!/bin/sh\n");
	chmod 0722, $program;
	like($check->(ROTOR_ALLOW_COMMANDS => 'on')->{out}, qr/^FAIL +target mailer: EPERM: others can change/m, 'or that others can change it');
	chmod 0700, $program;
	like($check->(ROTOR_ALLOW_COMMANDS => 'on')->{out}, qr/^ok +target mailer: /m, 'or nothing against it');
	sql($node, q{UPDATE rotor.target SET options = jsonb_set(options, '{login,method}', '"LOOK"') WHERE name = 'hooks'});
	my $bad = $check->();
	like($bad->{out}, qr/^FAIL +target hooks: option "login.method" /m, 'and what an http target would fail by for good');
	ok(!$bad->{ok}, 'so the check fails');
}

#---------------------------------------------------------------------------------------------------------------------
# The worker's own password, while its file cannot be written: whoever has the lock is another worker

{
	my $node = new_cluster('own_password', preload => 1);
	my $file = write_password($node);
	my $before = slurp_file($file);
	my %settings = ('control-port' => $node->port, 'password-file' => $file, 'own-secret' => 'rotor_worker');
	my $unwritten = sub { return grep { $_->{message} =~ /could not keep up with the password/ } log_lines($_[0]) };

	sql($node, q{SELECT rotor.grant_access('rotor_worker', 'rotor_worker', 'read')});
	my $worker = start_worker('own_password', %settings);
	ok(poll_until(sub { is_ready($worker) }), 'a worker with a secret of its own is ready');

	open my $lock, '>>', $file =~ s{/password$}{/.password.rotor-lock}r or die $!;
	chmod 0600, $lock;
	flock $lock, LOCK_EX or die $!;
	sql($node, q{SELECT rotor.rotate('rotor_worker')});
	ok(poll_until(sub { $unwritten->($worker) }), 'it says that it could not write its new password');
	# Each poll ends with a claim.
	my %polls;
	ok(poll_until(sub {
		$polls{ sql($node, q{SELECT max(query_start) FROM pg_stat_activity WHERE usename = 'rotor_worker' AND query LIKE '%rotor.claim%'}) }++;
		return keys %polls > 6;
	}), 'several polls later') or diag(join ', ', keys %polls);
	is(scalar $unwritten->($worker), 1, 'once');
	ok(slurp_file($file) eq $before, 'while the file has the former one');
	close $lock;
	my $current = current_password($node, 'rotor_worker');
	ok(poll_until(sub { slurp_file($file) eq "$current\n" }), 'when the file can be written, it is, though no other password has come');
	end_worker($worker);
	$worker = start_worker('own_password_again', %settings);
	ok(poll_until(sub { is_ready($worker) }), 'so the worker is let in after a restart');
	end_worker($worker);
}

done_testing();
