#!/bin/sh
# Serve the cluster in PGDATA over TCP, making it first if need be; its superuser is stronglens.
set -eu
: "${PGDATA:?}" "${POSTGRES_PASSWORD:?set the password of the database}"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    umask 077
    password_file="$(mktemp)"
    trap 'rm -f "$password_file"' EXIT
    printf '%s\n' "$POSTGRES_PASSWORD" > "$password_file"
    initdb -D "$PGDATA" --username=stronglens --encoding=UTF8 --locale=C.UTF-8 \
        --auth=scram-sha-256 --pwfile="$password_file"
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    rm -f "$password_file"
fi
unset POSTGRES_PASSWORD
exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp \
    -c shared_buffers=512MB -c max_wal_size=4GB -c timezone=UTC "$@"
