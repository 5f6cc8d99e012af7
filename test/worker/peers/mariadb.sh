#!/usr/bin/env bash
# A throw-away MariaDB peer for test/worker: a server of its own with TLS, an administrator without SUPER, and accounts of
# each plugin and of strange names. Prints name=value lines and "ready"; ends, and leaves nothing behind, when its standard
# input is closed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
. scripts/cluster.sh
. test/worker/peers/certificates.sh

workspace_make peer
data=$workspace/my
socket=$workspace/s/my.sock

run_sql() {
    as_server_user mariadb --no-defaults --batch --socket="$socket" --user=root "$@"
}

as_server_user mariadb-install-db --no-defaults --datadir="$data" --auth-root-authentication-method=normal \
    --skip-test-db >"$workspace/install.log" 2>&1 || { cat "$workspace/install.log" >&2; exit 1; }
certificates_make "$data"

port=$(free_port)
(exec "${server_user[@]}" mariadbd --no-defaults --datadir="$data" --socket="$socket" --port="$port" \
    --bind-address=127.0.0.1 --skip-name-resolve --pid-file="$workspace/my.pid" --innodb-buffer-pool-size=16M \
    --innodb-log-file-size=4M --innodb-flush-log-at-trx-commit=0 --plugin-load-add=auth_ed25519 \
    --plugin-load-add=auth_socket --ssl-ca="$workspace/ca.crt" --ssl-cert="$data/server.crt" \
    --ssl-key="$data/server.key" --general-log --general-log-file="$workspace/general.log" \
    --log-warnings=2 --log-error="$workspace/error.log" </dev/null >/dev/null 2>&1) &
workspace_job=$!

for _ in {1..600}; do
    run_sql -e 'SELECT 1' >/dev/null 2>&1 && break
    kill -0 "$workspace_job" 2>/dev/null || { cat "$workspace/error.log" >&2; exit 1; }
    sleep 0.1
done

run_sql >"$workspace/sql.log" 2>&1 <<'SQL' || { cat "$workspace/sql.log" >&2; exit 1; }
CREATE DATABASE shop;
CREATE DATABASE barred;
CREATE TABLE shop.seen (n int);
CREATE USER 'admin'@'%' IDENTIFIED BY 'admin-password';
GRANT CREATE USER, PROCESS, CONNECTION ADMIN ON *.* TO 'admin'@'%';
GRANT SELECT, UPDATE ON mysql.* TO 'admin'@'%';
CREATE USER 'chief'@'%' IDENTIFIED BY 'chief-password';
GRANT ALL ON *.* TO 'chief'@'%';
CREATE USER 'app'@'%' IDENTIFIED BY 'app-password';
CREATE USER 'app'@'127.0.0.1' IDENTIFIED BY 'app-password';
CREATE USER 'app'@'10.1.2.3' IDENTIFIED BY 'app-password';
CREATE USER 'own'@'%' IDENTIFIED BY 'own-password';
CREATE USER 'curve'@'%' IDENTIFIED VIA ed25519 USING PASSWORD('curve-password');
CREATE USER 'owncurve'@'%' IDENTIFIED VIA ed25519 USING PASSWORD('curve-password');
CREATE USER 'local'@'%' IDENTIFIED VIA unix_socket;
CREATE USER 'we"ird ''r\\ole %s `x`'@'%' IDENTIFIED BY 'weird-password';
CREATE USER 'plain'@'%' IDENTIFIED BY 'plain-password';
GRANT SELECT, INSERT, CREATE ON shop.* TO 'plain'@'%';
CREATE USER 'locked'@'%' IDENTIFIED BY 'locked-password' ACCOUNT LOCK;
CREATE USER 'crowded'@'%' IDENTIFIED BY 'crowded-password' WITH MAX_USER_CONNECTIONS 1;
CREATE USER 'secure'@'%' IDENTIFIED BY 'secure-password' REQUIRE SSL;
CREATE USER ''@'%' IDENTIFIED BY 'anonymous-password';
SQL

echo "port=$port"
echo "socket=$socket"
echo "ca=$workspace/ca.crt"
echo "other_ca=$workspace/other.crt"
echo "log=$workspace/general.log"
echo ready
exec 1>&2
cat >/dev/null
