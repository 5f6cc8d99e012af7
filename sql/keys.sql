-- Keys for years: master keys and data keys are added, rotated and retired. Superusers only.

CREATE FUNCTION rotor.add_master_key(id text DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_add_master_key';
COMMENT ON FUNCTION rotor.add_master_key(text) IS
    'appends a new random master key to the key file as the newest, and returns its id; not undone by a rollback; superusers only';

CREATE FUNCTION rotor.rewrap_keys() RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_rewrap_keys';
COMMENT ON FUNCTION rotor.rewrap_keys() IS
    'wraps every data key by the newest master key and returns how many were moved; superusers only';

CREATE FUNCTION rotor.rotate_data_key() RETURNS uuid
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_rotate_data_key';
COMMENT ON FUNCTION rotor.rotate_data_key() IS
    'makes a new data key, which seals values from the commit on, and returns its id; what the old one sealed stays readable and is moved by workers or reseal(); superusers only';

CREATE FUNCTION rotor.reseal(max_values bigint DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_reseal';
COMMENT ON FUNCTION rotor.reseal(bigint) IS
    'seals values of former data keys anew by the active one, leaving out those that a rotation has locked, and returns how many; workers do it by themselves; superusers only';

CREATE FUNCTION rotor.retire_keys(OUT kind text, OUT id text) RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_retire_keys';
COMMENT ON FUNCTION rotor.retire_keys() IS
    'deletes the data keys that no value needs any more and returns them, then lists the master keys of the key file that no data key needs, which stay; superusers only';

CREATE FUNCTION rotor.remove_master_key(id text) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_remove_master_key';
COMMENT ON FUNCTION rotor.remove_master_key(text) IS
    'takes a master key that no data key needs out of the key file; not undone by a rollback; superusers only';

CREATE FUNCTION rotor.export_keys(certificate text) RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_export_keys';
COMMENT ON FUNCTION rotor.export_keys(text) IS
    'the master keys that data keys need, and the newest, in an envelope (CMS, PEM) that only the private key of this X.509 certificate opens; superusers only';

CREATE FUNCTION rotor.import_keys(envelope text, private_key_file text) RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_import_keys';
COMMENT ON FUNCTION rotor.import_keys(text, text) IS
    'opens what export_keys() gave with the private key in a file of the server, adds the master keys that the key file lacks before those that are there, and returns how many; not undone by a rollback; superusers only';

CREATE VIEW rotor.keys AS
    SELECT k.id, k.master_key_id, k.active, k.created_at, v.versions, s.saved_verifiers,
           CASE WHEN k.active THEN 'active' WHEN v.versions + s.saved_verifiers > 0 THEN 'resealing'
                ELSE 'unused' END AS state
    FROM rotor.data_key k
    CROSS JOIN LATERAL (SELECT count(*) AS versions FROM rotor.version v WHERE v.key_id = k.id) v
    CROSS JOIN LATERAL (SELECT count(*) AS saved_verifiers FROM rotor.saved_verifier s WHERE s.key_id = k.id) s;
COMMENT ON VIEW rotor.keys IS 'one row a data key: the master key that wraps it, and how many values still need it; never a key';
