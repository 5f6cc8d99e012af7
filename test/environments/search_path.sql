-- What a hostile search_path finds before the server's own: operators, functions, aggregates and relations of the names that
-- rotor's SQL uses, with the same arguments. They do what the server's own do, so that a suite runs through them; and each
-- says trap_called() first, which tells in the log if rotor has stepped in. :trap is that module's file.
CREATE SCHEMA hostile;
GRANT USAGE ON SCHEMA hostile TO PUBLIC;
CREATE FUNCTION hostile.trap_called(what text) RETURNS boolean LANGUAGE c STRICT AS :'trap', 'trap_called';

DO $do$
DECLARE
    types oid[] := ARRAY['text', 'name', 'oid', 'int4', 'int8', 'numeric', 'float8', 'bool', 'timestamptz', 'interval', 'uuid', 'bytea',
        'jsonb', 'text[]', 'inet', 'pg_catalog.regclass', 'pg_catalog.regrole']::pg_catalog.regtype[]::oid[];
    functions text[] := ARRAY['now', 'clock_timestamp', 'transaction_timestamp', 'length', 'sha256', 'convert_to', 'encode', 'lower', 'upper',
        'left', 'right', 'replace', 'host', 'round', 'current_database', 'current_setting', 'set_config', 'quote_ident', 'quote_literal',
        'gen_random_uuid', 'pg_backend_pid', 'pg_terminate_backend', 'pg_get_userbyid', 'pg_has_role', 'has_schema_privilege',
        'has_function_privilege', 'string_to_array', 'array_to_string', 'jsonb_strip_nulls', 'jsonb_array_length', 'to_char', 'date_trunc',
        'make_interval', 'pg_get_expr', 'pg_relation_size', 'pg_total_relation_size', 'hashtext', 'btrim', 'strpos', 'regexp_replace'];
    relations text[] := ARRAY['pg_authid', 'pg_roles', 'pg_extension', 'pg_depend', 'pg_class', 'pg_namespace', 'pg_proc', 'pg_database',
        'pg_inherits', 'pg_stat_activity', 'pg_locks', 'pg_hba_file_rules', 'pg_settings', 'pg_auth_members'];
    ours text[] := ARRAY['policy', 'store', 'target', 'secret', 'version', 'rotation', 'data_key', 'saved_verifier', 'access_grant',
        'audit', 'home', 'statistics_reset', 'secrets', 'rotations', 'upcoming', 'coverage', 'dead_letter'];
    o record;
    relation text;
BEGIN
    FOR o IN SELECT p.oprname, format_type(p.oprleft, NULL) AS l, format_type(p.oprright, NULL) AS r, format_type(p.oprresult, NULL) AS result,
            'op_' || p.oid AS shadow
        FROM pg_operator p
        WHERE p.oprnamespace = 'pg_catalog'::regnamespace AND p.oprkind = 'b' AND p.oprleft = ANY (types) AND p.oprright = ANY (types || 'anycompatiblearray'::regtype::oid)
    LOOP
        EXECUTE format('CREATE FUNCTION hostile.%I(%s, %s) RETURNS %s LANGUAGE sql VOLATILE AS '
            '$$SELECT CASE WHEN hostile.trap_called(%L) THEN $1 OPERATOR(pg_catalog.%s) $2 END$$',
            o.shadow, o.l, o.r, o.result, format('operator %s (%s, %s)', o.oprname, o.l, o.r), o.oprname);
        EXECUTE format('CREATE OPERATOR hostile.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = hostile.%I)', o.oprname, o.l, o.r, o.shadow);
    END LOOP;
    FOR o IN SELECT p.proname, pg_get_function_identity_arguments(p.oid) AS arguments, format_type(p.prorettype, NULL) AS result,
            (SELECT string_agg('$' || i, ', ' ORDER BY i) FROM generate_series(1, p.pronargs) i) AS passed
        FROM pg_proc p
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND NOT p.proretset AND p.provariadic = 0
            AND p.proname = ANY (functions) AND NOT (p.proargtypes::oid[] && ARRAY['"any"', 'internal', 'cstring']::regtype[]::oid[])
    LOOP
        EXECUTE format('CREATE FUNCTION hostile.%I(%s) RETURNS %s LANGUAGE sql VOLATILE AS '
            '$$SELECT CASE WHEN hostile.trap_called(%L) THEN pg_catalog.%I(%s) END$$',
            o.proname, o.arguments, o.result, 'function ' || o.proname, o.proname, o.passed);
    END LOOP;
    FOREACH relation IN ARRAY relations LOOP
        EXECUTE format('CREATE VIEW hostile.%I AS SELECT * FROM pg_catalog.%I WHERE hostile.trap_called(%L)', relation, relation, 'relation ' || relation);
    END LOOP;
    -- Whoever takes one of these for rotor's fails.
    FOREACH relation IN ARRAY ours LOOP
        EXECUTE format('CREATE VIEW hostile.%I AS SELECT hostile.trap_called(%L)', relation, 'relation ' || relation);
    END LOOP;
END
$do$;
CREATE FUNCTION hostile.one_more(bigint) RETURNS bigint LANGUAGE sql VOLATILE AS
    $$SELECT CASE WHEN hostile.trap_called('aggregate count(*)') THEN $1 OPERATOR(pg_catalog.+) 1 END$$;
CREATE AGGREGATE hostile.count(*) (SFUNC = hostile.one_more, STYPE = bigint, INITCOND = '0');
GRANT SELECT ON ALL TABLES IN SCHEMA hostile TO PUBLIC;
REVOKE SELECT ON hostile.pg_authid, hostile.pg_hba_file_rules FROM PUBLIC;

ALTER DATABASE contrib_regression SET search_path = hostile, pg_catalog, public;
ALTER ROLE postgres SET search_path = hostile, pg_catalog, public;
