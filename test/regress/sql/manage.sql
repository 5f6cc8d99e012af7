--
-- manage(), unmanage(), restore(), enable(), disable(): which roles are under management, under which policy.
--
\set state '\\echo SQLSTATE :LAST_ERROR_SQLSTATE'
CREATE ROLE t_one LOGIN PASSWORD 'before';
CREATE ROLE t_two LOGIN;
CREATE ROLE t_three LOGIN;
INSERT INTO rotor.policy (name, rotation_interval) VALUES ('t_daily', '1 day');
SELECT coalesce(max(id), 0) AS last_audit FROM rotor.audit \gset
SELECT rolpassword AS verifier FROM pg_authid WHERE rolname = 't_one' \gset

-- A role comes under management; it is not touched itself.
SELECT name, target, username, role_oid = 't_one'::regrole AS oid_is_the_roles,
       system_identifier = (SELECT c.system_identifier FROM pg_control_system() c) AS is_this_cluster, store, policy,
       enabled, next_rotation, last_rotation, created_by, deleted_at, created_at > now() - interval '1 hour' AS created
FROM rotor.manage('t_one');
SELECT rolpassword = :'verifier' AS untouched FROM pg_authid WHERE rolname = 't_one';

-- Under another name and a policy with a schedule.
SELECT name, username, policy, next_rotation - created_at BETWEEN interval '1 day' AND interval '1 day 1 minute' AS due_in_a_day
FROM rotor.manage('t_secret', 't_two', 't_daily');
-- By named arguments, all of them.
SELECT name, username, policy, store, target
FROM rotor.manage(secret => 'a secret: "näme"', username => 't_three', policy => 'compat', store => 'local', target => 'self');

-- Again: nothing changes, nor is anything audited; with another policy, that changes and the schedule begins anew.
SELECT name, policy FROM rotor.manage('t_secret', policy => 't_daily');
SELECT name, policy, next_rotation FROM rotor.manage('t_secret', 't_two', 'high') WHERE next_rotation < now() + interval '6 days';
SELECT policy, next_rotation > now() + interval '6 days' AS due_in_a_week FROM rotor.secrets WHERE secret = 't_secret';
SELECT name, policy, next_rotation FROM rotor.manage('t_secret', 't_two', 'default');

-- Refusals.
SELECT rotor.manage('t_nobody');
:state
SELECT rotor.manage('t_new', 't_nobody');
:state
SELECT rotor.manage('t_again', 't_two');
:state
SELECT rotor.manage('t_secret', 't_one');
:state
SELECT rotor.manage('t_secret', 't_nobody');
SELECT rotor.manage('t_secret', policy => 'no such policy');
:state
SELECT name, policy FROM rotor.manage('t_first', policy => NULL);
SELECT rotor.manage('t_first', store => NULL);
SELECT rotor.manage('t_first', target => NULL);
SELECT rotor.manage(NULL);
:state
SELECT rotor.manage('t_first', store => 'vault');
:state
SELECT rotor.manage('t_first', target => 'mysql');
:state
SELECT rotor.manage('pg_read_all_data');
:state
CREATE ROLE t_fourth;
SELECT rotor.manage('', 't_fourth');
:state
SELECT rotor.manage(repeat('ü', 129), 't_fourth');
:state
-- 128 characters are fine, however many bytes.
SELECT length(name), octet_length(name) FROM rotor.manage(repeat('𝄞', 128), 't_fourth');
SELECT length((rotor.unmanage(repeat('𝄞', 128))).name);
BEGIN READ ONLY;
SELECT rotor.manage('t_fourth');
:state
ROLLBACK;

-- Its transaction's rollback undoes it.
BEGIN;
SELECT name FROM rotor.manage('t_fourth');
ROLLBACK;
SELECT count(*) FROM rotor.secrets WHERE secret = 't_fourth';

-- disable() and enable(): the schedule only.
SELECT name, enabled FROM rotor.disable('t_one');
SELECT name, enabled FROM rotor.disable('t_one');
SELECT secret, enabled FROM rotor.secrets WHERE secret = 't_one';
SELECT name, enabled, next_rotation FROM rotor.enable('t_one');
SELECT name, policy FROM rotor.manage('t_one', policy => 't_daily');
SELECT name, enabled, next_rotation > now() AS due FROM rotor.disable('t_one');
SELECT name, enabled, next_rotation > now() AS due FROM rotor.enable('t_one');
SELECT rotor.disable('t_nobody');
:state
SELECT rotor.enable('t_nobody');
SELECT rotor.enable(NULL) IS NULL AS enable, rotor.disable(NULL) IS NULL AS disable,
       rotor.unmanage(NULL) IS NULL AS unmanage, rotor.restore(NULL) IS NULL AS restore;

-- unmanage() ends it and keeps everything, restore() takes it up again.
SELECT status FROM rotor.rotate('t_one');
SELECT rotor.get_secret('t_one') ->> 'password' AS password \gset
SELECT name, deleted_at IS NOT NULL AS ended FROM rotor.unmanage('t_one');
SELECT count(*) FROM rotor.secrets WHERE secret = 't_one';
SELECT managed FROM rotor.coverage WHERE role = 't_one';
SELECT rotor.get_secret('t_one');
:state
SELECT rotor.describe('t_one');
SELECT rotor.connection_uri('t_one');
SELECT rotor.unmanage('t_one');
:state
SELECT rotor.disable('t_one');
SELECT name, deleted_at, policy FROM rotor.restore('t_one');
SELECT rotor.get_secret('t_one') ->> 'password' = :'password' AS same_password;
SELECT rotor.restore('t_one');
:state
SELECT rotor.restore('t_nobody');
:state
-- Not while its role is managed under another name, ...
SELECT name FROM rotor.unmanage('t_one');
SELECT name FROM rotor.manage('t_other_name', 't_one');
SELECT rotor.restore('t_one');
:state
SELECT name FROM rotor.unmanage('t_other_name');
-- ... and the one that ended last is taken.
SELECT name, policy FROM rotor.manage('t_one', policy => 'compat');
SELECT name FROM rotor.unmanage('t_one');
SELECT name, policy FROM rotor.restore('t_one');

-- Not while a rotation is active.
BEGIN;
SET LOCAL client_min_messages = warning; -- a server that does not preload rotor says so
SELECT status, step FROM rotor.rotate('t_one', wait => false);
SELECT rotor.unmanage('t_one');
:state
ROLLBACK;

-- A rename is followed, and the secret's name stays.
ALTER ROLE t_one RENAME TO t_renamed;
SELECT secret, role, role_exists FROM rotor.secrets WHERE secret = 't_one';
SELECT role, secret, managed FROM rotor.coverage WHERE role IN ('t_one', 't_renamed');
SELECT status FROM rotor.rotate('t_one');
SELECT username FROM rotor.secret WHERE name = 't_one' AND deleted_at IS NULL;
SELECT rotor.get_secret('t_one') ->> 'username' AS get_secret, rotor.describe('t_one') ->> 'username' AS describe,
       rotor.connection_uri('t_one') LIKE 'postgresql://t\_renamed:%' AS uri;
SELECT DISTINCT role FROM rotor.rotations WHERE secret = 't_one';
SELECT rotor.rotate('t_renamed');
:state
SELECT rotor.manage('t_renamed');
:state
-- Two names may even change places: what counts is the role itself.
ALTER ROLE t_two RENAME TO t_one;
SELECT secret, role FROM rotor.secrets WHERE role IN ('t_one', 't_renamed') ORDER BY 1;

-- A dropped role is noticed: the value can still be read, nothing else works but to end it.
SELECT count(*) FROM rotor.health() WHERE check_name = 'dropped_roles' AND status = 'ok';
DROP ROLE t_renamed;
SELECT secret, role, role_exists FROM rotor.secrets WHERE secret = 't_one';
SELECT status, detail, hint FROM rotor.health() WHERE check_name = 'dropped_roles';
SELECT rotor.rotate('t_one');
:state
SELECT rotor.rotate('t_one', wait => false);
SELECT rotor.rollback('t_one');
SELECT rotor.get_secret('t_one') ->> 'username' AS username;
SELECT name FROM rotor.unmanage('t_one');
SELECT t.error($$SELECT rotor.restore('t_one')$$) LIKE '42704 %does not exist any more%HINT%' AS says_why;
-- A new role of the old name is another role.
CREATE ROLE t_renamed LOGIN;
SELECT t.error($$SELECT rotor.restore('t_one')$$) LIKE '42704 %does not exist any more%HINT%' AS says_why;
SELECT name, username FROM rotor.manage('t_one', 't_renamed');
SELECT status FROM rotor.rotate('t_one');
SELECT count(*) FROM rotor.health() WHERE check_name = 'dropped_roles' AND status = 'ok';

-- A secret of another cluster, as a physical copy turned into one of its own would have it.
UPDATE rotor.secret SET system_identifier = 1 WHERE name = 't_one' AND deleted_at IS NULL;
SELECT t.error($$SELECT rotor.rotate('t_one')$$) LIKE '55000 secret "t_one" belongs to another cluster | DETAIL It was made in cluster 1,%HINT%reconcile()%' AS refused;
SELECT t.may('postgres', $$SELECT rotor.rotate('t_one', wait => false)$$) AS queue, t.may('postgres', $$SELECT rotor.rollback('t_one')$$) AS rollback;
SELECT status, hint IS NOT NULL AS hint FROM rotor.health() WHERE check_name = 'other_cluster';
-- manage() binds it to the role of its name here.
SELECT name, username, role_oid = 't_renamed'::regrole AS role, system_identifier = (SELECT c.system_identifier FROM pg_control_system() c) AS is_this_cluster
FROM rotor.manage('t_one');
SELECT status FROM rotor.rotate('t_one');
SELECT status FROM rotor.health() WHERE check_name = 'other_cluster';

-- All of it is in the audit.
-- Those that only a server that preloads rotor has are left out.
SELECT actor, event, secret, result, detail FROM rotor.audit_log
WHERE id > :last_audit AND rotation IS NULL AND event NOT LIKE 'configuration%' AND length(secret) < 128
    AND event NOT IN ('renamed', 'role_dropped', 'password_changed_outside', 'drift_found') ORDER BY id;

SELECT count(rotor.unmanage(secret)) FROM rotor.secrets WHERE secret IN ('t_one', 't_secret', 'a secret: "näme"');
DROP ROLE t_one, t_three, t_fourth, t_renamed;
