#!/usr/bin/env bash
# Makes build/programs/bin: pgbouncer, and promtool of prometheus, for the worker's tests. Out of Debian's packages, which are
# unpacked and not installed: those would start services. Nothing is done for what is in the PATH or made already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly programs=$PWD/build/programs
PATH=$PATH:/usr/sbin

# Unpacks a package, with those it depends on whose names match: unpack PROGRAM PACKAGE [PATTERN]
unpack() {
    local program=$1 package=$2 pattern=${3:-} folder
    local -a packages=("$package")
    ! command -v "$program" >/dev/null && [[ ! -x $programs/bin/$program ]] || return 0
    if [[ -n $pattern ]]; then
        mapfile -t -O 1 packages < <(apt-cache depends --important "$package" | sed -n 's/^ *Depends: //p' | grep -E "$pattern")
    fi
    folder=$programs/$package
    rm -rf "$folder"
    mkdir -p "$folder" "$programs/bin"
    (
        cd "$folder"
        apt-get -qq download "${packages[@]}"
        for file in *.deb; do
            dpkg -x "$file" .
        done
        rm -f -- *.deb
    )
    # By paths of its own, so that the folder can be copied.
    (
        cd "$programs"
        # shellcheck disable=SC2016 # the program expands it
        printf '#!/bin/sh\ncd "$(dirname "$0")/.." && LD_LIBRARY_PATH="%s" exec "%s" "$@"\n' \
            "$(find "$package" -name '*.so.*' -printf '$PWD/%h\n' | sort -u | paste -sd:)" \
            "\$PWD/$(find "$package" -type f -path "*bin/$program" | head -n 1)" >"bin/$program.new"
    )
    chmod 755 "$programs/bin/$program.new"
    mv "$programs/bin/$program.new" "$programs/bin/$program"
}

unpack pgbouncer pgbouncer '^lib(event|c-?ares)'
unpack promtool prometheus
