# What workers do for the years by themselves: partitions of the audit in time, and purging what its retention has
# passed, in small transactions, between rotations, once over all workers, and again after a crash.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use RotorTest;
use Test::More;

my $month = q{to_char((now() AT TIME ZONE 'UTC') + interval '1 month', '"audit_"YYYY_MM')};

# Takes next month's partition away, as if nobody had been there to make it.
sub drop_partition
{
	my ($node) = @_;
	my $name = sql($node, "SELECT $month");

	sql($node, "ALTER EXTENSION rotor DROP TABLE rotor.$name; DROP TABLE rotor.$name");
	return $name;
}

# A past of many versions, rotations and audit rows, made of the secret's present ones.
sub grow_old
{
	my ($node, $secret, $count) = @_;

	sql($node, <<"SQL");
INSERT INTO rotor.rotation (id, secret_id, trigger, strategy, step, status, requested_by, queued_at, started_at, finished_at)
SELECT gen_random_uuid(), s.id, 'manual', 'staged', 'done', 'success', 'postgres', t, t, t
FROM rotor.secret s, generate_series(1, $count) n, LATERAL (SELECT now() - interval '500 days' - n * interval '1 minute' AS t) x
WHERE s.name = '$secret';
INSERT INTO rotor.version (id, secret_id, key_id, sealed, created_at, retired_at)
SELECT gen_random_uuid(), s.id, v.key_id, v.sealed, now() - interval '200 days', now() - interval '100 days'
FROM rotor.secret s JOIN rotor.version v ON v.secret_id = s.id AND v.stage = 'current', generate_series(1, $count) n
WHERE s.name = '$secret';
INSERT INTO rotor.audit (at, actor, event, result) SELECT now() - interval '500 days', 'postgres', 'long ago', 'ok' FROM generate_series(1, $count);
SQL
}

my $old = q{(SELECT count(*) FROM rotor.rotation WHERE finished_at < now() - interval '400 days')
	+ (SELECT count(*) FROM rotor.version WHERE retired_at < now() - interval '90 days')
	+ (SELECT count(*) FROM rotor.audit WHERE event = 'long ago')};

#---------------------------------------------------------------------------------------------------------------------
# Preloaded: workers do it

{
	my $node = new_cluster('preloaded', preload => 1);

	sql($node, 'CREATE ROLE app_user LOGIN');
	rotate_ok($node, 'app_user', 'a rotation');
	ok(poll_until(sub { sql($node, 'SELECT maintained_at IS NOT NULL FROM rotor.home') eq 't' }),
		'a worker makes a round of maintenance soon after its start');

	# The round is over when whoever makes it rests: the time on record is that of its beginning.
	sql($node, 'SELECT * FROM rotor.run_due()');
	ok(poll_until(sub { sql($node, q{SELECT bool_and(a.state = 'idle' AND a.state_change > h.maintained_at) FROM pg_stat_activity a, rotor.home h WHERE a.backend_type = 'rotor worker'}) eq 't' }),
		'to its end');

	my $round = sql($node, 'SELECT maintained_at FROM rotor.home');
	my $name  = drop_partition($node);
	grow_old($node, 'app_user', 5000);
	like(health_of($node, 'audit_partitions'), qr/^warning .*: 1$/, 'health() misses the partition');
	is(sql($node, "SELECT $old"), '15000', 'what is old is there while no round is due');
	is(sql($node, 'SELECT maintained_at FROM rotor.home'), $round, 'there was no other round meanwhile');

	set_conf($node, 'rotor.maintenance_interval' => '1s');
	rotate_ok($node, 'app_user', 'a caller does not wait for maintenance');
	ok(poll_until(sub { sql($node, "SELECT $old") eq '0' }), 'workers purge what is old');
	ok(poll_until(sub { sql($node, "SELECT to_regclass('rotor.$name') IS NOT NULL") eq 't' }), 'and make the partition');
	is(sql($node, "SELECT count(*) FROM pg_depend WHERE objid = 'rotor.$name'::regclass AND deptype = 'e'"), '1',
		'which belongs to the extension');
	like(health_of($node, 'audit_partitions'), qr/^ok/, 'health() is content');
	like(health_of($node, 'maintenance'),      qr/^ok/, 'with maintenance too');
	is( sql(
			$node,
			q{SELECT string_agg(k || ' ' || v, ', ' ORDER BY k) FROM (SELECT k, sum(v::bigint) AS v FROM rotor.audit a,
			jsonb_each_text(a.detail) d(k, v) WHERE a.event = 'purged' AND a.actor = '(maintenance)' GROUP BY k) s}),
		'audit_rows 5000, rotations 5000, versions 5000',
		'each row that went is in the audit, once');
	is(sql($node, q{SELECT max(v::bigint) <= 2000 FROM rotor.audit a, jsonb_each_text(a.detail) d(k, v) WHERE a.event = 'purged'}),
		't', 'in small transactions');
	assert_invariants($node, 'app_user', 'after purging');

	# An unmanaged secret goes when its window has passed, and no sooner.
	sql($node, q{SELECT rotor.unmanage('app_user')});
	my $rounds = sql($node, 'SELECT maintained_at FROM rotor.home');
	ok(poll_until(sub { sql($node, "SELECT maintained_at > '$rounds' FROM rotor.home") eq 't' }), 'another round passes');
	is(sql($node, 'SELECT secret FROM rotor.unmanaged'), 'app_user', 'an unmanaged secret stays in its window');
	set_conf($node, 'rotor.recovery_window' => '0');
	ok(poll_until(sub { sql($node, q{SELECT count(*) FROM rotor.secret}) eq '0' }), 'and goes after it');
	is(sql($node, 'SELECT count(*) FROM rotor.version'), '0', 'with its values');

	# Killed in the middle: what a batch removed and its audit row were one transaction.
	sql($node, 'CREATE ROLE second LOGIN');
	rotate_ok($node, 'second', 'a rotation');
	set_conf($node, 'rotor.maintenance_interval' => '0');
	my $before = sql($node, q{SELECT count(*) FROM rotor.audit WHERE event = 'purged'});
	grow_old($node, 'second', 30000);
	set_conf($node, 'rotor.maintenance_interval' => '1s');
	ok(poll_until(sub { sql($node, q{SELECT count(*) FROM rotor.audit WHERE event = 'purged'}) > $before }), 'purging is at work');
	$node->stop('immediate');
	$node->start;
	ok(poll_until(sub { sql($node, "SELECT $old") eq '0' }), 'after a crash it goes on');
	is( sql(
			$node,
			qq{SELECT sum(v::bigint) FROM (SELECT detail FROM rotor.audit WHERE event = 'purged' ORDER BY id OFFSET $before) a,
			jsonb_each_text(a.detail) d(k, v)}),
		'90000',
		'and each row that went was counted once');
	assert_invariants($node, 'second', 'after purging and a crash');
	$node->stop;
}

#---------------------------------------------------------------------------------------------------------------------
# Not preloaded: run_due() does it

{
	my $node = new_cluster('plain');

	sql($node, 'CREATE ROLE app_user LOGIN');
	rotate_ok($node, 'app_user', 'a rotation');
	no_worker_is_left($node);
	grow_old($node, 'app_user', 100);
	my $name = drop_partition($node);
	set_conf($node, 'rotor.maintenance_interval' => '0');
	sql($node, 'SELECT * FROM rotor.run_due()');
	is(sql($node, "SELECT $old"), '300', 'an interval of 0 switches maintenance off');
	set_conf($node, 'rotor.maintenance_interval' => '1s');
	sql($node, q{UPDATE rotor.home SET maintained_at = now() - interval '1 hour'});
	sql($node, 'SELECT * FROM rotor.run_due()');
	is(sql($node, "SELECT $old"), '0', 'run_due() purges before it returns');
	is(sql($node, "SELECT to_regclass('rotor.$name') IS NOT NULL"), 't', 'and makes the partition');
	sql($node, q{UPDATE rotor.home SET maintained_at = now() - interval '1 day'});
	like(health_of($node, 'maintenance'), qr/^warning maintenance is late/, 'health() says if nobody does it');
	sql($node, 'UPDATE rotor.home SET maintained_at = NULL');
	like(health_of($node, 'maintenance'), qr/^ok/, 'but not on the first day, before anybody has');
	sql($node, q{UPDATE rotor.secret SET created_at = now() - interval '1 day'});
	like(health_of($node, 'maintenance'), qr/^warning maintenance is late/, 'and after it again');
	$node->stop;
}

done_testing();
