-- The main job and what goes with it.

CREATE FUNCTION rotor.rotate(
    secret text, wait boolean DEFAULT true, strategy text DEFAULT NULL,
    reason text DEFAULT NULL, terminate_sessions boolean DEFAULT NULL) RETURNS rotor.rotation
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_rotate';
COMMENT ON FUNCTION rotor.rotate(text, boolean, text, text, boolean) IS
    'gives the secret a new password, proved by a login, and returns the finished rotation; not undone by a rollback of the caller; wait => false queues it in the caller''s transaction';

CREATE FUNCTION rotor.run_due(OUT status text, OUT rotations bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_run_due';
COMMENT ON FUNCTION rotor.run_due() IS
    'does every rotation that is due or queued or was left unfinished and is in no other hands, and counts them by status; for servers driven by cron or pg_cron';

CREATE FUNCTION rotor.next_runs(
    policy text, count int DEFAULT 10, after timestamptz DEFAULT NULL,
    OUT planned timestamptz, OUT latest timestamptz, OUT window_end timestamptz) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_next_runs';
COMMENT ON FUNCTION rotor.next_runs(text, int, timestamptz) IS
    'the next rotations that a policy plans, for a password that was set at "after" (null: now): from when, until when with all of its jitter, and when the window closes';
CREATE FUNCTION rotor.rotate_all(
    policy text DEFAULT NULL, pattern text DEFAULT NULL, reason text DEFAULT NULL,
    terminate_sessions boolean DEFAULT NULL, wait boolean DEFAULT true,
    OUT status text, OUT rotations bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_rotate_all';
COMMENT ON FUNCTION rotor.rotate_all(text, text, text, boolean, boolean) IS
    'emergency: gives every secret, or those of a policy, or whose names are LIKE a pattern, a new value and counts the rotations by status; never back to the former values; superusers only';

CREATE FUNCTION rotor.cancel_emergency(emergency uuid) RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_cancel_emergency';
COMMENT ON FUNCTION rotor.cancel_emergency(uuid) IS
    'calls off those rotations of an emergency that have not begun, and returns how many; 55000 if it is over; superusers only';

CREATE FUNCTION rotor.rollback(secret text) RETURNS rotor.rotation
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_rollback';
COMMENT ON FUNCTION rotor.rollback(text) IS
    'makes the previous version current again, by a rotation of its own; the present one becomes previous';

CREATE FUNCTION rotor.cancel(rotation uuid) RETURNS rotor.rotation
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_cancel';
COMMENT ON FUNCTION rotor.cancel(uuid) IS
    'cancels a rotation that has not changed the role yet; 55000 if it has, or is over';

CREATE FUNCTION rotor.requeue(rotation uuid) RETURNS rotor.rotation
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_requeue';
COMMENT ON FUNCTION rotor.requeue(uuid) IS
    'takes a dead letter up again where it stopped; queued in the caller''s transaction';
