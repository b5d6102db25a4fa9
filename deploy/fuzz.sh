#!/usr/bin/env bash
# Runs every fuzz target of the module for a while, one after the other. usage: deploy/fuzz.sh 60s
set -eu
go list -f '{{.Dir}} {{.ImportPath}}' ./... | while read -r dir pkg; do
  grep -hoE '^func (Fuzz[A-Za-z0-9_]+)' "$dir"/*_test.go 2>/dev/null | awk '{print $2}' | while read -r target; do
    echo "== $pkg $target"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" "$pkg"
  done
done
