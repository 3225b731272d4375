#!/usr/bin/env bash
# Brings up the cluster of docker-compose.yml, and what runs already to the image and the settings of now: one node after the other, the new one
# before the old one ends, so that there is always one to answer. A node that does not become ready ends the update; the old ones go on.
# Usage: rolling-update.sh NODES COMPOSE…, where COMPOSE is `docker compose` or docker-compose with its options.
set -euo pipefail

nodes=$1
shift
compose=("$@")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Longest time until a node is ready, and from SIGTERM to its end (stop_grace_period).
READY_SECONDS=${READY_SECONDS:-60}
STOP_SECONDS=40
# nginx asks for the nodes' name every second (upstream.dns.conf).
LEARN_SECONDS=${LEARN_SECONDS:-2}

if ! [[ $nodes =~ ^[1-9][0-9]*$ ]]; then
    echo "update: $nodes is no number of nodes" >&2
    exit 78
fi

# The value that compose takes for a variable: that of the environment, else that of the file.
variable() {
    if [ -n "${!1:-}" ]; then
        echo "${!1}"
    else
        sed -n "s/^$1=//p" "$here/.env" 2>/dev/null || true
    fi
}

# Containers of a service, the newest first; with --all also those that do not run.
containers() {
    local service=$1
    shift
    docker ps --quiet --no-trunc --filter label=com.docker.compose.project=gorani --filter "label=com.docker.compose.service=$service" "$@"
}

is_current() {
    [ "$(docker inspect --format '{{.Image}} {{index .Config.Labels "gorani.configuration"}}' "$1")" = "$image $NODE_CONFIGURATION" ]
}

# As many nodes, without a change to those that are there.
scale() {
    "${compose[@]}" up --detach --no-deps --no-recreate --scale "gateway=$1" gateway
}

# Waits until all nodes of now are ready. A new one that does not become so goes; the older ones are as ready as they are.
wait_ready() {
    local container tried status
    for container in $(containers gateway --all); do
        is_current "$container" || continue
        for ((tried = 0; ; tried++)); do
            status=$(docker inspect --format '{{.State.Health.Status}}' "$container")
            [ "$status" != healthy ] || break
            if [ "$status" = unhealthy ] || ((tried >= READY_SECONDS)); then
                echo "update: node ${container:0:12} is $status and not ready; its last lines:" >&2
                docker logs --tail 20 "$container" >&2 || true
                if [[ " $before " != *" $container "* ]]; then
                    docker rm --force "$container" >/dev/null
                fi
                exit 1
            fi
            sleep 1
        done
    done
}

end_node() {
    echo "update: node ${1:0:12} drains and ends"
    docker stop --time "$STOP_SECONDS" "$1" >/dev/null
    docker rm "$1" >/dev/null
}

"${compose[@]}" build gateway
image=$(docker image inspect --format '{{.Id}}' gorani)

# The nodes get the hash of the admin page's password, which the image makes. It is made once for each password: another salt would be another setting.
password=$(variable GORANI_ADMIN_PASSWORD | sed -E "s/^(['\"])(.*)\1\$/\2/")
if [ -n "$password" ]; then
    sum=$(printf %s "$password" | sha256sum | cut -d ' ' -f 1)
    if [ "$(variable GORANI_ADMIN_PASSWORD_SHA256)" != "$sum" ]; then
        hash=$(printf '%s\n' "$password" | docker run --rm --interactive --network none gorani password)
        others=$(grep -Ev '^(GORANI__ADMIN__PASSWORD_HASH|GORANI_ADMIN_PASSWORD_SHA256)=' "$here/.env" || true)
        grep -q '^GORANI__ADMIN__ENABLED=' <<< "$others" || others+=$'\nGORANI__ADMIN__ENABLED=true'
        (
            umask 077
            printf '%s\nGORANI__ADMIN__PASSWORD_HASH=%s\nGORANI_ADMIN_PASSWORD_SHA256=%s\n' "$others" "$hash" "$sum" > "$here/.env"
        )
    fi
fi

# All that a node is started with, apart from the image. Compose writes it to a label of each node, and does not notice a file that changed.
NODE_CONFIGURATION=$({
    cat "$here/gorani.cluster.toml" "$here/docker-compose.yml"
    for name in GORANI_API_KEY GORANI_TOKEN_SECRET GORANI_REDIS_PASSWORD GORANI__ADMIN__ENABLED GORANI__ADMIN__PASSWORD_HASH; do variable "$name"; done
} | sha256sum | cut -d ' ' -f 1)
export NODE_CONFIGURATION

"${compose[@]}" up --detach redis
# Reading its file takes a while; nodes are not ready before.
for ((tried = 0; ; tried++)); do
    status=$(docker inspect --format '{{.State.Health.Status}}' "$(containers redis | head -n 1)")
    [ "$status" != healthy ] || break
    if ((tried >= READY_SECONDS)); then
        echo "update: Redis is $status; nothing is changed" >&2
        exit 1
    fi
    sleep 1
done

# What does not run would be started again as it was.
for container in $(containers gateway --all --filter status=exited --filter status=created --filter status=dead); do
    docker rm "$container" >/dev/null
done
before=$(containers gateway | tr '\n' ' ')
old=()
for container in $before; do
    is_current "$container" || old+=("$container")
done
for container in "${old[@]}"; do
    running=$(containers gateway | wc -l)
    if ((running <= nodes)); then
        scale $((running + 1))
        wait_ready
        sleep "$LEARN_SECONDS"
    fi
    end_node "$container"
done
for container in $(containers gateway | tail -n "+$((nodes + 1))"); do
    end_node "$container"
done
scale "$nodes"
wait_ready

nginx_before=$(containers nginx)
for service in $("${compose[@]}" config --services); do
    case $service in
        redis | gateway) ;;
        # docker-compose 1.29 names the services of a profile that nobody has asked for, too.
        prometheus | grafana)
            [[ " ${compose[*]} " != *" --profile metrics "* ]] || "${compose[@]}" up --detach --no-deps "$service"
            ;;
        *) "${compose[@]}" up --detach --no-deps "$service" ;;
    esac
done
# A reload ends the connections of the old workers after a while, so only where a file changed. The sum is kept in the container.
nginx=$(containers nginx)
if [ "$nginx" != "$nginx_before" ]; then
    docker exec "$nginx" sh -c 'cat /etc/gorani/*.conf | sha256sum > /srv/gorani/run/configuration'
fi
docker exec "$nginx" sh -c '
    now=$(cat /etc/gorani/*.conf | sha256sum)
    [ "$now" != "$(cat /srv/gorani/run/configuration 2>/dev/null)" ] || exit 0
    nginx -p /srv/gorani -c /etc/gorani/nginx.conf -t && nginx -p /srv/gorani -c /etc/gorani/nginx.conf -s reload
    echo "$now" > /srv/gorani/run/configuration'
for prometheus in $(containers prometheus); do
    docker kill --signal HUP "$prometheus" >/dev/null
done
