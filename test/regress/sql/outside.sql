--
-- Targets and stores outside: what is handed to workers, and what follows from what they say. This test is the worker.
--
CREATE ROLE t_superuser LOGIN SUPERUSER;
CREATE ROLE t_outsider LOGIN;
SELECT rotor.setup_worker('t_worker');

SELECT actor, detail FROM rotor.audit_log WHERE event = 'worker_set_up';
INSERT INTO rotor.policy (name, backoff, backoff_max, max_attempts) VALUES ('t_outside', '1 ms', '1 ms', 2);
INSERT INTO rotor.target (name, type, host, port, dbname, sslmode, admin, options)
VALUES ('t_pg', 'postgresql', 'db.example.com', 6432, 'app', 'verify-full', 't_superuser', '{"note": "x"}');
INSERT INTO rotor.target (name, type, host) VALUES ('t_own', 'mysql', 'my.example.com');
INSERT INTO rotor.store (name, type, options) VALUES ('t_file', 'file', '{"path": "/tmp/t.json"}');

-- Only superusers take what is outside under management.
SELECT name, target, username, role_oid, store, policy, options
FROM rotor.manage('t_remote', 'app "user"', 't_outside', target => 't_pg', options => '{"key": "apps/one"}');
SELECT t.error($$SELECT rotor.manage('t_again', 'app "user"', target => 't_pg')$$);
SELECT t.error($$SELECT rotor.manage('t_remote', store => 't_file')$$);
SELECT t.error($$SELECT rotor.manage('t_other', target => 't_pg', options => '[1]')$$);
SELECT t.error($$SELECT rotor.manage('t_other', target => 't_pg', options => '{"password": "x"}')$$) LIKE '23514%' AS holds_no_credential;
SELECT rotor.grant_access('t_remote', 't_outsider', 'manage');
SET ROLE t_outsider;
SELECT t.error($$SELECT rotor.manage('t_mine', target => 't_pg')$$);
SELECT t.error($$SELECT rotor.manage('t_remote', options => '{}')$$);
SELECT t.error($$SELECT rotor.claim('w', '{postgresql}', '{}', 1)$$);
RESET ROLE;
SELECT t.error($$SELECT rotor.get_secret('t_remote')$$);

-- What a worker has, and nothing else.
SELECT p.oid::regprocedure AS may_call FROM pg_proc p WHERE p.pronamespace = 'rotor'::regnamespace
AND has_function_privilege('t_worker', p.oid, 'EXECUTE') ORDER BY 1;
SELECT c.oid::regclass AS may_touch FROM pg_class c WHERE c.relnamespace = 'rotor'::regnamespace
AND c.relkind IN ('r', 'v', 'p') AND has_any_column_privilege('t_worker', c.oid, 'SELECT, INSERT, UPDATE');

-- A worker, as SQL: it claims for one secret, remembers the job without its values, and reports.
CREATE TABLE t.job (secret text PRIMARY KEY, rotation uuid, lease uuid, job jsonb);
CREATE FUNCTION t.hidden(job jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_object_agg(key, CASE WHEN value ? 'password' THEN jsonb_build_object('username', value ->> 'username')
        ELSE value END) FROM jsonb_each(job) WHERE key NOT IN ('rotation', 'lease') $$;
CREATE FUNCTION t.keep(job json) RETURNS text LANGUAGE sql AS $$
    INSERT INTO t.job SELECT j ->> 'secret', (j ->> 'rotation')::uuid, (j ->> 'lease')::uuid, t.hidden(j::jsonb)
        FROM (SELECT job) AS x (j) WHERE job IS NOT NULL
    ON CONFLICT (secret) DO UPDATE SET rotation = excluded.rotation, lease = excluded.lease, job = excluded.job
    RETURNING format('%s%s', job.job ->> 'step', CASE WHEN (job.job ->> 'look')::boolean THEN ', look first' END) $$;
CREATE FUNCTION t.waits() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 3000 LOOP
        IF (rotor.heartbeat('t', '{}') -> 'queue' ->> 'waiting')::int > 0 THEN RETURN true; END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN false;
END $$;
CREATE FUNCTION t.claim(targets text[] DEFAULT '{postgresql,mysql}', stores text[] DEFAULT '{file}') RETURNS text
LANGUAGE plpgsql AS $$
DECLARE found text;
BEGIN
    FOR i IN 1 .. 3000 LOOP
        SELECT string_agg(t.keep(j), ' ') INTO found FROM rotor.claim('t', targets, stores, 10) j;
        EXIT WHEN found IS NOT NULL;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN found;
END $$;
CREATE FUNCTION t.ok(named text, outcome text DEFAULT 'ok') RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(t.keep(rotor.complete(rotation, lease, outcome, duration_ms => 1)), 'nothing more') FROM t.job WHERE secret = named $$;
CREATE FUNCTION t.fails(named text, outcome text, code text DEFAULT NULL, message text DEFAULT 'it failed') RETURNS text LANGUAGE sql AS $$
    SELECT rotor.fail(rotation, lease, outcome, code, message, 1, 0) FROM t.job WHERE secret = named $$;
CREATE FUNCTION t.how(named text) RETURNS TABLE (step text, status text, dead_letter boolean, outcome text, error_code text, error_message text)
LANGUAGE sql AS $$ SELECT r.step, r.status, r.dead_letter, r.outcome, r.error_code, r.error_message FROM rotor.rotations r
    WHERE r.secret = named ORDER BY queued_at DESC LIMIT 1 $$;
CREATE FUNCTION t.value(named text, stage text DEFAULT 'current') RETURNS text LANGUAGE plpgsql AS $$
BEGIN RETURN md5(rotor.get_secret(named, stage) ->> 'password'); EXCEPTION WHEN undefined_object THEN RETURN 'none'; END $$;

SELECT status FROM rotor.rotate('t_superuser');
SELECT status FROM rotor.rotate('t_remote', wait => false);
SELECT t.claim();
SELECT jsonb_pretty(job - 'version' - 'admin') FROM t.job WHERE secret = 't_remote';
SELECT job -> 'version' AS version, job -> 'admin' AS admin FROM t.job WHERE secret = 't_remote';
-- Its lease runs: nobody else has it.
SELECT count(*) FROM rotor.claim('u', '{postgresql,mysql}', '{file}', 10);
SELECT (rotor.heartbeat('t', ARRAY[lease, gen_random_uuid()]) ->> 'held')::jsonb = jsonb_build_array(lease) AS only_its_own FROM t.job;
SELECT t.error(format('SELECT rotor.cancel(%L)', rotation)) FROM t.job;
SELECT t.error(format('SELECT rotor.complete(%L, %L, $$ok$$)', rotation, gen_random_uuid())) LIKE '55000 the lease of rotation % is over%' AS of_another FROM t.job;
SELECT t.error(format('SELECT rotor.fail(%L, %L, $$ok$$)', rotation, lease)) FROM t.job;
SELECT t.error(format('SELECT rotor.complete(%L, %L, $$refused$$)', rotation, lease)) FROM t.job;
SELECT t.value('t_remote') AS current_before_set, t.value('t_remote', 'pending') <> 'none' AS pending;
SELECT t.ok('t_remote');
SELECT t.value('t_remote') <> 'none' AS current_after_set;
SELECT t.ok('t_remote');
SELECT * FROM t.how('t_remote');
SELECT event, result, CASE WHEN detail ? 'worker' THEN duration_ms END AS ms, detail FROM rotor.audit_log WHERE secret = 't_remote' AND rotation IS NOT NULL ORDER BY at, id;
SELECT get_secret ->> 'username' AS username, get_secret ->> 'host' AS host, get_secret ->> 'port' AS port, get_secret ->> 'dbname' AS dbname,
       get_secret ->> 'engine' AS engine FROM rotor.get_secret('t_remote');
SELECT regexp_replace(rotor.connection_uri('t_remote'), '^(postgresql://[^:]*:).*(@.*)$', '\1***\2') AS uri;
SELECT secret, role, role_exists, state FROM rotor.secrets WHERE secret = 't_remote';
SELECT finding FROM rotor.compliance WHERE secret = 't_remote';
SELECT * FROM rotor.reconcile('t_remote');

-- A transient failure is tried again; a job that was handed back does not count.
SELECT t.value('t_remote') AS before \gset
SELECT status FROM rotor.rotate('t_remote', wait => false);
SELECT t.claim();
SELECT t.fails('t_remote', 'released');
-- A worker leaves out whom it cannot reach just now; a store of that name is somebody else.
SELECT count(*) FROM rotor.claim('t', '{postgresql,mysql}', '{file}', 10, '{other,t_pg}');
SELECT t.error($$SELECT rotor.claim('t', '{postgresql}', '{file}', 10, NULL)$$);
SELECT string_agg(t.keep(j), ' ') FROM rotor.claim('t', '{postgresql,mysql}', '{file}', 10, '{t_file}', '{t_pg}') j;
SELECT t.fails('t_remote', 'transient', '57P03', 'the database system is starting up');
SELECT t.claim();
SELECT job ->> 'attempt' AS attempt FROM t.job WHERE secret = 't_remote';
SELECT t.ok('t_remote');
-- Refused: the former value is given back, and the labels with it.
SELECT t.value('t_remote') = :'before' AS is_former;
SELECT t.fails('t_remote', 'refused', '28P01', 'password authentication failed');
SELECT t.claim();
SELECT job -> 'former' AS former FROM t.job WHERE secret = 't_remote';
SELECT t.ok('t_remote');
SELECT t.value('t_remote') = :'before' AS is_former;
SELECT * FROM t.how('t_remote');

-- Nobody knows what became of it: who goes on looks first, and nothing else begins before that is settled.
SELECT status FROM rotor.rotate('t_remote', wait => false);
SELECT t.claim();
SELECT t.fails('t_remote', 'unknown', NULL, 'connection lost');
SELECT t.claim();
SELECT t.fails('t_remote', 'unknown', NULL, 'connection lost');
SELECT * FROM t.how('t_remote');
SELECT step, state FROM rotor.dead_letter WHERE secret = 't_remote';
SELECT rotation AS first FROM t.job WHERE secret = 't_remote' \gset
SELECT status FROM rotor.rotate('t_remote', wait => false);
SELECT t.claim();
SELECT rotation = :'first' AS the_same_rotation FROM t.job WHERE secret = 't_remote';
SELECT t.ok('t_remote');
SELECT t.ok('t_remote', 'proved');
SELECT * FROM t.how('t_remote');
SELECT count(*) FROM rotor.dead_letter WHERE secret = 't_remote';

-- A lease that ran out is another worker's, who looks first; the late answer is refused.
SELECT status FROM rotor.rotate('t_remote', wait => false);
SELECT t.claim();
UPDATE rotor.rotation SET leased_until = clock_timestamp() - interval '1 second' WHERE lease IS NOT NULL;
SELECT lease AS late FROM t.job WHERE secret = 't_remote' \gset
SELECT (rotor.heartbeat('t', ARRAY[:'late'::uuid]) ->> 'held') AS held;
SELECT t.claim();
SELECT t.error(format('SELECT rotor.complete(%L, %L, $$ok$$)', rotation, :'late')) LIKE '55000%is over%' AS late_answer FROM t.job WHERE secret = 't_remote';
SELECT t.fails('t_remote', 'permanent', NULL, 'no such account');
SELECT * FROM t.how('t_remote');

-- An account that changes its own password needs one that is known.
SELECT name FROM rotor.manage('t_self', 'me', 't_outside', target => 't_own');
SELECT status FROM rotor.rotate('t_self', wait => false);
DO $$ BEGIN FOR i IN 1 .. 3000 LOOP
    PERFORM rotor.claim('t', '{mysql}', '{}', 1);
    EXIT WHEN EXISTS (SELECT FROM rotor.rotations WHERE secret = 't_self' AND finished_at IS NOT NULL);
    PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT * FROM t.how('t_self');

-- A store outside: published before the target is changed, its labels move last.
SELECT name, store FROM rotor.manage('t_stored', 'stored', 't_outside', 't_file', 't_pg');
SELECT status FROM rotor.rotate('t_stored', wait => false);
SELECT t.waits();
SELECT count(*) FROM rotor.claim('t', '{postgresql,mysql}', '{aws}', 10);
SELECT count(*) FROM rotor.claim('t', '{postgresql,mysql}', '{file}', 10, except_stores => '{t_file}');
SELECT t.claim();
SELECT job -> 'store' AS store FROM t.job WHERE secret = 't_stored';
SELECT t.ok('t_stored'), t.ok('t_stored'), t.ok('t_stored'), t.ok('t_stored');
SELECT * FROM t.how('t_stored');
-- They do not move: the store's current version is to go on working, so the target goes back.
SELECT t.value('t_stored') AS before \gset
SELECT status FROM rotor.rotate('t_stored', wait => false);
-- By itself: in one statement, serializable, t.ok() would find the rotation as it was before the server made it ready.
SELECT t.claim();
SELECT t.ok('t_stored'), t.ok('t_stored'), t.ok('t_stored');
SELECT t.fails('t_stored', 'permanent', 'AccessDeniedException', 'not authorized');
SELECT t.claim();
SELECT t.ok('t_stored');
SELECT * FROM t.how('t_stored');
SELECT t.value('t_stored') = :'before' AS is_former;
-- Whether they moved is not known: it waits, and is settled first.
SELECT status FROM rotor.rotate('t_stored', wait => false);
SELECT t.claim();
SELECT t.ok('t_stored'), t.ok('t_stored'), t.ok('t_stored');
SELECT t.fails('t_stored', 'unknown'), t.claim();
SELECT t.fails('t_stored', 'unknown');
SELECT * FROM t.how('t_stored');
SELECT status FROM rotor.rotate('t_stored', wait => false);
SELECT t.claim();
SELECT t.ok('t_stored');
SELECT * FROM t.how('t_stored');

-- A role of this cluster with a store outside: the server sets and proves, the worker publishes.
CREATE ROLE t_published LOGIN;
SELECT name, store, target FROM rotor.manage('t_published', policy => 't_outside', store => 't_file');
SELECT status FROM rotor.rotate('t_published', wait => false);
SELECT t.claim();
SELECT t.ok('t_published');
SELECT t.claim();
SELECT t.ok('t_published');
SELECT * FROM t.how('t_published');
SELECT in_sync FROM rotor.coverage WHERE secret = 't_published';

-- Called off before the target is changed.
SELECT status FROM rotor.rotate('t_stored', wait => false);
SELECT t.claim();
SELECT status FROM rotor.cancel((SELECT rotation FROM t.job WHERE secret = 't_stored'));
SELECT t.error(format('SELECT rotor.complete(%L, %L, $$ok$$)', rotation, lease)) LIKE '55000%' AS late_answer FROM t.job WHERE secret = 't_stored';

-- A value that is damaged fails alone; the others of the same claim are handed out.
SELECT status FROM rotor.rotate('t_remote', wait => false);
SELECT t.waits();
UPDATE rotor.version SET sealed = set_byte(sealed, 40, get_byte(sealed, 40) # 1)
WHERE id = (SELECT r.version_id FROM rotor.rotations r WHERE r.secret = 't_remote' ORDER BY queued_at DESC LIMIT 1);
SELECT status FROM rotor.rotate('t_stored', wait => false);
SELECT t.claim();
SELECT step, status, dead_letter, outcome, error_code FROM t.how('t_remote');
-- Peers speak many languages: what is too long is not cut within a character.
SELECT t.fails('t_stored', 'permanent', '42501', repeat('ä', 400));
SELECT error_message = repeat('ä', 255) AS whole_characters FROM t.how('t_stored');

-- Nothing that a worker or anybody else sees holds a value.
SELECT count(*) FROM rotor.audit_log a, (SELECT rotor.get_secret(s, 'current') ->> 'password' FROM unnest(ARRAY['t_remote', 't_stored', 't_published']) s) v (value)
WHERE position(v.value IN a::text) > 0;

-- Two accounts that are used in turn: the worker makes, unlocks and locks them. The store has one entry for both.
INSERT INTO rotor.policy (name, strategy, backoff, backoff_max, max_attempts) VALUES ('t_turns_outside', 'blue_green', '1 ms', '1 ms', 2);
INSERT INTO rotor.target (name, type) VALUES ('t_command', 'command');
SELECT t.error($$SELECT rotor.manage('t_turned', policy => 't_turns_outside', target => 't_own')$$);
SELECT t.error($$SELECT rotor.manage('t_turned', policy => 't_turns_outside', target => 't_command')$$);
SELECT name, username, target, store, policy FROM rotor.manage('t_turned', 'owner', 't_turns_outside', 't_file', 't_pg');
SELECT secret, owner, in_use, resting FROM rotor.pairs WHERE secret = 't_turned';
SELECT status, strategy FROM rotor.rotate('t_turned', wait => false);
SELECT t.claim('{postgresql,mysql}', '{file}');
SELECT job -> 'version' AS version, job -> 'former' AS former, job -> 'pair' AS pair, job -> 'store' ->> 'key' AS key, job -> 'account' AS account
FROM t.job WHERE secret = 't_turned/owner_blue';
SELECT t.ok('t_turned/owner_blue');
SELECT t.value('t_turned') AS in_use_before, job -> 'admin' AS admin FROM t.job WHERE secret = 't_turned/owner_blue';
SELECT t.ok('t_turned/owner_blue');
SELECT t.value('t_turned') AS set_but_not_proved;
SELECT t.ok('t_turned/owner_blue');
SELECT t.ok('t_turned/owner_blue');
SELECT rotor.get_secret('t_turned') ->> 'username' AS username, in_use, resting, retire_at FROM rotor.pairs WHERE secret = 't_turned';
-- The other one: for the store, what comes before it is the first one's.
SELECT status FROM rotor.rotate('t_turned', wait => false);
SELECT t.claim('{postgresql,mysql}', '{file}');
SELECT job -> 'version' AS version, job -> 'former' AS former FROM t.job WHERE secret = 't_turned/owner_green';
SELECT t.ok('t_turned/owner_green');
SELECT job -> 'version' AS version, job -> 'former' AS former FROM t.job WHERE secret = 't_turned/owner_green';
-- Refused: its account never had another value, so it is locked again; the one in use is not touched.
SELECT t.ok('t_turned/owner_green');
SELECT t.fails('t_turned/owner_green', 'refused', '28P01', 'no');
SELECT t.claim();
SELECT job ->> 'step' AS step, job -> 'former' AS former, job -> 'admin' AS admin, job -> 'pair' AS pair FROM t.job WHERE secret = 't_turned/owner_green';
SELECT t.ok('t_turned/owner_green');
SELECT status, in_use FROM t.how('t_turned/owner_green'), rotor.pairs WHERE secret = 't_turned';
SELECT status FROM rotor.rotate('t_turned', wait => false);
SELECT t.claim('{postgresql,mysql}', '{file}');
SELECT t.ok('t_turned/owner_green') FROM generate_series(1, 4);
SELECT rotor.get_secret('t_turned') ->> 'username' AS username, rotor.get_secret('t_turned', 'previous') ->> 'username' AS previous,
       in_use, resting, retire_at > now() AS later FROM rotor.pairs WHERE secret = 't_turned';
-- When the grace period is over, a worker locks the account. Nobody rotates it meanwhile.
UPDATE rotor.secret SET retire_at = now() WHERE name = 't_turned/owner_blue';
SELECT count(*) >= 0 AS done FROM rotor.run_due();
SELECT t.claim();
SELECT job ->> 'step' AS step, job ->> 'trigger' AS trigger, job -> 'version' AS version, job -> 'admin' AS admin, job -> 'account' ->> 'username' AS account,
       job -> 'former' ->> 'username' AS in_use FROM t.job WHERE secret = 't_turned/owner_blue';
SELECT t.error($$SELECT rotor.rotate('t_turned')$$);
-- Nor is it called off while a worker may be at it.
SELECT t.error(format('SELECT rotor.cancel(%L)', (SELECT id FROM rotor.rotations WHERE secret = 't_turned/owner_blue' ORDER BY queued_at DESC LIMIT 1)));
SELECT t.fails('t_turned/owner_blue', 'transient', '08006', 'not now');
SELECT t.claim();
SELECT t.ok('t_turned/owner_blue');
SELECT * FROM t.how('t_turned/owner_blue');
SELECT retire_at FROM rotor.pairs WHERE secret = 't_turned';
SELECT event, result FROM rotor.audit_log WHERE rotation = (SELECT id FROM rotor.rotations WHERE secret = 't_turned/owner_blue' ORDER BY queued_at DESC LIMIT 1) ORDER BY id;
-- Called off before, it does not come back.
UPDATE rotor.secret SET retire_at = now() WHERE name = 't_turned/owner_blue';
SELECT count(*) >= 0 AS done FROM rotor.run_due();
CALL t.wait_until($$(SELECT count(*) = 1 FROM rotor.rotations WHERE secret = 't_turned/owner_blue' AND status = 'in_progress')$$);
SELECT (rotor.cancel((SELECT id FROM rotor.rotations WHERE secret = 't_turned/owner_blue' ORDER BY queued_at DESC LIMIT 1))).status;
SELECT retire_at FROM rotor.pairs WHERE secret = 't_turned';
-- A worker that cannot: a dead letter, which a later call takes up; the schedule goes on.
UPDATE rotor.secret SET retire_at = now() WHERE name = 't_turned/owner_blue';
SELECT count(*) >= 0 AS done FROM rotor.run_due();
SELECT t.claim();
SELECT t.fails('t_turned/owner_blue', 'permanent', '42501', 'permission denied');
SELECT step, state FROM rotor.dead_letter WHERE secret = 't_turned/owner_blue';
SELECT (rotor.requeue(id)).step FROM rotor.dead_letter WHERE secret = 't_turned/owner_blue';
SELECT t.claim();
SELECT t.ok('t_turned/owner_blue');
SELECT status FROM rotor.rotate('t_turned', wait => false);
SELECT t.claim('{postgresql,mysql}', '{file}');
SELECT job -> 'pair' AS pair FROM t.job WHERE secret = 't_turned/owner_blue';
SELECT t.ok('t_turned/owner_blue') FROM generate_series(1, 4);
SELECT in_use FROM rotor.pairs WHERE secret = 't_turned';
SELECT (rotor.unmanage('t_turned')).name;

-- Two passwords at once, where the engine has them; the former one is discarded when the grace period is over.
INSERT INTO rotor.policy (name, strategy, grace_period, backoff, backoff_max, max_attempts) VALUES ('t_dual', 'dual_write', '2 hours', '1 ms', '1 ms', 2);
INSERT INTO rotor.target (name, type, host, admin) VALUES ('t_my', 'mysql', 'my.example.com', 't_superuser');
SELECT t.error($$SELECT rotor.manage('t_outsider', policy => 't_dual')$$);
SELECT t.error($$SELECT rotor.manage('t_double', policy => 't_dual', target => 't_command')$$);
SELECT t.error($$SELECT rotor.manage('t_remote', policy => 't_dual', target => 't_pg')$$);
SELECT t.error($$SELECT rotor.rotate('t_remote', strategy => 'dual_write')$$);
SELECT t.error($$SELECT rotor.rotate('t_remote', strategy => 'dual_write', wait => false)$$);
SELECT t.error($$UPDATE rotor.policy SET strategy = 'dual_write' WHERE name = 't_outside'$$);
SELECT name, policy FROM rotor.manage('t_double', 'app', 't_dual', target => 't_my');
SELECT status, strategy FROM rotor.rotate('t_double', wait => false);
SELECT t.claim();
SELECT job -> 'policy' ->> 'strategy' AS strategy, job -> 'pair' AS pair FROM t.job WHERE secret = 't_double';
SELECT t.ok('t_double') FROM generate_series(1, 2);
SELECT retire_at BETWEEN now() + interval '1 hour' AND now() + interval '2 hours' AS in_two_hours FROM rotor.secret WHERE name = 't_double';
-- As long as the next one is not proved, it stays.
SELECT status FROM rotor.rotate('t_double', wait => false);
SELECT t.claim();
SELECT t.ok('t_double');
SELECT t.fails('t_double', 'transient', 'TIMEOUT', 'not now');
SELECT t.claim();
SELECT t.fails('t_double', 'transient', 'TIMEOUT', 'not now');
SELECT step, state FROM rotor.dead_letter WHERE secret = 't_double';
UPDATE rotor.secret SET retire_at = now() WHERE name = 't_double';
SELECT count(*) >= 0 AS done FROM rotor.run_due();
SELECT step, trigger, dead_letter FROM rotor.rotations WHERE secret = 't_double' ORDER BY queued_at DESC LIMIT 1;
SELECT (rotor.requeue(id)).step FROM rotor.dead_letter WHERE secret = 't_double';
SELECT t.claim();
SELECT t.ok('t_double');
-- By the caller's choice.
SELECT status, strategy FROM rotor.rotate('t_double', strategy => 'staged', wait => false);
SELECT t.claim();
SELECT job -> 'policy' ->> 'strategy' AS strategy FROM t.job WHERE secret = 't_double';
SELECT t.ok('t_double') FROM generate_series(1, 2);
UPDATE rotor.secret SET retire_at = now() WHERE name = 't_double';
SELECT count(*) >= 0 AS done FROM rotor.run_due();
SELECT t.claim();
SELECT job ->> 'step' AS step, job -> 'pair' AS pair, job -> 'admin' AS admin FROM t.job WHERE secret = 't_double';
SELECT t.ok('t_double');
SELECT step, status, trigger FROM rotor.rotations WHERE secret = 't_double' ORDER BY queued_at DESC LIMIT 1;
SELECT retire_at FROM rotor.secret WHERE name = 't_double';
-- In an emergency it goes with the change.
SET client_min_messages = warning;
SELECT status, rotations FROM rotor.rotate_all(pattern => 't\_double', wait => false);
RESET client_min_messages;
SELECT t.claim();
SELECT job ->> 'emergency' AS emergency FROM t.job WHERE secret = 't_double';
SELECT t.ok('t_double') FROM generate_series(1, 2);
SELECT retire_at FROM rotor.secret WHERE name = 't_double';
SELECT (rotor.unmanage('t_double')).name;

-- Out of a dump: what publishes outside may be the original's, also if the role is here; and no policy named is no other policy.
CREATE ROLE t_cloned LOGIN;
SELECT name, store, policy FROM rotor.manage('t_cloned', policy => 't_outside', store => 't_file');
UPDATE rotor.secret SET system_identifier = 1 WHERE name IN ('t_cloned', 't_stored');
SELECT secret_name, finding, remedy FROM rotor.reconcile() WHERE secret_name IN ('t_cloned', 't_stored') ORDER BY 1;
SELECT secret, state FROM rotor.secrets WHERE secret IN ('t_cloned', 't_stored') ORDER BY 1;
SELECT (rotor.manage(secret_name)).name FROM rotor.reconcile() WHERE finding = 'outside_unbound' ORDER BY 1;
SELECT secret_name, finding FROM rotor.reconcile() WHERE secret_name IN ('t_cloned', 't_stored') ORDER BY 1;
SELECT secret, policy FROM rotor.secrets WHERE secret IN ('t_cloned', 't_stored') ORDER BY 1;
SELECT policy FROM rotor.manage('t_cloned', options => '{"key": "clone"}');
SELECT policy FROM rotor.manage('t_cloned', policy => 'default');

SELECT (rotor.unmanage(name)).deleted_at IS NOT NULL AS unmanaged FROM rotor.secret WHERE name IN ('t_remote', 't_self', 't_cloned', 't_stored', 't_published', 't_superuser');
DROP OWNED BY t_worker, t_outsider;
DROP ROLE t_superuser, t_outsider, t_worker, t_published, t_cloned;
