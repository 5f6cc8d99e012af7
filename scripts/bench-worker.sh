#!/usr/bin/env bash
# Measures the program rotor with two throw-away servers, both durable: the control database and the one whose accounts
# are rotated. Prints a table:
#
#   one       rotate() of an account there, beside a plain libpq client that does the same steps (bench/remote.c); SAMPLES (200)
#   many      ROTATIONS (1000) at TARGETS (50) targets, DELAY (20) ms away in each direction, 32 at a time, beside SERIAL (40)
#             one at a time, of which half are measured before and half after; and beside 32 plain clients side by side
#   others    OTHERS (250) rotations at the same, one of the targets being black-holed or not: the time of all but its own;
#             ROUNDS (5) of each, in turns
#   memory    the most that the program had in all that
#   CPU       the program's own, of AWS_ROTATIONS (200) whose secrets are published to an imitation of AWS
#
# ONLY="one many others cpu" chooses.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=cluster.sh
source scripts/cluster.sh
export PGOPTIONS="-c client_min_messages=warning"

readonly samples=${SAMPLES:-200}
readonly rotations=${ROTATIONS:-1000} serial=${SERIAL:-40} targets=${TARGETS:-50} delay=${DELAY:-20}
readonly others=${OTHERS:-250} rounds=${ROUNDS:-5}
readonly aws_rotations=${AWS_ROTATIONS:-200}
readonly only=" ${ONLY:-one many others cpu} "
readonly concurrency=32
readonly proxy=test/worker/build/plain/proxy
highest_kb=0 # of the program at that concurrency
declare -A proxy_in proxy_out proxy_port

# To the program what steers others would be settings.
for variable in "${!ROTOR_@}" "${!AWS_@}"; do
    [[ $variable == AWS_ROTATIONS ]] || unset "$variable"
done

run_psql() {
    psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"
}

is_wanted() {
    [[ $only == *" $1 "* ]]
}

# --- the program, one at a time

# program_start CONCURRENCY [SETTING...]: settings are NAME=VALUE, as the environment has them
program_start() {
    env ROTOR_CONFIG=/dev/null ROTOR_CONTROL_HOST="$PGHOST" ROTOR_CONTROL_PORT="$PGPORT" ROTOR_METRICS_LISTEN=off \
        ROTOR_CONCURRENCY="$1" "${@:2}" build/worker/rotor worker </dev/null >>"$workspace/program.log" 2>&1 &
    workspace_job=$!
}

# What it had at most counts, if it ran as many at a time as are meant.
program_stop() {
    local kb

    kb=$(awk '$1 == "VmHWM:" { print $2 }' "/proc/$workspace_job/status")
    ((kb <= highest_kb || ${1:-0} != concurrency)) || highest_kb=$kb
    kill "$workspace_job"
    wait "$workspace_job" || die "the program did not end well: $(tail -n 3 "$workspace/program.log")"
    workspace_job=
}

# Its CPU time so far, in milliseconds.
program_cpu() {
    awk -v tick="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) * 1000 / tick }' "/proc/$workspace_job/stat"
}

# --- proxies

# proxy_start NAME PORT: in front of the server at that port
proxy_start() {
    local in out port

    mkfifo "$workspace/$1.in" "$workspace/$1.out"
    "$proxy" "127.0.0.1:$2" <"$workspace/$1.in" >"$workspace/$1.out" &
    exec {in}>"$workspace/$1.in" {out}<"$workspace/$1.out"
    read -r port <&"$out" || die "the proxy did not start"
    proxy_in[$1]=$in proxy_out[$1]=$out proxy_port[$1]=$port
}

# proxy_tell NAME COMMAND
proxy_tell() {
    local answer

    echo "$2" >&"${proxy_in[$1]}"
    read -r answer <&"${proxy_out[$1]}"
    [[ $answer == ok ]] || die "the proxy says: $answer"
}

# --- rotations

# rotate_many LIKE [COUNT]: rotates the secrets of such names, or the first so many of them, and waits until all have ended, and well;
# those of the target silent are left to themselves. Prints the seconds from when they were asked for.
rotate_many() {
    run_psql <<SQL
BEGIN;
CREATE TEMP TABLE asked AS
    SELECT (rotor.rotate(name, wait => false)).id, target FROM (
        SELECT name, target FROM rotor.secret WHERE name LIKE '$1' ORDER BY id LIMIT ${2:-NULL}) s;
CREATE TEMP TABLE beginning AS SELECT clock_timestamp() AS at;
COMMIT;
DO \$\$BEGIN
    WHILE EXISTS (SELECT FROM asked JOIN rotor.rotation r USING (id) WHERE target <> 'silent' AND r.finished_at IS NULL) LOOP
        PERFORM pg_sleep(0.05);
    END LOOP;
    IF EXISTS (SELECT FROM asked JOIN rotor.rotation r USING (id) WHERE target <> 'silent' AND r.status <> 'success') THEN
        RAISE 'a rotation failed';
    END IF;
END\$\$;
SELECT round(extract(epoch FROM max(r.finished_at) - min(b.at))::numeric, 3)
    FROM asked a JOIN rotor.rotation r USING (id), beginning b WHERE a.target <> 'silent';
SQL
}

# Waits until nothing is left to do.
rest() {
    run_psql -c "DO \$\$BEGIN
        WHILE EXISTS (SELECT FROM rotor.rotation WHERE finished_at IS NULL) LOOP PERFORM pg_sleep(0.05); END LOOP;
    END\$\$"
}

# --- the table

# The p-th percentile of the numbers in a file.
percentile() {
    sort -n "$2" | awk -v p="$1" '{ v[NR] = $1 } END { i = int(NR * p / 100 + 0.999999); print v[i < 1 ? 1 : i] }'
}

# row WHAT SAMPLES FLOOR ROTOR RATIO SIGN LIMIT [VALUE]: the ratio, or the value if there is one, is to reach the limit.
row() {
    local reached=-

    if [[ -n $7 ]]; then
        reached=$(awk -v v="${8:-$5}" -v sign="$6" -v limit="$7" 'BEGIN { print (sign == "≤" ? v + 0 <= limit + 0 : v + 0 >= limit + 0) ? "yes" : "**missed**" }')
    fi
    echo "| $1 | $2 | $3 | $4 | $5 | ${7:+$6 $7} | $reached |"
}

ratio() {
    awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'
}

# --- figures

# by_hand PORT ARGUMENT...: plain libpq clients, of the server at that port
by_hand() {
    ROTOR_BENCH_CONTROL="host=$PGHOST port=$PGPORT user=$PGUSER dbname=$PGDATABASE" ROTOR_BENCH_REMOTE_PORT=$1 build/remote "${@:2}"
}

one() {
    local floor kept rotor

    program_start "$concurrency"
    by_hand "$remote_port" "$samples" >"$workspace/one"
    program_stop "$concurrency"
    for column in 1 2 3; do
        cut -d' ' -f$column "$workspace/one" >"$workspace/one_$column"
    done
    floor=$(percentile 50 "$workspace/one_1") kept=$(percentile 50 "$workspace/one_2") rotor=$(percentile 50 "$workspace/one_3")
    row "\`rotate()\` of an account at another server, p50" "$samples" "$floor ms" "$rotor ms" "$(ratio "$rotor" "$floor")" ≤ 1.4
    row "the same beside a floor that keeps its administrator's connection" "$samples" "$kept ms" "$rotor ms" \
        "$(ratio "$rotor" "$kept")" ≤ ""
}

many() {
    local before after together clients slow fast half=$((serial / 2))

    proxy_tell near "delay $delay"
    program_start 1
    before=$(rotate_many many% "$half")
    program_stop
    program_start "$concurrency"
    together=$(rotate_many many%)
    program_stop "$concurrency"
    clients=$(by_hand "${proxy_port[near]}" "$rotations" "$concurrency")
    program_start 1
    after=$(rotate_many many% "$half")
    program_stop
    slow=$(awk -v n=$((2 * half)) -v s="$before" -v t="$after" 'BEGIN { printf "%.2f", n / (s + t) }')
    fast=$(awk -v n="$rotations" -v s="$together" 'BEGIN { printf "%.1f", n / s }')
    row "rotations at $delay ms each way, $concurrency at a time, beside one at a time" "$rotations, $((2 * half))" "$slow/s" "$fast/s" \
        "$(ratio "$fast" "$slow")" ≥ 25
    clients=$(awk -v n="$rotations" -v s="$clients" 'BEGIN { printf "%.1f", n / s }')
    row "the same beside $concurrency plain clients side by side" "$rotations" "$clients/s" "$fast/s" "$(ratio "$fast" "$clients")" ≥ ""
}

others() {
    local round mode

    proxy_tell near "delay $delay"
    proxy_tell silent "delay $delay"
    program_start "$concurrency"
    for ((round = 0; round < rounds; round++)); do
        for mode in pass blackhole; do
            proxy_tell silent $mode
            proxy_tell silent "delay $delay"
            rotate_many many% "$others" >>"$workspace/others_$mode"
            proxy_tell silent pass
            rest
        done
    done
    program_stop "$concurrency"
    row "$others rotations at $targets targets but for one, which is black-holed, beside when it is not" "$rounds" \
        "$(percentile 50 "$workspace/others_pass") s" "$(percentile 50 "$workspace/others_blackhole") s" \
        "$(ratio "$(percentile 50 "$workspace/others_blackhole")" "$(percentile 50 "$workspace/others_pass")")" ≤ 1.1
}

memory() {
    ((highest_kb > 0)) || return 0
    row "memory of the program at its highest, $concurrency at a time" - - "$highest_kb kB" - ≤ "32768 kB" "$highest_kb"
}

# cpu WHAT LIKE SETTING...
cpu() {
    local what=$1 like=$2 before after each
    shift 2

    program_start "$concurrency" "$@"
    rotate_many "$like" 10 >/dev/null # credentials, and what is there once
    before=$(program_cpu)
    rotate_many "$like" >/dev/null
    after=$(program_cpu)
    program_stop "$concurrency"
    each=$(awk -v a="$before" -v b="$after" -v n="$aws_rotations" 'BEGIN { printf "%.2f", (b - a) / n }')
    row "$what" "$aws_rotations" - "$each ms" - ≤ "10 ms" "$each"
}

# An imitation of AWS, if one is to be had.
cpu_with_aws() {
    local name value port='' key_id='' secret_key=''

    scripts/moto.sh >"$workspace/moto.log" 2>&1 || true
    mkfifo "$workspace/moto.in" "$workspace/moto.out"
    bash test/worker/peers/moto.sh <"$workspace/moto.in" >"$workspace/moto.out" 2>>"$workspace/moto.log" &
    exec 9>"$workspace/moto.in" # it ends when this is closed
    while IFS='=' read -r name value && [[ $name != ready ]]; do
        case $name in
            port | key_id | secret_key) printf -v "$name" %s "$value" ;;
        esac
    done <"$workspace/moto.out"
    if [[ -z $port ]]; then
        echo "| CPU of the program: left out, for there is no imitation of AWS | - | - | - | - | - | - |"
        return
    fi
    run_psql -o /dev/null <<SQL
INSERT INTO rotor.store (name, type, options) VALUES ('aws', 'aws', '{"region": "eu-central-1", "endpoint": "http://127.0.0.1:$port"}');
SELECT rotor.manage('aws_here_' || i, username => 'aws_here_' || i, store => 'aws'),
    rotor.manage('aws_remote_' || i, username => 'aws_remote_' || i, store => 'aws', target => 'near_' || 1 + i % ($targets - 1))
    FROM generate_series(1, $aws_rotations) i;
SQL
    set -- AWS_EC2_METADATA_DISABLED=true AWS_ACCESS_KEY_ID="$key_id" AWS_SECRET_ACCESS_KEY="$secret_key" ROTOR_STORE_RATE=1000
    proxy_tell near pass
    cpu "CPU of the program, of a rotation here, published to AWS Secrets Manager" aws_here_% "$@"
    cpu "the same of one at another server" aws_remote_% "$@"
}

# --- all of it

workspace_make bench-worker
cluster_make "$workspace/remote" durable
cluster_start "$workspace/remote"
remote_port=$PGPORT
run_psql -o /dev/null <<SQL
CREATE ROLE bench_admin LOGIN SUPERUSER;
CREATE ROLE bench_floor LOGIN;
CREATE ROLE bench_rotor LOGIN;
SELECT format('CREATE ROLE many_%s LOGIN', i) FROM generate_series(1, $rotations) i \gexec
SELECT format('CREATE ROLE aws_remote_%s LOGIN', i) FROM generate_series(1, $aws_rotations) i \gexec
SQL

cluster_make "$workspace/control" durable
cluster_start "$workspace/control" "shared_preload_libraries = 'rotor'"
run_psql -o /dev/null <<SQL
CREATE EXTENSION rotor;
SELECT rotor.setup_worker();
CREATE SCHEMA bench;
CREATE TABLE bench.step (id serial PRIMARY KEY, step text);
-- The administrator there has the password of the role of that name here.
CREATE ROLE bench_admin LOGIN;
SELECT format('CREATE ROLE aws_here_%s LOGIN', i) FROM generate_series(1, $aws_rotations) i \gexec
SELECT rotor.rotate('bench_admin');
SQL
run_psql -c "SELECT format('ALTER ROLE bench_admin PASSWORD %L', rolpassword) FROM pg_authid WHERE rolname = 'bench_admin'" |
    PGPORT=$remote_port run_psql

proxy_start near "$remote_port"
proxy_start silent "$remote_port"
run_psql -o /dev/null <<SQL
INSERT INTO rotor.target (name, type, host, port, dbname, admin)
    SELECT name, 'postgresql', '127.0.0.1', port, 'postgres', 'bench_admin'
    FROM (SELECT 'near_' || i, ${proxy_port[near]} FROM generate_series(1, $targets - 1) i
        UNION ALL VALUES ('silent', ${proxy_port[silent]}), ('direct', $remote_port)) t (name, port);
SELECT rotor.manage('bench_rotor', username => 'bench_rotor', target => 'direct');
SELECT rotor.manage('many_' || i, username => 'many_' || i, target => CASE i % $targets WHEN 0 THEN 'silent' ELSE 'near_' || i % $targets END)
    FROM generate_series(1, $rotations) i;
SQL

echo "| what | samples | floor | rotor | ratio | to reach | reached |"
echo "|---|--:|--:|--:|--:|--:|---|"
! is_wanted one || one
! is_wanted many || many
! is_wanted others || others
! is_wanted cpu || cpu_with_aws
memory
echo
echo "Machine: $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg) at the end; PostgreSQL $(run_psql -c 'SHOW server_version'), fsync $(run_psql -c 'SHOW fsync')."
