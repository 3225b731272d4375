#!/usr/bin/env bash
# Starts a node with the settings of this example, and a backend beside it; Ctrl-C ends both. `make run-example` builds the node first.
# Usage: run.sh GORANI python|node    (the binary, and which of the two backends)
# APP_PORT and PUSH_PORT listen elsewhere than on 3000 and 8000; APP_STATE keeps secrets and people elsewhere than in ./state.
set -euo pipefail
# Each of the two in a process group of its own: then Ctrl-C reaches this script alone, which tells each of them once.
set -m

gorani=$(realpath "$1")
case "${2:-}" in
    python) backend=(python3 python/backend.py) ;;
    node) backend=(node node/backend.js) ;;
    *) echo "which backend: python or node?" >&2; exit 64 ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")"
state=$(realpath -m "${APP_STATE:-state}")
app_port=${APP_PORT:-3000}
push_port=${PUSH_PORT:-8000}
# Seconds until both must be ready.
ready_within=30
command -v "${backend[0]}" >/dev/null || { echo "${backend[0]} is not installed" >&2; exit 1; }

# Random secrets, made once, so that who is signed in stays so after a restart.
mkdir -p "$state"
if [ ! -e "$state/secrets.env" ]; then
    (
        umask 077
        # Signatures by Standard Webhooks: whsec_ and the base64 of 24 to 64 bytes.
        echo "whsec_$(head -c 32 /dev/urandom | base64 | tr -d '\n')" > "$state/hook.secret"
        for name in GORANI__API__KEYS APP_SESSION_SECRET; do
            echo "$name=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')"
        done > "$state/secrets.env"
    )
fi
# The settings, with the ports that are wanted and the place of the secret.
sed -e "s|127.0.0.1:8000|127.0.0.1:$push_port|; s|:3000|:$app_port|g; s|\"state/|\"$state/|" gorani.toml > "$state/gorani.toml"
set -a
. "$state/secrets.env"
APP_HOOK_SECRET=$(cat "$state/hook.secret")
GORANI_CONFIG=$state/gorani.toml
APP_PORT=$app_port
APP_DATA=$state/people.json
PUSH_URL=http://127.0.0.1:$push_port
set +a

pids=()
end() {
    trap '' INT TERM
    for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" || true; done
}
trap 'end; exit 0' INT TERM

# Waits until a command succeeds; ends both where the process is gone, or it takes too long.
wait_for() {
    local pid=$1
    shift
    until "$@" >/dev/null 2>&1; do
        if ! kill -0 "$pid" 2>/dev/null || [ "$SECONDS" -ge "$ready_within" ]; then
            echo "this did not succeed in time: $*" >&2
            end
            exit 1
        fi
        sleep 0.1
    done
}
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1"); }

"${backend[@]}" &
pids+=($!)
wait_for "${pids[0]}" listens "$app_port"
"$gorani" serve &
pids+=($!)
wait_for "${pids[1]}" "$gorani" health ready
echo "The page is on http://127.0.0.1:$app_port; Ctrl-C ends the backend and the node."
# Where one of them ends by itself, the other ends too.
wait -n || true
echo "one of the two has ended" >&2
end
exit 1
