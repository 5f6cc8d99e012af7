#!/usr/bin/env bash
# What do a worker's private pages grow by? After ROTATIONS (100000) rotations of 100 roles, and after one of each of MANY
# (50000) roles, with verifiers of one round. Prints a table.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=cluster.sh
source scripts/cluster.sh
export PGOPTIONS="-c client_min_messages=warning"

rotations=${ROTATIONS:-100000}
many=${MANY:-50000}

run_psql() {
    psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"
}

# roles PREFIX COUNT: that many secrets of the policy PREFIX
roles() {
    run_psql <<SQL
INSERT INTO rotor.policy (name, scram_iterations, version_retention, rotation_retention) VALUES ('$1', 1, '0', '0');
DO \$\$
BEGIN
    FOR i IN 1 .. $2 LOOP
        EXECUTE format('CREATE ROLE $1_%s LOGIN', i);
        PERFORM rotor.manage('$1_' || i, policy => '$1');
    END LOOP;
END \$\$;
SQL
}

# The one worker: "pid kB", of pages that are its own.
worker() {
    local pid
    pid=$(run_psql -c "SELECT pid FROM pg_stat_activity WHERE backend_type = 'rotor worker'")
    [[ $pid =~ ^[0-9]+$ ]] || die "there is not one worker"
    echo "$pid $(awk '$1 == "RssAnon:" { print $2 }' "/proc/$pid/status")"
}

rotate_all() {
    run_psql -c "SELECT status FROM rotor.rotate_all(policy => '$1')" | grep -qx success || die "a rotation failed"
}

workspace_make bench
cluster_make "$workspace/memory" fast
cluster_start "$workspace/memory" "shared_preload_libraries = 'rotor'" "rotor.workers = 1"
run_psql -c 'CREATE EXTENSION rotor'
roles few 100
roles many "$many"

for i in 1 2 3; do rotate_all few; done
read -r first before < <(worker)
for ((i = 0; i < rotations; i += 100)); do
    rotate_all few
    ((i % 10000 != 0)) || run_psql -c 'SELECT rotor.purge()' >/dev/null
done
read -r last after < <(worker)
echo "| what | before | after | to reach |"
echo "|---|---|---|---|"
echo "| worker's own memory, $rotations rotations of 100 roles | $before kB | $after kB$([[ $first == "$last" ]] || echo ', another process') | < 1024 kB more |"
rotate_all many
read -r last after < <(worker)
echo "| then one of each of $many roles | $before kB | $after kB$([[ $first == "$last" ]] || echo ', another process') | bounded: it is replaced after 16 MB |"
