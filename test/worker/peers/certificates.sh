# shellcheck shell=bash
#
# For the peers to source, behind scripts/cluster.sh: certificates_make FOLDER makes $workspace/ca.crt, an authority of our
# own; FOLDER/server.crt and server.key, which it signed for the name localhost; $workspace/other.crt, an authority that
# signed nothing.

certificates_make() {
    local folder=$1 ssl=(as_server_user openssl)

    : "${workspace:?}"
    {
        "${ssl[@]}" req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=rotor-test-authority \
            -keyout "$workspace/ca.key" -out "$workspace/ca.crt" &&
            "${ssl[@]}" req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout "$folder/server.key" \
                -out "$workspace/server.csr" &&
            echo subjectAltName=DNS:localhost >"$workspace/san" && chmod a+r "$workspace/san" &&
            "${ssl[@]}" x509 -req -in "$workspace/server.csr" -CA "$workspace/ca.crt" -CAkey "$workspace/ca.key" \
                -CAcreateserial -days 2 -extfile "$workspace/san" -out "$folder/server.crt" &&
            "${ssl[@]}" req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=rotor-test-stranger \
                -keyout "$workspace/other.key" -out "$workspace/other.crt"
    } >"$workspace/openssl.log" 2>&1 || {
        cat "$workspace/openssl.log" >&2
        die "the certificates could not be made"
    }
}
