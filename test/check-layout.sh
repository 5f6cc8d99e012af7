#!/usr/bin/env bash
# Proves that scripts/check-layout.sh finds what it is there to find: in one copy, each line that breaks a rule is named.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

workspace=$(mktemp -d "${TMPDIR:-/tmp}/rotor-layout.XXXXXX")
trap 'rm -rf "$workspace"' EXIT
copy=$workspace/rotor
patterns=()
failed=0

# finds PATTERN FILE LINE: the line at the end of the file must be found, in the words of the pattern
finds() {
    printf '%s\n' "$3" >>"$copy/$2"
    patterns+=("^$2:[0-9]+: $1")
}

mkdir -p "$copy/scripts"
cp -r common src worker "$copy/"
cp scripts/check-layout.sh "$copy/scripts/"

finds 'common/ includes postgres\.h' common/error.c '#include "postgres.h"'
finds 'common/ includes worker/job\.h' common/codec.c '#include "job.h"'
finds 'src/ includes a header of worker/' src/fsm.c '#include "job.h"'
finds 'worker/ includes a header of src/' worker/pool.c '#include "fsm.h"'
finds 'only src/login\.c may include' src/guc.c '#include <libpq-fe.h>'
finds 'keyring and catalog do not know each other' src/keyring.c '#include "catalog.h"'
finds 'a server version is tested outside' src/bgworker.c '#if PG_VERSION_NUM >= 160000'
finds 'steps sees stores and targets by' worker/steps.c '#include "http_client.h"'
finds 'the store aws and the store vault do not know' worker/store_aws.c '#include "vault_kv.h"'
finds 'the target mysql and the control database do not' worker/target_mysql.c '#include "control_db.h"'
finds 'mysql_client\.h belongs to the target mysql' worker/loop.c '#include "mysql_client.h"'
finds 'only pg_client\.c may include libpq-fe\.h' worker/control_db.c '#include <libpq-fe.h>'
finds 'only http_client\.c may include curl' worker/store_vault.c '#include <curl/curl.h>'
finds 'only http_server\.c may include microhttpd' worker/metrics.c '#include <microhttpd.h>'
finds 'only ini_lines\.c may include ini\.h' worker/options_file.c '#include <ini.h>'
finds 'only mysql_client\.c may include mysql\.h' worker/mysql_hash.c '#include <mysql.h>'
finds 'only job\.h, .* may include cjson' worker/log.c '#include <cjson/cJSON.h>'
finds 'a store or a target is named outside' worker/peers.c 'static const StoreClass *first = &store_aws;'
finds 'SQL of rotor is outside' worker/process.c 'static const char sql[] = "SELECT rotor.claim()";'
seq 701 >"$copy/worker/held.c"
patterns+=('^worker/held\.c: 701 lines')

if "$copy/scripts/check-layout.sh" >"$workspace/out" 2>&1; then
    echo "not ok - the check passes"
    failed=1
fi
for pattern in "${patterns[@]}"; do
    if grep -qE -- "$pattern" "$workspace/out"; then
        echo "ok - $pattern"
    else
        echo "not ok - $pattern"
        failed=1
    fi
done
((failed == 0)) || sed 's/^/    /' "$workspace/out"
exit "$failed"
