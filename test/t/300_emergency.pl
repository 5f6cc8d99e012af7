# rotate_all(): values have leaked, so every secret gets a new one, in batches, never back to the former.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorTest;
use RotorCrash;
use Test::More;
use Time::HiRes qw(time);

my $node = new_cluster('emergency', preload => 1, conf => <<'CONF');
rotor.workers = 2
rotor.lock_timeout = '2s'
rotor.poll_interval = '500ms'
rotor.max_concurrent_logins = 4
max_connections = 60
CONF

sub progress
{
	my ($columns) = @_;
	return sql($node, "SELECT $columns FROM rotor.emergencies ORDER BY started_at DESC LIMIT 1");
}

sub passwords
{
	my (@secrets) = @_;
	return map { $_ => current_password($node, $_) } @secrets;
}

#---------------------------------------------------------------------------------------------------------------------
# Everybody

# More than fit a batch, with names that need care.
my @roles = ((map { "user_$_" } 1 .. 70), 'Mixed Case', q{quo"te'd}, '100%_s', 'back\\slash', 'naïve');
my %quoted = map { my $q = $_; $q =~ s/'/''/g; $_ => $q } @roles;

for my $role (@roles)
{
	(my $identifier = $role) =~ s/"/""/g;
	sql($node, qq{CREATE ROLE "$identifier" LOGIN});
	sql($node, "SELECT rotor.manage('$quoted{$role}')");
}
{
	my $result = succeeds($node, q{SELECT status, rotations FROM rotor.rotate_all(reason => 'a laptop was stolen')}, 'rotate_all() ends');
	my $all = @roles;

	is($result->{out}, "success|$all", 'every secret was rotated');
	like($result->{notices}, qr/emergency [0-9a-f-]{36}: $all secrets/, 'its uuid is told');
	is(progress('state, total, done, succeeded, failed, remaining, per_second > 0, time_left IS NULL, reason'),
		"finished|$all|$all|$all|0|0|t|t|a laptop was stolen", 'and rotor.emergencies shows it');
	logs_in($node, $_, current_password($node, $quoted{$_}), "$_: current logs in") for @roles;
	is(sql($node, q{SELECT count(*) FROM rotor.version WHERE stage = 'current' AND verified_at IS NOT NULL}), $all, 'each value was proved by a login');
	is( sql($node, q{SELECT string_agg(DISTINCT event, ' ' ORDER BY event) FROM rotor.audit WHERE event LIKE 'emergency%'}),
		'emergency_finished emergency_started', 'begin and end are in the audit');
	is(sql($node, q{SELECT DISTINCT trigger || ' ' || reason FROM rotor.rotations}), 'emergency a laptop was stolen', 'each rotation tells why');
}

#---------------------------------------------------------------------------------------------------------------------
# Never back

{
	my %former = passwords(qw(user_1 user_2));

	sql($node, q{SELECT * FROM rotor.rotate_all(pattern => 'user\__')});
	is(progress('total'), 9, 'a pattern is one of LIKE: user_1 to user_9');
	is_locked_out($node, $_, $former{$_}, "$_: the leaked password is of no use") for keys %former;
	is(sql($node, q{SELECT count(*) FROM rotor.version v JOIN rotor.secret s ON s.id = v.secret_id WHERE s.name LIKE 'user\__' AND stage = 'previous'}),
		'0', 'no leaked value is labelled previous');
	fails($node, q{SELECT rotor.rollback('user_1')}, '55000', qr/no previous version/, 'so nothing can be rolled back to it');
	is(sql($node, q{SELECT count(*) FROM rotor.saved_verifier}), '0', 'and no former verifier is kept');
}
{
	my $count = 0;
	my $former = current_password($node, 'user_1');
	# Somebody sets another password in the moment between set and login: the first time only.
	my $listener = proxy($node, sub {
		my ($note) = @_;
		$note->('login');
		return if -e $node->basedir . '/first';
		append_to_file($node->basedir . '/first', 'x');
		sql($node, q{ALTER ROLE user_1 PASSWORD 'somebody else'});
	});

	set_conf($node, 'rotor.verify_port' => $listener->{port});
	is(sql($node, q{SELECT status, rotations FROM rotor.rotate_all(pattern => 'user\_1')}), 'success|1', 'a refused value is followed by another one');
	set_conf($node, 'rotor.verify_port' => 0);
	is(noted($listener, 'login'), 2, 'which was proved by a second login');
	stop_listener($listener);
	is(story($node, 'user_1'), 'value_sealed/ok password_set/ok rolled_forward/leaked value_sealed/ok password_set/ok login_proved/ok finished/ok',
		'the audit tells that it went forward');
	is_locked_out($node, 'user_1', $former, 'the leaked password was not given back');
	assert_invariants($node, 'user_1', 'rolled forward');
}
{
	my $listener = proxy($node, sub { sql($node, q{ALTER ROLE user_2 PASSWORD 'somebody else'}) });
	my $former = current_password($node, 'user_2');

	set_conf($node, 'rotor.verify_port' => $listener->{port});
	is(sql($node, q{SELECT status, rotations FROM rotor.rotate_all(pattern => 'user\_2')}), 'failed|1', 'values that are always refused end');
	set_conf($node, 'rotor.verify_port' => 0);
	stop_listener($listener);
	is(last_rotation($node, 'user_2', 'dead_letter, step'), 't|test', 'as a dead letter');
	is_locked_out($node, 'user_2', $former, 'without giving the leaked password back');
	is(sql($node, q{SELECT status FROM rotor.rotate('user_2')}), 'success', 'the next rotation mends it');
}

#---------------------------------------------------------------------------------------------------------------------
# One failure stays alone

{
	sql($node, q{CREATE ROLE gone LOGIN});
	sql($node, q{SELECT rotor.manage('gone')});
	sql($node, q{DROP ROLE gone});
	sql($node, q{ALTER ROLE user_3 NOLOGIN});
	my $holder = holder($node, 'ALTER ROLE user_4 CONNECTION LIMIT 5');
	my $call = start_call($node, 'SELECT status, rotations FROM rotor.rotate_all()');

	ok(poll_until(sub { progress('remaining') eq '1' }), 'all but a role that somebody has locked come to an end');
	is(progress('state, failed'), 'running|2', 'two have failed');
	ok(is_running($call), 'the caller goes on waiting');
	ok( poll_until(
			sub {
				sql($node, q{SELECT string_agg(query, ' ') FROM pg_stat_activity WHERE query LIKE 'rotor.rotate_all: %'}) =~
				  /^rotor\.rotate_all: 1 of \d+ secrets left, emergency [0-9a-f-]{36}$/;
			}),
		'and pg_stat_activity says for how many');
	let_go($holder);
	my $result = end_call($call);
	is($result->{out}, 'failed|2' . "\n" . 'success|' . (@roles - 1), 'then the last one too');
	is(last_rotation($node, 'gone', 'status, error_code'),   'failed|42704', 'the dropped role is told');
	is(last_rotation($node, 'user_3', 'status, error_code'), 'failed|55000', 'so is the one that may not log in');
	assert_invariants($node, 'user_4', 'the locked role');
	sql($node, q{ALTER ROLE user_3 LOGIN});
	sql($node, q{SELECT rotor.unmanage('gone')});
}

#---------------------------------------------------------------------------------------------------------------------
# In the caller's transaction; called off; taken over

{
	my $id = sql($node, q{SELECT count(*) FROM rotor.emergency});

	sql($node, q{BEGIN; SELECT * FROM rotor.rotate_all(wait => false); ROLLBACK});
	is(sql($node, q{SELECT count(*) FROM rotor.emergency}), $id, 'with wait => false a rollback of the caller undoes it');
	is(sql($node, q{SELECT status, rotations FROM rotor.rotate_all(policy => 'default', wait => false)}), 'waiting|' . @roles, 'it is queued at once');
	ok(poll_until(sub { progress('state') eq 'finished' }), 'and done after the commit');
	is(progress('policy, succeeded'), 'default|' . @roles, 'for every secret of the policy');
}
{
	# Nothing can begin while the roles are being dropped.
	my $holder = holder($node, 'DROP ROLE user_5, ' . join ', ', map { "user_5$_" } 0 .. 9);
	my $call = start_call($node, q{SELECT status, rotations FROM rotor.rotate_all(pattern => 'user\_5%')});

	ok(poll_until(sub { progress('state, remaining') eq 'running|11' }), 'an emergency that cannot begin');
	my $id = progress('id');
	is(sql($node, "SELECT rotor.cancel_emergency('$id')"), 11, 'is called off as a whole');
	my $result = end_call($call);
	is($result->{out}, '', 'its caller is told that nothing was done');
	is(progress('state, done, remaining'), 'cancelled|0|0', 'and so does the view');
	fails($node, "SELECT rotor.cancel_emergency('$id')", '55000', qr/is over/, 'it cannot be called off twice');
	fails($node, q{SELECT rotor.cancel_emergency('00000000-0000-4000-8000-000000000000')}, '42704', qr/does not exist/, 'one that is unknown');

	$call = start_call($node, q{SELECT status, rotations FROM rotor.rotate_all(pattern => 'user\_5%')});
	ok(poll_until(sub { progress('state, remaining') eq 'running|11' }), 'an emergency whose caller');
	sql($node, 'SELECT pg_cancel_backend(' . call_pid($node, $call) . ')');
	$result = end_call($call);
	is($result->{sqlstate}, '57014', 'is cancelled');
	like($result->{detail}, qr/^Emergency [0-9a-f-]{36} goes on by itself\.$/, 'goes on, as DETAIL says');
	like($result->{hint}, qr/cancel_emergency\('[0-9a-f-]{36}'\)/, 'and HINT tells the way to call it off');
	let_go($holder);
	ok(poll_until(sub { progress('state, succeeded') eq 'finished|11' }), 'to its end');
}
{
	# A rotation that waits for another attempt, its value sealed before the leak was known.
	sql($node, q{UPDATE rotor.policy SET backoff = '30 days', backoff_max = '30 days'});
	my $holder = holder($node, 'ALTER ROLE user_6 CONNECTION LIMIT 5');
	rotate_fails($node, 'user_6', '55P03', undef, 'given a rotation that waits at step set');
	let_go($holder);
	my $pending = sql($node, q{SELECT version_id FROM rotor.rotations WHERE secret = 'user_6' AND finished_at IS NULL});

	is(sql($node, q{SELECT status, rotations FROM rotor.rotate_all(pattern => 'user\_6')}), 'success|1', 'the emergency takes it over at once');
	is(last_rotation($node, 'user_6', "trigger, status, version_id <> '$pending'"), 'emergency|success|t', 'with another value');
	like(story($node, 'user_6'), qr{joined_emergency/leaked value_sealed/ok}, 'as the audit tells');
	is(sql($node, "SELECT stage IS NULL FROM rotor.version WHERE id = '$pending'"), 't', 'the value that was sealed before has no label');
	sql($node, q{UPDATE rotor.policy SET backoff = '1 ms', backoff_max = '1 ms'});
	assert_invariants($node, 'user_6', 'taken over');
}

#---------------------------------------------------------------------------------------------------------------------
# Sessions

{
	my $session = start_call($node, 'SELECT pg_sleep(3600)', user => 'user_7', host => '127.0.0.1', password => current_password($node, 'user_7'));
	my $count = 'SELECT count(*) FROM pg_stat_activity WHERE pid = ' . call_pid($node, $session);

	is(sql($node, $count), '1', 'given an open session');
	sql($node, q{SELECT * FROM rotor.rotate_all(pattern => 'user\_7')});
	is(sql($node, $count), '1', 'it lives on');
	sql($node, q{SELECT * FROM rotor.rotate_all(pattern => 'user\_7', terminate_sessions => true)});
	ok(poll_until(sub { sql($node, $count) eq '0' }), 'unless sessions are to be ended');
	end_call($session);
	sql($node, q{ALTER ROLE user_8 SUPERUSER});
	is( sql($node, q{SELECT status FROM rotor.rotate_all(pattern => 'user\_8', terminate_sessions => true)},
			user => 'user_8', host => '127.0.0.1', password => current_password($node, 'user_8')),
		'success', "the caller's own is spared");

	sql($node, q{ALTER ROLE user_8 NOSUPERUSER});
}

#---------------------------------------------------------------------------------------------------------------------
# Who may, and what is refused

{
	my @clerk = (user => 'clerk', host => '127.0.0.1', password => 'none of your business');
	sql($node, q{CREATE ROLE clerk LOGIN CREATEROLE PASSWORD 'none of your business'});
	sql($node, q{GRANT USAGE ON SCHEMA rotor TO clerk; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA rotor TO clerk});
	fails($node, q{SELECT * FROM rotor.rotate_all()}, '42501', qr/superuser/, 'only superusers may', @clerk);
	fails($node, q{SELECT rotor.cancel_emergency('00000000-0000-4000-8000-000000000000')}, '42501', qr/superuser/, 'nor call it off', @clerk);
	fails($node, q{SELECT * FROM rotor.rotate_all(policy => 'nonesuch')}, '42704', qr/no policy "nonesuch"/, 'a policy that does not exist');
	fails($node, q{SELECT * FROM rotor.rotate_all(pattern => '')}, '22023', qr/pattern is empty/, 'an empty pattern');
	fails($node, q{SELECT * FROM rotor.rotate_all(pattern => repeat('x', 2000))}, '22001', qr/longer than 1024/, 'a pattern that is too long');
	fails($node, q{SELECT * FROM rotor.rotate_all(wait => NULL)}, '22004', qr/wait must not be null/, 'wait being null');
	fails($node, q{BEGIN READ ONLY; SELECT * FROM rotor.rotate_all()}, '25006', undef, 'a read-only transaction');
	for my $change (
		[ 'a role that was changed' => 'ALTER ROLE user_1 CONNECTION LIMIT 5' ],
		[ 'a role that was made'    => 'CREATE ROLE fresh LOGIN' ],
		[ 'a role that is locked'   => q{COMMENT ON ROLE user_1 IS 'held'} ],
		[ 'a secret'                => q{SELECT rotor.disable('user_1')} ],
		[ 'a policy'                => q{INSERT INTO rotor.policy (name) VALUES ('fresh')} ],
		[ 'a rotation'              => q{SELECT rotor.rotate('user_1', wait => false)} ])
	{
		my ($what, $statement) = @$change;

		fails($node, "BEGIN; $statement; SELECT * FROM rotor.rotate_all()", '55000', qr/changed by this transaction.*Commit first/s,
			"$what and is not committed: who would wait for himself is told");
	}
	is( succeeds($node, q{BEGIN ISOLATION LEVEL SERIALIZABLE; CREATE TABLE mine (); SELECT count(*) FROM rotor.secret; SELECT status FROM rotor.rotate_all(pattern => 'user\_1'); ROLLBACK},
			'what has nothing to do with it is no obstacle')->{out} =~ /success/, 1, 'nor are reads');
	like(succeeds($node, q{SELECT * FROM rotor.rotate_all(pattern => 'nobody')}, 'a pattern that nothing matches')->{notices},
		qr/no secret is concerned/, 'says so');
}

#---------------------------------------------------------------------------------------------------------------------
# Who waits can catch what goes wrong meanwhile

{
	my $held = holder($node, q{COMMENT ON ROLE user_1 IS 'held'});
	my $call = start_call($node, [ q{SET lock_timeout = '100ms'}, <<'SQL', 'CREATE TABLE committed ()' ]);
DO $$BEGIN PERFORM FROM rotor.rotate_all(pattern => 'user\_1'); EXCEPTION WHEN lock_not_available THEN RAISE WARNING 'caught'; END$$
SQL
	ok(poll_until(sub { progress('state, remaining') eq 'running|1' }), 'given that somebody waits for an emergency');
	my $locked = holder($node, 'LOCK TABLE rotor.emergency');
	my $result = end_call($call);
	like($result->{err}, qr/caught/, 'when a look at it fails, its block catches that');
	let_go($_) for $locked, $held;
	is(sql($node, q{SELECT to_regclass('committed')}), 'committed', 'and its session is in no transaction that it has not begun');
	ok(poll_until(sub { progress('state, succeeded') eq 'finished|1' }), 'the emergency goes on');
}

#---------------------------------------------------------------------------------------------------------------------
# What others do meanwhile is on record before it is over

{
	# The last login waits until it is.
	my ($logins, $open) = (0, PostgreSQL::Test::Utils::tempdir('open') . '/open');
	my $gate = proxy($node, sub { ++$logins < (grep { /^user_/ } @roles) or poll_until(sub { -e $open }) or die });

	sql($node, q{CREATE ROLE bystander LOGIN; SELECT rotor.manage('bystander')});
	set_conf($node, 'rotor.verify_port' => $gate->{port}, 'rotor.connect_timeout' => '10min');
	my $call = start_call($node, q{SELECT * FROM rotor.rotate_all(pattern => 'user\_%')});
	ok(poll_until(sub { progress('state, done > 0') eq 'running|t' }), 'given an emergency that is under way');
	sql($node, q{ALTER ROLE bystander PASSWORD 'mine'});
	ok(poll_until(sub { sql($node, q{SELECT count(*) FROM rotor.audit WHERE secret = 'bystander' AND event = 'password_changed_outside'}) eq '1' }),
		'a change of a role by somebody else is recorded');
	is(progress('state'), 'running', 'while it runs');
	append_to_file($open, '');
	end_call($call);
	set_conf($node, 'rotor.verify_port' => 0, 'rotor.connect_timeout' => '5s');
	stop_listener($gate);
	sql($node, q{SELECT rotor.unmanage('bystander')});
}

#---------------------------------------------------------------------------------------------------------------------
# A crash in the middle

for my $mode ('immediate', 'kill9', 'fast')
{
	my %former = passwords(map { $quoted{$_} } @roles);
	my $gate = proxy($node, sub { my ($note) = @_; $note->('login'); });

	set_conf($node, 'rotor.verify_port' => $gate->{port});
	my $call = start_call($node, q{SELECT * FROM rotor.rotate_all(reason => 'crash')});
	poll_until(sub { noted($gate, 'login') >= 10 });
	if ($mode eq 'kill9')
	{
		my @pids = split /\n/, sql($node, 'SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()');
		$node->kill9;
		start_again($node, @pids);
	}
	else
	{
		$node->stop($mode);
		$node->start;
	}
	end_call($call);
	ok(poll_until(sub { progress('state, remaining') eq 'finished|0' }), "$mode: the emergency goes on after the restart");
	is(progress('total, succeeded'), @roles . '|' . @roles, "$mode: to its end");
	stop_listener($gate);
	set_conf($node, 'rotor.verify_port' => 0);
	my @out = grep { !login($node, $_, current_password($node, $quoted{$_}))->{ok} } @roles;
	is("@out", '', "$mode: I1: every current logs in");
	my @same = grep { $former{$quoted{$_}} eq current_password($node, $quoted{$_}) } @roles;
	is("@same", '', "$mode: none has its leaked password");
}
assert_invariants($node, $_, 'at the end') for map { "user_$_" } 1 .. 3;

#---------------------------------------------------------------------------------------------------------------------
# The extension goes

{
	# Nothing can begin while the roles are being dropped.
	my $holder = holder($node, 'DROP ROLE user_9, user_10');
	my $call = start_call($node, q{SELECT * FROM rotor.rotate_all('default', pattern => 'user\_%')});
	ok(poll_until(sub { progress('state, remaining') eq 'running|2' }), 'an emergency that somebody waits for');
	my $drop = start_call($node, 'DROP EXTENSION rotor');
	my $result = end_call($drop);
	ok($result->{ok}, 'does not hold up DROP EXTENSION') or diag $result->{err};
	$result = end_call($call);
	is($result->{sqlstate}, '42P01', 'and its caller is told that there is nothing left');
	let_go($holder);
}

#---------------------------------------------------------------------------------------------------------------------
# Not preloaded

{
	my $alone = new_cluster('alone');

	sql($alone, "CREATE ROLE a_$_ LOGIN") for 1 .. 40;
	sql($alone, "SELECT rotor.manage('a_$_')") for 1 .. 40;
	is(sql($alone, q{SELECT status, rotations FROM rotor.rotate_all()}), 'success|40', 'not preloaded: rotate_all() does it all');
	assert_invariants($alone, 'a_1', 'not preloaded');
	sql($alone, q{SELECT * FROM rotor.rotate_all(wait => false)});
	is(sql($alone, q{SELECT status, rotations FROM rotor.run_due()}), 'success|40', 'not preloaded: run_due() does what was queued');

	# One worker a look.
	set_conf($alone, 'log_min_messages' => 'debug1');
	my $held = holder($alone, q{COMMENT ON ROLE a_1 IS 'held'});
	my $offset = -s $alone->logfile;
	my $since = time;
	my $call = start_call($alone, q{SELECT * FROM rotor.rotate_all(pattern => 'a\_1')});
	my $started;
	ok(poll_until(sub {
		$started = () = slurp_file($alone->logfile, $offset) =~ /registering background worker "rotor worker/g;
		$started > 6;
	}), 'not preloaded: while a role is locked, who waits looks again');
	# The session and the postmaster write the line.
	cmp_ok($started, '<=', 2 * ((time - $since) / 0.2 + 2), 'not preloaded: after a pause each time');
	sql($alone, 'SELECT pg_cancel_backend(' . call_pid($alone, $call) . ')');
	like(end_call($call)->{detail}, qr/rotor\.run_due\(\) goes on with it/, 'not preloaded: who is cancelled is told what goes on with it');
	no_worker_is_left($alone);
	let_go($held);
	is(sql($alone, q{SELECT status, rotations FROM rotor.run_due()}), 'success|1', 'not preloaded: as it does');
}

done_testing();
