--
-- health() and statistics().
--
\set state '\\echo SQLSTATE :LAST_ERROR_SQLSTATE'

-- One row a finding. Whether rotor is preloaded, how many workers run and how many keys there are differs by server.
SELECT count(*) BETWEEN 1 AND 2 AS findings, bool_and(status IN ('ok', 'warning') AND detail IS NOT NULL) AS well
FROM rotor.health() WHERE check_name IN ('preload', 'workers');
SELECT check_name, status, regexp_replace(regexp_replace(detail, '"/.*/rotor.key"', '"<path>/rotor.key"'), '^\d+', '<n>') AS detail, hint
FROM rotor.health() WHERE check_name NOT IN ('preload', 'workers', 'watched_roles');
SELECT DISTINCT status FROM rotor.health() WHERE status NOT IN ('ok', 'warning', 'error');
-- Whatever is not well says what to do.
SELECT check_name FROM rotor.health() WHERE (status = 'ok') <> (hint IS NULL);

-- What can be made to happen here: overdue, a secret that lost its role, one that a human changed, a dead letter.
CREATE ROLE t_late LOGIN;
CREATE ROLE t_lost LOGIN;
CREATE ROLE t_human LOGIN;
SELECT role, status FROM (VALUES ('t_late'), ('t_lost'), ('t_human')) v (role), LATERAL rotor.rotate(role);
SET client_min_messages = error; -- a server that preloads rotor warns
ALTER ROLE t_human PASSWORD 'mine';
RESET client_min_messages;
DROP ROLE t_lost;
BEGIN;
UPDATE rotor.secret SET next_rotation = now() - interval '2 minutes' WHERE name = 't_late';
SELECT check_name, status, detail, hint FROM rotor.health() WHERE check_name IN ('overdue', 'dropped_roles', 'changed_elsewhere');
ROLLBACK;
-- Somebody else's transaction that is read-only may look.
BEGIN READ ONLY;
SELECT count(*) > 5 AS findings FROM rotor.health();
COMMIT;
-- It finds no fault with itself afterwards.
SELECT count(rotor.unmanage(secret)) FROM rotor.secrets WHERE secret IN ('t_late', 't_lost', 't_human');
SELECT check_name, status FROM rotor.health() WHERE check_name IN ('overdue', 'dropped_roles', 'changed_elsewhere', 'dead_letters', 'without_owner');
DROP ROLE t_late, t_human;

-- statistics(): counted from reset_statistics() on.
SELECT at BETWEEN now() AND clock_timestamp() AS now FROM rotor.reset_statistics() at;
SELECT actor, event, result FROM rotor.audit_log WHERE event = 'statistics_reset' ORDER BY id DESC LIMIT 1;
SELECT jsonb_object_agg(key, jsonb_typeof(value)) AS keys FROM jsonb_each(rotor.statistics());
SELECT jsonb_pretty(rotor.statistics() - 'since' - 'active_schedules') AS nothing;
SET client_min_messages = warning; -- a server that does not preload rotor says so
CREATE ROLE t_count LOGIN;
CREATE ROLE t_scheduled LOGIN;
SELECT name FROM rotor.manage('t_scheduled', policy => 'high');
SELECT status FROM rotor.rotate('t_count');
SELECT status FROM rotor.rotate('t_count');
SELECT status FROM rotor.rotate('t_count');
BEGIN;
SELECT id FROM rotor.rotate('t_count', wait => false) \gset
SELECT status FROM rotor.cancel(:'id');
COMMIT;
BEGIN;
SELECT status FROM rotor.rotate('t_count', wait => false);
ALTER ROLE t_count NOLOGIN;
COMMIT;
SELECT count(*) >= 0 AS done FROM rotor.run_due();
CALL t.settled('t_count');
SELECT s - 'since' - 'duration_ms' - 'active_schedules' AS counts, (s -> 'active_schedules')::int >= 1 AS schedules FROM rotor.statistics() s;
SELECT (d -> 'average')::float8 > 0 AS average, (d -> 'p50')::float8 > 0 AS p50, (d -> 'p95')::float8 >= (d -> 'p50')::float8 AS p95,
       (d -> 'max')::float8 >= (d -> 'p95')::float8 AS max, d - 'average' - 'p50' - 'p95' - 'max' AS nothing_else
FROM (SELECT rotor.statistics() -> 'duration_ms' AS d) s;
BEGIN;
ALTER ROLE t_count LOGIN;
SELECT status FROM rotor.rotate('t_count', wait => false);
SELECT rotor.statistics() -> 'active_rotations' AS active;
ROLLBACK;
-- Nothing is deleted by a reset.
SELECT count(*) AS rotations FROM rotor.rotations \gset
SELECT rotor.reset_statistics() IS NOT NULL AS reset;
SELECT s -> 'total' AS total, s -> 'successes' AS successes, s -> 'success_rate' AS success_rate,
       (s ->> 'since')::timestamptz = (SELECT at FROM rotor.statistics_reset) AS since FROM rotor.statistics() s;
SELECT count(*) - :rotations AS more FROM rotor.rotations;
\set VERBOSITY terse
INSERT INTO rotor.statistics_reset VALUES (false);
:state
\set VERBOSITY default
BEGIN READ ONLY;
SELECT rotor.reset_statistics();
:state
ROLLBACK;
-- A secret that is no longer managed leaves no dead letter behind.
SELECT status FROM rotor.health() WHERE check_name = 'dead_letters';
SELECT count(rotor.unmanage(secret)) FROM rotor.secrets WHERE secret IN ('t_count', 't_scheduled');
SELECT status FROM rotor.health() WHERE check_name = 'dead_letters';
SELECT count(*) FROM rotor.dead_letter;
DROP ROLE t_count, t_scheduled;
