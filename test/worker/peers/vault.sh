# shellcheck shell=bash
# Vault's and OpenBao's imitation; see vault_peer.py.
exec python3 "${BASH_SOURCE[0]%/*}/vault_peer.py"
