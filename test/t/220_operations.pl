# docs/operations.md does what it says: every statement that its reference names goes through on a server, and its routine
# tasks are done in the order of the page, from installing rotor to taking it away, with what they promise in between.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorPages;
use RotorTest;
use Test::More;

my $top    = $ENV{ROTOR_TOP} // '..';
my $page   = slurp_file("$top/docs/operations.md");
my @blocks = blocks_of('docs/operations.md');
my ($reference, $tasks) = $page =~ /\A(.*)^(## Routine tasks\n.*)\z/ms or die 'the page has no routine tasks';

# Folders of the machine are played by folders of the test.
my $machine = PostgreSQL::Test::Utils::tempdir('machine');
mkdir "$machine/$_" for qw(etc backup);

sub on_this_machine
{
	my ($text) = @_;
	# Who runs the tests is the server's user.
	return $text =~ s{/etc/rotor-keys}{$machine/etc/rotor-keys}gr =~ s{ -o postgres -g postgres }{ }gr =~ s{/backup}{$machine/backup}gr;
}

#---------------------------------------------------------------------------------------------------------------------
# The reference: statements within backticks, and blocks, in the order of the page

# What is not run here, and why not.
my %not_run = (
	'DROP EXTENSION rotor'       => 'the last task of the page does it',
	'ALTER EXTENSION'            => 'the name of a statement',
	'CREATE DATABASE … TEMPLATE' => 'the name of a statement',
);

{
	my $node = new_cluster('reference', preload => 1);
	my %met;

	sql($node, 'CREATE ROLE app_user LOGIN');
	rotate_ok($node, 'app_user', 'reference: the role of the page');
	while ($reference =~ /^```sql\n(.*?)^```|`((?:SELECT|ALTER|CREATE|DROP|UPDATE|INSERT|DELETE|SHOW)\b[^`]*)`/msg)
	{
		my $statement = $1 // $2;

		$met{$statement}++;
		next if $not_run{$statement};
		my ($first) = split /\n/, $statement;
		succeeds($node, $statement, "reference: $first");
	}
	for my $statement (sort keys %not_run)
	{
		ok($page =~ /`\Q$statement\E`/, "the page still names $statement, which is not run: $not_run{$statement}");
	}
	ok(poll_until(sub { is_quiet($node) }, 60), 'reference: what it began comes to its end');
	assert_invariants($node, 'app_user', 'reference: after all of it');
	is(sql($node, q{SELECT count(*) FROM rotor.health() WHERE status <> 'ok' AND check_name <> 'key_file'}), '0', 'reference: and all is well');
	$node->stop;
}

#---------------------------------------------------------------------------------------------------------------------
# The tasks

my $bin  = $ENV{PG_CONFIG} ? `$ENV{PG_CONFIG} --bindir` : `pg_config --bindir`;
chomp $bin;
my $home = new_cluster('home', extension => 0,
	hba => [ 'local replication postgres trust', 'host all all 127.0.0.1/32 scram-sha-256' ], init => { allows_streaming => 1 });
my $data = $home->data_dir;     # of the server that runs on home's port
my $other;                      # the cluster that a dump is restored into
my $copy;                       # the cluster that a base backup was restored as
my @shell_servers;              # folders of servers that were started by the page's commands

sub shell
{
	my ($node, $text, %environment) = @_;
	return run_sh($node, on_this_machine($text), PGDATA => $node == $home ? $data : $node->data_dir,
		OLD_BIN => $bin, NEW_BIN => $bin, %environment);
}

# The blocks under a heading, in order.
sub blocks_under
{
	my ($heading) = @_;
	my @found = grep { $_->{heading} eq $heading } @blocks;
	die "no block under '$heading'" unless @found;
	$_->{is_run} = 1 for @found;
	return @found;
}

# Runs a block on a node; returns what it printed.
sub run_block
{
	my ($node, $block, %environment) = @_;
	my $name = "$block->{heading}, line $block->{line}";
	my $result;

	if ($block->{language} eq 'ini')
	{
		$node->append_conf('postgresql.conf', on_this_machine($block->{text}));
		pass("$name: settings");
		return '';
	}
	$result = $block->{language} eq 'sql' ? attempt($node, on_this_machine($block->{text})) : shell($node, $block->{text}, %environment);
	ok($result->{ok}, "$name: $block->{first}") or diag $result->{err};
	return $result->{out};
}

# A server that the page's own pg_ctl has started: the framework does not know of it.
sub started_by_shell
{
	my ($node, $folder) = @_;
	delete $node->{_pid};
	push @shell_servers, $folder;
	return;
}

END
{
	my $status = $?;
	system("'$bin/pg_ctl' -D '$_' -m immediate -s stop >/dev/null 2>&1") for grep { -e "$_/postmaster.pid" } @shell_servers;
	$? = $status;
}

# Install
{
	my @steps = blocks_under('Install');
	is(run_block($home, shift @steps), sql($home, q{SELECT default_version FROM pg_available_extensions WHERE name = 'rotor'}), 'Install: it is there');
	run_block($home, shift @steps) for 1 .. 3;
	started_by_shell($home, $data);
	workers_are_there($home);
	is(run_block($home, shift @steps), "app_user|high\n\nsuccess", 'Install: the role is managed and rotated, and health() has nothing to say');
	run_block($home, $_) for @steps;
	is(slurp_file("$machine/backup/rotor.key"), slurp_file("$machine/etc/rotor-keys/rotor.key"), 'Install: a copy of the key is kept');
	is(sql($home, q{SELECT rotor.get_secret('app_user') ->> 'username'}, user => 'app_user', host => '127.0.0.1',
			password => current_password($home, 'app_user')), 'app_user', 'Install: the application reads its secret');
}

# Upgrade the package: to the same version, which is what most packages bring
{
	my ($shell, $look) = blocks_under('Upgrade the package');
	run_block($home, $shell);
	workers_are_there($home);
	like(run_block($home, $look), qr/^rotor\|([0-9.]+)\|\1$/, 'Upgrade: library and extension agree');
}

# Server major upgrade: with the same version, which takes the same way
{
	my ($shell, $look) = blocks_under('Server major upgrade');
	my $new = $home->basedir . '/upgraded';
	my $before = current_password($home, 'app_user');

	run_block($home, { %$shell, text => "cd '$machine'\n$shell->{text}" }, NEW_PGDATA => $new);
	$data = $new;
	push @shell_servers, $new;
	workers_are_there($home);
	rotate_fails($home, 'app_user', '55000', qr/another cluster.*reconcile/s, 'Server major upgrade: nothing is rotated at first');
	is(health_of($home, 'other_cluster'), 'error secrets of another cluster or of a dump, which are not rotated here: 1', 'and health() says so');
	is(run_block($home, $look), 'app_user|app_user|bound|', 'Server major upgrade: the secret finds its role, and health() has nothing to say');
	ok($before eq current_password($home, 'app_user'), 'the password is the one from before');
	rotate_ok($home, 'app_user', 'and it rotates');
}

# Dump and restore
{
	my ($dump, $restore, $look) = blocks_under('Dump and restore');
	run_block($home, $dump);
	like(slurp_file("$machine/backup/audit.csv"), qr/^id,at,actor.*app_user/s, 'Dump: the audit is copied');
	ok(shell($home, 'pg_restore -f /backup/configuration.sql /backup/configuration.dump')->{ok}, 'Dump: one without values')
	  and unlike(slurp_file("$machine/backup/configuration.sql"), qr/COPY rotor\.(?:version|data_key|rotation|saved_verifier) .*\n(?!\\\.)/,
		'Dump: holds neither values nor keys nor history');

	$other = new_cluster('other', extension => 0);
	my $before = current_password($home, 'app_user');
	run_block($other, $restore);
	is(run_block($other, $look), "app_user|other_cluster\napp_user|app_user|bound|", 'Restore: the secret rests until reconcile() binds it');
	ok($before eq current_password($other, 'app_user'), 'Restore: its password has travelled');
	logs_in($other, 'app_user', $before, 'Restore: and logs in');
	rotate_ok($other, 'app_user', 'Restore: it rotates there');
	assert_invariants($home, 'app_user', 'Restore: and the original is as it was');
	$other->stop;

	# Without values: as the page says.
	my $empty = new_cluster('empty', extension => 0);
	ok(shell($empty, "psql -X -q -d postgres -f /backup/globals.sql\npg_restore -d postgres /backup/configuration.dump")->{ok}, 'Restore: without values');
	is(sql($empty, 'SELECT secret_name, finding FROM rotor.reconcile()'), 'app_user|no_value', 'Restore: each secret says no_value');
	rotate_ok($empty, 'app_user', 'until it is rotated');
	$empty->stop;
}

# Base backup and point in time; the restored one becomes a clone
{
	my ($backup, $look) = blocks_under('Base backup and point in time');
	my $folder = "$machine/backup/base";

	run_block($home, $backup);
	$copy = PostgreSQL::Test::Cluster->new('copy');
	rename $folder, $copy->data_dir or do { mkdir $copy->basedir; rename $folder, $copy->data_dir or die "rename: $!" };
	$copy->append_conf('postgresql.conf', 'port = ' . $copy->port . "\nunix_socket_directories = '" . $copy->host . "'\n");
	$copy->start;
	workers_are_there($copy);
	is(run_block($copy, $look), '', 'Base backup: all is well, and nothing was in progress');
	assert_invariants($copy, 'app_user', 'Base backup');

	# Clone: the key is not given to it.
	my ($forget) = blocks_under('Clone a production database for staging');
	my $before = role_state($home, 'app_user');
	set_conf($copy, 'rotor.key_file' => 'rotor.key');
	like(run_block($copy, $forget), qr/^success$/m, 'Clone: it begins anew');
	isnt(role_state($copy, 'app_user'), $before, 'Clone: with a password of its own');
	is(role_state($home, 'app_user'), $before, "Clone: and production's role is as it was");
	$copy->stop;
}

# A lost key
{
	my ($which, $new_key, $give_new) = blocks_under('A lost key');

	sql($home, q{CREATE ROLE second LOGIN});
	rotate_ok($home, $_, "A lost key: $_ has a value") for 'second', 'app_user', 'app_user';
	rename "$machine/etc/rotor-keys/rotor.key", "$machine/lost.key" or die "rename: $!";
	like(run_block($home, $which), qr/^error\|/m, 'A lost key: health() says so');
	fails($home, q{SELECT rotor.get_secret('app_user')}, '58P01', undef, 'A lost key: nobody can read');
	run_block($home, $new_key);
	is(run_block($home, $give_new), "app_user|success\nsecond|success", 'A lost key: every secret gets a new value under the new key');
	assert_invariants($home, $_, 'A lost key') for 'app_user', 'second';
}

# Rotate keys, failover
{
	my ($rotate, $data_key, $retire) = blocks_under('Rotate keys');
	my ($look) = blocks_under('Failover');

	# All keys are there, which the lost one is not: it comes back.
	append_to_file("$machine/lost.key", slurp_file("$machine/etc/rotor-keys/rotor.key"));
	rename "$machine/lost.key", "$machine/etc/rotor-keys/rotor.key" or die "rename: $!";
	like(run_block($home, $rotate), qr/^(\S+)\n2\n\1\|2\z/, 'Rotate keys: every data key is under the new master key');
	like(run_block($home, $data_key), qr/^t\nt\n.*^active\|\d+\z/ms, 'Rotate keys: there is a new data key');
	# What a worker has in its hands at that moment, reseal() leaves to it.
	ok(poll_until(sub { sql($home, q{SELECT string_agg(state, ' ' ORDER BY created_at) FROM rotor.keys}) eq 'unused unused active' }),
		'Rotate keys: every value moves to it');
	like(run_block($home, $retire), qr/\Adata_key\|\S+\ndata_key\|\S+\nmaster_key\|\S+\nmaster_key\|after-loss\z/,
		'Rotate keys: former data keys go, former master keys are listed');
	like(run_block($home, $look), qr/^key\|ok.*^key_file\|ok/ms, 'Failover: the key is there');
	rotate_ok($home, 'app_user', 'Rotate keys: rotations go on');
}

# Retention and sizes
{
	my ($leaked) = blocks_under('Values have leaked');
	like(run_block($home, $leaked), qr/success\|\d+/, 'Values have leaked: every secret has a new one');

	my ($look) = blocks_under('Retention and sizes');
	like(run_block($home, $look), qr/^versions\|\d+\n.*^audit_20\d\d_\d\d\|/ms, 'Retention: what would go, and what is there');
}

# Move the home database; uninstall
{
	my ($move, $bind, $rename) = blocks_under('Move the home database');
	my ($drop) = blocks_under('Uninstall');
	my $before = current_password($home, 'app_user');
	my $state = role_state($home, 'app_user');

	like(run_block($home, $move), qr/app_user +\| bound\b.*second +\| bound\b/s, 'Move: every secret is in step with its role, once it is bound');
	ok($before eq sql($home, q{SELECT rotor.get_secret('app_user') ->> 'password'}, dbname => 'vault'), 'Move: its password has come along');
	is(sql($home, $bind->{text}, dbname => 'vault'), '', 'Move: nothing outside is left to bind');
	is(role_state($home, 'app_user'), $state, 'Move: no role was touched');
	run_block($home, $rename);
	ok(poll_until(sub { sql($home, q{SELECT status FROM rotor.health() WHERE check_name = 'workers'}, dbname => 'control') eq 'ok' }),
		'Move: the workers follow');
	is(sql($home, q{SELECT status FROM rotor.rotate('app_user')}, dbname => 'control'), 'success', 'Move: and rotate there');
	$state = role_state($home, 'app_user');
	run_block($home, $drop);
	is(role_state($home, 'app_user'), $state, 'Uninstall: the role keeps its password');
	is(sql($home, q{SELECT count(*) FROM pg_namespace WHERE nspname = 'rotor'}, dbname => 'control'), '0', 'Uninstall: nothing is left');
}

for my $block (grep { $tasks =~ /\Q$_->{text}\E/ } @blocks)
{
	ok($block->{is_run}, "the block of line $block->{line} was run");
}
done_testing();
