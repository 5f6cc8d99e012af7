#!/usr/bin/env bash
# A throw-away HTTPS server for test/worker, which answers every GET with a page: its certificate is for the name
# localhost alone, by an authority of its own. Prints name=value lines and "ready"; ends, and leaves nothing
# behind, when its standard input is closed.
set -euo pipefail

folder=$(mktemp -d "${TMPDIR:-/tmp}/rotor-tls.XXXXXX")
server=
: >"$folder/server.log"
finish() {
    [[ -z $server ]] || kill "$server" 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT

{
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=rotor-test-authority \
        -keyout "$folder/ca.key" -out "$folder/ca.crt"
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=rotor-test-stranger \
        -keyout "$folder/other.key" -out "$folder/other.crt"
    openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout "$folder/server.key" -out "$folder/server.csr"
    echo subjectAltName=DNS:localhost >"$folder/san"
    openssl x509 -req -in "$folder/server.csr" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -CAcreateserial \
        -days 2 -extfile "$folder/san" -out "$folder/server.crt"
} >"$folder/openssl.log" 2>&1 || { cat "$folder/openssl.log" >&2; exit 1; }

# Port 0: it says which one it has got.
openssl s_server -accept 127.0.0.1:0 -www -cert "$folder/server.crt" -key "$folder/server.key" \
    >"$folder/server.log" 2>&1 </dev/null &
server=$!
until grep -q '^ACCEPT' "$folder/server.log"; do
    kill -0 "$server" 2>/dev/null || { cat "$folder/server.log" >&2; exit 1; }
    sleep 0.05
done
port=$(sed -n 's/^ACCEPT .*:\([0-9]*\)$/\1/p' "$folder/server.log")

echo "port=$port"
echo "ca=$folder/ca.crt"
echo "other_ca=$folder/other.crt"
echo ready
exec 1>&2
cat >/dev/null
