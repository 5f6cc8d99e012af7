--
-- Keys: every value is sealed before it is stored; rewrap_keys() wraps the data keys anew.
--
\set state '\\echo SQLSTATE :LAST_ERROR_SQLSTATE'
CREATE ROLE t_key LOGIN;
SELECT status FROM rotor.rotate('t_key');
SELECT rotor.get_secret('t_key') ->> 'password' AS password \gset

-- One active data key, wrapped by a master key that is not in the database.
SELECT count(*) FILTER (WHERE active) AS active, bool_and(length(wrapped) >= 32 + 16) AS wrapped, bool_and(master_key_id <> '') AS master_key_id,
       count(DISTINCT id) = count(*) AS ids FROM rotor.data_key;
-- Sealed: neither the value nor its bytes; the same value would be sealed differently each time.
SELECT bool_and(length(sealed) > 32) AS sealed, bool_and(position(convert_to(:'password', 'UTF8') IN sealed) = 0) AS not_the_value,
       count(DISTINCT sealed) = count(*) AS all_different, bool_and(key_id IN (SELECT id FROM rotor.data_key)) AS keys FROM rotor.version;
-- The fingerprint is that of the role's verifier.
SELECT v.fingerprint = sha256(convert_to(a.rolpassword, 'UTF8')) AS fingerprint
FROM rotor.version v JOIN rotor.secret s ON s.id = v.secret_id JOIN pg_authid a ON a.oid = s.role_oid WHERE s.name = 't_key' AND v.stage = 'current';

-- A sealed value is bound to its secret, its version and its key: moved elsewhere it does not open.
CREATE ROLE t_other LOGIN;
SELECT status FROM rotor.rotate('t_other');
BEGIN;
UPDATE rotor.version v SET sealed = (SELECT w.sealed FROM rotor.version w JOIN rotor.secret o ON o.id = w.secret_id WHERE o.name = 't_other' AND o.deleted_at IS NULL AND w.stage = 'current')
FROM rotor.secret s WHERE s.id = v.secret_id AND s.name = 't_key' AND v.stage = 'current';
SELECT t.error($$SELECT rotor.get_secret('t_key')$$) ~ '^XX001 ' AS data_corrupted;
ROLLBACK;
BEGIN;
UPDATE rotor.version v SET sealed = set_byte(sealed, length(sealed) - 1, get_byte(sealed, length(sealed) - 1) # 1)
FROM rotor.secret s WHERE s.id = v.secret_id AND s.name = 't_key' AND v.stage = 'current';
SELECT t.error($$SELECT rotor.get_secret('t_key')$$) ~ '^XX001 ' AS data_corrupted;
ROLLBACK;
SELECT rotor.get_secret('t_key') ->> 'password' = :'password' AS same_password;

-- rewrap_keys(): nothing to move while the newest master key wraps them; superusers only, not read-only, audited.
SELECT rotor.rewrap_keys();
SELECT event, result, detail ->> 'moved' AS moved, (detail ->> 'total')::int >= 1 AS total FROM rotor.audit_log WHERE event = 'keys_rewrapped' ORDER BY id DESC LIMIT 1;
SELECT rotor.get_secret('t_key') ->> 'password' = :'password' AS same_password;
GRANT USAGE ON SCHEMA rotor TO t_other;
GRANT EXECUTE ON FUNCTION rotor.rewrap_keys() TO t_other;
SET ROLE t_other;
SELECT rotor.rewrap_keys();
:state
RESET ROLE;
BEGIN READ ONLY;
SELECT rotor.rewrap_keys();
:state
ROLLBACK;

-- A new data key, and values moved to it: in one transaction, for workers move them after a commit.
BEGIN;
SET LOCAL client_min_messages = warning;
SELECT id AS former FROM rotor.keys WHERE active \gset
SELECT count(*) AS total FROM rotor.version \gset
SELECT rotor.rotate_data_key() AS made \gset
SELECT id = :'made' AS the_new_one, versions, saved_verifiers FROM rotor.keys WHERE state = 'active';
SELECT versions > 0 AS versions, state, active FROM rotor.keys WHERE id = :'former';
-- What is sealed now is sealed by the new one; reading does not mind.
SELECT rotor.get_secret('t_key') ->> 'password' = :'password' AS same_password;
SELECT rotor.reseal(0), rotor.reseal(1), rotor.reseal(max_values => 1);
SELECT versions FROM rotor.keys WHERE active;
SELECT rotor.reseal() = :total - 2 AS the_others, rotor.reseal() AS none_left;
SELECT versions = :total AS all_of_them, saved_verifiers FROM rotor.keys WHERE active;
SELECT versions, saved_verifiers, state FROM rotor.keys WHERE id = :'former';
SELECT bool_and(key_id = :'made') AS by_the_new_one FROM rotor.version;
SELECT rotor.get_secret('t_key') ->> 'password' = :'password' AS same_password;
SELECT event, actor, result, detail - 'data_key' - 'master_key' - 'moved' AS detail FROM rotor.audit_log WHERE event IN ('data_key_made', 'values_resealed') AND at >= now() ORDER BY id;
SELECT detail ->> 'data_key' = :'made' AS data_key, detail ->> 'master_key' = k.master_key_id AS master_key
FROM rotor.audit_log, rotor.keys k WHERE event = 'data_key_made' AND at >= now() AND k.id = :'made';
ROLLBACK;
SELECT rotor.reseal(-1);
:state
-- No key is in the view, nor any secret's name.
SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS type FROM pg_attribute a WHERE a.attrelid = 'rotor.keys'::regclass AND a.attnum > 0 ORDER BY a.attnum;

-- For superusers only, whoever may EXECUTE it; and not in a read-only transaction.
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA rotor TO t_other;
SELECT call, t.may('t_other', 'SELECT rotor.' || call) FROM unnest(ARRAY['add_master_key()', 'remove_master_key($$x$$)', 'rewrap_keys()', 'rotate_data_key()', 'reseal()', 'retire_keys()', 'export_keys($$x$$)', 'import_keys($$x$$, $$x$$)']) call;
SELECT t.may('t_other', 'SELECT * FROM rotor.keys');
BEGIN READ ONLY;
SELECT call, t.error('SELECT rotor.' || call) FROM unnest(ARRAY['add_master_key()', 'remove_master_key($$x$$)', 'rewrap_keys()', 'rotate_data_key()', 'reseal()', 'retire_keys()', 'export_keys($$x$$)', 'import_keys($$x$$, $$x$$)']) call;
ROLLBACK;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA rotor FROM t_other;

-- The settings of the keys are not for everybody.
SET ROLE t_other;
SELECT name, setting IS NOT NULL AS visible FROM pg_settings WHERE name IN ('rotor.key_file', 'rotor.key_command');
RESET ROLE;
SELECT t.may('t_other', 'SHOW rotor.key_file') AS key_file, t.may('t_other', 'SHOW rotor.key_command') AS key_command;
SET rotor.key_file = 'elsewhere';
:state

SELECT count(rotor.unmanage(secret)) FROM rotor.secrets WHERE secret IN ('t_key', 't_other');
DROP OWNED BY t_other;
DROP ROLE t_key, t_other;
