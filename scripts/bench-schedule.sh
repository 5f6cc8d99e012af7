#!/usr/bin/env bash
# Measures what a million secrets cost the scheduler, on throw-away servers with durable settings, and prints a table:
#
#   wake      a worker that is asked to do what is due, and nothing is: with a million secrets, beside a thousand
#   overhead  a rotation that is done by the schedule, among a million secrets due within an hour, beside one that is asked
#             for by hand; both from the beginning of the first one to the end of the last one of each round
#   restart   from the start of the server until the first rotation that is due begins
#
# SECRETS=1000000 says how many.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=cluster.sh
source scripts/cluster.sh
export PGOPTIONS="-c client_min_messages=warning"

readonly secrets=${SECRETS:-1000000}
readonly few=1000
readonly roles=50 rounds=6      # of real rotations
readonly calls=40 turns=30     # of run_due() with nothing due
readonly restarts=5
declare -A server_port

run_psql() {
    psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"
}

# Later commands speak to that server.
use() {
    export PGPORT=${server_port[$1]}
}

# start NAME [LINE...]
start() {
    local name=$1
    shift
    cluster_start "$workspace/$name" "$@"
    server_port[$name]=$PGPORT
}

# A server with that many secrets, due within an hour, but not in the next quarter of it.
fill() {
    local name=$1 count=$2
    cluster_make "$workspace/$name" durable
    start "$name" "shared_preload_libraries = 'rotor'" "rotor.workers = 1" "max_wal_size = '4GB'" "checkpoint_timeout = '1h'"
    run_psql -c 'CREATE EXTENSION rotor' -c "
        INSERT INTO rotor.secret (name, username, role_oid, system_identifier, created_by, next_rotation)
            SELECT 'many_' || i, 'many', 3000000000 + i, system_identifier, 'bench', now() + interval '15 minutes' + i * interval '1 hour' / $count
            FROM generate_series(1, $count) i, pg_control_system()" -c 'VACUUM ANALYZE rotor.secret' -c 'CHECKPOINT'
}

# The p-th percentile of the numbers in a file.
percentile() {
    sort -n "$2" | awk -v p="$1" '{ v[NR] = $1 } END { i = int(NR * p / 100 + 0.999999); print v[i < 1 ? 1 : i] }'
}

# row WHAT FLOOR ROTOR LIMIT: files of milliseconds; limit of the ratio, or of milliseconds if it ends in ms.
row() {
    local what=$1 floor=$2 rotor=$3 limit=$4 floor_ms=-
    [[ $floor == - ]] || floor_ms=$(percentile 50 "$floor")
    awk -v what="$what" -v n="$(wc -l <"$rotor")" -v floor="$floor_ms" -v rotor="$(percentile 50 "$rotor")" \
        -v p95="$(percentile 95 "$rotor")" -v limit="$limit" 'BEGIN {
            ratio = floor == "-" ? "-" : sprintf("%.2f", rotor / floor)
            reached = limit ~ /ms$/ ? rotor <= limit + 0 : ratio <= limit + 0
            printf "| %s | %d | %s | %.3f ms | %.3f ms | %s | ≤ %s | %s |\n", what, n,
                floor == "-" ? "-" : sprintf("%.3f ms", floor), rotor, p95, ratio, limit, reached ? "yes" : "**missed**"
        }'
}

# One turn of calls with nothing due: a server's latencies in milliseconds, into a file of its own.
wake() {
    local name=$1
    use "$name"
    as_server_user pgbench -n -f "$workspace/run_due.sql" -t "$calls" -l --log-prefix="$workspace/tmp/$name" >/dev/null 2>&1 ||
        die "pgbench failed on $name"
    awk '{ print $3 / 1000 }' "$workspace/tmp/$name".[0-9]* >>"$workspace/wake_$name"
    rm "$workspace/tmp/$name".[0-9]*
}

# The milliseconds of a rotation in the round that has just ended: all of them share their trigger.
round() {
    run_psql -c "SELECT round((extract(epoch FROM max(finished_at) - min(started_at)) * 1000 / count(*))::numeric, 3) FROM (
            SELECT started_at, finished_at, status, trigger FROM rotor.rotations ORDER BY started_at DESC LIMIT $roles) r
        HAVING count(*) = $roles AND bool_and(status = 'success' AND trigger = '$1')" >>"$workspace/round_$1"
}

by_hand() {
    run_psql -c "SELECT format('SELECT rotor.rotate(%L);', 'bench_' || i) FROM generate_series(1, $roles) i" -o "$workspace/by_hand.sql"
    run_psql -o /dev/null -f "$workspace/by_hand.sql"
    round manual
}

by_schedule() {
    run_psql -o /dev/null -c "UPDATE rotor.secret SET next_rotation = now() WHERE policy = 'bench'" -c 'SELECT * FROM rotor.run_due()'
    round schedule
}

# From the start of the server until a rotation that was due meanwhile begins.
restart() {
    run_psql -c "UPDATE rotor.secret SET next_rotation = clock_timestamp() + interval '2 seconds' WHERE name = 'bench_1'"
    as_server_user pg_ctl -D "$workspace/many" -m fast -s -w stop
    sleep 2 # until it is due
    start many
    while [[ $(run_psql -c "SELECT count(*) FROM rotor.rotations WHERE secret = 'bench_1' AND started_at > pg_postmaster_start_time()") == 0 ]]; do
        sleep 0.1
    done
    run_psql -c "SELECT round((extract(epoch FROM min(started_at) - pg_postmaster_start_time()) * 1000)::numeric, 1) FROM rotor.rotations
        WHERE secret = 'bench_1' AND started_at > pg_postmaster_start_time()" >>"$workspace/restart"
}

workspace_make bench-schedule
fill few "$few"
fill many "$secrets"
echo 'SELECT * FROM rotor.run_due()' >"$workspace/run_due.sql"

use many
run_psql -o /dev/null -c "INSERT INTO rotor.policy (name, rotation_interval) VALUES ('bench', '1 day')" -c "
    DO \$\$BEGIN FOR i IN 1 .. $roles LOOP EXECUTE format('CREATE ROLE bench_%s LOGIN', i); PERFORM rotor.manage('bench_' || i, policy => 'bench'); END LOOP; END\$\$"
by_hand
by_schedule
rm "$workspace"/round_*
for ((i = 0; i < turns; i++)); do
    wake few
    wake many
done
rm "$workspace"/wake_*
for ((i = 0; i < turns; i++)); do
    wake few
    wake many
done
use many
for ((i = 0; i < rounds; i++)); do
    by_hand
    by_schedule
done
for ((i = 0; i < restarts; i++)); do
    restart
done

echo "| what | samples | floor p50 | rotor p50 | rotor p95 | ratio of p50 | to reach | reached |"
echo "|---|--:|--:|--:|--:|--:|--:|---|"
row "wake with nothing due, $secrets secrets beside $few" "$workspace/wake_few" "$workspace/wake_many" 1.1
row "the same, by itself" - "$workspace/wake_many" '1 ms'
row "scheduled rotation among $secrets secrets due within an hour, beside one by hand" "$workspace/round_manual" "$workspace/round_schedule" 1.1
row "restart with $secrets secrets until the first due rotation starts" - "$workspace/restart" '1000 ms'
