#!/usr/bin/env bash
# Runs rotor's tests on other major versions of PostgreSQL than the machine's own: `make test-majors` is the way to call it.
#
#   17        on Debian trixie, without the longest files of test/t, which 18 and the machine's own major run
#   18        on Debian forky
#   upgrade   pg_upgrade from 15 to 17 to 18, test/majors/*.pl, on forky with the older servers beside its own
#
# Each Debian is a folder made by debootstrap from the mirror that this machine's apt uses, or $ROTOR_MAJORS_MIRROR. They
# stay in $ROTOR_MAJORS_DIR (/var/cache/rotor) and are made anew when what belongs into them changes. Nothing is started in
# them but the tests, and no mount or process of theirs outlives the run. It takes root, or sudo without a password.
#
#   majors.sh          makes the folders that are missing, and runs the tests in them
#   majors.sh prepare  only makes the folders
#
# MAJORS chooses; TESTS, TAP, REGRESS and ISOLATION are as for test/run. The last line is 'N passed, N failed, N skipped'.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=debian.sh
source scripts/debian.sh

readonly all_majors="17 18 upgrade"
readonly cache=${ROTOR_MAJORS_DIR:-/var/cache/rotor}
readonly majors=${MAJORS:-$all_majors}
# What looks at the sources, and at what depends on no server, has been done by make test.
readonly tests=${TESTS:-build unit regress isolation tap demo}
readonly unit_targets=${ROTOR_UNIT_TARGETS:-check check-sanitize}
readonly upgraded_from=(15 17)
# Crashes at each step, leaks, odd servers, years of maintenance: half of the time of all, and the newest major has them too.
readonly newest=18 only_newest='^t/(11|13|14|15|17)'

work=

die() {
    echo "majors.sh: $*" >&2
    exit 1
}

suite_of() {
    case $1 in
        15) echo bookworm ;;
        17) echo trixie ;;
        18 | upgrade) echo forky ;;
        *) die "no major is named '$1'; there are: $all_majors" ;;
    esac
}

# The server that a folder is made for.
major_of_suite() {
    case $1 in
        trixie) echo 17 ;;
        forky) echo 18 ;;
    esac
}

# ---- the folders

# How this machine's apt reaches a mirror, for the apt of a folder.
apt_settings() {
    apt-config dump --format '%F "%v";%n' | grep -E '^Acquire::https?::' | grep -vi '::CAInfo ' || true
    [[ ! -f $1/etc/ssl/rotor-mirror.crt ]] || echo 'Acquire::https::CAInfo "/etc/ssl/rotor-mirror.crt";'
    echo 'Acquire::Check-Valid-Until "false";'
    echo 'Acquire::Retries "3";'
    echo 'APT::Install-Recommends "false";'
}

# Packages that a folder has.
folder_packages() {
    local suite=$1 major listed
    major=$(major_of_suite "$suite")
    listed=$(scripts/deps.sh --list "$major" build test) || return 1
    {
        tr ' ' '\n' <<<"$listed"
        # Other modules that judge passwords or act by the clock, for the tests that find them.
        printf '%s\n' "postgresql-$major-credcheck" "postgresql-$major-cron"
        [[ $suite != forky ]] || printf 'postgresql-%s\n' "${upgraded_from[@]}"
    } | grep -v '^postgresql-server-dev-' | sort -u
}

# Those of which it has only the files: they depend on compilers for bitcode, and rotor has none of that.
folder_unpacked() {
    local suite=$1
    echo "postgresql-server-dev-$(major_of_suite "$suite")"
    [[ $suite != forky ]] || printf 'postgresql-server-dev-%s\n' "${upgraded_from[@]}"
}

# A folder is what this says; if it says something else, the folder is made anew.
folder_recipe() {
    declare -f folder_fill folder_sources apt_settings debian_bootstrap # how it is made
    folder_packages "$1" && folder_unpacked "$1"
}

# Runs a program in a folder, with mounts, processes and shared memory of its own that end with it.
in_folder() {
    # shellcheck disable=SC2016 # the inner shell expands them
    unshare --mount --propagation private --ipc --pid --fork --kill-child bash -c '
        root=$1
        shift
        mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev" &&
            mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm" || exit 125
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
            chroot "$root" "$@"
        exit $?' in_folder "$@" </dev/null
}

folder_sources() {
    local suite=$1 from=$2 major
    echo "deb $from $suite main"
    if [[ $suite == forky ]]; then
        for major in "${upgraded_from[@]}"; do
            echo "deb $from $(suite_of "$major") main"
        done
    fi
}

# Makes a folder of a suite: folder_fill SUITE FOLDER MIRROR
folder_fill() {
    local suite=$1 root=$2 from=$3 packages unpacked
    debian_bootstrap "$suite" "$root" "$from" || return 1

    # Packages start no server here, and make no cluster; and a folder that is half made is thrown away, so nothing need sync.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    mkdir -p "$root/etc/postgresql-common/createcluster.d"
    echo 'create_main_cluster = false' >"$root/etc/postgresql-common/createcluster.d/rotor.conf"
    echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/rotor"

    if [[ $from == https:* && -f /etc/ssl/certs/ca-certificates.crt ]]; then
        cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/rotor-mirror.crt"
    fi
    apt_settings "$root" >"$root/etc/apt/apt.conf.d/90rotor"
    folder_sources "$suite" "$from" >"$root/etc/apt/sources.list"
    printf 'Package: *\nPin: release n=%s\nPin-Priority: 990\n' "$suite" >"$root/etc/apt/preferences.d/rotor"
    cp /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true

    mapfile -t packages < <(folder_packages "$suite")
    mapfile -t unpacked < <(folder_unpacked "$suite")
    in_folder "$root" apt-get -qq update || return 1
    in_folder "$root" apt-get -qq -y install "${packages[@]}" || return 1
    # shellcheck disable=SC2016 # the inner shell expands them
    in_folder "$root" bash -ec 'cd /tmp && apt-get -qq download "$@" && for file in *.deb; do dpkg -x "$file" /; done
        rm -- *.deb; apt-get clean' bash "${unpacked[@]}"
}

# Makes a folder if it is not there as it should be; the caller has locked it. On failure, $why says why.
folder_make() {
    local suite=$1 root=$cache/$1 recipe new from log=$work/$1.log

    rm -rf "$cache/$suite.new."*
    if ! recipe=$(folder_recipe "$suite"); then
        why="the packages for $suite could not be listed"
        return 1
    fi
    [[ "$(cat "$root/etc/rotor-recipe" 2>/dev/null)" != "$recipe" ]] || return 0

    from=$(debian_mirror)
    if [[ -z $from ]]; then
        why="$debian_no_mirror"
        return 1
    fi
    echo "making $root from $from"
    new=$(mktemp -d "$cache/$suite.new.XXXXXX")
    chmod 755 "$new"
    if ! folder_fill "$suite" "$new" "$from" >"$log" 2>&1; then
        why="$(grep -E '^(E|W): |[Ee]rror|denied|not permitted' "$log" | tail -n 1)"
        why="$suite could not be made from $from: ${why:-see the log}"
        tail -n 20 "$log"
        rm -rf "$new"
        return 1
    fi
    printf '%s\n' "$recipe" >"$new/etc/rotor-recipe"
    rm -rf "$root"
    mv "$new" "$root"
}

# ---- the tests

# Copies the sources into a folder, without what was built from them: copy_sources FOLDER
copy_sources() {
    mkdir -p "$1"
    tar -cf - --exclude=./.git --exclude=build --exclude='*.o' --exclude='*.d' --exclude='*.so' . | tar -xf - -C "$1"
}

# Runs test/run in a folder and notes what it counted: run_tests NAME ROOT SOURCES MAJOR VARIABLE...
run_tests() {
    local name=$1 root=$2 sources=$3 major=$4 counts=(0 1 0) line
    shift 4

    rm -f "$root$sources/build/test-result"
    # Two folders share the machine.
    in_folder "$root" env ROTOR_UNIT_TARGETS="$unit_targets" ROTOR_TEST_JOBS="${ROTOR_TEST_JOBS:-2}" make -C "$sources" --no-print-directory test-only \
        PG_CONFIG="/usr/lib/postgresql/$major/bin/pg_config" "$@" 2>&1 || true
    if line=$(cat "$root$sources/build/test-result" 2>/dev/null) &&
        [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]]; then
        counts=("${BASH_REMATCH[@]:1}")
    else
        echo "FAILED test/run ended without a result"
    fi
    echo "${counts[*]}" >>"$work/$name.counts"
}

run_major() {
    local major=$1 root=$2 variables=(TESTS="$tests") files=${TAP:-}

    [[ -n $files || $major == "$newest" ]] || files=$(cd test && printf '%s ' t/*.pl | tr ' ' '\n' | grep -vE "$only_newest" | tr '\n' ' ')
    [[ -z $files ]] || variables+=(TAP="$files")
    [[ -z ${REGRESS:-} ]] || variables+=(REGRESS="$REGRESS")
    [[ -z ${ISOLATION:-} ]] || variables+=(ISOLATION="$ISOLATION")
    copy_sources "$root/tmp/rotor-majors/rotor"
    run_tests "$major" "$root" /tmp/rotor-majors/rotor "$major" "${variables[@]}"
}

# The older servers have rotor too, each of their own build.
run_upgrade() {
    local root=$1 major counts=(0 0 0)

    for major in "${upgraded_from[@]}"; do
        copy_sources "$root/tmp/rotor-majors/$major"
        if in_folder "$root" make -C "/tmp/rotor-majors/$major" --no-print-directory -s -j2 install WERROR=1 \
            PG_CONFIG="/usr/lib/postgresql/$major/bin/pg_config" 2>&1; then
            counts[0]=$((counts[0] + 1))
        else
            echo "FAILED rotor does not build for $major"
            counts[1]=$((counts[1] + 1))
        fi
    done
    echo "${counts[*]}" >>"$work/upgrade.counts"
    copy_sources "$root/tmp/rotor-majors/rotor"
    run_tests upgrade "$root" /tmp/rotor-majors/rotor 18 TESTS=tap TAP="$(cd test && echo majors/*.pl)"
}

# Does what is to be done in one folder: folder_job SUITE MAJOR...
folder_job() {
    local suite=$1 root=$cache/$1 major why=
    shift

    exec 9>"$cache/$suite.lock"
    flock -n 9 || { echo "waiting for another run in $root" && flock 9; }
    if ! folder_make "$suite"; then
        for major in "$@"; do
            echo "FAILED $why"
            echo "0 1 0" >>"$work/$major.counts"
        done
        return
    fi
    [[ $action == run ]] || return 0
    # What an earlier run has kept for its reader, or was killed in.
    rm -rf "$root"/tmp/rotor-*
    for major in "$@"; do
        if [[ $major == upgrade ]]; then
            run_upgrade "$root"
        else
            run_major "$major" "$root"
        fi
    done
}

# ---- all of them

finish() {
    local pid
    trap '' INT TERM HUP
    for pid in $(jobs -p); do
        kill -- "-$pid" 2>/dev/null || true
    done
    wait || true
    rm -rf "$work"
}

without_root() {
    local count
    count=$(wc -w <<<"$majors")
    echo "rotor: a Debian of its own for each major version takes root, or sudo without a password: skipped $majors" >&2
    echo "0 passed, 0 failed, $count skipped"
}

main() {
    local suite major wanted passed=0 failed=0 skipped=0 p f s
    action=${1:-run}
    [[ $action == run || $action == prepare ]] || die "unknown action '$action'"
    for major in $majors; do
        suite_of "$major" >/dev/null
    done

    if ((EUID != 0)); then
        if sudo -n true 2>/dev/null; then
            exec sudo -n env "MAJORS=$majors" "TESTS=$tests" "TAP=${TAP:-}" "REGRESS=${REGRESS:-}" \
                "ISOLATION=${ISOLATION:-}" "ROTOR_MAJORS_DIR=$cache" "ROTOR_UNIT_TARGETS=$unit_targets" \
                "ROTOR_MAJORS_MIRROR=${ROTOR_MAJORS_MIRROR:-}" "http_proxy=${http_proxy:-}" scripts/majors.sh "$@"
        fi
        without_root
        return
    fi

    work=$(mktemp -d)
    trap finish EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    mkdir -p "$cache"

    # The folders side by side, each a process group, so that an interrupt can end it.
    set -m
    for suite in trixie forky; do
        wanted=()
        for major in $majors; do
            [[ $(suite_of "$major") != "$suite" ]] || wanted+=("$major")
        done
        ((${#wanted[@]} == 0)) || { folder_job "$suite" "${wanted[@]}" 2>&1 | sed -u "s/^/$suite  /"; } &
    done
    set +m
    wait || true
    [[ $action == run ]] || return 0

    for major in $majors; do
        p=0 f=0 s=0
        [[ -s $work/$major.counts ]] || echo "0 1 0" >"$work/$major.counts" # it ended before it counted
        while read -r a b c; do
            p=$((p + a)) f=$((f + b)) s=$((s + c))
        done <"$work/$major.counts"
        printf '== %-10s %5d passed, %d failed, %d skipped\n' "$major" "$p" "$f" "$s"
        passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    done
    echo "$passed passed, $failed failed, $skipped skipped"
    ((failed == 0))
}

main "$@"
