#!/bin/sh
# redline bench as a user meets it: which tests a command line makes, the four formats, sentences.
# usage: bench.sh REDLINE SOURCE_DIR
set -u
redline=$(realpath "$1")
source_dir=$(realpath "$2")
demo=$source_dir/models/demo.gguf
. "$(dirname "$0")/checks"

# rows NAME EXPECTED OPTIONS...: the tests that are measured, as threads/step:test, in order
rows() {
    name=$1 expected=$2
    shift 2
    n=$((n + 1))
    got=$("$redline" bench -r 1 --no-warmup -o jsonl "$@" 2>"$tmp/err" | python3 -c '
import json, sys
for line in sys.stdin:
    row = json.loads(line)
    print(row["n_threads"], row["n_step"], row["test"].replace(" ", ""), sep="/", end=" ")') || got=failed
    [ "$got" = "$expected" ] ||
        { echo "FAILED $name: '$got', expected '$expected'"; cat "$tmp/err"; failed=$((failed + 1)); }
}

# holds NAME PYTHON OPTIONS...: an expression about `rows`, the array that -o json prints
holds() {
    name=$1 condition=$2
    shift 2
    n=$((n + 1))
    "$redline" bench -o json "$@" >"$tmp/rows" 2>"$tmp/err"
    python3 -c '
import json, sys
rows = json.load(open(sys.argv[1]))
sys.exit(0 if eval("(" + sys.argv[2] + ")") else 1)' "$tmp/rows" "$condition" ||
        { echo "FAILED $name: not $condition"; cat "$tmp/rows" "$tmp/err"; failed=$((failed + 1)); }
}

check "help" 0 "usage: redline bench" "$redline" bench --help
check "nothing" 2 "nothing to measure" "$redline" bench -p 0 -n 0
check "no number" 2 "no list of numbers" "$redline" bench -p 8,x
check "no range" 2 "no list of numbers" "$redline" bench -p 64-8
check "empty range step" 2 "no list of numbers" "$redline" bench -p 8-64+0
check "endless range" 2 "no list of numbers" "$redline" bench -p 0-64*2
check "too many values" 2 "more than 256 values" "$redline" bench -p 1-1000
check "out of range" 2 "numbers from 0 to 512" "$redline" bench -t 513
check "no pair" 2 "is not P,N" "$redline" bench -pg 8
check "empty pair" 2 "is not P,N" "$redline" bench -pg 0,8
check "unknown type" 2 "known are f32|f16|bf16|q8_0|q4_0" "$redline" bench -ctk f16,q5_1
check "another attention" 2 "-fa 0: attention always runs in one pass over the cache" "$redline" bench -fa 0
check "unknown format" 2 "xml" "$redline" bench -o xml
check "two ways to a model" 2 "with -m and without" "$redline" bench a.gguf -m b.gguf
check "no such model" 3 "no/such/file" "$redline" bench no/such/file.gguf
same "nothing is printed before" "$tmp/out" /dev/null
check "the second one" 3 "none.gguf" "$redline" bench -m "$demo,$tmp/none.gguf" -p 8 -n 0 -r 1
same "nothing is measured before" "$tmp/out" /dev/null
check "a context beyond memory" 3 "would fit" "$redline" bench -p 0 -n 1 -d 16000000
check "full standard output" 3 "cannot be written" sh -c "exec '$redline' bench -p 1 -n 0 -r 1 >/dev/full"
check "fields" 0 "median_low_ns" "$redline" bench --fields

# n_step is the context where that is smaller than a batch
rows "a list and a range" "1/3/pp3 1/4/pp4 1/5/pp5 1/8/pp8 1/3/tg2 " -t 1 -p 3-5,8 -n 2
rows "ranges with steps" "1/4/pp4 1/8/pp8 1/12/pp12 1/2/pp2 1/4/pp4 1/8/pp8 " -t 1 -p 4-12+4 -p 2-9*2 -n 0
rows "a pair, after the others" "1/2/tg1 1/7/pp4+tg3 " -t 1 -p 0 -n 1 -pg 4,3
rows "llama-bench's attention" "1/2/tg1 " -t 1 -p 0 -n 1 -fa 1
rows "depth" "1/12/pp4@d8 1/11/tg2@d8 " -t 1 -p 4 -n 2 -d 8
rows "batches: the lesser counts" "1/8/pp32 1/16/pp32 1/4/pp32 1/4/pp32 " -t 1 -p 32 -n 0 -b 16,4 -ub 8,32
rows "threads change faster than types" "1/4/pp4 2/4/pp4 1/4/pp4 2/4/pp4 " -t 1-2 -p 4 -n 0 -ctk f16,f32

holds "one array, prefill and decode in rows of their own" \
    '[(r["n_prompt"], r["n_gen"]) for r in rows] == [(32, 0), (0, 8)]' -p 32 -n 8 -r 2
holds "the fields of llama-bench" 'all(key in rows[0] for key in
    """build_commit build_number cpu_info gpu_info backends model_filename model_type model_size model_n_params
    n_batch n_ubatch n_threads type_k type_v n_gpu_layers flash_attn n_prompt n_gen n_depth test_time avg_ns stddev_ns
    avg_ts stddev_ts samples_ns samples_ts""".split())' -p 4 -n 0 -r 1
holds "samples and what is made of them" \
    'len(rows[0]["samples_ns"]) == 7 and
     sorted(rows[0]["samples_ns"])[3] == rows[0]["median_ns"] and
     min(rows[0]["samples_ns"]) == rows[0]["median_low_ns"] and
     abs(sum(rows[0]["samples_ns"]) / 7 / rows[0]["avg_ns"] - 1) < 1e-9 and
     abs(rows[0]["median_ts"] * rows[0]["median_ns"] / 16e9 - 1) < 1e-9' -p 16 -n 0 -r 7
holds "no interval of five" 'rows[0]["median_low_ts"] is None' -p 4 -n 0 -r 5
holds "what generation reads and computes" \
    'rows[0]["bytes"] > 8 * 6e6 and rows[0]["ops"] > 8 * 7e6 and rows[0]["bandwidth"] > 1e8 and
     abs(rows[0]["bytes"] / rows[0]["median_ns"] * 1e9 / rows[0]["bandwidth"] / rows[0]["share_of_bandwidth"] - 1) < 1e-9' \
    -p 0 -n 8 -r 1
holds "a prompt has no share of bandwidth" 'rows[0]["share_of_bandwidth"] is None' -p 8 -n 0 -r 1
holds "memory" '8e6 < rows[0]["peak_rss_bytes"] < 1e9' -p 8 -n 0 -r 1
holds "a failure leaves the array whole" 'len(rows) == 1' -p 4 -n 0 -r 1 -d 0,16000000

"$redline" bench -p 4 -n 2 -r 1 -o csv >"$tmp/csv" 2>"$tmp/err"
n=$((n + 1))
python3 -c '
import csv, sys
rows = list(csv.DictReader(open(sys.argv[1])))
sys.exit(0 if [r["test"] for r in rows] == ["pp4", "tg2"] and None not in rows[0] and float(rows[1]["avg_ts"]) > 0 else 1)' \
    "$tmp/csv" || { echo "FAILED csv"; cat "$tmp/csv"; failed=$((failed + 1)); }
"$redline" bench -p 4 -n 2 -r 1 -t 1,2 >"$tmp/md"
n=$((n + 1))
[ "$(grep -c '^| llama 3.67 M F16' "$tmp/md")" -eq 4 ] || { echo "FAILED md"; cat "$tmp/md"; failed=$((failed + 1)); }

# settings hold where no flag stands
printf 'llm:\n  primary:\n    n_threads: 1\n    n_ubatch: 3\n' >"$REDLINE_CONFIG_DIR/redline.yaml"
rows "settings" "1/3/pp8 " -p 8 -n 0

finish
