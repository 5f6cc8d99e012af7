#!/usr/bin/env bash
# Measures what years of rotations leave on disk: daily rotations of ROLES roles (default 1000) over DAYS days (default
# 480), simulated as rows, with maintenance's purging in between, on a throw-away server. docs/sizes.md has the result.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=cluster.sh
source scripts/cluster.sh

readonly roles=${ROLES:-1000} days=${DAYS:-480}
readonly step=10 # days between two rounds of purging
readonly audit_days=400

query() {
    psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"
}

# What maintenance would purge on that day.
purge_as_of() {
    query -c "ALTER SYSTEM SET rotor.audit_retention = '$((audit_days + days - $1))d'" -c "SELECT pg_reload_conf()" >/dev/null
    query -c "SELECT simulation.lengthen($1)" -c "SELECT count(*) FROM rotor.purge()" >/dev/null
}

report() {
    query -F ' ' -c "SELECT $1, $(printf "pg_size_pretty(%s::bigint), " version rotation audit rest)
        pg_size_pretty((version + rotation + audit + rest)::bigint) FROM simulation.sizes" |
        sed -E 's/ (bytes|kB|MB|GB)/\1/g' | while read -r line; do
        # shellcheck disable=SC2086 # six words
        printf '%6s %12s %12s %12s %12s %12s\n' $line
    done
}

workspace_make sizes
cluster_make "$workspace/data" fast
cluster_start "$workspace/data" "shared_preload_libraries = 'rotor'" "rotor.maintenance_interval = 0" \
    "autovacuum_naptime = 5s" "max_wal_size = 4GB" "shared_buffers = 512MB"
query -c 'CREATE EXTENSION rotor' -c 'CREATE ROLE model LOGIN' -c "SELECT rotor.rotate('model')" >/dev/null 2>&1
query -v roles="$roles" -v days="$days" <bench/sizes.sql

echo "Daily rotations of $roles roles; default retentions: versions 90 days, rotations 400 days, audit 400 days"
printf '%6s %12s %12s %12s %12s %12s\n' day version rotation audit rest all
for ((day = 0; day < days; day++)); do
    query -c "SELECT simulation.day($day)" >/dev/null
    if (((day + 1) % step == 0)); then
        purge_as_of $((day + 1))
        # Autovacuum wakes by the clock, which runs far slower than this past: what it would have done by now.
        query -c 'VACUUM ANALYZE rotor.version, rotor.rotation, rotor.secret'
    fi
    if (((day + 1) % 60 == 0)); then
        report $((day + 1))
    fi
done
