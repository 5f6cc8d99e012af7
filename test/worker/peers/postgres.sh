#!/usr/bin/env bash
# A throw-away PostgreSQL peer for test/worker: a cluster of its own with TLS and a pg_hba.conf of many kinds, an
# administrator who is no superuser, and accounts as strange as allowed. Prints name=value lines and "ready"; ends,
# and leaves nothing behind, when its standard input is closed.
#
# If there is a pgbouncer ($ROTOR_PGBOUNCER, or in the path), one in transaction mode stands before the server.
# $ROTOR_PEER_MAJOR chooses another major version, as root, out of the folders that scripts/majors.sh makes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
. scripts/cluster.sh
. test/worker/peers/certificates.sh

workspace_make peer
data=$workspace/pg
as_server_user mkdir "$workspace/files"
certificates_make "$workspace/files"

# The folder has the workspace in its own place, in mounts of what runs there alone.
use_folder() {
    local root=$1 bin=$2 ids

    ids=$(id -u postgres):$(id -g postgres)
    # shellcheck disable=SC2016 # the inner shell expands them
    server_user=(unshare --mount --propagation private bash -c 'mount -t tmpfs tmpfs "$2/tmp" && mkdir -p "$2$1" &&
        mount --bind "$1" "$2$1" && mount --rbind /dev "$2/dev" && mount --bind /etc/passwd "$2/etc/passwd" &&
        exec env PATH="$4:/usr/sbin:/usr/bin" LC_ALL=C chroot --userspec="$3" "$2" "${@:5}"' use_folder "$workspace" "$root" "$ids" "$bin")
}

if [[ -n ${ROTOR_PEER_MAJOR:-} ]]; then
    for root in "${ROTOR_MAJORS_DIR:-/var/cache/rotor}"/*; do
        [[ -x $root/usr/lib/postgresql/$ROTOR_PEER_MAJOR/bin/postgres ]] || continue
        use_folder "$root" "/usr/lib/postgresql/$ROTOR_PEER_MAJOR/bin"
        break
    done
    [[ ${server_user[0]} == unshare ]] || die "no folder has PostgreSQL $ROTOR_PEER_MAJOR"
fi

cluster_make "$data" fast
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

cluster_start "$data" "ssl = on" "ssl_cert_file = '$workspace/files/server.crt'" \
    "ssl_key_file = '$workspace/files/server.key'" "log_statement = all" "log_min_duration_statement = 0" "log_connections = on" \
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
CREATE ROLE foreign_app LOGIN PASSWORD 'foreign-password';
GRANT app, nologin, "we""ird 'r\ole %s $1" TO admin WITH ADMIN OPTION;
CREATE ROLE lazy LOGIN PASSWORD 'lazy-password';
ALTER ROLE lazy SET synchronous_commit = off;
CREATE DATABASE closed ALLOW_CONNECTIONS false;
CREATE DATABASE barred;
REVOKE CONNECT ON DATABASE barred FROM PUBLIC;
CREATE TABLE public.seen (n int);
GRANT SELECT, INSERT ON public.seen TO app;
SQL

# Asks the server for the verifiers, so that it knows each new password at once.
start_bouncer() {
    local port
    port=$(free_port)
    cat >"$workspace/files/bouncer.ini" <<INI
[databases]
postgres = host=$PGHOST port=$PGPORT dbname=postgres auth_user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $port
unix_socket_dir =
auth_type = scram-sha-256
auth_file = $workspace/files/bouncer.users
auth_query = SELECT usename, passwd FROM pg_shadow WHERE usename = \$1
pool_mode = transaction
INI
    echo '"postgres" ""' >"$workspace/files/bouncer.users"
    (exec "${server_user[@]}" "$1" -q "$workspace/files/bouncer.ini" </dev/null >"$workspace/bouncer.log" 2>&1) &
    workspace_job=$!
    for _ in {1..100}; do
        if (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "bouncer=$port"
            return
        fi
        kill -0 "$workspace_job" 2>/dev/null || break
        sleep 0.1
    done
    cat "$workspace/bouncer.log" >&2
    die "pgbouncer did not start"
}

bouncer=${ROTOR_PGBOUNCER:-$(PATH=$PATH:/usr/sbin command -v pgbouncer || true)}
if [[ -n $bouncer && -z ${ROTOR_PEER_MAJOR:-} ]]; then
    start_bouncer "$bouncer"
fi

echo "port=$PGPORT"
echo "socket=$PGHOST"
echo "ca=$workspace/ca.crt"
echo "other_ca=$workspace/other.crt"
echo "log=$data.log"
echo "data=$data"
echo ready
exec 1>&2
cat >/dev/null
