#!/usr/bin/env bash
# A throw-away PostgreSQL peer for test/worker: a cluster of its own with TLS and a pg_hba.conf of many kinds, an
# administrator who is no superuser, and accounts as strange as allowed. Prints name=value lines and "ready"; ends,
# and leaves nothing behind, when its standard input is closed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
. scripts/cluster.sh
. test/worker/peers/certificates.sh

workspace_make peer
data=$workspace/pg

cluster_make "$data" fast
certificates_make "$data"
cat >"$workspace/hba" <<HBA
local all all trust
host all trusted 127.0.0.1/32 trust
host all unwanted 127.0.0.1/32 reject
host all directory 127.0.0.1/32 ldap ldapserver=127.0.0.1 ldapport=1 ldapprefix=x
hostssl all tls_only 127.0.0.1/32 scram-sha-256
hostnossl all tls_only 127.0.0.1/32 reject
host all all 127.0.0.1/32 scram-sha-256
HBA
cat "$workspace/hba" >"$data/pg_hba.conf"

cluster_start "$data" "ssl = on" "log_statement = all" "log_min_duration_statement = 0" "log_connections = on" \
    "log_min_error_statement = error" "max_connections = 40" "lc_messages = 'C'"

as_server_user psql -X -q -v ON_ERROR_STOP=1 >"$workspace/psql.log" 2>&1 <<'SQL' || { cat "$workspace/psql.log" >&2; exit 1; }
CREATE ROLE boss SUPERUSER LOGIN PASSWORD 'boss-password';
CREATE ROLE admin CREATEROLE LOGIN PASSWORD 'admin-password';
CREATE ROLE plain LOGIN PASSWORD 'plain-password';
CREATE ROLE app LOGIN PASSWORD 'app-password';
CREATE ROLE own LOGIN PASSWORD 'own-password';
CREATE ROLE "we""ird 'r\ole %s $1" LOGIN PASSWORD 'weird-password';
CREATE ROLE trusted LOGIN PASSWORD 'trusted-password';
CREATE ROLE unwanted LOGIN PASSWORD 'unwanted-password';
CREATE ROLE directory LOGIN PASSWORD 'directory-password';
CREATE ROLE tls_only LOGIN PASSWORD 'tls-password';
CREATE ROLE nologin NOLOGIN PASSWORD 'nologin-password';
CREATE ROLE expired LOGIN PASSWORD 'expired-password' VALID UNTIL '2001-01-01';
CREATE ROLE crowded LOGIN PASSWORD 'crowded-password' CONNECTION LIMIT 0;
CREATE ROLE lazy LOGIN PASSWORD 'lazy-password';
ALTER ROLE lazy SET synchronous_commit = off;
CREATE DATABASE closed ALLOW_CONNECTIONS false;
CREATE DATABASE barred;
REVOKE CONNECT ON DATABASE barred FROM PUBLIC;
CREATE TABLE public.seen (n int);
GRANT SELECT, INSERT ON public.seen TO app;
SQL

echo "port=$PGPORT"
echo "socket=$PGHOST"
echo "ca=$workspace/ca.crt"
echo "other_ca=$workspace/other.crt"
echo "log=$data.log"
echo "data=$data"
echo ready
exec 1>&2
cat >/dev/null
