#!/usr/bin/env bash
# Proves the Debian packages: they build from a copy of the checkout, lintian finds no error, they hold what they should,
# and a server that has nothing of rotor but a package's files rotates a role. Prints TAP; test/run counts it.
#
# shellcheck disable=SC2317 # holds() calls functions by their names
#
# Nothing is installed: a package is unpacked over a copy of the server's files in a folder that is removed afterwards.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=../scripts/cluster.sh
source scripts/cluster.sh

if ! command -v dpkg-buildpackage >/dev/null; then
    echo "ok 1 - the packages # SKIP this is not a Debian system"
    exit 0
fi

number=0
failed=0

# holds NAME COMMAND...: what a function does is joined by &&, for bash looks at its last command only
holds() {
    local name=$1 status=0
    shift
    "$@" >"$workspace/check.log" 2>&1 || status=$?
    number=$((number + 1))
    if ((status == 0)); then
        echo "ok $number - $name"
        return 0
    fi
    echo "not ok $number - $name"
    tail -n 60 "$workspace/check.log"
    failed=1
    return 1
}

# What a package for this version has to hold; nothing else but the pages of docs/ may be in it.
wanted_files() {
    local version=$1 file doc=/usr/share/doc/postgresql-$1-rotor

    echo "/usr/lib/postgresql/$version/lib/rotor.so"
    for file in rotor.control rotor--*.sql; do
        echo "/usr/share/postgresql/$version/extension/$file"
    done
    echo "/usr/share/postgresql/$version/man/man7/rotor.7.gz"
    printf '%s\n' "$doc/README.md" "$doc/changelog" "$doc/changelog.Debian" "$doc/copyright"
    for file in docs/*.md docs/model/*; do
        echo "$doc/$file"
    done
}

# The same list of what is in it, whether or not debhelper has compressed a page.
contained_files() {
    dpkg-deb --fsys-tarfile "$1" | tar -tf - | sed -nE -e '/\/$/d' -e 's/^\.//' \
        -e '/^\/usr\/share\/doc\//s/\.gz$//' -e p
}

holds_what_it_should() {
    diff <(wanted_files "$2" | sort) <(contained_files "$1" | sort)
}

depends_on_its_server() {
    dpkg-deb --field "$1" Depends | tee /dev/stderr | grep -qE "(^|, )postgresql-$2( |,|\$)"
}

# man(1) looks for the page by an alternative, which belongs to no package: two packages do not meet.
offers_its_page() {
    local scripts=$workspace/scripts-$2
    dpkg-deb --control "$1" "$scripts" &&
        grep -F "/usr/share/postgresql/$2/man/man7/rotor.7.gz" "$scripts/postinst" &&
        grep -F "/usr/share/postgresql/$2/man/man7/rotor.7.gz" "$scripts/prerm"
}

# The worker's: nothing of the server, and nothing that runs before it is set up.
worker_files() {
    local file doc=/usr/share/doc/rotor-worker

    printf '%s\n' /usr/bin/rotor /lib/systemd/system/rotor-worker.service /usr/share/man/man1/rotor.1.gz \
        "$doc/README.md" "$doc/changelog" "$doc/changelog.Debian" "$doc/copyright"
    for file in docs/*.md docs/model/*; do
        echo "$doc/$file"
    done
}

worker_holds_what_it_should() {
    diff <(worker_files | sort) <(contained_files "$1" | sort)
}

worker_runs() {
    local version
    version=$(sed -n "s/^default_version = '\(.*\)'/\1/p" rotor.control)
    dpkg-deb --extract "$1" "$workspace/worker" && [[ $("$workspace/worker/usr/bin/rotor" --version) == "rotor $version" ]]
}

worker_is_not_enabled() {
    dpkg-deb --control "$1" "$workspace/worker-scripts" && grep -F 'adduser ' "$workspace/worker-scripts/postinst" &&
        grep -F "was-enabled 'rotor-worker.service'" "$workspace/worker-scripts/postinst" &&
        ! dpkg-deb --fsys-tarfile "$1" | tar -tf - | grep -F '.wants/'
}

# The server's files with the package's: the only rotor that this server can find is the package's.
unpack() {
    local package=$1 version=$2 root=$3

    mkdir -p "$root/usr/lib/postgresql" "$root/usr/share/postgresql" &&
        cp -a "/usr/lib/postgresql/$version" "$root/usr/lib/postgresql/" &&
        cp -a "/usr/share/postgresql/$version" "$root/usr/share/postgresql/" &&
        rm -f "$root/usr/lib/postgresql/$version/lib/rotor.so" "$root/usr/share/postgresql/$version/extension"/rotor* &&
        dpkg-deb --extract "$package" "$root"
}

# sql QUERY: one row, unaligned
sql() {
    as_server_user psql -X -A -t -q -v ON_ERROR_STOP=1 -c "$1"
}

starts() {
    cluster_make "$1" fast && cluster_start "$1"
}

rotates() {
    local password

    sql 'CREATE EXTENSION rotor' && sql 'CREATE ROLE app_user LOGIN' &&
        [[ $(sql "SELECT status FROM rotor.rotate('app_user')") == success ]] &&
        password=$(sql "SELECT rotor.get_secret('app_user') ->> 'password'") &&
        [[ $(PGPASSWORD=$password PGHOST=127.0.0.1 PGUSER=app_user sql 'SELECT current_user') == app_user ]]
}

# Each worker counts once it has reached its database.
workers_are_well() {
    [[ $(sql "SELECT status FROM rotor.health() WHERE check_name = 'workers'") == ok ]]
}

rotates_preloaded() {
    cluster_stop "$1" && cluster_start "$1" "shared_preload_libraries = 'rotor'" &&
        [[ $(sql "SELECT status FROM rotor.rotate('app_user')") == success ]] &&
        comes_true workers_are_well
}

workspace_make package
if ! holds "the packages build" scripts/deb.sh "$workspace/deb"; then
    exit 1
fi
if command -v lintian >/dev/null; then
    holds "lintian finds no error" lintian --fail-on error --allow-root "$workspace"/deb/*.changes || true
else
    number=$((number + 1))
    echo "ok $number - lintian finds no error # SKIP lintian is not installed"
fi

for package in "$workspace"/deb/postgresql-*-rotor_*.deb; do
    version=$(basename "$package" | sed 's/^postgresql-\([0-9]*\)-.*/\1/')
    name=postgresql-$version-rotor
    holds "$name holds the library, the SQL, the pages and the manual page" holds_what_it_should "$package" "$version" || true
    holds "$name depends on its server" depends_on_its_server "$package" "$version" || true
    holds "$name offers its manual page to man" offers_its_page "$package" "$version" || true
    if [[ ! -x /usr/lib/postgresql/$version/bin/postgres ]]; then
        number=$((number + 1))
        echo "ok $number - $name on its server # SKIP postgresql-$version is not installed"
        continue
    fi
    holds "$name unpacks over its server" unpack "$package" "$version" "$workspace/root-$version" || continue
    PATH="$workspace/root-$version/usr/lib/postgresql/$version/bin:$PATH"
    holds "a server with $name starts" starts "$workspace/data-$version" || continue
    holds "CREATE EXTENSION and rotate() work from $name" rotates || true
    holds "and so they do where $name is preloaded" rotates_preloaded "$workspace/data-$version" || true
    cluster_stop "$workspace/data-$version"
done

package=$(echo "$workspace"/deb/rotor-worker_*.deb)
holds "rotor-worker holds the program, its unit and its pages" worker_holds_what_it_should "$package" || true
holds "its program runs" worker_runs "$package" || true
holds "its service is there for whoever enables it" worker_is_not_enabled "$package" || true

((failed == 0)) || workspace_keep
exit "$failed"
