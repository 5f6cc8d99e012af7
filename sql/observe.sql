-- Observation: statistics, health and the views. Never a value.

CREATE FUNCTION rotor.health(
    OUT check_name text, OUT status text, OUT detail text, OUT hint text) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_health';
COMMENT ON FUNCTION rotor.health() IS
    'one row a finding, ok, warning or error, with the remedy; proves the key, on a standby too';

CREATE FUNCTION rotor.transitions(
    OUT step text, OUT outcome text, OUT next_step text, OUT status text, OUT event text,
    OUT retry boolean, OUT dead_letter boolean, OUT live text, OUT meaning text) RETURNS SETOF record
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'rotor_transitions';
COMMENT ON FUNCTION rotor.transitions() IS 'the table that decides what follows each outcome of each step';

CREATE VIEW rotor.transitions AS SELECT * FROM rotor.transitions();
COMMENT ON VIEW rotor.transitions IS 'the table that decides what follows each outcome of each step; live: the password the role accepts afterwards; needs EXECUTE on rotor.transitions() too';

CREATE VIEW rotor.secrets AS
    SELECT s.name AS secret, coalesce(a.rolname::text, s.username) AS role,
           CASE WHEN s.role_oid <> 0 THEN a.oid IS NOT NULL END AS role_exists,
           s.policy, s.store, s.target, s.enabled,
           now() - v.set_at AS age, v.id AS version_id, v.verified_at, s.last_rotation, s.next_rotation,
           l.status AS last_status, l.error_code AS last_error_code, l.error_message AS last_error,
           l.id AS last_rotation_id, s.created_at, s.created_by,
           CASE WHEN s.system_identifier <> c.system_identifier THEN 'other_cluster'
                WHEN a.oid IS NULL AND s.role_oid <> 0 THEN 'no_role' WHEN NOT s.enabled THEN 'disabled'
                WHEN v.superseded_at IS NOT NULL THEN 'changed_elsewhere'
                WHEN o.resting IS NOT NULL THEN 'resting'
                WHEN s.next_rotation = s.quarantined_until THEN 'quarantined'
                WHEN v.id IS NULL THEN 'no_value' ELSE 'active' END AS state, s.failures,
           CASE WHEN s.next_rotation = s.quarantined_until THEN s.quarantined_until END AS quarantined_until
    FROM rotor.secret s
    CROSS JOIN pg_catalog.pg_control_system() c
    LEFT JOIN pg_catalog.pg_roles a ON a.oid = s.role_oid AND s.system_identifier = c.system_identifier
    LEFT JOIN rotor.version v ON v.secret_id = s.id AND v.stage = 'current'
    LEFT JOIN rotor.pair o ON o.resting = s.id
    LEFT JOIN LATERAL (
        SELECT r.id, r.status, r.error_code, r.error_message FROM rotor.rotation r
        WHERE r.secret_id = s.id ORDER BY r.queued_at DESC LIMIT 1) l ON true
    WHERE s.deleted_at IS NULL;
COMMENT ON VIEW rotor.secrets IS 'one row a secret: role, policy, store, age of the password, next rotation, last result, state; never a value';

CREATE VIEW rotor.pairs AS
    SELECT p.name AS secret, coalesce(a.rolname::text, p.owner) AS owner, u.name AS in_use, r.name AS resting,
           p.used_since, r.retire_at, r.next_rotation, u.policy
    FROM rotor.pair p
    JOIN rotor.secret u ON u.id = p.in_use AND u.deleted_at IS NULL
    JOIN rotor.secret r ON r.id = p.resting AND r.deleted_at IS NULL
    CROSS JOIN pg_catalog.pg_control_system() c
    LEFT JOIN pg_catalog.pg_roles a ON a.oid = p.owner_oid AND u.system_identifier = c.system_identifier;
COMMENT ON VIEW rotor.pairs IS 'two secrets whose roles are used in turn (strategy blue_green): which is in use, which rests, since when, and until when the one that rests can log in';

CREATE VIEW rotor.unmanaged AS
    SELECT s.name AS secret, s.username AS role, s.policy, s.deleted_at AS unmanaged_at,
           s.deleted_at + coalesce(nullif(current_setting('rotor.recovery_window', true), ''), '7d')::interval
               AS restorable_until
    FROM rotor.secret s
    WHERE s.deleted_at IS NOT NULL;
COMMENT ON VIEW rotor.unmanaged IS 'secrets whose management ended, and until when restore() brings them back; maintenance removes them afterwards';

CREATE VIEW rotor.rotations AS
    SELECT r.id, s.name AS secret, s.username AS role, r.version_id, r.trigger, r.strategy, r.step, r.status,
           r.attempt, r.next_attempt_at, r.dead_letter, r.outcome, r.error_code, r.error_message, r.note,
           r.reason, r.requested_by, r.session_user_name, r.client_addr,
           r.queued_at, r.started_at, r.finished_at, r.duration,
           r.create_ms, r.set_ms, r.test_ms, r.finish_ms, r.emergency, r.outside, r.unsettled,
           r.leased_by, r.leased_until
    FROM rotor.rotation r JOIN rotor.secret s ON s.id = r.secret_id;
COMMENT ON VIEW rotor.rotations IS 'history of all rotations, with the time of each step';

CREATE VIEW rotor.emergencies AS
    SELECT e.id, e.policy, e.pattern, e.reason, e.requested_by,
           CASE WHEN e.cancelled_at IS NOT NULL THEN 'cancelled' WHEN e.finished_at IS NOT NULL THEN 'finished'
                ELSE 'running' END AS state,
           e.total, coalesce(e.succeeded + e.failed, c.succeeded + c.failed) AS done,
           coalesce(e.succeeded, c.succeeded) AS succeeded, coalesce(e.failed, c.failed) AS failed,
           c.waiting + c.active AS remaining,
           round((coalesce(e.succeeded + e.failed, c.succeeded + c.failed) / nullif(extract(epoch
               FROM coalesce(e.finished_at, clock_timestamp()) - e.started_at), 0))::numeric, 1) AS per_second,
           CASE WHEN e.finished_at IS NULL AND c.succeeded + c.failed > 0
                THEN (clock_timestamp() - e.started_at) * ((c.waiting + c.active)::float8 / (c.succeeded + c.failed))
                END AS time_left,
           e.started_at, e.finished_at, e.cancelled_at
    FROM rotor.emergency e
    CROSS JOIN LATERAL (
        SELECT (SELECT count(*) FROM rotor.emergency_secret l WHERE l.emergency = e.id) AS waiting,
               count(*) FILTER (WHERE r.status = 'success') AS succeeded,
               count(*) FILTER (WHERE r.status IN ('failed', 'rolled_back', 'cancelled')) AS failed,
               count(*) FILTER (WHERE r.status IN ('pending', 'in_progress', 'verifying')) AS active
        FROM rotor.rotation r WHERE r.emergency = e.id) c;
COMMENT ON VIEW rotor.emergencies IS 'each rotate_all(): how many secrets are done and remain, the rate, the time that is left at that rate';

CREATE VIEW rotor.dead_letter AS
    SELECT r.id, s.name AS secret, s.username AS role, r.step, r.attempt, r.outcome, r.error_code,
           r.error_message, r.note, r.version_id, r.trigger, r.requested_by, r.queued_at, r.finished_at,
           CASE WHEN r.unsettled THEN 'it is not known what the target or the store has; who goes on looks first'
                WHEN r.step = 'retire' THEN 'what was in use before can still log in'
                WHEN r.step = 'test' THEN 'the new password is set and current, but was not proved'
                WHEN r.step IN ('finish', 'undo') THEN 'the role may not accept the current version'
                ELSE 'the role still has its former password' END AS state,
           format('SELECT rotor.requeue(%L)', r.id) AS remedy
    FROM rotor.rotation r JOIN rotor.secret s ON s.id = r.secret_id
    WHERE r.dead_letter AND s.deleted_at IS NULL;
COMMENT ON VIEW rotor.dead_letter IS 'rotations that gave up, with what is needed to act; a later success of the secret or requeue() takes them out';

CREATE VIEW rotor.audit_log AS
    SELECT id, at, actor, session_user_name, client_addr, event, secret, rotation, version, result, duration_ms,
           detail
    FROM rotor.audit;
COMMENT ON VIEW rotor.audit_log IS 'the audit, append-only: who, what, which secret, which rotation, from where, result';

CREATE VIEW rotor.upcoming AS
    SELECT s.name AS secret, s.username AS role, s.policy,
           coalesce(r.next_attempt_at, s.next_rotation) AS due_at,
           coalesce(r.next_attempt_at, s.next_rotation) < clock.now AS overdue, r.id AS rotation
    FROM rotor.secret s
    CROSS JOIN (SELECT coalesce(nullif(current_setting('rotor.test_clock', true), '')::timestamptz, now())) AS clock (now)
    JOIN pg_catalog.pg_control_system() c ON c.system_identifier = s.system_identifier
    LEFT JOIN rotor.rotation r ON r.secret_id = s.id AND r.status IN ('pending', 'in_progress', 'verifying')
    WHERE s.deleted_at IS NULL
      AND (r.id IS NOT NULL OR (s.enabled AND s.next_rotation IS NOT NULL));
COMMENT ON VIEW rotor.upcoming IS 'what is due when: scheduled, queued and waiting for another attempt';

CREATE VIEW rotor.coverage AS
    SELECT a.rolname AS role, s.name AS secret, s.id IS NOT NULL AS managed, a.rolsuper AS superuser,
           a.rolreplication AS replication,
           CASE WHEN a.rolpassword IS NULL THEN 'none'
                WHEN a.rolpassword LIKE 'SCRAM-SHA-256$%' THEN 'scram-sha-256'
                WHEN a.rolpassword ~ '^md5[0-9a-f]{32}$' THEN 'md5' ELSE 'unknown' END AS password_type,
           CASE WHEN a.rolpassword LIKE 'SCRAM-SHA-256$%'
                THEN substring(a.rolpassword FROM '^SCRAM-SHA-256\$([0-9]+):')::bigint END AS scram_iterations,
           a.rolvaliduntil AS valid_until, coalesce(a.rolvaliduntil <= now(), false) AS expired,
           now() - v.set_at AS password_age, v.verified_at, s.policy, p.rotation_interval,
           now() - v.set_at > p.rotation_interval AS overdue,
           -- A role that lost its password has another one than rotor gave it, too.
           CASE WHEN v.fingerprint IS NOT NULL
                THEN sha256(convert_to(a.rolpassword, 'UTF8')) IS NOT DISTINCT FROM v.fingerprint END AS in_sync
    FROM pg_catalog.pg_authid a
    CROSS JOIN pg_catalog.pg_control_system() c
    LEFT JOIN rotor.secret s ON s.role_oid = a.oid AND s.target = 'self' AND s.deleted_at IS NULL
        AND s.system_identifier = c.system_identifier
    LEFT JOIN rotor.policy p ON p.name = s.policy
    LEFT JOIN rotor.version v ON v.secret_id = s.id AND v.stage = 'current'
    WHERE a.rolcanlogin;
COMMENT ON VIEW rotor.coverage IS 'every login role of the cluster: managed or not, kind of verifier, password age against policy, expiry; in_sync: the role still has the verifier rotor gave it, null: rotor has given it none';

-- One row a role or secret, with all that is known of it; one array of what is wrong with it; one row a finding.
CREATE VIEW rotor.compliance AS
    SELECT b.role, b.secret, f.finding,
           CASE WHEN f.finding = 'expired' AND b.secret IS NULL OR f.finding = 'disabled' AND b.next_rotation IS NULL
                THEN 'info' ELSE k.severity END AS severity,
           CASE f.finding
                WHEN 'dead_letter' THEN b.died_at
                WHEN 'quarantined' THEN b.died_at
                WHEN 'changed_elsewhere' THEN b.superseded_at
                WHEN 'overdue' THEN b.due_at
                WHEN 'older_than_policy' THEN b.set_at + b.rotation_interval
                WHEN 'never_verified' THEN b.set_at
                WHEN 'never_expires' THEN b.set_at
                WHEN 'never_rotated' THEN b.created_at
                WHEN 'expired' THEN b.valid_until
                WHEN 'expires_soon' THEN b.valid_until - interval '7 days' END AS since,
           CASE WHEN f.finding IN ('expired', 'expires_soon') AND b.valid_until_margin IS NULL
                THEN format('ALTER ROLE %I VALID UNTIL ''infinity''', b.role)
                WHEN b.secret IS NULL THEN format('SELECT rotor.manage(%L)', b.role)
                WHEN f.finding = 'dead_letter' THEN format(k.remedy, b.dead_letter)
                WHEN f.finding = 'no_login' THEN format(k.remedy, b.role)
                ELSE format(k.remedy, coalesce(b.pair, b.secret)) END AS remedy
    FROM (
        SELECT coalesce(v.role, a.rolname, s.username)::text AS role, s.name AS secret, s.enabled, s.created_at, s.next_rotation,
               s.next_rotation = s.quarantined_until AS quarantined,
               s.system_identifier = c.system_identifier AS here, a.oid IS NOT NULL OR s.role_oid = 0 AS role_exists, a.rolcanlogin,
               v.password_type, v.valid_until, v.expired, v.in_sync, v.overdue AS too_old,
               p.rotation_interval, p.valid_until_margin, s.failures,
               p.jitter IS NOT NULL OR p.window_duration IS NOT NULL AS spread, w.set_at, w.verified_at, w.superseded_at,
               r.id IS NOT NULL AS rotating, coalesce(r.next_attempt_at, CASE WHEN s.enabled THEN s.next_rotation END) AS due_at,
               d.id AS dead_letter, d.finished_at AS died_at,
               o.name AS pair, o.resting = s.id AS rests, o.used_since IS NULL AS unused
        FROM rotor.coverage v
        FULL JOIN (SELECT * FROM rotor.secret WHERE deleted_at IS NULL) s ON s.name = v.secret
        CROSS JOIN pg_catalog.pg_control_system() c
        LEFT JOIN pg_catalog.pg_roles a ON a.oid = s.role_oid AND s.system_identifier = c.system_identifier
        LEFT JOIN rotor.policy p ON p.name = s.policy
        LEFT JOIN rotor.pair o ON s.id IN (o.in_use, o.resting)
        LEFT JOIN rotor.version w ON w.secret_id = s.id AND w.stage = 'current'
        LEFT JOIN rotor.rotation r ON r.secret_id = s.id AND r.status IN ('pending', 'in_progress', 'verifying')
        LEFT JOIN (SELECT DISTINCT ON (secret_id) secret_id, id, finished_at FROM rotor.rotation
                   WHERE dead_letter ORDER BY secret_id, finished_at DESC) d ON d.secret_id = s.id) b
    CROSS JOIN (SELECT coalesce(nullif(current_setting('rotor.test_clock', true), '')::timestamptz, now())) AS clock (now)
    CROSS JOIN LATERAL unnest(array_remove(CASE
        WHEN b.secret IS NULL THEN ARRAY[
            CASE WHEN b.password_type = 'none' THEN 'no_password' ELSE 'unmanaged' END,
            CASE WHEN b.password_type = 'md5' THEN 'md5_password' END,
            CASE WHEN b.password_type <> 'none' THEN
                CASE WHEN b.expired THEN 'expired'
                     WHEN b.valid_until < now() + interval '7 days' THEN 'expires_soon' END END]
        WHEN NOT b.here THEN ARRAY['other_cluster']
        WHEN NOT b.role_exists THEN ARRAY['no_role']
        ELSE ARRAY[
            CASE WHEN NOT b.rolcanlogin AND (b.pair IS NULL OR NOT (b.rests OR b.unused)) THEN 'no_login' END,
            CASE WHEN b.password_type = 'md5' THEN 'md5_password' END,
            CASE WHEN b.set_at IS NULL AND NOT b.rotating AND b.rests IS NOT true THEN 'never_rotated' END,
            CASE WHEN b.verified_at IS NULL AND b.set_at IS NOT NULL AND NOT b.rotating THEN 'never_verified' END,
            CASE WHEN b.in_sync = false AND NOT b.rotating THEN 'changed_elsewhere' END,
            -- Windows and jitter let the next rotation come later than the interval says.
            CASE WHEN b.too_old AND b.rests IS NOT true AND NOT (b.spread AND b.failures = 0 AND coalesce(b.due_at > clock.now, false))
                THEN 'older_than_policy' END,
            CASE WHEN b.due_at < clock.now - interval '1 minute' THEN 'overdue' END,
            CASE WHEN NOT b.enabled THEN 'disabled' WHEN b.quarantined THEN 'quarantined' END,
            CASE WHEN b.dead_letter IS NOT NULL THEN 'dead_letter' END,
            CASE WHEN b.expired THEN 'expired'
                 -- A rotation that comes before the end, and moves it, is how it is meant.
                 WHEN b.valid_until < now() + interval '7 days'
                      AND NOT coalesce(b.valid_until_margin IS NOT NULL AND b.due_at < b.valid_until, false)
                     THEN 'expires_soon'
                 WHEN b.valid_until_margin IS NOT NULL AND b.set_at IS NOT NULL
                      AND coalesce(b.valid_until, 'infinity') = 'infinity' THEN 'never_expires' END]
        END, NULL)) f(finding)
    JOIN (VALUES
        ('unmanaged', 'warning', NULL),
        ('no_password', 'info', NULL),
        ('md5_password', 'warning', 'SELECT rotor.rotate(%L)'),
        ('never_rotated', 'warning', 'SELECT rotor.rotate(%L)'),
        ('never_verified', 'warning', 'SELECT rotor.rotate(%L)'),
        ('changed_elsewhere', 'warning', 'SELECT rotor.rotate(%L)'),
        ('older_than_policy', 'warning', 'SELECT rotor.rotate(%L)'),
        ('overdue', 'warning', 'SELECT rotor.run_due()'),
        ('disabled', 'warning', 'SELECT rotor.enable(%L)'),
        ('quarantined', 'warning', 'SELECT rotor.rotate(%L)'),
        ('dead_letter', 'error', 'SELECT rotor.requeue(%L)'),
        ('expired', 'error', 'SELECT rotor.rotate(%L)'),
        ('expires_soon', 'warning', 'SELECT rotor.rotate(%L)'),
        ('never_expires', 'warning', 'SELECT rotor.rotate(%L)'),
        ('no_login', 'warning', 'ALTER ROLE %I LOGIN'),
        ('no_role', 'warning', 'SELECT rotor.unmanage(%L)'),
        ('other_cluster', 'error', 'SELECT rotor.reconcile(%L)')) k(finding, severity, remedy) ON k.finding = f.finding;
COMMENT ON VIEW rotor.compliance IS 'one row a finding about a login role or a secret: what, how bad, since when (null: not known), and the statement that mends it';

CREATE FUNCTION rotor.statistics() RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_object(
        'since', s.at,
        'total', count(r.id),
        'successes', count(*) FILTER (WHERE r.status = 'success'),
        'failures', count(*) FILTER (WHERE r.status = 'failed'),
        'rollbacks', count(*) FILTER (WHERE r.status = 'rolled_back'),
        'cancelled', count(*) FILTER (WHERE r.status = 'cancelled'),
        'success_rate', round(count(*) FILTER (WHERE r.status = 'success')::numeric
            / nullif(count(*) FILTER (WHERE r.status IN ('success', 'failed', 'rolled_back')), 0), 4),
        'duration_ms', jsonb_build_object(
            'average', avg(extract(epoch FROM r.duration) * 1000) FILTER (WHERE r.status = 'success'),
            'p50', percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM r.duration) * 1000)
                FILTER (WHERE r.status = 'success'),
            'p95', percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM r.duration) * 1000)
                FILTER (WHERE r.status = 'success'),
            'max', max(extract(epoch FROM r.duration) * 1000) FILTER (WHERE r.status = 'success')),
        'active_rotations', (SELECT count(*) FROM rotor.rotation a
            WHERE a.status IN ('pending', 'in_progress', 'verifying')),
        'dead_letters', (SELECT count(*) FROM rotor.dead_letter),
        'active_schedules', (SELECT count(*) FROM rotor.secret c
            WHERE c.enabled AND c.deleted_at IS NULL AND c.next_rotation IS NOT NULL))
    FROM rotor.statistics_reset s
    LEFT JOIN rotor.rotation r ON r.queued_at >= s.at
    GROUP BY s.at
$$;
COMMENT ON FUNCTION rotor.statistics() IS
    'totals, successes, failures, rollbacks, success rate, durations in milliseconds, active rotations and schedules since reset_statistics()';
