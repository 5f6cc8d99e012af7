#!/usr/bin/env bash
# Shows rotor at work on a throw-away server: a role's password is rotated again and again while a client that knows nothing
# of it keeps logging in. Fails if the client is ever locked out. No password is ever printed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=cluster.sh
source scripts/cluster.sh

readonly rotations=5

if [[ -t 1 ]]; then
    bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'
else
    bold='' dim='' plain=''
fi

say() {
    printf '\n%s== %s%s\n\n' "$bold" "$*" "$plain"
}

# Shows a statement as psql would have it typed, then runs it.
show() {
    printf '%spostgres=# %s%s\n' "$dim" "${1//$'\n'/$'\n'postgres-# }" "$plain"
    as_server_user psql -X -v ON_ERROR_STOP=1 -P pager=off -c "$1"
}

# Reads the current password as a role that was granted this one right.
read_password() {
    as_server_user psql -X -q -A -t -U app_reader -v ON_ERROR_STOP=1 \
        -c "SELECT rotor.get_secret('app_user') ->> 'password'"
}

# Logs in over TCP, where the server asks for the password: log_in PASSWORD
log_in() {
    PGPASSWORD=$1 as_server_user psql -X -q -A -t -w -h 127.0.0.1 -U app_user -c 'SELECT 1' >/dev/null 2>&1
}

# Logs in until told to stop. Whoever reads a password just before it changes is refused once, and reads again.
client() {
    local logins=0 again=0 locked_out=0

    while [[ ! -e $workspace/stop ]]; do
        if log_in "$(read_password)"; then
            logins=$((logins + 1))
        elif log_in "$(read_password)"; then
            logins=$((logins + 1))
            again=$((again + 1))
        else
            locked_out=$((locked_out + 1))
        fi
        echo "$logins" >"$workspace/logins"
    done
    echo "$logins $again $locked_out" >"$workspace/result"
}

# Waits until the client has logged in some more times: await_logins COUNT
await_logins() {
    local deadline=$((SECONDS + 30)) before now
    before=$(cat "$workspace/logins" 2>/dev/null || echo 0)
    until now=$(cat "$workspace/logins" 2>/dev/null || echo 0) && ((${now:-0} >= ${before:-0} + $1)); do
        ((SECONDS < deadline)) || die "the client has not logged in for 30 seconds"
        sleep 0.05
    done
}

main() {
    local old_password number logins again locked_out

    say "A throw-away PostgreSQL, with rotor preloaded"
    workspace_make demo
    cluster_make "$workspace/data" fast
    cluster_start "$workspace/data" "shared_preload_libraries = 'rotor'" "rotor.database = 'postgres'"
    show "SELECT version()"
    show "CREATE EXTENSION rotor"

    say "A role without a password gets its first one"
    show "CREATE ROLE app_user LOGIN"
    show "SELECT status, version_id, duration FROM rotor.rotate('app_user')"

    say "An application may read it, and logs in with it over TCP"
    show "CREATE ROLE app_reader LOGIN"
    show "SELECT rotor.grant_access('app_user', 'app_reader', 'read')"
    old_password=$(read_password)
    log_in "$old_password" || die "the new password does not log in"
    echo "app_user has logged in with the password that rotor.get_secret gave to app_reader."

    say "$rotations rotations, while a client keeps logging in"
    client &
    workspace_job=$!
    await_logins 3
    for ((number = 1; number <= rotations; number++)); do
        show "SELECT status, version_id, duration FROM rotor.rotate('app_user')"
        await_logins 3
    done
    touch "$workspace/stop"
    wait "$workspace_job"
    workspace_job=
    read -r logins again locked_out <"$workspace/result"

    say "The old password is dead, the current one lives"
    ! log_in "$old_password" || die "the old password still logs in"
    echo "The first password is refused."
    log_in "$(read_password)" || die "the current password does not log in"
    echo "The one rotor.get_secret gives now logs in."

    say "What rotor knows"
    show "SELECT * FROM rotor.secrets"
    show "SELECT at, actor, event, secret, result FROM rotor.audit_log ORDER BY at"
    show "SELECT * FROM rotor.health()"

    say "What was seen"
    ((locked_out == 0)) || die "the client was locked out $locked_out times in $((logins + locked_out)) logins"
    echo "The client logged in $logins times while the password changed $rotations times;" \
        "$again times it had to read again, and it was locked out 0 times."
}

main "$@"
