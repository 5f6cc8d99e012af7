--
-- The extension as a whole: where it may live, what it refuses, dropped and made again. Runs last, and leaves nothing.
--
-- From 18 on an error's context has the line of the script.
\set SHOW_CONTEXT never
\set state '\\echo SQLSTATE :LAST_ERROR_SQLSTATE'
\setenv PGDATABASE :DBNAME
\set login '\\set who `psql -X -A -t -q -h 127.0.0.1 -c "SELECT current_user" 2>&1 | sed "s/^.*FATAL: */FATAL: /"`\n\\echo :who'
CREATE ROLE t_ext LOGIN;
SELECT status FROM rotor.rotate('t_ext');
SELECT rotor.get_secret('t_ext') ->> 'password' AS password \gset
\setenv PGUSER t_ext
\setenv PGPASSWORD :password

-- It stays where it is.
CREATE EXTENSION rotor;
:state
ALTER EXTENSION rotor SET SCHEMA public;
:state
DROP SCHEMA rotor CASCADE;
:state
DROP TABLE rotor.policy CASCADE;
:state
ALTER EXTENSION rotor UPDATE TO '9.9';
:state

-- In another database of the cluster it is refused, with the remedy.
CREATE DATABASE t_elsewhere;
\c t_elsewhere
CREATE EXTENSION rotor;
:state
SELECT count(*) FROM pg_namespace WHERE nspname = 'rotor';
\c contrib_regression
DROP DATABASE t_elsewhere;

-- A copy of rotor's database is another database: it must not rotate the cluster's roles.
SELECT rotor.get_secret('t_ext') ->> 'version_id' AS version \gset
CREATE DATABASE t_copy TEMPLATE contrib_regression;
\c t_copy
SELECT t.error($$SELECT rotor.rotate('t_ext')$$) ~ '^55000 .*HINT .*\m(rotor\.database|DROP EXTENSION)\M' AS says_why;
SELECT t.may('postgres', $$SELECT rotor.rotate('t_ext')$$) AS rotate, t.may('postgres', $$SELECT rotor.rotate('t_first', wait => false)$$) AS queue,
       t.may('postgres', $$SELECT rotor.run_due()$$) AS run_due, t.may('postgres', $$SELECT rotor.rollback('t_first')$$) AS rollback,
       t.may('postgres', $$SELECT rotor.manage('postgres')$$) AS manage;
SELECT t.error($$SELECT status FROM rotor.health()$$) LIKE '55000 %copy%HINT%' AS health_says_why;
\c contrib_regression
DROP DATABASE t_copy;
SELECT rotor.get_secret('t_ext') ->> 'version_id' = :'version' AS unchanged;
:login

-- Dropped: it takes its schema with it, and no role's password. (Once no worker is looking for something to do.)
\set rest 'SELECT t.wait_for($$NOT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE backend_type = ''rotor worker'' AND locktype = ''relation'')$$) AS at_rest;'
-- It says what it forgets.
:rest
\set VERBOSITY terse
DROP EXTENSION rotor;
\set VERBOSITY default
SELECT count(*) FROM pg_namespace WHERE nspname = 'rotor';
SELECT rotor.rotate('t_ext');
:state
:login

-- Somebody has prepared a schema of its name: it is not used.
CREATE ROLE t_hostile;
CREATE SCHEMA rotor AUTHORIZATION t_hostile;
CREATE TABLE rotor.policy (name text);
CREATE EXTENSION rotor;
:state
CREATE EXTENSION rotor SCHEMA rotor;
:state
CREATE EXTENSION rotor CASCADE;
:state
SELECT count(*) FROM pg_extension WHERE extname = 'rotor';
DROP SCHEMA rotor CASCADE;
DROP ROLE t_hostile;
CREATE EXTENSION rotor SCHEMA public;
:state
-- Only a superuser makes it.
CREATE ROLE t_owner;
GRANT CREATE ON DATABASE contrib_regression TO t_owner;
SET ROLE t_owner;
CREATE EXTENSION rotor;
:state
RESET ROLE;
DROP OWNED BY t_owner;
DROP ROLE t_owner;

-- Made again it knows nothing of what was, and works; its worker sees it once it is committed.
SET client_min_messages = warning;
BEGIN;
CREATE EXTENSION rotor;
SELECT t.error($$SELECT rotor.rotate('t_ext')$$) LIKE '55000 %Commit first%' AS commit_first;
COMMIT;
SELECT (SELECT count(*) FROM rotor.secret) AS secrets, (SELECT count(*) FROM rotor.audit) AS audit, (SELECT count(*) FROM rotor.data_key) AS data_keys;
SELECT name FROM rotor.policy ORDER BY name;
SELECT status FROM rotor.rotate('t_ext');
:login
SELECT rotor.get_secret('t_ext') ->> 'password' AS password \gset
\setenv PGPASSWORD :password
:login
SELECT event FROM rotor.audit_log ORDER BY id;

-- Dropped and made in one session once more: nothing of the former one is remembered.
:rest
DROP EXTENSION rotor;
CREATE EXTENSION rotor;
SELECT rotor.get_secret('t_ext');
:state
SELECT name FROM rotor.manage('t_ext', policy => 'compat');
SELECT status FROM rotor.rotate('t_ext');
SELECT rotor.get_secret('t_ext') ->> 'password' ~ '^[-._~A-Za-z0-9]{32}$' AS compat;

:rest
DROP EXTENSION rotor;
DROP SCHEMA t CASCADE;
DROP ROLE t_ext, t_first;
SELECT rolname FROM pg_roles WHERE rolname LIKE 't\_%';
