#!/bin/sh
# redline probe as a user meets it: the record is kept and read, measured anew when it must be, and what is wrong
# with it or its place is said and no error.
# usage: probe.sh REDLINE
set -u
redline=$(realpath "$1")
. "$(dirname "$0")/checks"
unset REDLINE_CPU
quick="--budget 60"

# probe NAME EXPECTED_CODE EXPECTED_TEXT OPTION...
probe() {
    name=$1 code=$2 text=$3
    shift 3
    check "$name" "$code" "$text" "$redline" probe $quick "$@"
}

# holds NAME COMMAND...
holds() {
    name=$1
    shift
    n=$((n + 1))
    "$@" || { echo "FAILED $name: $*"; failed=$((failed + 1)); }
}

# json FILE: valid, and its rates are numbers above zero
json() {
    python3 - "$1" <<'END'
import json
import sys
record = json.load(open(sys.argv[1]))
rates = [row[kind]["best"] for row in record["bandwidth"] for kind in ("plain", "prefetch")]
rates += [row["ops_per_s"]["best"] for row in record["compute"]]
names = {(row["isa"], row["type"]) for row in record["compute"]}
sys.exit(not (min(rates) > 0 and ("scalar", "f32") in names and len(record["machine"]["id"]) == 16))
END
}

# the answer is JSON alone, and the record
probe "json" 0 '"ops_per_s"' --json
holds "valid json" json "$tmp/out"
record=$(ls "$tmp"/cache/redline/limits-*.json)
holds "one record" test -f "$record"
holds "the record is the answer" cmp "$record" "$tmp/out"
holds "nothing beside it" test "$(ls "$tmp/cache/redline" | wc -l)" -eq 1
holds "no word about it" test ! -s "$tmp/err"
cp "$record" "$tmp/kept"

# read, not measured: the same bytes again, and the same time of measurement in the table
probe "again" 0 "" --json
holds "read again" cmp "$tmp/kept" "$tmp/out"
probe "table" 0 "GOPS"
holds "table of memory" grep -q "threads *best *median *plain *prefetch *share" "$tmp/out"
holds "the best row" grep -q " 100 %" "$tmp/out"
holds "read, not written" cmp "$tmp/kept" "$record"

probe "fresh" 0 "" --json --fresh
holds "measured again" test "$(cmp -s "$tmp/kept" "$tmp/out" || echo differs)" = differs
holds "kept again" cmp "$record" "$tmp/out"

# another machine's record under this name; a broken one; one of another method
sed 's/"cpu": "/"cpu": "Another /' "$record" >"$tmp/other" && cp "$tmp/other" "$record"
probe "another machine" 0 "is of another machine"
holds "measured anew" test "$(cmp -s "$tmp/other" "$record" || echo differs)" = differs
probe "and kept" 0 ""
holds "no warning now" test ! -s "$tmp/err"
echo '{"method": 1' >"$record"
probe "broken" 0 "is no JSON"
echo '{"method": 1}' >"$record"
probe "incomplete" 0 "the record of the limits is broken"
holds "mended" json "$record"

# fewer instruction sets are another machine, with a record of its own
REDLINE_CPU=scalar
export REDLINE_CPU
probe "scalar" 0 "(scalar)"
holds "no vectors" test "$(grep -c avx "$tmp/out")" -eq 0
unset REDLINE_CPU
holds "two records" test "$(ls "$tmp"/cache/redline/limits-*.json | wc -l)" -eq 2

# more threads than on record
probe "more threads" 0 "" --json -t 3
holds "three threads" grep -q '"n_threads": 3' "$tmp/out"
probe "fewer again" 0 "" --json -t 1
holds "the larger record serves" grep -q '"n_threads": 3' "$tmp/out"

# no place to keep it: a warning, and the answer
echo >"$tmp/file"
XDG_CACHE_HOME=$tmp/file
probe "a file for a folder" 0 "warning: the measured limits are not kept: the folder" --json
holds "the answer nevertheless" json "$tmp/out"
XDG_CACHE_HOME=relative
HOME=$tmp/home
export HOME
mkdir "$HOME"
probe "a relative folder does not count" 0 "GOPS"
holds "in the home" test -d "$HOME/.cache/redline"
holds "not here" test ! -e relative
unset HOME XDG_CACHE_HOME
probe "no place" 0 "neither XDG_CACHE_HOME nor HOME"

probe "wrong budget" 2 "must lie between" --budget 0
probe "unknown word" 2 "" what

finish
