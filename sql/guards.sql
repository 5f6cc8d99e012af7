-- What keeps the tables honest, and who may call what.

CREATE FUNCTION rotor.guard_configuration() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_guard_configuration';
COMMENT ON FUNCTION rotor.guard_configuration() IS
    'lets superusers only write policy, store and target, refuses contradictory settings, audits the change';

CREATE FUNCTION rotor.guard_audit() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_guard_audit';
COMMENT ON FUNCTION rotor.guard_audit() IS 'refuses UPDATE, DELETE and TRUNCATE of the audit';

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
CREATE TRIGGER guard_change BEFORE UPDATE OR DELETE OR TRUNCATE ON rotor.audit
    FOR EACH STATEMENT EXECUTE FUNCTION rotor.guard_audit();

-- ALWAYS: session_replication_role = replica does not switch them off.
ALTER TABLE rotor.policy ENABLE ALWAYS TRIGGER guard_row;
ALTER TABLE rotor.policy ENABLE ALWAYS TRIGGER guard_truncate;
ALTER TABLE rotor.store ENABLE ALWAYS TRIGGER guard_row;
ALTER TABLE rotor.store ENABLE ALWAYS TRIGGER guard_truncate;
ALTER TABLE rotor.target ENABLE ALWAYS TRIGGER guard_row;
ALTER TABLE rotor.target ENABLE ALWAYS TRIGGER guard_truncate;
ALTER TABLE rotor.audit ENABLE ALWAYS TRIGGER guard_change;

-- Configuration travels in a dump; sealed values do not.
SELECT pg_catalog.pg_extension_config_dump('rotor.policy',
    $$WHERE name NOT IN ('default', 'high', 'compat')$$);
SELECT pg_catalog.pg_extension_config_dump('rotor.target', $$WHERE name <> 'self'$$);
SELECT pg_catalog.pg_extension_config_dump('rotor.store', $$WHERE name <> 'local'$$);

REVOKE ALL ON SCHEMA rotor FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA rotor FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA rotor FROM PUBLIC;
