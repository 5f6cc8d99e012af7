#!/usr/bin/env bash
# The kill test, test/torture/torture.pl: `make torture KILLS=100` is the way to call it.
#
# Builds from a copy of the sources a library in which a process can be killed at named points (test/faults/fault.h), installs it
# into a copy of the PostgreSQL installation, and runs the test there; the usual build, and what is installed, are not touched.
# KILLS says how many; SEED makes a run again. What happened is kept in build/torture.log. The last line is 'N passed, N failed,
# N skipped', as that of `make test`.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=cluster.sh
source scripts/cluster.sh

status=0
workspace_make torture
scripts/copy-sources.sh "$workspace/rotor"
PG_CONFIG=$(scripts/copy-server.sh "$workspace/pg")
export PG_CONFIG
export KILLS=${KILLS:-100} SEED=${SEED:-} TORTURE_LOG=$workspace/torture.log
as_server_user touch "$TORTURE_LOG"
env -u MAKEFLAGS -C "$workspace/rotor" FAULTS=1 WERROR=0 ROTOR_TEST_TIME_LIMIT="$((600 + 20 * KILLS))" \
    "${MAKE:-make}" --no-print-directory test-only TESTS="build tap" TAP=torture/torture.pl || status=$?
mkdir -p build
cp "$TORTURE_LOG" build/torture.log
((status == 0)) || workspace_keep
exit "$status"
