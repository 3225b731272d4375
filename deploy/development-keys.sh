#!/usr/bin/env bash
# Writes deploy/.env with random keys for `make up`, each once, and says where they are. A file of an earlier version gets the keys that it lacks.
# A key that is empty is an error: nobody would be asked for it. GORANI_LISTEN of the environment is kept there for the next time.
# Usage: development-keys.sh FILE
set -euo pipefail

file=$1
random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
umask 077
if [ ! -e "$file" ]; then
    echo "# Random keys for this machine, made by \`make up\`. For production make your own and keep them where you keep secrets." > "$file"
fi
for name in GORANI_API_KEY GORANI_TOKEN_SECRET GORANI_REDIS_PASSWORD GORANI_ADMIN_PASSWORD GRAFANA_PASSWORD; do
    if ! grep -q "^$name=" "$file"; then
        echo "$name=dev-$(random)" >> "$file"
        made=yes
    elif grep -Eq "^$name=[[:space:]]*(\"[[:space:]]*\"|'[[:space:]]*')?[[:space:]]*$" "$file"; then
        echo "keys: $name is empty in $file: give it a value, or delete the line for a random one" >&2
        exit 78
    fi
done
if [ -n "${GORANI_LISTEN:-}" ]; then
    others=$(grep -v '^GORANI_LISTEN=' "$file")
    printf '%s\nGORANI_LISTEN=%s\n' "$others" "$GORANI_LISTEN" > "$file"
fi
if [ -n "${made:-}" ]; then
    echo "keys: DEVELOPMENT KEYS were made at random and written to $file; they are not for production" >&2
else
    echo "keys: $file is there already and is used as it is" >&2
fi
