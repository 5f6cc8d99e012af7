#!/usr/bin/env bash
# A throw-away MySQL peer for test/worker, out of a Debian folder that has mysql-server-core (Debian has MySQL in sid only):
# $ROTOR_MYSQL_ROOT, or /var/cache/rotor/mysql. Without such a folder, or without root, it prints absent=REASON, and the
# tests are skipped. Otherwise as mariadb.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
. scripts/cluster.sh
. test/worker/peers/certificates.sh

root=${ROTOR_MYSQL_ROOT:-/var/cache/rotor/mysql}
reason=
[[ -x $root/usr/sbin/mysqld ]] || reason="no MySQL in $root"
((EUID == 0)) || reason="only root can enter $root"
if [[ -n $reason ]]; then
    printf 'absent=%s\nready\n' "$reason"
    exit 0
fi

workspace_make peer
data=$workspace/my
as_server_user mkdir "$data.files"
certificates_make "$data.files"
ids=$(id -u postgres):$(id -g postgres)

# The folder has the workspace at /mnt, in a mount of this process alone; what runs has this process's number.
in_root() {
    # shellcheck disable=SC2016 # the inner shell expands them
    exec unshare --mount --propagation private bash -c 'mount --bind "$1" "$2/mnt" && exec env -i PATH=/usr/sbin:/usr/bin \
        chroot --userspec="$3" "$2" "${@:4}"' in_root "$workspace" "$root" "$ids" "$@"
}

(in_root mysqld --no-defaults --initialize-insecure --secure-file-priv= --datadir=/mnt/my --innodb-redo-log-capacity=8M \
    --innodb-buffer-pool-size=16M </dev/null >"$workspace/install.log" 2>&1) || { cat "$workspace/install.log" >&2; exit 1; }

port=$(free_port)
(in_root mysqld --no-defaults --secure-file-priv= --datadir=/mnt/my --socket=/mnt/s/my.sock --port="$port" --bind-address=127.0.0.1 \
    --mysqlx=OFF --skip-name-resolve --pid-file=/mnt/my.pid --innodb-redo-log-capacity=8M --innodb-buffer-pool-size=16M \
    --innodb-flush-log-at-trx-commit=0 --performance-schema=OFF --ssl-ca=/mnt/ca.crt \
    --ssl-cert=/mnt/my.files/server.crt --ssl-key=/mnt/my.files/server.key --general-log \
    --general-log-file=/mnt/general.log --log-error=/mnt/error.log </dev/null >/dev/null 2>&1) &
workspace_job=$!

run_sql() {
    as_server_user mariadb --no-defaults --batch --socket="$workspace/s/my.sock" --user=root "$@"
}

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
GRANT CREATE USER, PROCESS, CONNECTION_ADMIN, APPLICATION_PASSWORD_ADMIN ON *.* TO 'admin'@'%';
GRANT SELECT ON mysql.* TO 'admin'@'%';
CREATE USER 'app'@'%' IDENTIFIED BY 'app-password';
CREATE USER 'app'@'127.0.0.1' IDENTIFIED BY 'app-password';
CREATE USER 'dual'@'%' IDENTIFIED BY 'dual-password';
CREATE USER 'own'@'%' IDENTIFIED BY 'own-password';
CREATE USER 'we"ird ''r\\ole %s `x`'@'%' IDENTIFIED BY 'weird-password';
CREATE USER 'plain'@'%' IDENTIFIED BY 'plain-password';
GRANT SELECT, INSERT, CREATE ON shop.* TO 'plain'@'%';
CREATE USER 'locked'@'%' IDENTIFIED BY 'locked-password' ACCOUNT LOCK;
CREATE USER 'outdated'@'%' IDENTIFIED BY 'outdated-password' PASSWORD EXPIRE;
SQL

echo "port=$port"
echo "socket=$workspace/s/my.sock"
echo "ca=$workspace/ca.crt"
echo "log=$workspace/general.log"
echo ready
exec 1>&2
cat >/dev/null
