--
-- Roles of every name, and roles that are not fit to be rotated.
--
\set state '\\echo SQLSTATE :LAST_ERROR_SQLSTATE'
\setenv PGDATABASE :DBNAME

-- Makes a role named :name, rotates it twice, reads it back under its very name, and logs in with what was read.
\set try 'SELECT format(''CREATE ROLE %I LOGIN'', :''name'') \\gexec \\\\ SELECT status AS first FROM rotor.rotate(:''name'') \\gset \\\\ SELECT status AS second FROM rotor.rotate(:''name'') \\gset \\\\ SELECT role = :''name'' AS role, rotor.get_secret(secret) ->> ''username'' = :''name'' AS username, rotor.get_secret(secret) ->> ''password'' AS password FROM rotor.secrets WHERE secret = :''name'' \\gset \\\\ \\echo :first :second :role :username \\setenv PGUSER :name \\setenv PGPASSWORD :password \\set who `psql -X -A -t -q -h 127.0.0.1 -c "SELECT current_user" 2>&1 | sed "s/^.*FATAL: */FATAL: /"` \\echo :who \\\\ SELECT format(''DROP ROLE %I'', (rotor.unmanage(:''name'')).name) \\gexec'

\set name user
:try
\set name select
:try
\set name current_user
:try
\set name 'Mixed Case'
:try
\set name ' leading and trailing '
:try
\set name 'single''quote'
:try
\set name 'double"quote'
:try
\set name 'back\\slash\\'
:try
\set name '%s %d %n %%'
:try
\set name '100%'
:try
\set name '$1 $$ $tag$'
:try
\set name 'semi; DROP TABLE rotor.audit; --'
:try
\set name '/* comment'
:try
\set name 'tab	here'
:try
\set name 'new\nline'
:try
\set name 'Ünïcödé Ж 漢字 🐘'
:try
\set name '*'
:try
\set name '-'
:try
\set name '1'
:try
SELECT repeat('x', 63) AS name \gset
:try
SELECT repeat('ü', 31) || 'x' AS name \gset
:try
SELECT repeat('"', 63) AS name \gset
:try
SELECT repeat('''', 63) AS name \gset
:try

-- A role that may not log in: a password could not be proved.
CREATE ROLE t_group;
SELECT rotor.rotate('t_group');
:state
SELECT rotor.rotate('t_group', wait => false);
SELECT rotor.rotate('pg_monitor');
:state
ALTER ROLE t_group LOGIN;
SELECT status FROM rotor.rotate('t_group');
ALTER ROLE t_group NOLOGIN;
SELECT rotor.rotate('t_group');
:state
SELECT rotor.rollback('t_group');
SELECT secret, last_status FROM rotor.secrets WHERE secret = 't_group';

-- An expired one would be refused by the server: rotor says so before it changes anything. First on enrolment, ...
CREATE ROLE t_expired LOGIN PASSWORD 'former' VALID UNTIL '2020-01-01 00:00:00+00';
SELECT rolpassword AS verifier FROM pg_authid WHERE rolname = 't_expired' \gset
SELECT t.error($$SELECT rotor.rotate('t_expired')$$);
SELECT rolpassword = :'verifier' AS untouched, rolvaliduntil = '2020-01-01 00:00:00+00' AS as_before FROM pg_authid WHERE rolname = 't_expired';
-- ... then of a managed role, which keeps its password.
CREATE ROLE t_expiring LOGIN VALID UNTIL '2100-01-01 00:00:00+00';
SELECT status FROM rotor.rotate('t_expiring');
ALTER ROLE t_expiring VALID UNTIL '2020-01-01 00:00:00+00';
SELECT rolpassword AS verifier FROM pg_authid WHERE rolname = 't_expiring' \gset
SELECT t.error($$SELECT rotor.rotate('t_expiring')$$);
SELECT rolpassword = :'verifier' AS untouched FROM pg_authid WHERE rolname = 't_expiring';
SELECT secret, step, attempt, outcome, error_code, error_message LIKE '%expired%' AS error_message, state,
       remedy = format('SELECT rotor.requeue(%L)', id) AS remedy
FROM rotor.dead_letter WHERE secret = 't_expiring';
SELECT role, expired FROM rotor.coverage WHERE role IN ('t_expired', 't_expiring') ORDER BY role;
-- Given a later time, the next rotation succeeds, leaves VALID UNTIL alone, and settles the dead letter.
ALTER ROLE t_expiring VALID UNTIL 'infinity';
SELECT status FROM rotor.rotate('t_expiring');
SELECT rolvaliduntil FROM pg_roles WHERE rolname = 't_expiring';
SELECT count(*) FROM rotor.dead_letter WHERE secret = 't_expiring';
ALTER ROLE t_expired VALID UNTIL '2100-01-01 00:00:00+00';
SELECT status FROM rotor.rotate('t_expired');
SELECT rolvaliduntil = '2100-01-01 00:00:00+00' AS as_before FROM pg_roles WHERE rolname = 't_expired';

-- A replication role is not enrolled by its first rotation: its standbys would stop following.
CREATE ROLE t_standby LOGIN REPLICATION;
SELECT rotor.rotate('t_standby');
:state
SELECT rotor.rotate('t_standby', wait => false);
SELECT count(*) FROM rotor.secrets WHERE secret = 't_standby';
-- manage() first says that its clients read the password from rotor.
SELECT name FROM rotor.manage('t_standby');
SELECT status FROM rotor.rotate('t_standby');
SELECT role, replication, managed FROM rotor.coverage WHERE role = 't_standby';

-- Superusers are roles like others, for superusers.
CREATE ROLE t_super LOGIN SUPERUSER;
SELECT status FROM rotor.rotate('t_super');
SELECT role, superuser, managed, in_sync FROM rotor.coverage WHERE role = 't_super';

-- A password that is right while the login is barred by something else is proved: success, with a note.
CREATE ROLE t_barred LOGIN CONNECTION LIMIT 0;
SELECT status, outcome, error_code, note FROM rotor.rotate('t_barred');
ALTER ROLE t_barred CONNECTION LIMIT -1;
INSERT INTO rotor.policy (name, verify_database) VALUES ('t_elsewhere', 't_closed'), ('t_nowhere', 't_no_such_database');
CREATE DATABASE t_closed;
REVOKE CONNECT ON DATABASE t_closed FROM PUBLIC;
SELECT policy FROM rotor.manage('t_barred', policy => 't_elsewhere');
SELECT status, outcome, error_code, note FROM rotor.rotate('t_barred');
GRANT CONNECT ON DATABASE t_closed TO t_barred;
SELECT status, outcome, error_code, note FROM rotor.rotate('t_barred');
SELECT policy FROM rotor.manage('t_barred', policy => 't_nowhere');
SELECT status, outcome, error_code, note FROM rotor.rotate('t_barred');
SELECT version_id IS NOT NULL AS version, verified_at IS NOT NULL AS verified, last_status FROM rotor.secrets WHERE secret = 't_barred';
DROP DATABASE t_closed;

-- What is set for the role does not stand in the way.
CREATE ROLE t_odd LOGIN;
ALTER ROLE t_odd SET default_transaction_read_only = on;
ALTER ROLE t_odd SET statement_timeout = '1ms';
ALTER ROLE t_odd SET search_path = 'nowhere';
ALTER ROLE t_odd SET password_encryption = 'md5';
ALTER ROLE t_odd SET role = 't_group';
SELECT status, note FROM rotor.rotate('t_odd');

-- Always SCRAM, whatever the caller, its database or the role say.
SET password_encryption = 'md5';
SELECT status FROM rotor.rotate('t_odd');
RESET password_encryption;
SET client_min_messages = error; -- from 18 on an MD5 verifier is warned of
CREATE ROLE t_md5 LOGIN PASSWORD 'md5c9b8b1ec4b1a4ec4a40cc1c24d7f4d6b';
RESET client_min_messages;
SELECT role, password_type FROM rotor.coverage WHERE role = 't_md5';
SELECT status FROM rotor.rotate('t_md5');
SELECT role, password_type, scram_iterations >= 4096 AS iterations, in_sync FROM rotor.coverage WHERE role IN ('t_odd', 't_md5') ORDER BY role;

-- rotor does not hold a role back from being dropped.
SELECT count(rotor.unmanage(secret)) FROM rotor.secrets
WHERE secret IN ('t_group', 't_expired', 't_expiring', 't_standby', 't_super', 't_barred', 't_odd', 't_md5');
DROP ROLE t_group, t_expired, t_expiring, t_standby, t_super, t_barred, t_odd, t_md5;
