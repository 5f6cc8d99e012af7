--
-- blue_green: a secret with two roles that are used in turn.
--
\set login 'SELECT rotor.get_secret(:''secret'') ->> ''username'' AS "PGUSER", rotor.get_secret(:''secret'') ->> ''password'' AS "PGPASSWORD" \\gset\n\\setenv PGUSER :PGUSER\n\\setenv PGPASSWORD :PGPASSWORD\n\\set who `psql -X -A -t -q -h 127.0.0.1 -c "SELECT session_user, current_user, current_setting(''search_path''), current_setting(''lock_timeout''), current_setting(''work_mem'') = ''7MB''" 2>/dev/null || echo refused`\n\\echo :who'
\set again '\\set who `psql -X -A -t -q -h 127.0.0.1 -c "SELECT session_user, current_user" 2>/dev/null || echo refused`\n\\echo :who'
\setenv PGDATABASE :DBNAME
\set secret t_pair
SET client_min_messages = warning;
CREATE ROLE t_pair LOGIN;
ALTER ROLE t_pair SET search_path = 't, "app"', public;
ALTER ROLE t_pair IN DATABASE :DBNAME SET lock_timeout = '7s';
ALTER ROLE t_pair SET work_mem = '7MB';
INSERT INTO rotor.policy (name, strategy, grace_period, rotation_interval) VALUES ('t_turns', 'blue_green', '1 hour', '1 day');

-- One call makes the two roles, members of their owner; neither can log in yet.
SELECT name, username, policy, store, target, enabled FROM rotor.manage('t_pair', policy => 't_turns');
SELECT secret, owner, in_use, resting, used_since, retire_at, next_rotation > now() AS planned, policy FROM rotor.pairs;
SELECT secret, role, state, next_rotation IS NOT NULL AS planned FROM rotor.secrets WHERE secret ~ '^t_pair' ORDER BY secret;
SELECT rolname, rolcanlogin, pg_has_role(rolname, 't_pair', 'member') AS member FROM pg_roles WHERE rolname ~ '^t_pair' ORDER BY rolname;
SELECT role, secret, finding FROM rotor.compliance WHERE role ~ '^t_pair' ORDER BY 1, 3;
SELECT t.error($$SELECT rotor.get_secret('t_pair')$$);
SELECT t.error($$SELECT rotor.rollback('t_pair')$$);

-- The one that rests is rotated, proved, and in use from then on. It logs in as its owner, with its owner's settings.
SELECT status, strategy, trigger FROM rotor.rotate('t_pair');
:login
SELECT in_use, resting, used_since IS NOT NULL AS used, retire_at, next_rotation BETWEEN now() + interval '23 hours' AND now() + interval '24 hours' AS planned FROM rotor.pairs;
SELECT t.error($$SELECT rotor.get_secret('t_pair', 'previous')$$);

-- In turn. The role that was used before still logs in, ...
ALTER ROLE t_pair SET search_path = public;
ALTER ROLE t_pair RESET work_mem;
SELECT status, strategy FROM rotor.rotate('t_pair', wait => true);
:again
:login
SELECT rotor.get_secret('t_pair', 'previous') ->> 'username' AS previous, rotor.get_secret('t_pair', 'previous') ->> 'stages' AS stages;
SELECT in_use, resting, retire_at BETWEEN now() + interval '50 minutes' AND now() + interval '1 hour' AS in_an_hour FROM rotor.pairs;
-- ... until its time has come.
SELECT rotor.get_secret('t_pair', 'previous') ->> 'username' AS "PGUSER", rotor.get_secret('t_pair', 'previous') ->> 'password' AS "PGPASSWORD" \gset
\setenv PGUSER :PGUSER
\setenv PGPASSWORD :PGPASSWORD
:again
UPDATE rotor.secret SET retire_at = now() WHERE name = 't_pair_blue';
SELECT count(*) >= 0 AS done FROM rotor.run_due();
CALL t.wait_until($$(SELECT count(*) = 0 FROM rotor.pairs WHERE retire_at IS NOT NULL)$$);
:again
SELECT secret, trigger, strategy, step, status, requested_by FROM rotor.rotations WHERE secret ~ '^t_pair' ORDER BY queued_at;
SELECT event, secret, result FROM rotor.audit_log WHERE secret ~ '^t_pair' ORDER BY id;
SELECT role, secret, finding FROM rotor.compliance WHERE role ~ '^t_pair' ORDER BY 1, 3;
SELECT secret, state FROM rotor.secrets WHERE secret ~ '^t_pair' ORDER BY secret;

-- Back: the role that rests gets the value that it had, and is in use again.
SELECT status, trigger FROM rotor.rollback('t_pair');
:login
SELECT in_use, resting FROM rotor.pairs;

-- By schedule it is the one that rests, when its grace period is over; who does not wait is told.
UPDATE rotor.secret SET next_rotation = now() - interval '1 minute' WHERE name = 't_pair_green';
SELECT count(*) >= 0 AS done FROM rotor.run_due();
CALL t.wait_until($$(SELECT next_rotation = retire_at FROM rotor.secret WHERE name = 't_pair_green')$$);
SELECT in_use, resting FROM rotor.pairs;
SELECT t.error($$INSERT INTO rotor.policy (name, strategy, grace_period, rotation_interval) VALUES ('t_short', 'blue_green', '1 day', '1 day')$$);
UPDATE rotor.secret SET next_rotation = now() - interval '1 minute', retire_at = now() WHERE name = 't_pair_green';
SELECT count(*) >= 0 AS done FROM rotor.run_due();
CALL t.wait_until($$(SELECT in_use = 't_pair_green' FROM rotor.pairs)$$);
:login
SELECT trigger, status FROM rotor.rotations WHERE secret = 't_pair_green' ORDER BY queued_at DESC LIMIT 1;
UPDATE rotor.policy SET rotation_interval = '2 days' WHERE name = 't_turns';
SELECT secret, next_rotation BETWEEN now() + interval '47 hours' AND now() + interval '48 hours' AS planned FROM rotor.secrets WHERE secret ~ '^t_pair' ORDER BY secret;
SELECT secret, due_at > now() AS planned FROM rotor.upcoming WHERE secret ~ '^t_pair';

-- describe() tells of both, whichever is asked for.
SELECT rotor.describe('t_pair') - 'versions' - 'last_result' - 'created_at' - 'last_rotation' - 'next_rotation' - 'retire_at' - 'used_since';
SELECT rotor.describe('t_pair_blue') ->> 'pair' AS pair;

-- What leaks is left behind for good: both get another value.
SELECT status, rotations FROM rotor.rotate_all(pattern => 't\_pair', reason => 'leaked');
SELECT count(*) AS both FROM rotor.rotations WHERE secret ~ '^t_pair_' AND trigger = 'emergency' AND status = 'success';
:login

-- One that cannot get another value is locked.
SELECT resting AS rests FROM rotor.pairs \gset
REVOKE t_pair FROM :rests;
SELECT status, rotations FROM rotor.rotate_all(pattern => 't\_pair', reason => 'leaked again');
CALL t.wait_until(format('(SELECT NOT rolcanlogin FROM pg_roles WHERE rolname = %L)', :'rests'));
SELECT resting = :'rests' AS still, retire_at FROM rotor.pairs;
:login
GRANT t_pair TO :rests;

-- A rotation that comes to nothing leaves the role as it was: locked.
UPDATE rotor.secret SET retire_at = now() WHERE retire_at IS NOT NULL;
SELECT count(*) >= 0 AS done FROM rotor.run_due();
CALL t.wait_until($$(SELECT count(*) = 0 FROM rotor.pairs WHERE retire_at IS NOT NULL)$$);
REVOKE t_pair FROM t_pair_blue, t_pair_green;
SELECT replace(t.error($$SELECT rotor.rotate('t_pair')$$), ' WITH SET TRUE', '') AS error;
GRANT t_pair TO t_pair_blue, t_pair_green;
-- From 16 on a member that may not become its owner is as good as none.
\set refused true
SELECT current_setting('server_version_num')::int >= 160000 AS has_set, resting AS rests FROM rotor.pairs \gset
\if :has_set
GRANT t_pair TO :rests WITH SET FALSE;
SELECT t.error($$SELECT rotor.rotate('t_pair')$$) ~ 'is no member' AS refused \gset
GRANT t_pair TO :rests WITH SET TRUE;
\endif
SELECT :'refused'::boolean AS refused;
SELECT count(*) AS can_log_in FROM pg_roles WHERE rolname ~ '^t_pair_' AND rolcanlogin;
:login

-- Nor does a role come into use that nobody can work with, though its password is right.
ALTER ROLE t_pair_blue CONNECTION LIMIT 0;
ALTER ROLE t_pair_green CONNECTION LIMIT 0;
UPDATE rotor.policy SET max_attempts = 1 WHERE name = 't_turns';
SELECT in_use AS before FROM rotor.pairs \gset
SELECT regexp_replace(t.error($$SELECT rotor.rotate('t_pair')$$), 'port \d+', 'port <port>') AS error;
CALL t.wait_until($$(SELECT count(*) = 0 FROM rotor.pairs WHERE retire_at IS NOT NULL)$$);
ALTER ROLE t_pair_blue CONNECTION LIMIT -1;
ALTER ROLE t_pair_green CONNECTION LIMIT -1;
UPDATE rotor.policy SET verify_query = 'SELECT * FROM t.nothing_of_the_kind' WHERE name = 't_turns';
SELECT t.error($$SELECT rotor.rotate('t_pair')$$);
UPDATE rotor.policy SET verify_query = NULL, max_attempts = 8 WHERE name = 't_turns';
SELECT in_use = :'before' AS still FROM rotor.pairs;
SELECT step, status, outcome, dead_letter FROM rotor.rotation r JOIN rotor.pair p ON p.resting = r.secret_id ORDER BY queued_at DESC LIMIT 2;
:login
-- What is locked again leaves that dead letter as it is.
SELECT count(*) >= 0 AS done FROM rotor.run_due();
CALL t.wait_until($$(SELECT count(*) = 0 FROM rotor.pairs WHERE retire_at IS NOT NULL)$$);
SELECT count(*) AS dead_letters FROM rotor.dead_letter WHERE secret ~ '^t_pair_' AND step = 'test';
SELECT count(*) AS can_log_in FROM pg_roles WHERE rolname ~ '^t_pair_' AND rolcanlogin;

-- The owner is renamed, and the roles log in as it.
ALTER ROLE t_pair RENAME TO t_renamed;
SELECT finding FROM rotor.reconcile('t_pair') ORDER BY 1;
SELECT owner FROM rotor.pairs;
:again
ALTER ROLE t_renamed RENAME TO t_pair;
SELECT finding FROM rotor.reconcile('t_pair') ORDER BY 1;
:again

-- Who asks by hand does not wait for the end of the grace period, but is told.
SELECT status FROM rotor.rotate('t_pair');
SET client_min_messages = notice;
\set VERBOSITY terse
SELECT status FROM rotor.rotate('t_pair');
\set VERBOSITY default
SET client_min_messages = warning;

-- Its nature stays as it is.
SELECT t.error($$SELECT rotor.rotate('t_pair', strategy => 'staged')$$);
SELECT t.error($$SELECT rotor.rotate('t_pair', strategy => 'immediate', wait => false)$$);
SELECT status FROM rotor.rotate('t_pair', strategy => 'blue_green');
SELECT t.error($$SELECT rotor.manage('t_pair', policy => 'default')$$);
SELECT t.error($$SELECT rotor.manage('t_pair', 'postgres', policy => 't_turns')$$);
SELECT t.error($$SELECT rotor.manage('t_pair_blue', policy => 'default')$$);
SELECT t.error($$SELECT rotor.unmanage('t_pair_blue')$$);
SELECT t.error($$UPDATE rotor.policy SET strategy = 'staged' WHERE name = 't_turns'$$);
CREATE ROLE t_one LOGIN;
SELECT policy FROM rotor.manage('t_one');
SELECT t.error($$SELECT rotor.manage('t_one', policy => 't_turns')$$);
SELECT t.error($$SELECT rotor.rotate('t_one', strategy => 'blue_green')$$);
SELECT (rotor.unmanage('t_one')).name;
SELECT t.error($$SELECT rotor.manage('t_turned', 'nobody', policy => 't_turns')$$);
SELECT t.error($$SELECT rotor.manage('t_one', policy => 't_turns', options => '{"roles": ["t_one"]}')$$);
SELECT t.error($$SELECT rotor.manage('t_one', policy => 't_turns', options => '{"roles": "t_one"}')$$);
SELECT t.error($$SELECT rotor.manage('t_one', policy => 't_turns', options => '{"roles": ["t_one", "t_two"]}')$$);
SELECT t.error($$SELECT rotor.manage('t_one', policy => 't_turns', options => '{"roles": ["t_pair_blue", "t_two"]}')$$);
SELECT t.error($$SELECT rotor.manage('t_one', policy => 't_turns', options => '{"roles": ["t_two", "t_two"]}')$$);
SELECT t.error(format($$SELECT rotor.manage('t_one', policy => 't_turns', options => '{"roles": [%s, "t_two"]}')$$, to_json(repeat('x', 64))));
SELECT t.error($$SELECT rotor.manage('t_three', 't_one', policy => 't_turns', options => '{"roles": ["t_two", "t_three"]}')$$);
SELECT count(*) AS none_was_made FROM pg_roles WHERE rolname IN ('t_two', 't_three', 't_one_blue');

-- Rights on the pair are rights on both; whoever manages it needs the server's own rights to make roles.
CREATE ROLE t_reader;
CREATE ROLE t_maker CREATEROLE;
SELECT rotor.grant_access('t_pair', 't_reader', 'read');
SET ROLE t_reader;
SELECT rotor.get_secret('t_pair') ->> 'username' ~ '^t_pair_' AS reads, rotor.connection_uri('t_pair') ~ '^postgresql://t_pair_' AS uri;
RESET ROLE;
SELECT s.name, g.privilege FROM rotor.access_grant g JOIN rotor.secret s ON s.id = g.secret_id WHERE g.role_oid = 't_reader'::regrole ORDER BY 1;
SELECT rotor.revoke_access('t_pair', 't_reader', 'read');
SELECT count(*) FROM rotor.access_grant WHERE role_oid = 't_reader'::regrole;
SELECT t.may('t_reader', $$SELECT rotor.get_secret('t_pair')$$);
GRANT USAGE ON SCHEMA rotor TO t_maker, t_reader;
GRANT EXECUTE ON FUNCTION rotor.manage, rotor.unmanage TO t_maker, t_reader;
SELECT t.may('t_reader', $$SELECT rotor.manage('t_one', policy => 't_turns')$$);
SET ROLE t_maker;
CREATE ROLE t_made;
SELECT name, created_by FROM rotor.manage('t_made', policy => 't_turns', options => '{"roles": ["t_made_one", "t_made \"two\""]}');
SELECT t.error($$SELECT rotor.manage('t_made_pair', 'postgres', policy => 't_turns')$$);
RESET ROLE;
SELECT owner, in_use, resting FROM rotor.pairs WHERE secret = 't_made';
SELECT (rotor.unmanage('t_made')).name;

-- Off and on, away and back: both at once.
SELECT enabled FROM rotor.disable('t_pair');
SELECT secret, enabled FROM rotor.secrets WHERE secret ~ '^t_pair' ORDER BY secret;
SELECT enabled FROM rotor.enable('t_pair');
SELECT count(*) FROM rotor.secrets WHERE enabled AND secret ~ '^t_pair';
SELECT (rotor.unmanage('t_pair')).deleted_at IS NOT NULL AS unmanaged;
SELECT count(*) FROM rotor.pairs;
SELECT t.error($$SELECT rotor.get_secret('t_pair')$$);
SELECT t.error($$SELECT rotor.restore('t_pair_blue')$$);
-- A single one of that name, whose management ended later, is meant; then the two again.
SELECT policy FROM rotor.manage('t_pair');
SELECT (rotor.unmanage('t_pair')).policy;
SELECT (rotor.restore('t_pair')).policy;
SELECT (rotor.unmanage('t_pair')).policy;
DELETE FROM rotor.secret WHERE name = 't_pair' AND deleted_at IS NOT NULL;
SELECT (rotor.restore('t_pair')).deleted_at IS NULL AS restored;
:login
SELECT * FROM rotor.reconcile('t_pair') ORDER BY 1;

-- Away, and managed anew: the roles are there already.
SELECT (rotor.unmanage('t_pair')).deleted_at IS NOT NULL AS unmanaged;
SELECT name FROM rotor.manage('t_pair', policy => 't_turns', options => '{"roles": ["t_pair_green", "t_pair_blue"]}');
SELECT status FROM rotor.rotate('t_pair');
:login

-- One of those that were used in turn before does not come back alone.
SELECT (rotor.unmanage('t_pair')).deleted_at IS NOT NULL AS unmanaged;
CREATE ROLE t_x;
SELECT name FROM rotor.manage('t_pair', policy => 't_turns', options => '{"roles": ["t_x", "t_y"]}');
SELECT t.error($$SELECT rotor.restore('t_pair_blue')$$);
SELECT (rotor.unmanage('t_pair')).deleted_at IS NOT NULL AS unmanaged;
DROP ROLE t_x, t_y;
SELECT name FROM rotor.manage('t_pair', policy => 't_turns');
-- The one that can log in is the one that is used.
SELECT in_use FROM rotor.pairs;

-- An owner with a long name: its roles are named.
SELECT rpad('t_long_', 60, 'x') AS long \gset
CREATE ROLE :long;
SELECT t.error(format('SELECT rotor.manage(%L, policy => %L)', :'long', 't_turns'));
SELECT length(name) FROM rotor.manage(:'long', policy => 't_turns', options => '{"roles": ["t_long_1", "t_long_2"]}');
SELECT (rotor.unmanage(:'long')).deleted_at IS NOT NULL AS unmanaged;
DROP ROLE t_long_1, t_long_2, :long;

-- A role that is dropped, and an owner.
SELECT (rotor.unmanage('t_pair')).deleted_at IS NOT NULL AS unmanaged;
DROP ROLE t_pair_blue, t_pair_green;
SELECT name FROM rotor.manage('t_pair', policy => 't_turns');
DROP ROLE t_pair;
SELECT t.error($$SELECT rotor.rotate('t_pair')$$);
SELECT owner, in_use, resting FROM rotor.pairs;

SELECT (rotor.unmanage('t_pair')).deleted_at IS NOT NULL AS unmanaged;
REVOKE ALL ON SCHEMA rotor FROM t_maker, t_reader;
REVOKE ALL ON FUNCTION rotor.manage, rotor.unmanage FROM t_maker, t_reader;
DROP ROLE t_pair_blue, t_pair_green, t_one, t_reader, t_made, t_made_one, "t_made ""two""";
DROP ROLE t_maker;
