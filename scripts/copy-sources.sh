#!/usr/bin/env bash
# Copies the sources as they are now, without what was built from them: copy-sources.sh FOLDER makes the folder anew.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rm -rf "$1"
mkdir -p "$1"
tar -cf - --exclude=build --exclude='*.o' --exclude='*.d' --exclude=rotor.so --exclude=./.git . | tar -xf - -C "$1"
