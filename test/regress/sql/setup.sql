--
-- The extension, and what the other files use. They run in the Makefile's order in one database; each
-- drops the roles that it makes.
--

-- A server that does not preload rotor may say so.
SET client_min_messages = error;
CREATE EXTENSION rotor;
RESET client_min_messages;
SELECT extname, extversion, extrelocatable FROM pg_extension WHERE extname = 'rotor';

-- Schema t: helpers of these tests, no part of rotor.
CREATE SCHEMA t;
GRANT USAGE ON SCHEMA t TO PUBLIC;

-- What a statement raises, as one text, without what differs from run to run.
CREATE FUNCTION t.error(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    state text;
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS OR query_canceled THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
        detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    -- Where the server speaks another language.
    IF current_setting('t.verbosity', true) = 'sqlstate' THEN
        RETURN state;
    END IF;
    RETURN t.masked(concat_ws(' | ', state || ' ' || message, 'DETAIL ' || nullif(detail, ''),
                              'HINT ' || nullif(hint, '')));
END
$$;

CREATE FUNCTION t.masked(text) RETURNS text IMMUTABLE LANGUAGE sql AS $$
    SELECT regexp_replace(regexp_replace(regexp_replace($1,
        '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', '<uuid>', 'g'),
        '\d+ ms\M', '<n> ms', 'g'),
        '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?([+-]\d\d| [A-Z]{3,4}\M)?', '<time>', 'g')
$$;

-- Waits until a condition holds; says whether it did.
CREATE FUNCTION t.wait_for(condition text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    holds boolean;
BEGIN
    FOR i IN 1 .. 3000 LOOP
        EXECUTE 'SELECT ' || condition INTO holds;
        EXIT WHEN holds;
        PERFORM pg_sleep(0.02), pg_stat_clear_snapshot();
    END LOOP;
    RETURN holds;
END
$$;

-- The same for what stands in tables: a transaction for each look, as one that is serializable sees nothing new.
CREATE PROCEDURE t.wait_until(INOUT holds text) LANGUAGE plpgsql AS $$
DECLARE
    condition text := holds;
BEGIN
    FOR i IN 1 .. 3000 LOOP
        EXECUTE 'SELECT ' || condition INTO holds;
        COMMIT;
        EXIT WHEN holds;
        PERFORM pg_sleep(0.02);
    END LOOP;
END
$$;

-- Waits until no rotation of the secret is active, and no worker has a role; how the last one ended.
CREATE PROCEDURE t.settled(INOUT settled text) LANGUAGE plpgsql AS $$
DECLARE
    name text := settled;
    holds text := format('NOT EXISTS (SELECT FROM rotor.rotations WHERE secret = %L
            AND status IN (''pending'', ''in_progress'', ''verifying'')) AND NOT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
            WHERE a.backend_type = ''rotor worker'' AND l.locktype = ''object'' AND l.classid = ''pg_authid''::regclass AND l.granted)', settled);
BEGIN
    CALL t.wait_until(holds);
    IF holds::boolean THEN
        SELECT r.status INTO settled FROM rotor.rotations r WHERE r.secret = name ORDER BY r.queued_at DESC LIMIT 1;
    ELSE
        settled := 'still active';
    END IF;
END
$$;

-- What becomes of a statement when a role runs it: ok, or the SQLSTATE. What it did is undone, save for a rotation.
CREATE FUNCTION t.may(caller text, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('role', caller, true);
    EXECUTE statement;
    RAISE SQLSTATE 'T0000';
EXCEPTION
    WHEN SQLSTATE 'T0000' THEN RETURN 'ok';
    WHEN OTHERS OR query_canceled THEN RETURN SQLSTATE;
END
$$;

-- A digest of all that is in rotor's tables.
CREATE FUNCTION t.digest() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    relation regclass;
    part text;
    whole text := '';
BEGIN
    FOR relation IN SELECT oid FROM pg_class WHERE relnamespace = 'rotor'::regnamespace AND relkind = 'r' AND relname <> 'home' ORDER BY relname LOOP
        EXECUTE format('SELECT md5(string_agg(r::text, E''\n'' ORDER BY r::text)) FROM %s r', relation) INTO part;
        whole := whole || coalesce(part, '-');
    END LOOP;
    RETURN md5(whole);
END
$$;

SELECT t.wait_for('true'), t.error('SELECT 1/0'), t.may('pg_monitor', 'SELECT 1/0'), t.may('pg_monitor', 'SELECT 1'), length(t.digest());
