# No generated value is to be found anywhere: not in the server's log, its statistics, rotor's tables, WAL, heap files,
# dumps, or shared memory, with every setting on that makes a server talkative, after successes of every kind and failures
# of every kind. Values planted on purpose prove that each search can fail.

use strict;
use warnings;
use IPC::Run ();
use MIME::Base64 qw(encode_base64);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorTest;
use RotorCrash;
use RotorLeaks;
use Test::More;

my $library_folder = do { chomp(my $path = `@{[ $ENV{PG_CONFIG} // 'pg_config' ]} --pkglibdir`); $path };
my $has_pgaudit = -e "$library_folder/pgaudit.so";
my $version = do { (`@{[ $ENV{PG_CONFIG} // 'pg_config' ]} --version` =~ /PostgreSQL (\d+)/)[0] };
my $has_proc = -d '/proc/self';

my @libraries = ('rotor', 'pg_stat_statements', ($has_pgaudit ? 'pgaudit' : ()), 'auto_explain', 'passwordcheck');
my $hook = ($ENV{ROTOR_TOP} // '..') . '/test/modules/refuse_password';

my $talkative = <<'CONF';
wal_level = logical
max_wal_senders = 4
max_replication_slots = 4
max_worker_processes = 16
full_page_writes = on
restart_after_crash = on
log_min_messages = debug2
log_min_error_statement = debug5
log_error_verbosity = verbose
log_statement = all
log_min_duration_statement = 0
log_duration = on
log_parameter_max_length = -1
log_parameter_max_length_on_error = -1
debug_print_parse = on
debug_print_rewritten = on
debug_print_plan = on
debug_pretty_print = off
log_lock_waits = on
deadlock_timeout = '50ms'
log_connections = on
log_disconnections = on
log_replication_commands = on
log_temp_files = 0
track_activity_query_size = '64kB'
compute_query_id = on
pg_stat_statements.track = all
pg_stat_statements.track_utility = on
auto_explain.log_min_duration = 0
auto_explain.log_analyze = on
auto_explain.log_verbose = on
auto_explain.log_settings = on
auto_explain.log_nested_statements = on
rotor.lock_timeout = '500ms'
rotor.poll_interval = '300ms'
CONF
$talkative .= "pgaudit.log = 'all'\npgaudit.log_parameter = on\npgaudit.log_relation = on\npgaudit.log_statement = on\n" if $has_pgaudit;
$talkative .= "auto_explain.log_parameter_max_length = -1\n" if $version >= 16;

my $control = 'Planted-by-the-test.' . join '', map { ('a' .. 'z', 0 .. 9)[ rand 36 ] } 1 .. 24;

my ($node, %values, %snapshots);

sub lines { return join ";\n", @_ }

#---------------------------------------------------------------------------------------------------------------------
# What is collected

sub collect_values
{
	my ($name) = @_;
	my @got = sealed_values($node);

	$values{$_} = 1 for @got;
	note "$name: " . @got . ' values';
	return scalar @got;
}

# What only a moment shows.
sub take_snapshot
{
	my ($name) = @_;

	$snapshots{"$_->[0], $name"} = sql($node, $_->[1], timeout => 300)
	  for [ 'pg_stat_activity', 'SELECT a.* FROM pg_stat_activity a' ], [ 'pg_stat_statements', 'SELECT s.* FROM pg_stat_statements s' ];
	$snapshots{"shared memory, $name"} = join '', map { -r $_ && -f _ ? slurp_file($_) : '' } glob '/dev/shm/PostgreSQL.*' if -d '/dev/shm';
}

#---------------------------------------------------------------------------------------------------------------------
# Successes and failures

# A rotation of the role, held where $lock makes it wait: what is to be seen then, and what follows.
sub held
{
	my ($name, $role, $gate, $lock, $then) = @_;
	my $arrived = arrivals($gate);
	my $holder;

	if ($lock) { $holder = holder($node, $lock) }
	else       { close_gate($gate) }
	my $call = start_call($node, "SELECT status FROM rotor.rotate('$role')");
	if ($lock) { waits_for_lock($node, wait_for_worker($node, $role)) }
	else       { poll_until(sub { arrivals($gate) > $arrived }) }
	take_snapshot($name);
	$then->($call, $role);
	let_go($holder);
	open_gate($gate);
	end_call($call);
	sql($node, 'SELECT * FROM rotor.run_due()');
	ok(poll_until(sub { active_rotations($node, $role) eq '0' }), "$name: the rotation has ended");
}

sub set_policy
{
	my ($set) = @_;
	sql($node, "UPDATE rotor.policy SET $set WHERE name = 'default'");
}

sub successes
{
	my $rotate = sub {
		my ($name, $call) = @_;
		my $result = attempt($node, $call // "SELECT status FROM rotor.rotate('app_user')");
		ok($result->{ok}, "$name succeeds") or diag $result->{err};
		# What was only queued, and where the server does nothing by itself.
		sql($node, 'SELECT * FROM rotor.run_due()');
		poll_until(sub { active_rotations($node, 'app_user') eq '0' });
	};

	$rotate->('the first rotation');
	$rotate->('a staged one');
	$rotate->('an immediate one', q{SELECT status FROM rotor.rotate('app_user', strategy => 'immediate')});
	$rotate->('one with a reason', q{SELECT status FROM rotor.rotate('app_user', reason => 'it''s time', terminate_sessions => true)});
	$rotate->('a rollback', q{SELECT status FROM rotor.rollback('app_user')});
	$rotate->('a queued one', q{SELECT status FROM rotor.rotate('app_user', wait => false)});
	for my $policy (q{type = 'hex', length = 48}, q{type = 'uuid'}, q{type = 'password', length = 200}, q{length = 32, scram_iterations = 100},
		q{rotation_interval = '1 day', valid_until_margin = '1 day'}, q{exclude = '''"\'}, q{verify_query = 'SELECT current_user, 1'})
	{
		set_policy($policy);
		$rotate->("the policy $policy");
	}
	set_policy(q{exclude = '', scram_iterations = NULL, verify_query = NULL, rotation_interval = NULL, valid_until_margin = NULL});
	sql($node, q{ALTER ROLE app_user VALID UNTIL 'infinity'});
	sql($node, 'ALTER ROLE app_user CONNECTION LIMIT 0');
	$rotate->('a login that is barred');
	sql($node, 'ALTER ROLE app_user CONNECTION LIMIT -1');
	sql($node, q{CREATE ROLE "Odd 'Name"" %s\\" LOGIN});
	$rotate->('an odd name', q{SELECT status FROM rotor.rotate('Odd ''Name" %s\\')});

	# A server of old habits.
	set_conf($node, 'password_encryption' => 'md5');
	set_hba($node, 'host all all 127.0.0.1/32 md5');
	sql($node, 'CREATE ROLE md5_user LOGIN');
	sql($node, qq{ALTER ROLE md5_user PASSWORD 'md5@{[ 'ab' x 16 ]}'});
	$rotate->('a role with an md5 password', q{SELECT status FROM rotor.rotate('md5_user')});
	is(sql($node, q{SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolname = 'md5_user'}), 't', 'which has a SCRAM verifier then');
	set_conf($node, 'password_encryption' => 'scram-sha-256');
	set_hba($node, 'host all all 127.0.0.1/32 scram-sha-256');

	# Readers.
	sql($node, lines(map { "SELECT rotor.$_ IS NOT NULL" } q{get_secret('app_user')}, q{get_secret('app_user', 'previous')}, q{connection_uri('app_user')},
			q{describe('app_user')}, q{generate_password()}, q{generate_password('default')}, q{generate_hex()}, q{generate_uuid()}));
	sql($node, q{DO $$DECLARE s jsonb; BEGIN s := rotor.get_secret('app_user'); END$$});
	sql($node, q{PREPARE p(text) AS SELECT rotor.get_secret($1) IS NOT NULL; EXECUTE p('app_user')} =~ s/; /;\n/r);
}

sub failures
{
	my ($gate, $preload) = @_;
	my $fails = sub {
		my ($name, $sql) = @_;
		my $result = attempt($node, $sql // q{SELECT status FROM rotor.rotate('app_user')});
		ok(!$result->{ok}, "$name fails");
		return $result;
	};
	my $unpends = sub {
		sql($node, 'SELECT * FROM rotor.run_due()');
		poll_until(sub { sql($node, 'SELECT * FROM rotor.run_due()'); active_rotations($node, 'app_user') eq '0' });
	};

	# Bad arguments.
	$fails->($_, "SELECT $_") for q{rotor.rotate(NULL)}, q{rotor.rotate('nobody')}, q{rotor.rotate('app_user', strategy => 'dual_write')},
	  q{rotor.rotate('app_user', strategy => 'x')}, q{rotor.rotate('app_user', wait => NULL)}, q{rotor.rotate('app_user', reason => repeat('x', 100000))},
	  q{rotor.get_secret('nobody')}, q{rotor.get_secret('app_user', 'x')}, q{rotor.rollback('nobody')}, q{rotor.cancel(gen_random_uuid())},
	  q{rotor.requeue(gen_random_uuid())}, q{rotor.connection_uri('nobody')}, q{rotor.generate_password(4)}, q{rotor.manage('nobody')};
	$fails->('a role without the right', "SET ROLE nobody_special;\nSELECT rotor.get_secret('app_user')");
	$fails->('an error right after reading', q{SELECT 1 / (length(rotor.get_secret('app_user') ->> 'password') * 0)});
	$fails->('a rotation inside a transaction that fails', "BEGIN;\nSELECT status FROM rotor.rotate('app_user');\nSELECT 1/0");

	# A password check of the server: passwordcheck wants more than letters.
	set_policy(q{digits = false, symbols = false});
	$fails->('a value that a password check refuses');
	set_policy(q{digits = true, symbols = true});

	# Logins that prove nothing.
	set_hba($node, 'host all all 127.0.0.1/32 trust');
	$fails->('a server that asks for no password');
	set_hba($node, 'host all all 127.0.0.1/32 reject');
	$fails->('a server that rejects');
	set_hba($node, 'host all all 127.0.0.1/32 scram-sha-256');
	open_gate($gate, 1);
	$fails->('a login that is refused');
	is(last_rotation($node, 'app_user', 'status'), 'rolled_back', 'and is rolled back');
	open_gate($gate);
	my $listener = fake_server(ask => 1, error => '28P01');
	set_conf($node, 'rotor.verify_port' => $listener->{port});
	$fails->('a login to somebody who asks for the password in clear');
	stop_listener($listener);
	$fails->('a login to where nobody listens');
	set_conf($node, 'rotor.verify_port' => $gate->{port});
	$unpends->();

	# The verification query.
	set_policy(q{verify_query = 'SELECT 1/0'});
	attempt($node, q{SELECT status FROM rotor.rotate('app_user')});
	set_policy(q{verify_query = 'SELECT current_setting(''is_superuser''), now()'});
	attempt($node, q{SELECT status FROM rotor.rotate('app_user')});
	set_policy('verify_query = NULL');
	$unpends->();

	# Roles that are not fit.
	sql($node, 'ALTER ROLE app_user NOLOGIN');
	$fails->('a role that may not log in');
	sql($node, q{ALTER ROLE app_user LOGIN VALID UNTIL '2000-01-01'});
	$fails->('a role that has expired');
	sql($node, q{ALTER ROLE app_user VALID UNTIL 'infinity'});
	sql($node, 'CREATE ROLE gone LOGIN');
	attempt($node, q{SELECT status FROM rotor.rotate('gone')});
	collect_values('before a role is dropped');
	sql($node, 'DROP ROLE gone');
	$fails->('a role that was dropped', q{SELECT status FROM rotor.rotate('gone')});

	# Locks.
	for my $lock (q{LOCK TABLE rotor.version IN ACCESS EXCLUSIVE MODE}, q{SELECT FROM pg_authid WHERE rolname = 'app_user' FOR UPDATE},
		q{LOCK TABLE rotor.saved_verifier IN ACCESS EXCLUSIVE MODE}, q{SELECT FROM rotor.secret WHERE name = 'app_user' FOR NO KEY UPDATE},
		q{LOCK TABLE rotor.audit IN ACCESS EXCLUSIVE MODE})
	{
		$fails->($lock, lines('BEGIN', $lock, q{SELECT status FROM rotor.rotate('app_user')}));
		$unpends->();
	}

	# The key.
	my $key = $node->data_dir . '/rotor.key';
	rename $key, "$key.away" or die "$key: $!";
	sql($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'rotor worker'});
	$fails->('reading without the key', q{SELECT rotor.get_secret('app_user')});
	attempt($node, q{SELECT status FROM rotor.rotate('app_user')});
	append_to_file($key, "wrong:key\n");
	chmod 0600, $key;
	$fails->('reading with a bad key', q{SELECT rotor.get_secret('app_user')});
	rename "$key.away", $key or die "$key: $!";
	$unpends->();

	# Workers and callers that end in the middle.
	set_conf($node, 'rotor.lock_timeout' => '10min', 'rotor.connect_timeout' => '10min');
	my $row = q{SELECT FROM pg_authid WHERE rolname = 'app_user' FOR UPDATE};
	my $worker = sub { worker_of($node, 'app_user') };
	my $kill = sub {
		my $offset = -s $node->logfile;
		collect_values('before a crash') if !$_[2];
		take_snapshot('before a crash');
		kill 'KILL', $worker->();
		server_is_back($node, $offset);
	};
	held('cancelled before set',  'app_user', $gate, $row, sub { sql($node, 'SELECT pg_cancel_backend(' . call_pid($node, $_[0]) . ')') });
	held('cancelled after set',   'app_user', $gate, undef, sub { sql($node, 'SELECT pg_cancel_backend(' . call_pid($node, $_[0]) . ')') });
	held('terminated before set', 'app_user', $gate, $row, sub { sql($node, 'SELECT pg_terminate_backend(' . $worker->() . ')') });
	held('terminated after set',  'app_user', $gate, undef, sub { sql($node, 'SELECT pg_terminate_backend(' . $worker->() . ')') });
	held('worker cancelled at set', 'app_user', $gate, $row, sub { sql($node, 'SELECT pg_cancel_backend(' . $worker->() . ')') });
	held('killed at create', 'app_user', $gate, 'LOCK TABLE rotor.version IN ACCESS EXCLUSIVE MODE', sub { $kill->(@_, 1) });
	held('killed before set', 'app_user', $gate, $row,  $kill);
	held('killed after set',  'app_user', $gate, undef, $kill);
	set_conf($node, 'rotor.lock_timeout' => '500ms', 'rotor.connect_timeout' => '5s');

	# A password check that prints what it is given, where the module is there.
	hostile_hook($preload) if -d $hook;
}

# The module that refuses passwords, told to say the password in its message; what it was given it writes to a file of ours.
sub hostile_hook
{
	my ($preload) = @_;
	my $record = PostgreSQL::Test::Utils::tempdir('refused') . '/values';
	my $module = build_module('refuse_password');
	my @usual  = grep { $preload || $_ ne 'rotor' } @libraries;

	$node->append_conf('postgresql.conf', "shared_preload_libraries = '" . join(',', @usual, $module) . "'\nrefuse_password.record = '$record'\n");
	$node->restart;
	for my $leak (qw(plain quoted))
	{
		set_conf($node, 'refuse_password.plaintexts' => 'on', 'refuse_password.leak' => $leak);
		for my $call (q{SELECT status FROM rotor.rotate('app_user')}, q{SELECT status FROM rotor.rollback('app_user')}, q{SELECT * FROM rotor.run_due()})
		{
			my $result = attempt($node, $call);
			$snapshots{"what the caller is told, $leak, $call"} = "$result->{err} $result->{out}";
		}
		like(last_rotation($node, 'app_user', 'status'), qr/failed|cancelled/, "a password check that tells the password ($leak) refuses");
		take_snapshot("a password check that tells the password, $leak");
	}
	set_conf($node, 'refuse_password.plaintexts' => 'off');
	my @refused = split /\n/, slurp_file($record);
	cmp_ok(scalar(@refused), '>=', 4, 'the password check was given values');
	$values{$_} = 1 for @refused;
	collect_values('a password check that tells the password');
	$node->append_conf('postgresql.conf', "shared_preload_libraries = '" . join(',', @usual) . "'\n");
	$node->restart;
	rotate_ok($node, 'app_user', 'without it, rotation works again');
}

#---------------------------------------------------------------------------------------------------------------------
# Processes that hold values in memory

sub is_sheltered
{
	my ($pid, $name) = @_;

	SKIP: {
		skip 'there is no /proc', 2 unless $has_proc;
		skip 'root reads everything', 2 if $> == 0;
		is((stat "/proc/$pid/maps")[4], 0, "$name: /proc/PID belongs to root");
		ok(!open(my $handle, '<', "/proc/$pid/environ"), "$name: the server's own user cannot look into it");
	}
}

sub processes
{
	my ($gate) = @_;

	SKIP: {
		skip 'there is no /proc', 1 unless $has_proc;
		my $plain = sql($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'});
		is((stat "/proc/$plain/maps")[4], $>, 'another process of the server is not sheltered, so the test can fail');
	}
	for my $pid (split /\n/, sql($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'rotor worker'}))
	{
		is_sheltered($pid, 'a worker');
	}
	close_gate($gate);
	my $arrived = arrivals($gate);
	my $call = start_call($node, q{SELECT status FROM rotor.rotate('app_user')});
	poll_until(sub { arrivals($gate) > $arrived });
	is_sheltered(worker_of($node, 'app_user'), 'a worker that is at it');
	open_gate($gate);
	is(end_call($call)->{out}, 'success', 'its rotation succeeds');

	my $reader = $node->background_psql('postgres');
	my $pid = $reader->query_safe('SELECT pg_backend_pid()');
	$reader->query_safe(q{SELECT rotor.get_secret('app_user') IS NOT NULL});
	is_sheltered($pid, 'a session that has read a secret');
	$reader->quit;
}

#---------------------------------------------------------------------------------------------------------------------
# The search

# The planted value goes where the others must not be found.
sub plant
{
	sql($node, lines('CREATE TABLE planted (value text)', "INSERT INTO planted VALUES ('$control')", "ALTER ROLE nobody_special PASSWORD '$control'",
			"INSERT INTO rotor.policy (name, description) VALUES ('planted', '$control')"));
	my $call = start_call($node, "SELECT pg_sleep(600) /* $control */");
	my $pid = call_pid($node, $call);
	poll_until(sub { sql($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid AND query ~ 'pg_sleep'") eq '1' });
	take_snapshot('with the planted value');
	sql($node, "SELECT pg_terminate_backend($pid)");
	end_call($call);
}

sub search
{
	my ($name) = @_;
	my @wanted  = keys %values;
	my @planted = ($control);
	my $tables  = '';

	sql($node, 'CHECKPOINT');
	sql($node, 'SELECT pg_switch_wal()');
	$tables .= sql($node, "SELECT to_jsonb(t) FROM rotor.$_ t", timeout => 300) . "\n"
	  for split /\n/, sql($node, q{SELECT quote_ident(relname) FROM pg_class WHERE relnamespace = 'rotor'::regnamespace AND relkind IN ('r', 'v', 'm', 'p')});
	my $decoded = sql($node, q{SELECT data FROM pg_logical_slot_peek_changes('leaks', NULL, NULL)}, timeout => 600);
	my $waldump = '';
	my @dump = ('-h', $node->host, '-p', $node->port);
	my (%dumps, $error);
	IPC::Run::run([ 'pg_dumpall', '-w', @dump ], '>', \$dumps{pg_dumpall}, '2>', \$error) or die "pg_dumpall: $error";
	IPC::Run::run([ 'pg_dump', '-w', @dump, '-Fp', 'postgres' ], '>', \$dumps{'pg_dump -Fp'}, '2>', \$error) or die "pg_dump: $error";
	for my $segment (grep { /\/[0-9A-F]{24}$/ } glob $node->data_dir . '/pg_wal/*')
	{
		# The end of the last segment is no record: that is not an error of ours.
		IPC::Run::run([ 'pg_waldump', '-b', $segment ], '>', \my $out, '2>', \my $ignored);
		$waldump .= $out;
	}

	my %texts = (%dumps, 'rotor.* tables and views' => $tables, 'logical decoding' => $decoded, 'pg_waldump' => $waldump, %snapshots);
	my %files = (
		"the server's log" => [ $node->logfile ],
		'WAL'              => [ $node->data_dir . '/pg_wal' ],
		'heap files'       => [ map { $node->data_dir . "/$_" } qw(base global) ],
		'the rest of the data directory' => [ grep { !/\/(base|global|pg_wal)$/ } glob $node->data_dir . '/*' ],
		"the test's own log" => [ $PostgreSQL::Test::Utils::log_path ],
		'temporary files'  => [ $ENV{TMPDIR} // '/tmp/nowhere' ]);
	my %can_fail = map { $_ => 1 } "the server's log", 'WAL', 'heap files', 'the rest of the data directory', 'pg_dumpall', 'pg_dump -Fp',
	  'rotor.* tables and views', 'logical decoding', 'pg_stat_activity, with the planted value', 'pg_stat_statements, with the planted value';

	cmp_ok(scalar(keys %values), '>=', 10, "$name: " . keys(%values) . ' values are searched for');
	for my $where (sort keys %texts)
	{
		is(findings_in_text(\@wanted, $texts{$where}), 0, "$name: no value in $where");
		cmp_ok(findings_in_text(\@planted, $texts{$where}), '>', 0, "$name: the planted value is found in $where") if delete $can_fail{$where};
	}
	for my $where (sort keys %files)
	{
		is(findings(\@wanted, @{ $files{$where} }), 0, "$name: no value in $where");
		cmp_ok(findings(\@planted, @{ $files{$where} }), '>', 0, "$name: the planted value is found in $where") if delete $can_fail{$where};
	}
	is(join(', ', sort keys %can_fail), '', "$name: every search that can be proved was proved");
}

# The search itself finds each form.
sub search_finds
{
	my $value = q{aB3'x"9\\Lm%zq~7 Klq0vT_w-R5};
	(my $quoted = $value) =~ s/'/''/g;
	(my $percent = $value) =~ s/([^A-Za-z0-9._~-])/sprintf '%%%02X', ord $1/ge;
	my %written = (
		plain => $value, quoted => "PASSWORD '$quoted'", hex => '\\x' . unpack('H*', $value), 'upper-case hex' => uc unpack('H*', $value),
		percent => "postgresql://u:$percent\@h", reversed => scalar reverse($value), json => '"' . $value =~ s/(["\\])/\\$1/gr . '"',
		(map { +"base64 at $_" => encode_base64(('y' x $_) . $value . 'zz', '') } 0 .. 2));

	cmp_ok(findings_in_text([$value], "before $written{$_} behind"), '>', 0, "the search finds a value that is written $_") for sort keys %written;
	is(findings_in_text([$value], join ' ', map { "$_" } 1 .. 10000), 0, 'and nothing where nothing is');
}

#---------------------------------------------------------------------------------------------------------------------

search_finds();

for my $preload (1, 0)
{
	my $name = $preload ? 'preloaded' : 'not preloaded';
	%values = %snapshots = ();
	$node = new_cluster($preload ? 'talkative' : 'talkative_one_shot', extension => 0,
		conf => $talkative . "shared_preload_libraries = '" . join(',', grep { $preload || $_ ne 'rotor' } @libraries) . "'\n"
		  . ($preload ? '' : "session_preload_libraries = 'rotor'\n"));
	sql($node, lines('CREATE EXTENSION pg_stat_statements', ($has_pgaudit ? 'CREATE EXTENSION pgaudit' : ()), 'CREATE EXTENSION rotor'));
	sql($node, q{SELECT pg_create_logical_replication_slot('leaks', 'test_decoding')});
	sql($node, lines('CREATE ROLE app_user LOGIN', 'CREATE ROLE nobody_special'));
	short_backoff($node);

	subtest "$name: successes" => \&successes;
	collect_values('after the successes');
	take_snapshot('after the successes');
	my $gate = new_gate($node);
	subtest "$name: processes" => sub { processes($gate) };
	subtest "$name: failures" => sub { failures($gate, $preload) };
	rotate_ok($node, 'app_user', "$name: after all of this, rotation works");
	assert_invariants($node, 'app_user', "$name: at the end");
	collect_values('at the end');
	take_snapshot('at the end');
	plant();
	subtest "$name: search" => sub { search($name) };

	my $log = slurp_file($node->logfile);
	SKIP: {
		skip 'pgaudit is not installed', 1 unless $has_pgaudit;
		like($log, qr/AUDIT: [^\n]*ALTER ROLE app_user PASSWORD/, "$name: pgaudit sees the ALTER ROLE");
	}
	like($log, qr/(?:parse tree|plan):.{0,200}rotor/s, "$name: the log is as talkative as it was meant to be");
	no_crash_in($node);
	stop_listener($gate);
	$node->stop;
}

done_testing();
