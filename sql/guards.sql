-- What keeps the tables honest, and who may call what.

CREATE FUNCTION rotor.guard_configuration() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_guard_configuration';
COMMENT ON FUNCTION rotor.guard_configuration() IS
    'lets superusers only write policy, store and target, refuses contradictory settings, audits the change';

CREATE FUNCTION rotor.guard_audit() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_guard_audit';
COMMENT ON FUNCTION rotor.guard_audit() IS 'refuses UPDATE, DELETE and TRUNCATE of the audit';

CREATE FUNCTION rotor.guard_restored() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_guard_restored';
COMMENT ON FUNCTION rotor.guard_restored() IS 'lets secrets that a dump brings back rest until reconcile()';

CREATE FUNCTION rotor.guard_drop() RETURNS event_trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_guard_drop';
COMMENT ON FUNCTION rotor.guard_drop() IS 'warns of what DROP EXTENSION rotor forgets';

CREATE EVENT TRIGGER rotor_guard_drop ON ddl_command_start WHEN TAG IN ('DROP EXTENSION', 'DROP OWNED')
    EXECUTE FUNCTION rotor.guard_drop();
COMMENT ON EVENT TRIGGER rotor_guard_drop IS 'warns of what DROP EXTENSION rotor forgets';

CREATE FUNCTION rotor.guard_update() RETURNS event_trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_guard_update';
COMMENT ON FUNCTION rotor.guard_update() IS
    'lets ALTER EXTENSION rotor UPDATE go no further than the library that is loaded, and tells all sessions';

CREATE EVENT TRIGGER rotor_guard_update ON ddl_command_end WHEN TAG IN ('ALTER EXTENSION')
    EXECUTE FUNCTION rotor.guard_update();
COMMENT ON EVENT TRIGGER rotor_guard_update IS 'keeps the versions of extension and library together';

CREATE FUNCTION rotor.make_audit_partitions() RETURNS int
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_make_audit_partitions';
COMMENT ON FUNCTION rotor.make_audit_partitions() IS
    'makes the partitions of the audit for this month and the next two, where they are missing, and returns how many; workers do it by themselves; superusers only';

CREATE TRIGGER guard_row BEFORE INSERT OR UPDATE OR DELETE ON rotor.policy
    FOR EACH ROW EXECUTE FUNCTION rotor.guard_configuration();
CREATE TRIGGER guard_truncate BEFORE TRUNCATE ON rotor.policy
    FOR EACH STATEMENT EXECUTE FUNCTION rotor.guard_configuration();
CREATE TRIGGER guard_row BEFORE INSERT OR UPDATE OR DELETE ON rotor.store
    FOR EACH ROW EXECUTE FUNCTION rotor.guard_configuration();
CREATE TRIGGER guard_truncate BEFORE TRUNCATE ON rotor.store
    FOR EACH STATEMENT EXECUTE FUNCTION rotor.guard_configuration();
CREATE TRIGGER guard_row BEFORE INSERT OR UPDATE OR DELETE ON rotor.target
    FOR EACH ROW EXECUTE FUNCTION rotor.guard_configuration();
CREATE TRIGGER guard_truncate BEFORE TRUNCATE ON rotor.target
    FOR EACH STATEMENT EXECUTE FUNCTION rotor.guard_configuration();
CREATE TRIGGER guard_restored BEFORE INSERT ON rotor.secret
    FOR EACH ROW EXECUTE FUNCTION rotor.guard_restored();
CREATE TRIGGER guard_change BEFORE UPDATE OR DELETE OR TRUNCATE ON rotor.audit
    FOR EACH STATEMENT EXECUTE FUNCTION rotor.guard_audit();
CREATE TRIGGER guard_change BEFORE UPDATE OR DELETE OR TRUNCATE ON rotor.audit_default
    FOR EACH STATEMENT EXECUTE FUNCTION rotor.guard_audit();

-- ALWAYS: session_replication_role = replica does not switch them off.
ALTER TABLE rotor.policy ENABLE ALWAYS TRIGGER guard_row;
ALTER TABLE rotor.policy ENABLE ALWAYS TRIGGER guard_truncate;
ALTER TABLE rotor.store ENABLE ALWAYS TRIGGER guard_row;
ALTER TABLE rotor.store ENABLE ALWAYS TRIGGER guard_truncate;
ALTER TABLE rotor.target ENABLE ALWAYS TRIGGER guard_row;
ALTER TABLE rotor.target ENABLE ALWAYS TRIGGER guard_truncate;
ALTER TABLE rotor.secret ENABLE ALWAYS TRIGGER guard_restored;
ALTER TABLE rotor.audit ENABLE ALWAYS TRIGGER guard_change;
ALTER TABLE rotor.audit_default ENABLE ALWAYS TRIGGER guard_change;
SELECT rotor.make_audit_partitions();

-- Configuration travels in a dump. Values (sealed), keys (wrapped) and history do on request only:
-- PGOPTIONS='-c rotor.dump_values=on' pg_dump ...
SELECT pg_catalog.pg_extension_config_dump('rotor.policy', 'WHERE NOT builtin');
SELECT pg_catalog.pg_extension_config_dump('rotor.target', 'WHERE NOT builtin');
SELECT pg_catalog.pg_extension_config_dump('rotor.store', 'WHERE NOT builtin');
SELECT pg_catalog.pg_extension_config_dump('rotor.secret', '');
SELECT pg_catalog.pg_extension_config_dump('rotor.secret_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('rotor.pair', '');
SELECT pg_catalog.pg_extension_config_dump('rotor.access_grant', '');
SELECT pg_catalog.pg_extension_config_dump('rotor.data_key',
    $$WHERE coalesce(nullif(pg_catalog.current_setting('rotor.dump_values', true), ''), 'off')::boolean$$);
SELECT pg_catalog.pg_extension_config_dump('rotor.version',
    $$WHERE coalesce(nullif(pg_catalog.current_setting('rotor.dump_values', true), ''), 'off')::boolean$$);
SELECT pg_catalog.pg_extension_config_dump('rotor.rotation',
    $$WHERE coalesce(nullif(pg_catalog.current_setting('rotor.dump_values', true), ''), 'off')::boolean$$);
SELECT pg_catalog.pg_extension_config_dump('rotor.saved_verifier',
    $$WHERE coalesce(nullif(pg_catalog.current_setting('rotor.dump_values', true), ''), 'off')::boolean$$);

REVOKE ALL ON SCHEMA rotor FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA rotor FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA rotor FROM PUBLIC;
