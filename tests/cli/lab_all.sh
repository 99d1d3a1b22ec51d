#!/bin/sh
# The laboratory from end to end: an experiment, its report, a gate against itself, what another tool wrote, and a store
# that holds what it should at the end.
# usage: lab_all.sh REDLINE SOURCE_DIR
set -u
redline=$(realpath "$1")
source_dir=$(realpath "$2")
. "$(dirname "$0")/checks"
unset REDLINE_CPU
mkdir "$tmp/work"
cd "$tmp/work" || exit 3

# holds NAME COMMAND...
holds() {
    name=$1
    shift
    n=$((n + 1))
    "$@" >"$tmp/held" 2>&1 || { echo "FAILED $name: $*"; cat "$tmp/held"; failed=$((failed + 1)); }
}

# an experiment, into the store of its name
check "run" 0 "| short" "$redline" lab run ci-smoke --short
store=lab/ci-smoke.jsonl
holds "a store" test -s "$store"
check "whole" 0 "" "$redline" lab check "$store"
cells=$(sed -n 's/.*"cell": *\([0-9]*\).*/\1/p' "$store" | sort -u | wc -l)
holds "five workloads" test "$cells" -eq 5
cp "$store" kept

# its report, as text and as a page that needs nothing else
check "report" 0 "ci-smoke" "$redline" lab report "$store"
holds "a table" grep -q "^| short" "$tmp/out"
check "page" 0 "" "$redline" lab report "$store" --html page.html
holds "one page" grep -qi "^<!doctype html>" page.html
holds "from nowhere else" sh -c '! grep -Eq "(src|href)=.https?:" page.html'

# against itself nothing is slower; so few runs may not tell
"$redline" lab gate "$store" "$store" >gate.txt 2>"$tmp/err"
gate=$?
holds "not slower than itself: exit code $gate" test "$gate" -eq 0 -o "$gate" -eq 4
holds "said so" grep -Eq "same|undecided" gate.txt
check "accept" 0 "" "$redline" lab accept "$store"
check "the accepted one itself" 2 "redline lab run measures new ones" "$redline" lab gate "$store"
check "a later run" 0 "" "$redline" lab run ci-smoke --short -o later.jsonl
"$redline" lab gate later.jsonl >later.txt 2>"$tmp/err"
gate=$?
holds "two runs a row decide nothing: exit code $gate" test "$gate" -eq 4
holds "and say how many would" grep -Eq "undecided.*more" later.txt

# the shipped rules have their figures from the shipped experiments: none is without data
"$redline" lab run latency --short >/dev/null 2>&1
"$redline" lab run load-time --short >/dev/null 2>&1
"$redline" lab report lab/latency.jsonl lab/load-time.jsonl --rules "$source_dir/experiments/rules.yaml" >ruled.md
holds "data for every rule" sh -c 'test "$(grep -c "^\* \*\*" ruled.md)" -eq 9 && ! grep "no data" ruled.md'

# what docs/lab.md and README.md show, line by line: the accepted report, and a later one that is held against it
for document in docs/lab.md README.md; do
    grep -o 'redline lab \(run latency\|accept\|gate lab\)' "$source_dir/$document" | tr '\n' ';' >order
    holds "$document: run, accept, run, gate" \
        grep -q 'lab run latency;redline lab accept;redline lab run latency;redline lab gate lab' order
done
holds "a folder like any other" test "$(stat -c %a lab)" = "$(printf %o $((0777 & ~$(umask))))"
check "accepted" 0 "latency @" "$redline" lab accept lab/latency.jsonl
"$redline" lab run latency --short >/dev/null 2>&1
"$redline" lab gate lab/latency.jsonl --rules rules >gate.txt 2>"$tmp/err"
gate=$?
holds "run, accept, run, gate: exit code $gate" test "$gate" -ne 2 -a "$gate" -ne 3

# another tool's figures beside ours
"$redline" bench -p 16 -n 4 -r 3 -o jsonl >bench.jsonl 2>"$tmp/err"
sed 's/"engine": *"[^"]*", *//' bench.jsonl >llama.jsonl
check "import" 0 "" "$redline" lab import llama.jsonl -o imported.jsonl
check "what was imported" 0 "6 records" "$redline" lab check imported.jsonl
check "both in a report" 0 "tg4" "$redline" lab report "$store" imported.jsonl
check "not comparable" 2 "" "$redline" lab gate "$store" imported.jsonl

# and nothing of all this has touched the store
same "the store as it was" "$store" kept

finish
