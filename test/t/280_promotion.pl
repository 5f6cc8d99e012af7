# A primary that is lost in the middle of a rotation, at each of its steps, with a standby that has all, that has confirmed all,
# and that has lost what came after: once promoted, the role accepts the version labelled current at once, and the rotation comes
# to its end by the new primary's worker, each step done once.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorTest;
use Test::More;

my $keys    = PostgreSQL::Test::Utils::tempdir('keys') . '/rotor.key';
my $primary = new_cluster('node_0', preload => 1, init => { allows_streaming => 1 },
	hba  => [ 'local replication postgres trust', 'host all all 127.0.0.1/32 scram-sha-256' ],
	conf => "rotor.key_file = '$keys'\nrotor.poll_interval = '200ms'\nrotor.workers = 1\n"
	  . "rotor.connect_timeout = '10min'\nrotor.lock_timeout = '10min'\n");
my $count = 0;

sub version_of
{
	my ($node) = @_;
	return sql($node, q{SELECT rotor.get_secret('app_user') ->> 'version_id'});
}

sub new_standby
{
	my $standby = PostgreSQL::Test::Cluster->new('node_' . ++$count);

	$primary->backup("for_$count");
	$standby->init_from_backup($primary, "for_$count", has_streaming => 1);
	$standby->append_conf('postgresql.conf', 'port = ' . $standby->port . "\nrotor.verify_port = 0\nsynchronous_standby_names = ''\n");
	$standby->start;
	return $standby;
}

sub waits_for_a_lock
{
	my ($node) = @_;
	return poll_until(sub { sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rotor worker' AND wait_event_type = 'Lock'}) eq '1' });
}

# A rotation of app_user that stands still before a step: (what holds it, the call), for go_on().
sub stand_before
{
	my ($step, $gate) = @_;
	my $rotate  = q{SELECT status FROM rotor.rotate('app_user')};
	my $change  = 'ALTER ROLE app_user CONNECTION LIMIT 50';
	my $arrived = arrivals($gate);
	my ($holder, $call);

	if ($step eq 'create')
	{
		$holder = holder($primary, q{COMMENT ON ROLE app_user IS 'held'});
		sql($primary, q{SELECT rotor.rotate('app_user', wait => false)});
		return ($holder, undef);
	}
	$holder = holder($primary, $change) if $step eq 'set';
	close_gate($gate);
	$call = start_call($primary, $rotate);
	return ($holder, $call) if $step eq 'set' && waits_for_a_lock($primary);
	poll_until(sub { arrivals($gate) > $arrived }) or die 'no login came';
	return (undef, $call) if $step eq 'test';
	$holder = holder($primary, $step eq 'finish' ? 'SELECT * FROM rotor.saved_verifier FOR UPDATE' : $change);
	open_gate($gate, $step eq 'undo');
	waits_for_a_lock($primary) or die 'the worker does not wait';
	return ($holder, $call);
}

sql($primary, 'CREATE ROLE app_user LOGIN');
rotate_ok($primary, 'app_user', 'given a secret') for 1 .. 2;

for my $mode ('asynchronous', 'synchronous', 'cut off')
{
	for my $step (qw(create set test finish undo))
	{
		subtest "a standby that is $mode, before step $step" => sub {
			my $standby = new_standby();
			my $gate    = new_gate($primary);
			my $former  = version_of($primary);
			my $end     = $step eq 'undo' ? 'rolled_back' : 'success';
			my $on_record = { create => 'create', set => 'set', test => 'test', finish => 'test', undo => 'undo' }->{$step};

			set_conf($primary, 'synchronous_standby_names' => '*') if $mode eq 'synchronous';
			my ($holder, $call) = stand_before($step, $gate);
			my ($id, $version) = split /\|/, last_rotation($primary, 'app_user', 'id, version_id');
			is(last_rotation($primary, 'app_user', 'step'), $on_record, "given a rotation that is at step $on_record on record");
			ok(poll_until(sub { sql($primary, 'SELECT sync_state FROM pg_stat_replication') eq ($mode eq 'synchronous' ? 'sync' : 'async') }), 'and a standby as it is meant');
			$primary->wait_for_catchup($standby->name, 'replay', $primary->lsn('flush'));
			if ($mode eq 'cut off')
			{
				set_conf($standby, 'primary_conninfo' => '');
				poll_until(sub { sql($standby, 'SELECT count(*) FROM pg_stat_wal_receiver') eq '0' }) or die 'the standby is not cut off';
				open_gate($gate) if $step =~ /set|test/;
				let_go($holder);
				ok(poll_until(sub { last_rotation($primary, 'app_user', 'status') eq $end }), 'which the primary brings to its end, and nobody else knows');
			}
			$primary->kill9;
			stop_listener($gate);
			end_call($call) if $call;
			$standby->promote;
			current_logs_in($standby, 'app_user', 'once promoted, the version labelled current logs in at once');
			ok( poll_until(sub { sql($standby, 'SELECT count(*) FROM rotor.rotation WHERE finished_at IS NULL') eq '0' }),
				'the rotation comes to an end');
			is(last_rotation($standby, 'app_user', 'id, status'), "$id|$end", "the same one, as $end");
			my $now = version_of($standby);
			is($now, $step eq 'undo' ? $former : $version || last_rotation($standby, 'app_user', 'version_id'), 'with the version that is meant');
			isnt($now, $former, 'which is another one') if $step ne 'undo';
			is(sql($standby, "SELECT string_agg(DISTINCT event || ' ' || n, ', ' ORDER BY event || ' ' || n) FROM
					(SELECT event, count(*) AS n FROM rotor.audit WHERE rotation = '$id' AND event IN ('value_sealed', 'password_set', 'finished', 'rolled_back') GROUP BY event) e"),
				($step eq 'undo' ? 'password_set 1, rolled_back 1, value_sealed 1' : 'finished 1, password_set 1, value_sealed 1'), 'each step was done once');
			is(password_of($standby, 'app_user', 'previous') ne '' ? 'one' : 'none', 'one', 'there is a previous version');
			assert_invariants($standby, 'app_user', 'after the promotion');
			rotate_ok($standby, 'app_user', 'and another rotation');
			no_crash_in($standby);
			let_go($holder);
			$primary->clean_node;
			$primary = $standby;
		};
	}
}

done_testing();
