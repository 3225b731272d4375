#!/usr/bin/env bash
# Makes what the package holds besides the binary: pages for man(1) and completions, of the binary itself.
# Usage: generate.sh BINARY DIRECTORY
set -euo pipefail

gorani=$1
directory=$2
rm -rf "$directory"
mkdir -p "$directory/man" "$directory/completions"
"$gorani" man --directory "$directory/man"
# -n: without the time, so that the same source makes the same package.
gzip -9n "$directory/man/"*.1
"$gorani" completions bash > "$directory/completions/gorani.bash"
"$gorani" completions zsh > "$directory/completions/_gorani"
"$gorani" completions fish > "$directory/completions/gorani.fish"
