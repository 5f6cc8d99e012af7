-- A past that never was, for scripts/sizes.sh: what daily rotations of :roles roles leave in rotor's tables, as rows
-- like those of real rotations, changed as often. The clock cannot be turned, so days lie in the past and retentions
-- are lengthened by what is still to come.

CREATE SCHEMA simulation;
CREATE TABLE simulation.clock AS SELECT date_trunc('day', now()) - :days * interval '1 day' AS start, :days AS days;

-- Partitions of the months gone by, as maintenance would have made them.
DO $$
DECLARE
    month timestamp;
BEGIN
    FOR month IN SELECT m FROM generate_series(
            (SELECT date_trunc('month', start AT TIME ZONE 'UTC') FROM simulation.clock),
            date_trunc('month', now() AT TIME ZONE 'UTC') - interval '1 day', interval '1 month') m LOOP
        EXECUTE format('CREATE TABLE rotor.%1$I (LIKE rotor.audit INCLUDING DEFAULTS);
            ALTER TABLE rotor.audit ATTACH PARTITION rotor.%1$I FOR VALUES FROM (%2$L) TO (%3$L);
            ALTER EXTENSION rotor ADD TABLE rotor.%1$I',
            'audit_' || to_char(month, 'YYYY_MM'), month || '+00', month + interval '1 month' || '+00');
    END LOOP;
END
$$;

-- Secrets of roles that need not exist: no worker rotates a secret that is disabled.
INSERT INTO rotor.secret (name, username, role_oid, system_identifier, created_by, enabled)
SELECT 'service_' || n, 'service_' || n, (100000000 + n)::oid, system_identifier, 'postgres', false
FROM generate_series(1, :roles) n, pg_control_system();

-- The rotations of one day, step by step as the engine writes them.
CREATE FUNCTION simulation.day(day int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    base timestamptz := (SELECT start + day * interval '1 day' FROM simulation.clock);
BEGIN
    CREATE TEMP TABLE today ON COMMIT DROP AS
        SELECT s.id AS secret_id, s.name, gen_random_uuid() AS rotation, gen_random_uuid() AS version,
               base + (s.id % 86400) * interval '1 second' AS at
        FROM rotor.secret s WHERE s.name LIKE 'service\_%';
    ANALYZE today;
    -- create
    INSERT INTO rotor.version (id, secret_id, stage, key_id, sealed, created_at)
        SELECT version, secret_id, 'pending', k.id, m.sealed, at FROM today, rotor.data_key k,
            (SELECT sealed FROM rotor.version WHERE stage = 'current' AND set_at IS NOT NULL ORDER BY created_at DESC LIMIT 1) m;
    INSERT INTO rotor.rotation (id, secret_id, version_id, trigger, strategy, step, status, requested_by, queued_at, started_at, next_attempt_at, create_ms)
        SELECT rotation, secret_id, version, 'schedule', 'staged', 'set', 'in_progress', '(schedule)', at, at, at, random() FROM today;
    -- set
    UPDATE rotor.version v SET stage = NULL, retired_at = t.at FROM today t WHERE v.secret_id = t.secret_id AND v.stage = 'previous';
    UPDATE rotor.version v SET stage = 'previous' FROM today t WHERE v.secret_id = t.secret_id AND v.stage = 'current';
    UPDATE rotor.version v SET stage = 'current', fingerprint = sha256(t.version::text::bytea), set_at = t.at FROM today t WHERE v.id = t.version;
    UPDATE rotor.rotation r SET step = 'test', status = 'verifying', set_ms = random() FROM today t WHERE r.id = t.rotation;
    -- finish
    UPDATE rotor.rotation r SET step = 'finish', test_ms = random() FROM today t WHERE r.id = t.rotation;
    UPDATE rotor.version v SET verified_at = t.at FROM today t WHERE v.id = t.version;
    UPDATE rotor.rotation r SET step = 'done', status = 'success', next_attempt_at = NULL, finished_at = t.at + interval '10 ms', finish_ms = random()
        FROM today t WHERE r.id = t.rotation;
    UPDATE rotor.secret s SET last_rotation = t.at, next_rotation = t.at + interval '1 day' FROM today t WHERE s.id = t.secret_id;
    INSERT INTO rotor.audit (at, actor, event, secret, rotation, version, result, duration_ms)
        SELECT at + e.ms * interval '1 ms', '(schedule)', e.event, name, rotation, version, 'ok', random()
        FROM today, (VALUES ('value_sealed', 1), ('password_set', 5), ('login_proved', 9), ('finished', 10)) e(event, ms);
END
$$;

-- Retentions as they would be seen from a day of that past.
CREATE FUNCTION simulation.lengthen(day int) RETURNS void LANGUAGE sql AS $$
    UPDATE rotor.policy SET version_retention = interval '90 days' + (days - day) * interval '1 day',
                            rotation_retention = interval '400 days' + (days - day) * interval '1 day'
    FROM simulation.clock WHERE name = 'default'
$$;

CREATE VIEW simulation.sizes AS
    SELECT sum(pg_total_relation_size(c.oid)) FILTER (WHERE c.relname = 'version') AS version,
           sum(pg_total_relation_size(c.oid)) FILTER (WHERE c.relname = 'rotation') AS rotation,
           sum(pg_total_relation_size(c.oid)) FILTER (WHERE c.relname LIKE 'audit\_%') AS audit,
           sum(pg_total_relation_size(c.oid)) FILTER (WHERE c.relname NOT LIKE 'audit\_%' AND c.relname NOT IN ('version', 'rotation')) AS rest
    FROM pg_class c WHERE c.relnamespace = 'rotor'::regnamespace AND c.relkind = 'r';
