#!/usr/bin/env bash
# Proves that scripts/check-docs.sh finds what it is there to find: in one copy, each thing that is missing on a page, or is
# there too much, is named.
# shellcheck disable=SC2016 # backticks of the pages, within sed's expressions
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

workspace=$(mktemp -d "${TMPDIR:-/tmp}/rotor-docs.XXXXXX")
trap 'rm -rf "$workspace"' EXIT
copy=$workspace/rotor
names=()
patterns=()
failed=0

# finds NAME PATTERN FILE SED-EXPRESSION: the change of the file must be found, in the words of the pattern
finds() {
    cp "$copy/$3" "$workspace/before"
    sed -i -E "$4" "$copy/$3"
    if cmp -s "$workspace/before" "$copy/$3"; then
        echo "not ok - $1: the change of $3 changes nothing"
        failed=1
    fi
    names+=("$1")
    patterns+=("$2")
}

mkdir -p "$copy/scripts"
cp -r docs sql src worker "$copy/"
cp scripts/check-docs.sh "$copy/scripts/"
page=docs/operations.md

finds "an SQLSTATE without a section" 'nothing on SQLSTATE 55P03' $page 's/^### 55P03.*/### something else/'
finds "a section on an SQLSTATE that nothing raises" 'SQLSTATE 99999 is not in the sources' $page 's/^### 55006/### 99999, 55006/'
finds "an SQLSTATE that is new in the sources" 'nothing on SQLSTATE 22012' src/role.c '$a errcode(ERRCODE_DIVISION_BY_ZERO)'
finds "an SQLSTATE that decides, and is not on the page" 'nothing on SQLSTATE 23505' $page 's/23505/xxxxx/g'
finds "a section that does not say the state" "section '42501 not allowed' does not say 'State'" $page \
    '/^### 42501/,/^### 42704/s/\*\*State:/**Stand:/'
finds "a check of health() without a section" 'nothing on check of health\(\) overdue' $page 's/^### overdue/### late/'
finds "a check that health() does not have" 'check of health\(\) sleepy is not in the sources' $page 's/^### key$/### sleepy\n\n&/'
finds "a status without a word" "check 'pg_hba' has no word on its status warning" $page \
    '/^### pg_hba/,/^```/s/\*\*warning\*\*/**hint**/'
finds "a status that the check does not have" "check 'preload' has no status error in the sources" $page \
    '/^### preload/,/^### workers/s/\*\*warning\*\*/**error**/'
finds "an audit event of a transition" 'nothing on audit event gave_up' $page 's/^\| `gave_up`, /| /'
finds "an audit event of a function" 'nothing on audit event statistics_reset' $page '/^\| `statistics_reset`/d'
finds "an audit event that nothing writes" 'audit event never is not in the sources' $page 's/^\| `requeued`/| `never`, `requeued`/'
finds "a state of a dead letter" "nothing on the dead letter's state 'the role still has" $page '/^\| the role still has/d'
finds "a finding of reconcile()" 'nothing on finding of reconcile\(\) role_taken' $page '/^\| `role_taken`/d'
finds "a function without an entry in the manual page" 'nothing on function requeue' docs/rotor.7 's/^\.It Fn rotor\.requeue.*//'
finds "a setting without one" 'nothing on setting rotor\.workers' docs/rotor.7 's/^\.It Va rotor\.workers//'
finds "a view without one" 'nothing on view coverage' docs/rotor.7 's/^\.It Sy rotor\.coverage//'
finds "a command of the worker without one" 'nothing on command worker' docs/rotor.1 's/^\.It Cm worker$//'
finds "a setting of the worker without one" 'nothing on setting act-timeout' docs/rotor.1 's/^\.It Fl -act-timeout .*//'
finds "a setting that the worker does not have" 'setting act-slowly is not in the sources' docs/rotor.1 's/^\.It Fl -mlock .*/&\n.It Fl -act-slowly Ns = Ns Ar text/'
finds "a kind of store without a section" 'nothing on kind of store vault' docs/worker.md 's/^### vault/#### vault/'
finds "a kind of target without a section" 'nothing on kind of target postgresql' docs/worker.md 's/^### postgresql/### oracle/'
finds "a metric without a row" 'nothing on metric rotor_claims_total' docs/worker.md '/^\| `rotor_claims_total`/d'
finds "a row on a metric that is not there" 'metric rotor_luck is not in the sources' docs/worker.md 's/^\| `rotor_leases_held`.*/&\n| `rotor_luck` | gauge | | none |/'
finds "an entry on what is not there" 'function nothing is not in the sources' docs/rotor.7 's/^\.It Fn rotor\.run_due/&\n.It Fn rotor.nothing/'

if "$copy/scripts/check-docs.sh" >"$workspace/out" 2>&1; then
    echo "not ok - the check passes"
    failed=1
fi
for i in "${!names[@]}"; do
    if grep -qE -- "${patterns[i]}" "$workspace/out"; then
        echo "ok - ${names[i]}"
    else
        echo "not ok - ${names[i]}: /${patterns[i]}/ is not said"
        failed=1
    fi
done
((failed == 0)) || sed 's/^/    /' "$workspace/out"
exit "$failed"
