# What bars a login, by role, by database, by slots, by time, by address: each has its outcome, and none locks out.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use RotorTest;
use Test::More;

my $node = new_cluster(
	'barred', conf => <<'CONF');
max_connections = 6
superuser_reserved_connections = 2
rotor.connect_timeout = '20s'
rotor.lock_timeout = '1s'
CONF

sql($node, 'CREATE ROLE app_user LOGIN');
# Nothing is tried again before the test says so: a one-shot worker does at its end what is due by then.
sql($node, q{UPDATE rotor.policy SET backoff = '30 days', backoff_max = '30 days'});
rotate_ok($node, 'app_user', 'before anything');

sub default_policy
{
	my ($settings) = @_;
	sql($node, "UPDATE rotor.policy SET $settings WHERE name = 'default'");
}

# The password is right, whatever bars the login: success with a note.
sub is_proved
{
	my ($name, $sqlstate) = @_;
	my $old = current_password($node, 'app_user');

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	rotate_ok($node, 'app_user', $name);
	like(last_rotation($node, 'app_user', 'note'), qr/\Q$sqlstate\E/, "$name: a note has SQLSTATE $sqlstate");
	is(last_rotation($node, 'app_user', 'outcome'), 'proved', "$name: the outcome is on record");
	ok($old ne current_password($node, 'app_user'), "$name: the password is another");
}

# Refused, and neither role nor labels are touched.
sub is_refused
{
	my ($name, $pattern) = @_;
	my $old   = current_password($node, 'app_user');
	my $state = role_state($node, 'app_user');

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	rotate_fails($node, 'app_user', '55000', $pattern, $name);
	is(role_state($node, 'app_user'), $state, "$name: verifier and VALID UNTIL are what they were, byte for byte");
	ok($old eq current_password($node, 'app_user'), "$name: get_secret() still gives the old password");
}

# Not now: the new password is in effect, and the error says what happens next. Returns the error.
sub is_put_off
{
	my ($name, $sqlstate, $pattern) = @_;
	my $old = current_password($node, 'app_user');

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $error = rotate_fails($node, 'app_user', $sqlstate, $pattern, $name);
	like("$error->{detail} $error->{hint}", qr/run_due|again/i, "$name: the error says that it is tried again");
	like($error->{detail}, qr/the new password is in effect/, "$name: and that the new password is in effect");
	like($error->{detail}, qr/Rotation [0-9a-f-]{36}/, "$name: and the rotation's uuid");
	is(last_rotation($node, 'app_user', 'status, step, attempt'), 'verifying|test|1', "$name: it waits for its next test");
	ok($old ne current_password($node, 'app_user'), "$name: get_secret() gives the new password");
	return $error;
}

# The pause before the next attempt is over, and no worker of the attempt before is left to take it.
sub is_due
{
	no_worker_is_left($node);
	sql($node, 'UPDATE rotor.rotation SET next_attempt_at = now() WHERE finished_at IS NULL');
}

sub succeeds_later
{
	my ($name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(sql($node, 'SELECT * FROM rotor.run_due()'), '', "$name: run_due() waits for the pause between attempts");
	is_due();
	is(sql($node, 'SELECT * FROM rotor.run_due()'), 'success|1', "$name: run_due() brings it to its end");
	is(last_rotation($node, 'app_user', 'status'), 'success', "$name: with success");
	assert_invariants($node, 'app_user', $name);
}

#---------------------------------------------------------------------------------------------------------------------
# The role

sql($node, 'ALTER ROLE app_user CONNECTION LIMIT 0');
is_proved('connection limit of the role', '53300');
sql($node, 'ALTER ROLE app_user CONNECTION LIMIT -1');
assert_invariants($node, 'app_user', 'connection limit of the role');

sql($node, 'ALTER ROLE app_user NOLOGIN');
is_refused('NOLOGIN', qr/could not be proved/);
sql($node, 'ALTER ROLE app_user LOGIN');
sql($node, 'CREATE ROLE no_login');
rotate_fails($node, 'no_login', '55000', qr/could not be proved.*LOGIN/s, 'first rotation of a role with NOLOGIN');
is(sql($node, q{SELECT count(*) FROM rotor.secret WHERE name = 'no_login'}), '0', 'it is not taken under management');

sql($node, q{ALTER ROLE app_user VALID UNTIL '2001-02-03 04:05:06'});
is_refused('expired', qr/expired.*2001.*VALID UNTIL/s);
sql($node, q{ALTER ROLE app_user VALID UNTIL 'infinity'});
rotate_ok($node, 'app_user', q{VALID UNTIL 'infinity'});
is(sql($node, q{SELECT rolvaliduntil FROM pg_authid WHERE rolname = 'app_user'}), 'infinity', 'it stays so');
sql($node, q{ALTER ROLE app_user VALID UNTIL '2100-02-03 04:05:06.789012+05:45'});
rotate_ok($node, 'app_user', 'VALID UNTIL in the future');
is(sql($node, q{SELECT rolvaliduntil = '2100-02-03 04:05:06.789012+05:45' FROM pg_authid WHERE rolname = 'app_user'}),
	't', 'it stays what it was');
is(sql($node, q{SELECT rolvaliduntil IS NULL FROM pg_authid WHERE rolname = 'no_login'}), 't', 'and none stays none');

# A margin: the password dies if rotation ever stops.
sql($node, q{ALTER DATABASE postgres SET timezone = 'Asia/Kathmandu'; ALTER DATABASE postgres SET datestyle = 'German, DMY'});
default_policy(q{rotation_interval = '1 day', valid_until_margin = '2 days'});
sql($node, q{ALTER ROLE app_user VALID UNTIL '2001-02-03'});
rotate_ok($node, 'app_user', 'valid_until_margin revives an expired role');
is( sql($node, q{SELECT rolvaliduntil BETWEEN now() + '2 days 23 hours' AND now() + '3 days 1 hour' FROM pg_authid WHERE rolname = 'app_user'}),
	't', 'VALID UNTIL is the next rotation plus the margin');
is(sql($node, q{SELECT rolvaliduntil > next_rotation + interval '47 hours' FROM pg_authid, rotor.secret WHERE rolname = 'app_user'}),
	't', 'so it is later than the next rotation by the margin');
assert_invariants($node, 'app_user', 'valid_until_margin');
default_policy(q{valid_until_margin = NULL});
default_policy(q{rotation_interval = NULL});
my $until = sql($node, q{SELECT rolvaliduntil FROM pg_authid WHERE rolname = 'app_user'});
rotate_ok($node, 'app_user', 'without a margin');
is(sql($node, q{SELECT rolvaliduntil FROM pg_authid WHERE rolname = 'app_user'}), $until, 'VALID UNTIL is left alone');
sql($node, q{ALTER ROLE app_user VALID UNTIL 'infinity'; ALTER DATABASE postgres RESET timezone; ALTER DATABASE postgres RESET datestyle});

#---------------------------------------------------------------------------------------------------------------------
# The database

sql($node, 'CREATE DATABASE closed');
sql($node, 'REVOKE CONNECT ON DATABASE closed FROM PUBLIC');
default_policy(q{verify_database = 'closed'});
is_proved('no CONNECT privilege on the database', '42501');
default_policy(q{verify_database = 'nowhere'});
is_proved('a verify_database that does not exist', '3D000');
sql($node, 'GRANT CONNECT ON DATABASE closed TO PUBLIC; ALTER DATABASE closed ALLOW_CONNECTIONS false');
default_policy(q{verify_database = 'closed'});
is_proved('a database that takes no connections', '55000');
sql($node, 'ALTER DATABASE closed ALLOW_CONNECTIONS true; ALTER DATABASE closed CONNECTION LIMIT 0');
is_proved('connection limit of the database', '53300');
default_policy(q{verify_database = NULL});
assert_invariants($node, 'app_user', 'the database');

# The session that the login begins cannot be had: the password was right.
sql($node, q{ALTER ROLE app_user SET session_preload_libraries = 'no_such_library'});
is_proved('a library of the role that cannot be loaded', '58P01');
sql($node, q{ALTER ROLE app_user RESET session_preload_libraries});
assert_invariants($node, 'app_user', 'a library that cannot be loaded');

#---------------------------------------------------------------------------------------------------------------------
# The verification query

sql($node, 'CREATE TABLE heartbeat (n int); INSERT INTO heartbeat SELECT generate_series(1, 1000)');
default_policy(q{verify_query = 'SELECT n FROM public.heartbeat'});
is_proved('verify_query without the privilege', '42501');
sql($node, 'GRANT SELECT, INSERT, DELETE ON heartbeat TO app_user');
rotate_ok($node, 'app_user', 'verify_query that the role may run');
is(last_rotation($node, 'app_user', q{coalesce(note, 'none')}), 'none', 'its success is without reservation');
default_policy(q{verify_query = 'SELECT 1 / (n - n) FROM public.heartbeat'});
is_proved('verify_query that fails', '22012');
fails($node, q{UPDATE rotor.policy SET verify_query = 'WITH gone AS (DELETE FROM heartbeat RETURNING n) SELECT n FROM gone'},
	'22023', qr/verify_query/, 'verify_query that writes, in the open');
sql($node, q{CREATE FUNCTION public.wipe() RETURNS bigint LANGUAGE sql AS 'DELETE FROM public.heartbeat; SELECT 1::bigint'});
default_policy(q{verify_query = 'SELECT public.wipe()'});
is_proved('verify_query that writes, hidden in a function', '25006');
is(sql($node, 'SELECT count(*) FROM heartbeat'), '1000', 'nothing was written');
default_policy(q{verify_query = 'SELECT repeat(''x'', 1000) FROM generate_series(1, 20000)'});
rotate_ok($node, 'app_user', 'verify_query with a large result');
assert_invariants($node, 'app_user', 'verification queries');

# By the session's own limit or by who waits for it, whichever comes first.
set_conf($node, 'rotor.connect_timeout' => '6s');
default_policy(q{verify_query = 'SELECT pg_sleep(3600)'});
my $started = time;
is_put_off('verify_query that hangs', '57014', qr/did not end in time/);
cmp_ok(time - $started, '<', 60, 'verify_query that hangs: it ends by rotor.connect_timeout');
ok( poll_until(sub { sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rotor verification'}) eq '0' }),
	'verify_query that hangs: its session ends as well');
default_policy('verify_query = NULL');
set_conf($node, 'rotor.connect_timeout' => '20s');
succeeds_later('verify_query that hangs');

#---------------------------------------------------------------------------------------------------------------------
# Slots: six, of which two are reserved for superusers

{
	# The caller of rotate() takes the last one.
	my @sessions = map { $node->background_psql('postgres') } 1 .. 5;

	my $taken = sub {
		my ($count) = @_;
		poll_until(sub { $sessions[0]->query_safe(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'}) eq $count })
		  or die "there are not $count sessions";
	};

	ok(attempt($node, q{SELECT role FROM rotor.secrets})->{ok}, 'one slot is left');
	$taken->(5);
	my $error = rotate_fails($node, 'app_user', '53300', undef, 'max_connections exhausted');
	like("$error->{detail} $error->{hint}", qr/run_due/, 'max_connections exhausted: the error says how it goes on');
	like($error->{detail}, qr/the new password is in effect/, 'max_connections exhausted: the new password is in effect');
	$taken->(5);
	is(last_rotation($node, 'app_user', 'status, step, outcome'), 'verifying|test|transient',
		'max_connections exhausted: it was not proved, as no password was asked for');
	(shift @sessions)->quit for 1 .. 5;
	ok(poll_until(sub { sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'}) eq '1' }),
		'slots are free again');
	succeeds_later('max_connections exhausted');

	@sessions = map { $node->background_psql('postgres') } 1 .. 3;
	$taken->(3);
	is_proved('only reserved slots are left', '53300');
	$sessions[$_]->quit for 1, 2;
	$taken->(1);
	$sessions[0]->quit;
	assert_invariants($node, 'app_user', 'reserved slots');
}

#---------------------------------------------------------------------------------------------------------------------
# The address: another cluster, or none

{
	my $other = new_cluster('other', extension => 0);

	sql($other, q{CREATE ROLE app_user LOGIN PASSWORD 'something else'});
	set_conf($node, 'rotor.verify_port' => $other->port);
	is_refused('verify_port of another cluster, which asks for the password', qr/elsewhere|another server/i);
	is(last_rotation($node, 'app_user', 'status'), 'rolled_back', 'another cluster: the rotation is rolled back');
	set_hba($other, 'host all all 127.0.0.1/32 trust');
	is_refused('verify_port of another cluster, which asks for none', qr//);
	is(last_rotation($node, 'app_user', 'status'), 'rolled_back', 'another cluster with trust: the rotation is rolled back');
	$other->stop;
	my $port = $other->port;
	is_put_off("verify_port where nobody listens", '08001', qr/not possible now/);
	set_conf($node, 'rotor.verify_port' => 0);
	succeeds_later('verify_port where nobody listens');
}

sub with_fake
{
	my ($fake, $work) = @_;

	set_conf($node, 'rotor.verify_port' => $fake->{port});
	$work->();
	set_conf($node, 'rotor.verify_port' => 0);
	stop_listener($fake);
}

# A pooler knows the password and lets in, but its backends are not this server's, or not this role's.
my $own_pid = sql($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'});
for my $pid (1, $own_pid, 2147483647)
{
	my $fake = fake_server(ask => 1, accept => $pid);
	with_fake($fake, sub {
			is_refused('a pooler that lets in', qr/another server|pooler/);
			is(noted($fake, 'password'), 1, 'a pooler that lets in: one login was tried');
		});
	is(last_rotation($node, 'app_user', 'status'), 'rolled_back', 'a pooler that lets in: the rotation is rolled back');
}
with_fake(fake_server(accept => 1), sub { is_refused('a pooler that asks for no password', qr//) });

my $refusing = fake_server(ask => 1, error => '28P01');
with_fake($refusing, sub {
		is_refused('a pooler that refuses the password', qr/elsewhere/);
		is(noted($refusing, 'password'), 1, 'a pooler that refuses: the password was tried once, not twice');
	});

for my $case ([ '57P03', error => '57P03' ], [ '53300', error => '53300' ], [ '08001' ], [ '57P03', ask => 1, error => '57P03' ])
{
	my ($sqlstate, %how) = @$case;
	my $name = ($how{error} ? "SQLSTATE $how{error}" : 'end of the connection') . ($how{ask} ? ' after' : ' before') . ' a password';

	with_fake(fake_server(%how), sub { is_put_off($name, $sqlstate, qr/not possible now/) });
	succeeds_later($name);
}

#---------------------------------------------------------------------------------------------------------------------
# Time

my $hanging = fake_server(hang => 1);
set_conf($node, 'rotor.connect_timeout' => '300ms');
$started = time;
with_fake($hanging, sub {
		is_put_off('a login that hangs', '08001', qr/did not end in time/);
		cmp_ok(time - $started, '<', 15, 'a login that hangs: it ends by rotor.connect_timeout');
		ok(poll_until(sub { noted($hanging, 'connection') }), 'a login that hangs: it was tried');
		is(noted($hanging, 'connection'), 1, 'a login that hangs: one try an attempt');
		my $again = rotate_fails($node, 'app_user', '08001', qr/did not end in time/, 'rotate() once more');
		like($again->{detail}, qr/attempt 2 of 8/, 'rotate() once more: it takes up the same rotation');
		like($again->{notices}, qr/taken up/, 'rotate() once more: and says so');
		is(sql($node, q{SELECT count(*) FROM rotor.rotations WHERE finished_at IS NULL}), '1', 'there is still one rotation');
	});
set_conf($node, 'rotor.connect_timeout' => '20s');
succeeds_later('a login that hangs');

# Attempts exhausted: a dead letter, and the way out.
default_policy('max_attempts = 2');
with_fake(fake_server(), sub {
		is_put_off('no attempt left, the first', '08001', qr/not possible now/);
		is_due();
		is(sql($node, 'SELECT * FROM rotor.run_due()'), 'failed|1', 'the second attempt is the last');
	});
is(sql($node, 'SELECT secret, step, outcome, error_code, state FROM rotor.dead_letter'),
	'app_user|test|exhausted|08001|the new password is set and current, but was not proved', 'it is a dead letter, with what is needed to act');
like(health_of($node, 'dead_letters'), qr/^error .*\b1\b/, 'health() says so');
logs_in($node, 'app_user', current_password($node, 'app_user'), 'I1: the version labelled current logs in all the same');
sql($node, 'DO $$BEGIN PERFORM rotor.requeue(id) FROM rotor.dead_letter; END$$');
is(sql($node, 'SELECT * FROM rotor.run_due()'), 'success|1', 'requeue(): it is due at once, and succeeds');
assert_invariants($node, 'app_user', 'requeue()');
is(sql($node, 'SELECT count(*) FROM rotor.dead_letter'), '0', 'then there is no dead letter any more');
default_policy('max_attempts = 8');

#---------------------------------------------------------------------------------------------------------------------
# Locks that the caller holds: an error, never a wait without end

for my $lock ('LOCK TABLE pg_authid IN ACCESS EXCLUSIVE MODE', q{SELECT FROM pg_authid WHERE rolname = 'app_user' FOR UPDATE},
	q{LOCK TABLE rotor.secret IN ACCESS EXCLUSIVE MODE}, 'LOCK TABLE pg_database IN ACCESS EXCLUSIVE MODE')
{
	my $state = role_state($node, 'app_user');
	my $started = time;
	my $error = attempt($node, "SET statement_timeout = '60s'; BEGIN; $lock; SELECT status FROM rotor.rotate('app_user')");

	ok(!$error->{ok}, "$lock: rotate() ends with an error");
	cmp_ok(time - $started, '<', 45, "$lock: by a deadline of rotor's own");
	like($error->{sqlstate}, qr/^(55P03|53400)$/, "$lock: which speaks of the lock, or of no worker");
	is(role_state($node, 'app_user'), $state, "$lock: the role is as it was");
	rotate_ok($node, 'app_user', "after $lock");
}
assert_invariants($node, 'app_user', 'at the end');
$node->stop;

#---------------------------------------------------------------------------------------------------------------------
# A worker that is warm, a login that hangs on a lock of the server itself

{
	my $warm = new_cluster('warm', preload => 1,
		conf => "rotor.connect_timeout = '20s'\nrotor.lock_timeout = '3s'\nrotor.poll_interval = '10min'\n");

	sql($warm, 'CREATE ROLE app_user LOGIN');
	sql($warm, q{UPDATE rotor.policy SET backoff = '30 days', backoff_max = '30 days'});
	rotate_ok($warm, 'app_user', 'a worker is warm') for 1 .. 2;
	set_conf($warm, 'rotor.connect_timeout' => '1s');
	my $error = attempt($warm, q{SET statement_timeout = '60s'; BEGIN; LOCK TABLE pg_database IN ACCESS EXCLUSIVE MODE; SELECT status FROM rotor.rotate('app_user')});
	ok(!$error->{ok}, 'a login that hangs on a locked catalog does not succeed');
	like($error->{sqlstate}, qr/^(08001|55P03)$/, 'it ends by a deadline');
	set_conf($warm, 'rotor.connect_timeout' => '20s');
	rotate_ok($warm, 'app_user', 'a login that hung: rotation goes on afterwards');
	assert_invariants($warm, 'app_user', 'a login that hung');
	$warm->stop;
}

done_testing();
