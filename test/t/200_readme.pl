# Every command of the README, and every query of docs/monitoring.md, does what it is there for: on a server that does not
# preload rotor, and again on one that does.
#
# Each fenced block is run in the order of the page, or it is listed below with the reason why not. A block that is neither
# makes the test fail. What the commands print is not shown: there are passwords in it.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use RotorPages;
use RotorTest;
use Test::More;

my $top = $ENV{ROTOR_TOP} // '..';

#---------------------------------------------------------------------------------------------------------------------
# What is not run, by the first line of the block

my %not_run = (
	'make demo'        => 'installs packages and runs whole suites: CI runs both, part "demo" runs the demo',
	'make'             => 'installing needs root; the tests run on what it has installed',
	'make            # rotor.so and rotor--1.0.sql' => 'builds in the checkout, of which the tests have only a copy',
	'make test                                   # everything; the last line counts' => 'this test is a part of it',
	q{PGOPTIONS='-c rotor.dump_values=on' pg_dump -Fc -d postgres -f home.dump} => '220_dump.pl does this',
	'pg_restore -j 4 -N rotor -d postgres home.dump' => '220_dump.pl does this',
	'log in with the password at hand' => 'says what an application does, in words; RotorTest.pm has such a client',
	'{"rotation": "uuid", "lease": "uuid", "lease_seconds": 60, "step": "set", "attempt": 0, "look": false, "emergency": false,' =>
	  'a job; test/regress/sql/outside.sql has such',
	'FREE → FILLING → WAITING → TAKEN → DONE → FREE      the usual way' => 'a picture',
	'LOG:  rotor: event="get_secret" secret="app_user" actor="app_user" session_user="app_user" client_addr="10.0.0.7" result="ok"' =>
	  'lines of a log; those of this very run are compared with their form below',
);

# What the output of a block must show, by its first line; of all others only that they succeed.
my %shows = (
	'CREATE EXTENSION rotor;' => qr/^success\|[0-9a-f-]{36}\|00:00:.*^.{32}\n.*\bfinished\|app_user\|ok$/ms,
	q{PGPASSWORD=$(psql -X -A -t -c "SELECT rotor.get_secret('app_user') ->> 'password'")} => qr/^\s*app_user$/m,
	q{-- a reason for the audit; the role's other sessions end once the new password is proved} =>
	  qr/\Asuccess\nsuccess\n(?:verifying|success)\Z/,
	'-- queue it in this transaction; a worker does it after the commit' => qr/\Apending\b/,
	q{INSERT INTO rotor.policy (name, length, symbols, rotation_interval, description)} =>
	  qr/^app_user\|nightly\|20.*^app_user\|nightly\|20[^|]*\|f\n.*^[A-Za-z0-9]{40}$/ms,
	q{SELECT rotor.add_master_key('2027-01');} => qr/\A2027-01\n1\n2027-01\|1\Z/,
);

#---------------------------------------------------------------------------------------------------------------------
# The pages

my @pages = pages();
my %blocks = map { ($_ => [ blocks_of($_) ]) } @pages;
my %met;

# 330_worker_page.pl runs these, or says why not.
sub is_of_the_worker
{
	my ($block) = @_;
	return $block->{file} eq 'docs/worker.md' || ($block->{file} eq 'README.md' && $block->{heading} =~ /^(?:Other servers and stores|And AWS Secrets Manager)$/);
}

sub is_run
{
	my ($block) = @_;
	return 0 if is_of_the_worker($block);
	return $block->{language} =~ /^(?:sql|sh|ini)$/ && !exists $not_run{ $block->{first} };
}

for my $block (grep { !is_of_the_worker($_) } map { @$_ } @blocks{@pages})
{
	$met{ $block->{first} }++;
	# 220_operations.pl and 123_key_recovery.pl (keys.md) run those of their pages, or say why not.
	my $is_page_of_commands = $block->{file} =~ m{^README\.md$|^docs/(?:keys|monitoring|operations|scheduling)\.md$};
	ok(exists $not_run{ $block->{first} } || (is_run($block) && $is_page_of_commands),
		"$block->{file}:$block->{line}: the block ($block->{language}) is run, or there is a reason why not");
}
ok($met{$_}, "the block that begins with '$_' is still there") for sort(keys %not_run, keys %shows);

# Targets of make that the pages name are there; -p prints them, and the goal that does not exist keeps all from being made.
{
	my ($database, $help, $err) = ('', '', '');

	IPC::Run::run([ 'make', '--no-print-directory', '-C', $top, '-pRrq', 'no-such-goal' ], '>', \$database, '2>', \$err);
	IPC::Run::run([ 'make', '--no-print-directory', '-C', $top, 'help' ], '>', \$help, '2>&1');
	my %is_target = map { ($_ => 1) } $database =~ /^([a-z][a-z-]*)::?(?!=)/mg;
	my %named;
	for my $page (@pages)
	{
		$named{$_}++ for slurp_file("$top/$page") =~ /^(?:sudo )?make ([a-z][a-z-]*)/mg;
		$named{$_}++ for slurp_file("$top/$page") =~ /`make ([a-z][a-z-]*)/g;
	}
	ok($is_target{$_}, "make $_, which the pages name, is a target") for sort keys %named;
	like($help, qr/^$_ /m, "make help lists $_") for qw(demo test install installcheck);
	ok(exists $named{$_}, "the pages name make $_") for qw(demo test install);
}

#---------------------------------------------------------------------------------------------------------------------
# Running a block

sub run_sql
{
	my ($node, $text, $run) = @_;
	return attempt($node, $text);
}

# Lines of postgresql.conf: the server starts with them, and they are in force.
sub run_ini
{
	my ($node, $text, $run) = @_;
	my $bad = '';

	$text =~ s/^shared_preload_libraries.*\n//mg unless $run->{preload};
	$node->append_conf('postgresql.conf', $text);
	$node->restart;
	for (grep { /\S/ } split /\n/, $text)
	{
		my ($name, $value) = /^([a-z_.]+) = '?(.*?)'?\s*(?:#.*)?$/ or die "not a setting: $_";
		my $now = sql($node, "LOAD 'rotor'; SHOW $name");
		$bad .= "$name is '$now'\n" if $now ne $value;
	}
	return { ok => $bad eq '', out => '', err => $bad };
}

my %runner = (sql => \&run_sql, sh => sub { run_sh(@_[ 0, 1 ]) }, ini => \&run_ini);

sub run_block
{
	my ($node, $block, $run) = @_;
	my $text = $block->{text};

	# Folders of the machine are played by folders of the test.
	$text =~ s{/etc/rotor-keys}{$run->{folder}/etc/rotor-keys}g;
	# Who runs the tests is the server's user.
	$text =~ s{ -o postgres -g postgres }{ }g;
	$text =~ s{/usr/local/bin/}{$run->{folder}/bin/}g;
	my $result = $runner{ $block->{language} }->($node, $text, $run);
	my $name = "$run->{name}: $block->{file}:$block->{line}";

	ok($result->{ok}, "$name: the $block->{language} block succeeds") or diag $result->{err};
	if (my $pattern = $shows{ $block->{first} })
	{
		# Not like(): it would print what it got.
		ok($result->{out} =~ $pattern, "$name: and shows what it should");
	}
	ok(poll_until(sub { is_quiet($node) }, 60), "$name: and everything it began comes to its end");
	return;
}

for my $run ({ name => 'plain' }, { name => 'preloaded', preload => 1 })
{
	my $node = new_cluster("readme_$run->{name}", preload => $run->{preload}, extension => 0);

	$run->{folder} = PostgreSQL::Test::Utils::tempdir("machine_$run->{name}");
	mkdir "$run->{folder}/$_" for qw(bin etc);
	append_to_file("$run->{folder}/bin/rotor-keys", "#!/bin/sh\nexec cat '$run->{folder}/etc/rotor-keys/rotor.key'\n");
	chmod 0700, "$run->{folder}/bin/rotor-keys";

	run_block($node, $_, $run) for grep { is_run($_) } map { @{ $blocks{$_} } } 'README.md', 'docs/monitoring.md', 'docs/scheduling.md';

	# Where the reader is at the end of the page.
	my $name = "$run->{name}: after the whole page";
	logs_in($node, 'app_user', current_password($node, 'app_user'), "$name: the current password logs in");
	assert_invariants($node, 'app_user', $name);
	is(sql($node, q{SELECT policy FROM rotor.secrets WHERE secret = 'app_user'}), 'nightly', "$name: the role has the policy of the page");
	ok(!-e $node->data_dir . '/rotor.key', "$name: no key is left in the data directory");
	is( sql($node, q{SELECT coalesce(string_agg(check_name, ' ' ORDER BY check_name), 'none') FROM rotor.health() WHERE status <> 'ok'}),
		$run->{preload} ? 'none' : 'preload', "$name: health() finds nothing but what the page says");

	# The rights that the page gives are what it says, no more.
	is(sql($node, q{SELECT rotor.get_secret('app_user') IS NOT NULL}, user => 'app_user', host => '127.0.0.1', password => current_password($node, 'app_user')),
		't', "$name: the application reads its own secret");
	is(sql($node, q{SET ROLE monitor; SELECT count(*) FROM rotor.health() WHERE check_name = 'key'}), '1', "$name: the monitor calls health()");
	fails($node, q{SET ROLE monitor; SELECT rotor.get_secret('app_user')}, '42501', undef, "$name: the monitor cannot read a secret");
	fails($node, q{SET ROLE deployer; SELECT rotor.rotate('app_user')}, '42501', undef, "$name: what was taken from the deployer is gone");

	# docs/monitoring.md says which queries a monitor can run.
	for my $block (grep { is_run($_) } @{ $blocks{'docs/monitoring.md'} })
	{
		my $result = attempt($node, "SET ROLE monitor;\n$block->{text}");
		ok($result->{ok}, "$run->{name}: $block->{file}:$block->{line}: the monitor may run it") or diag $result->{err};
	}

	# The log has the lines that docs/monitoring.md shows, and the audit the events that it names.
	my $page = slurp_file("$top/docs/monitoring.md");
	my $log  = slurp_file($node->logfile);
	ok($log =~ /LOG:  rotor: event="get_secret" secret="app_user" actor="app_user" session_user="app_user" client_addr="127.0.0.1" result="ok"$/m,
		"$name: a read is a line of the form that the page shows");
	my %known = map { ($_ => 1) } split /\n/, sql($node, 'SELECT DISTINCT event FROM rotor.transitions');
	for my $event (split /\n/, sql($node, 'SELECT DISTINCT event FROM rotor.audit_log ORDER BY 1'))
	{
		ok($known{$event} || $page =~ /`$event`/, "$name: the page names the audit event $event");
	}
	$node->stop;
}

done_testing();
