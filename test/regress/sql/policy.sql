--
-- Configuration: rotor.policy, rotor.store, rotor.target. Superusers edit the tables; what contradicts itself is
-- refused with the reason, every change is audited.
--
\set state '\\echo SQLSTATE :LAST_ERROR_SQLSTATE'

-- The ready-made ones.
SELECT name, type, length, uppercase, lowercase, digits, symbols, exclude, require_each_type FROM rotor.policy ORDER BY name;
SELECT name, rotation_interval, strategy, verification, verify_query, verify_database, scram_iterations,
       valid_until_margin, terminate_sessions, max_attempts, backoff, backoff_max FROM rotor.policy ORDER BY name;
SELECT * FROM rotor.store;
SELECT * FROM rotor.target;

-- A policy with every setting.
INSERT INTO rotor.policy (name, type, length, uppercase, lowercase, digits, symbols, exclude, require_each_type,
        rotation_interval, strategy, verification, verify_query, verify_database, scram_iterations, valid_until_margin,
        terminate_sessions, max_attempts, backoff, backoff_max, description)
    VALUES ('t_full', 'password', 40, true, true, false, false, 'lIO', true, '1 day', 'immediate', 'verifier',
            'SELECT 1', 'postgres', 8192, '2 hours', true, 3, '100 ms', '1 minute', 'every setting');
SELECT length(p) = 40 AND p ~ '^[A-Za-z]+$' AND p !~ '[lIO]' AS ok FROM rotor.generate_password('t_full') p;

-- Its CHECK constraints, each with a name that says what is wrong.
\set VERBOSITY terse
INSERT INTO rotor.policy (name) VALUES ('');
:state
INSERT INTO rotor.policy (name) VALUES (repeat('x', 129));
INSERT INTO rotor.policy (name, type) VALUES ('t_bad', 'pin');
INSERT INTO rotor.policy (name, type, length) VALUES ('t_bad', 'hex', 6);
INSERT INTO rotor.policy (name, type, length) VALUES ('t_bad', 'uuid', 1025);
INSERT INTO rotor.policy (name, rotation_interval) VALUES ('t_bad', '59 seconds');
INSERT INTO rotor.policy (name, rotation_interval) VALUES ('t_bad', '-1 day');
INSERT INTO rotor.policy (name, verification) VALUES ('t_bad', 'none');
INSERT INTO rotor.policy (name, scram_iterations) VALUES ('t_bad', 0);
INSERT INTO rotor.policy (name, scram_iterations) VALUES ('t_bad', 10000001);
INSERT INTO rotor.policy (name, rotation_interval, valid_until_margin) VALUES ('t_bad', '1 day', '0');
INSERT INTO rotor.policy (name, valid_until_margin) VALUES ('t_bad', '1 hour');
INSERT INTO rotor.policy (name, max_attempts) VALUES ('t_bad', 0);
INSERT INTO rotor.policy (name, max_attempts) VALUES ('t_bad', 101);
INSERT INTO rotor.policy (name, backoff) VALUES ('t_bad', '0');
INSERT INTO rotor.policy (name, backoff, backoff_max) VALUES ('t_bad', '2 seconds', '1 second');
-- What no calendar reaches would fail later, in the middle of a rotation or of maintenance.
INSERT INTO rotor.policy (name, rotation_interval) VALUES ('t_bad', '101 years');
INSERT INTO rotor.policy (name, rotation_interval, valid_until_margin) VALUES ('t_bad', '1 day', '101 years');
INSERT INTO rotor.policy (name, backoff_max) VALUES ('t_bad', '31 days');
INSERT INTO rotor.policy (name, version_retention) VALUES ('t_bad', '1001 years');
INSERT INTO rotor.policy (name, rotation_retention) VALUES ('t_bad', '1001 years');
INSERT INTO rotor.policy (name) VALUES ('default');
:state
INSERT INTO rotor.policy (name) VALUES (NULL);
:state
INSERT INTO rotor.policy (name, length) VALUES ('t_bad', NULL);
:state
INSERT INTO rotor.policy (name, symbols) VALUES ('t_bad', NULL);
:state
INSERT INTO rotor.policy (name, exclude) VALUES ('t_bad', NULL);
:state
INSERT INTO rotor.policy (name, strategy) VALUES ('t_bad', NULL);
:state
\set VERBOSITY default

-- Settings that contradict each other.
INSERT INTO rotor.policy (name, length) VALUES ('t_bad', 5);
:state
INSERT INTO rotor.policy (name, length) VALUES ('t_bad', 3);
:state
INSERT INTO rotor.policy (name, uppercase, lowercase, digits, symbols) VALUES ('t_bad', false, false, false, false);
:state
INSERT INTO rotor.policy (name, exclude) VALUES ('t_bad', '0123456789');
:state
INSERT INTO rotor.policy (name, uppercase, lowercase, symbols, exclude, require_each_type)
    VALUES ('t_bad', false, false, false, '0123456789', false);
:state
INSERT INTO rotor.policy (name, exclude) VALUES ('t_bad', 'é');
:state
INSERT INTO rotor.policy (name, exclude) VALUES ('t_bad', repeat('a', 256));
:state
INSERT INTO rotor.policy (name, type, length) VALUES ('t_bad', 'hex', 33);
:state
UPDATE rotor.policy SET symbols = false, lowercase = false, uppercase = false, digits = false WHERE name = 't_full';
:state
-- Where classes play no part they cannot contradict.
INSERT INTO rotor.policy (name, type, length, uppercase, lowercase, digits, symbols)
    VALUES ('t_hex', 'hex', 40, false, false, false, false), ('t_uuid', 'uuid', 36, false, false, false, false);
SELECT rotor.generate_password('t_hex') ~ '^[0-9a-f]{40}$' AS hex,
       rotor.generate_password('t_uuid') ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' AS uuid;

-- Strategies that are none.
INSERT INTO rotor.policy (name, strategy) VALUES ('t_bad', 'quick');
:state
INSERT INTO rotor.policy (name, grace_period) VALUES ('t_bad', '-1 s');
:state
INSERT INTO rotor.policy (name, grace_period) VALUES ('t_bad', '367 days');
:state

-- The verification query is one plain SELECT.
INSERT INTO rotor.policy (name, verify_query) VALUES ('t_bad', 'SELECT 1; SELECT 2');
:state
INSERT INTO rotor.policy (name, verify_query) VALUES ('t_bad', '');
INSERT INTO rotor.policy (name, verify_query) VALUES ('t_bad', '-- nothing');
INSERT INTO rotor.policy (name, verify_query) VALUES ('t_bad', 'DELETE FROM app.heartbeat');
INSERT INTO rotor.policy (name, verify_query) VALUES ('t_bad', 'SELECT 1 INTO app.copy');
INSERT INTO rotor.policy (name, verify_query) VALUES ('t_bad', 'SELECT 1 FROM app.heartbeat FOR UPDATE');
INSERT INTO rotor.policy (name, verify_query) VALUES ('t_bad', 'WITH d AS (DELETE FROM app.heartbeat RETURNING 1) SELECT 1');
:state
INSERT INTO rotor.policy (name, verify_query) VALUES ('t_bad', 'COPY app.heartbeat TO PROGRAM ''id''');
INSERT INTO rotor.policy (name, verify_query) VALUES ('t_bad', 'SET ROLE postgres');
INSERT INTO rotor.policy (name, verify_query) VALUES ('t_bad', 'EXPLAIN SELECT 1');
\set VERBOSITY terse
INSERT INTO rotor.policy (name, verify_query) VALUES ('t_bad', 'SELEC 1');
:state
\set VERBOSITY default
INSERT INTO rotor.policy (name, verify_query) VALUES
    ('t_query', 'SELECT 1 FROM app.heartbeat LIMIT 1;'), ('t_with', 'WITH a AS (SELECT 1) SELECT * FROM a UNION SELECT 2');
SELECT count(*) FROM rotor.policy WHERE name = 't_bad';

-- Stores and targets are of kinds that rotor knows, and hold no credential.
\set VERBOSITY terse
INSERT INTO rotor.store VALUES ('etcd', 'etcd', NULL);
INSERT INTO rotor.store VALUES ('other', 'local', NULL);
UPDATE rotor.store SET type = 'aws' WHERE name = 'local';
INSERT INTO rotor.store (name, type, options) VALUES ('other', 'vault', '[]');
INSERT INTO rotor.store (name, type, options) VALUES ('other', 'vault', '{"token": "hvs.x"}');
:state
INSERT INTO rotor.target (name, type) VALUES ('other', 'mssql');
INSERT INTO rotor.target (name, type) VALUES ('other', 'self');
INSERT INTO rotor.target (name, type) VALUES ('other', 'mysql');
INSERT INTO rotor.target (name, type, host, sslmode) VALUES ('other', 'mysql', 'db', 'prefer');
INSERT INTO rotor.target (name, type, options) VALUES ('other', 'http', '{"password": "x"}');
UPDATE rotor.target SET admin = 'somebody' WHERE name = 'self';
UPDATE rotor.target SET port = 0 WHERE name = 'self';
UPDATE rotor.target SET port = 65536 WHERE name = 'self';
UPDATE rotor.target SET sslmode = 'always' WHERE name = 'self';
\set VERBOSITY default
UPDATE rotor.target SET host = 'db.example.com', port = 6432, sslmode = 'verify-full' WHERE name = 'self';
UPDATE rotor.target SET host = NULL, port = NULL, sslmode = NULL WHERE name = 'self';

-- Only superusers write them, whatever was granted to others, ...
CREATE ROLE t_editor LOGIN CREATEROLE CREATEDB;
GRANT USAGE ON SCHEMA rotor TO t_editor;
GRANT ALL ON rotor.policy, rotor.store, rotor.target TO t_editor;
SET ROLE t_editor;
INSERT INTO rotor.policy (name) VALUES ('t_bad');
:state
UPDATE rotor.policy SET verify_query = 'SELECT pg_sleep(1)' WHERE name = 'default';
DELETE FROM rotor.policy WHERE name = 't_uuid';
INSERT INTO rotor.store VALUES ('mine', 'local', NULL);
UPDATE rotor.target SET host = 'evil.example.com';
DELETE FROM rotor.target;
SELECT count(*) FROM rotor.policy;
RESET ROLE;
-- ... also where triggers are told not to fire.
BEGIN;
GRANT ALL ON ALL TABLES IN SCHEMA rotor TO t_editor;
SET LOCAL client_min_messages = warning;
SET LOCAL session_replication_role = replica;
SET LOCAL ROLE t_editor;
\set ON_ERROR_ROLLBACK on
UPDATE rotor.target SET host = 'evil.example.com';
TRUNCATE rotor.policy CASCADE;
:state
TRUNCATE rotor.store CASCADE;
TRUNCATE rotor.target CASCADE;
\set ON_ERROR_ROLLBACK off
ROLLBACK;
SELECT count(*) FROM rotor.target WHERE host IS NOT NULL;

-- A policy in use stays; its new name follows to its secrets.
CREATE ROLE t_policied LOGIN;
SELECT name, policy FROM rotor.manage('t_policied', policy => 't_hex');
DELETE FROM rotor.policy WHERE name = 't_hex';
:state
UPDATE rotor.policy SET name = 't_hexadecimal' WHERE name = 't_hex';
SELECT secret, policy FROM rotor.secrets WHERE secret = 't_policied';
TRUNCATE rotor.policy;
:state
SELECT (rotor.unmanage('t_policied')).name;
DROP ROLE t_policied;

-- Every change is in the audit, with the row before and after, and goes with its transaction.
BEGIN;
INSERT INTO rotor.policy (name) VALUES ('t_undone');
ROLLBACK;
UPDATE rotor.policy SET length = 44 WHERE name = 't_with';
DELETE FROM rotor.policy WHERE name = 't_with';
SELECT actor, session_user_name, event, result, detail ->> 'table' AS "table", detail -> 'old' ->> 'name' AS old, detail -> 'new' ->> 'name' AS new,
       detail -> 'old' ->> 'length' AS old_length, detail -> 'new' ->> 'length' AS new_length
FROM rotor.audit_log WHERE event LIKE 'configuration%' ORDER BY id;
-- Also that a whole table was emptied.
BEGIN;
SET LOCAL client_min_messages = warning;
TRUNCATE rotor.store CASCADE;
SELECT event, detail FROM rotor.audit_log WHERE event = 'configuration_truncated';
ROLLBACK;

-- A changed policy in the caller's transaction is not what the worker would see: see rotate.
DELETE FROM rotor.policy WHERE name LIKE 't\_%' AND NOT EXISTS (SELECT FROM rotor.secret s WHERE s.policy = policy.name);
SELECT name FROM rotor.policy ORDER BY 1;
DROP OWNED BY t_editor;
DROP ROLE t_editor;
