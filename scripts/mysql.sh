#!/usr/bin/env bash
# Makes /var/cache/rotor/mysql, or $ROTOR_MYSQL_ROOT: a folder with a MySQL server, which Debian has in sid only, for the
# worker's tests. By debootstrap, from the mirror that this machine's apt uses, or $ROTOR_MAJORS_MIRROR. Nothing is done if
# it is there; nothing is started in it. It takes root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=debian.sh
source scripts/debian.sh

readonly folder=${ROTOR_MYSQL_ROOT:-/var/cache/rotor/mysql}

[[ ! -x $folder/usr/sbin/mysqld ]] || exit 0
((EUID == 0)) || { echo "mysql.sh: only root can make $folder" >&2; exit 1; }
from=$(debian_mirror)
[[ -n $from ]] || { echo "mysql.sh: $debian_no_mirror" >&2; exit 1; }

mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock"
flock 9
[[ ! -x $folder/usr/sbin/mysqld ]] || exit 0 # another run has just made it
rm -rf "$folder.new."*
new=$(mktemp -d "$folder.new.XXXXXX")
trap 'rm -rf "$new"' EXIT
chmod 755 "$new"
debian_bootstrap sid "$new" "$from" --include=mysql-server-core
rm -rf "$new/var/cache/apt/archives"/*.deb "$folder"
mv "$new" "$folder"
