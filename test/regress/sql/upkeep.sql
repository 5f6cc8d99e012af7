--
-- What is kept how long: the recovery window, versions, rotations, the audit and its partitions; purge().
--
\set state '\\echo SQLSTATE :LAST_ERROR_SQLSTATE'
-- No worker's round of maintenance comes in between.
UPDATE rotor.home SET maintained_at = now();
\set report 'SELECT * FROM rotor.purge()'
-- What earlier files have left may go now.
SELECT count(*) FROM rotor.purge();
:report;

-- The recovery window: an unmanaged secret can be restored in it, its name can be used anew.
CREATE ROLE t_kept LOGIN;
CREATE ROLE t_reader;
SELECT status FROM rotor.rotate('t_kept');
SELECT status FROM rotor.rotate('t_kept');
SELECT rotor.grant_access('t_kept', 't_reader', 'read');
SELECT rotor.get_secret('t_kept') ->> 'version_id' AS version \gset
SHOW rotor.recovery_window;
SELECT name FROM rotor.unmanage('t_kept');
SELECT secret, role, restorable_until - unmanaged_at AS "window" FROM rotor.unmanaged WHERE secret = 't_kept';
:report;
SELECT name FROM rotor.restore('t_kept');
SELECT rotor.get_secret('t_kept') ->> 'version_id' = :'version' AS same_value;
SELECT name FROM rotor.unmanage('t_kept');
UPDATE rotor.secret SET deleted_at = now() - interval '7 days 1 second' WHERE name = 't_kept';
SELECT t.error($$SELECT rotor.restore('t_kept')$$);
-- A name is free as soon as its secret is unmanaged, and what has it then is another secret.
SELECT name FROM rotor.manage('t_kept');
SELECT count(*) FROM rotor.secret WHERE name = 't_kept';
SELECT what, purged FROM rotor.purge(dry_run => true) WHERE purged > 0 AND what <> 'audit_partitions';
SELECT count(*) FROM rotor.secret WHERE name = 't_kept';
-- The rights on it go with it, and what came with them.
SELECT has_schema_privilege('t_reader', 'rotor', 'USAGE') AS before;
:report;
SELECT has_schema_privilege('t_reader', 'rotor', 'USAGE') AS after, (SELECT count(*) FROM rotor.access_grant WHERE role_oid = 't_reader'::regrole) AS grants;
SELECT count(*) AS secrets, count(*) FILTER (WHERE deleted_at IS NULL) AS managed FROM rotor.secret WHERE name = 't_kept';
SELECT count(*) FROM rotor.unmanaged WHERE secret = 't_kept';
SELECT t.error($$SELECT rotor.restore('t_gone')$$);

-- Versions: four rotations leave current, previous and two without a stage.
INSERT INTO rotor.policy (name, version_retention, rotation_retention) VALUES ('t_years', '1 day', '2 days');
SELECT policy FROM rotor.manage('t_kept', policy => 't_years');
SELECT count(rotor.rotate('t_kept')) FROM generate_series(1, 4);
SELECT stage, retired_at IS NOT NULL AS retired, count(*) FROM rotor.version v JOIN rotor.secret s ON s.id = v.secret_id WHERE s.name = 't_kept' GROUP BY 1, 2 ORDER BY 1;
SELECT what, purged FROM rotor.purge(true) WHERE what IN ('versions', 'rotations');
UPDATE rotor.version v SET retired_at = retired_at - interval '25 hours', created_at = v.created_at - interval '10 years'
FROM rotor.secret s WHERE s.id = v.secret_id AND s.name = 't_kept';
UPDATE rotor.rotation r SET finished_at = finished_at - interval '49 hours', queued_at = queued_at - interval '49 hours'
FROM rotor.secret s WHERE s.id = r.secret_id AND s.name = 't_kept';
SELECT what, purged FROM rotor.purge(true) WHERE what IN ('versions', 'rotations');
-- Never what may be live: a version whose verifier the role has, one that an unfinished rotation or a dead letter needs.
BEGIN;
UPDATE rotor.version v SET fingerprint = sha256(convert_to(a.rolpassword, 'UTF8')) FROM rotor.secret s, pg_authid a
WHERE s.id = v.secret_id AND s.name = 't_kept' AND a.rolname = 't_kept' AND v.stage IS NULL;
SELECT what, purged FROM rotor.purge(true) WHERE what = 'versions';
ROLLBACK;
BEGIN;
UPDATE rotor.rotation r SET dead_letter = true FROM rotor.secret s WHERE s.id = r.secret_id AND s.name = 't_kept';
SELECT what, purged FROM rotor.purge(true) WHERE what IN ('versions', 'rotations');
ROLLBACK;
-- Nor of a secret that another cluster made and nobody has reconciled.
BEGIN;
UPDATE rotor.secret SET system_identifier = 1 WHERE name = 't_kept';
SELECT what, purged FROM rotor.purge(true) WHERE what IN ('versions', 'rotations');
ROLLBACK;
SELECT id AS newest FROM rotor.rotations WHERE secret = 't_kept' ORDER BY queued_at DESC LIMIT 1 \gset
:report;
SELECT stage, count(*) FROM rotor.version v JOIN rotor.secret s ON s.id = v.secret_id WHERE s.name = 't_kept' GROUP BY 1 ORDER BY 1;
SELECT id = :'newest' AS newest_is_kept FROM rotor.rotations WHERE secret = 't_kept';
SELECT rotor.get_secret('t_kept') IS NOT NULL AS current, rotor.get_secret('t_kept', 'previous') IS NOT NULL AS previous;
SELECT status FROM rotor.rollback('t_kept');

-- The audit: a partition a month, made ahead; nothing is in the default one.
SELECT count(*) AS ahead FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'rotor.audit'::regclass AND c.relname >= 'audit_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM') AND c.relname ~ '\d$';
SELECT count(*) FROM rotor.audit_default;
SELECT rotor.make_audit_partitions();
-- A month whose partition is missing: its rows go to the default partition, and stay there.
SELECT 'audit_' || to_char((now() AT TIME ZONE 'UTC') + interval '2 months', 'YYYY_MM') AS month \gset
ALTER EXTENSION rotor DROP TABLE rotor.:month;
DROP TABLE rotor.:month;
BEGIN;
INSERT INTO rotor.audit (at, actor, event, result) VALUES (date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' + interval '2 months 3 days', 't', 't', 'ok');
SELECT tableoid::regclass AS "in" FROM rotor.audit WHERE event = 't';
SELECT rotor.make_audit_partitions();
ROLLBACK;
SELECT rotor.make_audit_partitions();
SELECT count(*) AS member FROM pg_depend WHERE objid = ('rotor.' || :'month')::regclass AND deptype = 'e';
-- What is older than rotor.audit_retention goes, month by month and, from the default partition, row by row.
INSERT INTO rotor.audit (at, actor, event, result) VALUES (now() - interval '401 days', 't', 't_old', 'ok'), (now() - interval '399 days', 't', 't_young', 'ok');
CREATE TABLE rotor.audit_2001_01 (LIKE rotor.audit INCLUDING DEFAULTS);
ALTER TABLE rotor.audit ATTACH PARTITION rotor.audit_2001_01 FOR VALUES FROM ('2001-01-01 00:00:00+00') TO ('2001-02-01 00:00:00+00');
ALTER EXTENSION rotor ADD TABLE rotor.audit_2001_01;
INSERT INTO rotor.audit (at, actor, event, result) VALUES ('2001-01-31 12:00:00+00', 't', 't_old', 'ok');
SHOW rotor.audit_retention;
SELECT * FROM rotor.purge(dry_run => true) WHERE what LIKE 'audit%';
SELECT * FROM rotor.purge() WHERE what LIKE 'audit%';
SELECT event FROM rotor.audit WHERE event IN ('t_old', 't_young');
SELECT to_regclass('rotor.audit_2001_01') IS NULL AS dropped;
-- Purging opens no door to others.
DELETE FROM rotor.audit_default;
:state
SELECT tableoid::regclass::text <> 'rotor.audit_default' AS in_its_month, event, detail FROM rotor.audit WHERE event = 'purged' ORDER BY id DESC LIMIT 1;
SELECT detail FROM rotor.audit WHERE event = 'purged' AND detail ? 'versions' ORDER BY id DESC LIMIT 1;
-- Retentions make sense.
SELECT split_part(t.error($$UPDATE rotor.policy SET version_retention = '-1 day' WHERE name = 't_years'$$), ' | ', 1) AS error;
SELECT split_part(t.error($$UPDATE rotor.policy SET rotation_retention = NULL WHERE name = 't_years'$$), ' | ', 1) AS error;

-- Superusers only.
CREATE ROLE t_any CREATEROLE;
GRANT USAGE ON SCHEMA rotor TO t_any;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA rotor TO t_any;
SET ROLE t_any;
SELECT t.error('SELECT rotor.purge()');
SELECT t.error('SELECT rotor.purge(true)');
SELECT t.error('SELECT rotor.make_audit_partitions()');
SELECT t.error('SELECT rotor.reconcile()');
RESET ROLE;
BEGIN READ ONLY;
SELECT t.error('SELECT rotor.purge()');
ROLLBACK;

-- reconcile(): a role as rotor knows it; changed by somebody else; renamed; without a value.
CREATE ROLE t_drift LOGIN;
CREATE ROLE t_novalue LOGIN;
SELECT status FROM rotor.rotate('t_drift');
SELECT name FROM rotor.manage('t_novalue');
SELECT * FROM rotor.reconcile('t_drift');
-- Before a worker hears of it.
BEGIN;
ALTER ROLE t_drift RENAME TO t_drifted;
SELECT * FROM rotor.reconcile('t_drift');
COMMIT;
SELECT * FROM rotor.reconcile('t_drift');
SET client_min_messages = error; -- a server that preloads rotor warns
ALTER ROLE t_drifted PASSWORD 'set by hand';
RESET client_min_messages;
SELECT * FROM rotor.reconcile('t_drift');
SELECT * FROM rotor.reconcile('t_novalue');
SELECT status FROM rotor.rotate('t_drift');
SELECT * FROM rotor.reconcile('t_drift');
SELECT secret, state FROM rotor.secrets WHERE secret IN ('t_drift', 't_novalue', 't_kept') ORDER BY 1;
-- Secrets of another cluster are neither rotated nor read by others than superusers, and count as nobody's here ...
SELECT rotor.grant_access('t_drift', 't_reader', 'read');
UPDATE rotor.secret SET system_identifier = 1, role_oid = (10 + id)::oid WHERE name IN ('t_drift', 't_kept', 't_novalue');
UPDATE rotor.access_grant SET role_oid = 10 WHERE role_name = 't_reader';
SELECT secret, state FROM rotor.secrets WHERE secret IN ('t_drift', 't_novalue', 't_kept') ORDER BY 1;
SELECT t.error($$SELECT rotor.rotate('t_drift')$$) LIKE '55000 %another cluster%reconcile()%' AS refused;
SELECT status, hint FROM rotor.health() WHERE check_name = 'other_cluster';
SELECT role, managed FROM rotor.coverage WHERE role IN ('t_drifted', 't_kept') ORDER BY 1;
SELECT t.may('t_reader', $$SELECT rotor.get_secret('t_drift')$$);
SELECT t.may('t_any', $$SELECT rotor.reconcile('t_drift')$$);
-- ... until a superuser reconciles: role and rights are found by their names.
ALTER ROLE t_novalue RENAME TO t_elsewhere;
SELECT * FROM rotor.reconcile() WHERE secret_name IN ('t_drift', 't_kept', 't_novalue') ORDER BY 1;
SELECT t.may('t_reader', $$SELECT rotor.get_secret('t_drift')$$);
SELECT role_oid::regrole, role_name FROM rotor.access_grant WHERE role_name = 't_reader';
SELECT secret, state FROM rotor.secrets WHERE secret IN ('t_drift', 't_novalue', 't_kept') ORDER BY 1;
SELECT status FROM rotor.rotate('t_drift');
-- A role that has a secret of its own by now is not taken from it.
ALTER ROLE t_elsewhere RENAME TO t_novalue;
SELECT name FROM rotor.manage('t_second', username => 't_novalue');
SELECT * FROM rotor.reconcile('t_novalue');
SELECT name FROM rotor.unmanage('t_second');
SELECT * FROM rotor.reconcile('t_novalue');
SELECT t.error($$SELECT rotor.reconcile('t_none')$$);
-- A server that preloads rotor notices other names too.
SELECT event, secret, detail - 'policy' AS detail FROM rotor.audit WHERE event = 'resolved' OR (event = 'renamed' AND secret = 't_drift' AND detail ? 'policy') ORDER BY secret, id;

-- What changes a built-in row makes it the user's own, which is what a dump holds.
SELECT name, builtin FROM rotor.policy WHERE builtin ORDER BY 1;
BEGIN;
UPDATE rotor.policy SET length = 40 WHERE name = 'compat';
UPDATE rotor.target SET host = 'db.example' WHERE name = 'self';
INSERT INTO rotor.policy (name, builtin) VALUES ('t_own', true);
SELECT name, builtin FROM rotor.policy WHERE name IN ('compat', 't_own') ORDER BY 1;
SELECT builtin FROM rotor.target;
ROLLBACK;
-- What a dump brings back takes the place of what CREATE EXTENSION has just made, and of nothing else.
BEGIN;
UPDATE rotor.secret SET policy = 'default' WHERE policy IN ('compat', 'high');
SET LOCAL check_function_bodies = off; -- as every dump does
COPY rotor.policy (name, length) FROM stdin;
compat	48
\.
INSERT INTO rotor.policy (name, length) VALUES ('high', 49);
SELECT name, length, builtin FROM rotor.policy WHERE name IN ('compat', 'high') ORDER BY 1;
SAVEPOINT s;
\set VERBOSITY terse
COPY rotor.policy (name, length) FROM stdin;
compat	50
\.
ROLLBACK TO s;
SET LOCAL check_function_bodies = on;
INSERT INTO rotor.policy (name) VALUES ('default');
:state
\set VERBOSITY default
ROLLBACK;

-- Secrets that come out of a dump of this cluster rest too: roles and passwords may have changed since.
BEGIN;
SET LOCAL check_function_bodies = off;
CREATE ROLE t_back LOGIN;
INSERT INTO rotor.secret (name, username, role_oid, system_identifier, created_by, next_rotation)
SELECT 't_back', 't_back', 't_reader'::regrole, system_identifier, 't', now() FROM pg_control_system();
INSERT INTO rotor.secret (name, username, role_oid, system_identifier, created_by) VALUES ('t_far', 't_far', 10, 42, 't');
CREATE ROLE t_ours LOGIN;
SELECT name FROM rotor.manage('t_ours');
SET LOCAL check_function_bodies = on;
INSERT INTO rotor.secret (name, username, role_oid, system_identifier, created_by)
SELECT 't_hand', 't_any', 't_any'::regrole, system_identifier, 't' FROM pg_control_system();
SELECT name, system_identifier IN (0, 42) AS rests, system_identifier = 0 AS of_this_cluster FROM rotor.secret WHERE name IN ('t_back', 't_far', 't_ours', 't_hand') ORDER BY 1;
SELECT secret, role, state FROM rotor.secrets WHERE secret IN ('t_back', 't_far') ORDER BY 1;
SELECT count(*) FROM rotor.upcoming WHERE secret = 't_back';
SELECT t.error($$SELECT rotor.rotate('t_back', wait => false)$$);
SELECT t.error($$SELECT rotor.grant_access('t_back', 't_reader', 'read')$$) LIKE '55000 %dump%' AS grant, t.error($$SELECT rotor.revoke_access('t_back', 't_reader', 'read')$$) LIKE '55000 %dump%' AS revoke;
SELECT * FROM rotor.reconcile('t_back');
SELECT role_oid::regrole FROM rotor.secret WHERE name = 't_back';
SELECT count(rotor.unmanage('t_far'));
SELECT count(*) > 0 AS reconciled FROM rotor.reconcile();
SELECT role_oid, system_identifier = 42 AS of_another FROM rotor.secret WHERE name = 't_far';
SELECT t.error($$SELECT rotor.restore('t_far')$$);
ROLLBACK;

-- A role that was dropped and made again: a superuser binds its secret to it, a right on the secret does not.
CREATE ROLE t_again LOGIN;
SELECT name FROM rotor.manage('t_again');
SELECT rotor.grant_access('t_again', 't_reader', 'manage');
DROP ROLE t_again;
CREATE ROLE t_again LOGIN SUPERUSER;
SET ROLE t_reader;
SELECT * FROM rotor.reconcile('t_again');
RESET ROLE;
SELECT * FROM rotor.reconcile('t_again');
SELECT role_oid::regrole FROM rotor.secret WHERE name = 't_again';
SELECT rotor.revoke_access('t_again', 't_reader', 'manage');

-- A role is renamed: maintenance and reconcile() learn the name, also for the rights that the role has.
SELECT rotor.grant_access('t_again', 't_reader', 'read');
ALTER ROLE t_reader RENAME TO t_learner;
SELECT role_name FROM rotor.access_grant WHERE role_oid = 't_learner'::regrole AND secret_id = (SELECT id FROM rotor.secret WHERE name = 't_again');
SELECT finding FROM rotor.reconcile('t_again');
SELECT role_name FROM rotor.access_grant WHERE role_oid = 't_learner'::regrole AND secret_id = (SELECT id FROM rotor.secret WHERE name = 't_again');
ALTER ROLE t_learner RENAME TO t_reader;
SELECT rotor.revoke_access('t_again', 't_reader', 'read');
SELECT count(rotor.unmanage('t_again'));
DROP ROLE t_again;

SELECT count(rotor.unmanage(secret)) FROM rotor.secrets WHERE secret IN ('t_kept', 't_drift', 't_novalue');
UPDATE rotor.secret SET deleted_at = '-infinity' WHERE deleted_at IS NOT NULL;
SELECT purged > 0 AS purged FROM rotor.purge() WHERE what = 'secrets';
DELETE FROM rotor.policy WHERE name = 't_years';
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA rotor FROM t_any;
REVOKE ALL ON SCHEMA rotor FROM t_any;
DROP ROLE t_kept, t_reader, t_any, t_drifted, t_novalue;
