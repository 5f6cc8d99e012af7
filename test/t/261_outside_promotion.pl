# Where nobody was there to notice, rotor looks by itself: after a promotion, and after a restore to a point in time, all
# secrets are compared with their roles, the set of managed roles is read anew, and the audit says why.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorTest;
use Test::More;

my $keys = PostgreSQL::Test::Utils::tempdir('keys') . '/rotor.key';
my $primary = new_cluster('primary', preload => 1, init => { allows_streaming => 1, has_archiving => 1 },
	hba => [ 'local replication postgres trust', 'host all all 127.0.0.1/32 scram-sha-256' ],
	conf => "rotor.key_file = '$keys'\nrotor.poll_interval = '1h'\nrotor.maintenance_interval = 0\n");

# What no hook can see: drift to be reported, drift to be healed, a former verifier, a name.
sub tamper
{
	my ($node) = @_;
	sql($node, <<'SQL');
UPDATE pg_authid SET rolpassword = 'md5' || md5('secret' || rolname) WHERE rolname IN ('reported', 'healed');
UPDATE pg_authid a SET rolpassword = f.rolpassword FROM former f WHERE a.rolname = 'again';
UPDATE pg_authid SET rolname = 'new_name' WHERE rolname = 'old_name';
SQL
}

# Undoes it, but for what rotor has rotated.
sub repair
{
	my ($node) = @_;

	sql($node, q{UPDATE pg_authid SET rolname = 'old_name' WHERE rolname = 'new_name'; SELECT rotor.reconcile()});
	poll_until(sub { sql($node, q{SELECT next_rotation IS NULL FROM rotor.secrets WHERE secret = 'healed'}) eq 't' }) or die 'healed is not healed';
	rotate_ok($node, $_, "a rotation of $_") for qw(reported healed again);
}

sub found_all
{
	my ($node, $name) = @_;

	ok(poll_until(sub { sql($node, q{SELECT count(*) FROM rotor.audit WHERE event = 'reconciled' AND actor = '(reconcile)'}) eq '1' }),
		"$name: a worker compares all secrets with their roles");
	is( sql($node, q{SELECT detail FROM rotor.audit WHERE event = 'reconciled' AND actor = '(reconcile)'}),
		'{"ok": 2, "why": "timeline", "healing": 1, "relabelled": 1, "changed_elsewhere": 1}', "$name: the audit says why, and what it found");
	is(sql($node, q{SELECT state FROM rotor.secrets WHERE secret = 'reported'}), 'changed_elsewhere', "$name: report");
	ok(poll_until(sub { last_rotation($node, 'healed', 'trigger, status') eq 'schedule|success' }), "$name: heal");
	is(sql($node, q{SELECT role FROM rotor.secrets WHERE secret = 'old_name'}), 'new_name', "$name: a name");
	assert_invariants($node, $_, "$name, $_") for qw(healed again strict old_name);
	ok(poll_until(sub { health_of($node, 'watched_roles') =~ /^ok watched: 5, / }), "$name: the managed roles are watched");
	fails($node, q{ALTER ROLE strict PASSWORD 'mine'}, '42501', qr/managed by rotor/, "$name: and kept as their policy says");
	$node->restart;
	ok(poll_until(sub { health_of($node, 'watched_roles') =~ /^ok watched: 5, / }), "$name: after a restart, too");
	is(sql($node, q{SELECT count(*) FROM rotor.audit WHERE event = 'reconciled' AND actor = '(reconcile)'}), '1', "$name: which the audit does not mention, as nothing was found");
}

sql($primary, <<'SQL');
INSERT INTO rotor.policy (name, outside_change, on_drift) VALUES ('refuse', 'refuse', 'report'), ('heal', 'warn', 'heal');
CREATE ROLE reported LOGIN; CREATE ROLE healed LOGIN; CREATE ROLE again LOGIN; CREATE ROLE strict LOGIN; CREATE ROLE old_name LOGIN;
SELECT rotor.manage('healed', policy => 'heal'), rotor.manage('strict', policy => 'refuse');
SQL
rotate_ok($primary, $_, "given $_") for qw(reported healed again strict old_name);
sql($primary, q{CREATE TABLE former AS SELECT rolpassword FROM pg_authid WHERE rolname = 'again'});
rotate_ok($primary, 'again', 'given another version of again');
ok(poll_until(sub { health_of($primary, 'watched_roles') =~ /^ok watched: 5, / }), 'given a primary that watches them');

#---------------------------------------------------------------------------------------------------------------------
# Promotion

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'port = ' . $standby->port . "\narchive_mode = off\n");
$standby->start;
tamper($primary);
$primary->wait_for_catchup('standby', 'replay', $primary->lsn('flush'));
is(sql($standby, q{SELECT count(*) FROM rotor.health() WHERE check_name = 'watched_roles'}), '0', 'a standby watches nobody');
fails($standby, q{ALTER ROLE strict PASSWORD 'mine'}, '25006', undef, 'where nobody can change a role');
is(sql($primary, q{SELECT count(*) FROM rotor.audit WHERE event IN ('drift_found', 'relabelled')}), '0', 'nobody has looked on the primary');
$standby->promote;
found_all($standby, 'promotion');
unlike(slurp_file($standby->logfile), qr/PANIC|TRAP:/, 'no process has crashed');
$standby->stop;

#---------------------------------------------------------------------------------------------------------------------
# A restore to a point in time

sql($primary, q{SELECT pg_create_restore_point('tampered')});
my $file = sql($primary, 'SELECT pg_walfile_name(pg_switch_wal())');
sql($primary, 'CHECKPOINT');
ok(poll_until(sub { sql($primary, "SELECT last_archived_wal >= '$file' FROM pg_stat_archiver") eq 't' }), 'all of it is in the archive');
repair($primary);
my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($primary, 'base', has_restoring => 1);
$restored->append_conf('postgresql.conf', join("\n", 'archive_mode = off', 'port = ' . $restored->port,
		q{recovery_target_name = 'tampered'}, "recovery_target_timeline = 'current'", "recovery_target_action = 'promote'") . "\n");
$restored->start;
found_all($restored, 'restore');
unlike(slurp_file($restored->logfile), qr/PANIC|TRAP:/, 'no process has crashed');
$restored->stop;

#---------------------------------------------------------------------------------------------------------------------
# Not preloaded: the first run_due() after it

$primary->stop;
my $plain = PostgreSQL::Test::Cluster->new('plain');
$plain->init_from_backup($primary, 'base', has_restoring => 1);
$plain->append_conf('postgresql.conf', join("\n", 'archive_mode = off', 'port = ' . $plain->port, "shared_preload_libraries = ''", "rotor.maintenance_interval = '1h'",
		q{recovery_target_name = 'tampered'}, "recovery_target_timeline = 'current'", "recovery_target_action = 'promote'") . "\n");
$plain->start;
ok(poll_until(sub { sql($plain, 'SELECT pg_is_in_recovery()') eq 'f' }), 'given a restore where rotor is not preloaded');
sql($plain, 'UPDATE rotor.home SET maintained_at = now()');
sql($plain, 'SELECT rotor.run_due()');
is(sql($plain, q{SELECT detail FROM rotor.audit WHERE event = 'reconciled' AND actor = '(reconcile)'}),
	'{"ok": 2, "why": "timeline", "healing": 1, "relabelled": 1, "changed_elsewhere": 1}', 'the first run_due() compares, though maintenance is not due yet');
sql($plain, 'SELECT rotor.run_due()');
is(last_rotation($plain, 'healed', 'trigger, status'), 'schedule|success', 'the next one heals');
assert_invariants($plain, $_, "not preloaded, $_") for qw(healed again strict old_name);
sql($plain, 'UPDATE rotor.home SET maintained_at = now()');
sql($plain, 'SELECT rotor.run_due()');
is(sql($plain, q{SELECT count(*) FROM rotor.audit WHERE event = 'reconciled'}), '1', 'and it compares once');
$plain->stop;

done_testing();
