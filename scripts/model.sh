#!/usr/bin/env bash
# Checks the model of the rotation protocol with spin: model.sh [--help] [VARIANT...]
#
# Prints a line for each variant: its property, how many states were searched, how long that took, and what came of it.
# What is right must hold in every state; each planted mistake must violate the property that is meant to find it; and
# each way in which a rotation can end must be reached. Without a VARIANT all are checked, as many at a time as there are
# processors. docs/model/README.md says what the properties mean. The last line is 'N passed, N failed, N skipped'.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The variant, its model, what must come out, and its macros. "holds": no assertion is violated, and nobody waits for
# ever. "ends": no run goes on for ever. Else the name of what is violated; "waits" and "endless" are the opposites.
readonly variants='
self             self     holds
self-ends        self     ends     TERMINATION ROTATIONS=1
emergency        self     holds    EMERGENCY
emergency-ends   self     ends     EMERGENCY TERMINATION ROTATIONS=1
outside          outside  holds
outside-ends     outside  ends
labels-later     self     I1       BROKEN_LABELS_LATER
early-drop       self     I2       BROKEN_EARLY_DROP
no-compare       self     I2       BROKEN_NO_COMPARE ROTATIONS=1
unlocked         self     I4       BROKEN_UNLOCKED
unseen           self     END      BROKEN_UNSEEN
lock-stays       self     waits    BROKEN_LOCK_STAYS
no-limit         self     endless  BROKEN_NO_LIMIT TERMINATION ROTATIONS=1
way-back         self     LEAK     BROKEN_WAY_BACK EMERGENCY ROTATIONS=1
late-answer      outside  I4       BROKEN_LATE_ANSWER
short-lease      outside  I4       BROKEN_SHORT_LEASE
guess            outside  I1       BROKEN_GUESS
unread           outside  I1       BROKEN_UNREAD
no-way-back      outside  I1       BROKEN_NO_WAY_BACK
forgotten        outside  I2       BROKEN_FORGOTTEN
success          self     REACHED  WITNESS=success
rolled-back      self     REACHED  WITNESS=rolled_back
cancelled        self     REACHED  WITNESS=cancelled
dead-letter      self     REACHED  WITNESS=dead
settled          self     REACHED  WITNESS=settled
forward          self     REACHED  WITNESS=success EMERGENCY
out-success      outside  REACHED  WITNESS=success
out-rolled-back  outside  REACHED  WITNESS=rolled_back
out-dead-letter  outside  REACHED  WITNESS=dead
'

if [[ ${1:-} == --help ]]; then
    sed -n '2,/^set /s/^# \{0,1\}//p' "$0"
    exit 0
fi
for tool in spin gcc; do
    command -v "$tool" >/dev/null || {
        echo "model.sh: $tool is missing; 'make deps' installs it" >&2
        exit 1
    }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What the search found, by what it printed: holds, or the name of what was violated.
finding() {
    local name
    if grep -q 'errors: 0$' "$1" && ! grep -qE 'Search not completed|max search depth too small|out of memory' "$1"; then
        echo holds
    elif name=$(grep -oP '^pan:1: assertion violated \K\w+' "$1"); then
        echo "$name"
    elif grep -q '^pan:1: invalid end state' "$1"; then
        echo waits
    elif grep -q '^pan:1: non-progress cycle' "$1"; then
        echo endless
    else
        echo incomplete
    fi
}

# search VARIANT MODEL EXPECTED MACRO...: leaves the variant's line, and "passed" or "failed", in its folder
search() {
    local variant=$1 model=$2 expected=$3 folder="$work/$1" kind=-DSAFETY loops=() level=-O2 found states result=passed
    local started=$EPOCHREALTIME
    shift 3

    mkdir "$folder"
    if [[ $expected == ends || $expected == endless ]]; then
        kind=-DNP loops=(-l)
    fi
    # A mistake is found after few states: the compiler would take longer than the search.
    [[ $expected == holds || $expected == ends ]] || level=-O0
    {
        cp "docs/model/$model.pml" "$folder"
        cd "$folder"
        spin -a "${@/#/-D}" "$model.pml"
        gcc "$level" -w "$kind" -DMEMLIM=4096 -o pan pan.c
        ./pan -m100000 -w24 "${loops[@]}"
    } >"$folder/log" 2>&1 || true
    found=$(finding log)
    if [[ $expected == ends && $found == holds ]]; then
        found=ends
    fi
    [[ $found == "$expected" ]] || result=failed
    states=$(grep -oP '^ *\K[0-9.e+]+(?= states, stored)' log || echo -)
    awk -v variant="$variant" -v found="$found" -v expected="$expected" -v states="$states" -v result="$result" \
        -v from="$started" -v to="$EPOCHREALTIME" \
        'BEGIN { printf "%-16s %-9s %-10s %10s %6.1f s  %s\n", variant, expected, found, states, to - from, result }' >line
    echo "$result" >result
}

passed=0 failed=0
mapfile -t macros < <(grep -hoE '\bBROKEN_\w+' docs/model/*.pml | sort -u)
for macro in "${macros[@]}"; do
    grep -qw "$macro" <<<"$variants" || {
        echo "model.sh: no variant has the mistake $macro"
        failed=1
    }
done
printf '%-16s %-9s %-10s %10s %8s  %s\n' variant expected found states time result
started=()
while read -r variant model expected macros; do
    if [[ -z $variant ]] || { (($# > 0)) && [[ " $* " != *" $variant "* ]]; }; then
        continue
    fi
    while (($(jobs -pr | wc -l) >= $(nproc))); do
        wait -n || true
    done
    # shellcheck disable=SC2086 # macros are words
    (search "$variant" "$model" "$expected" $macros) &
    started+=("$variant")
done <<<"$variants"
wait

for variant in "${started[@]}"; do
    if [[ $(cat "$work/$variant/result" 2>/dev/null) == passed ]]; then
        passed=$((passed + 1))
        cat "$work/$variant/line"
    else
        failed=$((failed + 1))
        cat "$work/$variant/line" 2>/dev/null || echo "$variant: no result"
        grep -vE '^$' "$work/$variant/log" | head -n 20 || true
    fi
done
if ((passed + failed == 0)); then
    echo "model.sh: no variant is named $*" >&2
    failed=1
fi
echo "$passed passed, $failed failed, 0 skipped"
((failed == 0))
