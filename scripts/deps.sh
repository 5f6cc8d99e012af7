#!/usr/bin/env bash
# Installs the Debian packages that rotor needs and that are missing:
#
#   deps.sh PART...               parts are build, worker, test, analysis, model, package, coverage, majors
#   deps.sh --list MAJOR PART...  prints those that a Debian with nothing of that server needs, and installs none
#
# Nothing is done, and nothing downloaded, when all are there. A server package that is installed here makes no
# cluster; one that is running already is neither upgraded nor restarted, one that is stopped stays so.
set -euo pipefail

export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1

listed_major=

# The major version that is asked for, or that pg_config speaks of, or Debian's own.
server_major() {
    local version
    if [[ -n $listed_major ]]; then
        echo "$listed_major"
        return
    fi
    version=$("${PG_CONFIG:-pg_config}" --version 2>/dev/null) || version=
    if [[ $version =~ ^PostgreSQL\ ([0-9]+) ]]; then
        echo "${BASH_REMATCH[1]}"
    else
        echo 15
    fi
}

# Is there a whole server with its headers, from whatever source?
server_is_there() {
    local config=${PG_CONFIG:-pg_config}
    [[ -z $listed_major && -x "$("$config" --bindir 2>/dev/null)/postgres" && -f "$("$config" --pgxs 2>/dev/null)" &&
        -f "$("$config" --includedir-server 2>/dev/null)/postgres.h" ]]
}

wanted_packages() {
    local part major
    major=$(server_major)
    for part in "$@"; do
        case $part in
            build)
                echo build-essential libkrb5-dev libpq-dev libssl-dev
                server_is_there || echo "postgresql-$major" "postgresql-server-dev-$major"
                ;;
            worker)
                echo build-essential libcjson-dev libcurl4-openssl-dev libinih-dev libmariadb-dev libmicrohttpd-dev
                echo libpq-dev libssl-dev pkg-config
                ;;
            test)
                wanted_packages worker
                echo libcmocka-dev libipc-run-perl locales openssl
                # Peers of the worker's tests: programs only, no service of the system. python3-venv is for scripts/moto.sh.
                echo mariadb-client-core mariadb-server-core python3 python3-venv
                # For scripts/mysql.sh.
                wanted_packages majors
                # A server that is not Debian's brings its own pgaudit or does without.
                if ! server_is_there || is_installed "postgresql-$major"; then
                    echo "postgresql-$major-pgaudit"
                    # Not in every release of Debian; tests say what they leave out without it.
                    ! apt-cache show "postgresql-$major-cron" >/dev/null 2>&1 || echo "postgresql-$major-cron"
                fi
                # Likewise: for test/t/290_patroni.pl, less than a megabyte.
                ! apt-cache show patroni python3-pysyncobj >/dev/null 2>&1 || echo patroni python3-pysyncobj
                ;;
            analysis)
                echo clang-14 clang-format-14 clang-tidy-14 cppcheck git libclang-rt-14-dev mandoc shellcheck valgrind
                ;;
            model) echo gcc spin ;;
            package)
                wanted_packages worker
                echo debhelper lintian postgresql-server-dev-all
                ;;
            coverage) echo lcov ;;
            majors) echo debian-archive-keyring debootstrap ;;
            *)
                echo "deps.sh: unknown part '$part'" >&2
                return 1
                ;;
        esac
    done
}

is_installed() {
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# Runs a command as root; main has made sure that this is possible.
as_root() {
    if ((EUID == 0)); then
        "$@"
    else
        sudo -n env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 "$@"
    fi
}

# Installing a server package would make a cluster named main, and start it and those that are stopped.
# postgresql-common reads the one file, invoke-rc.d the other.
no_main_cluster=/etc/postgresql-common/createcluster.d/rotor-no-main-cluster.conf
no_start=/usr/sbin/policy-rc.d

leave_clusters_alone() {
    trap clusters_as_before EXIT
    as_root mkdir -p "${no_main_cluster%/*}"
    echo 'create_main_cluster = false' | as_root tee "$no_main_cluster" >/dev/null
    if [[ -e $no_start ]]; then
        no_start=
    else
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$no_start" >/dev/null
        as_root chmod 755 "$no_start"
    fi
}

clusters_as_before() {
    as_root rm -f "$no_main_cluster"
    as_root rmdir --ignore-fail-on-non-empty "${no_main_cluster%/*}"
    [[ -z $no_start ]] || as_root rm -f "$no_start"
}

# One source of packages that does not answer need not be one of those that matter, so failing is no error yet.
update_lists() {
    as_root apt-get -qq update || true
}

can_install() {
    apt-get -s install --no-install-recommends "$@" >/dev/null 2>&1
}

install_packages() {
    as_root apt-get -qq -y install --no-install-recommends "$@"
}

# Would installing the packages also replace, and so restart, a server that is running?
refuse_server_upgrade() {
    local package upgraded
    upgraded=$(apt-get -s install --no-install-recommends "$@" | sed -nE 's/^Inst (postgresql-[0-9]+) \[.*/\1/p')
    for package in $upgraded; do
        if pg_lsclusters -h 2>/dev/null | grep -qE "^${package#postgresql-} .* online"; then
            echo "rotor: installing $* would upgrade and restart $package." >&2
            echo "Do that at a time of your choosing, then run make again." >&2
            return 1
        fi
    done
}

main() {
    local package missing=()

    if [[ ${1:-} == --list ]]; then
        listed_major=$2
        shift 2
        wanted_packages "$@"
        return
    fi
    if ! command -v dpkg-query >/dev/null; then
        echo "rotor: not a Debian system; packages are not checked." >&2
        return 0
    fi
    for package in $(wanted_packages "$@"); do
        is_installed "$package" || missing+=("$package")
    done
    ((${#missing[@]} > 0)) || return 0

    if ((EUID != 0)) && ! sudo -n true 2>/dev/null; then
        echo "rotor: these packages are missing, and neither root nor sudo without a password is at hand:" >&2
        echo "    apt-get install ${missing[*]}" >&2
        return 1
    fi

    echo "== installing ${missing[*]}"
    # The lists may be absent or out of date; new ones are asked for only then.
    can_install "${missing[@]}" || update_lists
    refuse_server_upgrade "${missing[@]}"
    leave_clusters_alone
    if ! install_packages "${missing[@]}" >/dev/null 2>&1; then
        update_lists
        install_packages "${missing[@]}"
    fi
}

main "$@"
