--
-- The first rotation of a cluster makes a master key and says where it is and what to do with it. A server that has
-- rotor.key already (expected/first_key_1.out) says nothing and uses it.
--
SELECT status FROM rotor.health() WHERE check_name = 'key';
CREATE ROLE t_first LOGIN;
SELECT status FROM rotor.rotate('t_first');
SELECT status FROM rotor.rotate('t_first');
SELECT count(*) AS data_keys, bool_and(active) AS active FROM rotor.data_key;
-- As a file for nobody but the server.
SELECT (pg_stat_file('rotor.key')).size > 0 AS key_file;
SELECT count(*) FROM rotor.secrets;
