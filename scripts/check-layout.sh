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

# Puts into $room the group of files that a file of src/ or worker/ belongs to, if it is one of those which must not know
# each other.
find_room() {
    room=
    case $1 in
        src/catalog.* | src/catalog_*) room=catalog ;;
        src/keyring.* | src/master_key*) room=keyring ;;
        src/role.* | src/login.*) room=${1##*/} room=${room%%.*} ;;
        # Each store and each target is one file, with rooms of its own.
        worker/store_aws.* | worker/aws_* | worker/json_splice.*) room="the store aws" ;;
        worker/store_file.* | worker/secret_file.* | worker/pgpass.*) room="the store file" ;;
        worker/store_vault.* | worker/vault_*) room="the store vault" ;;
        worker/target_command.* | worker/child.*) room="the target command" ;;
        worker/target_http.*) room="the target http" ;;
        worker/target_mysql.* | worker/mysql_*) room="the target mysql" ;;
        worker/target_postgres.*) room="the target postgresql" ;;
        worker/store_* | worker/target_*) room=${1##*/} room=${room%%.*} ;;
        worker/control_*) room="the control database" ;;
        worker/steps.*) room=steps ;;
    esac
}

# Puts into $readers the files of worker/ that may include a header of others, separated by |, if there is a rule for it.
find_readers() {
    readers=
    case $1 in
        curl/*) readers='http_client.c' ;;
        libpq-fe.h) readers='pg_client.c' ;;
        microhttpd.h) readers='http_server.c' ;;
        ini.h) readers='ini_lines.c' ;;
        mysql.h | errmsg.h | mysqld_error.h | mysql/* | mariadb/*) readers='mysql_client.c' ;;
        openssl/*) readers='mysql_hash.c' ;;
        # Jobs are JSON, and so are answers, and what stores keep.
        cjson/*) readers='job.h|aws_api.h|aws_metadata.c|http_server.c|json_splice.h|vault_session.c' ;;
    esac
}

# What holds in worker/ besides.
check_worker_include() {
    local file=$1 line=$2 header=$3 name=${1##*/} readers

    find_readers "$header"
    if [[ -n $readers && "|$readers|" != *"|$name|"* ]]; then
        complain "$file:$line: only ${readers//|/, } may include $header"
    fi
    [[ -f worker/$header ]] || return 0

    if [[ $name == steps.* && ! $header =~ ^(steps|store|target|job|outcome|deadline|log)\.h$ ]]; then
        complain "$file:$line: steps sees stores and targets by store.h and target.h only, but $header is included"
    fi
}

check_include() {
    local file=$1 line=$2 header=$3 folder=${1%%/*} room mine other

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
            [[ $folder == src ]] && other=worker || other=src
            if [[ $header == *"$other/"* || (-f $other/$header && ! -f $folder/$header) ]]; then
                complain "$file:$line: $folder/ includes a header of $other/: $header"
            fi
            ;;
    esac
    if [[ $folder == src && $header == libpq-fe.h && $file != src/login.c ]]; then
        complain "$file:$line: only src/login.c may include libpq-fe.h"
    fi
    [[ $folder != worker ]] || check_worker_include "$@"
    [[ -f $folder/$header ]] || return 0
    find_room "$file"
    mine=$room
    find_room "$folder/$header"
    if [[ -n $mine && -n $room && $mine != "$room" ]]; then
        complain "$file:$line: $mine and $room do not know each other, but $header is included"
    elif [[ -z $mine && $room == "the "@(store|target)" "* ]]; then
        complain "$file:$line: $header belongs to $room, which others know by store.h and target.h"
    fi
}

files=({common,src,worker}/*.[ch])
((${#files[@]} > 0)) || complain "there are no C files"

while IFS=: read -r file line header; do
    check_include "$file" "$line" "$header"
done < <(awk '/^[ \t]*#[ \t]*include/ && split($0, part, /["<>]/) > 1 { print FILENAME ":" FNR ":" part[2] }' "${files[@]}")

# Stores and targets are named where they are, in the headers that declare them, and in the list of all.
while IFS= read -r place; do
    complain "$place: a store or a target is named outside worker/registry.c"
done < <(awk '
    FNR == 1 { own = FILENAME; gsub(/^.*\/|\..*$/, "", own) }
    FILENAME ~ /\/(registry\.c|store\.h|target\.h)$/ { next }
    /^[ \t]*(\/\*|\*|#)/ { next }
    match($0, /(^|[^a-z_])(store_(aws|file|vault)|target_(command|http|mysql|postgres))[^a-z_]/) {
        name = substr($0, RSTART, RLENGTH)
        gsub(/^[^a-z]|[^a-z_]$/, "", name)
        if (name != own)
            print FILENAME ":" FNR
    }' worker/*.[ch])

# What is sent to the control database; what the user is told to run there is not.
while IFS= read -r place; do
    complain "$place: SQL of rotor is outside worker/control_*.c"
done < <(grep -nE '\b(SELECT|FROM|JOIN|LATERAL|CALL|INTO|UPDATE) rotor\.' -- worker/*.[ch] |
    grep -vE '^worker/control_[a-z]+\.c:|\brun SELECT rotor\.' | cut -d: -f1,2)

while IFS= read -r place; do
    complain "$place: a server version is tested outside src/compat.h"
done < <(grep -nE 'PG_VERSION_NUM|PG_MAJORVERSION_NUM' -- "${files[@]}" | grep -v '^src/compat\.h:' | cut -d: -f1,2)

for file in "${files[@]}"; do
    lines=$(wc -l <"$file")
    ((lines <= max_lines)) || complain "$file: $lines lines, and at most $max_lines make one room"
done

exit "$failed"
