# A dump restored into the cluster that it was made in, where roles have lived on since; restored twice, over what is there,
# with --clean; and a copy of the database.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorDump;
use RotorTest;
use Test::More;

my @home = (dbname => 'home');
my $node = home_cluster('here', PostgreSQL::Test::Utils::tempdir('keys') . '/rotor.key');

sub reconciled
{
	return { map { my ($secret, $finding) = split /\|/; ($secret => $finding) } split /\n/,
		sql($node, 'SELECT secret_name, finding FROM rotor.reconcile()', @home) };
}

sub all_rest
{
	my ($name) = @_;

	is(sql($node, q{SELECT string_agg(DISTINCT state, ' ') FROM rotor.secrets}, @home), 'other_cluster', "$name: every secret waits for reconcile()");
	sql($node, q{UPDATE rotor.secret SET next_rotation = now() - interval '1 year'}, @home);
	is(sql($node, 'SELECT * FROM rotor.run_due()', @home), '', "$name: and is not rotated, though all are overdue");
	sql($node, q{UPDATE rotor.secret SET next_rotation = NULL}, @home);
}

my @roles = qw(again gone keeps lives renamed typed);
sql($node, 'CREATE EXTENSION rotor', @home);
sql($node, "CREATE ROLE $_ LOGIN") for @roles, 'reader';
rotate_ok($node, $_, "given a secret $_", @home) for @roles;
sql($node, q{SELECT rotor.grant_access('keeps', 'reader', 'read')}, @home);
my $dump = dump_of($node, 'here', values => 'on');
my $archive = dump_of($node, 'here_c', values => 'on', args => ['-Fc']);
my $last_id = sql($node, 'SELECT last_value FROM rotor.secret_id_seq', @home);

#---------------------------------------------------------------------------------------------------------------------
# The database is lost; its cluster has lived on since the dump

rotate_ok($node, 'lives', 'a rotation since the dump', @home);
sql($node, q{ALTER ROLE typed PASSWORD 'by hand'; ALTER ROLE renamed RENAME TO "new name"; DROP ROLE gone; DROP ROLE again; CREATE ROLE again LOGIN});
my %state = map { ($_ => role_state($node, $_)) } 'keeps', 'lives', 'new name', 'typed', 'again';
sql($node, 'DROP DATABASE home');
sql($node, 'CREATE DATABASE home');
is(join("\n", @{ run_sql_file($node, 'home', $dump) }), '', 'the dump is restored without an error');
all_rest('restored');
rotate_fails($node, 'keeps', '55000', qr/came out of a dump.*reconcile\(\)/s, 'rotate()', @home);
fails($node, q{SELECT rotor.get_secret('keeps')}, '42501', undef, 'get_secret() by a grantee', @home, user => 'reader');
like(health_of($node, 'other_cluster', @home), qr/^error .*dump/, 'health() says so');
is_deeply(
	reconciled(),
	{ keeps => 'bound', lives => 'changed_elsewhere', typed => 'changed_elsewhere', again => 'changed_elsewhere',
		renamed => 'role_missing', gone => 'role_missing' },
	'reconcile() says which values of the dump are still passwords');
is(join(' ', grep { role_state($node, $_) ne $state{$_} } sort keys %state), '', 'and has touched no role');
logs_in($node, 'keeps', password_at($node, 'keeps', @home), 'what is bound logs in');
is(sql($node, q{SELECT rotor.get_secret('keeps') ->> 'username'}, @home, user => 'reader'), 'keeps', 'rights are back');
sql($node, q{SELECT rotor.manage('renamed', username => 'new name')}, @home);
is(sql($node, q{SELECT finding FROM rotor.reconcile('renamed')}, @home), 'ok', 'manage() binds a secret to the new name of its role');
logs_in($node, 'new name', password_at($node, 'renamed', @home), 'whose restored password logs in');
for my $secret (qw(keeps lives typed again renamed))
{
	my $role = $secret eq 'renamed' ? 'new name' : $secret;
	rotate_ok($node, $secret, "$secret rotates", @home);
	logs_in($node, $role, password_at($node, $secret, @home), "and $secret logs in");
}
is(sql($node, q{SELECT name FROM rotor.unmanage('gone')}, @home), 'gone', 'what has no role any more can be unmanaged');
ok(sql($node, q{SELECT (rotor.manage('reader')).id}, @home) > $last_id, 'a new secret has a new id');
is(sql($node, q{SELECT count(*) FROM rotor.health() WHERE check_name IN ('other_cluster', 'changed_elsewhere', 'dropped_roles', 'key') AND status = 'ok'}, @home), '4', 'health() is content');

#---------------------------------------------------------------------------------------------------------------------
# Restored over what is there: nothing of it is overwritten

my %before = facts($node, @home);
my $current = password_at($node, 'keeps', @home);
my $errors = run_sql_file($node, 'home', $dump);
ok(scalar(grep { /duplicate key/ } @$errors), 'a dump restored over a rotor that has secrets: errors say that they are there');
my %after = facts($node, @home);
is_deeply({ map { ($_ => $after{$_}) } grep { $_ ne 'last_id' } keys %after }, { map { ($_ => $before{$_}) } grep { $_ ne 'last_id' } keys %before }, 'and nothing was changed');
ok($current eq password_at($node, 'keeps', @home), 'nor the value that is read');
rotate_ok($node, 'keeps', 'which rotates on', @home);

#---------------------------------------------------------------------------------------------------------------------
# --clean: the extension is dropped, with a warning, while workers are there, and made anew

my $archive2 = dump_of($node, 'now_c', values => 'on', args => ['-Fc']);
my @said = @{ restore_archive($node, 'home', $archive2, '--clean', '--if-exists') };
is(join("\n", grep { !/every value that it holds is forgotten/ } @said), '', 'pg_restore --clean --if-exists: no error');
all_rest('--clean');
is_deeply([ sort grep { $_ ne 'bound' } values %{ reconciled() } ], ['no_value'], '--clean: all but what never had a value are bound with their values');
for my $secret (qw(keeps lives typed again))
{
	logs_in($node, $secret, password_at($node, $secret, @home), "--clean: $secret logs in");
}
rotate_ok($node, 'keeps', '--clean: and rotates', @home);

#---------------------------------------------------------------------------------------------------------------------
# A copy of the database reads what was there, and rotates nothing; to drop it there harms nobody

my $state = role_state($node, 'keeps');
my $there = password_at($node, 'keeps', @home);
sql($node, 'CREATE DATABASE copy TEMPLATE home');
ok($there eq password_at($node, 'keeps', dbname => 'copy'), 'a copy of the database reads the value of that moment');
rotate_fails($node, 'keeps', '55000', undef, 'a copy: rotate()', dbname => 'copy');
fails($node, 'SELECT * FROM rotor.reconcile()', '55000', undef, 'a copy: reconcile()', dbname => 'copy');
sql($node, 'DROP EXTENSION rotor', dbname => 'copy');
is(role_state($node, 'keeps'), $state, 'DROP EXTENSION in a copy touches no role');
ok($there eq password_at($node, 'keeps', @home), 'nor what rotor knows at home');
rotate_ok($node, 'keeps', 'where it rotates', @home);
unlike(slurp_file($node->logfile), qr/PANIC|TRAP:|terminated by signal/, 'no process has crashed');

done_testing();
