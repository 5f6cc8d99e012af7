# Servers that are set up in odd ways, one at a time: what test/environments.sh does not run the whole suite for.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorTest;
use Test::More;
use Time::HiRes qw(time);

my $node;

sub lines { return join ";\n", @_ }

#---------------------------------------------------------------------------------------------------------------------
# Serializable, read-only and deferrable: a query would wait until nobody writes

subtest 'the verification query waits for nobody' => sub {
	$node = new_cluster('deferrable', preload => 1,
		conf => "default_transaction_isolation = 'serializable'\ndefault_transaction_deferrable = on\n");
	sql($node, lines('CREATE ROLE app_user LOGIN', 'CREATE TABLE beat AS SELECT 1 AS beat', 'GRANT SELECT ON beat TO app_user',
		q{UPDATE rotor.policy SET verify_query = 'SELECT beat FROM beat' WHERE name = 'default'}));
	my $writer = holder($node, 'INSERT INTO beat SELECT max(beat) + 1 FROM beat');
	is($writer->query_safe('SHOW transaction_isolation'), 'serializable', 'given a serializable transaction that has written and goes on');
	rotate_ok($node, 'app_user', 'rotate() with a verification query');
	is(last_rotation($node, 'app_user', q{coalesce(note, 'none')}), 'none', 'the query went through');
	let_go($writer);
	assert_invariants($node, 'app_user', 'serializable and deferrable');
	$node->stop;
};

#---------------------------------------------------------------------------------------------------------------------
# Synchronous replication

sub backup_of
{
	my ($primary, $name) = @_;
	my $standby = PostgreSQL::Test::Cluster->new($name);

	$primary->backup($name);
	$standby->init_from_backup($primary, $name, has_streaming => 1);
	return $standby;
}

sub waits_for_standby
{
	my ($pid) = @_;
	return poll_until(sub { sql($node, "SELECT wait_event FROM pg_stat_activity WHERE pid = $pid") eq 'SyncRep' });
}

sub rotor_worker { return sql($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'rotor worker'}) }

# The worker of a call that waits for the standby, in the commit of a step.
sub worker_in_commit
{
	my $pid = '';
	poll_until(sub { $pid = sql($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'rotor worker' AND wait_event = 'SyncRep'}) })
	  or die 'no worker waits for the standby';
	return $pid;
}

subtest 'a synchronous standby is promoted in the middle of rotations' => sub {
	$node = new_cluster('sync_primary', preload => 1, init => { allows_streaming => 1 }, conf => "rotor.workers = 1\nrotor.poll_interval = '300ms'\n",
		hba => [ 'local replication postgres trust', 'host all all 127.0.0.1/32 scram-sha-256' ]);
	sql($node, lines('CREATE ROLE app_user LOGIN', 'CREATE ROLE other_user LOGIN', 'CREATE ROLE third_user LOGIN'));
	short_backoff($node);
	rotate_ok($node, $_, 'before') for qw(app_user other_user third_user);
	my $standby = backup_of($node, 'sync_standby');
	$standby->append_conf('postgresql.conf', "rotor.verify_port = 0\n");
	$standby->start;
	set_conf($node, 'synchronous_standby_names' => '*');
	poll_until(sub { sql($node, q{SELECT sync_state FROM pg_stat_replication}) eq 'sync' });
	rotate_ok($node, 'app_user', 'with a synchronous standby');

	# The standby is away: whoever commits waits.
	$standby->stop;
	my $former = current_password($node, 'app_user');
	my $state = role_state($node, 'app_user');
	my $call = start_call($node, [ q{SET statement_timeout = '3s'}, q{SELECT status FROM rotor.rotate('app_user')} ]);
	my $worker = worker_in_commit();
	my $result = end_call($call);
	is($result->{sqlstate}, '57014', 'without the standby, the caller can be cancelled');
	like($result->{detail}, qr/cancelled before the role was changed/, 'and knows that the role was not changed');
	is(role_state($node, 'app_user'), $state, 'it was not');
	ok(waits_for_standby($worker), 'the worker waits on');

	# Terminated while it waits: its step is committed here, and the next worker goes on with it.
	sql($node, "SELECT pg_terminate_backend($worker)");
	ok(poll_until(sub { sql($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $worker") eq '0' }), 'a worker that waits can be terminated');
	$standby->start;
	ok(poll_until(sub { active_rotations($node, 'app_user') eq '0' }), 'with the standby again, its rotation ends');
	assert_invariants($node, 'app_user', 'after the wait');

	# One is set, one is queued, when the primary is lost.
	my $gate = new_gate($node);
	close_gate($gate);
	my $arrived = arrivals($gate);
	$call = start_call($node, q{SELECT status FROM rotor.rotate('app_user')});
	poll_until(sub { arrivals($gate) > $arrived });
	sql($node, q{SELECT rotor.rotate('other_user', wait => false)});
	my %current = map { $_ => current_password($node, $_) } qw(app_user other_user third_user);
	$node->stop('immediate');
	open_gate($gate);
	ok(!end_call($call)->{ok}, 'the primary is lost: the call ends');
	$standby->promote;
	$node = $standby;
	for my $role (qw(app_user other_user))
	{
		ok(poll_until(sub { active_rotations($node, $role) eq '0' }), "promoted: the rotation of $role ends by itself");
		is(last_rotation($node, $role, 'status'), 'success', 'well');
		assert_invariants($node, $role, "promoted, $role");
	}
	is($current{app_user} eq current_password($node, 'app_user') ? 1 : 0, 1, 'what was set before is what is current after it');
	is($current{other_user} eq current_password($node, 'other_user') ? 1 : 0, 0, 'what was queued is another password');
	is($current{third_user} eq current_password($node, 'third_user') ? 1 : 0, 1, 'and who was not asked for has the same');
	no_crash_in($node);
	stop_listener($gate);
	$node->stop;
};

#---------------------------------------------------------------------------------------------------------------------
# No connection is left

subtest 'connections are exhausted' => sub {
	my @held;

	$node = new_cluster('connections', preload => 1, conf => "max_connections = 8\nsuperuser_reserved_connections = 3\nmax_wal_senders = 0\n",
		hba => [ 'local all plain trust', 'host all all 127.0.0.1/32 scram-sha-256' ]);
	sql($node, lines('CREATE ROLE app_user LOGIN', 'CREATE ROLE plain LOGIN'));
	rotate_ok($node, 'app_user', 'before');

	# What is left is for superusers. The server says so after it has checked the password.
	my $caller = $node->background_psql('postgres', on_error_stop => 0);
	$caller->query_safe('SELECT 1');
	push @held, map { $node->background_psql('postgres', extra_params => [ '-U', 'plain' ]) } 1 .. 4;
	$_->query_safe('SELECT 1') for @held;
	is($caller->query_safe(q{SELECT status FROM rotor.rotate('app_user')}), 'success', 'only reserved connections are left: rotate()');
	like($caller->query_safe(q{SELECT note FROM rotor.rotations ORDER BY queued_at DESC LIMIT 1}), qr/the password is right.*53300/, 'a note says what barred the login');

	# Nothing at all is left.
	push @held, map { $node->background_psql('postgres') } 1 .. 3;
	$_->query_safe('SELECT 1') for @held;
	is($caller->query_safe('SELECT count(*) FROM pg_stat_activity WHERE backend_type = $$client backend$$'), '8', 'given 8 sessions of 8');
	$caller->query(q{SELECT status FROM rotor.rotate('app_user')});
	is($caller->query(q{SELECT status, error_code FROM rotor.rotations ORDER BY queued_at DESC LIMIT 1}), 'verifying|53300', 'no connection is left: the login is tried again');
	$_->quit for @held, $caller;
	ok(poll_until(sub { active_rotations($node, 'app_user') eq '0' }), 'with connections again, the rotation ends');
	is(last_rotation($node, 'app_user', 'status'), 'success', 'well');
	assert_invariants($node, 'app_user', 'with connections again');
	no_crash_in($node);
	$node->stop;
};

#---------------------------------------------------------------------------------------------------------------------
# Few places for workers

subtest 'a place for a worker becomes free in time' => sub {
	$node = new_cluster('one_place', conf => "max_worker_processes = 1\nmax_logical_replication_workers = 0\n");
	sql($node, lines('CREATE ROLE app_user LOGIN', 'CREATE ROLE other_user LOGIN'));
	rotate_ok($node, $_, 'before') for qw(app_user other_user);
	my $gate = new_gate($node);
	my $arrived = arrivals($gate);
	close_gate($gate);
	my $first = start_call($node, q{SELECT status FROM rotor.rotate('app_user')});
	poll_until(sub { arrivals($gate) > $arrived });
	my $second = start_call($node, q{SELECT status FROM rotor.rotate('other_user')});
	my $pid = call_pid($node, $second);
	ok(poll_until(sub { sql($node, "SELECT wait_event FROM pg_stat_activity WHERE pid = $pid") eq 'Extension' }), 'given a call that waits for a place');
	open_gate($gate);
	is(end_call($_)->{out}, 'success', 'both succeed, one after the other') for $first, $second;

	# And not in time.
	close_gate($gate);
	$arrived = arrivals($gate);
	$first = start_call($node, q{SELECT status FROM rotor.rotate('app_user')}) ;
	poll_until(sub { arrivals($gate) > $arrived });
	my $state = role_state($node, 'other_user');
	rotate_fails($node, 'other_user', '53400', qr/max_worker_processes has been exhausted.*Raise max_worker_processes/s, 'nobody waits for ever');
	is(role_state($node, 'other_user'), $state, 'the role is as it was');
	open_gate($gate);
	end_call($first);
	sql($node, 'SELECT * FROM rotor.run_due()');
	assert_invariants($node, $_, 'at the end') for qw(app_user other_user);
	stop_listener($gate);
	$node->stop;
};

subtest 'fewer places than rotor.workers' => sub {
	$node = new_cluster('few_places', preload => 1, conf => "rotor.workers = 3\nmax_worker_processes = 1\nmax_logical_replication_workers = 0\n");
	sql($node, 'CREATE ROLE app_user LOGIN');
	rotate_ok($node, 'app_user', 'one worker serves');
	like(health_of($node, 'workers'), qr/^warning 1 of 3 running$/, 'health() warns');
	like(sql($node, q{SELECT hint FROM rotor.health() WHERE check_name = 'workers'}), qr/max_worker_processes/, 'and says what to do');
	sql($node, q{SELECT rotor.rotate('app_user', wait => false)});
	ok(poll_until(sub { active_rotations($node, 'app_user') eq '0' }), 'what is queued is done');
	assert_invariants($node, 'app_user', 'with one worker of three');
	$node->stop;
};

#---------------------------------------------------------------------------------------------------------------------
# Settings that change how every statement is run, all at once

subtest 'a server of odd settings' => sub {
	my $major = ($ENV{PG_CONFIG} // 'pg_config') && (`@{[ $ENV{PG_CONFIG} // 'pg_config' ]} --version` =~ /(\d+)/)[0];
	my $parallel = $major >= 16 ? 'debug_parallel_query' : 'force_parallel_mode';

	$node = new_cluster('odd', extension => 0, conf => <<"CONF");
session_preload_libraries = 'rotor'
$parallel = on
parallel_setup_cost = 0
parallel_tuple_cost = 0
min_parallel_table_scan_size = 0
jit = on
jit_above_cost = 0
jit_inline_above_cost = 0
jit_optimize_above_cost = 0
plan_cache_mode = force_generic_plan
track_functions = all
track_io_timing = on
log_min_messages = debug5
log_min_error_statement = debug5
log_statement_stats = on
debug_print_parse = on
debug_print_rewritten = on
debug_print_plan = on
huge_pages = off
shared_buffers = '1MB'
work_mem = '64kB'
temp_buffers = '800kB'
max_locks_per_transaction = 10
backend_flush_after = '8kB'
autovacuum = on
autovacuum_naptime = '1s'
log_autovacuum_min_duration = 0
CONF
	sql($node, lines('CREATE EXTENSION rotor', 'CREATE ROLE app_user LOGIN', 'ALTER DATABASE postgres SET default_transaction_read_only = on'));
	my $write = 'SET default_transaction_read_only = off';
	for my $call (q{rotor.rotate('app_user')}, q{rotor.rotate('app_user', strategy => 'immediate')}, q{rotor.rollback('app_user')}, q{rotor.run_due()}, q{rotor.health()},
		q{rotor.describe('app_user')}, q{rotor.statistics()}, q{rotor.secrets}, q{rotor.rotations}, q{rotor.coverage}, q{rotor.generate_password()}, q{rotor.generate_hex()})
	{
		succeeds($node, lines($write, "SELECT * FROM $call"), "$call works");
		no_worker_is_left($node);
	}
	fails($node, q{SELECT rotor.rotate('app_user')}, '25006', undef, 'a transaction that is read-only by default is refused');
	sql($node, lines($write, 'SELECT * FROM rotor.run_due()'));
	assert_invariants($node, 'app_user', 'odd settings');
	no_crash_in($node);
	$node->stop;
};

#---------------------------------------------------------------------------------------------------------------------
# Names

subtest 'roles of odd names' => sub {
	use utf8;
	my @names = ('a b', q{O'Brien "the" role}, "two\nlines", "tab\tand\rreturn", 'back\\slash', '%s%n$1', '$user', 'all', 'public role', ';DROP ROLE postgres;--',
		'漢' x 21, 'x' x 63, 'ünï cødé', '@/:?#[]', '{"json":1}', ' leading and trailing ', "it''s", 'ROTOR', '-1', "\x{1F511}");

	$node = new_cluster('names', preload => 1);
	for my $name (@names)
	{
		(my $literal = $name) =~ s/'/''/g;
		(my $identifier = $name) =~ s/"/""/g;
		(my $shown = $name) =~ s/([^\x21-\x7e])/sprintf '<%x>', ord $1/ge;
		utf8::encode(my $role = $name);
		my $owner = "'\"" . $literal =~ s/"/""/gr . "\"'";

		sql($node, qq{CREATE ROLE "$identifier" LOGIN});
		is(sql($node, "SELECT status FROM rotor.rotate('$literal')"), 'success', "$shown: rotate()");
		is(sql($node, "SELECT rotor.get_secret('$literal') ->> 'username' = '$literal'"), 't', "$shown: get_secret() has its name");
		is(sql($node, "SELECT status FROM rotor.rotate('$literal', reason => '$literal')"), 'success', "$shown: once more");
		is(sql($node, "SELECT status FROM rotor.rollback('$literal')"), 'success', "$shown: and back");
		my $login = login($node, $role, password_of_literal($literal));
		ok($login->{ok} || $login->{out} eq $role, "$shown: the current password logs in") or diag $login->{err};
		ok(logs_in_by_uri("SELECT rotor.connection_uri('$literal')", $role), "$shown: and its URI");
		is(sql($node, "SELECT count(*) FROM rotor.audit_log WHERE secret = '$literal' AND event = 'finished'"), '3', "$shown: the audit has its name");
		sql($node, "SELECT rotor.grant_access('$literal', $owner, 'read')");
		sql($node, "SELECT rotor.revoke_access('$literal', $owner, 'read')");
		is(sql($node, "SELECT in_sync FROM rotor.coverage WHERE role = '$literal'"), 't', "$shown: coverage");
		sql($node, "SELECT rotor.unmanage('$literal')");
	}
	like(slurp_file($node->logfile), qr/rotor: event="get_secret" secret="two\\nlines" actor=/, 'a name with a newline begins no line of its own in the audit lines of the log');
	no_crash_in($node);
	$node->stop;
};

sub password_of_literal
{
	my ($literal) = @_;
	return sql($node, "SELECT rotor.get_secret('$literal') ->> 'password'");
}

# A login by a URI, which reaches psql by a file.
sub logs_in_by_uri
{
	my ($sql, $role) = @_;
	my $uri = sql($node, $sql);
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'psql', '-XAtqw', '-d', $uri, '-c', 'SELECT current_user' ], '>', \$out, '2>', \$err);
	chomp $out;
	diag $err if $out ne $role;
	return $out eq $role;
}

done_testing();
