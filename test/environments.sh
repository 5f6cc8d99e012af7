#!/usr/bin/env bash
# Runs the SQL and isolation tests, and some of test/t, once in each of several environments that are unlike the usual one, and
# prints TAP: environments.sh WORKSPACE PGXS_DIR. test/run calls it; ENVIRONMENTS chooses, REGRESS and ISOLATION have the files.
#
#   serializable   serializable and deferrable transactions by default
#   search_path    a schema in front that shadows what rotor's SQL uses: nothing in it may be reached by rotor
#   lc_messages    the server speaks German: nothing may depend on a message's text
#   wal_level      minimal, without WAL senders
#   workers        max_worker_processes just suffices for rotor's own
#   neighbours_first, neighbours_last   beside pgaudit, pg_stat_statements, auto_explain, pg_cron and a module with password
#                  rules, a history and hooks; rotor is the first or the last in shared_preload_libraries
#
# Each has a server and a database of its own, made with its settings. Several run at a time. The servers of test/t have
# wal_level = minimal and no WAL senders anyhow, unless they need more.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=../scripts/cluster.sh
source scripts/cluster.sh
# shellcheck source=suite.sh
source test/suite.sh

readonly all_environments="neighbours_first serializable neighbours_last search_path lc_messages wal_level workers"
jobs=${ROTOR_TEST_JOBS:-$(($(nproc) + 1))} # environments at once
readonly jobs
workspace_join "$1"
readonly pgxs_dir=$2
readonly modules="$workspace/modules"
lib_dir=$("$pg_config" --pkglibdir)

# ---- what is said

ok() { echo "ok - $environment: $*"; }
not_ok() { echo "not ok - $environment: $*"; }
skipped() { echo "ok - $environment: $1 # SKIP $2"; }

# says NAME COMMAND...: ok if the command ends well
says() {
    local name=$1
    shift
    if "$@"; then ok "$name"; else not_ok "$name"; fi
}

shown() {
    [[ ! -s $1 ]] || tail -n "$2" "$1" | sed 's/^/# /'
}

sql() {
    as_server_user psql -XAtq -v ON_ERROR_STOP=1 "$@"
}

# ---- what an environment is made of, before its server starts; each has a function that sets these

settings=() # lines of postgresql.conf
libraries=rotor
prepare=: # a function that is run with the server up, and the suites' database made
suites="regress isolation"
tap=""      # files of test/t that are run with the settings too
finish=: # a function that is run after the suites
options=()  # of pg_regress
expected="" # a folder whose results are what pg_regress is to find; empty: test/regress/expected
server_environment=()
is_unfit="" # set where the machine lacks what the environment is made of; it has been said what

# Builds a module of test/modules for this server, unless it is there: prints its file.
module() {
    local cc
    read -r -a cc <<<"$("$pg_config" --cc)"
    [[ -e $modules/$1.so ]] ||
        as_server_user "${cc[@]}" -O1 -fPIC -shared -Wall "-I$("$pg_config" --includedir-server)" -o "$modules/$1.so" \
            "$workspace/rotor/test/modules/$1/$1.c" >&2
    echo "$modules/$1.so"
}

setup_serializable() {
    settings=("default_transaction_isolation = 'serializable'" "default_transaction_deferrable = on")
    tap="t/070_callers.pl"
}

setup_wal_level() {
    settings=("wal_level = minimal" "max_wal_senders = 0")
}

setup_workers() {
    settings=("max_worker_processes = 2" "rotor.workers = 2" "max_logical_replication_workers = 0")
    finish=no_worker_is_left
}

no_worker_is_left() {
    says "another worker would find no place" comes_true all_places_are_taken
}

# A worker that has just ended, to make room, comes back.
all_places_are_taken() {
    [[ $(sql -c "SELECT count(*) >= current_setting('max_worker_processes')::int
        FROM pg_stat_activity WHERE backend_type = 'rotor worker'") == t ]]
}

# ---- search_path

setup_search_path() {
    settings=("search_path = 'hostile, pg_catalog, public'")
    libraries="rotor,$(module trap)"
    prepare=set_traps
    finish=no_trap_was_sprung
}

set_traps() {
    local before
    before=$(trap_count)
    # It springs where it should, or nothing is proved.
    sql -d postgres -v trap="$modules/trap" >/dev/null <<'SQL'
CREATE FUNCTION public.trap_called(what text) RETURNS boolean LANGUAGE c STRICT AS :'trap', 'trap_called';
CREATE SCHEMA rotor;
CREATE FUNCTION rotor.steps_in() RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RETURN public.trap_called('the trap itself'); END$$;
SELECT rotor.steps_in(), public.trap_called('somebody else');
DROP FUNCTION rotor.steps_in();
DROP SCHEMA rotor;
SQL
    says "the trap is sprung by a function of rotor's, and by nobody else" test $(($(trap_count) - before)) = 1
    sql -v trap="$modules/trap" -d contrib_regression -f "$workspace/rotor/test/environments/search_path.sql"
    says "what shadows is found first" test "$(sql -d contrib_regression \
        -c "SELECT pronamespace::regnamespace FROM pg_catalog.pg_proc WHERE oid = 'sha256'::regproc")" = hostile
    traps_expected=$(trap_count)
}

trap_count() {
    grep -c 'TRAP SPRUNG' "$folder/data.log" || true
}

no_trap_was_sprung() {
    says "rotor has called nothing that shadows" test "$(trap_count)" = "$traps_expected"
    grep 'TRAP SPRUNG' "$folder/data.log" | sed 's/^/# /' || true
}

# ---- lc_messages

setup_lc_messages() {
    local locale="$workspace/locale/de_DE.UTF-8"

    if [[ ! -d $locale ]]; then
        as_server_user mkdir -p "$workspace/locale"
        as_server_user localedef -i de_DE -f UTF-8 "$locale" >/dev/null 2>&1 || true
    fi
    [[ -f $locale/LC_MESSAGES/SYS_LC_MESSAGES ]] || {
        skipped "all" "no German locale can be made: localedef or the sources of package locales are missing"
        is_unfit=yes
    }
    server_environment=(LOCPATH="$workspace/locale")
    settings=("lc_messages = 'de_DE.UTF-8'" "lc_monetary = 'de_DE.UTF-8'" "lc_numeric = 'de_DE.UTF-8'" "lc_time = 'de_DE.UTF-8'")
    prepare=compare_with_english
    # Isolation tests show what sessions wait for, by messages; no language changes that.
    suites="regress"
    options=(--launcher="$workspace/rotor/test/environments/sqlstate.sh")
    tap="t/020_barred_logins.pl"
}

# What must be found is what the same server says in English, with messages reduced to their SQLSTATE on both sides.
compare_with_english() {
    sql -c "ALTER DATABASE contrib_regression SET t.verbosity = 'sqlstate'"
    if [[ $(sql -c 'SELECT 1/0' 2>&1 || true) != *"Division durch Null"* ]]; then
        skipped "all" "the server has no German messages"
        is_unfit=yes
        return
    fi
    ok "the server speaks German"
    sql -c "ALTER SYSTEM SET lc_messages = 'C'" -c "SELECT pg_reload_conf()" >/dev/null
    run_suite regress "$folder/english"
    sql -c "ALTER SYSTEM RESET lc_messages" -c "SELECT pg_reload_conf()" >/dev/null
    expected="$folder/english/results"
    # Both runs make their first key.
    rm "$folder/data/rotor.key"
    make_database
    sql -c "ALTER DATABASE contrib_regression SET t.verbosity = 'sqlstate'"
}

# ---- neighbours

setup_neighbours_first() {
    neighbours
    libraries="rotor,$present"
}

setup_neighbours_last() {
    neighbours
    libraries="$present,rotor"
}

# The rules are those that the tests' own statements keep to; test/t/151_neighbours.pl has strict ones.
neighbours() {
    local name
    present=$(module neighbour)
    for name in pgaudit pg_stat_statements auto_explain pg_cron; do
        if [[ -e $lib_dir/$name.so ]]; then
            present+=",$name"
        else
            skipped "$name" "it is not installed"
        fi
    done
    settings=("neighbour.min_length = 3" "pgaudit.log = 'all'" "pgaudit.log_parameter = on" "pg_stat_statements.track = all"
        "auto_explain.log_min_duration = 0" "auto_explain.log_analyze = on" "auto_explain.log_nested_statements = on"
        "cron.database_name = 'postgres'" "cron.use_background_workers = on" "max_worker_processes = 16")
    prepare=neighbours_are_there
}

neighbours_are_there() {
    local name
    for name in ${present//,/ }; do
        case $name in
            pg_cron) sql -d postgres -c "CREATE EXTENSION pg_cron" ;;
            pg_stat_statements | pgaudit) sql -d contrib_regression -c "CREATE EXTENSION $name" ;;
        esac
    done
}

# ---- one environment

make_database() {
    sql -d postgres -c "DROP DATABASE IF EXISTS contrib_regression WITH (FORCE)" 2>/dev/null
    sql -d postgres -c "CREATE DATABASE contrib_regression TEMPLATE template0"
    # What pg_regress sets for a database that it makes itself, save for the language.
    sql -d postgres -c "ALTER DATABASE contrib_regression SET bytea_output TO 'hex'" \
        -c "ALTER DATABASE contrib_regression SET timezone_abbreviations TO 'Default'"
}

# run_suite NAME OUT: says how each file went. A run whose results are only to be compared with says nothing if all is well.
run_suite() {
    local name=$1 out=$2 log=$2.log file files failed=0

    if [[ $name == isolation ]]; then read -r -a files <<<"$ISOLATION"; else read -r -a files <<<"$REGRESS"; fi
    as_server_user mkdir -p "$out"
    suite_command "$name" "$out" --use-existing "${options[@]}"
    if [[ -n $expected ]]; then
        as_server_user mkdir "$out/in"
        as_server_user cp -r "$workspace/rotor/test/$name/sql" "$out/in/sql"
        as_server_user cp -r "$expected" "$out/in/expected"
        command+=(--inputdir="$out/in")
    elif ((${#options[@]} > 0)); then
        # Nothing to compare with yet: what matters is that every file runs to its end.
        "${server_user[@]}" "${command[@]}" "${files[@]}" >"$log" 2>&1 || true
        for file in "${files[@]}"; do
            [[ -s $out/results/$file.out ]] || failed=1
        done
        ((failed == 0)) || not_ok "$name, to compare with"
        return
    fi
    "${server_user[@]}" "${command[@]}" "${files[@]}" >"$log" 2>&1 || true
    for file in "${files[@]}"; do
        if suite_passed "$log" "$file"; then
            ok "$name $file"
        else
            not_ok "$name $file"
            failed=1
        fi
    done
    if ((failed > 0)); then
        shown "$log" 30
        shown "$out/regression.diffs" 200
    fi
}

run_tap() {
    local file counts

    printf '%s\n' "${settings[@]}" | as_server_user tee "$folder/temp.conf" >/dev/null
    as_server_user mkdir -p "$folder/tap/log"
    tap_command "$folder/tap" 1
    as_server_user env TEMP_CONFIG="$folder/temp.conf" "${server_environment[@]}" "${command[@]}" "$@" \
        3>"$folder/tap.progress" >"$folder/tap.log" 2>&1 || true
    counts=$(sed -n 's/^counts: //p' "$folder/tap.log")
    for file in "$@"; do
        says "$file (passed, failed, skipped: ${counts:-none})" grep -qE "^ +ok +$file " "$folder/tap.progress"
    done
    grep -qE '^[0-9]+ 0 ' <<<"$counts" || shown "$folder/tap.log" 120
}

run_environment() {
    local folder="$workspace/environments/$environment" started=$SECONDS suite

    as_server_user mkdir -p "$folder"
    "setup_$environment"
    [[ -z $is_unfit ]] || return 0
    cluster_make "$folder/data" fast
    export "${server_environment[@]}" PGDATABASE=postgres
    cluster_start "$folder/data" "shared_preload_libraries = '$libraries'" "rotor.database = 'contrib_regression'" \
        "rotor.lock_timeout = '2s'" "${settings[@]}"
    make_database
    "$prepare"
    if [[ -z $is_unfit ]]; then
        for suite in $suites; do
            run_suite "$suite" "$folder/$suite"
        done
        "$finish"
        says "the server's log speaks of no crash and no leak" server_is_well "$folder/data.log"
    fi
    cluster_stop "$folder/data"
    # shellcheck disable=SC2086 # a list
    [[ -z $tap || -n $is_unfit ]] || run_tap $tap
    echo "   $environment took $((SECONDS - started)) s" >&3
}

# ---- all of them

main() {
    local environment chosen=${ENVIRONMENTS:-$all_environments} running=0
    local -A job=()

    for environment in $chosen; do
        [[ " $all_environments " == *" $environment "* ]] || die "no environment is named '$environment'; there are: $all_environments"
    done
    as_server_user mkdir -p "$modules" "$workspace/environments"
    for environment in $chosen; do
        if ((running >= jobs)); then
            wait -n || true
            running=$((running - 1))
        fi
        run_environment >"$workspace/environments/$environment.tap" 2>&1 &
        job[$environment]=$!
        running=$((running + 1))
    done
    for environment in $chosen; do
        wait "${job[$environment]}" || not_ok "it ended before its time"
        cat "$workspace/environments/$environment.tap"
    done
}

main
