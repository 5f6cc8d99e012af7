#!/usr/bin/env bash
# Installs what `make` has built, as whoever may: the caller, or root through sudo. Nothing is done if the installed
# files are the built ones.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

config=${PG_CONFIG:-pg_config}
make=${MAKE:-make}
lib_dir=$("$config" --pkglibdir)
extension_dir=$("$config" --sharedir)/extension

is_current() {
    local file

    cmp -s rotor.so "$lib_dir/rotor.so" || return 1
    for file in rotor.control rotor--*.sql; do
        cmp -s "$file" "$extension_dir/$file" || return 1
    done
}

if is_current; then
    exit 0
elif [[ -w $lib_dir && -w $extension_dir ]]; then
    "$make" --no-print-directory -s install
elif sudo -n true 2>/dev/null; then
    # The same flags as before, or root would build anew.
    sudo -n env MAKEFLAGS="${MAKEFLAGS:-}" "$make" --no-print-directory -s install \
        PG_CONFIG="$config" WERROR="${WERROR:-}"
else
    echo "rotor: cannot write to $lib_dir, and sudo asks for a password or is not there." >&2
    echo "As root, run: make install PG_CONFIG=$config" >&2
    exit 1
fi
