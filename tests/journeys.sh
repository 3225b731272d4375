#!/usr/bin/env bash
# The four journeys of those who meet Gorani for the first time, in a clean clone of the last commit, by what its documents say:
#
#  1. an app: the README's files are written, its commands typed, and Chromium shows what the backend published;
#  2. Spring with two instances on two nodes, one of which restarts: no message to a user is lost or comes twice;
#  3. an operator: Redis dies, and a Prometheus with the alerts of deploy/prometheus rings;
#  4. a phone: the Java SDK subscribes, and recovers after its connection was cut and after its node was restarted.
#
# Each is a test of `make ci` too. Here they run one after the other, with the time that each takes.
set -euo pipefail

source=$(git -C "$(dirname "${BASH_SOURCE[0]}")" rev-parse --show-toplevel)
clone=$(mktemp -d)
trap 'rm -rf "$clone"' EXIT
git clone --quiet "$source" "$clone"
# A target directory of its own: the tests have the path of their checkout built in.
export CARGO_TARGET_DIR=$clone/target
export GORANI_BIN=$CARGO_TARGET_DIR/debug/gorani
cd "$clone"
make test-tools build
tests/spring/tools.sh
cargo test --quiet --locked -p gorani-tests --test system --no-run

journey() {
    local name=$1 began=$SECONDS
    shift
    echo "journey: $name"
    "$@"
    echo "journey: $name: passed in $((SECONDS - began)) s"
}
journey "a first app, by the README" cargo test --quiet --locked -p gorani-tests --test system -- manifests::docs::walk
journey "Spring, two instances on two nodes" mvn -q -B -f tests/spring test -Dtest=TwoInstancesTest,PagesTest
journey "an operator is woken" cargo test --quiet --locked -p gorani-tests --test system -- manifests::alerts
journey "the SDK of a phone" mvn -q -B -f tests/java test
