--
-- The audit: append-only, a row for every step, written together with what it tells.
--
\set state '\\echo SQLSTATE :LAST_ERROR_SQLSTATE'
\setenv PGDATABASE :DBNAME
CREATE ROLE t_audited LOGIN;

-- A whole rotation, in order. The first one takes the role under management.
SELECT id, version_id FROM rotor.rotate('t_audited', reason => 'first') \gset
SELECT actor, session_user_name, client_addr, event, secret, rotation = :'id' AS this_rotation, version = :'version_id' AS this_version, result,
       duration_ms > 0 AS timed, detail
FROM rotor.audit_log WHERE secret = 't_audited' ORDER BY id;
SELECT bool_and(at BETWEEN r.queued_at AND clock_timestamp()) AS during,
       array_agg(a.id ORDER BY a.at, a.id) = array_agg(a.id ORDER BY a.id) AS in_order
FROM rotor.audit a JOIN rotor.rotation r ON r.id = a.rotation WHERE r.id = :'id';
-- Each step's row was written by the transaction that did it: create; set; test and finish.
SELECT dense_rank() OVER (ORDER BY xmin::text::bigint) AS "commit", event FROM rotor.audit WHERE rotation = :'id' ORDER BY id;
-- A second one, and a rollback.
SELECT id FROM rotor.rotate('t_audited') \gset
SELECT event, result, version IS NOT NULL AS version FROM rotor.audit_log WHERE rotation = :'id' ORDER BY id;
SELECT id FROM rotor.rollback('t_audited') \gset
SELECT event, result, detail FROM rotor.audit_log WHERE rotation = :'id' ORDER BY id;
-- One that fails: with the class, the code and the reason.
BEGIN;
SET LOCAL client_min_messages = warning; -- a server that does not preload rotor says so
SELECT id FROM rotor.rotate('t_audited', wait => false) \gset
ALTER ROLE t_audited NOLOGIN;
COMMIT;
SELECT count(*) >= 0 AS done FROM rotor.run_due();
CALL t.settled('t_audited');
SELECT event, result, detail FROM rotor.audit_log WHERE rotation = :'id' ORDER BY id;
-- An enrolment that is refused leaves nothing behind.
CREATE ROLE t_expired LOGIN VALID UNTIL '2020-01-01';
SELECT t.error($$SELECT rotor.rotate('t_expired')$$) LIKE '55000 the password of role "t\_expired" has expired%' AS refused;
SELECT (SELECT count(*) FROM rotor.audit WHERE secret = 't_expired') AS audit, (SELECT count(*) FROM rotor.secret WHERE name = 't_expired') AS secrets;

-- Over TCP the client's address is in it.
ALTER ROLE t_audited LOGIN;
GRANT USAGE ON SCHEMA rotor TO t_audited;
GRANT EXECUTE ON FUNCTION rotor.rotate(text, boolean, text, text, boolean), rotor.disable(text) TO t_audited;
SELECT status FROM rotor.rotate('t_audited');
SELECT rotor.get_secret('t_audited') ->> 'password' AS password \gset
\setenv PGUSER t_audited
\setenv PGPASSWORD :password
\! psql -X -A -t -q -h 127.0.0.1 -c "SELECT (rotor.disable('t_audited')).enabled" -c "SELECT (rotor.rotate('t_audited')).status" 2>&1
SELECT actor, session_user_name, client_addr, event FROM rotor.audit_log WHERE secret = 't_audited' AND client_addr IS NOT NULL ORDER BY id;
SELECT requested_by, session_user_name, client_addr FROM rotor.rotations WHERE client_addr IS NOT NULL;

-- Nobody changes it: not its owner, a superuser, ...
SELECT rolsuper, pg_has_role(relowner, 'USAGE') AS owner FROM pg_class, pg_roles WHERE pg_class.oid = 'rotor.audit'::regclass AND rolname = current_user;
UPDATE rotor.audit SET actor = 'nobody';
:state
UPDATE rotor.audit SET actor = 'nobody' WHERE false;
DELETE FROM rotor.audit;
:state
TRUNCATE rotor.audit;
:state
TRUNCATE rotor.statistics_reset, rotor.audit;
UPDATE rotor.audit_log SET actor = 'nobody';
DELETE FROM rotor.audit_log WHERE id = 1;
:state
WITH gone AS (DELETE FROM rotor.audit RETURNING *) SELECT count(*) FROM gone;
INSERT INTO rotor.audit (id, at, actor, event, result) SELECT id, at, actor, event, result FROM rotor.audit LIMIT 1
    ON CONFLICT (at, id) DO UPDATE SET actor = 'nobody';
-- ... not where triggers are told not to fire, ...
SET session_replication_role = replica;
UPDATE rotor.audit SET actor = 'nobody';
:state
DELETE FROM rotor.audit;
TRUNCATE rotor.audit;
SET session_replication_role = local;
DELETE FROM rotor.audit;
RESET session_replication_role;
-- ... not who was granted all of it.
GRANT USAGE ON SCHEMA rotor TO t_audited;
GRANT ALL ON rotor.audit, rotor.audit_log TO t_audited;
SET ROLE t_audited;
UPDATE rotor.audit SET actor = 'nobody';
DELETE FROM rotor.audit;
TRUNCATE rotor.audit;
DELETE FROM rotor.audit_log;
RESET ROLE;
-- It cannot be taken away either, save with the extension.
DROP TABLE rotor.audit;
:state
DROP FUNCTION rotor.guard_audit();
:state
SELECT count(*) FROM rotor.audit WHERE actor = 'nobody';
SELECT tgname, tgrelid::regclass, tgenabled FROM pg_trigger
WHERE tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'rotor'::regnamespace AND relname !~ '^audit_[0-9]') AND NOT tgisinternal ORDER BY 2, 1;
-- The functions of its triggers are for triggers.
SELECT rotor.guard_audit();
SELECT rotor.guard_configuration();

-- It goes with the transaction whose deed it tells.
SELECT count(*) AS rows FROM rotor.audit \gset
BEGIN;
SELECT name FROM rotor.enable('t_audited');
SELECT count(*) - :rows AS more FROM rotor.audit;
ROLLBACK;
SELECT count(*) - :rows AS more FROM rotor.audit;

-- Every active or finished state has its row: no rotation without one, none that ends without saying so.
SELECT r.status FROM rotor.rotation r WHERE NOT EXISTS (SELECT FROM rotor.audit a WHERE a.rotation = r.id AND a.event IN (
    CASE r.status WHEN 'success' THEN 'finished' WHEN 'cancelled' THEN 'cancelled' WHEN 'rolled_back' THEN 'rolled_back' ELSE 'failed' END,
    CASE r.status WHEN 'failed' THEN 'gave_up' END));
-- No secret without one.
SELECT s.name FROM rotor.secret s WHERE NOT EXISTS (SELECT FROM rotor.audit a WHERE a.secret = s.name AND a.event = 'managed');
SELECT count(*) > 0 AS some, count(*) FILTER (WHERE actor IS NULL OR event IS NULL OR result IS NULL) AS incomplete FROM rotor.audit;
-- Those that only a server that preloads rotor has are left out.
SELECT DISTINCT event FROM rotor.audit WHERE event NOT IN ('renamed', 'role_dropped', 'password_changed_outside', 'drift_found') ORDER BY 1;

SELECT count(rotor.unmanage(secret)) FROM rotor.secrets WHERE secret IN ('t_audited', 't_expired');
DROP OWNED BY t_audited;
DROP ROLE t_audited, t_expired;
