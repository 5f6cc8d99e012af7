-- Reading secrets.

CREATE FUNCTION rotor.get_secret(secret text, stage text DEFAULT 'current') RETURNS jsonb
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_get_secret';
COMMENT ON FUNCTION rotor.get_secret(text, text) IS
    'username, password, host, port, dbname, engine, version_id and stages of the version with that stage (current, previous, pending), as the server knows it now, whatever the caller''s snapshot';

CREATE FUNCTION rotor.connection_uri(secret text, dbname text DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_connection_uri';
COMMENT ON FUNCTION rotor.connection_uri(text, text) IS
    'libpq URI with the current password, percent-encoded, and sslmode';

CREATE FUNCTION rotor.describe(secret text) RETURNS jsonb
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_describe';
COMMENT ON FUNCTION rotor.describe(text) IS
    'versions with their stages and dates, schedule and last rotation; never a value';
