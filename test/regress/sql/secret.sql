--
-- get_secret(), connection_uri(), describe(): what a reader gets, and that the server accepts it.
--
\set state '\\echo SQLSTATE :LAST_ERROR_SQLSTATE'
-- Logs in over TCP, where the server asks for the password, as PGUSER with PGPASSWORD; says who that is.
\set login '\\set who `psql -X -A -t -q -h 127.0.0.1 -c "SELECT current_user" 2>&1 | sed "s/^.*FATAL: */FATAL: /"`\n\\echo :who'
\setenv PGDATABASE :DBNAME

CREATE ROLE t_read LOGIN PASSWORD 'handmade';
\setenv PGUSER t_read
\setenv PGPASSWORD handmade
:login

-- Nothing to read before the first rotation.
SELECT rotor.get_secret('t_read');
:state
SELECT name FROM rotor.manage('t_read', policy => 'compat');
SELECT rotor.get_secret('t_read');
:state
SELECT rotor.connection_uri('t_read');
:state
SELECT jsonb_pretty(rotor.describe('t_read') - 'created_at');

-- The main job: the new password logs in, the old one no longer does.
SELECT status, strategy, step, trigger, version_id IS NOT NULL AS version, duration > interval '0' AS took_time FROM rotor.rotate('t_read');
:login
SELECT rotor.get_secret('t_read') ->> 'password' AS password \gset
\setenv PGPASSWORD :password
:login

-- The keys are those of the secrets that AWS makes for databases, and no others.
SELECT jsonb_object_agg(key, jsonb_typeof(value)) AS keys FROM jsonb_each(rotor.get_secret('t_read'));
SELECT s ->> 'username' AS username, s ->> 'host' AS host, (s -> 'port')::int = current_setting('port')::int AS port,
       s ->> 'dbname' = current_database() AS dbname, s ->> 'engine' AS engine, s -> 'stages' AS stages,
       (s ->> 'version_id')::uuid = (SELECT version_id FROM rotor.secrets WHERE secret = 't_read') AS version,
       s ->> 'password' ~ '^[-._~A-Za-z0-9]{32}$' AS password_of_the_policy
FROM rotor.get_secret('t_read') s;
SELECT pg_typeof(rotor.get_secret('t_read'));

-- Stages. The one before becomes previous; pending stands only while a rotation is at it.
SELECT rotor.get_secret('t_read', 'previous');
:state
SELECT status FROM rotor.rotate('t_read');
:login
SELECT rotor.get_secret('t_read', 'previous') ->> 'password' = :'password' AS previous,
       rotor.get_secret('t_read', 'previous') -> 'stages' AS stages,
       rotor.get_secret('t_read', stage => 'current') ->> 'password' <> :'password' AS current,
       rotor.get_secret('t_read', 'previous') ->> 'version_id' <> rotor.get_secret('t_read') ->> 'version_id' AS version;
SELECT rotor.get_secret('t_read') ->> 'password' AS password \gset
\setenv PGPASSWORD :password
:login
SELECT rotor.get_secret('t_read', 'pending');
:state
SELECT rotor.get_secret('t_read', 'AWSCURRENT');
:state
SELECT rotor.get_secret('t_read', '');
:state
SELECT rotor.get_secret(secret => 'no such secret');
:state
SELECT rotor.get_secret(NULL) IS NULL AS secret, rotor.get_secret('t_read', NULL) IS NULL AS stage,
       rotor.describe(NULL) IS NULL AS describe;
SELECT rotor.describe('no such secret');
:state
SELECT rotor.connection_uri('no such secret');
:state
SELECT rotor.connection_uri(NULL);
:state

-- A compat password stands anywhere without quotes: in a URI, in a connection string, in a shell.
SELECT rotor.connection_uri('t_read') = format('postgresql://t_read:%s@localhost:%s/%s?sslmode=prefer', :'password',
    current_setting('port'), current_database()) AS verbatim;
\! psql -X -A -t -q -d "host=127.0.0.1 user=$PGUSER password=$PGPASSWORD" -c "SELECT 'by a connection string: ' || current_user"
\! psql -X -A -t -q -d "postgresql://$PGUSER:$PGPASSWORD@127.0.0.1:$PGPORT/$PGDATABASE" -c "SELECT 'by a URI: ' || current_user"

-- connection_uri() logs in as it is, whatever the names and the password hold.
SELECT $$we'ird "u:s@e/r%20?#&=+ ü$$ AS name \gset
SELECT format('CREATE ROLE %I LOGIN', :'name') \gexec
SELECT status FROM rotor.rotate(:'name');
SELECT rotor.connection_uri(:'name') AS uri \gset
\setenv URI :uri
\setenv PGPASSWORD wrong
\! env -u PGHOST -u PGPORT -u PGUSER -u PGDATABASE -u PGPASSWORD psql -X -A -t -q -d "$URI" -c "SELECT current_user, current_database()"
SELECT :'uri' ~ '^postgresql://[-._~A-Za-z0-9%]+:[-._~A-Za-z0-9%]+@localhost:\d+/[a-z_]+\?sslmode=prefer$' AS encoded,
       split_part(split_part(:'uri', '//', 2), ':', 1) AS username;
SELECT regexp_replace(rotor.connection_uri(:'name', 'a database/with?odd#parts&ü%'), '^.*@localhost:\d+', '') AS dbname;
SELECT rotor.connection_uri('t_read', dbname => 'postgres') ~ '/postgres\?sslmode=prefer$' AS ok;
SELECT rotor.connection_uri('t_read', '') ~ ':\d+/\?sslmode' AS empty_dbname;

-- rotor.target says what address applications are told.
BEGIN;
UPDATE rotor.target SET host = 'db.example.com', port = 6432, dbname = 'shop', sslmode = 'verify-full' WHERE name = 'self';
SELECT s ->> 'host' AS host, s -> 'port' AS port, s ->> 'dbname' AS dbname FROM rotor.get_secret('t_read') s;
SELECT split_part(rotor.connection_uri('t_read'), '@', 2) AS uri, split_part(rotor.connection_uri('t_read', 'other'), '@', 2) AS uri;
UPDATE rotor.target SET host = '2001:db8::1' WHERE name = 'self';
SELECT split_part(rotor.connection_uri('t_read'), '@', 2) AS uri, rotor.get_secret('t_read') ->> 'host' AS host;
ROLLBACK;

-- Over TCP a reader is told the address by which it came.
\setenv PGPASSWORD :password
GRANT USAGE ON SCHEMA rotor TO t_read;
GRANT EXECUTE ON FUNCTION rotor.get_secret(text, text), rotor.connection_uri(text, text) TO t_read;
\! psql -X -A -t -q -h 127.0.0.1 -c "SELECT rotor.get_secret('t_read') ->> 'host', split_part(split_part(rotor.connection_uri('t_read'), '@', 2), ':', 1)"

-- describe(): everything but the value.
SELECT jsonb_object_agg(key, jsonb_typeof(value)) AS keys FROM jsonb_each(rotor.describe('t_read'));
SELECT v -> 'stages' AS stages, (SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(v) k) AS keys,
       v ->> 'verified_at' IS NOT NULL AS verified, (v ->> 'set_at')::timestamptz >= (v ->> 'created_at')::timestamptz AS in_order
FROM jsonb_array_elements(rotor.describe('t_read') -> 'versions') v;
SELECT d ->> 'username' AS username, d ->> 'policy' AS policy, d ->> 'created_by' AS created_by, d -> 'enabled' AS enabled,
       d -> 'last_result' ->> 'status' AS last_result, position(:'password' IN d::text) AS value_at FROM rotor.describe('t_read') d;

-- Reading sees what the server accepts now, whatever the reader's snapshot.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) > 0 AS snapshot FROM rotor.secrets;
SELECT status FROM rotor.rotate('t_read');
SELECT rotor.get_secret('t_read') ->> 'password' AS password \gset
\setenv PGPASSWORD :password
:login
SELECT rotor.describe('t_read') -> 'last_result' ->> 'status' AS status,
       rotor.describe('t_read') -> 'versions' -> 0 ->> 'version_id' = rotor.get_secret('t_read') ->> 'version_id' AS version;
COMMIT;
BEGIN READ ONLY;
SELECT rotor.get_secret('t_read') ->> 'password' = :'password' AS read_only;
SELECT rotor.connection_uri('t_read') LIKE '%' || :'password' || '%' AS read_only;
SELECT rotor.describe('t_read') ->> 'secret' AS read_only;
COMMIT;

-- Reads are server log lines, not rows: a reader may be read-only.
SELECT count(*) FROM rotor.audit WHERE event IN ('get_secret', 'connection_uri', 'describe');

-- Previous and before: one previous, the others have no stage any more.
SELECT stage, count(*) FROM rotor.version v JOIN rotor.secret s ON s.id = v.secret_id WHERE s.name = 't_read' GROUP BY stage ORDER BY stage;

SELECT count(rotor.unmanage(secret)) FROM rotor.secrets WHERE secret IN ('t_read', :'name');
DROP OWNED BY t_read;
DROP ROLE t_read;
SELECT format('DROP ROLE %I', :'name') \gexec
