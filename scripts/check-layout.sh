#!/usr/bin/env bash
# Proves the dependency rule (docs/architecture): who may include what; and that no file has grown into two rooms.
set -euo pipefail
shopt -s nullglob
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly max_lines=700
failed=0

complain() {
    echo "$*" >&2
    failed=1
}

# The group of files that a file of src/ belongs to, if it is one of those which must not know each other.
closed_room_of() {
    case ${1##*/} in
        catalog.* | catalog_*) echo catalog ;;
        keyring.* | master_key*) echo keyring ;;
        role.* | login.*) basename "${1%.*}" ;;
    esac
}

check_include() {
    local file=$1 line=$2 header=$3 folder=${1%%/*} mine other

    case $folder in
        common)
            case $header in
                postgres* | libpq* | curl/* | c.h | fmgr.h | catalog/* | utils/* | port/* | miscadmin.h)
                    complain "$file:$line: common/ includes $header, which is not the C library's nor OpenSSL's" ;;
            esac
            for other in src worker; do
                [[ ! -f $other/$header ]] || complain "$file:$line: common/ includes $other/$header"
            done
            ;;
        src | worker)
            other=$([[ $folder == src ]] && echo worker || echo src)
            if [[ $header == *"$other/"* || (-f $other/$header && ! -f $folder/$header) ]]; then
                complain "$file:$line: $folder/ includes a header of $other/: $header"
            fi
            ;;
    esac
    [[ $folder == src ]] || return 0

    if [[ $header == libpq-fe.h && $file != src/login.c ]]; then
        complain "$file:$line: only src/login.c may include libpq-fe.h"
    fi
    mine=$(closed_room_of "$file")
    other=$(closed_room_of "$header")
    if [[ -n $mine && -n $other && $mine != "$other" && -f src/$header ]]; then
        complain "$file:$line: $mine and $other do not know each other, but $header is included"
    fi
}

files=({common,src,worker}/*.[ch])
((${#files[@]} > 0)) || complain "there are no C files"

while IFS=: read -r file line header; do
    check_include "$file" "$line" "$header"
done < <(awk '/^[ \t]*#[ \t]*include/ && split($0, part, /["<>]/) > 1 { print FILENAME ":" FNR ":" part[2] }' "${files[@]}")

while IFS= read -r place; do
    complain "$place: a server version is tested outside src/compat.h"
done < <(grep -nE 'PG_VERSION_NUM|PG_MAJORVERSION_NUM' -- "${files[@]}" | grep -v '^src/compat\.h:' | cut -d: -f1,2)

for file in "${files[@]}"; do
    lines=$(wc -l <"$file")
    ((lines <= max_lines)) || complain "$file: $lines lines, and at most $max_lines make one room"
done

exit "$failed"
