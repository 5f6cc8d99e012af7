# Restores to a point in time before, inside and after rotations, and copies of a cluster: the version labelled current logs
# in at once, what was unfinished goes on, and a copy rotates nobody's roles but its own.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorTest;
use Test::More;

my $keys = PostgreSQL::Test::Utils::tempdir('keys') . '/rotor.key';
my $primary = new_cluster('primary', preload => 1, init => { allows_streaming => 1, has_archiving => 1 },
	hba => [ 'local replication postgres trust', 'host all all 127.0.0.1/32 scram-sha-256' ],
	conf => "rotor.key_file = '$keys'\nrotor.poll_interval = '200ms'\nwal_log_hints = on\nwal_keep_size = '512MB'\n");

sub system_identifier
{
	my ($node) = @_;
	return sql($node, 'SELECT system_identifier FROM pg_control_system()');
}

# What a restored server must not inherit: the original's archive and the way of its verification logins.
sub settings_of_its_own
{
	my ($node, @more) = @_;
	$node->append_conf('postgresql.conf', join("\n", 'archive_mode = off', 'rotor.verify_port = 0', 'port = ' . $node->port, @more) . "\n");
}

sub version_of
{
	my ($node, $secret) = @_;
	return sql($node, "SELECT rotor.get_secret('$secret') ->> 'version_id'");
}

# The transaction that wrote an event of a rotation.
sub transaction_of
{
	my ($rotation, $event) = @_;
	my $xid = sql($primary, "SELECT xmin FROM rotor.audit WHERE rotation = '$rotation' AND event = '$event'");

	die "no event $event" unless $xid;
	return $xid;
}

#---------------------------------------------------------------------------------------------------------------------
# Given: a base backup, then a rotation that ends well, then one that is rolled back, in the archive

sql($primary, 'CREATE ROLE app_user LOGIN; CREATE ROLE other_user LOGIN');
rotate_ok($primary, $_, "given a secret $_") for qw(app_user app_user other_user);
$primary->backup('base');
my $start = version_of($primary, 'app_user');
sql($primary, q{SELECT pg_create_restore_point('before')});
rotate_ok($primary, 'app_user', 'a rotation that ends well');
my $good = last_rotation($primary, 'app_user', 'id');
my $new  = version_of($primary, 'app_user');
my $after = sql($primary, 'SELECT pg_current_wal_insert_lsn()');
my $gate = new_gate($primary);
open_gate($gate, 1);
rotate_fails($primary, 'app_user', '55000', undef, 'a rotation that is rolled back');
my $bad = last_rotation($primary, 'app_user', 'id');
is(last_rotation($primary, 'app_user', 'status'), 'rolled_back', 'is rolled back');
open_gate($gate);
is(version_of($primary, 'app_user'), $new, 'to the version that it replaced');
my ($unproved) = split /\n/, sql($primary, "SELECT event FROM rotor.audit WHERE rotation = '$bad' AND event LIKE 'login\\_%' ORDER BY id");
my $set_by_bad = sql($primary, "SELECT version_id FROM rotor.rotations WHERE id = '$bad'");
{
	my $file = sql($primary, 'SELECT pg_walfile_name(pg_switch_wal())');
	sql($primary, 'CHECKPOINT');
	ok(poll_until(sub { sql($primary, "SELECT last_archived_wal >= '$file' FROM pg_stat_archiver") eq 't' }), 'all of it is in the archive');
}

#---------------------------------------------------------------------------------------------------------------------
# Points in time: where, what is current there, what is unfinished, how it ends

my @points = (
	[ 'before the rotation',      [ name => 'before' ],                               $start,      '',     'success' ],
	[ 'between create and set',   [ xid => transaction_of($good, 'value_sealed') ],   $start,      'set',  'success' ],
	[ 'between set and test',     [ xid => transaction_of($good, 'password_set') ],   $new,        'test', 'success' ],
	[ 'after the rotation',       [ lsn => $after ],                                  $new,        '',     'success' ],
	[ 'a refused password is set', [ xid => transaction_of($bad, 'password_set') ],   $set_by_bad, 'test', 'success' ],
	[ 'on the way back',          [ xid => transaction_of($bad, $unproved) ],         $set_by_bad, 'undo', 'rolled_back' ]);

for my $i (0 .. $#points)
{
	my ($name, $target, $current, $step, $end) = @{ $points[$i] };
	my $node = PostgreSQL::Test::Cluster->new("point_$i");

	$node->init_from_backup($primary, 'base', has_restoring => 1);
	settings_of_its_own($node, "recovery_target_$target->[0] = '$target->[1]'", "recovery_target_timeline = 'current'",
		"recovery_target_action = 'promote'", 'rotor.workers = 0');
	$node->start;
	ok(poll_until(sub { sql($node, 'SELECT pg_is_in_recovery()') eq 'f' }), "$name: restored");
	is(version_of($node, 'app_user'), $current, "$name: the version labelled current is that of this point");
	logs_in($node, 'app_user', current_password($node, 'app_user'), "$name: and logs in, before any worker is there");
	is(sql($node, q{SELECT step FROM rotor.rotation WHERE finished_at IS NULL}), $step, "$name: " . ($step ? "the rotation is at step $step" : 'nothing is unfinished'));
	is( sql($node, <<'SQL'), 't', "$name: the audit tells of the same state");
SELECT bool_and(r.step = CASE a.event WHEN 'value_sealed' THEN 'set' WHEN 'password_set' THEN 'test' WHEN 'finished' THEN 'done'
    WHEN 'rolled_back' THEN 'done' ELSE 'undo' END)
FROM rotor.rotation r, LATERAL (SELECT event FROM rotor.audit WHERE rotation = r.id ORDER BY id DESC LIMIT 1) a
SQL

	$node->append_conf('postgresql.conf', "rotor.workers = 2\n");
	$node->restart;
	ok(poll_until(sub { sql($node, 'SELECT count(*) FROM rotor.rotation WHERE finished_at IS NULL') eq '0' }), "$name: what was unfinished ends");
	is(last_rotation($node, 'app_user', 'status'), $end, "$name: as $end");
	is(version_of($node, 'app_user'), $step eq 'undo' ? $new : $step eq 'set' ? $new : $current, "$name: with the right version");
	assert_invariants($node, 'app_user', $name);
	assert_invariants($node, 'other_user', "$name, a secret that was not touched");
	rotate_ok($node, 'app_user', "$name: and rotation works");
	assert_invariants($node, 'app_user', "$name, after it");
	no_crash_in($node);
	$node->stop('immediate');
	$node->clean_node;
}

#---------------------------------------------------------------------------------------------------------------------
# A base backup that is started as a primary of its own: the same cluster to rotor, but its roles are its own

my %password = map { ($_ => current_password($primary, $_)) } qw(app_user other_user);
$primary->backup('clone');
my $clone = PostgreSQL::Test::Cluster->new('clone');
$clone->init_from_backup($primary, 'clone');
settings_of_its_own($clone);
$clone->start;
is(system_identifier($clone), system_identifier($primary), 'a clone has the system identifier of the original');
is(sql($clone, q{SELECT string_agg(DISTINCT state, ' ') FROM rotor.secrets}), 'active', 'so its secrets are active');
logs_in($clone, $_, $password{$_}, "a clone: $_ logs in as in the original") for sort keys %password;
sql($clone, q{UPDATE rotor.policy SET rotation_interval = '1 hour'; UPDATE rotor.secret SET next_rotation = now()});
ok(poll_until(sub { sql($clone, q{SELECT count(*) FROM rotor.rotations WHERE trigger = 'schedule' AND status = 'success'}) eq '2' }), 'it rotates by its own schedule');
for my $role (sort keys %password)
{
	is_locked_out($clone, $role, $password{$role}, "a clone: the original's password of $role is refused there");
	logs_in($primary, $role, $password{$role}, "a clone: and still logs in at the original");
	ok($password{$role} eq current_password($primary, $role), "a clone: which gives it to its readers");
	assert_invariants($clone, $role, 'the clone');
	assert_invariants($primary, $role, 'the original');
}

# Settings that name the original's address by which logins are verified: the clone cannot be fooled by it.
set_conf($clone, 'rotor.verify_host' => '127.0.0.1', 'rotor.verify_port' => $primary->port);
my $state = role_state($primary, 'app_user');
sql($clone, q{UPDATE rotor.policy SET rotation_interval = NULL});
rotate_fails($clone, 'app_user', '55000', undef, 'a clone that would prove a login at the original');
is(role_state($primary, 'app_user'), $state, 'changes nothing there');
set_conf($clone, 'rotor.verify_host' => '', 'rotor.verify_port' => 0);
rotate_ok($clone, 'app_user', 'with its own address it rotates');
$clone->stop('immediate');

#---------------------------------------------------------------------------------------------------------------------
# A standby that is promoted, and the old primary rewound to follow it

$primary->backup('standby');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'standby', has_streaming => 1);
settings_of_its_own($standby);
$standby->start;
$primary->wait_for_catchup('standby', 'replay', $primary->lsn('flush'));
$standby->promote;
ok(poll_until(sub { sql($standby, 'SELECT pg_is_in_recovery()') eq 'f' }), 'given a standby that was promoted while the primary lives on');
rotate_ok($_, 'app_user', 'rotates in ' . $_->name) for $primary, $standby;
ok(version_of($primary, 'app_user') ne version_of($standby, 'app_user'), 'each has a version of its own');
assert_invariants($_, 'app_user', $_->name) for $primary, $standby;
# Up to 15 pg_rewind asks the control file of the source for its timeline, which has it after the next checkpoint.
sql($standby, 'CHECKPOINT');
$primary->stop('fast');
command_ok([ 'pg_rewind', '-D', $primary->data_dir, '--source-server', $standby->connstr('postgres') . ' user=postgres' ], 'pg_rewind');
$primary->append_conf('postgresql.conf', "primary_conninfo = '" . $standby->connstr . " user=postgres'\n");
settings_of_its_own($primary);
$primary->set_standby_mode;
$primary->start;
my $lsn = $standby->lsn('flush');
ok($primary->poll_query_until('postgres', "SELECT pg_last_wal_replay_lsn() >= '$lsn' AND (SELECT status = 'streaming' FROM pg_stat_wal_receiver)"),
	'the old primary follows the new one');
ok(current_password($primary, 'app_user') eq current_password($standby, 'app_user'), 'and has its version');
logs_in($primary, 'app_user', current_password($primary, 'app_user'), 'which logs in there');
no_crash_in($_) for $primary, $standby, $clone;

done_testing();
