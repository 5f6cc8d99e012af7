-- A value of the user's own, which never stands in SQL text: `rotor set` calls these.

CREATE FUNCTION rotor.intake_certificate() RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_intake_certificate';
COMMENT ON FUNCTION rotor.intake_certificate() IS
    'a certificate, in PEM, to wrap a value for set_value() with (CMS); its private key exists in this session only';

CREATE FUNCTION rotor.set_value(secret text, envelope text, adopt boolean DEFAULT false) RETURNS uuid
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_set_value';
COMMENT ON FUNCTION rotor.set_value(text, text, boolean) IS
    'rotates the secret to the value in the envelope, queued in the caller''s transaction, and returns the rotation''s uuid; adopt => true: the account has it already, so it only becomes current, and null is returned; manage on the secret is needed';
