--
-- rotate() and rollback(): the main job, its options, its refusals.
--
\set state '\\echo SQLSTATE :LAST_ERROR_SQLSTATE'
-- Reads the current password of :secret and logs in with it over TCP, where the server asks for it; says who that is.
\set login '\\set who `psql -X -A -t -q -h 127.0.0.1 -c "SELECT current_user" 2>&1 | sed "s/^.*FATAL: */FATAL: /"`\n\\echo :who'
\set read 'SELECT rotor.get_secret(:''secret'') ->> ''username'' AS "PGUSER", rotor.get_secret(:''secret'') ->> ''password'' AS "PGPASSWORD" \\gset\n\\setenv PGUSER :PGUSER\n\\setenv PGPASSWORD :PGPASSWORD'
\setenv PGDATABASE :DBNAME
\set secret t_app

-- An unmanaged role is enrolled under the default policy by its first rotation.
CREATE ROLE t_app LOGIN;
SELECT pg_typeof(r), r.status, r.step, r.trigger, r.strategy, r.attempt, r.next_attempt_at, r.dead_letter, r.outcome, r.error_code,
       r.error_message, r.note, r.reason, r.terminate_sessions, r.requested_by, r.session_user_name, r.client_addr
FROM rotor.rotate('t_app') r;
SELECT r.queued_at <= r.started_at AND r.started_at < r.finished_at AND r.duration = r.finished_at - r.started_at AS in_order,
       r.create_ms > 0 AS create_ms, r.set_ms > 0 AS set_ms, r.test_ms > 0 AS test_ms, r.finish_ms > 0 AS finish_ms
FROM rotor.rotations r WHERE secret = 't_app';
SELECT secret, role, policy, store, target, enabled, last_status, last_error_code, last_error, created_by,
       age < interval '1 hour' AS age, verified_at IS NOT NULL AS verified, last_rotation IS NOT NULL AS rotated, next_rotation
FROM rotor.secrets WHERE secret = 't_app';
:read
:login
-- The role has a SCRAM verifier and nothing else was changed.
SELECT rolpassword LIKE 'SCRAM-SHA-256$%' AS scram, rolcanlogin, rolsuper, rolconnlimit, rolvaliduntil FROM pg_authid WHERE rolname = 't_app';

-- Again: another version; the old password no longer logs in. What the rotation replaced is forgotten.
SELECT version_id AS former FROM rotor.secrets WHERE secret = 't_app' \gset
SELECT status, version_id <> :'former' AS new_version FROM rotor.rotate(secret => 't_app');
:login
:read
:login
SELECT count(*) FROM rotor.saved_verifier;

-- Its options: reason, strategy, terminate_sessions.
SELECT status, reason, requested_by FROM rotor.rotate('t_app', reason => 'laptop stolen, "quoted" ü');
SELECT detail ->> 'reason' AS reason FROM rotor.audit_log WHERE secret = 't_app' AND detail ? 'reason';
SELECT status, strategy FROM rotor.rotate('t_app', strategy => 'staged');
SELECT strategy, status IN ('verifying', 'success') AS set, error_code FROM rotor.rotate('t_app', strategy => 'immediate');
:read
:login
CALL t.settled('t_app');
SELECT strategy, status FROM rotor.rotations WHERE secret = 't_app' ORDER BY queued_at DESC LIMIT 1;
SELECT status, terminate_sessions FROM rotor.rotate('t_app', terminate_sessions => true);
SELECT status, strategy, reason, terminate_sessions FROM rotor.rotate('t_app', true, NULL, NULL, NULL);
SELECT length(reason) FROM rotor.rotate('t_app', reason => repeat('ü', 512));

-- Bad options change nothing.
SELECT count(*) AS rotations FROM rotor.rotations \gset
SELECT rotor.rotate('t_app', strategy => 'dual_write');
:state
SELECT rotor.rotate('t_app', strategy => 'blue_green');
:state
SELECT rotor.rotate('t_app', strategy => 'STAGED');
:state
SELECT rotor.rotate('t_app', reason => repeat('x', 1025));
:state
SELECT rotor.rotate('t_app', wait => NULL);
:state
SELECT rotor.rotate(NULL);
:state
SELECT rotor.rotate('');
:state
SELECT rotor.rotate('no such role');
:state
SELECT rotor.rotate('T_APP');
SELECT t.error(format('SELECT rotor.rotate(%L)', repeat('t_app', 2000))) LIKE '42704 %' AS too_long, t.error(format('SELECT rotor.get_secret(%L)', repeat('x', 100000))) LIKE '42704 %' AS far_too_long;
SELECT count(*) - :rotations AS more FROM rotor.rotations;

-- The caller must have committed what a worker is to see.
BEGIN;
CREATE ROLE t_new LOGIN;
SELECT rotor.rotate('t_new');
:state
ROLLBACK;
BEGIN;
ALTER ROLE t_app CONNECTION LIMIT 10;
SELECT rotor.rotate('t_app');
:state
ROLLBACK;
BEGIN;
SAVEPOINT s;
SET LOCAL client_min_messages = error; -- a server that preloads rotor warns
ALTER ROLE t_app PASSWORD 'mine';
RESET client_min_messages;
RELEASE s;
SELECT rotor.rotate('t_app');
ROLLBACK;
CREATE ROLE t_new LOGIN;
BEGIN;
SELECT name FROM rotor.manage('t_new');
SELECT rotor.rotate('t_new');
:state
ROLLBACK;
BEGIN;
SELECT name FROM rotor.disable('t_app');
SELECT rotor.rotate('t_app');
:state
ROLLBACK;
BEGIN;
UPDATE rotor.policy SET length = 40 WHERE name = 'default';
SELECT rotor.rotate('t_app');
:state
ROLLBACK;
BEGIN;
UPDATE rotor.policy SET length = 40 WHERE name = 'default';
SELECT rotor.rotate('t_new');
:state
ROLLBACK;
-- Other changes do not matter, nor do those that were undone.
BEGIN;
SAVEPOINT s;
ALTER ROLE t_app CONNECTION LIMIT 10;
ROLLBACK TO s;
CREATE TABLE t.other ();
SELECT status FROM rotor.rotate('t_app');
-- Like a sequence, a rotation is not undone with its caller's transaction.
ROLLBACK;
:login
:read
:login

-- A lock that the caller holds on the role is an error after rotor.lock_timeout, not a deadlock.
SELECT count(*) AS rotations FROM rotor.rotations WHERE secret = 't_app' \gset
BEGIN;
COMMENT ON ROLE t_app IS 'holds the lock that DROP ROLE takes';
SELECT t.error($$SELECT rotor.rotate('t_app')$$);
ROLLBACK;
SELECT count(*) - :rotations AS more FROM rotor.rotations WHERE secret = 't_app';
SELECT status FROM rotor.rotate('t_app');

-- Roles belong to the whole cluster: so does the lock, wherever it is held.
\setenv PGUSER postgres
\set ignored `psql -X -q -d postgres -c "SET application_name = 't_open'" -c "BEGIN" -c "COMMENT ON ROLE t_app IS 'held in another database'" -c "SELECT pg_sleep(600)" >/dev/null 2>&1 &`
SELECT t.wait_for($$EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 't_open' AND query LIKE '%pg_sleep%')$$) AS held;
SELECT t.error($$SELECT rotor.rotate('t_app')$$) LIKE '55P03 %' AS lock_not_available;
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 't_open';
SELECT t.wait_for($$NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 't_open')$$) AS ended;
SELECT status FROM rotor.rotate('t_app');
\setenv PGUSER t_app

-- Read-only transactions, the isolation levels, functions, savepoints.
BEGIN READ ONLY;
SELECT rotor.rotate('t_app');
:state
ROLLBACK;
BEGIN READ ONLY;
SELECT rotor.rollback('t_app');
:state
ROLLBACK;
SET default_transaction_read_only = on;
SELECT rotor.rotate('t_app', wait => false);
:state
RESET default_transaction_read_only;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) > 0 AS snapshot FROM rotor.rotations;
SELECT status, step, version_id IS NOT NULL AS version FROM rotor.rotate('t_app');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) > 0 AS snapshot FROM rotor.rotations;
SELECT status, step, version_id IS NOT NULL AS version FROM rotor.rotate('t_app');
SELECT status FROM rotor.rollback('t_app');
COMMIT;
DO $$
BEGIN
    FOR i IN 1 .. 3 LOOP
        IF (rotor.rotate('t_app')).status <> 'success' THEN
            RAISE 'not rotated';
        END IF;
    END LOOP;
END
$$;
SELECT secret, (rotor.rotate(secret)).status FROM rotor.secrets WHERE secret = 't_app';
:read
:login

-- A password that a human sets meanwhile no longer matters: the next rotation sets its own.
SET client_min_messages = error; -- a server that preloads rotor warns
ALTER ROLE t_app PASSWORD 'human';
RESET client_min_messages;
SELECT in_sync FROM rotor.coverage WHERE role = 't_app';
SELECT status, detail, hint FROM rotor.health() WHERE check_name = 'changed_elsewhere';
\setenv PGPASSWORD human
:login
SELECT status FROM rotor.rotate('t_app');
:login
:read
:login
SELECT in_sync FROM rotor.coverage WHERE role = 't_app';

-- rollback(): a rotation of its own makes the previous version current again, and the present one previous.
SELECT rotor.get_secret('t_app', 'previous') ->> 'version_id' AS previous, rotor.get_secret('t_app') ->> 'version_id' AS current \gset
SELECT trigger, status, strategy, version_id = :'previous' AS version FROM rotor.rollback('t_app');
:login
:read
:login
SELECT rotor.get_secret('t_app') ->> 'version_id' = :'previous' AS current,
       rotor.get_secret('t_app', 'previous') ->> 'version_id' = :'current' AS previous;
SELECT status, version_id = :'current' AS version FROM rotor.rollback(secret => 't_app');
:login
:read
:login
SELECT stage, count(*) FROM rotor.version v JOIN rotor.secret s ON s.id = v.secret_id
WHERE s.name = 't_app' AND stage IS NOT NULL GROUP BY stage ORDER BY stage;

-- Not where there is no previous version, and only for secrets.
SELECT status FROM rotor.rotate('t_new');
SELECT rotor.rollback('t_new');
:state
SELECT rotor.rollback('no such secret');
:state
CREATE ROLE t_unmanaged LOGIN;
SELECT rotor.rollback('t_unmanaged');
:state
SELECT rotor.rollback(NULL) IS NULL AS nothing;

-- terminate_sessions ends the role's other sessions once the new password is proved, and spares the caller.
\set open '\\set ignored `psql -X -q -c "SET application_name = ''t_open''" -c "SELECT pg_sleep(600)" >/dev/null 2>&1 &` \\\\ SELECT t.wait_for($$EXISTS (SELECT FROM pg_stat_activity WHERE application_name = ''t_open'' AND state = ''active'')$$) AS open;'
:open
SELECT status FROM rotor.rotate('t_app');
SELECT count(*) AS open FROM pg_stat_activity WHERE application_name = 't_open';
SELECT t.wait_for($$(SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = 't_app')$$) AS the_only_one;
SELECT status FROM rotor.rotate('t_app', terminate_sessions => true);
SELECT t.wait_for($$NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 't_open')$$) AS ended;
SELECT detail ->> 'sessions_ended' AS ended FROM rotor.audit_log WHERE secret = 't_app' AND event = 'finished' ORDER BY id DESC LIMIT 1;
GRANT USAGE ON SCHEMA rotor TO t_app;
GRANT EXECUTE ON FUNCTION rotor.rotate(text, boolean, text, text, boolean) TO t_app;
:open
\c - t_app
SELECT status FROM rotor.rotate('t_app', terminate_sessions => true);
SELECT current_user;
\c - postgres
SELECT t.wait_for($$NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 't_open')$$) AS ended;

-- Enrolling a role that has sessions open says so first.
CREATE ROLE t_busy LOGIN;
\setenv PGUSER t_busy
:open
SELECT status FROM rotor.rotate('t_busy');
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 't_open';
SELECT t.wait_for($$NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 't_open')$$) AS ended;

SELECT count(rotor.unmanage(secret)) FROM rotor.secrets WHERE secret IN ('t_app', 't_new', 't_busy');
DROP OWNED BY t_app;
DROP ROLE t_app, t_new, t_busy, t_unmanaged;
