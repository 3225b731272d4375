#!/usr/bin/env bash
# Stands in for docker and its compose in the tests of deploy/rolling-update.sh: containers are directories of $DOCKER_STATE. A container that starts
# takes the image, the label and the health of that moment; each end is a line of $DOCKER_STATE/ends with how many healthy nodes are left.
set -euo pipefail
cd "$DOCKER_STATE"
mkdir -p containers

start() { # SERVICE
    local number
    number=$(($(cat number 2>/dev/null || echo 0) + 1))
    echo "$number" > number
    local container
    container=containers/$(printf '%064d' "$number")
    mkdir "$container"
    echo "$1" > "$container/service"
    echo running > "$container/status"
    cat image > "$container/image"
    cat health > "$container/health"
    echo "${NODE_CONFIGURATION:-}" > "$container/label"
}
of() { grep -lx "$1" containers/*/service 2>/dev/null | xargs -r -n 1 dirname | sort -r; }

command=$1
shift
while [ "$command" = compose ]; do
    case $1 in
        build | config | up) command=$1 ;;
    esac
    shift
done
last=${*: -1}
case $command in
    build | kill | logs) ;;
    run) "$GORANI_NODE" "$last" ;;
    exec) echo "$*" >> executed ;;
    # As docker-compose 1.29 does it: with the services of profiles that nobody has asked for.
    config) printf '%s\n' gateway nginx prometheus redis ;;
    up)
        wanted=1
        for argument in "$@"; do
            case $argument in
                gateway=*) wanted=${argument#gateway=} ;;
            esac
        done
        while [ "$(of "$last" | wc -l)" -lt "$wanted" ]; do start "$last"; done
        ;;
    image) cat image ;;
    ps)
        for container in $(of "$(grep -oE 'compose.service=[a-z]+' <<< "$*" | cut -d = -f 2)"); do
            status=$(cat "$container/status")
            case "$*" in
                *status=*) [[ $* == *"status=$status"* ]] || continue ;;
                *--all*) ;;
                *) [ "$status" = running ] || continue ;;
            esac
            basename "$container"
        done
        ;;
    inspect)
        case "$*" in
            *Health*) cat "containers/$last/health" ;;
            *) echo "$(cat "containers/$last/image") $(cat "containers/$last/label")" ;;
        esac
        ;;
    stop)
        echo exited > "containers/$last/status"
        left=0
        for container in $(of gateway); do
            if [ "$(cat "$container/status" "$container/health" | tr '\n' ' ')" = "running healthy " ]; then left=$((left + 1)); fi
        done
        echo "$left" >> ends
        ;;
    rm) rm -r "containers/$last" ;;
    *)
        echo "docker does not know $command" >&2
        exit 64
        ;;
esac
