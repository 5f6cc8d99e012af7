--
-- The views: their columns, what they show, and that none shows a value.
--
SELECT c.relname AS view, string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum) AS columns
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'rotor'::regnamespace AND c.relkind = 'v' GROUP BY c.relname ORDER BY c.relname;
SELECT relname AS "table" FROM pg_class WHERE relnamespace = 'rotor'::regnamespace AND relkind IN ('r', 'p') AND relname !~ '^audit_[0-9]' ORDER BY relname;

-- The table that decides what follows each outcome of each step. Whoever changes src/fsm.c changes this with it.
SELECT * FROM rotor.transitions;
-- Each step has its exits, each state that goes on is reached by one.
SELECT step, outcome, count(*) FROM rotor.transitions GROUP BY step, outcome HAVING count(*) > 1;
SELECT DISTINCT next_step FROM rotor.transitions WHERE next_step <> 'done' AND next_step NOT IN (SELECT step FROM rotor.transitions);
SELECT DISTINCT step FROM rotor.transitions WHERE step NOT IN ('create') AND step NOT IN (SELECT next_step FROM rotor.transitions);
SELECT step, outcome FROM rotor.transitions WHERE (next_step = 'done') <> (status IN ('success', 'failed', 'rolled_back', 'cancelled'));
SELECT count(*) FROM (SELECT * FROM rotor.transitions() EXCEPT SELECT * FROM rotor.transitions) d;

-- coverage: every login role of the cluster, managed or not.
CREATE ROLE t_group;
CREATE ROLE t_none LOGIN;
SET client_min_messages = error; -- from 18 on an MD5 verifier is warned of
CREATE ROLE t_md5 LOGIN PASSWORD 'md5c9b8b1ec4b1a4ec4a40cc1c24d7f4d6b';
RESET client_min_messages;
CREATE ROLE t_scram LOGIN PASSWORD 'by hand';
CREATE ROLE t_expired LOGIN VALID UNTIL '2020-01-01 00:00:00+00';
CREATE ROLE t_seen LOGIN;
CREATE ROLE t_weekly LOGIN;
SELECT status FROM rotor.rotate('t_seen');
SELECT name FROM rotor.manage('t_weekly', policy => 'high');
SELECT role, secret, managed, superuser, replication, password_type, scram_iterations >= 4096 AS iterations, valid_until IS NOT NULL AS valid_until,
       expired, password_age IS NOT NULL AS age, policy, rotation_interval, overdue, in_sync
FROM rotor.coverage WHERE role LIKE 't\_%' ORDER BY role;
SELECT count(*) = (SELECT count(*) FROM pg_roles WHERE rolcanlogin) AS every_login_role, count(DISTINCT role) = count(*) AS once FROM rotor.coverage;
-- overdue against its policy's interval.
SELECT status FROM rotor.rotate('t_weekly');
SELECT overdue FROM rotor.coverage WHERE role = 't_weekly';
BEGIN;
UPDATE rotor.version v SET set_at = now() - interval '8 days' FROM rotor.secret s WHERE s.id = v.secret_id AND s.name = 't_weekly';
SELECT overdue, password_age > interval '7 days' AS age FROM rotor.coverage WHERE role = 't_weekly';
SELECT age > interval '7 days' AS age FROM rotor.secrets WHERE secret = 't_weekly';
ROLLBACK;

-- secrets, upcoming, rotations: see rotate, queue and manage; here, that one secret is one row whatever its history.
SELECT status FROM rotor.rotate('t_seen');
SELECT status FROM rotor.rotate('t_seen');
SELECT count(*) FROM rotor.secrets WHERE secret = 't_seen';
SELECT count(*), count(DISTINCT version_id) AS versions FROM rotor.rotation WHERE secret_id = (SELECT id FROM rotor.secret WHERE name = 't_seen' AND deleted_at IS NULL);
SELECT secret, policy, due_at > now() + interval '6 days' AS in_a_week, overdue FROM rotor.upcoming WHERE secret IN ('t_seen', 't_weekly');

-- No value anywhere: neither the current password nor the one before stands in any column of any table or view.
-- A compat password has nothing in it that a text form would write otherwise.
SELECT policy FROM rotor.manage('t_seen', policy => 'compat');
SELECT status FROM rotor.rotate('t_seen', reason => 'to be searched for');
SELECT strategy FROM rotor.rotate('t_seen', strategy => 'immediate');
CALL t.settled('t_seen');
SELECT rotor.get_secret('t_seen') ->> 'password' AS current, rotor.get_secret('t_seen', 'previous') ->> 'password' AS previous \gset
CREATE FUNCTION t.search(needle text) RETURNS TABLE (relation text, rows bigint) LANGUAGE plpgsql AS $$
BEGIN
    FOR relation IN SELECT oid::regclass::text FROM pg_class
                    WHERE relnamespace = 'rotor'::regnamespace AND relkind IN ('r', 'v', 'm', 'p') LOOP
        EXECUTE format('SELECT count(*) FROM %s r WHERE position($1 IN r::text) > 0 OR position(encode(convert_to($1, ''UTF8''), ''hex'') IN r::text) > 0
                        OR position(encode(convert_to($1, ''UTF8''), ''base64'') IN r::text) > 0', relation) INTO rows USING needle;
        IF rows > 0 THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END
$$;
SELECT count(*) > 0 AS finds_what_is_there FROM t.search('to be searched for');
SELECT * FROM t.search(:'current');
SELECT * FROM t.search(:'previous');
SELECT count(*) FROM rotor.health() h WHERE position(:'current' IN h::text) > 0;
SELECT position(:'current' IN rotor.statistics()::text) + position(:'current' IN rotor.describe('t_seen')::text) AS found;
-- Nor a verifier, which would do for an offline attack.
SELECT rolpassword AS verifier FROM pg_authid WHERE rolname = 't_seen' \gset
SELECT * FROM t.search(:'verifier');

SELECT count(rotor.unmanage(secret)) FROM rotor.secrets WHERE secret IN ('t_seen', 't_weekly');
DROP ROLE t_group, t_none, t_md5, t_scram, t_expired, t_seen, t_weekly;
DROP FUNCTION t.search(text);
