#!/usr/bin/env bash
# Writes deploy/.env with random keys for `make up`, once, and says where they are. Usage: development-keys.sh FILE
set -euo pipefail

file=$1
if [ -e "$file" ]; then
    echo "keys: $file is there already and is used as it is" >&2
    exit 0
fi
random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
umask 077
cat > "$file" <<KEYS
# Random keys for this machine, made by \`make up\`. For production make your own and keep them where you keep secrets.
GORANI_API_KEY=dev-$(random)
GORANI_TOKEN_SECRET=dev-$(random)
GRAFANA_PASSWORD=dev-$(random)
KEYS
echo "keys: DEVELOPMENT KEYS were made at random and written to $file; they are not for production" >&2
