#!/usr/bin/env bash
# Starts a node with the settings of this example, and the app beside it; Ctrl-C ends both. `make run-example` builds the node first.
# Usage: run.sh GORANI    (the binary)
# APP_PORT and PUSH_PORT listen elsewhere than on 3000 and 8000; APP_STATE keeps secrets and messages elsewhere than in ./state.
set -euo pipefail
# Each of the two in a process group of its own: then Ctrl-C reaches this script alone, which tells each of them once.
set -m

gorani=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")"
state=${APP_STATE:-state}
app_port=${APP_PORT:-3000}
push_port=${PUSH_PORT:-8000}
# Seconds until the node must be ready.
ready_within=30

node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 18 ? 0 : 1)' 2>/dev/null || { echo "the example needs Node 18 or later" >&2; exit 1; }
# npm writes this file when it is done.
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
    npm ci --ignore-scripts --no-progress --no-fund --no-audit
fi

# Random secrets, made once, so that who is signed in stays so after a restart.
mkdir -p "$state"
if [ ! -e "$state/secrets.env" ]; then
    (
        umask 077
        for name in GORANI__API__KEYS GORANI__TOKEN__HMAC_SECRET APP_SESSION_SECRET; do
            echo "$name=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')"
        done > "$state/secrets.env"
    )
fi
set -a
. "$state/secrets.env"
GORANI_CONFIG=gorani.toml
GORANI__HTTP__ADDRESS=127.0.0.1:$push_port
GORANI__CLIENT__ALLOWED_ORIGINS=http://127.0.0.1:$app_port,http://localhost:$app_port
APP_PORT=$app_port
APP_DATA=$state/messages.jsonl
PUSH_URL=http://127.0.0.1:$push_port
set +a

pids=()
end() {
    trap '' INT TERM
    for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" || true; done
}
trap 'end; exit 0' INT TERM

"$gorani" serve &
pids+=($!)
# The time of npm does not count.
SECONDS=0
until "$gorani" health ready >/dev/null 2>&1; do
    if ! kill -0 "${pids[0]}" 2>/dev/null || [ "$SECONDS" -ge "$ready_within" ]; then
        echo "the node did not become ready" >&2
        end
        exit 1
    fi
    sleep 0.1
done
node src/server.js &
pids+=($!)
echo "Ctrl-C ends the app and the node."
# Where one of them ends by itself, the other ends too.
wait -n || true
echo "one of the two has ended" >&2
end
exit 1
