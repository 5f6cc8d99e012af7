#!/usr/bin/env bash
# Proves that the library that was built has nothing of test/faults: neither wrappers nor settings.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Into a variable: grep -q would end before nm does, and the pipe break.
symbols=$(nm rotor.so)
if grep -E '__wrap_|fault_(arm|now)' <<<"$symbols" || grep -aq rotor_test rotor.so; then
    echo "rotor.so can be made to fail: it was built with FAULTS=1 or COVERAGE=1" >&2
    exit 1
fi
