--
-- Who may do what. Revealing a secret equals becoming its role: nobody may read, rotate or manage a role whose password
-- they could not set themselves, unless a right on that one secret was granted.
--
\set state '\\echo SQLSTATE :LAST_ERROR_SQLSTATE'
\setenv PGDATABASE :DBNAME

-- Roles: without anything; with EXECUTE on everything, but no right; CREATEROLE; a superuser and a replication role.
CREATE ROLE t_none LOGIN;
CREATE ROLE t_plain LOGIN;
CREATE ROLE t_creator LOGIN CREATEROLE;
CREATE ROLE t_boss LOGIN SUPERUSER;
CREATE ROLE t_repl LOGIN REPLICATION;
CREATE ROLE t_mine LOGIN;
GRANT USAGE ON SCHEMA rotor TO t_plain, t_creator, t_mine, t_repl;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA rotor TO t_plain, t_creator, t_mine, t_repl;
SET ROLE t_creator;
CREATE ROLE t_made LOGIN;
RESET ROLE;
SELECT secret, status FROM (VALUES ('t_mine'), ('t_boss'), ('t_made')) v (secret), LATERAL rotor.rotate(secret);
SELECT name FROM rotor.manage('t_repl');
SELECT status FROM rotor.rotate('t_repl');
-- So that there is a previous version, and rotations to cancel and to requeue.
SELECT secret, status FROM (VALUES ('t_mine'), ('t_boss'), ('t_made'), ('t_repl')) v (secret), LATERAL rotor.rotate(secret);
SELECT id FROM rotor.rotations WHERE secret = 't_mine' LIMIT 1 \gset

-- Without USAGE nothing can be called.
SET ROLE t_none;
SELECT rotor.get_secret('t_mine');
:state
SELECT * FROM rotor.secrets;
RESET ROLE;
GRANT USAGE ON SCHEMA rotor TO t_none;
SET ROLE t_none;
SELECT rotor.get_secret('t_mine');
:state
SELECT rotor.rotate('t_mine');
SELECT rotor.generate_password();
SELECT rotor.health();
SELECT rotor.statistics();
SELECT * FROM rotor.secrets;
SELECT * FROM rotor.version;
SELECT * FROM rotor.coverage;
SELECT * FROM rotor.transitions;
RESET ROLE;

-- With EXECUTE, but without a right: refused with the fact and the remedy, and no trace in any table.
SELECT t.digest() AS digest \gset
SET ROLE t_plain;
SELECT rotor.get_secret('t_mine');
:state
SELECT rotor.rotate('t_mine');
:state
SELECT rotor.rotate('t_none');
:state
SELECT rotor.manage('t_none');
:state
SELECT rotor.unmanage('t_mine');
SELECT rotor.grant_access('t_mine', 't_plain', 'read');
SELECT rotor.rewrap_keys();
:state
SELECT rotor.reset_statistics();
:state
-- A name that does not exist is told only so.
SELECT rotor.get_secret('no such secret');
SELECT rotor.rotate('no such role');
RESET ROLE;
SELECT t.digest() = :'digest' AS no_trace;

-- Everybody against every secret. cancel() and requeue() of a finished rotation: 55000 says that they were let in.
SET client_min_messages = warning;
CREATE TABLE t.calls (n int, call text, statement text);
INSERT INTO t.calls VALUES
    (1, 'get_secret', 'SELECT rotor.get_secret(%1$L)'),
    (2, 'previous', 'SELECT rotor.get_secret(%1$L, ''previous'')'),
    (3, 'connection_uri', 'SELECT rotor.connection_uri(%1$L)'),
    (4, 'describe', 'SELECT rotor.describe(%1$L)'),
    (5, 'rotate', 'SELECT rotor.rotate(%1$L)'),
    (6, 'queue', 'SELECT rotor.rotate(%1$L, wait => false)'),
    (7, 'rollback', 'SELECT rotor.rollback(%1$L)'),
    (8, 'cancel', 'SELECT rotor.cancel((SELECT t.last_rotation(%1$L)))'),
    (9, 'requeue', 'SELECT rotor.requeue((SELECT t.last_rotation(%1$L)))'),
    (10, 'manage', 'SELECT rotor.manage(%1$L, policy => ''high'')'),
    (11, 'unmanage', 'SELECT rotor.unmanage(%1$L)'),
    (12, 'enable', 'SELECT rotor.enable(%1$L)'),
    (13, 'disable', 'SELECT rotor.disable(%1$L)'),
    (14, 'grant', 'SELECT rotor.grant_access(%1$L, ''t_none'', ''read'')'),
    (15, 'revoke', 'SELECT rotor.revoke_access(%1$L, ''pg_monitor'', ''read'')');
CREATE FUNCTION t.last_rotation(text) RETURNS uuid LANGUAGE sql SECURITY DEFINER AS
    'SELECT id FROM rotor.rotations WHERE secret = $1 ORDER BY queued_at DESC LIMIT 1';
CREATE VIEW t.matrix AS
    SELECT c.n, c.call, caller, s.secret, t.may(caller, format(c.statement, s.secret)) AS outcome
    FROM t.calls c, (VALUES ('t_mine'), ('t_boss'), ('t_made'), ('t_repl')) s (secret), (VALUES
        ('postgres'), ('t_boss'), ('t_creator'), ('t_plain'), ('t_mine'), ('t_none')) r (caller);
-- Something to revoke.
SELECT rotor.grant_access(secret, 'pg_monitor', 'read') FROM rotor.secrets WHERE secret IN ('t_mine', 't_boss', 't_made', 't_repl');
-- Superusers may everything; CREATEROLE what it could set itself, which is neither a superuser nor, ...
SELECT call,
       string_agg(outcome, ' ' ORDER BY secret) FILTER (WHERE caller = 'postgres') AS postgres,
       string_agg(outcome, ' ' ORDER BY secret) FILTER (WHERE caller = 't_boss') AS t_boss,
       string_agg(outcome, ' ' ORDER BY secret) FILTER (WHERE caller = 't_creator' AND secret IN ('t_boss', 't_made')) AS t_creator_boss_made,
       string_agg(outcome, ' ' ORDER BY secret) FILTER (WHERE caller = 't_plain') AS t_plain,
       string_agg(outcome, ' ' ORDER BY secret) FILTER (WHERE caller = 't_mine') AS t_mine,
       string_agg(outcome, ' ' ORDER BY secret) FILTER (WHERE caller = 't_none') AS t_none
FROM t.matrix GROUP BY n, call ORDER BY n;
-- ... up to PostgreSQL 15, a replication role, and from 16 on a role without ADMIN OPTION on it.
SELECT secret, bool_and((outcome IN ('ok', '55000')) = (secret = 't_mine' AND current_setting('server_version_num')::int < 160000)) AS as_the_server_says
FROM t.matrix WHERE caller = 't_creator' AND secret IN ('t_mine', 't_repl') GROUP BY secret ORDER BY secret;
-- A replication role itself: as ALTER ROLE has it, with a warning where it may.
SET client_min_messages = error;
SELECT t.may('t_repl', 'ALTER ROLE t_repl PASSWORD NULL') = t.may('t_repl', 'SELECT rotor.describe(''t_repl'')') AS as_the_server_says;
RESET client_min_messages;

-- Rights that were granted on one secret.
CREATE ROLE t_reader LOGIN;
CREATE ROLE t_rotator LOGIN;
CREATE ROLE t_manager LOGIN;
SELECT rotor.grant_access('t_boss', 't_reader', 'read');
SELECT rotor.grant_access('t_boss', 't_rotator', 'rotate');
SELECT rotor.grant_access(secret => 't_boss', role => 't_manager', privilege => 'manage');
SELECT rotor.grant_access('t_boss', 't_manager', 'manage');
SELECT call,
       string_agg(t.may('t_reader', format(statement, secret)), ' ' ORDER BY secret) AS reader_boss_mine,
       string_agg(t.may('t_rotator', format(statement, secret)), ' ' ORDER BY secret) AS rotator_boss_mine,
       string_agg(t.may('t_manager', format(statement, secret)), ' ' ORDER BY secret) AS manager_boss_mine
FROM t.calls, (VALUES ('t_mine'), ('t_boss')) v (secret) GROUP BY n, call ORDER BY n;
-- What EXECUTE came with each.
SELECT p.oid::regprocedure AS function, has_function_privilege('t_reader', p.oid, 'EXECUTE') AS reader,
       has_function_privilege('t_rotator', p.oid, 'EXECUTE') AS rotator, has_function_privilege('t_manager', p.oid, 'EXECUTE') AS manager
FROM pg_proc p WHERE p.pronamespace = 'rotor'::regnamespace ORDER BY p.oid::regprocedure::text COLLATE "C";
-- A manager hands rights on, also his own; the audit says who.
SET ROLE t_manager;
SELECT rotor.grant_access('t_boss', 't_none', 'read');
RESET ROLE;
SELECT t.may('t_none', $$SELECT rotor.get_secret('t_boss')$$) AS t_none;
SELECT actor, event, secret, result, detail FROM rotor.audit_log WHERE event LIKE 'access%' AND actor = 't_manager';
-- Its rights do not reach further: the role itself stays out of his hands.
SELECT t.may('t_manager', 'ALTER ROLE t_boss PASSWORD NULL') AS alter_role, t.may('t_manager', $$SELECT rotor.manage('t_mine')$$) AS other;

-- Who may end the management may take it up again.
SELECT t.may('t_manager', $$SELECT (rotor.unmanage('t_boss')).name, (rotor.restore('t_boss')).name$$) AS unmanage_restore,
       t.may('t_creator', $$SELECT (rotor.unmanage('t_made')).name, (rotor.restore('t_made')).name$$) AS own;
BEGIN;
SELECT (rotor.unmanage('t_boss')).name;
SELECT t.may('t_plain', $$SELECT rotor.restore('t_boss')$$) AS plain, t.may('t_creator', $$SELECT rotor.restore('t_boss')$$) AS creator;
ROLLBACK;

-- A right is the role's, not its name's: who comes after it under its name has none.
CREATE ROLE t_gone;
SELECT rotor.grant_access('t_boss', 't_gone', 'read');
SELECT t.may('t_gone', $$SELECT rotor.get_secret('t_boss')$$) AS before;
DROP OWNED BY t_gone;
DROP ROLE t_gone;
CREATE ROLE t_gone;
GRANT USAGE ON SCHEMA rotor TO t_gone;
GRANT EXECUTE ON FUNCTION rotor.get_secret(text, text) TO t_gone;
SELECT t.may('t_gone', $$SELECT rotor.get_secret('t_boss')$$) AS after;
DROP OWNED BY t_gone;
DROP ROLE t_gone;

-- The remedy that a refusal names can be run as it stands, whatever the names are.
CREATE ROLE "t 100% ""odd"" 'ünd' \select" LOGIN;
GRANT USAGE ON SCHEMA rotor TO "t 100% ""odd"" 'ünd' \select";
GRANT EXECUTE ON FUNCTION rotor.get_secret(text, text) TO "t 100% ""odd"" 'ünd' \select";
CREATE ROLE t_named LOGIN;
SELECT name FROM rotor.manage($$it's "the" \secret%$$, 't_named');
SELECT status FROM rotor.rotate($$it's "the" \secret%$$);
SET ROLE "t 100% ""odd"" 'ünd' \select";
SELECT rotor.get_secret($$it's "the" \secret%$$);
SELECT substring(t.error('SELECT rotor.get_secret($$it''s "the" \secret%$$)') FROM 'call (rotor\.grant_access\(.*\))\.$') AS remedy \gset
RESET ROLE;
SELECT :remedy;
SELECT t.may($$t 100% "odd" 'ünd' \select$$, 'SELECT rotor.get_secret($$it''s "the" \secret%$$)') AS granted;
SELECT rotor.revoke_access($$it's "the" \secret%$$, quote_ident($$t 100% "odd" 'ünd' \select$$)::regrole, 'read');
-- It takes back what grant_access() gave, and leaves what was granted by hand before.
SELECT has_schema_privilege(r, 'rotor', 'USAGE') AS usage, has_function_privilege(r, 'rotor.get_secret(text, text)', 'EXECUTE') AS by_hand,
       has_function_privilege(r, 'rotor.connection_uri(text, text)', 'EXECUTE') AS given FROM (VALUES ($$t 100% "odd" 'ünd' \select$$)) v (r);
SELECT actor, event, secret, detail ->> 'role' AS role FROM rotor.audit_log WHERE secret LIKE 'it''s%' AND event LIKE 'access%' ORDER BY id;
SELECT (rotor.unmanage($$it's "the" \secret%$$)).name;
DROP OWNED BY "t 100% ""odd"" 'ünd' \select";
DROP ROLE "t 100% ""odd"" 'ünd' \select", t_named;

-- A secret of another cluster (after pg_upgrade) has no role here until a superuser has bound it anew.
BEGIN;
UPDATE rotor.secret SET system_identifier = 1 WHERE name IN ('t_boss', 't_mine') AND deleted_at IS NULL;
SELECT call, caller, t.may(caller, statement) AS outcome
FROM (VALUES (1, 'bind to himself', 'SELECT rotor.manage(''t_boss'', current_user::text)'), (2, 'bind', 'SELECT rotor.manage(''t_boss'')')) c (n, call, statement),
     (VALUES ('t_manager'), ('t_mine'), ('t_plain')) r (caller) ORDER BY n, caller;
SELECT t.error($$SELECT rotor.manage('t_boss', 't_made')$$);
ROLLBACK;

-- Membership: who inherits has the right, who does not must SET ROLE.
CREATE ROLE t_member LOGIN INHERIT;
CREATE ROLE t_noinherit LOGIN NOINHERIT;
GRANT t_reader TO t_member, t_noinherit;
GRANT USAGE ON SCHEMA rotor TO t_noinherit;
GRANT EXECUTE ON FUNCTION rotor.get_secret(text, text) TO t_noinherit;
SELECT t.may('t_member', $$SELECT rotor.get_secret('t_boss')$$) AS member, t.may('t_noinherit', $$SELECT rotor.get_secret('t_boss')$$) AS noinherit;
\c - t_noinherit
SELECT rotor.get_secret('t_boss');
:state
SET ROLE t_reader;
SELECT rotor.get_secret('t_boss') ->> 'username' AS username;
\c - postgres
SET client_min_messages = warning;

-- revoke_access() takes it back; USAGE and EXECUTE go with the last right.
SELECT rotor.grant_access('t_mine', 't_reader', 'read');
SELECT rotor.grant_access('t_mine', 't_reader', 'rotate');
SELECT rotor.revoke_access('t_boss', 't_reader', 'read');
SELECT t.may('t_reader', $$SELECT rotor.get_secret('t_boss')$$) AS boss, t.may('t_reader', $$SELECT rotor.get_secret('t_mine')$$) AS app,
       t.may('t_member', $$SELECT rotor.get_secret('t_boss')$$) AS member, has_schema_privilege('t_reader', 'rotor', 'USAGE') AS usage;
SELECT rotor.revoke_access('t_mine', 't_reader', 'read');
SELECT t.may('t_reader', $$SELECT rotor.get_secret('t_mine')$$) AS read, t.may('t_reader', $$SELECT rotor.rotate('t_mine')$$) AS rotate,
       has_function_privilege('t_reader', 'rotor.get_secret(text, text)', 'EXECUTE') AS execute;
SELECT rotor.revoke_access('t_mine', 't_reader', 'rotate');
SELECT t.may('t_reader', $$SELECT rotor.rotate('t_mine')$$) AS rotate, has_schema_privilege('t_reader', 'rotor', 'USAGE') AS usage,
       bool_or(has_function_privilege('t_reader', oid, 'EXECUTE')) AS execute FROM pg_proc WHERE pronamespace = 'rotor'::regnamespace;
SELECT rotor.revoke_access('t_mine', 't_reader', 'rotate');
:state
SELECT rotor.revoke_access('t_boss', 't_manager', 'read');
:state
-- Bad arguments.
SELECT rotor.grant_access('t_mine', 't_reader', 'write');
:state
SELECT rotor.revoke_access('t_mine', 't_reader', 'READ');
:state
SELECT rotor.grant_access('no such secret', 't_reader', 'read');
:state
SELECT rotor.grant_access('t_mine', 'no such role', 'read');
:state
SELECT rotor.grant_access('t_mine', 0::regrole, 'read');
:state
SELECT rotor.grant_access(NULL, 't_reader', 'read') IS NULL AS secret, rotor.grant_access('t_mine', NULL, 'read') IS NULL AS role,
       rotor.revoke_access('t_mine', 't_reader', NULL) IS NULL AS privilege;
SELECT count(*) FROM rotor.access_grant WHERE role_oid = 't_reader'::regrole;
BEGIN READ ONLY;
SELECT rotor.grant_access('t_mine', 't_reader', 'read');
:state
ROLLBACK;

-- SET ROLE: what counts is the current user; the audit has the session user too.
BEGIN;
SET LOCAL ROLE t_mine;
SELECT rotor.get_secret('t_boss');
:state
ROLLBACK;
BEGIN;
SET LOCAL ROLE t_rotator;
SELECT requested_by, session_user_name FROM rotor.rotate('t_boss');
COMMIT;
SELECT DISTINCT actor, session_user_name FROM rotor.audit_log WHERE rotation = t.last_rotation('t_boss');

-- SECURITY DEFINER: the function's owner counts, in both directions.
CREATE FUNCTION t.reveal(secret text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS
    'BEGIN RETURN rotor.get_secret(secret) ->> ''username''; END';
CREATE FUNCTION t.turn(secret text) RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT requested_by || '' for '' || session_user_name FROM rotor.rotate(secret)';
\c - t_none
SELECT t.reveal('t_mine');
SELECT t.turn('t_mine');
SELECT rotor.get_secret('t_mine');
:state
\c - postgres
SET client_min_messages = warning;
ALTER FUNCTION t.reveal(text) OWNER TO t_plain;
ALTER FUNCTION t.turn(text) OWNER TO t_plain;
SELECT t.reveal('t_mine');
:state
SELECT t.turn('t_mine');
:state
SELECT rotor.get_secret('t_mine') ->> 'username' AS own_right_is_back;

-- What stands in a caller's search_path does not matter.
CREATE SCHEMA t_evil;
GRANT USAGE ON SCHEMA t_evil TO PUBLIC;
CREATE FUNCTION t_evil.boom(text, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'boom'; END$$;
CREATE OPERATOR t_evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = t_evil.boom);
CREATE FUNCTION t_evil.jsonb_build_object(VARIADIC "any") RETURNS jsonb LANGUAGE internal AS 'jsonb_build_object';
CREATE FUNCTION t_evil.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$BEGIN RAISE 'boom'; END$$;
CREATE TABLE t_evil.secret ();
SELECT id FROM rotor.rotations WHERE secret = 't_mine' LIMIT 1 \gset
SET search_path = t_evil, pg_catalog;
SELECT 1 WHERE 'a'::text = 'a'::text;
SELECT rotor.describe('t_mine') ->> 'secret' AS describe, rotor.get_secret('t_mine') ->> 'username' AS get_secret,
       (rotor.rotate('t_mine')).status, (rotor.rollback('t_mine')).status AS rollback, (rotor.disable('t_mine')).enabled AS disabled,
       (rotor.manage('t_mine', policy => 'high')).policy, rotor.statistics() IS NOT NULL AS statistics, rotor.rewrap_keys();
SELECT count(*) > 5 AS health FROM rotor.health();
BEGIN;
SELECT id FROM rotor.rotate('t_mine', wait => false) \gset
SELECT status FROM rotor.cancel(:'id'::uuid);
INSERT INTO rotor.policy (name) VALUES ('t_undone');
SELECT rotor.grant_access('t_mine', 't_none', 'read');
SELECT (rotor.unmanage('t_mine')).name;
SELECT (rotor.restore('t_mine')).name;
ROLLBACK;
RESET search_path;
DROP SCHEMA t_evil CASCADE;

SELECT count(rotor.unmanage(secret)) FROM rotor.secrets WHERE secret IN ('t_mine', 't_boss', 't_made', 't_repl');
DROP TABLE t.calls CASCADE;
DROP FUNCTION t.reveal(text), t.turn(text), t.last_rotation(text);
DROP OWNED BY t_mine, t_plain, t_creator, t_repl, t_none, t_reader, t_rotator, t_manager, t_noinherit;
DROP ROLE t_mine, t_boss, t_made, t_repl, t_plain, t_creator, t_none, t_reader, t_rotator, t_manager, t_member, t_noinherit;
