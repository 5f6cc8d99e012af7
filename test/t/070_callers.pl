# Who calls rotate(), from where, with what open, how often at once, and what becomes of it when the caller goes away.
use strict;
use warnings;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorTest;
use Test::More;

my $node = new_cluster('callers', preload => 1,
	hba  => [ 'local all delegate,app_user trust', 'host all all 127.0.0.1/32 scram-sha-256' ],
	conf => "rotor.workers = 2\nrotor.lock_timeout = '1min'\nrotor.connect_timeout = '2min'\nrotor.poll_interval = '200ms'\nmax_connections = 60\n");

sql($node, 'CREATE ROLE app_user LOGIN; CREATE ROLE delegate LOGIN');
rotate_ok($node, 'app_user', 'before anything');
my $state = role_state($node, 'app_user');

#---------------------------------------------------------------------------------------------------------------------
# What the caller has not committed

for my $case (
	[ 'CREATE ROLE fresh LOGIN', 'fresh', 'a role that this transaction has made' ],
	[ q{ALTER ROLE app_user PASSWORD 'x'}, 'app_user', 'a role that it has changed' ],
	[ 'ALTER ROLE app_user CONNECTION LIMIT 5', 'app_user', 'a role that it has changed otherwise' ],
	[ q{CREATE ROLE fresh LOGIN; SELECT rotor.manage('fresh')}, 'fresh', 'a role that it has taken under management' ],
	[ q{SELECT rotor.manage('delegate')}, 'delegate', 'a secret that it has made' ],
	[ q{UPDATE rotor.policy SET length = 40 WHERE name = 'default'}, 'app_user', 'a policy that it has changed' ],
	[ q{INSERT INTO rotor.policy (name) VALUES ('mine'); SELECT rotor.manage('app_user', policy => 'mine')}, 'app_user', 'a policy that it has made' ])
{
	my ($before, $secret, $name) = @$case;

	my $error = fails($node, "BEGIN; $before; SELECT rotor.rotate('$secret')", '55000', qr/Commit first/, $name);
	is(role_state($node, 'app_user'), $state, "$name: the role is as it was");
}
is(sql($node, q{SELECT count(*) FROM rotor.secret}), '1', 'nothing stays of that');
fails($node, q{SELECT rotor.rotate('nobody')}, '42704', qr/neither a secret nor a role/, 'a role that does not exist');

# In a subtransaction that is undone, in a function, in a DO block
is(sql($node, q{BEGIN; SAVEPOINT s; SELECT status FROM rotor.rotate('app_user'); ROLLBACK TO s; COMMIT}), 'success', 'in a subtransaction that is undone');
succeeds($node, q{DO $$BEGIN PERFORM rotor.rotate('app_user'); RAISE 'undone'; EXCEPTION WHEN raise_exception THEN NULL; END$$}, 'in a block that fails afterwards');
assert_invariants($node, 'app_user', 'subtransactions');
is(sql($node, q{SELECT count(*) FROM rotor.rotations WHERE status = 'success'}), '3', 'each of them has been done');

#---------------------------------------------------------------------------------------------------------------------
# Rights

fails($node, q{SELECT rotor.rotate('app_user')}, '42501', undef, 'a role without any right', user => 'delegate');
fails($node, q{SET ROLE delegate; SELECT rotor.rotate('app_user')}, '42501', undef, 'a superuser who has become that role');
sql($node, q{SELECT rotor.grant_access('app_user', 'delegate', 'rotate')});
is(sql($node, q{SELECT status FROM rotor.rotate('app_user')}, user => 'delegate'), 'success', 'a role with the right to rotate');
is(sql($node, q{SELECT requested_by FROM rotor.rotations ORDER BY queued_at DESC LIMIT 1}), 'delegate', 'is on record');
fails($node, q{SELECT rotor.get_secret('app_user')}, '42501', undef, 'but may not read', user => 'delegate');
sql($node, <<'SQL');
CREATE FUNCTION public.rotate_it() RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS $$SELECT status FROM rotor.rotate('app_user')$$;
SELECT rotor.revoke_access('app_user', 'delegate', 'rotate');
SQL
is(sql($node, 'SELECT public.rotate_it()', user => 'delegate'), 'success', q{a superuser's SECURITY DEFINER function lends the right});
sql($node, 'CREATE ROLE other_user LOGIN');
rotate_ok($node, 'other_user', 'another secret');
sql($node, q{SELECT rotor.grant_access('other_user', 'delegate', 'manage')});
fails($node, q{BEGIN; SELECT rotor.rotate('app_user'); ROLLBACK}, '42501', qr/app_user/, 'a role with a right on another secret', user => 'delegate');
like(slurp_file($node->logfile), qr/rotor: event="rotate" secret="app_user" actor="delegate".*result="refused"/,
	'a refused call is a line of the server log, which rolling back cannot hide');
assert_invariants($node, 'app_user', 'rights');

#---------------------------------------------------------------------------------------------------------------------
# The caller goes away while the password is being proved

{
	my $hanging = proxy($node, sub { my ($note) = @_; $note->('reached'); poll_until(sub { -e $node->data_dir . '/go_on' }) });
	my $go_on   = sub { append_to_file($node->data_dir . '/go_on', '') };
	my $reached = 0;

	set_conf($node, 'rotor.verify_port' => $hanging->{port});

	# $call is psql's input; $work is done once the login has begun.
	my $goes_away = sub {
		my ($name, $sql, $work, $pattern) = @_;
		my $old = current_password($node, 'app_user');
		my ($out, $err) = ('', '');

		unlink $node->data_dir . '/go_on';
		my $caller = IPC::Run::start([ 'psql', '-XAtqw', '-v', 'VERBOSITY=verbose', '-d', 'host=' . $node->host . ' port=' . $node->port . ' dbname=postgres application_name=caller',
				'-c', $sql ], '<', '/dev/null', '>', \$out, '2>', \$err, IPC::Run::timeout(120));
		$reached++;
		ok(poll_until(sub { noted($hanging, 'reached') == $reached }), "$name: the login has begun");
		$work->($caller);
		$caller->finish;
		like($err, $pattern, "$name: the caller is told") if $pattern;
		is(last_rotation($node, 'app_user', 'status'), 'verifying', "$name: the rotation goes on");
		logs_in($node, 'app_user', current_password($node, 'app_user'), "$name: I1: the version labelled current logs in meanwhile");
		$go_on->();
		ok(poll_until(sub { last_rotation($node, 'app_user', 'status') eq 'success' }), "$name: and comes to its end");
		ok($old ne current_password($node, 'app_user'), "$name: the password is another");
		assert_invariants($node, 'app_user', $name);
	};
	my $rotate = q{SELECT status FROM rotor.rotate('app_user')};
	my $cancel = sub { sql($node, q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'caller'}) };

	$goes_away->('a cancelled caller', $rotate, $cancel, qr/57014.*DETAIL:.*goes on/s);
	$goes_away->('a caller whose session is ended', $rotate,
		sub { sql($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'caller'}) }, qr/57P01|terminat/);
	$goes_away->('a caller with a statement_timeout', "SET statement_timeout = '8s'; $rotate", sub { }, qr/57014.*DETAIL:.*goes on/s);
	$goes_away->('a caller who is killed', $rotate, sub { $_[0]->signal('KILL') }, undef);
	$go_on->();
	set_conf($node, 'rotor.verify_port' => 0);
	stop_listener($hanging);
}

#---------------------------------------------------------------------------------------------------------------------
# Many at once

{
	my $count = 12;

	# Of the same role: one at a time, whoever asks.
	my @callers = map {
		my %caller = (out => '', err => '');
		$caller{run} = IPC::Run::start([ 'psql', '-XAtqw', '-v', 'VERBOSITY=verbose', '-d', 'host=' . $node->host . ' port=' . $node->port . ' dbname=postgres',
				'-c', q{SELECT status FROM rotor.rotate('app_user')} ], '<', '/dev/null', '>', \$caller{out}, '2>', \$caller{err}, IPC::Run::timeout(120));
		\%caller;
	} 1 .. $count;
	$_->{run}->finish for @callers;
	my @good    = grep { $_->{out} eq "success\n" } @callers;
	my @refused = grep { $_->{err} =~ /55006: a rotation is already active/ } @callers;
	cmp_ok(scalar @good, '>=', 1, 'many callers for one role: one at least succeeds');
	is(@good + @refused, $count, 'I4: each of the others is told that a rotation is active')
	  or diag join '', map { $_->{err} } @callers;
	is(sql($node, 'SELECT count(*) FROM rotor.rotation WHERE finished_at IS NULL'), '0', 'and nothing is left over');
	is( sql($node, <<'SQL'), '0', 'I4: no two rotations of the role overlap');
SELECT count(*) FROM rotor.rotation a JOIN rotor.rotation b ON a.secret_id = b.secret_id AND a.id < b.id
WHERE tstzrange(a.started_at, a.finished_at, '()') && tstzrange(b.started_at, b.finished_at, '()')
SQL
	assert_invariants($node, 'app_user', 'many callers for one role');

	# Of a role each: two workers serve them all.
	sql($node, join ';', map { "CREATE ROLE many_$_ LOGIN" } 1 .. $count);
	@callers = map {
		my %caller = (out => '', err => '');
		$caller{run} = IPC::Run::start([ 'psql', '-XAtqw', '-d', 'host=' . $node->host . ' port=' . $node->port . ' dbname=postgres',
				'-c', "SELECT status FROM rotor.rotate('many_$_')" ], '<', '/dev/null', '>', \$caller{out}, '2>', \$caller{err}, IPC::Run::timeout(120));
		\%caller;
	} 1 .. $count;
	$_->{run}->finish for @callers;
	is(scalar(grep { $_->{out} eq "success\n" } @callers), $count, 'many callers for a role each: all succeed')
	  or diag join '', map { $_->{err} } @callers;
	is(sql($node, q{SELECT count(*) FROM rotor.coverage WHERE role LIKE 'many%' AND in_sync}), $count, 'and all are in sync');

	# One role's hanging login holds up no other.
	my $hanging = fake_server(hang => 1);
	sql($node, q{INSERT INTO rotor.policy (name, backoff, backoff_max) VALUES ('slow', '30 days', '30 days')});
	sql($node, q{SELECT rotor.manage('app_user', policy => 'slow')});
	set_conf($node, 'rotor.verify_port' => $hanging->{port}, 'rotor.connect_timeout' => '60s');
	sql($node, q{SELECT rotor.rotate('app_user', wait => false)});
	ok(poll_until(sub { noted($hanging, 'connection') == 1 }), 'the login of one role hangs');
	set_conf($node, 'rotor.verify_port' => 0);
	my $started = time;
	rotate_ok($node, 'many_1', 'another role is rotated meanwhile');
	cmp_ok(time - $started, '<', 30, 'without waiting for the first one');
	stop_listener($hanging);
	ok(poll_until(sub { last_rotation($node, 'app_user', 'attempt') eq '1' && worker_of($node, 'app_user') eq '' }), 'the login that hung has failed');
	rotate_ok($node, 'app_user', 'and succeeds later');
	assert_invariants($node, $_, 'a login that hung') for qw(app_user many_1);
}

unlike(slurp_file($node->logfile), qr/PANIC|TRAP:|terminated by signal (?!9)/, 'no process has crashed');
$node->stop;

#---------------------------------------------------------------------------------------------------------------------
# Two databases, not preloaded: roles belong to the cluster

{
	my $two = new_cluster('two', conf => "rotor.connect_timeout = '2min'\n");

	sql($two, 'CREATE DATABASE second; CREATE ROLE app_user LOGIN');
	sql($two, 'CREATE EXTENSION rotor', dbname => 'second');
	rotate_ok($two, 'app_user', 'from one database');
	my $held = $two->background_psql('postgres');
	$held->query_safe('SELECT pg_advisory_lock(7)');
	sql($two, q{UPDATE rotor.policy SET verify_query = 'SELECT pg_advisory_lock_shared(7)'});
	my $session = $two->background_psql('postgres', on_error_stop => 0);
	$session->query_until(qr/begun/, qq{\\echo begun\nSELECT status FROM rotor.rotate('app_user');\n});
	ok(poll_until(sub { sql($two, q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rotor verification' AND wait_event = 'advisory'}) eq '1' }),
		'a rotation runs in one database');
	rotate_fails($two, 'app_user', '55006', qr/already active/, 'I4: the other one is told so', dbname => 'second');
	$held->quit;
	$session->quit;
	is(last_rotation($two, 'app_user', 'status'), 'success', 'I4: a rotation in the other database does not disturb it');
	logs_in($two, 'app_user', current_password($two, 'app_user'), 'its password logs in');
	no_worker_is_left($two);
	rotate_ok($two, 'app_user', 'afterwards, from the other database', dbname => 'second');
	logs_in($two, 'app_user', sql($two, q{SELECT rotor.get_secret('app_user') ->> 'password'}, dbname => 'second'), 'who came last knows the password');
	$two->stop;
}

done_testing();
