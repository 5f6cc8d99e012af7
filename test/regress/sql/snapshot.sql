--
-- A transaction that sees nothing of what others commit (REPEATABLE READ, SERIALIZABLE) works with what workers have
-- committed since it began.
--
\set state '\\echo SQLSTATE :LAST_ERROR_SQLSTATE'
SET client_min_messages = warning; -- a server that does not preload rotor says so
CREATE ROLE t_snap LOGIN;

-- The role is enrolled and rotated behind the transaction's back.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM rotor.secret WHERE name = 't_snap';
SELECT status FROM rotor.rotate('t_snap');
SELECT count(*) FROM rotor.secret WHERE name = 't_snap';
-- What it reads and changes by functions is what is there now.
SELECT rotor.get_secret('t_snap') ->> 'username' AS get_secret;
SELECT status FROM rotor.rotate('t_snap');
SELECT status FROM rotor.rollback('t_snap');
SELECT (rotor.disable('t_snap')).enabled;
SELECT (rotor.enable('t_snap')).enabled;
SELECT (rotor.manage('t_snap', policy => 'high')).policy;
SELECT (rotor.unmanage('t_snap')).name;
SELECT (rotor.restore('t_snap')).name;
SELECT rotor.rewrap_keys();
SELECT rotor.reset_statistics() IS NOT NULL AS reset;
COMMIT;
SELECT policy, enabled FROM rotor.secrets WHERE secret = 't_snap';

-- A foreign key looks with the transaction's snapshot all the same: no row refers to what that lacks.
CREATE ROLE t_new LOGIN;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT status FROM rotor.rotate('t_new');
SELECT status FROM rotor.rotate('t_new', wait => false);
:state
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT status FROM rotor.rotate('t_new', wait => false);
SELECT rotor.grant_access('t_new', 't_new', 'read');
ROLLBACK;

-- A rotation that somebody has queued since is no reason to end its management.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM rotor.rotations WHERE secret = 't_snap';
\setenv PGDATABASE :DBNAME
\! psql -X -A -t -q -c "UPDATE rotor.secret SET system_identifier = system_identifier - 1 WHERE name = 't_snap'"
\! psql -X -A -t -q -c "INSERT INTO rotor.rotation (id, secret_id, trigger, strategy, step, status, requested_by) SELECT gen_random_uuid(), id, 'manual', 'staged', 'create', 'pending', 'postgres' FROM rotor.secret WHERE name = 't_snap'"
SELECT rotor.unmanage('t_snap');
:state
ROLLBACK;
UPDATE rotor.secret SET system_identifier = system_identifier + 1 WHERE name = 't_snap';
-- Cancelled from a transaction that began before it.
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT status FROM rotor.rotations WHERE secret = 't_snap' AND status = 'pending';
SELECT (rotor.cancel(id)).status FROM rotor.rotations WHERE secret = 't_snap' AND status = 'pending';
COMMIT;

SELECT count(rotor.unmanage(secret)) FROM rotor.secrets WHERE secret IN ('t_snap', 't_new');
DROP ROLE t_snap, t_new;
