#!/bin/sh
# Runs what it is given, unless a secret is missing or one that anybody can guess.
set -eu

refuse() {
    printf '%s\n' "$0: $1" >&2
    exit 78
}

make_one='Make one with "openssl rand -hex 32", or all of them with deploy/jupyterhub/make-env.'

# A whole URL, or libpq's password file, is the operator's own way.
if [ -z "${RTC_DATABASE_URL:-}${PGPASSFILE:-}" ]; then
    password=${PGPASSWORD:-${POSTGRES_PASSWORD:-}}
    [ -n "$password" ] || refuse "PGPASSWORD (POSTGRES_PASSWORD in .env) is not set. $make_one"
    case $(printf '%s' "$password" | tr '[:upper:]' '[:lower:]') in
        *postgres* | *password* | *changeme* | *change-me* | *amprenta* | *jupyterhub*)
            refuse "PGPASSWORD (POSTGRES_PASSWORD in .env) is a password that anybody would try. $make_one" ;;
    esac
    [ "${#password}" -ge 16 ] || refuse "PGPASSWORD (POSTGRES_PASSWORD in .env) is shorter than 16 characters. $make_one"
fi

[ -n "${RTC_ENCRYPTION_KEYS:-}" ] || refuse \
    'RTC_ENCRYPTION_KEYS is not set. Make a key with: echo "$(date +%Y-%m):$(openssl rand -base64 32)"'

exec "$@"
