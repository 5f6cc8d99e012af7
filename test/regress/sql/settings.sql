--
-- What a policy says is what a rotation does.
--
\set state '\\echo SQLSTATE :LAST_ERROR_SQLSTATE'
-- Reads the current password of :secret and logs in with it over TCP; says who that is.
\set login 'SELECT rotor.get_secret(:''secret'') ->> ''username'' AS "PGUSER", rotor.get_secret(:''secret'') ->> ''password'' AS "PGPASSWORD" \\gset\n\\setenv PGUSER :PGUSER\n\\setenv PGPASSWORD :PGPASSWORD\n\\set who `psql -X -A -t -q -h 127.0.0.1 -c "SELECT current_user" 2>&1 | sed "s/^.*FATAL: */FATAL: /"`\n\\echo :who'
\setenv PGDATABASE :DBNAME
\set secret t_set
CREATE ROLE t_set LOGIN;

-- The kind of value, its length and its characters.
INSERT INTO rotor.policy (name, type, length) VALUES ('t_hex', 'hex', 48), ('t_uuid', 'uuid', 32);
INSERT INTO rotor.policy (name, length) VALUES ('t_long', 1024);
INSERT INTO rotor.policy (name, length, symbols, exclude) VALUES ('t_short', 8, false, '0O1lI');
SELECT policy FROM rotor.manage('t_set', policy => 't_hex');
SELECT status FROM rotor.rotate('t_set');
SELECT rotor.get_secret('t_set') ->> 'password' ~ '^[0-9a-f]{48}$' AS ok;
:login
SELECT policy FROM rotor.manage('t_set', policy => 't_uuid');
SELECT status FROM rotor.rotate('t_set');
SELECT (rotor.get_secret('t_set') ->> 'password')::uuid IS NOT NULL AS ok;
:login
SELECT policy FROM rotor.manage('t_set', policy => 't_long');
SELECT status FROM rotor.rotate('t_set');
SELECT length(rotor.get_secret('t_set') ->> 'password');
:login
SELECT policy FROM rotor.manage('t_set', policy => 't_short');
SELECT status FROM rotor.rotate('t_set');
SELECT rotor.get_secret('t_set') ->> 'password' ~ '^[A-HJ-NP-Za-km-z2-9]{8}$' AS ok;
:login
-- A change of the policy counts from the next rotation on.
UPDATE rotor.policy SET length = 12, digits = false WHERE name = 't_short';
SELECT status FROM rotor.rotate('t_set');
SELECT rotor.get_secret('t_set') ->> 'password' ~ '^[A-HJ-NP-Za-km-z]{12}$' AS ok;

-- PBKDF2 rounds, on every version of the server.
INSERT INTO rotor.policy (name, scram_iterations) VALUES ('t_few', 256), ('t_one', 1), ('t_many', 10000);
SELECT policy FROM rotor.manage('t_set', policy => 't_few');
SELECT status FROM rotor.rotate('t_set');
SELECT rolpassword ~ '^SCRAM-SHA-256\$256:' AS ok FROM pg_authid WHERE rolname = 't_set';
:login
SELECT policy FROM rotor.manage('t_set', policy => 't_one');
SELECT status FROM rotor.rotate('t_set');
SELECT password_type, scram_iterations, in_sync FROM rotor.coverage WHERE role = 't_set';
:login
SELECT policy FROM rotor.manage('t_set', policy => 't_many');
SELECT status FROM rotor.rotate('t_set');
SELECT password_type, scram_iterations, in_sync FROM rotor.coverage WHERE role = 't_set';
:login

-- VALID UNTIL: the next rotation plus the margin, so that a password dies if rotation ever stops.
INSERT INTO rotor.policy (name, rotation_interval, valid_until_margin) VALUES ('t_margin', '1 day', '2 hours');
SELECT policy FROM rotor.manage('t_set', policy => 't_margin');
SELECT status FROM rotor.rotate('t_set');
SELECT rolvaliduntil - now() BETWEEN interval '1 day 1 hour 58 minutes' AND interval '1 day 2 hours' AS valid_until FROM pg_authid WHERE rolname = 't_set';
SELECT next_rotation - now() BETWEEN interval '23 hours 58 minutes' AND interval '1 day' AS next_rotation FROM rotor.secrets WHERE secret = 't_set';
:login
-- An expired password comes back to life by it, also by a rollback.
ALTER ROLE t_set VALID UNTIL '2020-01-01';
SELECT status FROM rotor.rotate('t_set');
SELECT rolvaliduntil > now() AS alive FROM pg_authid WHERE rolname = 't_set';
:login
ALTER ROLE t_set VALID UNTIL '2020-01-01';
SELECT status FROM rotor.rollback('t_set');
SELECT rolvaliduntil > now() AS alive FROM pg_authid WHERE rolname = 't_set';
:login
-- Without a margin it is left alone.
SELECT policy FROM rotor.manage('t_set', policy => 'default');
ALTER ROLE t_set VALID UNTIL '2100-01-01 00:00:00+00';
SELECT status FROM rotor.rotate('t_set');
SELECT rolvaliduntil = '2100-01-01 00:00:00+00' AS as_before FROM pg_authid WHERE rolname = 't_set';

-- The interval makes the schedule; without one there is none.
SELECT next_rotation FROM rotor.secrets WHERE secret = 't_set';
SELECT policy FROM rotor.manage('t_set', policy => 'high');
SELECT status, terminate_sessions FROM rotor.rotate('t_set');
SELECT next_rotation - last_rotation BETWEEN interval '7 days -1 minute' AND interval '7 days 1 minute' AS in_a_week FROM rotor.secrets WHERE secret = 't_set';
SELECT status, terminate_sessions FROM rotor.rotate('t_set', terminate_sessions => false);

-- Strategy: the policy's, unless the caller says otherwise.
INSERT INTO rotor.policy (name, strategy) VALUES ('t_immediate', 'immediate');
SELECT policy FROM rotor.manage('t_set', policy => 't_immediate');
SELECT strategy, status IN ('verifying', 'success') AS set FROM rotor.rotate('t_set');
CALL t.settled('t_set');
:login
SELECT strategy, status FROM rotor.rotate('t_set', strategy => 'staged');

-- The verification query runs as the rotated role, in the policy's database, read-only.
CREATE TABLE t.heartbeat AS SELECT 1 AS beat;
GRANT SELECT ON t.heartbeat TO t_set;
CREATE FUNCTION t.insert_beat() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO t.heartbeat VALUES (2) RETURNING beat';
INSERT INTO rotor.policy (name, verify_query) VALUES
    ('t_query', 'SELECT beat FROM t.heartbeat WHERE current_user = ''t_set'' AND current_database() = ''contrib_regression'''),
    ('t_denied', 'SELECT passwd FROM pg_shadow'), ('t_writes', 'SELECT t.insert_beat()'),
    ('t_many_rows', 'SELECT * FROM generate_series(1, 10000)');
SELECT policy FROM rotor.manage('t_set', policy => 't_query');
SELECT status, outcome, note FROM rotor.rotate('t_set');
SELECT policy FROM rotor.manage('t_set', policy => 't_many_rows');
SELECT status, outcome, note FROM rotor.rotate('t_set');
-- Its failure does not take the proved password back: success, with a note.
SELECT policy FROM rotor.manage('t_set', policy => 't_denied');
SELECT status, outcome, note FROM rotor.rotate('t_set');
SELECT policy FROM rotor.manage('t_set', policy => 't_writes');
SELECT status, outcome, note FROM rotor.rotate('t_set');
SELECT count(*) FROM t.heartbeat;
INSERT INTO rotor.policy (name, verify_query, verify_database) VALUES ('t_there', 'SELECT 1 / (current_database() = ''postgres'')::int', 'postgres');
SELECT policy FROM rotor.manage('t_set', policy => 't_there');
SELECT status, outcome, note FROM rotor.rotate('t_set');

-- Where a login proves the password anyway, the weaker verification changes nothing.
INSERT INTO rotor.policy (name, verification) VALUES ('t_verifier', 'verifier');
SELECT policy FROM rotor.manage('t_set', policy => 't_verifier');
SELECT status, outcome, note FROM rotor.rotate('t_set');
:login

SELECT (rotor.unmanage('t_set')).name;
DROP OWNED BY t_set;
DROP ROLE t_set;
