#!/usr/bin/env bash
# An imitation of AWS for test/worker: moto's server, which checks signatures and knows one user with every right.
# Prints name=value lines and "ready", or "missing=moto" where there is none; ends, and leaves nothing behind, when
# its standard input is closed. MOTO_SERVER says where the program is, if not in PATH or in build/moto of the sources.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."

program=${MOTO_SERVER:-}
for candidate in "$(command -v moto_server || true)" "$PWD/build/moto/bin/moto_server"; do
    [[ -n $program || -z $candidate || ! -x $candidate ]] || program=$candidate
done
if [[ -z $program ]]; then
    echo missing=moto
    echo ready
    exit 0
fi

folder=$(mktemp -d "${TMPDIR:-/tmp}/rotor-moto.XXXXXX")
server=
: >"$folder/log"
finish() {
    [[ -z $server ]] || kill "$server" 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT

# Nothing of the caller's own AWS settings. Port 0: it says which one it has got.
for name in $(compgen -e AWS_ || true); do unset "$name"; done
PYTHONUNBUFFERED=1 "$program" -H 127.0.0.1 -p 0 >"$folder/log" 2>&1 </dev/null &
server=$!
until grep -q 'Running on http' "$folder/log"; do
    kill -0 "$server" 2>/dev/null || { cat "$folder/log" >&2; exit 1; }
    sleep 0.1
done
port=$(sed -n 's|.*Running on http://127.0.0.1:\([0-9]*\).*|\1|p' "$folder/log")

# The interpreter beside moto has boto3. Signatures are checked from its last request on.
"$(dirname "$program")/python3" - "$port" 2>"$folder/setup.log" <<'PYTHON' || { cat "$folder/setup.log" >&2; exit 1; }
import json
import sys
import urllib.request

import boto3

url = "http://127.0.0.1:" + sys.argv[1]
iam = boto3.client("iam", endpoint_url=url, region_name="eu-central-1",
                   aws_access_key_id="x", aws_secret_access_key="x")
everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
iam.create_user(UserName="rotor")
iam.put_user_policy(UserName="rotor", PolicyName="all", PolicyDocument=json.dumps(everything))
key = iam.create_access_key(UserName="rotor")["AccessKey"]
role = iam.create_role(RoleName="web", AssumeRolePolicyDocument=json.dumps(everything))["Role"]
iam.put_role_policy(RoleName="web", PolicyName="all", PolicyDocument=json.dumps(everything))
urllib.request.urlopen(urllib.request.Request(url + "/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"})).read()
print("key_id=" + key["AccessKeyId"])
print("secret_key=" + key["SecretAccessKey"])
print("role=" + role["Arn"])
PYTHON

echo "port=$port"
echo ready
exec 1>&2
cat >/dev/null
