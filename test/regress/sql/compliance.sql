--
-- coverage and compliance where it is hard: what is wrong with a login role or a secret, how bad, since when, and what mends it.
--
CREATE VIEW t.findings AS
    SELECT role, secret, finding, severity, since IS NOT NULL AND finding <> 'changed_elsewhere' AS since,
           regexp_replace(remedy, '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', '<uuid>') AS remedy
    FROM rotor.compliance WHERE role LIKE 't\_%' ORDER BY role COLLATE "C", finding COLLATE "C";

-- Runs every remedy, each in a transaction of its own.
CREATE PROCEDURE t.mend() LANGUAGE plpgsql AS $$
DECLARE
    remedies text[] := ARRAY(SELECT remedy FROM rotor.compliance WHERE role LIKE 't\_%' ORDER BY finding COLLATE "C" DESC, role);
BEGIN
    FOR i IN 1 .. cardinality(remedies) LOOP
        EXECUTE remedies[i];
        COMMIT;
    END LOOP;
END
$$;

-- Roles that nobody manages: one without a password, one with, one with an old one, one whose password ended, and one whose will.
SET client_min_messages = error; -- from 18 on an MD5 verifier is warned of
CREATE ROLE t_bare LOGIN;
CREATE ROLE t_hand LOGIN PASSWORD 'by hand';
CREATE ROLE t_md5 LOGIN PASSWORD 'md5c9b8b1ec4b1a4ec4a40cc1c24d7f4d6b';
CREATE ROLE t_ended LOGIN PASSWORD 'by hand' VALID UNTIL '2020-01-01 00:00:00+00';
CREATE ROLE t_ending LOGIN PASSWORD 'by hand';
CREATE ROLE t_endless LOGIN PASSWORD 'by hand' VALID UNTIL 'infinity';
-- A role that may not log in is in nobody's way, whatever it has or passes on; nor is one that inherits from it.
CREATE ROLE t_group NOLOGIN PASSWORD 'md5c9b8b1ec4b1a4ec4a40cc1c24d7f4d6b' VALID UNTIL '2020-01-01 00:00:00+00';
CREATE ROLE t_member LOGIN INHERIT IN ROLE t_group;
RESET client_min_messages;
DO $$BEGIN EXECUTE format('ALTER ROLE t_ending VALID UNTIL %L', now() + interval '3 days'); END$$;
SELECT * FROM t.findings;
SELECT role, managed, password_type, valid_until IS NOT NULL AS valid_until, expired, overdue, in_sync
FROM rotor.coverage WHERE role LIKE 't\_%' ORDER BY role;
-- What looks like MD5 at its beginning only is no MD5 verifier.
BEGIN;
UPDATE pg_authid SET rolpassword = 'md5 and more' WHERE rolname = 't_md5';
SELECT password_type FROM rotor.coverage WHERE role = 't_md5';
ROLLBACK;
DROP ROLE t_bare, t_ended, t_ending, t_endless, t_group, t_member;

-- A secret that is well has no row, one of the same role that was unmanaged before neither.
CREATE ROLE t_well LOGIN;
SELECT status FROM rotor.rotate('t_well');
SELECT name FROM rotor.unmanage('t_well');
SELECT status FROM rotor.rotate('t_well');
INSERT INTO rotor.policy (name, rotation_interval, valid_until_margin, backoff, backoff_max)
VALUES ('t_bounded', '2 days', '1 hour', '1 ms', '1 ms');
CREATE ROLE t_bounded LOGIN;
SELECT policy FROM rotor.manage('t_bounded', policy => 't_bounded');
SELECT status FROM rotor.rotate('t_bounded');
SELECT valid_until < now() + interval '7 days' AS soon, expired FROM rotor.coverage WHERE role = 't_bounded';
SELECT * FROM t.findings WHERE role NOT IN ('t_hand', 't_md5');

-- What happens to a secret over the years.
BEGIN;
UPDATE rotor.secret SET next_rotation = now() + interval '3 days' WHERE name = 't_bounded';
SELECT * FROM t.findings WHERE secret = 't_bounded';
ROLLBACK;
BEGIN;
UPDATE rotor.secret SET next_rotation = now() - interval '2 minutes' WHERE name = 't_bounded';
UPDATE rotor.version v SET set_at = now() - interval '3 days', verified_at = NULL FROM rotor.secret s
WHERE s.id = v.secret_id AND s.name = 't_bounded' AND v.stage = 'current';
SELECT * FROM t.findings WHERE secret = 't_bounded';
SELECT since = next_rotation AS due FROM rotor.compliance JOIN rotor.secrets USING (secret) WHERE secret = 't_bounded' AND finding = 'overdue';
-- Where the policy has windows or jitter, the schedule says how late is too late.
UPDATE rotor.policy SET jitter = '5 days' WHERE name = 't_bounded';
UPDATE rotor.secret SET next_rotation = now() + interval '1 day' WHERE name = 't_bounded';
SELECT finding FROM t.findings WHERE secret = 't_bounded';
UPDATE rotor.secret SET failures = 1 WHERE name = 't_bounded';
SELECT finding FROM t.findings WHERE secret = 't_bounded';
UPDATE rotor.secret SET next_rotation = now() - interval '2 minutes' WHERE name = 't_bounded';
-- One that nobody has proved yet is no finding while it is being proved.
INSERT INTO rotor.rotation (id, secret_id, trigger, strategy, step, status, requested_by, next_attempt_at)
SELECT gen_random_uuid(), id, 'manual', 'staged', 'test', 'verifying', 'x', now() FROM rotor.secret WHERE name = 't_bounded' AND deleted_at IS NULL;
SELECT * FROM t.findings WHERE secret = 't_bounded';
ROLLBACK;
BEGIN;
ALTER ROLE t_bounded VALID UNTIL 'infinity';
SELECT * FROM t.findings WHERE secret = 't_bounded';
UPDATE pg_authid SET rolvaliduntil = NULL WHERE rolname = 't_bounded';
SELECT finding FROM t.findings WHERE secret = 't_bounded';
ALTER ROLE t_bounded VALID UNTIL '2020-01-01 00:00:00+00';
ALTER ROLE t_well VALID UNTIL '2020-01-01 00:00:00+00';
SELECT * FROM t.findings WHERE secret IN ('t_bounded', 't_well');
ROLLBACK;
BEGIN;
UPDATE rotor.secret SET system_identifier = 1 WHERE name = 't_well' AND deleted_at IS NULL;
SELECT * FROM t.findings WHERE role = 't_well';
SELECT managed, in_sync FROM rotor.coverage WHERE role = 't_well';
ROLLBACK;

-- What mends each of them does: one that was never rotated, others that somebody changed, disabled or dropped, a dead letter.
CREATE ROLE t_idle LOGIN;
CREATE ROLE t_drifted LOGIN;
CREATE ROLE t_emptied LOGIN;
CREATE ROLE t_off LOGIN;
CREATE ROLE t_dead LOGIN;
CREATE ROLE t_dropped LOGIN;
SELECT policy FROM rotor.manage('t_idle', policy => 't_bounded');
SELECT role, status FROM (VALUES ('t_drifted'), ('t_emptied'), ('t_dropped'), ('t_off'), ('t_dead')) v (role), LATERAL rotor.rotate(role);
SET client_min_messages = error; -- where rotor is preloaded it warns
ALTER ROLE t_drifted PASSWORD 'by hand';
ALTER ROLE t_emptied PASSWORD NULL;
RESET client_min_messages;
ALTER ROLE t_well VALID UNTIL '2020-01-01 00:00:00+00';
ALTER ROLE t_bounded VALID UNTIL 'infinity';
SELECT enabled FROM rotor.disable('t_off');
SELECT enabled FROM rotor.disable('t_bounded');
DROP ROLE t_dropped;
BEGIN;
SELECT status FROM rotor.rotate('t_dead', wait => false);
ALTER ROLE t_dead NOLOGIN;
COMMIT;
SELECT count(*) >= 0 AS done FROM rotor.run_due();
CALL t.settled('t_dead');
SELECT in_sync FROM rotor.coverage WHERE role = 't_emptied';
SELECT * FROM t.findings;
CALL t.mend();
SELECT count(*) >= 0 AS done FROM rotor.run_due();
CALL t.settled('t_dead');
SELECT * FROM t.findings;
CALL t.mend();
SELECT * FROM t.findings;

-- Nobody reads it unasked.
CREATE ROLE t_nosy LOGIN;
GRANT USAGE ON SCHEMA rotor TO t_nosy;
SELECT t.may('t_nosy', 'SELECT * FROM rotor.compliance'), t.may('t_nosy', 'SELECT * FROM rotor.coverage');
GRANT SELECT ON rotor.compliance TO t_nosy;
SELECT t.may('t_nosy', 'SELECT * FROM rotor.compliance'), t.may('t_nosy', 'SELECT * FROM pg_authid');
REVOKE ALL ON SCHEMA rotor FROM t_nosy;
REVOKE ALL ON rotor.compliance FROM t_nosy;

SELECT count(rotor.manage(secret, policy => 'default')) FROM rotor.secrets WHERE policy = 't_bounded';
SELECT count(rotor.unmanage(secret)) FROM rotor.secrets WHERE secret LIKE 't\_%';
DELETE FROM rotor.policy WHERE name = 't_bounded';
DROP ROLE t_hand, t_md5, t_well, t_bounded, t_idle, t_drifted, t_emptied, t_off, t_dead, t_nosy;
DROP VIEW t.findings;
DROP PROCEDURE t.mend();
