-- What workers outside call. docs/worker-protocol.md has the form of a job.

CREATE FUNCTION rotor.claim(
    worker text, target_types text[], store_types text[], max_jobs int DEFAULT 1,
    except_targets text[] DEFAULT '{}', except_stores text[] DEFAULT '{}') RETURNS SETOF json
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_claim';
COMMENT ON FUNCTION rotor.claim(text, text[], text[], int, text[], text[]) IS
    'hands out steps of rotations whose target or store, of one of those types and not excepted by its name, is outside, for rotor.lease_duration; each with the values that it needs; for rotor worker';

CREATE FUNCTION rotor.heartbeat(worker text, leases uuid[]) RETURNS json
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_heartbeat';
COMMENT ON FUNCTION rotor.heartbeat(text, uuid[]) IS
    'extends leases that still run, and tells which those are, which of them somebody has locked just now, and how long the queue is; for rotor worker';

CREATE FUNCTION rotor.complete(
    rotation uuid, lease uuid, outcome text, code text DEFAULT NULL, message text DEFAULT NULL,
    duration_ms float8 DEFAULT NULL) RETURNS json
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_complete';
COMMENT ON FUNCTION rotor.complete(uuid, uuid, text, text, text, float8) IS
    'reports that a step is done (ok or proved), and returns the rotation''s next one if it is for a worker too, else null; 55000 if the lease is over; for rotor worker';

CREATE FUNCTION rotor.fail(
    rotation uuid, lease uuid, outcome text, code text DEFAULT NULL, message text DEFAULT NULL,
    duration_ms float8 DEFAULT NULL, retry_after_ms bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_fail';
COMMENT ON FUNCTION rotor.fail(uuid, uuid, text, text, text, float8, bigint) IS
    'reports that a step is not done, and why (transient, unknown, refused, inconclusive, superseded, permanent, internal), or hands it back untouched (released); returns the rotation''s status; 55000 if the lease is over; for rotor worker';

CREATE FUNCTION rotor.setup_worker(role text DEFAULT 'rotor_worker') RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_setup_worker';
COMMENT ON FUNCTION rotor.setup_worker(text) IS
    'lets a role, which is made if there is none, do the work outside: EXECUTE on claim(), heartbeat(), complete() and fail(), nothing else; superusers only';
