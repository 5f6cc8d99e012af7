#!/usr/bin/env bash
# psql for pg_regress' --launcher: what the server says is reduced to its SQLSTATE, so that a run in German can be compared with
# one in English. Also what libpq says of a login, which has no SQLSTATE.
set -euo pipefail

sed -u -E 's/^\\set VERBOSITY .*/\\set VERBOSITY sqlstate/' |
    "$1" -v VERBOSITY=sqlstate "${@:2}" 2>&1 |
    sed -E -e 's/^(ERROR|FEHLER):  /error /; s/^(NOTICE|HINWEIS):  /notice /; s/^(WARNING|WARNUNG):  /warning /' \
        -e 's/Passwort-Authentifizierung für Benutzer »(.*)« fehlgeschlagen/password authentication failed for user "\1"/'
