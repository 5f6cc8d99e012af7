#!/usr/bin/env bash
# Copies the PostgreSQL installation of PG_CONFIG, so that a build which is for tests only can be installed without anybody
# else meeting it: copy-server.sh FOLDER prints the copy's pg_config.
#
# PostgreSQL finds its own files relative to its programs, so a copy works wherever it lies. What is only read when
# something is built against it (headers, the static libraries) stays where it is, and is linked to.
set -euo pipefail

readonly config=${PG_CONFIG:-pg_config}
readonly target=$1

# The folder that all of the paths given lie in.
common_folder() {
    local common=$1 path
    shift
    for path in "$@"; do
        while [[ $path/ != "$common"/* ]]; do
            common=${common%/*}
        done
    done
    echo "$common"
}

bin=$("$config" --bindir)
lib=$("$config" --pkglibdir)
share=$("$config" --sharedir)
root=$(common_folder "$bin" "$lib" "$share")

for folder in "$bin" "$lib" "$share"; do
    copy=$target/${folder#"$root"/}
    # One may lie in another.
    [[ ! -e $copy ]] || continue
    mkdir -p "${copy%/*}"
    cp -a "$folder" "$copy"
done

copied_config=$target/${bin#"$root"/}/pg_config
for name in includedir pkgincludedir includedir-server libdir; do
    real=$("$config" --"$name")
    copy=$("$copied_config" --"$name")
    [[ ! -e $copy && -e $real ]] || continue
    mkdir -p "${copy%/*}"
    ln -s "$real" "$copy"
done
echo "$copied_config"
