#!/usr/bin/env bash
# Builds Debian packages from a copy of this checkout: deb.sh FOLDER
#
# One package for each server version that this Debian release supports and debian/pgversions allows. FOLDER is emptied
# first, and has the packages, their .changes and .buildinfo, and the build's log afterwards. The build's own tests are
# left out (nocheck): 'make test TESTS=package' proves the packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Flags and paths of the caller's own build must not get into a package.
for variable in "${!PG@}" CFLAGS CPPFLAGS LDFLAGS WERROR COPT PROFILE DESTDIR; do
    unset "$variable"
done
export LC_ALL=C.UTF-8 DEB_BUILD_OPTIONS=nocheck DEB_BUILD_PROFILES=nocheck
# The committed debian/control is for one release; another one has other server versions.
export PG_UPDATECONTROL=yes

folder=$1
rm -rf "$folder"
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
copy=$(mktemp -d "${TMPDIR:-/tmp}/rotor-deb.XXXXXX")
trap 'rm -rf "$copy"' EXIT

mkdir "$copy/rotor"
tar -cf - --exclude=./build --exclude=./.git --exclude='*.o' --exclude='*.d' --exclude='*.so' . | tar -xf - -C "$copy/rotor"
(cd "$copy/rotor" && dpkg-buildpackage -us -uc -b) >"$folder/build.log" 2>&1 || {
    tail -n 60 "$folder/build.log" >&2
    echo "deb.sh: the packages could not be built; $folder/build.log has all of it" >&2
    exit 1
}
cp "$copy"/*.deb "$copy"/*.changes "$copy"/*.buildinfo "$folder/"
ls "$folder"/*.deb
