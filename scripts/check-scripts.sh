#!/usr/bin/env bash
# Every script of ours, found by its first line or its name: shellcheck for shell, perl -cw for Perl. Whatever they say is
# a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

pg_config=${PG_CONFIG:-pg_config}
failed=0

# Files whose first line matches: first_line REGEX
first_line() {
    # shellcheck disable=SC2016 # awk expands it
    find . \( -name .git -o -name build \) -prune -o -type f -print0 |
        xargs -0 awk -v regex="$1" 'FNR == 1 { if (match($0, regex)) print FILENAME; nextfile }'
}

mapfile -t shell_files < <(first_line '^#!.*[/ ](ba|da)?sh( |$)|^# shellcheck shell=' | sort)
mapfile -t perl_files < <({ first_line '^#!.*[/ ]perl( |$)'; find test -name '*.p[lm]' -printf './%p\n'; } | sort -u)
((${#shell_files[@]} > 0 && ${#perl_files[@]} > 0)) || {
    echo "check-scripts.sh: no shell or no Perl files were found" >&2
    exit 1
}

shellcheck -x "${shell_files[@]}" || failed=1

pgxs_dir=$(cd "$(dirname "$("$pg_config" --pgxs)")/../.." && pwd)
for file in "${perl_files[@]}"; do
    said=$(perl -I "$pgxs_dir/src/test/perl" -I test/t -I test -cw "$file" 2>&1) || true
    if [[ $said != "$file syntax OK" ]]; then
        printf '%s\n' "$said"
        failed=1
    fi
done

exit "$failed"
