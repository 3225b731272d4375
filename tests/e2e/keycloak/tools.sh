#!/usr/bin/env bash
# Fetches a version of Keycloak by Maven (about 160 MB) and unpacks it into a directory: tools.sh <version> <directory>. What is there
# already stays.
set -euo pipefail

version=$1
directory=$2
[ -x "$directory/keycloak-$version/bin/kc.sh" ] && exit

mkdir -p "$directory"
echo "fetching Keycloak $version"
mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
    -Dartifact="org.keycloak:keycloak-quarkus-dist:$version:tar.gz" -DoutputDirectory="$directory" -Dmdep.useBaseVersion=true
tar -xzf "$directory/keycloak-quarkus-dist-$version.tar.gz" -C "$directory"
rm "$directory/keycloak-quarkus-dist-$version.tar.gz"
