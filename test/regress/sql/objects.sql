--
-- What the extension consists of: rules that every object keeps, each as a query for those that break it, and lists of what a
-- reviewer should see change. A new object shows up here by itself: see what changed, then copy results/objects.out, which is in
-- the folder that a failed run keeps, to test/regress/expected/.
--
-- Names and expressions are printed as this finds them.
SET search_path = public;
-- The members of the extension.
CREATE VIEW t.member AS
    SELECT d.classid, d.objid, e.extowner AS owner, pg_describe_object(d.classid, d.objid, 0) AS object
    FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_catalog.pg_extension'::regclass
    WHERE e.extname = 'rotor' AND d.deptype = 'e';
CREATE VIEW t.function AS
    SELECT p.*, m.owner, m.object, l.lanname AS language FROM t.member m
    JOIN pg_proc p ON p.oid = m.objid AND m.classid = 'pg_catalog.pg_proc'::regclass JOIN pg_language l ON l.oid = p.prolang;
CREATE VIEW t.relation AS
    SELECT c.*, m.owner, m.object FROM t.member m JOIN pg_class c ON c.oid = m.objid AND m.classid = 'pg_catalog.pg_class'::regclass;
CREATE VIEW t.constraint AS
    SELECT n.*, r.relname, n.conrelid::regclass || '.' || n.conname AS name FROM pg_constraint n JOIN t.relation r ON r.oid = n.conrelid;

-- Kinds of members. On 17 and 18 the row type of a relation, and its array, are members too.
SELECT DISTINCT i.type FROM t.member m, pg_identify_object(m.classid, m.objid, 0) i
WHERE NOT EXISTS (SELECT FROM pg_type y WHERE m.classid = 'pg_catalog.pg_type'::regclass AND y.oid = m.objid
                  AND (y.typrelid <> 0 OR (SELECT typrelid FROM pg_type WHERE oid = y.typelem) <> 0)) ORDER BY i.type;
-- All that is in the schema is a member, or a part of one; all members are there, save for what has no schema.
SELECT pg_describe_object(d.classid, d.objid, 0) AS stranger
FROM (SELECT 'pg_catalog.pg_class'::regclass AS classid, oid AS objid FROM pg_class WHERE relnamespace = 'rotor'::regnamespace AND relkind NOT IN ('i', 'I', 't')
      UNION ALL SELECT 'pg_proc', oid FROM pg_proc WHERE pronamespace = 'rotor'::regnamespace
      UNION ALL SELECT 'pg_type', oid FROM pg_type WHERE typnamespace = 'rotor'::regnamespace AND typtype <> 'c' AND typelem = 0
      UNION ALL SELECT 'pg_namespace', 'rotor'::regnamespace) d
WHERE NOT EXISTS (SELECT FROM t.member m WHERE m.classid = d.classid AND m.objid = d.objid);
SELECT object AS outside FROM t.member m, pg_identify_object(m.classid, m.objid, 0) i WHERE i.schema IS NOT NULL AND i.schema <> 'rotor';

-- Owned by the superuser who made the extension.
SELECT DISTINCT o.rolsuper AS superuser FROM t.member m JOIN pg_roles o ON o.oid = m.owner;
SELECT object AS other_owner FROM t.function WHERE proowner <> owner
UNION ALL SELECT object FROM t.relation WHERE relowner <> owner
UNION ALL SELECT m.object FROM t.member m JOIN pg_namespace n ON n.oid = m.objid AND m.classid = 'pg_catalog.pg_namespace'::regclass WHERE n.nspowner <> m.owner
UNION ALL SELECT m.object FROM t.member m JOIN pg_event_trigger v ON v.oid = m.objid AND m.classid = 'pg_event_trigger'::regclass WHERE v.evtowner <> m.owner;

-- Granted to nobody but the owner, and whom grant_access() gave it: neither as a whole, nor by column, nor by a default privilege.
SELECT g.object AS granted, g.grantee::regrole, g.privilege_type FROM (
    SELECT object, a.* FROM t.function, aclexplode(coalesce(proacl, acldefault('f', proowner))) a
    UNION ALL SELECT object, a.* FROM t.relation, aclexplode(coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))) a
    UNION ALL SELECT 'schema', a.* FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a WHERE n.nspname = 'rotor') g
WHERE g.grantee <> g.grantor AND (g.privilege_type NOT IN ('USAGE', 'EXECUTE') OR NOT EXISTS (SELECT FROM rotor.access_grant r WHERE r.role_oid = g.grantee));
SELECT object, attname FROM t.relation r JOIN pg_attribute a ON a.attrelid = r.oid WHERE a.attacl IS NOT NULL;
SELECT defaclacl FROM pg_default_acl WHERE defaclnamespace = 'rotor'::regnamespace;

-- With a comment: every member that can be used, and every column of a table. A partition's columns are its table's; a
-- sequence is its column's.
SELECT object AS without_comment FROM t.member m
WHERE obj_description(m.objid, m.classid::regclass::name) IS NULL AND m.classid NOT IN ('pg_type'::regclass)
  AND NOT EXISTS (SELECT FROM pg_class c WHERE m.classid = 'pg_catalog.pg_class'::regclass AND c.oid = m.objid AND (c.relispartition OR c.relkind = 'S'))
UNION ALL SELECT object || ' column ' || attname FROM t.relation r JOIN pg_attribute a ON a.attrelid = r.oid
WHERE r.relkind IN ('r', 'p') AND NOT r.relispartition AND a.attnum > 0 AND NOT a.attisdropped AND col_description(r.oid, a.attnum) IS NULL
UNION ALL SELECT extname FROM pg_extension WHERE extname = 'rotor' AND obj_description(oid, 'pg_extension') IS NULL;

-- Functions. In C, as whoever calls them; where it is SQL with the owner's rights, its search_path is pinned. None is leakproof.
SELECT object AS other_language FROM t.function WHERE language NOT IN ('c', 'sql') OR prokind <> 'f';
SELECT object AS other_library FROM t.function WHERE language = 'c' AND (probin <> '$libdir/rotor' OR prosrc !~ '^rotor_');
SELECT object AS leakproof FROM t.function WHERE proleakproof;
SELECT object AS definer_in_c FROM t.function WHERE language = 'c' AND (prosecdef OR proconfig IS NOT NULL);
SELECT object AS search_path_not_pinned FROM t.function WHERE language = 'sql' AND proconfig IS DISTINCT FROM ARRAY['search_path=pg_catalog, pg_temp'];
-- Whatever reads or writes state is VOLATILE and PARALLEL UNSAFE. These touch none: random values, and a constant table.
SELECT object AS too_free FROM t.function
WHERE (provolatile <> 'v' OR proparallel <> 'u')
  AND (oid, provolatile, proparallel) NOT IN (
    ('rotor.generate_password(int,boolean,boolean,boolean,boolean,text,boolean)'::regprocedure, 'v', 's'),
    ('rotor.generate_hex(int)'::regprocedure, 'v', 's'), ('rotor.generate_uuid()'::regprocedure, 'v', 's'),
    ('rotor.transitions()'::regprocedure, 'i', 's'),
    -- Counts what the caller's snapshot shows.
    ('rotor.statistics()'::regprocedure, 's', 's'));
SELECT object AS arguments_without_name FROM t.function WHERE pronargs > 0 AND (proargnames IS NULL OR '' = ANY (proargnames));

-- Tables. Superusers write the configuration; only they, and the audit grows only: by triggers that no session setting switches off.
SELECT t.tgrelid::regclass || '.' || t.tgname AS not_always FROM pg_trigger t JOIN t.relation r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal AND t.tgenabled <> 'A';
SELECT v.evtname, v.evtevent, v.evttags, v.evtenabled FROM pg_event_trigger v JOIN t.member m ON m.objid = v.oid AND m.classid = 'pg_event_trigger'::regclass;
SELECT t.tgrelid::regclass AS "table", t.tgname AS trigger, regexp_replace(pg_get_triggerdef(t.oid), '^CREATE TRIGGER \w+ (.*) ON .* FOR', '\1 FOR') AS does
FROM pg_trigger t JOIN t.relation r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal AND t.tgrelid::regclass::text !~ '^rotor\.audit_\d' ORDER BY 1, 2;
SELECT r.oid::regclass AS unguarded_part_of_the_audit FROM t.relation r WHERE r.oid IN (SELECT relid FROM pg_partition_tree('rotor.audit'))
  AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = r.oid AND t.tgname = 'guard_change' AND t.tgenabled = 'A');
SELECT object AS kind_of_relation FROM t.relation WHERE relkind NOT IN ('r', 'p', 'v', 'S') OR relpersistence <> 'p' OR relrowsecurity OR relhasrules <> (relkind = 'v');
SELECT object AS without_primary_key FROM t.relation r
WHERE relkind IN ('r', 'p') AND NOT EXISTS (SELECT FROM pg_constraint n WHERE n.conrelid = r.oid AND n.contype = 'p');

-- Constraints that a user can run into say by their names what is wanted, not what was given a number.
SELECT name AS generated_name FROM t.constraint WHERE contype = 'c' AND (conname ~ '_check\d*$' OR conname !~ ('^' || relname || '_'));
SELECT name AS not_validated FROM t.constraint WHERE NOT convalidated OR condeferrable;

-- A foreign key has an index on its own side, or a reason not to: rows of store and target hardly ever go, and secrets are few;
-- saved verifiers are as few as unfinished rotations and dead letters; a data key goes once in years, after all versions were read.
SELECT name || ' ' || pg_get_constraintdef(n.oid) AS foreign_key_without_index FROM t.constraint n
WHERE contype = 'f' AND conparentid = 0 AND NOT EXISTS (
    SELECT FROM pg_index i WHERE i.indrelid = n.conrelid AND i.indpred IS NULL AND i.indisvalid
      AND (string_to_array(i.indkey::text, ' ')::smallint[])[1:cardinality(n.conkey)] @> n.conkey)
  AND conname NOT IN ('secret_store_fkey', 'secret_target_fkey', 'saved_verifier_key_id_fkey', 'version_key_id_fkey',
                      'saved_verifier_former_current_fkey', 'saved_verifier_former_previous_fkey')
ORDER BY 1;

-- Types: moments with their zone, text without a length; whatever text is indexed does not depend on the system's collation.
SELECT r.oid::regclass || '.' || a.attname AS "column", format_type(a.atttypid, a.atttypmod) AS other_type
FROM t.relation r JOIN pg_attribute a ON a.attrelid = r.oid
WHERE r.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid NOT IN (
    'bigint'::regtype, 'int'::regtype, 'float8'::regtype, 'boolean'::regtype, 'text'::regtype, 'text[]'::regtype, 'bytea'::regtype, 'uuid'::regtype,
    'oid'::regtype, 'inet'::regtype, 'jsonb'::regtype, 'interval'::regtype, 'timestamptz'::regtype);
SELECT i.indexrelid::regclass AS collation_of_the_system FROM pg_index i JOIN t.relation r ON r.oid = i.indrelid, unnest(i.indcollation::oid[]) c
WHERE c NOT IN (0, (SELECT oid FROM pg_collation WHERE collname = 'C' AND collnamespace = 'pg_catalog'::regnamespace));

-- Views work with their owner's rights: whoever may see one need not see the tables. They filter nothing that such a
-- role must not see, so they are no barriers either.
SELECT object AS other_view FROM t.relation WHERE relkind = 'v' AND reloptions IS NOT NULL;

\a
\t on
-- Every function, as it is called and as it is marked.
SELECT p.proname || '(' || pg_get_function_arguments(p.oid) || ') RETURNS ' || pg_get_function_result(p.oid) || ': ' || concat_ws(' ', language,
    CASE provolatile WHEN 'v' THEN 'volatile' WHEN 's' THEN 'STABLE' ELSE 'IMMUTABLE' END,
    CASE proparallel WHEN 'u' THEN 'unsafe' WHEN 's' THEN 'SAFE' ELSE 'RESTRICTED' END,
    CASE WHEN proisstrict THEN 'strict' END, CASE WHEN prosecdef THEN 'DEFINER' END, array_to_string(proconfig, ' '))
FROM t.function p ORDER BY p.oid::regprocedure::text COLLATE "C";
-- What a dump carries, and under which condition.
SELECT c.relation::regclass || ': ' || c.condition FROM pg_extension e, unnest(e.extconfig, e.extcondition) c (relation, condition)
WHERE e.extname = 'rotor' ORDER BY c.relation::regclass::text COLLATE "C";
-- What is checked.
SELECT name || ': ' || pg_get_constraintdef(oid) FROM t.constraint WHERE contype = 'c' ORDER BY name COLLATE "C";
\t off
\a

DROP VIEW t.constraint, t.relation, t.function, t.member;
RESET search_path;
