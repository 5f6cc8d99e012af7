# shellcheck shell=bash
# A web service with a key; see http_peer_service.py.
exec python3 "${BASH_SOURCE[0]%/*}/http_peer_service.py"
