-- rotor: rotates database credentials.
\echo Use "CREATE EXTENSION rotor" to load this file. \quit

-- Fails if a schema of this name exists: a database owner could have prepared one.
CREATE SCHEMA rotor;
COMMENT ON SCHEMA rotor IS 'rotor: configuration in tables, actions as functions, observation as views';

-- One database of a cluster is rotor's home; anywhere else this is an error with the remedy.
CREATE FUNCTION rotor.check_home_database() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_check_home_database';
SELECT rotor.check_home_database();
DROP FUNCTION rotor.check_home_database();
