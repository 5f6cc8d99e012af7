# Data keys: a new one is made while rotations and reads go on, values move to it, wherever a crash or a lock comes in
# between; and without the master key nothing moves and nothing is lost.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorTest;
use RotorCrash;
use Test::More;

my $folder = PostgreSQL::Test::Utils::tempdir('data_keys');
my $file   = "$folder/master.key";

sub write_file
{
	my ($path, $text) = @_;

	unlink $path;
	append_to_file($path, $text);
	chmod 0600, $path or die "$path: $!";
}

# "state versions saved_verifiers" of each data key, oldest first.
sub keys_of
{
	my ($node) = @_;
	return sql($node, q{SELECT string_agg(concat_ws(' ', state, versions, saved_verifiers), ', ' ORDER BY created_at) FROM rotor.keys});
}

# A digest of every value, by its version: equal if and only if all open, and to the same values.
sub values_of
{
	my ($node) = @_;
	return sql($node, <<'SQL');
SELECT md5(string_agg(v.id::text || (rotor.get_secret(s.name, v.stage) ->> 'password'), ' ' ORDER BY v.id))
FROM rotor.version v JOIN rotor.secret s ON s.id = v.secret_id WHERE v.stage IS NOT NULL
SQL
}

my $node = new_cluster('data_keys', preload => 1, init => { allows_streaming => 1 },
	hba => [ 'local replication postgres trust', 'host all all 127.0.0.1/32 scram-sha-256' ], conf => <<"CONF");
rotor.key_file = '$file'
rotor.poll_interval = '100ms'
rotor.lock_timeout = '2min'
rotor.workers = 2
restart_after_crash = on
CONF
sql($node, q{UPDATE rotor.policy SET scram_iterations = 1});
my @roles = map { "user_$_" } 1 .. 24;
sql($node, join ";\n", map { "CREATE ROLE $_ LOGIN" } @roles, 'app_user');
# Ten versions each: more than a worker moves in one transaction.
sql($node, join(";\n", map { my $role = $_; map { "SELECT (rotor.rotate('$role')).status" } 1 .. 10 } @roles), timeout => 600);
rotate_ok($node, 'app_user', 'given a role more') for 1 .. 2;
my $total = 242;
is(keys_of($node), "active $total 0", 'given one data key, which all values need');
my $before = values_of($node);

# Whoever moves value number N waits for the session that this returns, in the middle of its transaction.
sql($node, <<'SQL');
CREATE SEQUENCE public.moved;
CREATE TABLE public.stop (at bigint);
CREATE FUNCTION public.stop() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('public.moved') = (SELECT at FROM public.stop) THEN PERFORM pg_advisory_xact_lock(42); END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER stop BEFORE UPDATE OF key_id ON rotor.version FOR EACH ROW EXECUTE FUNCTION public.stop();
SQL

sub stop_at
{
	my ($n) = @_;

	sql($node, "TRUNCATE public.stop;\nINSERT INTO public.stop VALUES ($n);\nSELECT setval('public.moved', 1, false)");
	return holder($node, 'SELECT pg_advisory_xact_lock(42)');
}

sub who_waits
{
	my $pid = '';

	poll_until(sub { $pid = sql($node, q{SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}) }) or die 'nobody waits';
	return $pid;
}

#---------------------------------------------------------------------------------------------------------------------
# By the caller

subtest 'in one transaction, and rolled back' => sub {
	my $result = sql($node, <<'SQL');
BEGIN;
SELECT rotor.rotate_data_key() IS NOT NULL;
SELECT rotor.reseal(0), rotor.reseal(5);
SELECT versions FROM rotor.keys WHERE active;
SELECT rotor.reseal();
SELECT string_agg(state, ' ' ORDER BY created_at), count(*) FROM rotor.keys;
SELECT rotor.reseal();
ROLLBACK;
SQL
	is($result, join("\n", 't', '0|5', 5, $total - 5, 'unused active|2', '0'), 'all values move, and no more than asked for');
	is(keys_of($node), "active $total 0", 'and are back');
	is(values_of($node), $before, 'as they were');
};

subtest 'rotations go on while a new data key is not committed' => sub {
	my $holder = holder($node, 'SELECT rotor.rotate_data_key()');

	rotate_ok($node, 'app_user', 'a rotation');
	$total++;
	is(sql($node, q{SELECT count(*) FROM rotor.data_key}), '1', 'uses the key that it knows');
	my $second = start_call($node, 'SELECT rotor.rotate_data_key() IS NOT NULL');
	ok(waits_for_lock($node, call_pid($node, $second)), 'another new data key waits');
	let_go($holder);
	ok(end_call($second)->{ok}, 'and comes, when the first is rolled back');
	ok(poll_until(sub { keys_of($node) eq "unused 0 0, active $total 0" }), 'workers move all values to it') or diag keys_of($node);
	assert_invariants($node, 'app_user', 'after that');
	is(sql($node, q{SELECT actor, sum((detail ->> 'moved')::int) FROM rotor.audit_log WHERE event = 'values_resealed' GROUP BY 1}),
		"(schedule)|$total", 'the audit tells of it');
};

#---------------------------------------------------------------------------------------------------------------------
# What somebody has locked

subtest 'values that somebody has locked are left, and moved later' => sub {
	my $holder = holder($node, q{SELECT v.id FROM rotor.version v JOIN rotor.secret s ON s.id = v.secret_id WHERE s.name = 'app_user' FOR UPDATE OF v});
	my $locked = sql($node, q{SELECT count(*) FROM rotor.version v JOIN rotor.secret s ON s.id = v.secret_id WHERE s.name = 'app_user'});

	is(sql($node, "BEGIN;\nSELECT rotor.rotate_data_key() IS NULL;\nSELECT rotor.reseal();\nROLLBACK"), "f\n" . ($total - $locked), 'reseal() does not wait for them');
	sql($node, 'SELECT rotor.rotate_data_key()');
	ok(poll_until(sub { keys_of($node) eq "unused 0 0, resealing $locked 0, active " . ($total - $locked) . ' 0' }), 'nor do workers') or diag keys_of($node);
	let_go($holder);
	ok(poll_until(sub { keys_of($node) eq "unused 0 0, unused 0 0, active $total 0" }), 'when they are free, they are moved') or diag keys_of($node);
	assert_invariants($node, 'app_user', 'after that');
};

subtest 'the way back of a rotation is sealed anew too, and still is the way back' => sub {
	my $gate     = new_gate($node);
	my $password = current_password($node, 'app_user');
	my $state    = role_state($node, 'app_user');
	my $arrived  = arrivals($gate);

	close_gate($gate);
	my $call = start_call($node, q{SELECT status FROM rotor.rotate('app_user')});
	ok(poll_until(sub { arrivals($gate) > $arrived }), 'given a rotation between set and test');
	$total++;
	sql($node, 'SELECT rotor.rotate_data_key()');
	ok(poll_until(sub { keys_of($node) =~ /^(unused 0 0, )+active $total 1$/ }), 'the saved verifier is moved with the values') or diag keys_of($node);
	open_gate($gate, 1);
	ok(!end_call($call)->{ok}, 'the login is refused');
	is(last_rotation($node, 'app_user', 'status'), 'rolled_back', 'and the rotation rolled back');
	is(role_state($node, 'app_user'), $state, 'the role has its former password, byte for byte');
	is(current_password($node, 'app_user') eq $password ? 'same' : 'other', 'same', 'and rotor says so');
	open_gate($gate);
	set_conf($node, 'rotor.verify_port' => 0);
	stop_listener($gate);
	rotate_ok($node, 'app_user', 'the next rotation');
	$total++;
	assert_invariants($node, 'app_user', 'after that');
};

#---------------------------------------------------------------------------------------------------------------------
# While a client rotates and reads

subtest 'master keys and data keys are rotated while clients rotate and read' => sub {
	# Each client has roles of its own: two rotations of one role at once are refused.
	my @rotate = map {
		my $first = $_;
		start_call($node, [ map { "SELECT status FROM rotor.rotate('$roles[$first + rand 6]')" } 1 .. 40 ]);
	} 0, 6;
	my @read = map { start_call($node, [ (q{SELECT count(rotor.get_secret(name)), count(rotor.get_secret(name, 'previous')) FROM rotor.secret}) x 60 ]) } 1 .. 2;
	my $rounds = 0;

	while (grep { is_running($_) } @rotate, @read)
	{
		sql($node, "SET client_min_messages = warning;\nSELECT rotor.add_master_key()");
		sql($node, 'SELECT rotor.rewrap_keys()');
		sql($node, 'SELECT rotor.rotate_data_key()');
		sql($node, 'SELECT rotor.reseal(50)');
		$rounds++;
	}
	cmp_ok($rounds, '>', 1, 'keys were rotated meanwhile');
	for my $call (@rotate)
	{
		my $result = end_call($call);
		is(() = $result->{out} =~ /success/g, 40, 'every rotation succeeded') or diag $result->{err};
	}
	for my $call (@read)
	{
		my $result = end_call($call);
		is($result->{err}, '', 'no read failed');
		is(join(' ', grep { $_ ne '25|25' } split /\n/, $result->{out}), '', 'every read found all values');
	}
	ok(poll_until(sub { keys_of($node) =~ /^(unused 0 0, )+active \d+ 0$/ }), 'all values come to the last data key') or diag keys_of($node);
	sql($node, 'SELECT rotor.rewrap_keys()');
	is(sql($node, 'SELECT count(DISTINCT master_key_id) FROM rotor.data_key'), '1', 'and all data keys to the last master key');
	assert_invariants($node, $_, $_) for @roles[ 0, 11 ], 'app_user';
};
$total = sql($node, 'SELECT count(*) FROM rotor.version');
$before = values_of($node);

#---------------------------------------------------------------------------------------------------------------------
# Crashes in the middle

sub resealed
{
	my ($name) = @_;

	ok(poll_until(sub { keys_of($node) =~ /^(unused 0 0, )+active $total 0$/ }), "$name: workers go on by themselves, to the end") or diag keys_of($node);
	is(values_of($node), $before, "$name: every value is as it was");
	assert_invariants($node, 'app_user', $name);
}

for my $case (
	[ 'a worker is killed',   sub { kill 'KILL', $_[0] },                            0 ],
	[ 'a worker is terminated', sub { sql($node, "SELECT pg_terminate_backend($_[0])") }, 0 ],
	[ 'a caller is killed',   sub { kill 'KILL', $_[0] },                            1 ],
	[ 'a caller is cancelled', sub { sql($node, "SELECT pg_cancel_backend($_[0])") }, 1 ],
	[ 'the postmaster is killed', undef, 0 ])
{
	my ($name, $happen, $by_caller) = @$case;

	subtest "$name in the middle of moving values" => sub {
		my $offset = -s $node->logfile;
		my $gate   = stop_at(60);
		my $call   = $by_caller && start_call($node, [ 'BEGIN', 'SELECT rotor.rotate_data_key()', 'SELECT rotor.reseal()' ]);

		sql($node, 'SELECT rotor.rotate_data_key()') unless $by_caller;
		my $pid = who_waits();
		if ($happen)
		{
			$happen->($pid);
			$name =~ /killed/ ? server_is_back($node, $offset) : poll_until(sub { sql($node, "SELECT count(*) FROM pg_locks WHERE pid = $pid AND NOT granted") eq '0' });
		}
		else
		{
			my @pids = split /\n/, sql($node, 'SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()');
			$node->kill9;
			start_again($node, @pids);
		}
		let_go($gate);
		ok(!end_call($call)->{ok}, 'the caller is told') if $call;
		is(values_of($node), $before, 'every value is as it was');
		ok(poll_until(sub { keys_of($node) =~ /^(unused 0 0, )+active $total 0$/ }), 'all come to the active data key') or diag keys_of($node);
		is(values_of($node), $before, 'and are as they were');
		rotate_ok($node, $roles[-1], 'a rotation after that');
		$total++;
		$before = values_of($node);
		assert_invariants($node, 'app_user', 'after that');
	};
}
sql($node, 'TRUNCATE public.stop');

#---------------------------------------------------------------------------------------------------------------------
# Old data keys go when nothing needs them

subtest 'data keys that nothing needs are retired, and no others' => sub {
	my $unused = sql($node, q{SELECT string_agg('data_key|' || id, chr(10) ORDER BY created_at, id) FROM rotor.keys WHERE state = 'unused'});
	my $active = sql($node, 'SELECT id FROM rotor.keys WHERE active');

	like($unused, qr/\n/, 'given data keys that nothing needs');
	is(sql($node, "BEGIN;\nSELECT count(*) > 0 FROM rotor.retire_keys();\nROLLBACK;\nSELECT count(*) > 1 FROM rotor.keys"), "t\nt", 'a rollback brings them back');
	is(sql($node, q{SELECT kind, id FROM rotor.retire_keys() WHERE kind = 'data_key'}), $unused, 'retire_keys() returns them');
	is(sql($node, 'SELECT id FROM rotor.data_key'), $active, 'and they are gone');
	is(sql($node, q{SELECT string_agg('data_key|' || id, chr(10)) FROM (SELECT jsonb_array_elements_text(detail -> 'data_keys') AS id
		FROM rotor.audit_log WHERE event = 'keys_retired' AND detail -> 'data_keys' <> '[]') d}), $unused, 'the audit says which');
	is(values_of($node), $before, 'every value is as it was');
	is(sql($node, q{SELECT count(*) FROM rotor.retire_keys() WHERE kind = 'data_key'}), '0', 'once more: there are none');
};

subtest 'a data key that a worker is just sealing with is not retired' => sub {
	# The worker has sealed a value, and waits to insert it; readers do not wait.
	my $holder = holder($node, 'LOCK TABLE rotor.version IN SHARE ROW EXCLUSIVE MODE');
	my $call = start_call($node, q{SELECT status FROM rotor.rotate('app_user')});
	my $worker = wait_for_worker($node, 'app_user');
	ok(waits_for_lock($node, $worker), 'given a worker between sealing and insert');
	my $used = sql($node, 'SELECT id FROM rotor.keys WHERE active');

	$holder->query_safe('SELECT rotor.rotate_data_key()');
	$holder->query_safe('SELECT rotor.reseal()');
	is($holder->query_safe("SELECT versions FROM rotor.keys WHERE id = '$used'"), '0', 'and its data key without a value');
	is($holder->query_safe(q{SELECT count(*) FROM rotor.retire_keys() WHERE kind = 'data_key'}), '0', 'it is not retired');
	let_go($holder, 'COMMIT');
	is(end_call($call)->{out}, 'success', 'the rotation goes on');
	$total++;
	ok(poll_until(sub { keys_of($node) eq "unused 0 0, active $total 0" }), 'its value is moved') or diag keys_of($node);
	is(sql($node, q{SELECT id FROM rotor.retire_keys() WHERE kind = 'data_key'}), $used, 'and then it is');
	assert_invariants($node, 'app_user', 'after that');
	$before = values_of($node);
};

#---------------------------------------------------------------------------------------------------------------------
# Without run_due() and workers

subtest 'not preloaded, run_due() moves values' => sub {
	my $other = new_cluster('data_keys_plain', conf => "rotor.key_file = '$folder/plain.key'\n");

	sql($other, 'CREATE ROLE app_user LOGIN');
	rotate_ok($other, 'app_user', 'given a value') for 1 .. 3;
	no_worker_is_left($other);
	like(succeeds($other, 'SELECT rotor.rotate_data_key()', 'rotate_data_key()')->{notices}, qr/not preloaded/, 'says that nothing runs by itself');
	is(keys_of($other), 'resealing 3 0, active 0 0', 'nothing is moved by itself');
	sql($other, 'SELECT * FROM rotor.run_due()');
	is(keys_of($other), 'unused 0 0, active 3 0', 'run_due() moves them');
	assert_invariants($other, 'app_user', 'after that');
	$other->stop;
};

#---------------------------------------------------------------------------------------------------------------------
# A standby

subtest 'a standby reads what was moved' => sub {
	my $standby = PostgreSQL::Test::Cluster->new('data_keys_standby');

	$node->backup('base');
	$standby->init_from_backup($node, 'base', has_streaming => 1);
	$standby->append_conf('postgresql.conf', 'port = ' . $standby->port . "\n");
	$standby->start;
	my $caught_up = sub { $node->wait_for_catchup($standby, 'replay', $node->lsn('insert')) };
	$caught_up->();
	my $session = $standby->background_psql('postgres');
	my $digest = q{SELECT md5(rotor.get_secret('app_user') ->> 'password')};
	my $expected = sql($node, $digest);
	is($session->query_safe($digest), $expected, 'given a session of a standby that reads');
	sql($node, 'SELECT rotor.rotate_data_key()');
	ok(poll_until(sub { keys_of($node) =~ /^(unused 0 0, )+active $total 0$/ }), 'given values under a new data key');
	$caught_up->();
	is($session->query_safe($digest), $expected, 'the session reads on');
	is(sql($standby, $digest), $expected, 'a new one too');
	sql($node, "SET client_min_messages = warning;\nSELECT rotor.add_master_key('for_the_standby')");
	sql($node, 'SELECT rotor.rewrap_keys()');
	$caught_up->();
	is(sql($standby, $digest), $expected, 'under a new master key too, where the standby has it');
	fails($standby, "SELECT rotor.$_", '25006', qr/standby/, "$_ on a standby") for qw(rotate_data_key() reseal() add_master_key());
	$session->quit;
	$standby->stop;
};

#---------------------------------------------------------------------------------------------------------------------
# Damage

subtest 'a damaged value stays, and all others are moved' => sub {
	my $id = sql($node, q{SELECT v.id FROM rotor.version v JOIN rotor.secret s ON s.id = v.secret_id WHERE s.name = 'user_2' AND v.stage = 'previous'});
	my $flip = "UPDATE rotor.version SET sealed = set_bit(sealed, 40, 1 - get_bit(sealed, 40)) WHERE id = '$id'";

	sql($node, $flip);
	my $result = attempt($node, "BEGIN;\nSELECT rotor.rotate_data_key() IS NULL;\nSELECT rotor.reseal();\nROLLBACK");
	is($result->{out}, "f\n" . ($total - 1), 'reseal() moves the others');
	like($result->{err}, qr/WARNING:\s+XX001:.*damaged.*: 1\n.*HINT/s, 'and warns');
	sql($node, 'SELECT rotor.rotate_data_key()');
	ok(poll_until(sub { keys_of($node) =~ /resealing 1 0, active @{[ $total - 1 ]} 0$/ }), 'so do workers') or diag keys_of($node);
	ok(poll_until(sub { slurp_file($node->logfile) =~ /damaged stay under their data key: 1/ }), 'who tell the log');
	sql($node, $flip);
	ok(poll_until(sub { keys_of($node) =~ /unused 0 0, active $total 0$/ }), 'when it is mended, it is moved') or diag keys_of($node);
};

#---------------------------------------------------------------------------------------------------------------------
# Without the master key

subtest 'without the master key nothing moves, and the error says which is missing' => sub {
	my $text = slurp_file($file);
	my ($needed) = sql($node, 'SELECT DISTINCT master_key_id FROM rotor.data_key');

	# Values that wait to be moved, and workers that have not opened a key yet.
	set_conf($node, 'rotor.workers' => 0);
	$node->restart;
	sql($node, 'SELECT rotor.rotate_data_key()');
	my $keys = keys_of($node);
	like($keys, qr/resealing $total 0, active 0 0$/, 'given values that wait to be moved');
	my $state = sql($node, 'SELECT md5(string_agg(d::text, $$ $$ ORDER BY id)) FROM rotor.data_key d');
	set_conf($node, 'rotor.workers' => 2);

	for my $case ([ 'no file', sub { unlink $file } ], [ 'a file without it', sub { write_file($file, $text =~ s/^\Q$needed\E:.*\n//mr) } ])
	{
		my ($name, $how) = @$case;
		my $offset = -s $node->logfile;

		$how->();
		$node->restart;
		for my $call (q{rotor.get_secret('app_user') IS NULL}, 'rotor.rewrap_keys()', 'rotor.rotate_data_key()', 'rotor.reseal()', 'rotor.retire_keys()')
		{
			my $error = fails($node, "SELECT $call", '58P01', qr/"\Q$needed\E"/, "$name: $call");
			ok($error->{hint}, "$name: $call: there is a remedy");
		}
		ok(poll_until(sub { log_since($node, $offset) =~ /resealing failed: .*"\Q$needed\E"/ }), "$name: workers tell the log");
		is(sql($node, 'SELECT md5(string_agg(d::text, $$ $$ ORDER BY id)) FROM rotor.data_key d'), $state, "$name: the data keys are as they were");
		is(keys_of($node), $keys, "$name: no value has moved");
	}
	write_file($file, $text);
	is(values_of($node), $before, 'it is back: every value is as it was');
	is(sql($node, 'SELECT rotor.reseal()'), $total, 'and all are moved');
	rotate_ok($node, 'app_user', 'rotations go on');
	assert_invariants($node, 'app_user', 'after that');
};

no_crash_in($node);
$node->stop;
done_testing();
