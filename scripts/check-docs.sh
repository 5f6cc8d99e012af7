#!/usr/bin/env bash
# Proves that the pages for operators are complete, by looking both ways: every SQLSTATE that src/ raises, every check and
# status of health(), every audit event, every state of a dead letter and every finding of reconcile() has its place in
# docs/operations.md; every function, view and setting has its entry in docs/rotor.7; every command and setting of the worker
# in docs/rotor.1; its targets, stores and metrics are in docs/worker.md; and what the pages list is there.
set -euo pipefail
shopt -s nullglob
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly page=docs/operations.md manual=docs/rotor.7 worker_page=docs/worker.md worker_manual=docs/rotor.1
failed=0

complain() {
    echo "$*" >&2
    failed=1
}

# same WHAT WHERE "IN THE SOURCES" "ON THE PAGE": two lists, one name a line
same() {
    local what=$1 where=$2 name
    if [[ -z $3 ]]; then
        complain "check-docs.sh finds no $what in the sources: its pattern is out of date"
    fi
    for name in $(comm -23 <(sort -u <<<"$3") <(sort -u <<<"$4")); do
        complain "$where: nothing on $what $name"
    done
    for name in $(comm -13 <(sort -u <<<"$3") <(sort -u <<<"$4")); do
        [[ -z $name ]] || complain "$where: $what $name is not in the sources"
    done
}

# found PATTERN FILE...: what the last (...) of a Perl pattern matches, across lines, one a line
found() {
    local pattern=$1
    shift
    cat "$@" | perl -0777 -ne 'BEGIN { $p = shift } print "$+\n" while /$p/gm' "$pattern"
}

# The part of the page under a heading of the second level.
section() {
    awk -v heading="## $1" '/^## / { inside = ($0 == heading) } inside' "$page"
}

# ---- SQLSTATEs

# NAME CODE of each of the server's.
error_codes() {
    local header
    header=$("${PG_CONFIG:-pg_config}" --includedir-server)/utils/errcodes.h
    [[ -f $header ]] || {
        echo "check-docs.sh: $header is missing" >&2
        return 1
    }
    sed -nE "s/^#define (ERRCODE_[A-Z0-9_]+) MAKE_SQLSTATE\('(.)','(.)','(.)','(.)','(.)'\)/\1 \2\3\4\5\6/p" "$header"
}

# What src/ raises or records: not what it only compares with.
raised_names() {
    sed -E -e 's/ERRCODE_TO_CATEGORY(\(ERRCODE_[A-Z0-9_]+\))?//g' -e 's/(case|[!=]=) ERRCODE_[A-Z0-9_]+//g' src/*.[ch] |
        grep -oE 'ERRCODE_[A-Z0-9_]+' | sort -u
}

# The names of the source as SQLSTATEs: to_codes <NAMES
to_codes() {
    awk 'NR == FNR { code[$1] = $2; next } { print ($1 in code) ? code[$1] : $1 }' <(error_codes) -
}

check_errors() {
    local raised judged code documented part label

    raised=$(raised_names | to_codes)
    raised+=$'\n'XX000 # elog(ERROR)
    documented=$(section "Errors that rotor raises" | sed -n 's/^### //p' | grep -oE '\b[0-9A-Z]{5}\b')
    same SQLSTATE "$page, Errors that rotor raises" "$raised" "$documented"

    # What decides how a rotation goes on: by code, or by class.
    judged=$(cat src/*.c | grep -oE 'case ERRCODE_[A-Z0-9_]+' | cut -d' ' -f2 | to_codes | sort -u)
    for code in $judged; do
        if [[ $code == ??000 && $code != XX000 ]]; then
            grep -qE "class(es)? .*\b${code:0:2}\b|\b$code\b" "$page" || complain "$page: nothing on class ${code:0:2}"
        else
            grep -qE "\b$code\b" "$page" || complain "$page: nothing on SQLSTATE $code, which decides how a rotation goes on"
        fi
    done

    while IFS= read -r part; do
        for label in 'State' 'See' 'Do' 'By itself'; do
            awk -v heading="### $part" '/^##/ { inside = ($0 == heading) } inside' "$page" | grep -qF -- "- **$label:**" ||
                complain "$page: section '$part' does not say '$label'"
        done
    done < <(section "Errors that rotor raises" | sed -n 's/^### //p')
}

# ---- health(), dead letters, reconcile(), audit

check_findings() {
    local check status statuses part

    same "check of health()" "$page, Findings of health()" \
        "$(found '\b(?:finding|check_count)\(\s*&?findings,\s*"(\w+)"' src/*.c)" \
        "$(section "Findings of health()" | sed -n 's/^### //p')"
    for check in $(section "Findings of health()" | sed -n 's/^### //p'); do
        part=$(awk -v heading="### $check" '/^##/ { inside = ($0 == heading) } inside' "$page")
        # Everything up to the detail: the status may be chosen between two.
        statuses=$(found "\\b(?:finding|check_count)\\(\\s*&?findings,\\s*\"$check\",\\s*([^;]*?\"(?:ok|warning|error)\"[^,]*)," src/*.c |
            { grep -oE '"(warning|error)"' || true; } | tr -d '"' | sort -u)
        for status in warning error; do
            if grep -qx "$status" <<<"$statuses" && ! grep -qF -- "**$status**" <<<"$part"; then
                complain "$page: check '$check' has no word on its status $status"
            elif ! grep -qx "$status" <<<"$statuses" && grep -qF -- "**$status**" <<<"$part"; then
                complain "$page: check '$check' has no status $status in the sources"
            fi
        done
    done
}

# First cells of the table in a section, without backticks, one name a line.
first_cells() {
    section "$1" | sed -nE '/^\|[- |]+\|$/d; s/^\| *([^|]*[^| ]) *\|.*/\1/p' | tail -n +2
}

check_tables() {
    local state events event

    while IFS= read -r state; do
        first_cells "States of a dead letter" | grep -qxF "$state" || complain "$page: nothing on the dead letter's state '$state'"
    done < <(sed -n '/^CREATE VIEW rotor.dead_letter/,/;$/p' sql/observe.sql | grep -oE "(THEN|ELSE) '[^']*'" | sed -E "s/^[A-Z]+ '(.*)'$/\1/")
    while IFS= read -r state; do
        grep -qF "'$state'" sql/observe.sql || complain "$page: a dead letter has no state '$state'"
    done < <(first_cells "States of a dead letter")

    same "finding of reconcile()" "$page, Findings of reconcile()" \
        "$(found '\[RECONCILE_\w+\] =\s*\{"(\w+)"' src/reconcile.c)" \
        "$(first_cells "Findings of reconcile()" | tr -d '`')"

    # Of transitions, of change_event(), of a row of its own, and of functions that take the event's name.
    events=$(
        found '\{S\(\w+\), O\(\w+\), *S\(\w+\), *T\(\w+\), *"(\w+)"' src/fsm.c
        found 'catalog_audit_event\(\s*&?[\w>-]+,\s*"(\w+)"' src/*.c
        found '\bfinish_managed\(\w+,\s*\w+,\s*"(\w+)"' src/*.c
        found '\.event = "(\w+)"' src/*.c
        found '"(configuration_\w+)"' src/*.c
    )
    same "audit event" "$page, Audit events" "$events" \
        "$(first_cells "Audit events" | grep -oE '[a-z_]+')"
    for event in $(found 'catalog_audit_event\(\s*&?[\w>-]+,\s*([a-z]\w*)\b(?!")' src/*.c | { grep -vxE 'event|change_event' || true; }); do
        complain "check-docs.sh does not know where the audit event '$event' comes from"
    done
}

# ---- the manual page

check_manual() {
    same function "$manual" \
        "$(found '\bCREATE FUNCTION rotor\.(\w+)' sql/*.sql | grep -vE '^(guard_|check_home_database$)')" \
        "$(sed -nE 's/^\.It Fn rotor\.(\w+).*/\1/p' "$manual")"
    same setting "$manual" \
        "$(found '\bDefineCustom\w+Variable\(\s*"(rotor\.\w+)"' src/guc.c)" \
        "$(sed -nE 's/^\.It Va (rotor\.\w+)$/\1/p' "$manual")"
    same view "$manual" \
        "$(found '\bCREATE VIEW rotor\.(\w+)' sql/*.sql)" \
        "$(sed -nE 's/^\.It Sy rotor\.(\w+)$/\1/p' "$manual")"
}

# ---- the worker

# Headings of the third level under one of the second, of the worker's page.
worker_headings() {
    awk -v heading="## $1" '/^## / { inside = ($0 == heading) } inside && /^### / { print $2 }' "$worker_page"
}

check_worker() {
    same command "$worker_manual" \
        "$(found '^\s*\{"(\w+)", \w+\},$' worker/main.c)" \
        "$(sed -nE '/^\.Sh DESCRIPTION/,/^\.Sh SETTINGS/s/^\.It Cm (\w+)$/\1/p' "$worker_manual")"
    same setting "$worker_manual" \
        "$(found '^OPTION\(\w+, "(\w+)"' worker/options_list.h | tr _ -)" \
        "$(sed -nE 's/^\.It Fl -([a-z-]+) .*/\1/p' "$worker_manual")"
    same "kind of target" "$worker_page" "$(found '\n\t\.type = "(\w+)"' worker/target_*.c)" "$(worker_headings Targets)"
    same "kind of store" "$worker_page" "$(found '\n\t\.type = "(\w+)"' worker/store_*.c)" "$(worker_headings Stores)"
    # shellcheck disable=SC2016 # backticks of the page
    same metric "$worker_page" \
        "$(found '\{"(rotor_\w+)"' worker/metrics.c)" \
        "$(sed -nE 's/^\| `(rotor_[a-z_]+)` \| (counter|gauge|histogram) .*/\1/p' "$worker_page")"
}

for file in "$page" "$manual" "$worker_page" "$worker_manual"; do
    [[ -f $file ]] || {
        echo "$file is missing" >&2
        exit 1
    }
done
check_errors
check_findings
check_tables
check_manual
check_worker
exit "$failed"
