--
-- When a policy rotates: interval or cron, time zone, windows, jitter. What cannot be is refused with the place and the
-- remedy, what will be is listed; and a policy that was changed plans its secrets anew.
--
\set state '\\echo SQLSTATE :LAST_ERROR_SQLSTATE'
SET client_min_messages = warning; -- a server that does not preload rotor says so
-- What a schedule means does not depend on the session.
SET TimeZone = 'Asia/Kathmandu';
SET IntervalStyle = 'sql_standard';

-- What contradicts itself, by the names of the constraints.
\set VERBOSITY terse
INSERT INTO rotor.policy (name, schedule, rotation_interval) VALUES ('t_bad', '@daily', '1 day');
:state
INSERT INTO rotor.policy (name, window_schedule) VALUES ('t_bad', '@daily');
INSERT INTO rotor.policy (name, window_duration) VALUES ('t_bad', '1 hour');
INSERT INTO rotor.policy (name, rotation_interval, window_duration) VALUES ('t_bad', '1 day', '1 hour');
INSERT INTO rotor.policy (name, schedule, window_duration) VALUES ('t_bad', '@daily', '59 seconds');
INSERT INTO rotor.policy (name, schedule, window_duration) VALUES ('t_bad', '@daily', '32 days');
INSERT INTO rotor.policy (name, schedule, jitter) VALUES ('t_bad', '@daily', '-1 second');
INSERT INTO rotor.policy (name, schedule, jitter) VALUES ('t_bad', '@daily', '32 days');
INSERT INTO rotor.policy (name, valid_until_margin) VALUES ('t_bad', '1 day');
\set VERBOSITY default

-- What cannot be read, or never comes.
INSERT INTO rotor.policy (name, schedule) VALUES ('t_bad', '30 24 * * *');
:state
INSERT INTO rotor.policy (name, schedule) VALUES ('t_bad', '@every 5m');
:state
INSERT INTO rotor.policy (name, schedule) VALUES ('t_bad', '0 0 31 2 *');
:state
INSERT INTO rotor.policy (name, schedule) VALUES ('t_bad', '0 3 * * * root');
INSERT INTO rotor.policy (name, schedule) VALUES ('t_bad', '');
INSERT INTO rotor.policy (name, rotation_interval, window_schedule, window_duration)
    VALUES ('t_bad', '1 day', '0 22 * * noday', '1 hour');
:state
INSERT INTO rotor.policy (name, schedule, time_zone) VALUES ('t_bad', '@daily', 'Europe/Atlantis');
:state
UPDATE rotor.policy SET schedule = '0 0 * *' WHERE name = 'default';
:state
SELECT count(*) FROM rotor.policy WHERE name = 't_bad' OR schedule IS NOT NULL;

-- The next runs. A time that is skipped comes right after the gap, one that is repeated the first time; wildcards go
-- by the time that passes.
SET TimeZone = 'UTC';
INSERT INTO rotor.policy (name, schedule, time_zone) VALUES
    ('t_utc', '0 3 * * mon-fri', NULL), ('t_berlin', '30 2 * * *', 'Europe/Berlin'),
    ('t_berlin_often', '*/30 2 * * *', 'Europe/Berlin'), ('t_new_york', '30 1 * * *', 'America/New_York'),
    ('t_lord_howe', '15 2 * * *', 'Australia/Lord_Howe'), ('t_apia', '0 3 * * *', 'Pacific/Apia'),
    ('t_leap', '0 12 29 feb *', 'Europe/Berlin'), ('t_havana', '@daily', 'America/Havana');
SELECT * FROM rotor.next_runs('t_utc', 4, '2026-11-19 12:00');
SELECT planned FROM rotor.next_runs('t_berlin', 3, '2026-03-28 00:00');
SELECT planned FROM rotor.next_runs('t_berlin', 3, '2026-10-24 00:00');
SELECT planned FROM rotor.next_runs('t_berlin_often', 3, '2026-03-28 00:00');
SELECT planned FROM rotor.next_runs('t_berlin_often', 5, '2026-10-24 12:00');
SELECT planned FROM rotor.next_runs('t_new_york', 3, '2026-03-08 00:00');
SELECT planned FROM rotor.next_runs('t_new_york', 3, '2026-10-31 00:00');
SELECT planned FROM rotor.next_runs('t_lord_howe', 3, '2026-04-03 00:00');
SELECT planned FROM rotor.next_runs('t_lord_howe', 3, '2026-10-02 00:00');
SELECT planned FROM rotor.next_runs('t_apia', 4, '2011-12-28 14:00');
SELECT planned FROM rotor.next_runs('t_leap', 3, '2026-01-01 00:00');
SELECT planned FROM rotor.next_runs('t_havana', 2, '2026-03-07 12:00');
-- Each day of a year has its run, also those with 23 and 25 hours, where clocks are changed.
SELECT zone, count(DISTINCT (planned AT TIME ZONE zone)::date) AS days, count(*) AS runs
FROM (VALUES ('t_berlin', 'Europe/Berlin'), ('t_new_york', 'America/New_York'), ('t_lord_howe', 'Australia/Lord_Howe'),
        ('t_havana', 'America/Havana')) z (policy, zone),
    rotor.next_runs(policy, 365, '2025-12-31 23:59'::timestamp AT TIME ZONE zone)
WHERE (planned AT TIME ZONE zone) < '2027-01-01' GROUP BY zone ORDER BY zone;

-- A zone that is gone: out of a dump a policy is taken all the same, and goes by UTC.
SET check_function_bodies = off;
INSERT INTO rotor.policy (name, schedule, time_zone) VALUES ('t_gone', '30 2 * * *', 'Europe/Atlantis');
RESET check_function_bodies;
SELECT planned FROM rotor.next_runs('t_gone', 2, '2026-03-28 12:00');
UPDATE rotor.policy SET time_zone = 'Europe/Berlin' WHERE name = 't_gone';

-- An interval counts days and months by the calendar of the zone, the rest by the time that passes.
INSERT INTO rotor.policy (name, rotation_interval, time_zone) VALUES
    ('t_day', '1 day', 'Europe/Berlin'), ('t_24_hours', '24 hours', 'Europe/Berlin'), ('t_month', '1 month', NULL),
    ('t_day_utc', '1 day', NULL);
SELECT planned FROM rotor.next_runs('t_day', 2, '2026-03-28 12:00:00.5');
SELECT planned FROM rotor.next_runs('t_24_hours', 2, '2026-03-28 12:00');
SELECT planned FROM rotor.next_runs('t_day_utc', 2, '2026-03-28 12:00');
SELECT planned FROM rotor.next_runs('t_month', 3, '2026-01-31 12:00');
-- An hour to the table, and a step back in February: the next time comes later all the same.
INSERT INTO rotor.policy (name, rotation_interval) VALUES ('t_back', '1 month -29 days -23:00');
SELECT planned FROM rotor.next_runs('t_back', 3, '2026-02-28 23:59');

-- Windows and jitter: a run is moved to where a window opens, and its jitter does not leave it.
INSERT INTO rotor.policy (name, schedule, rotation_interval, time_zone, window_schedule, window_duration, jitter) VALUES
    ('t_own', '0 3 * * sun', NULL, NULL, NULL, '4 hours', '3 hours'),
    ('t_short', '0 3 * * sun', NULL, NULL, NULL, '1 hour', '3 hours'),
    ('t_night', '0 12 * * *', NULL, 'Europe/Berlin', '0 22 * * mon-fri', '8 hours', '1 hour'),
    ('t_weekly', NULL, '7 days', NULL, '0 1 * * sat', '1 day', NULL),
    ('t_scattered', NULL, '1 day', NULL, NULL, NULL, '2 hours');
SELECT * FROM rotor.next_runs('t_own', 2, '2026-03-01 12:00');
SELECT * FROM rotor.next_runs('t_short', 2, '2026-03-01 12:00');
SELECT * FROM rotor.next_runs('t_night', 4, '2026-03-26 12:00');
SELECT * FROM rotor.next_runs('t_weekly', 3, '2026-03-03 12:00');
SELECT * FROM rotor.next_runs('t_scattered', 2, '2026-03-03 12:00');

-- In a year with its changes of clocks: each run lies in a window, whose end is told; and no run that the schedule alone
-- would have there is left out.
INSERT INTO rotor.policy (name, schedule, rotation_interval, time_zone, window_schedule, window_duration) VALUES
    ('t_w1', '*/20 * * * *', NULL, 'Europe/Berlin', '30 1 * * *', '90 minutes'), ('t_w1_w', '30 1 * * *', NULL, 'Europe/Berlin', NULL, NULL),
    ('t_w1_s', '*/20 * * * *', NULL, 'Europe/Berlin', NULL, NULL),
    ('t_w2', '15 2,14 * * *', NULL, 'Australia/Lord_Howe', '0 */6 * * *', '3 hours'), ('t_w2_w', '0 */6 * * *', NULL, 'Australia/Lord_Howe', NULL, NULL),
    ('t_w2_s', '15 2,14 * * *', NULL, 'Australia/Lord_Howe', NULL, NULL),
    ('t_w3', '0 12 * * *', NULL, 'America/New_York', '0 22 * * fri,sat', '30 hours'), ('t_w3_w', '0 22 * * fri,sat', NULL, 'America/New_York', NULL, NULL),
    ('t_w3_s', '0 12 * * *', NULL, 'America/New_York', NULL, NULL);
WITH policy AS (SELECT name, window_duration FROM rotor.policy WHERE name IN ('t_w1', 't_w2', 't_w3')),
opening AS MATERIALIZED (
    SELECT p.name, o.planned AS opens, o.planned + p.window_duration AS closes
    FROM policy p, rotor.next_runs(p.name || '_w', 2500, '2025-12-25 00:00') o),
run AS MATERIALIZED (
    SELECT p.name, r.planned, r.window_end FROM policy p, rotor.next_runs(p.name, 10000, '2026-01-01 00:00') r WHERE r.planned < '2027-01-01 00:00'),
wanted AS (
    SELECT p.name, s.planned FROM policy p, rotor.next_runs(p.name || '_s', 10000, '2026-01-01 00:00') s
    WHERE s.planned < '2026-05-15 00:00' AND EXISTS (SELECT FROM opening o WHERE o.name = p.name AND s.planned >= o.opens AND s.planned < o.closes))
SELECT r.name, count(*) > 100 AS many,
    bool_and(EXISTS (SELECT FROM opening o WHERE o.name = r.name AND r.planned >= o.opens AND r.planned < o.closes AND r.window_end = o.closes)) AS in_a_window,
    (SELECT count(*) FROM wanted w WHERE w.name = r.name AND NOT EXISTS (SELECT FROM run WHERE run.name = w.name AND run.planned = w.planned)) AS left_out
FROM run r GROUP BY r.name ORDER BY r.name;

-- Nothing to list, and what cannot be listed.
SELECT * FROM rotor.next_runs('default');
SELECT count(*), min(planned) > now() AS later FROM rotor.next_runs('t_utc');
SELECT t.error($$SELECT * FROM rotor.next_runs('t_none')$$);
SELECT t.error($$SELECT * FROM rotor.next_runs(NULL)$$);
SELECT t.error($$SELECT * FROM rotor.next_runs('t_utc', 0)$$);
SELECT t.error($$SELECT * FROM rotor.next_runs('t_utc', NULL)$$);
SELECT t.error($$SELECT * FROM rotor.next_runs('t_utc', 10001)$$);
SELECT t.error($$SELECT * FROM rotor.next_runs('t_utc', 1, 'infinity')$$);
SELECT count(*) FROM rotor.next_runs('t_utc', 1, '9999-12-31 12:00');

-- A secret is planned by its policy, ...
CREATE ROLE t_planned LOGIN;
CREATE ROLE t_other LOGIN;
SELECT next_rotation = (SELECT planned FROM rotor.next_runs('t_utc', 1)) AS as_listed FROM rotor.manage('t_planned', policy => 't_utc');
SELECT next_rotation BETWEEN planned AND latest AS within_its_jitter
FROM rotor.manage('t_planned', policy => 't_own'), rotor.next_runs('t_own', 1);
SELECT d ->> 'schedule' AS schedule, d ->> 'time_zone' AS time_zone, d ->> 'window_schedule' AS window_schedule,
       d ->> 'window_duration' AS window_duration, d ->> 'jitter' AS jitter, d ->> 'rotation_interval' AS rotation_interval
FROM rotor.describe('t_planned') d;
-- ... by its policy's new schedule as soon as that is changed, while others stay as they are, ...
SELECT next_rotation IS NOT NULL AS planned FROM rotor.manage('t_other', policy => 't_berlin');
CREATE TEMPORARY TABLE t_before AS SELECT secret, next_rotation FROM rotor.secrets;
UPDATE rotor.policy SET schedule = '0 0 1 1 *', window_duration = NULL, jitter = NULL WHERE name = 't_own';
SELECT s.secret, s.next_rotation = (SELECT planned FROM rotor.next_runs('t_own', 1)) AS as_listed, s.next_rotation = b.next_rotation AS as_before
FROM rotor.secrets s JOIN t_before b USING (secret) WHERE s.secret IN ('t_planned', 't_other') ORDER BY 1;
UPDATE rotor.policy SET schedule = NULL WHERE name = 't_own';
SELECT next_rotation FROM rotor.secrets WHERE secret = 't_planned';
-- ... an interval counting from the last rotation, ...
SELECT status FROM rotor.rotate('t_planned');
UPDATE rotor.policy SET rotation_interval = '1 hour' WHERE name = 't_own';
SELECT next_rotation - last_rotation BETWEEN '59 minutes' AND '61 minutes' AS in_an_hour FROM rotor.secrets WHERE secret = 't_planned';
UPDATE rotor.policy SET rotation_interval = '30 days', time_zone = 'Europe/Berlin' WHERE name = 't_own';
SELECT (next_rotation AT TIME ZONE 'Europe/Berlin') - (last_rotation AT TIME ZONE 'Europe/Berlin') BETWEEN '30 days -1 minute' AND '30 days 1 minute' AS in_30_days
FROM rotor.secrets WHERE secret = 't_planned';
-- ... and a change of anything else leaves the plan alone.
UPDATE t_before b SET next_rotation = s.next_rotation FROM rotor.secrets s WHERE s.secret = b.secret;
UPDATE rotor.policy SET jitter = '0', length = 40 WHERE name = 't_berlin_often';
UPDATE rotor.policy SET length = 40, name = 't_renamed' WHERE name = 't_own';
SELECT s.secret, s.policy, s.next_rotation = b.next_rotation AS as_before FROM rotor.secrets s JOIN t_before b USING (secret) WHERE secret IN ('t_planned', 't_other') ORDER BY 1;
-- Many secrets, more than are planned at once, also those that are disabled or unmanaged.
INSERT INTO rotor.secret (name, username, role_oid, system_identifier, policy, created_by, enabled, deleted_at)
    SELECT 't_many_' || i, 't_many', 4000000000 + i, system_identifier, 't_utc', 'test', i % 2 = 0, CASE WHEN i % 3 = 0 THEN now() END
    FROM generate_series(1, 2500) i, pg_control_system();
UPDATE rotor.policy SET schedule = '30 4 * * *' WHERE name = 't_utc';
SELECT count(*), count(DISTINCT next_rotation), bool_and(next_rotation > now() AND next_rotation <= now() + interval '1 day') AS soon
FROM rotor.secret WHERE name LIKE 't\_many%';
UPDATE rotor.policy SET schedule = NULL WHERE name = 't_utc';
SELECT count(next_rotation) FROM rotor.secret WHERE name LIKE 't\_many%';
DELETE FROM rotor.secret WHERE name LIKE 't\_many%';

-- VALID UNTIL is past the next rotation with all of its jitter.
INSERT INTO rotor.policy (name, schedule, window_duration, jitter, valid_until_margin) VALUES ('t_mortal', '0 3 * * *', '2 hours', '1 hour', '12 hours');
SELECT policy FROM rotor.manage('t_other', policy => 't_mortal');
SELECT status FROM rotor.rotate('t_other');
SELECT a.rolvaliduntil BETWEEN s.next_rotation + interval '12 hours' AND s.next_rotation + interval '13 hours' AS past_it
FROM pg_authid a JOIN rotor.secrets s ON s.secret = a.rolname WHERE a.rolname = 't_other';

-- Each change is in the audit.
SELECT detail -> 'old' ->> 'schedule' AS old, detail -> 'new' ->> 'schedule' AS new FROM rotor.audit_log
WHERE event = 'configuration_updated' AND detail -> 'old' ->> 'name' = 't_utc' ORDER BY id;

SELECT (rotor.unmanage('t_planned')).name, (rotor.unmanage('t_other')).name;
DROP ROLE t_planned, t_other;
DROP TABLE t_before;
DELETE FROM rotor.policy p WHERE name LIKE 't\_%' AND NOT EXISTS (SELECT FROM rotor.secret s WHERE s.policy = p.name);
