#!/usr/bin/env bash
# Proves that the lists of the Makefile, given by the environment, name every file that is there and none that is not.
set -euo pipefail
shopt -s nullglob
cd "$(dirname "${BASH_SOURCE[0]}")/.."

failed=0

# compare LIST "NAMES" FILE...: the names of the list against those of the files
compare() {
    local list=$1 names=$2 missing extra
    shift 2
    read -r -a names <<<"$names"
    missing=$(comm -13 <(printf '%s\n' "${names[@]}" | sort) <(printf '%s\n' "$@" | sort) | tr '\n' ' ')
    extra=$(comm -23 <(printf '%s\n' "${names[@]}" | sort) <(printf '%s\n' "$@" | sort) | tr '\n' ' ')
    if [[ -n ${missing// /} ]]; then
        echo "Makefile: $list does not name: $missing" >&2
        failed=1
    fi
    if [[ -n ${extra// /} ]]; then
        echo "Makefile: $list names what is not there: $extra" >&2
        failed=1
    fi
}

# stems FOLDER EXTENSION: the files' names without either
stems() {
    local file
    for file in "$1"/*"$2"; do
        basename "$file" "$2"
    done
}

sources=({src,common}/*.c)
mapfile -t regress_files < <(stems test/regress/sql .sql)
mapfile -t isolation_files < <(stems test/isolation/specs .spec)

compare OBJS "$OBJS" "${sources[@]/%.c/.o}"
compare SQL_PARTS "$SQL_PARTS" sql/*.sql
compare REGRESS "$REGRESS" "${regress_files[@]}"
compare ISOLATION "$ISOLATION" "${isolation_files[@]}"

exit "$failed"
