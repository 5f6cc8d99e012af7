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
    SELECT s.name AS secret, coalesce(a.rolname::text, s.username) AS role, a.oid IS NOT NULL AS role_exists,
           s.policy, s.store, s.target, s.enabled,
           now() - v.set_at AS age, v.id AS version_id, v.verified_at, s.last_rotation, s.next_rotation,
           l.status AS last_status, l.error_code AS last_error_code, l.error_message AS last_error,
           l.id AS last_rotation_id, s.created_at, s.created_by,
           CASE WHEN s.system_identifier <> c.system_identifier THEN 'other_cluster'
                WHEN a.oid IS NULL THEN 'no_role' WHEN NOT s.enabled THEN 'disabled'
                WHEN v.id IS NULL THEN 'no_value' WHEN v.superseded_at IS NOT NULL THEN 'changed_elsewhere'
                ELSE 'active' END AS state
    FROM rotor.secret s
    CROSS JOIN pg_catalog.pg_control_system() c
    LEFT JOIN pg_catalog.pg_roles a ON a.oid = s.role_oid AND s.system_identifier = c.system_identifier
    LEFT JOIN rotor.version v ON v.secret_id = s.id AND v.stage = 'current'
    LEFT JOIN LATERAL (
        SELECT r.id, r.status, r.error_code, r.error_message FROM rotor.rotation r
        WHERE r.secret_id = s.id ORDER BY r.queued_at DESC LIMIT 1) l ON true
    WHERE s.deleted_at IS NULL;
COMMENT ON VIEW rotor.secrets IS 'one row a secret: role, policy, store, age of the password, next rotation, last result, state; never a value';

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
           r.create_ms, r.set_ms, r.test_ms, r.finish_ms, r.emergency
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
           CASE WHEN r.step = 'test' THEN 'the new password is set and current, but was not proved'
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
                WHEN a.rolpassword LIKE 'md5%' THEN 'md5' ELSE 'unknown' END AS password_type,
           CASE WHEN a.rolpassword LIKE 'SCRAM-SHA-256$%'
                THEN substring(a.rolpassword FROM '^SCRAM-SHA-256\$([0-9]+):')::bigint END AS scram_iterations,
           a.rolvaliduntil AS valid_until, a.rolvaliduntil < now() AS expired,
           now() - v.set_at AS password_age, s.policy, p.rotation_interval,
           now() - v.set_at > p.rotation_interval AS overdue,
           v.fingerprint = sha256(convert_to(a.rolpassword, 'UTF8')) AS in_sync
    FROM pg_catalog.pg_authid a
    CROSS JOIN pg_catalog.pg_control_system() c
    LEFT JOIN rotor.secret s ON s.role_oid = a.oid AND s.target = 'self' AND s.deleted_at IS NULL
        AND s.system_identifier = c.system_identifier
    LEFT JOIN rotor.policy p ON p.name = s.policy
    LEFT JOIN rotor.version v ON v.secret_id = s.id AND v.stage = 'current'
    WHERE a.rolcanlogin;
COMMENT ON VIEW rotor.coverage IS 'every login role of the cluster: managed or not, kind of verifier, password age against policy, expiry; in_sync: the role still has the verifier rotor gave it';

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
