#!/bin/sh
# Makes the cluster on first use and becomes the server. Understands of the official image's variables: PGDATA,
# POSTGRES_USER, POSTGRES_DB, POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE, POSTGRES_INITDB_ARGS; and runs the *.sql and
# *.sh of /docker-entrypoint-initdb.d. A password is demanded: nobody is trusted.
set -eu

make_cluster() {
    fresh=$PGDATA.new
    user=${POSTGRES_USER:-postgres}
    database=${POSTGRES_DB:-$user}
    password=$(cat "${POSTGRES_PASSWORD_FILE:-/dev/null}")
    password=${password:-${POSTGRES_PASSWORD:-}}
    if [ -z "$password" ]; then
        echo "No password: set POSTGRES_PASSWORD_FILE to a file that uid $(id -u) can read, or POSTGRES_PASSWORD." >&2
        exit 1
    fi
    umask 077
    rm -rf "$fresh"
    mkdir -p "$fresh"
    printf '%s\n' "$password" >/tmp/pwfile
    # shellcheck disable=SC2086 # the variable holds words
    initdb -D "$fresh" --username="$user" --pwfile=/tmp/pwfile --encoding=UTF8 --locale=C.UTF-8 \
        ${POSTGRES_INITDB_ARGS:---auth=scram-sha-256} >/dev/null
    rm /tmp/pwfile
    printf "\nhost all all all scram-sha-256\n" >>"$fresh/pg_hba.conf"
    printf "listen_addresses = '*'\nunix_socket_directories = '/var/run/postgresql'\n" >>"$fresh/postgresql.conf"
    export PGPASSWORD="$password" PGHOST=/var/run/postgresql PGUSER="$user"
    pg_ctl -D "$fresh" -s -w -o "-c listen_addresses=''" start >/dev/null
    [ "$database" = postgres ] || createdb "$database"
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
            *.sql) psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --dbname "$database" --file "$file" ;;
            *.sh) sh "$file" ;;
        esac
    done
    pg_ctl -D "$fresh" -s -w -m fast stop
    unset PGPASSWORD PGHOST PGUSER
    # Only a whole cluster gets the name that the next start looks for.
    rm -rf "$PGDATA"
    mv "$fresh" "$PGDATA"
}

case ${1:-} in -*) set -- postgres "$@" ;; esac
if [ "${1:-}" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    make_cluster
fi
exec "$@"
