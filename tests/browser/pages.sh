#!/bin/sh
# Pages of made-up records and of real ones, in Chromium.  Exit code 77: there is none.
# usage: pages.sh REDLINE SOURCE_DIR
set -eu
redline=$(realpath "$1")
source_dir=$(realpath "$2")
browse=$source_dir/tests/browser/browse.py
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export XDG_CACHE_HOME="$tmp/cache" REDLINE_CONFIG_DIR="$tmp"
"$browse" --self-test
cd "$tmp"
for kind in sweep context latency hostile history; do
    "$source_dir/tests/cli/make_store" "$source_dir/docs/lab-record.example.json" $kind >$kind.jsonl
done
cat >small.yaml <<'END'
name: small
title: Threads and batch sizes
workloads: [{name: short, n_prompt: 32, n_gen: 32}]
grid: {n_threads: [auto, 1], n_ubatch: [16, 32]}
repetitions: {least: 2}
tables:
  - {title: Speed, rows: [n_threads], columns: [n_ubatch], value: output_ts}
  - {title: Cost, rows: [n_threads, n_ubatch], values: [load_ms, ttft_ms, {metric: itl_p50_ms, pool: true}], versus: {n_ubatch: 16}}
END
"$redline" lab run small.yaml -o small.jsonl >/dev/null 2>&1
"$redline" lab report small.jsonl --tables small.yaml --html small.html # with this machine's roofline
grep -q '"title":"Roofline"' small.html
"$redline" lab report hostile.jsonl --html hostile.html
"$redline" lab report history.jsonl --html history.html
"$redline" lab report sweep.jsonl context.jsonl latency.jsonl --html all.html
"$browse" small.html hostile.html history.html all.html
