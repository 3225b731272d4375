#!/bin/sh
# Gives every manifest below a directory the empty sources that it names, so that the Dockerfile can build the dependencies in a layer of their
# own. Usage: empty-sources.sh DIRECTORY
set -eu
cd "$1"

for manifest in $(find services shared tests -name Cargo.toml); do
    package=$(dirname "$manifest")
    mkdir -p "$package/src"
    : > "$package/src/lib.rs"
    echo 'fn main() {}' > "$package/src/main.rs"
    # Targets with a path of their own: path = "bench/main.rs"
    sed -n 's/^path = "\(.*\.rs\)".*/\1/p' "$manifest" | while read -r target; do
        [ "$target" = src/lib.rs ] && continue
        mkdir -p "$(dirname "$package/$target")"
        echo 'fn main() {}' > "$package/$target"
    done
done
