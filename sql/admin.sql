-- Managing secrets, rights and keys.

CREATE FUNCTION rotor.manage(
    secret text, username text DEFAULT NULL, policy text DEFAULT 'default',
    store text DEFAULT 'local', target text DEFAULT 'self') RETURNS rotor.secret
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_manage';
COMMENT ON FUNCTION rotor.manage(text, text, text, text, text) IS
    'takes a role under management, or gives a managed one another policy; the role is not touched; username defaults to the secret''s name';

CREATE FUNCTION rotor.unmanage(secret text) RETURNS rotor.secret
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_unmanage';
COMMENT ON FUNCTION rotor.unmanage(text) IS
    'ends the management of a secret; role, password and versions stay, restore() brings it back';

CREATE FUNCTION rotor.restore(secret text) RETURNS rotor.secret
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_restore';
COMMENT ON FUNCTION rotor.restore(text) IS 'takes up again the management that unmanage() ended';

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

CREATE FUNCTION rotor.rewrap_keys() RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_rewrap_keys';
COMMENT ON FUNCTION rotor.rewrap_keys() IS
    'wraps every data key by the newest master key and returns how many were moved; superusers only';

CREATE FUNCTION rotor.reset_statistics() RETURNS timestamptz
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_reset_statistics';
COMMENT ON FUNCTION rotor.reset_statistics() IS
    'statistics() counts from now on; nothing is deleted; superusers only';
