--
-- generate_password(), generate_hex(), generate_uuid(): values of the right form, refusals with a reason.
--
\set state '\\echo SQLSTATE :LAST_ERROR_SQLSTATE'

-- The plain call: 32 characters of ASCII without the space, each class present; no two alike.
SELECT count(DISTINCT p) AS values, bool_and(length(p) = 32) AS length_is_32,
       bool_and(p ~ '^[!-~]+$') AS printable_ascii,
       bool_and(p ~ '[A-Z]' AND p ~ '[a-z]' AND p ~ '[0-9]' AND p ~ '[!-/:-@\[-`{-~]') AS every_class
FROM (SELECT rotor.generate_password() AS p FROM generate_series(1, 300) OFFSET 0) s;

-- Every character of ASCII punctuation, digits and letters occurs, nothing else does.
SELECT count(DISTINCT c) AS characters, min(ascii(c)) AS first, max(ascii(c)) AS last
FROM (SELECT rotor.generate_password(1024) AS p FROM generate_series(1, 40) OFFSET 0) s,
     LATERAL regexp_split_to_table(p, '') AS c;

-- The shortest and the longest.
SELECT length(rotor.generate_password(8)), length(rotor.generate_password(1024));

-- Each choice of classes gives these classes, all of them, and no other.
SELECT u, l, d, s, bool_and((p ~ '[A-Z]') = u AND (p ~ '[a-z]') = l AND (p ~ '[0-9]') = d
                            AND (p ~ '[!-/:-@\[-`{-~]') = s) AS as_chosen
FROM (SELECT u, l, d, s, rotor.generate_password(8, u, l, d, s) AS p
      FROM (VALUES (true), (false)) a (u), (VALUES (true), (false)) b (l), (VALUES (true), (false)) c (d),
           (VALUES (true), (false)) e (s), generate_series(1, 50)
      WHERE u OR l OR d OR s OFFSET 0) g
GROUP BY u, l, d, s ORDER BY u DESC, l DESC, d DESC, s DESC;

-- Without require_each_type a class may be missing, with it none is.
SELECT required, bool_or(p !~ '[0-9]') AS some_lack_a_digit
FROM (SELECT required, rotor.generate_password(8, lowercase => false, symbols => false, require_each_type => required) AS p
      FROM (VALUES (true), (false)) v (required), generate_series(1, 1000) OFFSET 0) s
GROUP BY required ORDER BY required;

-- A required class stands anywhere: at each position of eight some value has its only digit.
SELECT count(DISTINCT strpos(translate(p, '0123456789', 'dddddddddd'), 'd')) AS positions
FROM (SELECT rotor.generate_password(8, exclude => '123456789') AS p FROM generate_series(1, 1000) OFFSET 0) s
WHERE length(translate(p, '0123456789', '')) = 7;

-- Exclusion: single characters, repeated ones, the space, those of a class that is off, all but one of a class.
SELECT bool_and(p !~ '[0O1lI]') AS none_of_them
FROM (SELECT rotor.generate_password(64, exclude => '0O1lI0O1lI ') AS p FROM generate_series(1, 200) OFFSET 0) s;
SELECT rotor.generate_password(20, symbols => false, exclude => '!"#') ~ '^[A-Za-z0-9]{20}$' AS ok;
SELECT bool_and(p ~ '^[A-Za-z]*7+[A-Za-z7]*$') AS only_sevens
FROM (SELECT rotor.generate_password(20, symbols => false, exclude => '012345689') AS p
      FROM generate_series(1, 100) OFFSET 0) s;
SELECT rotor.generate_password(8, false, false, true, false, '012345678', true) = '99999999' AS only_nines;

-- Excluding a whole class is fine where it is not required.
SELECT bool_and(p ~ '^[A-Za-z]+$') AS letters_only
FROM (SELECT rotor.generate_password(16, symbols => false, exclude => '0123456789', require_each_type => false) AS p
      FROM generate_series(1, 100) OFFSET 0) s;

-- Contradictory arguments are refused with the reason.
SELECT rotor.generate_password(7);
:state
SELECT rotor.generate_password(0);
SELECT rotor.generate_password(-1);
SELECT rotor.generate_password(3);
:state
SELECT rotor.generate_password(1025);
:state
SELECT rotor.generate_password(2147483647);
SELECT rotor.generate_password(32, false, false, false, false);
:state
SELECT rotor.generate_password(32, exclude => '0123456789');
:state
SELECT rotor.generate_password(32, exclude => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ');
SELECT rotor.generate_password(32, exclude => 'abcdefghijklmnopqrstuvwxyz');
SELECT rotor.generate_password(32, exclude => $$!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~$$);
:state
SELECT rotor.generate_password(16, false, false, true, false, '0123456789', false);
:state
SELECT rotor.generate_password(32, exclude => 'ü');
:state
SELECT rotor.generate_password(32, exclude => E'a\tb');
:state

-- Null in, null out.
SELECT rotor.generate_password(NULL::int) IS NULL AS length, rotor.generate_password(exclude => NULL) IS NULL AS exclude,
       rotor.generate_password(NULL::text) IS NULL AS policy, rotor.generate_hex(NULL) IS NULL AS hex;

-- By a policy: an untyped literal names one.
SELECT p ~ '^[!-~]{32}$' AS ok FROM rotor.generate_password('default') p;
SELECT p ~ '^[!-~]{64}$' AS ok FROM rotor.generate_password(policy => 'high') p;
SELECT rotor.generate_password('no such policy');
:state
SELECT rotor.generate_password('');

-- compat: nothing that a URI, a connection string, a shell or an INI file would need quoted, yet every class.
SELECT bool_and(p ~ '^[-._~A-Za-z0-9]{32}$') AS harmless,
       bool_and(p ~ '[A-Z]' AND p ~ '[a-z]' AND p ~ '[0-9]' AND p ~ '[-._~]') AS every_class
FROM (SELECT rotor.generate_password('compat') AS p FROM generate_series(1, 300) OFFSET 0) s;
SELECT count(DISTINCT c) AS characters
FROM (SELECT rotor.generate_password('compat') AS p FROM generate_series(1, 600) OFFSET 0) s,
     LATERAL regexp_split_to_table(p, '') AS c;

-- Hexadecimal digits, two a byte.
SELECT count(DISTINCT h) AS values, bool_and(h ~ '^[0-9a-f]{64}$') AS form
FROM (SELECT rotor.generate_hex() AS h FROM generate_series(1, 200) OFFSET 0) s;
SELECT rotor.generate_hex(4) ~ '^[0-9a-f]{8}$' AS least, length(rotor.generate_hex(512)) AS most;
SELECT rotor.generate_hex(3);
:state
SELECT rotor.generate_hex(513);
:state
SELECT rotor.generate_hex(-1);

-- A uuid of version 4, variant 10.
SELECT count(DISTINCT u) AS values,
       bool_and(u::text ~ '^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$') AS form
FROM (SELECT rotor.generate_uuid() AS u FROM generate_series(1, 200) OFFSET 0) s;
SELECT pg_typeof(rotor.generate_uuid());

-- Parallel workers may make values; each its own.
BEGIN;
SELECT count(set_config(name, 'on', true)) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
SELECT length(rotor.generate_password()), length(rotor.generate_hex(16)), rotor.generate_uuid() IS NOT NULL AS uuid;
SELECT length(rotor.generate_password('default'));
ROLLBACK;

-- Nothing is stored, no matter what was asked for.
SELECT count(*) FROM rotor.audit WHERE event LIKE '%generate%';

-- Under a read-only transaction and any isolation too.
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;
SELECT length(rotor.generate_password()), length(rotor.generate_password('high')), length(rotor.generate_hex(8));
COMMIT;
