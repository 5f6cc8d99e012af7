# A standby reads and does not rotate; promoted, it rotates. And callers whose transactions are read only or serializable.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorTest;
use Test::More;

my $keys = PostgreSQL::Test::Utils::tempdir('keys') . '/rotor.key';
my @hba = ('local replication postgres trust', 'local all reader trust', 'host all all 127.0.0.1/32 scram-sha-256');
my $primary = new_cluster('primary', preload => 1, hba => \@hba, init => { allows_streaming => 1 },
	conf => "rotor.key_file = '$keys'\nrotor.poll_interval = '200ms'\nrotor.connect_timeout = '2min'\nrotor.workers = 2\n");

sql($primary, 'CREATE ROLE app_user LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE plain LOGIN');
rotate_ok($primary, 'app_user', 'on the primary') for 1 .. 2;
sql($primary, q{SELECT rotor.grant_access('app_user', 'reader', 'read')});
assert_invariants($primary, 'app_user', 'on the primary');
like(health_of($primary, 'key_file'), qr/^ok the key file is outside/, 'health() likes a key file outside the data directory');

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'port = ' . $standby->port . "\n");
$standby->start;

sub caught_up
{
	$primary->wait_for_catchup('standby', 'replay', $primary->lsn('flush'));
}

#---------------------------------------------------------------------------------------------------------------------
# Reading on a hot standby

caught_up();
my $password = current_password($standby, 'app_user');
ok($password eq current_password($primary, 'app_user'), 'get_secret() gives the same password on primary and standby');
logs_in($standby, 'app_user', $password, 'which logs in on the standby');
rotate_ok($primary, 'app_user', 'a rotation on the primary');
caught_up();
ok($password ne current_password($standby, 'app_user'), 'the standby gives another password then');
logs_in($standby, 'app_user', current_password($standby, 'app_user'), 'which logs in there');
is_locked_out($standby, 'app_user', $password, 'and the former one no longer does');
is(sql($standby, q{SELECT rotor.describe('app_user') IS NOT NULL}), 't', 'describe() works');
ok(sql($standby, q{SELECT rotor.connection_uri('app_user')}) =~ m{^postgresql://app_user:}, 'connection_uri() works');
is(sql($standby, q{SELECT rotor.statistics() ->> 'successes'}), '3', 'statistics() works');
is(sql($standby, q{SELECT secret FROM rotor.secrets}), 'app_user', 'views work');
is(length sql($standby, 'SELECT rotor.generate_password()'), 32, 'generate_password() works');
like(health_of($standby, 'key'), qr/^ok/, 'health() proves the key on the standby');
like(health_of($standby, 'workers'), qr/^ok .*standby/, 'and says that a standby has no workers');
is(sql($standby, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rotor worker'}), '0', 'there are none');
is(sql($standby, q{SELECT rotor.get_secret('app_user') ->> 'username'}, user => 'reader'),
	'app_user', 'a role with the right to read reads on the standby');
fails($standby, q{SELECT rotor.get_secret('app_user')}, '42501', undef, 'another one does not', user => 'plain', host => '127.0.0.1',
	password => do { rotate_ok($primary, 'plain', 'a password for it'); caught_up(); current_password($primary, 'plain') });
like(slurp_file($standby->logfile), qr/rotor:.*app_user/, 'reads are lines of the standby\'s log');

{
	# The key is away: reading fails with one clear error, health() says so.
	rename $keys, "$keys.away";
	fails($standby, q{SELECT rotor.get_secret('app_user')}, '58P01', qr/\Q$keys\E/, 'without the key nothing can be read');
	like(health_of($standby, 'key'), qr/^error/, 'health() says so');
	rename "$keys.away", $keys;
	is(length current_password($standby, 'app_user'), 32, 'with the key again it can');
}

#---------------------------------------------------------------------------------------------------------------------
# Everything else says why not

for my $call (
	q{rotor.rotate('app_user')}, q{rotor.rotate('app_user', wait => false)}, q{rotor.rotate('reader')}, q{rotor.run_due()},
	q{rotor.rollback('app_user')}, q{rotor.manage('reader')}, q{rotor.unmanage('app_user')}, q{rotor.disable('app_user')},
	q{rotor.enable('app_user')}, q{rotor.grant_access('app_user', 'plain', 'read')},
	q{rotor.revoke_access('app_user', 'reader', 'read')}, q{rotor.rewrap_keys()}, q{rotor.reset_statistics()})
{
	my $error = fails($standby, "SELECT * FROM $call", '25006', undef, "$call on a standby");
	like("$error->{message} $error->{detail} $error->{hint}", qr/standby|recovery|primary/i, "$call on a standby: it says why not")
	  if $call =~ /rotate|run_due|rollback/;
}

# The verification login must not take a standby, which knows the same password, for this server.
{
	my $before = current_password($primary, 'app_user');
	my $state  = role_state($primary, 'app_user');
	set_conf($primary, 'rotor.verify_port' => $standby->port);
	# The standby refuses the password or, if it has replayed it by then, lets in; neither proves anything.
	rotate_fails($primary, 'app_user', '55000', undef, 'a verification login that reaches the standby');
	is(last_rotation($primary, 'app_user', 'status'), 'rolled_back', 'is no proof: the rotation is rolled back');
	is(role_state($primary, 'app_user'), $state, 'the role has what it had');

	# Made sure that it has replayed it.
	my $late = proxy($standby, sub { caught_up() });
	set_conf($primary, 'rotor.verify_port' => $late->{port});
	rotate_fails($primary, 'app_user', '55000', qr/another server/, 'a login that succeeds on the standby');
	is(last_rotation($primary, 'app_user', 'status'), 'rolled_back', 'is no proof either');
	set_conf($primary, 'rotor.verify_port' => 0);
	stop_listener($late);
	ok($before eq current_password($primary, 'app_user'), 'get_secret() gives the password from before');
	assert_invariants($primary, 'app_user', 'logins on the standby');
}

#---------------------------------------------------------------------------------------------------------------------
# Promotion

sql($primary, q{UPDATE rotor.policy SET rotation_interval = '1 hour' WHERE name = 'default'});
rotate_ok($primary, 'app_user', 'the last rotation on the old primary');
my $last = current_password($primary, 'app_user');
caught_up();
$primary->stop('immediate');
$standby->promote;
ok(poll_until(sub { sql($standby, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rotor worker'}) eq '2' }),
	'after promotion the workers start');
ok($last eq current_password($standby, 'app_user'), 'the password is the one from before');
logs_in($standby, 'app_user', $last, 'and logs in');
ok(poll_until(sub { health_of($standby, 'workers') eq 'ok 2 of 2 running' }), 'health() counts the workers');
rotate_ok($standby, 'app_user', 'rotation works');
is_locked_out($standby, 'app_user', $last, 'the password from before no longer logs in');
sql($standby, 'CREATE ROLE young LOGIN');
rotate_ok($standby, 'young', 'and so does the first rotation of a new role');
my $scheduled = current_password($standby, 'app_user');
sql($standby, q{UPDATE rotor.secret SET next_rotation = now() - interval '1 second' WHERE name = 'app_user'});
ok(poll_until(sub { last_rotation($standby, 'app_user', 'trigger, status') eq 'schedule|success' }), 'the schedule goes on');
assert_invariants($standby, 'app_user', 'after promotion');
assert_invariants($standby, $_, 'after promotion') for qw(plain young);

#---------------------------------------------------------------------------------------------------------------------
# Callers' transactions

my $node = $standby;
sql($node, q{UPDATE rotor.policy SET rotation_interval = NULL});
for my $level ('REPEATABLE READ', 'SERIALIZABLE')
{
	my $result = succeeds($node, <<"SQL", "rotate() and get_secret() in one transaction, $level");
CREATE TEMP TABLE was AS SELECT rotor.get_secret('app_user') ->> 'password' AS password;
BEGIN ISOLATION LEVEL $level;
SELECT count(*) > 0 FROM rotor.secrets;
SELECT status FROM rotor.rotate('app_user');
SELECT rotor.get_secret('app_user') ->> 'password' <> password FROM was;
COMMIT;
SQL
	is($result->{out}, "t\nsuccess\nt", "$level: the rotation is returned, and get_secret() gives what the server accepts now");
	assert_invariants($node, 'app_user', $level);
}

# A reader whose snapshot is older than the rotation still gets the password that logs in.
{
	my $reader = $node->background_psql('postgres');

	$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
	$reader->query_safe('SELECT count(*) FROM rotor.secrets');
	rotate_ok($node, 'app_user', 'a rotation after the snapshot of a reader');
	is($reader->query_safe(q{SELECT rotor.get_secret('app_user') ->> 'version_id'}),
		sql($node, q{SELECT rotor.get_secret('app_user') ->> 'version_id'}),
		'a reader in REPEATABLE READ with an older snapshot gets the current version');
	$reader->query_safe('COMMIT');
	$reader->quit;
}

my $refusal = fails($node, q{BEGIN READ ONLY; SELECT rotor.rotate('app_user')}, '25006', undef, 'rotate() in a READ ONLY transaction');
is(length sql($node, q{BEGIN READ ONLY; SELECT rotor.get_secret('app_user') ->> 'password'}), 32, 'get_secret() works in a READ ONLY transaction');
for my $of ('DATABASE postgres', 'ROLE postgres', 'ROLE app_user')
{
	sql($node, "ALTER $of SET default_transaction_read_only = on");
	my $expected = $of eq 'ROLE app_user' ? undef : '25006';
	my $result   = attempt($node, q{SELECT status FROM rotor.rotate('app_user')});
	is($result->{sqlstate}, '25006', "$of has default_transaction_read_only: rotate() in a read-only transaction is refused") if $expected;
	is(length current_password($node, 'app_user'), 32, "$of has default_transaction_read_only: reading works");
	my $queued = attempt($node, q{SET default_transaction_read_only = off; SELECT status FROM rotor.rotate('app_user')});
	is($queued->{out}, 'success', "$of has default_transaction_read_only: a caller who writes rotates, the worker is not hindered");
	sql($node, "SET default_transaction_read_only = off; ALTER $of RESET default_transaction_read_only");
}
sql($node, q{ALTER DATABASE postgres SET default_transaction_isolation = 'serializable'; ALTER DATABASE postgres SET default_transaction_deferrable = on});
rotate_ok($node, 'app_user', 'default_transaction_isolation = serializable');
sql($node, 'ALTER DATABASE postgres RESET default_transaction_isolation; ALTER DATABASE postgres RESET default_transaction_deferrable');

# Like a sequence, it is not undone.
$last = current_password($node, 'app_user');
is(sql($node, q{BEGIN; SELECT status FROM rotor.rotate('app_user'); ROLLBACK}), 'success', 'rotate() in a transaction that is rolled back');
ok($last ne current_password($node, 'app_user'), 'is not undone');
assert_invariants($node, 'app_user', 'at the end');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP:|terminated by signal/, 'no process has crashed');
$node->stop;

done_testing();
