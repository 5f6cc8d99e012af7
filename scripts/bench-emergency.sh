#!/usr/bin/env bash
# Measures rotate_all() over ROLES (10000) roles with CLIENTS (2) workers beside as many plain clients, on a throw-away
# server with durable settings.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=cluster.sh
source scripts/cluster.sh

roles=${ROLES:-10000}
clients=${CLIENTS:-2}

workspace_make bench
cluster_make "$workspace/emergency" durable
cluster_start "$workspace/emergency" "shared_preload_libraries = 'rotor'" "rotor.workers = $clients"
psql -X -q -v ON_ERROR_STOP=1 <<SQL
CREATE EXTENSION rotor;
INSERT INTO rotor.policy (name, scram_iterations) VALUES ('full', 4096), ('fewer', 256);
DO \$\$
BEGIN
    FOR i IN 1 .. $roles LOOP
        EXECUTE format('CREATE ROLE floor_%s LOGIN', i);
        EXECUTE format('CREATE ROLE full_%s LOGIN', i);
        EXECUTE format('CREATE ROLE fewer_%s LOGIN', i);
        PERFORM rotor.manage('full_' || i, policy => 'full'), rotor.manage('fewer_' || i, policy => 'fewer');
    END LOOP;
END \$\$;
SQL
# What has just been made is written by now, and the planner knows of it.
psql -X -q -c 'VACUUM (ANALYZE)' -c CHECKPOINT
export ROTOR_BENCH_SERVER="host=$PGHOST port=$PGPORT user=$PGUSER dbname=$PGDATABASE"
build/emergency "$roles" "$clients"

# Reads by two clients, alone and while another one has a role rotated ten times a second. They take turns.
as_server_user tee "$workspace/read.sql" >/dev/null <<<"SELECT rotor.get_secret('full_1');"
reads() {
    pgbench -n -M prepared -c 2 -j 2 -T "${SECONDS_OF_READS:-5}" -f "$workspace/read.sql" 2>&1 | sed -n 's/^tps = \([0-9]*\).*/\1/p'
}
alone=() meanwhile=()
for _ in 1 2 3; do
    alone+=("$(reads)")
    psql -X -q -o /dev/null -v ON_ERROR_STOP=1 -c "SELECT status FROM rotor.rotate('fewer_1')"
    while :; do echo "SELECT status FROM rotor.rotate('full_2') \\g /dev/null"; sleep 0.1; done | psql -X -q >/dev/null 2>&1 &
    rotating=$!
    meanwhile+=("$(reads)")
    kill "$rotating"
    wait "$rotating" 2>/dev/null || true
done
middle() { printf '%s\n' "$@" | sort -n | sed -n 2p; }
awk -v a="$(middle "${alone[@]}")" -v b="$(middle "${meanwhile[@]}")" \
    'BEGIN { printf "| `get_secret()` a second, 2 clients, while ten rotations a second run | %d | %d | %.2f | >= 0.8 |\n", a, b, b / a }'
