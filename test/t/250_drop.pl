# DROP EXTENSION and its like: they warn of what is forgotten, are undone by a rollback, and leave nothing behind.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorCrash;
use RotorTest;
use Test::More;

my $warning = qr/with extension rotor every value that it holds is forgotten/;

# What an extension that is gone may have left in a database.
my $left = <<'SQL';
SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 'rotor'), (SELECT count(*) FROM pg_class WHERE relname LIKE 'audit%' OR relname = 'secret_id_seq'),
       (SELECT count(*) FROM pg_proc WHERE probin LIKE '%rotor%'), (SELECT count(*) FROM pg_event_trigger WHERE evtname LIKE 'rotor%'),
       (SELECT count(*) FROM pg_shdepend WHERE refobjid = (SELECT oid FROM pg_roles WHERE rolname = 'reader'))
SQL

for my $preload (1, 0)
{
	my $kind = $preload ? 'preloaded' : 'not preloaded';
	my $node = new_cluster($preload ? 'loaded' : 'unloaded', preload => $preload);

	sql($node, 'CREATE ROLE app_user LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE chief SUPERUSER; CREATE ROLE clerk');
	is(attempt($node, 'DROP EXTENSION rotor; CREATE EXTENSION rotor')->{notices} =~ $warning ? 1 : 0, 0, "$kind: an empty rotor is dropped without a warning");
	rotate_ok($node, 'app_user', "$kind: given a secret");
	sql($node, q{SELECT rotor.grant_access('app_user', 'reader', 'read')});
	my $state = role_state($node, 'app_user');
	my $password = current_password($node, 'app_user');

	# Undone.
	my $result = succeeds($node, 'BEGIN; DROP EXTENSION rotor; ROLLBACK', "$kind: a drop that is rolled back");
	like($result->{notices}, $warning, "$kind: has warned");
	like($result->{err}, qr/DETAIL:\s+1 secrets with 1 sealed values, 0 unfinished rotations, \d+ rows of audit\./, "$kind: of what it holds");
	ok($password eq current_password($node, 'app_user'), "$kind: and everything is there");
	rotate_ok($node, 'app_user', "$kind: and works");
	$state = role_state($node, 'app_user');
	$password = current_password($node, 'app_user');

	# What the server itself refuses.
	for my $drop ('DROP SCHEMA rotor', 'DROP SCHEMA rotor CASCADE', 'DROP TABLE rotor.audit CASCADE', 'DROP EVENT TRIGGER rotor_guard_drop', 'DROP TABLE rotor.audit_default')
	{
		fails($node, $drop, '2BP01', qr/extension rotor requires it/, "$kind: $drop");
	}
	$result = fails($node, 'SET ROLE clerk; DROP EXTENSION rotor', '42501', undef, "$kind: DROP EXTENSION by who may not");
	unlike($result->{notices}, $warning, "$kind: tells such a one nothing");
	$result = succeeds($node, 'DROP OWNED BY clerk', "$kind: DROP OWNED of a role that owns something else");
	unlike($result->{notices}, $warning, "$kind: is no matter of rotor's");

	# Owned by a superuser other than the bootstrap one.
	sql($node, q{UPDATE pg_extension SET extowner = 'chief'::regrole WHERE extname = 'rotor';
		UPDATE pg_shdepend SET refobjid = 'chief'::regrole WHERE classid = 'pg_extension'::regclass;
		INSERT INTO pg_shdepend SELECT d.oid, 'pg_extension'::regclass, x.oid, 0, 'pg_authid'::regclass, 'chief'::regrole, 'o'
		FROM pg_extension x, pg_database d WHERE x.extname = 'rotor' AND d.datname = current_database()
		AND NOT EXISTS (SELECT FROM pg_shdepend s WHERE s.classid = 'pg_extension'::regclass AND s.objid = x.oid)});
	$result = succeeds($node, 'BEGIN; DROP OWNED BY chief CASCADE; ROLLBACK', "$kind: DROP OWNED BY the extension's owner");
	like($result->{notices}, $warning, "$kind: warns too");
	$result = succeeds($node, 'SET ROLE chief; BEGIN; DROP OWNED BY CURRENT_USER CASCADE; ROLLBACK', "$kind: and by the owner itself");
	like($result->{notices}, $warning, "$kind: warns likewise");

	# For good.
	$result = succeeds($node, 'DROP EXTENSION rotor', "$kind: DROP EXTENSION");
	like($result->{notices}, $warning, "$kind: warns");
	is(sql($node, $left), '0|0|0|0|0', "$kind: and nothing of rotor is left");
	is(role_state($node, 'app_user'), $state, "$kind: the role keeps its password");
	logs_in($node, 'app_user', $password, "$kind: which logs in");
	is(sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rotor worker' AND state = 'active' AND wait_event_type = 'Lock'}), '0', "$kind: no worker is in the way");
	sql($node, 'DROP ROLE reader');
	sql($node, 'CREATE EXTENSION rotor');
	rotate_ok($node, 'app_user', "$kind: made anew it rotates");
	assert_invariants($node, 'app_user', "$kind, made anew");
	no_crash_in($node);
}

# The database as a whole: workers leave, and find another one that is made in its place.
my $node = new_cluster('whole', preload => 1, extension => 0, conf => "rotor.database = 'home'\nrotor.poll_interval = '200ms'\n");
sql($node, 'CREATE DATABASE home');
for my $round (1, 2)
{
	sql($node, 'CREATE EXTENSION rotor', dbname => 'home');
	sql($node, 'CREATE ROLE app_user LOGIN') if $round == 1;
	rotate_ok($node, 'app_user', "round $round: given a secret", dbname => 'home');
	my $state = role_state($node, 'app_user');
	succeeds($node, 'DROP DATABASE home', "round $round: DROP DATABASE while workers are in it");
	is(role_state($node, 'app_user'), $state, "round $round: touches no role");
	is(sql($node, q{SELECT count(*) FROM pg_locks WHERE database NOT IN (SELECT oid FROM pg_database) AND database <> 0}), '0', "round $round: and leaves no lock");
	sql($node, 'CREATE DATABASE home');
}
no_crash_in($node);

done_testing();
