#!/usr/bin/env bash
# Makes build/moto: a virtual environment with moto, an imitation of AWS, for the worker's tests. Nothing is done if there is
# one, or a moto_server in the PATH. Needs the registry of Python packages once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly version=5.2.5

[[ -z ${MOTO_SERVER:-} ]] || exit 0
! command -v moto_server >/dev/null || exit 0
[[ ! -f build/moto/complete ]] || exit 0
rm -rf build/moto
python3 -m venv build/moto
build/moto/bin/pip install --quiet --disable-pip-version-check "moto[server]==$version"
touch build/moto/complete
