#!/usr/bin/env bash
# Measures rotor on throw-away servers with durable settings: one that preloads it, one that does not. build/bench finds
# them by conninfo strings in the environment and prints the table; its arguments are passed on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=cluster.sh
source scripts/cluster.sh

# Starts a server with rotor in it and sets $conninfo: start NAME [LINE...]
start() {
    local name=$1
    shift
    cluster_make "$workspace/$name" durable
    cluster_start "$workspace/$name" "$@"
    psql -X -q -v ON_ERROR_STOP=1 -c 'CREATE EXTENSION rotor'
    conninfo="host=$PGHOST port=$PGPORT user=$PGUSER dbname=$PGDATABASE"
}

workspace_make bench
start preloaded "shared_preload_libraries = 'rotor'" "rotor.database = 'postgres'"
export ROTOR_BENCH_PRELOADED=$conninfo
start plain
export ROTOR_BENCH_PLAIN=$conninfo

build/bench "$@"
