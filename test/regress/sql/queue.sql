--
-- Rotations that nobody waits for: wait => false, the schedule, run_due(), cancel(), dead letters and requeue().
--
\set state '\\echo SQLSTATE :LAST_ERROR_SQLSTATE'
\set login 'SELECT rotor.get_secret(:''secret'') ->> ''username'' AS "PGUSER", rotor.get_secret(:''secret'') ->> ''password'' AS "PGPASSWORD" \\gset\n\\setenv PGUSER :PGUSER\n\\setenv PGPASSWORD :PGPASSWORD\n\\set who `psql -X -A -t -q -h 127.0.0.1 -c "SELECT current_user" 2>&1 | sed "s/^.*FATAL: */FATAL: /"`\n\\echo :who'
\setenv PGDATABASE :DBNAME
\set secret t_queue
-- A server that does not preload rotor says that nothing runs by itself.
SET client_min_messages = warning;
CREATE ROLE t_queue LOGIN;

-- Queued in the caller's transaction, gone with its rollback; enrolment too.
BEGIN;
SELECT status, step, trigger, strategy, attempt, version_id, started_at, finished_at, requested_by, reason, terminate_sessions,
       next_attempt_at IS NOT NULL AS due
FROM rotor.rotate('t_queue', wait => false, strategy => 'immediate', reason => 'soon', terminate_sessions => true);
SELECT secret, last_status FROM rotor.secrets WHERE secret = 't_queue';
SELECT secret, policy, due_at <= clock_timestamp() AS due, rotation IS NOT NULL AS queued FROM rotor.upcoming WHERE secret = 't_queue';
-- One at a time.
SELECT t.error($$SELECT rotor.rotate('t_queue', wait => false)$$);
ROLLBACK;
SELECT count(*) FROM rotor.secrets WHERE secret = 't_queue';

-- After the commit a worker does it, or run_due() here and now.
SELECT status FROM rotor.rotate('t_queue', wait => false, reason => 'queued');
SELECT count(*) >= 0 AS done FROM rotor.run_due();
CALL t.settled('t_queue');
SELECT status, trigger, strategy, reason, requested_by, session_user_name FROM rotor.rotations WHERE secret = 't_queue';
:login
SELECT event, result FROM rotor.audit_log WHERE secret = 't_queue' ORDER BY id;

-- Nothing needs to be committed first: the worker sees all of the transaction, or nothing.
BEGIN;
INSERT INTO rotor.policy (name, type, length) VALUES ('t_digits', 'hex', 8);
CREATE ROLE t_other LOGIN;
SELECT policy FROM rotor.manage('t_other', policy => 't_digits');
SELECT status FROM rotor.rotate('t_other', wait => false);
COMMIT;
SELECT count(*) >= 0 AS done FROM rotor.run_due();
CALL t.settled('t_other');
SELECT rotor.get_secret('t_other') ->> 'password' ~ '^[0-9a-f]{8}$' AS as_the_policy_says;
SELECT (rotor.unmanage('t_other')).name;

-- run_due() counts by status what it did; nothing due, nothing to count.
SELECT pg_typeof(status), pg_typeof(rotations) FROM rotor.run_due() RIGHT JOIN (VALUES (1)) v ON true;
SELECT * FROM rotor.run_due();

-- Due by schedule.
INSERT INTO rotor.policy (name, rotation_interval) VALUES ('t_hourly', '1 hour');
SELECT policy FROM rotor.manage('t_queue', policy => 't_hourly');
SELECT secret, overdue, rotation FROM rotor.upcoming WHERE secret = 't_queue';
UPDATE rotor.secret SET next_rotation = now() - interval '1 day' WHERE name = 't_queue';
SELECT count(*) >= 0 AS done FROM rotor.run_due();
CALL t.wait_until($$(SELECT count(*) = 2 FROM rotor.rotations WHERE secret = 't_queue' AND status = 'success')$$);
SELECT trigger, status, requested_by, session_user_name FROM rotor.rotations WHERE secret = 't_queue' ORDER BY queued_at DESC LIMIT 1;
SELECT next_rotation > now() + interval '50 minutes' AS scheduled_anew FROM rotor.secrets WHERE secret = 't_queue';
:login
-- Not when disabled, nor when unmanaged.
SELECT enabled FROM rotor.disable('t_queue');
UPDATE rotor.secret SET next_rotation = now() - interval '1 day' WHERE name = 't_queue';
SELECT count(*) FROM rotor.upcoming WHERE secret = 't_queue';
SELECT * FROM rotor.run_due();
SELECT (rotor.unmanage('t_queue')).name;
SELECT * FROM rotor.run_due();
SELECT (rotor.restore('t_queue')).enabled;
SELECT count(*) FROM rotor.rotations WHERE secret = 't_queue';
-- But when asked.
SELECT status, trigger FROM rotor.rotate('t_queue');
SELECT policy FROM rotor.manage('t_queue', policy => 'default');
SELECT enabled FROM rotor.enable('t_queue');

-- A secret that keeps failing comes back by itself, after pauses that double, up to its interval or a day.
CREATE PROCEDURE t.fail(name text) LANGUAGE plpgsql AS $$
DECLARE
    settled text;
BEGIN
    UPDATE rotor.secret s SET next_rotation = now() - interval '1 minute' WHERE s.name = fail.name AND deleted_at IS NULL;
    COMMIT;
    PERFORM rotor.run_due();
    settled := format('(SELECT next_rotation > now() FROM rotor.secret WHERE name = %L AND deleted_at IS NULL)', name);
    CALL t.wait_until(settled);
END
$$;
CREATE VIEW t.quarantine AS
    SELECT s.secret, s.state, s.failures, s.quarantined_until = s.next_rotation AS until,
           CASE WHEN s.state = 'quarantined' THEN date_trunc('minute', s.next_rotation - r.finished_at + interval '30 seconds') END AS pause,
           (SELECT count(*) FROM rotor.audit_log a WHERE a.secret = s.secret AND event = 'quarantined'
            AND (detail ->> 'until')::timestamptz IS NOT NULL) AS told
    FROM rotor.secrets s JOIN rotor.rotations r ON r.id = s.last_rotation_id WHERE s.secret IN ('t_fails', 't_days');
INSERT INTO rotor.policy (name, rotation_interval) VALUES ('t_days', '2 days');
INSERT INTO rotor.policy (name, rotation_interval, backoff, backoff_max) VALUES ('t_five', '5 minutes', '1 ms', '1 ms');
CREATE ROLE t_fails LOGIN;
CREATE ROLE t_days LOGIN;
SELECT secret, policy FROM (VALUES ('t_fails', 't_five'), ('t_days', 't_days')) v (secret, as_policy), LATERAL (SELECT policy FROM rotor.manage(secret, policy => as_policy)) m;
ALTER ROLE t_fails NOLOGIN;
ALTER ROLE t_days NOLOGIN;
CALL t.fail('t_days');
CALL t.fail('t_fails');
SELECT * FROM t.quarantine ORDER BY secret;
CALL t.fail('t_days');
CALL t.fail('t_fails');
SELECT * FROM t.quarantine ORDER BY secret;
CALL t.fail('t_fails');
CALL t.fail('t_fails');
SELECT * FROM t.quarantine WHERE secret = 't_fails';
-- The last dead letter stands for all, for none has changed anything.
SELECT count(*) AS rotations, count(*) FILTER (WHERE dead_letter) AS dead_letters FROM rotor.rotations WHERE secret = 't_fails';
UPDATE rotor.secret SET failures = 100 WHERE name = 't_days' AND deleted_at IS NULL;
CALL t.fail('t_days');
SELECT * FROM t.quarantine WHERE secret = 't_days';
SELECT check_name, status, detail FROM rotor.health() WHERE check_name = 'quarantined';
SELECT secret, finding, severity, since IS NOT NULL AS since FROM rotor.compliance WHERE secret = 't_days' AND finding = 'quarantined';
-- What somebody asks for runs at once, and counts from the beginning if it fails too.
BEGIN;
ALTER ROLE t_days LOGIN;
SELECT status FROM rotor.rotate('t_days', wait => false);
ALTER ROLE t_days NOLOGIN;
COMMIT;
SELECT count(*) >= 0 AS done FROM rotor.run_due();
CALL t.settled('t_days');
SELECT * FROM t.quarantine WHERE secret = 't_days';
-- requeue() ends it, and so does a success; what is over leaves no trace but the audit.
ALTER ROLE t_days LOGIN;
ALTER ROLE t_fails LOGIN;
SELECT id FROM rotor.dead_letter WHERE secret = 't_days' ORDER BY queued_at DESC LIMIT 1 \gset
BEGIN;
SELECT status FROM rotor.requeue(:'id');
SELECT failures, state, quarantined_until FROM rotor.secrets WHERE secret = 't_days';
COMMIT;
SELECT count(*) >= 0 AS done FROM rotor.run_due();
CALL t.settled('t_days');
SELECT status FROM rotor.rotate('t_fails');
SELECT * FROM t.quarantine ORDER BY secret;
SELECT count(*) FROM rotor.dead_letter WHERE secret IN ('t_days', 't_fails');
-- Another policy ends it as well, for it sets another date.
ALTER ROLE t_fails NOLOGIN;
CALL t.fail('t_fails');
SELECT state FROM rotor.secrets WHERE secret = 't_fails';
SELECT policy FROM rotor.manage('t_fails', policy => 't_days');
SELECT state, quarantined_until FROM rotor.secrets WHERE secret = 't_fails';
-- What is cancelled has not failed.
SELECT failures FROM rotor.secrets WHERE secret = 't_days';
BEGIN;
SELECT id FROM rotor.rotate('t_days', wait => false) \gset
SELECT status FROM rotor.cancel(:'id');
COMMIT;
SELECT failures, state FROM rotor.secrets WHERE secret = 't_days';
SELECT count(rotor.manage(secret, policy => 'default')) FROM rotor.secrets WHERE secret IN ('t_days', 't_fails');
SELECT count(rotor.unmanage(secret)) FROM rotor.secrets WHERE secret IN ('t_days', 't_fails');
DELETE FROM rotor.policy WHERE name IN ('t_days', 't_five');
DROP ROLE t_fails, t_days;
DROP VIEW t.quarantine;
DROP PROCEDURE t.fail(text);

-- cancel(): before anything was changed.
SELECT rotor.get_secret('t_queue') ->> 'version_id' AS version \gset
BEGIN;
SELECT id FROM rotor.rotate('t_queue', wait => false) \gset
SELECT status, step, outcome, error_code, error_message, dead_letter, version_id, started_at, finished_at IS NOT NULL AS ended FROM rotor.cancel(:'id');
COMMIT;
SELECT * FROM rotor.run_due();
SELECT status FROM rotor.rotations WHERE id = :'id';
SELECT rotor.get_secret('t_queue') ->> 'version_id' = :'version' AS unchanged;
SELECT actor, event, result FROM rotor.audit_log WHERE rotation = :'id' ORDER BY id;
SELECT rotor.cancel(:'id');
:state
SELECT id FROM rotor.rotate('t_queue') \gset
SELECT rotor.cancel(rotation => :'id');
:state
SELECT t.error($$SELECT rotor.cancel('00000000-0000-4000-8000-000000000000')$$);
SELECT rotor.cancel(NULL) IS NULL AS nothing;
BEGIN READ ONLY;
SELECT rotor.cancel(:'id');
:state
ROLLBACK;

-- A dead letter: the role may not log in any more when the worker comes to it.
BEGIN;
SELECT id FROM rotor.rotate('t_queue', wait => false) \gset
ALTER ROLE t_queue NOLOGIN;
COMMIT;
SELECT count(*) >= 0 AS done FROM rotor.run_due();
CALL t.settled('t_queue');
SELECT status, step, attempt, dead_letter, outcome, error_code, error_message, next_attempt_at FROM rotor.rotations WHERE id = :'id';
SELECT secret, role, step, attempt, outcome, error_code, error_message, trigger, requested_by, state, t.masked(remedy) AS remedy
FROM rotor.dead_letter;
SELECT status, detail, hint FROM rotor.health() WHERE check_name = 'dead_letters';
SELECT secret, last_status, last_error_code, last_error, last_rotation_id = :'id' AS this_one FROM rotor.secrets WHERE secret = 't_queue';
-- It stays what it is: nobody tries again by himself.
SELECT * FROM rotor.run_due();
-- requeue() takes it up again, where it stopped.
ALTER ROLE t_queue LOGIN;
BEGIN;
SELECT status, step, attempt, dead_letter, outcome, next_attempt_at IS NOT NULL AS due, finished_at FROM rotor.requeue(:'id');
ROLLBACK;
SELECT count(*) FROM rotor.dead_letter;
SELECT status, step FROM rotor.requeue(:'id');
SELECT count(*) >= 0 AS done FROM rotor.run_due();
CALL t.settled('t_queue');
SELECT status, step, dead_letter, error_code, error_message, finished_at IS NOT NULL AS finished FROM rotor.rotations WHERE id = :'id';
SELECT count(*) FROM rotor.dead_letter;
:login
SELECT actor, event, result FROM rotor.audit_log WHERE rotation = :'id' ORDER BY id;
SELECT rotor.requeue(:'id');
:state
SELECT t.error($$SELECT rotor.requeue('00000000-0000-4000-8000-000000000000')$$);
SELECT rotor.requeue(NULL) IS NULL AS nothing;

-- A dead letter is settled by a later success too, and cannot be requeued while another rotation is active.
BEGIN;
SELECT id FROM rotor.rotate('t_queue', wait => false) \gset
ALTER ROLE t_queue NOLOGIN;
COMMIT;
SELECT count(*) >= 0 AS done FROM rotor.run_due();
CALL t.settled('t_queue');
ALTER ROLE t_queue LOGIN;
BEGIN;
SELECT status FROM rotor.rotate('t_queue', wait => false);
SELECT rotor.requeue(:'id');
:state
ROLLBACK;
SELECT count(*) FROM rotor.dead_letter;
SELECT status FROM rotor.rotate('t_queue');
SELECT count(*) FROM rotor.dead_letter;
SELECT status, dead_letter FROM rotor.rotations WHERE id = :'id';

-- Nor after its secret's management ended: nobody would know the password.
BEGIN;
SELECT id FROM rotor.rotate('t_queue', wait => false) \gset
ALTER ROLE t_queue NOLOGIN;
COMMIT;
SELECT count(*) >= 0 AS done FROM rotor.run_due();
CALL t.settled('t_queue');
SET client_min_messages = error; -- a server that preloads rotor warns
ALTER ROLE t_queue LOGIN PASSWORD 'mine again';
SET client_min_messages = warning;
SELECT (rotor.unmanage('t_queue')).name;
SELECT rolpassword AS verifier FROM pg_authid WHERE rolname = 't_queue' \gset
SELECT t.error(format('SELECT rotor.requeue(%L)', :'id')) LIKE '42704 secret "t\_queue" is no longer managed%HINT%' AS refused;
SELECT count(*) >= 0 AS done FROM rotor.run_due();
SELECT rolpassword = :'verifier' AS untouched FROM pg_authid WHERE rolname = 't_queue';
SELECT (rotor.restore('t_queue')).name;
SELECT status FROM rotor.rotate('t_queue');

-- Many at once: each is done, none twice.
SELECT format('CREATE ROLE t_many_%s LOGIN', i) FROM generate_series(1, 20) i \gexec
\o /dev/null
SELECT rotor.rotate('t_many_' || i, wait => false) FROM generate_series(1, 20) i;
\o
SELECT count(*) >= 0 AS done FROM rotor.run_due();
CALL t.wait_until($$(SELECT count(*) = 20 FROM rotor.rotations WHERE secret LIKE 't\_many\_%' AND status = 'success')$$);
SELECT count(*) AS rotations, count(DISTINCT secret) AS secrets FROM rotor.rotations WHERE secret LIKE 't\_many\_%';
SELECT bool_and(in_sync) AS in_sync FROM rotor.coverage WHERE role LIKE 't\_many\_%';

SELECT count(rotor.unmanage(secret)) FROM rotor.secrets WHERE secret LIKE 't\_many\_%' OR secret = 't_queue';
SELECT format('DROP ROLE t_many_%s', i) FROM generate_series(1, 20) i \gexec
DROP ROLE t_queue, t_other;
