# shellcheck shell=bash
#
# How the suites are run against a server, for test/run and test/environments.sh to source after scripts/cluster.sh. Both have
# $workspace with a copy of the tests in $workspace/rotor, and $pgxs_dir.
#
#   suite_command NAME OUT OPTION...   sets $command to what runs the files of test/NAME, whose names are to follow
#   suite_passed LOG FILE              has that file of a suite passed, by what its runner says?
#   tap_command FOLDER JOBS            sets $command to what runs TAP files, whose names are to follow
#   server_is_well LOG                 false, with the lines, if a server's log has what one that works never logs

# shellcheck disable=SC2034 # for those who source this
command=()

suite_command() {
    local name=$1 out=$2 program=regress/pg_regress
    shift 2

    [[ $name != isolation ]] || program=isolation/pg_isolation_regress
    command=("$pgxs_dir/src/test/$program" --bindir="$(dirname "$(command -v psql)")"
        --inputdir="$workspace/rotor/test/$name" --outputdir="$out"
        --host="$PGHOST" --port="$PGPORT" --user=postgres --dbname=contrib_regression "$@")
}

# In pg_regress' old words or in TAP.
suite_passed() {
    grep -qE "^test +$2 +\.\.\. ok |^ok [0-9]+ +[-+] +$2 +[0-9]+ ms" "$1"
}

# As PGXS' prove_installcheck sets it up.
tap_command() {
    # shellcheck disable=SC2034
    command=(env -C "$workspace/rotor/test"
        TESTDIR="$1" TESTDATADIR="$1/tmp_check" TESTLOGDIR="$1/log"
        PG_TEST_PORT_DIR="$workspace/tap-ports" PG_REGRESS="$pgxs_dir/src/test/regress/pg_regress"
        PERL5LIB="$pgxs_dir/src/test/perl:$workspace/rotor/test/t:$workspace/rotor/test"
        ROTOR_TOP="$workspace/rotor" PG_CONFIG="$pg_config"
        perl tap.pl "$2")
}

server_is_well() {
    ! grep -E 'PANIC:|TRAP:|terminated by signal (4|6|7|8|9|11)|reference leak|resource was not closed|own a lock of type' "$1"
}
