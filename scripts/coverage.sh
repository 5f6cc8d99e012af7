#!/usr/bin/env bash
# Which lines of the C code do the tests run? `make coverage` is the way to call it.
#
# Builds from a copy of the sources, in build/coverage, installs into a copy of the PostgreSQL installation, and runs the
# tests there; the usual build, and what is installed, are not touched. Writes build/coverage/missed (each line that never
# ran) and build/coverage/html. The last line is 'coverage: NN.N % of N lines (limit 90 %)'; below the limit, or if a test
# failed, the script fails.
#
# TESTS, TAP, REGRESS and ISOLATION choose, as for `make test`; fewer tests mean fewer lines. In this build calls can be made
# to fail (test/faults/fault.h), so the tests of test/faults run here, and only here.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=cluster.sh
source scripts/cluster.sh

readonly limit=90      # per cent of all lines of src/ and common/
readonly file_limit=80 # a file with less is pointed out
# Files of test/t that take more than half of the time of all and run few lines that no other runs: crashes at each step,
# leaks, whole runbooks, dumps and restores, years of maintenance, other modules. They run in `make test`.
readonly left_out='^(11|13|14|15|17|2)[0-9]*_'
readonly make=${MAKE:-make}
readonly folder=$PWD/build/coverage
readonly tree=$folder/rotor
readonly report=$folder/coverage.info

# Processes of two users count, in folders that both can write to, and whose names the compiler has noted.
prepare_counters() {
    local mirror=$workspace/counters

    (cd "$tree" && find src common test -type d -print0) | while IFS= read -r -d '' path; do
        mkdir -p "$mirror$tree/$path"
    done
    mkdir -p "$mirror$tree/test/unit/build/plain"
    chmod -R a+rwX "$mirror"
    export GCOV_PREFIX=$mirror
}

# The counters are useful beside the compiler's notes only. Prints nothing unless something goes wrong.
collect() {
    local log=$folder/lcov.log

    cp -r "$GCOV_PREFIX$tree/." "$tree/"
    if ! {
        lcov --capture --directory "$tree" --no-external --output-file "$folder/all.info" &&
            lcov --extract "$folder/all.info" "$tree/src/*" "$tree/common/*" --output-file "$report"
    } >"$log" 2>&1; then
        cat "$log" >&2
        die "lcov failed"
    fi
}

# A heading, one line a file, the worst first, and the total; sets $total, $lines.
print_table() {
    printf '%15s  %s\n' 'lines that ran' file
    awk -F '[:,]' -v prefix="$tree/" -v limit="$file_limit" '
        $1 == "SF" { file = substr($2, length(prefix) + 1) }
        $1 == "LF" { found[file] = $2 }
        $1 == "LH" { hit[file] = $2 }
        END {
            for (file in found)
                if (found[file] > 0)
                    printf "%6.1f %% of %5d lines  %s%s\n", 100 * hit[file] / found[file], found[file], file,
                        100 * hit[file] < limit * found[file] ? "  (below " limit " %)" : ""
        }' "$report" | sort -n
    read -r total lines < <(awk -F '[:,]' '
        $1 == "LF" { found += $2 }
        $1 == "LH" { hit += $2 }
        END { printf "%.1f %d\n", found ? int(1000 * hit / found) / 10 : 0, found }' "$report")
}

# Each line that never ran, with its text.
list_missed() {
    local file line
    awk -F '[:,]' '$1 == "SF" { file = $2 } $1 == "DA" && $3 == 0 { print file ":" $2 }' "$report" |
        while IFS=: read -r file line; do
            printf '%s:%d:%s\n' "${file#"$tree"/}" "$line" "$(sed -n "${line}p" "$file")"
        done >"$folder/missed"
}

# A wrapper that none of our calls goes through makes nothing fail: its function has another name now.
check_wrappers() {
    local name called failed=0
    called=$(nm -u "$tree"/src/*.o "$tree"/common/*.o)
    while read -r name; do
        grep -qE " U $name$" <<<"$called" && continue
        echo "test/faults: nothing calls $name, which has a wrapper" >&2
        failed=1
    done < <(sed -nE 's/^WRAP\([a-z]+, [^,]+, (\w+),.*/\1/p; s/^WRAPPED\([^,]+, (\w+),.*/\1/p' test/faults/wrap_*.c)
    return "$failed"
}

tap_files() {
    local file
    for file in test/faults/*.pl test/t/*.pl; do # the longest first
        [[ $file == test/t/* && ${file##*/} =~ $left_out ]] || echo "${file#test/}"
    done
}

main() {
    local status=0 total lines files

    workspace_make coverage
    rm -rf "$folder"
    scripts/copy-sources.sh "$tree"
    prepare_counters
    PG_CONFIG=$(scripts/copy-server.sh "$workspace/pg")

    mapfile -t files < <(tap_files)
    # The sanitizers have their own run; here they would only take time.
    env -u MAKEFLAGS -C "$tree" COVERAGE=1 ROTOR_UNIT_TARGETS=check PG_CONFIG="$PG_CONFIG" \
        "$make" --no-print-directory test TESTS="${TESTS:-unit regress isolation tap}" \
        TAP="${TAP:-${files[*]}}" ${REGRESS:+REGRESS="$REGRESS"} ${ISOLATION:+ISOLATION="$ISOLATION"} || status=$?

    check_wrappers || status=1
    collect
    print_table
    list_missed
    if command -v genhtml >/dev/null; then
        genhtml --quiet --prefix "$tree" --output-directory "$folder/html" "$report" >"$folder/genhtml.log" 2>&1
    fi

    if ((status != 0)); then
        workspace_keep # the logs of what failed are in it
        echo "coverage: a test failed in the build that counts lines"
    fi
    echo "coverage: $total % of $lines lines (limit $limit %)"
    ((status == 0 && ${total%.*} >= limit))
}

main "$@"
