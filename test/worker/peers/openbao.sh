#!/usr/bin/env bash
# A throw-away OpenBao or Vault for test/worker, in memory: $ROTOR_OPENBAO, or bao or vault of the PATH. Has a role of AppRole
# with the policy that docs ask for, and nothing more. Prints name=value lines and "ready"; ends when its standard
# input is closed. Without such a program it prints absent=REASON, and the test is skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
. scripts/cluster.sh

bao=${ROTOR_OPENBAO:-$(command -v bao || command -v vault || true)}
if [[ ! -x $bao ]]; then
    printf 'absent=%s\nready\n' "neither bao nor vault is installed, and ROTOR_OPENBAO names none"
    exit 0
fi

folder=$(mktemp -d /tmp/rotor-test-openbao.XXXXXX)
server=
# shellcheck disable=SC2317 # called by the trap
finish() {
    [[ -z $server ]] || { kill "$server" && wait "$server"; } 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT

port=$(free_port)
export HOME=$folder VAULT_ADDR=http://127.0.0.1:$port BAO_ADDR=http://127.0.0.1:$port VAULT_TOKEN=root BAO_TOKEN=root
"$bao" server -dev -dev-root-token-id=root -dev-listen-address="127.0.0.1:$port" </dev/null >"$folder/log" 2>&1 &
server=$!
for ((try = 0; ; try++)); do
    "$bao" status >"$folder/status" 2>&1 && break
    if ((try == 300)) || ! kill -0 "$server" 2>/dev/null; then
        cat "$folder/log" >&2
        exit 1
    fi
    sleep 0.1
done

{
    "$bao" policy write rotor - <<'POLICY'
path "secret/data/rotor/*" { capabilities = ["create", "read", "update"] }
path "secret/metadata/rotor/*" { capabilities = ["delete", "patch"] }
POLICY
    "$bao" auth enable approle
    "$bao" write auth/approle/role/rotor token_policies=rotor token_ttl=1h
} >"$folder/setup" 2>&1 || { cat "$folder/setup" >&2; exit 1; }
printf 'port=%s\nrole_id=%s\nsecret_id=%s\nready\n' "$port" \
    "$("$bao" read -field=role_id auth/approle/role/rotor/role-id)" \
    "$("$bao" write -f -field=secret_id auth/approle/role/rotor/secret-id)"
cat >/dev/null
