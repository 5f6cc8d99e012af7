#!/usr/bin/env bash
# Runs tests of the server with a rotor.so under the address and undefined-behaviour sanitizers: `make sanitize` is the way
# to call it.
#
# Builds from a copy of the sources, installs into a copy of the PostgreSQL installation, and runs the tests there; the usual
# build, and what is installed, are not touched. The server itself is not instrumented, but all that it allocates, frees and
# copies goes by way of the sanitizer's functions. What a sanitizer finds ends the process, is printed, and makes the script
# fail, whatever the tests say. The last line is 'N passed, N failed, N skipped', as that of `make test`.
#
# TESTS, TAP, REGRESS and ISOLATION choose, as for `make test`; without them it is all of regress and isolation, and TAP
# files that cover what those do not: one-shot workers, a new master key.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=cluster.sh
source scripts/cluster.sh

readonly make=${MAKE:-make}
readonly usual_tests="regress isolation tap"
readonly usual_tap="t/001_preloaded_or_not.pl t/120_keys.pl"

# Undefined behaviour becomes an illegal instruction, which the address sanitizer reports with its stack as all else: a
# worker of rotor's cannot be looked into by others, so the other sanitizer would not find its own settings there.
readonly flags=(-fsanitize=address -fsanitize=undefined -fsanitize-undefined-trap-on-error -fno-omit-frame-pointer -O1 -g)

# The sanitizer makes itself ready when memory is first asked for. In the server that is by a library's constructor, in the
# midst of bindtextdomain(), which the sanitizer then calls again: it waits for itself. So memory is asked for before.
make_first_library() {
    echo '#include <stdlib.h>
        static void __attribute__((constructor)) first(void) { free(malloc(1)); }' |
        gcc -x c -fno-builtin -shared -fPIC -Wl,-z,initfirst -o "$workspace/first.so" -
    chmod 755 "$workspace/first.so"
}

# Puts a script in the server's place that preloads the sanitizer, which has to come before all other libraries.
# No leaks: the server leaves it to the end of a process to free what it had.
wrap_server() {
    local server=$1
    mv "$server" "$server.real"
    cat >"$server" <<END
#!/bin/bash
export LD_PRELOAD="$(readlink -f "$(gcc -print-file-name=libasan.so)") $workspace/first.so \${LD_PRELOAD:-}"
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:handle_sigill=1:log_path=$reports/report
exec -a "$server" "$server.real" "\$@"
END
    chmod 755 "$server"
    as_server_user mkdir "$reports"
}

# Does a report reach us from within a server? Else that there is none would prove nothing.
prove() {
    local module=$workspace/broken.so function argument
    gcc "${flags[@]}" -shared -fPIC -I"$("$PG_CONFIG" --includedir-server)" -o "$module" test/modules/broken/broken.c
    chmod 755 "$module"
    cluster_make "$workspace/proof" fast
    cluster_start "$workspace/proof"
    for function in overflow undefined; do
        argument=$([[ $function == overflow ]] && echo 4 || echo 40)
        as_server_user psql -X -q -v ON_ERROR_STOP=1 \
            -c "CREATE FUNCTION $function(int) RETURNS int LANGUAGE c AS '$module'" -c "SELECT $function(3)" >/dev/null
        ! has_reports || die "the sanitizers find fault with the server itself"
        as_server_user psql -X -q -c "SELECT $function($argument)" >/dev/null 2>&1 || true
        has_reports || die "what the sanitizers find in '$function' is not reported"
        rm -rf "$reports"/report.*
        as_server_user pg_ctl -D "$workspace/proof" -w -s restart -m immediate -o "-p $PGPORT" \
            -l "$workspace/proof.log" >/dev/null
    done
    cluster_stop "$workspace/proof"
}

has_reports() {
    compgen -G "$reports/report.*" >/dev/null
}

main() {
    local status=0 result

    workspace_make sanitize
    reports=$workspace/reports
    PG_CONFIG=$(scripts/copy-server.sh "$workspace/pg")
    export PG_CONFIG
    pg_config=$PG_CONFIG
    PATH="$("$PG_CONFIG" --bindir):$PATH"
    make_first_library
    wrap_server "$("$PG_CONFIG" --bindir)/postgres"
    prove

    scripts/copy-sources.sh "$workspace/rotor"
    env -u MAKEFLAGS -C "$workspace/rotor" COPT="${flags[*]}" WERROR=0 \
        "$make" --no-print-directory test TESTS="${TESTS:-$usual_tests}" TAP="${TAP:-$usual_tap}" \
        ${REGRESS:+REGRESS="$REGRESS"} ${ISOLATION:+ISOLATION="$ISOLATION"} || status=$?

    if has_reports; then
        cat "$reports"/report.*
        echo "sanitize: $(find "$reports" -name 'report.*' | wc -l) reports, kept in $reports"
        status=1
    fi
    # Of what went well, make test has spoken last.
    ((status != 0)) || exit 0
    workspace_keep
    result=$(cat "$workspace/rotor/build/test-result" 2>/dev/null) || result="0 passed, 1 failed, 0 skipped"
    echo "${result/ 0 failed/ 1 failed}"
    exit 1
}

main "$@"
