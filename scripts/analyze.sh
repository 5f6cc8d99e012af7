#!/usr/bin/env bash
# Static analysis of every C file: analyze.sh [gcc] [cppcheck] [clang-tidy] [FILE...]
#
#   gcc         -fanalyzer, once as the code is built (-O2) and once with nothing folded or inlined (-O0)
#   cppcheck    .cppcheck-suppressions has what is off, and why
#   clang-tidy  .clang-tidy has the checks, and why some are off; a folder may have one of its own that adds to it
#
# Without a tool all three run, without a FILE all files. Each finding is a failure. What is silenced at one place names
# the check and the reason there. Headers of others are read, and only what is in our files is told. What was found
# sound is not analysed again until it changes, with all that it includes: build/analysis remembers it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly folders=(bench common src test worker)
clang_tidy=${CLANG_TIDY:-clang-tidy-14}
pg_config=${PG_CONFIG:-pg_config}
server_headers=$("$pg_config" --includedir-server)
client_headers=$("$pg_config" --includedir)
# Those of the worker's libraries that are not where the compiler looks anyhow.
read -r -a packages < <(sed -n 's/^WORKER_PACKAGES = //p' worker/sources.mk)
read -r -a libraries < <("${PKG_CONFIG:-pkg-config}" --cflags-only-I "${packages[@]}")
# As the Makefile defines it.
version="-DROTOR_VERSION=\"$(sed -n "s/^default_version = '\(.*\)'/\1/p" rotor.control)\""

# What gcc and clang are told of any of our files.
words=(-std=gnu11 -D_GNU_SOURCE "$version" -iquote common -iquote src -iquote worker -iquote test/unit -iquote test/fuzz
    -isystem "$server_headers" -isystem "$client_headers" "${libraries[@]/#-I/-isystem}"
    -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wformat=2 -Wvla -Wimplicit-fallthrough
    -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers)

memory=build/analysis
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

complain() {
    echo "analyze.sh: $*" >&2
    return 1
}

# unless_known FUNCTION WORD... FILE: calls the function unless the file was found sound by it.
unless_known() {
    local known

    known=$memory/$({
        printf '%s\n' "$@"
        cat "$0" .clang-tidy "$(checks_of "${@: -1}")"
        "$clang_tidy" --version
        gcc --version
        gcc "${words[@]}" -E -CC "${@: -1}"
    } | sha256sum | cut -d ' ' -f 1)
    [[ ! -f $known ]] || return 0
    "$@"
    touch "$known"
}

# gcc_analyze LEVEL FILE: the analyzer gives up where there are too many paths, and says so only if asked. It has room for
# so many here that it need not. That it does not follow loops for ever is told by the same warning, and is no finding.
# Once calls are inlined, it takes a struct that an inner one returned for one that nobody has set: only -O0 asks for that.
gcc_analyze() {
    local said command=(gcc "${words[@]}" "$1" -Wno-clobbered -fanalyzer --param=analyzer-bb-explosion-factor=500
        -Werror -c "$2" -o /dev/null)

    [[ $1 == -O0 ]] || command+=(-Wno-analyzer-use-of-uninitialized-value)
    if ! said=$("${command[@]}" -Wanalyzer-too-complex -Wno-error=analyzer-too-complex 2>&1); then
        "${command[@]}" || true # again, without what is no finding
        complain "gcc $1 -fanalyzer: $2"
    elif [[ $said == *"analysis bailed out early"* ]]; then
        complain "gcc $1 -fanalyzer: $2 has too many paths for the analyzer"
    fi
}

# The file that says what clang-tidy looks for in a file.
checks_of() {
    local own=${1%/*}/.clang-tidy
    [[ -f $own ]] && echo "$own" || echo .clang-tidy
}

tidy() {
    local said
    said=$("$clang_tidy" --quiet --config-file="$(checks_of "$1")" "$1" -- "${words[@]}" 2>&1) || {
        printf '%s\n' "$said"
        complain "$clang_tidy: $1"
    }
}

# Constant error levels are what tells that ereport(ERROR) does not return; and one definition makes one configuration.
# The types of curl's options are checked by the compiler; with what its header has for that, cppcheck does not end.
run_cppcheck() {
    gcc -dM -E -D_GNU_SOURCE -x c /dev/null >"$work/predefined.h"
    cppcheck --quiet -j "$(nproc)" --cppcheck-build-dir="$memory/cppcheck" --std=c11 --inconclusive --inline-suppr \
        --enable=warning,style,performance,portability,information --library=posix,gnu,openssl \
        --suppressions-list=.cppcheck-suppressions --include="$work/predefined.h" -D'__builtin_constant_p(x)=1' \
        -DCURL_DISABLE_TYPECHECK \
        "$version" -Icommon -Isrc -Iworker -Itest/unit -Itest/fuzz -I"$server_headers" -I"$client_headers" "${libraries[@]}" \
        --template='{file}:{line}: {severity}: {message} [{id}]' --error-exitcode=1 "$@"
}

# analyze TOOL FILE...
analyze() {
    local tool=$1
    shift
    case $tool in
        gcc) printf 'gcc_analyze %s\n' "${@/#/-O2 }" "${@/#/-O0 }" | in_parallel ;;
        cppcheck) run_cppcheck "$@" ;;
        clang-tidy) printf 'tidy %s\n' "$@" | in_parallel ;;
    esac
}

# Calls a function of this file for each line of words.
in_parallel() {
    xargs -P "$(nproc)" -L 1 "$0" --call unless_known
}

# Proves that a tool finds what is there to be found, and knows that ereport(ERROR) does not return.
prove() {
    local memory=$work

    mkdir -p "$memory/cppcheck"
    cat >"$work/sound.c" <<'END'
#include "postgres.h"

extern char first_of(const char *word, int wanted);

char
first_of(const char *word, int wanted)
{
	const char *found = NULL;

	if (wanted)
		found = word;
	if (found == NULL)
		ereport(ERROR, (errmsg("nothing is wanted")));
	return *found;
}
END
    sed 's/ereport(.*/wanted++;/' "$work/sound.c" >"$work/unsound.c"
    analyze "$1" "$work/sound.c" || complain "$1 finds fault with what is sound"
    if analyze "$1" "$work/unsound.c" >"$work/found" 2>&1 || ! grep -qi null "$work/found"; then
        complain "$1 finds no fault with what is unsound"
    fi
}

# Each check that is off has its reason, and so has each place where one is silenced.
check_reasons() {
    local name config failed=0

    for config in .clang-tidy test/worker/.clang-tidy; do
        while IFS= read -r name; do
            grep -qE "^# $name: ." "$config" ||
                complain "$config: $name is off, and no line that begins with its name says why" || failed=1
        done < <(sed -nE 's/^ +-([a-z].*[^,]),?$/\1/p' "$config")
    done
    if grep -nE 'NOLINT|cppcheck-suppress' "$@" |
        grep -vE 'NOLINT(NEXTLINE)?\([a-zA-Z0-9.,-]+\): .|cppcheck-suppress [a-zA-Z]+ ; .'; then
        complain "what is silenced has to name the check and the reason" || failed=1
    fi
    return "$failed"
}

# main [TOOL...] [FILE...]
main() {
    local word tools=() files=() failed=0

    mkdir -p "$memory/cppcheck"
    for word in "$@"; do
        case $word in
            gcc | cppcheck | clang-tidy) tools+=("$word") ;;
            *) files+=("$word") ;;
        esac
    done
    ((${#tools[@]} > 0)) || tools=(gcc cppcheck clang-tidy)
    ((${#files[@]} > 0)) || mapfile -t files < <(find "${folders[@]}" -name '*.c' | sort)

    check_reasons "${files[@]}" || failed=1
    for word in "${tools[@]}"; do
        prove "$word" && analyze "$word" "${files[@]}" || failed=1
    done
    return "$failed"
}

if [[ ${1:-} == --call ]]; then
    "${@:2}"
else
    main "$@"
fi
