-- Managing secrets and rights.

CREATE FUNCTION rotor.manage(
    secret text, username text DEFAULT NULL, policy text DEFAULT NULL,
    store text DEFAULT 'local', target text DEFAULT 'self', options jsonb DEFAULT NULL) RETURNS rotor.secret
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_manage';
COMMENT ON FUNCTION rotor.manage(text, text, text, text, text, jsonb) IS
    'takes a role, or an account at a target outside, under management, or gives a managed one another policy or other options; nothing is touched; username defaults to the secret''s name, policy to default, or to what a managed one has; with a target or store outside, superusers only';

CREATE FUNCTION rotor.unmanage(secret text) RETURNS rotor.secret
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_unmanage';
COMMENT ON FUNCTION rotor.unmanage(text) IS
    'ends the management of a secret; the role and its password stay; versions are kept for rotor.recovery_window, so that restore() can bring it back; its name can be used anew';

CREATE FUNCTION rotor.restore(secret text) RETURNS rotor.secret
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_restore';
COMMENT ON FUNCTION rotor.restore(text) IS
    'takes up again the management that unmanage() ended, within rotor.recovery_window';

CREATE FUNCTION rotor.enable(secret text) RETURNS rotor.secret
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_enable';
COMMENT ON FUNCTION rotor.enable(text) IS 'rotate on schedule again';

CREATE FUNCTION rotor.disable(secret text) RETURNS rotor.secret
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_disable';
COMMENT ON FUNCTION rotor.disable(text) IS 'do not rotate on schedule; rotate() still works';

CREATE FUNCTION rotor.grant_access(secret text, role regrole, privilege text) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_grant_access';
COMMENT ON FUNCTION rotor.grant_access(text, regrole, text) IS
    'gives a role read, rotate or manage on one secret, with USAGE and EXECUTE for it; manage includes read and rotate';

CREATE FUNCTION rotor.revoke_access(secret text, role regrole, privilege text) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_revoke_access';
COMMENT ON FUNCTION rotor.revoke_access(text, regrole, text) IS
    'takes a right on one secret back; USAGE and EXECUTE go with the role''s last right';

CREATE FUNCTION rotor.reset_statistics() RETURNS timestamptz
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_reset_statistics';
COMMENT ON FUNCTION rotor.reset_statistics() IS
    'statistics() counts from now on; nothing is deleted; superusers only';

CREATE FUNCTION rotor.reconcile(
    secret text DEFAULT NULL,
    OUT secret_name text, OUT role text, OUT finding text, OUT remedy text) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_reconcile';
COMMENT ON FUNCTION rotor.reconcile(text) IS
    'compares one secret, or all (superusers only), with its role: learns new names, says which password was changed by somebody else, and binds the secrets that a dump or pg_upgrade brought from another cluster (superusers only): until then they are not rotated, and only superusers read them';

CREATE FUNCTION rotor.purge(
    dry_run boolean DEFAULT false, OUT what text, OUT purged bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_purge';
COMMENT ON FUNCTION rotor.purge(boolean) IS
    'removes unmanaged secrets, versions, rotations and audit that their retention has passed, never what may be live, and returns how many; workers do it by themselves; dry_run: only counts; superusers only';
