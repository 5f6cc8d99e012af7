# shellcheck shell=bash
#
# Throw-away PostgreSQL clusters, for scripts to source. Each lives in a folder of its own that workspace_make creates,
# listens on a private socket and on a free port of 127.0.0.1, and is gone when the script ends, however it ends. No
# cluster that is there already is looked at.
#
#   workspace_make NAME            makes $workspace, owned by the user the servers run as
#   workspace_join DIR             uses a workspace that another script has made and will end
#   as_server_user COMMAND...      runs a command there, as that user: postgres if the caller is root, else the caller
#   cluster_make DIR fast|durable  initialises a cluster; fast gives up durability, for tests
#   cluster_start DIR [LINE...]    adds lines to its configuration and starts it; sets $PGHOST, $PGPORT, $PGUSER
#   cluster_stop DIR               stops it at once
#   comes_true COMMAND...          tries it until it ends well, for a minute at most
#   workspace_keep                 leaves the folder, without servers, when the script ends

set -euo pipefail

# What the caller's environment says about another server must steer nothing here.
for variable in "${!PG@}"; do
    [[ $variable == PG_CONFIG ]] || unset "$variable"
done
unset variable

pg_config=${PG_CONFIG:-pg_config}
PATH="$("$pg_config" --bindir):$PATH"
export PATH

workspace=
workspace_is_kept=
workspace_job=      # process to end before the servers are stopped, if a script has set it
server_user=()      # what to put before a command, so that the user the servers run as runs it in the workspace

die() {
    echo "$0: $*" >&2
    exit 1
}

as_server_user() {
    "${server_user[@]}" "$@"
}

workspace_make() {
    local base=${TMPDIR:-/tmp}

    # A socket's path has room for about a hundred bytes, and the server's user must be able to reach it.
    ((${#base} <= 50)) || base=/tmp
    workspace=$(mktemp -d "$base/rotor-$1.XXXXXX")
    trap workspace_end EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP

    if ((EUID == 0)); then
        id -u postgres >/dev/null 2>&1 || die "a server does not run as root, and there is no user postgres"
        chown postgres:postgres "$workspace"
    fi
    workspace_join "$workspace"
    as_server_user test -x "$workspace" || die "$workspace cannot be reached by the user the server runs as"
    as_server_user mkdir -p "$workspace/s" "$workspace/tmp"
    export TMPDIR="$workspace/tmp"
}

workspace_join() {
    workspace=$1
    server_user=(env -C "$workspace")
    if ((EUID == 0)); then
        server_user=(setpriv --reuid=postgres --regid=postgres --init-groups
            env -C "$workspace" HOME="$workspace" USER=postgres LOGNAME=postgres)
    fi
}

workspace_keep() {
    workspace_is_kept=yes
}

# Stops every server whose data is in the workspace, also those which a test that was killed has left.
workspace_end() {
    local status=$? pid_file

    trap '' INT TERM HUP
    [[ -d $workspace ]] || exit "$status"
    if [[ -n $workspace_job ]] && kill "$workspace_job" 2>/dev/null; then
        wait "$workspace_job" || true
    fi
    while IFS= read -r -d '' pid_file; do
        cluster_stop "$(dirname "$pid_file")"
    done < <(find "$workspace" -name postmaster.pid -print0 2>/dev/null)
    if [[ -z $workspace_is_kept ]]; then
        rm -rf "$workspace"
    fi
    exit "$status"
}

# A port of 127.0.0.1 below the range that outgoing connections use, free at this moment.
free_port() {
    local port attempt
    for attempt in {1..100}; do
        port=$((20000 + (RANDOM + attempt) % 12000))
        if perl -MSocket -e 'socket(my $s, PF_INET, SOCK_STREAM, 0) or exit 1;
                exit !bind($s, sockaddr_in($ARGV[0], INADDR_LOOPBACK))' "$port"; then
            echo "$port"
            return 0
        fi
    done
    die "no free port was found"
}

# Tries a command again and again, until it ends well or a minute is over: comes_true COMMAND...
comes_true() {
    local try
    for ((try = 0; try < 600; try++)); do
        "$@" && return 0
        sleep 0.1
    done
    return 1
}

cluster_make() {
    local dir=$1 kind=$2 options=()

    [[ $kind == durable ]] || options=(--no-sync)
    as_server_user initdb -D "$dir" -U postgres -E UTF8 --locale=C --auth-local=trust --auth-host=scram-sha-256 \
        ${options[@]+"${options[@]}"} >"$dir.initdb.log" 2>&1 || {
        cat "$dir.initdb.log" >&2
        die "initdb failed"
    }
    {
        echo "listen_addresses = '127.0.0.1'"
        echo "unix_socket_directories = '$workspace/s'"
        echo "log_line_prefix = '%m [%p] %q%u@%d '"
        [[ $kind == durable ]] || echo "fsync = off"
    } >>"$dir/postgresql.conf"
}

cluster_start() {
    local dir=$1 attempt line
    shift

    for line in "$@"; do
        echo "$line" >>"$dir/postgresql.conf"
    done
    for attempt in {1..5}; do
        PGPORT=$(free_port)
        if as_server_user pg_ctl -D "$dir" -l "$dir.log" -o "-p $PGPORT" -w -t 60 -s start >"$dir.start.log" 2>&1; then
            export PGPORT PGHOST="$workspace/s" PGUSER=postgres PGDATABASE=postgres
            return 0
        fi
        grep -qE 'Address already in use|Adresse wird bereits verwendet' "$dir.log" || break
    done
    cat "$dir.start.log" "$dir.log" >&2
    die "the throw-away server did not start (attempt $attempt)"
}

cluster_stop() {
    as_server_user pg_ctl -D "$1" -m immediate -s stop >/dev/null 2>&1 || true
}
