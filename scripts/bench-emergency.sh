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
