-- Values out of the server's strong random source. Nothing is stored.

CREATE FUNCTION rotor.generate_password(
    length int DEFAULT 32, uppercase boolean DEFAULT true, lowercase boolean DEFAULT true,
    digits boolean DEFAULT true, symbols boolean DEFAULT true, exclude text DEFAULT '',
    require_each_type boolean DEFAULT true) RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'rotor_generate_password';
COMMENT ON FUNCTION rotor.generate_password(int, boolean, boolean, boolean, boolean, text, boolean) IS
    'a random ASCII password of 8 to 1024 characters, uniform over all that the arguments allow; 22023 for contradictory arguments';

CREATE FUNCTION rotor.generate_password(policy text) RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_generate_for_policy';
COMMENT ON FUNCTION rotor.generate_password(text) IS
    'a random value as the policy generates it; 42704 for an unknown policy';

CREATE FUNCTION rotor.generate_hex(bytes int DEFAULT 32) RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'rotor_generate_hex';
COMMENT ON FUNCTION rotor.generate_hex(int) IS
    '4 to 512 random bytes as lower-case hexadecimal digits, two for each byte';

CREATE FUNCTION rotor.generate_uuid() RETURNS uuid
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'rotor_generate_uuid';
COMMENT ON FUNCTION rotor.generate_uuid() IS 'a random uuid (RFC 9562, version 4)';
