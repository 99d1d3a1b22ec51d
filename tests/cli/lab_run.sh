#!/bin/sh
# redline lab run and list: refusals, dry runs, records and tables, peers, and that a run can be ended at any point and
# taken up again.
# usage: lab_run.sh REDLINE SOURCE_DIR
set -u
redline=$(realpath "$1")
source=$(realpath "$2")
. "$(dirname "$0")/checks"
unset REDLINE_CPU
schema=$source/docs/lab-record.schema.json
cd "$tmp" || exit 1

cat >tiny.yaml <<'END'
name: tiny
title: A tiny experiment
grid: {n_threads: [1, 2], n_ubatch: [4, 8]}
workloads: [{name: short, n_prompt: 8, n_gen: 4}]
repetitions: 3
tables:
  - {title: Speed, rows: [n_threads], columns: [n_ubatch], value: output_ts}
END

# whole NAME STORE N_RECORDS: valid by definition and schema, so many lines; the last series has each cell and
# repetition once, numbered in order
whole() {
    n=$((n + 1))
    { "$redline" lab check "$2" && python3 "$source/tests/lab/validate.py" "$schema" "$2" && python3 - "$2" "$3" <<'END'
import json, sys
records = [json.loads(line) for line in open(sys.argv[1])]
assert len(records) == int(sys.argv[2]), len(records)
last = [r for r in records if r["experiment"]["series"] == records[-1]["experiment"]["series"]]
marks = [(r["experiment"]["cell"], r["program"]["contestant"], r["experiment"]["repetition"]) for r in last]
assert len(set(marks)) == len(marks), marks
assert [r["experiment"]["order"] for r in last] == list(range(len(last)))
END
    } >"$tmp/out" 2>&1 || { echo "FAILED $1:"; cat "$tmp/out"; failed=$((failed + 1)); }
}

# ---- refusals ----------------------------------------------------------------------------------

check "no experiment" 2 "an experiment is needed" "$redline" lab run
check "unknown experiment" 2 "did you mean 'cpu-sweep'?" "$redline" lab run cpu-swep
check "no such file" 3 "cannot open './none.yaml'" "$redline" lab run ./none.yaml
check "no such model" 3 "none.gguf" "$redline" lab run ./tiny.yaml -m none.gguf
check "unknown setting" 2 "did you mean 'n_threads'?" "$redline" lab run ./tiny.yaml --set n_thread=1
check "wrong value" 2 "redline: --set: n_threads cannot be 'many'" "$redline" lab run ./tiny.yaml --set n_threads=many
check "wrong peer" 2 "NAME=COMMAND is expected" "$redline" lab run ./tiny.yaml --peer llama-bench
check "wrong time" 2 "a duration is expected" "$redline" lab run ./tiny.yaml --budget soon
check "peers are missing" 2 "--peer NAME=COMMAND" "$redline" lab run parity
if ! "$redline" run -q -n 1 --require gpu >/dev/null 2>&1; then
    check "no GPU" 3 "gpu-smoke needs a GPU: " "$redline" lab run gpu-smoke
    check "no GPU either" 3 "gpu-scaling needs a GPU: " "$redline" lab run gpu-scaling
fi
[ ! -e lab ] || { echo "FAILED: a refused experiment left a store"; failed=$((failed + 1)); }

# ---- list and dry run --------------------------------------------------------------------------

check "list" 0 "cpu-sweep Threads and batch sizes" "$redline" lab list
mkdir experiments
sed 's/name: tiny/name: own/' tiny.yaml >experiments/own.yaml
check "list of one's own" 0 "own A tiny experiment" "$redline" lab list
check "list as JSON" 0 '"path": "experiments/own.yaml"' "$redline" lab list --json
check "by name" 0 "4 cells, 12 to 12 measurements" "$redline" lab run own --dry-run
check "dry run" 0 "n_threads=2 n_ubatch=8 | short" "$redline" lab run ./tiny.yaml --dry-run
check "dry run of all parts" 0 "cpu-sweep: n_threads=auto n_batch=128 | answer" "$redline" lab run probe --dry-run
check "dry run needs no GPU" 0 "n_gpu_layers=50 % | short" "$redline" lab run gpu-scaling --dry-run
[ ! -e lab ] || { echo "FAILED: a dry run left a store"; failed=$((failed + 1)); }

# ---- running -----------------------------------------------------------------------------------

check "run" 0 "12 measurements in lab/tiny.jsonl" "$redline" lab run ./tiny.yaml
"$redline" lab run ./tiny.yaml >table 2>says
n=$((n + 1))
grep -q "^### Speed" table && grep -q "^| *n_threads" table && grep -q "redline lab run ./tiny.yaml" table ||
    { echo "FAILED the table:"; cat table; failed=$((failed + 1)); }
whole "a second series" lab/tiny.jsonl 24
check "axes of the command line" 0 "6 measurements in sets.jsonl" "$redline" lab run ./tiny.yaml -o sets.jsonl \
    --set n_threads=1 --set n_ubatch=4 --set workload.n_gen=2,3
whole "axes" sets.jsonl 6
check "models" 0 "demo.gguf" "$redline" lab run ./tiny.yaml -o models.jsonl -m demo -m "$source/models/demo.gguf" \
    --set n_threads=1 --set n_ubatch=4 --set repetitions.least=1
whole "models" models.jsonl 2
check "one that cannot" 0 "2 of 4 cells could not be measured" "$redline" lab run ./tiny.yaml -o some.jsonl --set n_ctx=4,64 \
    --set n_ubatch=4
whole "one that cannot" some.jsonl 8
check "none that can" 3 "4 of 4 cells could not be measured" sh -c "'$redline' lab run ./tiny.yaml -o none.jsonl --set n_ctx=4 >table"
whole "none that can" none.jsonl 4
check "another's store" 2 "records of the experiment 'tiny'" "$redline" lab run ci-smoke -o some.jsonl
check "in short" 0 "records" "$redline" lab run ci-smoke --short
whole "in short" lab/ci-smoke.jsonl 9

# ---- others ------------------------------------------------------------------------------------

check "beside another" 0 "12 measurements" "$redline" lab run parity --short --peer "other='$redline' bench -r 1"
whole "beside another" lab/parity.jsonl 12
n=$((n + 1))
python3 - lab/parity.jsonl <<'END' || { echo "FAILED by turns"; failed=$((failed + 1)); }
import json, sys
who = [(r["experiment"]["cell"], r["program"]["contestant"]) for r in map(json.loads, open(sys.argv[1]))]
firsts = set()
for a, b in zip(who[::2], who[1::2]):
    assert a[0] == b[0] and {a[1], b[1]} == {"redline", "other"}, who
    firsts.add(a[1])
assert len(firsts) == 2, who
assert not any("failed" in json.loads(line) for line in open(sys.argv[1]))
END

# ---- ended at any point ------------------------------------------------------------------------

check "the time is up" 4 "go on with: redline lab run ./tiny.yaml" \
    sh -c "'$redline' lab run ./tiny.yaml -o time.jsonl --budget 0.001s >table"
whole "the time is up" time.jsonl 1
check "going on" 0 "12 measurements in time.jsonl, 1 of them found there" "$redline" lab run ./tiny.yaml -o time.jsonl
whole "going on" time.jsonl 12

"$redline" lab run ./tiny.yaml -o int.jsonl --set repetitions.least=200 >table 2>says &
pid=$!
while [ ! -s int.jsonl ] && kill -0 $pid 2>/dev/null; do sleep 0.05; done
kill -TERM $pid # a shell's background does not hear Ctrl-C
wait $pid
code=$?
n=$((n + 1))
[ $code -eq 4 ] && grep -q "stopped with 0 of 4 cells known, go on with" says ||
    { echo "FAILED an interrupt: exit code $code"; cat says; failed=$((failed + 1)); }
whole "an interrupt" int.jsonl "$(wc -l <int.jsonl)"

# A shell has no random numbers: awk draws the moments, longer ones in time, so that it ends on a slow machine too.  It
# also ends with the last record: who is killed between that and the exit has nothing left to do, and the next run would
# begin a second series.
n_killed=0
for moment in $(awk 'BEGIN { srand(7); for (i = 1; i <= 200; i++) printf "%.3f ", rand() * 0.1 * (1 + i / 4) }'); do
    "$redline" lab run ./tiny.yaml -o kill.jsonl --set n_ubatch=4 >table 2>says &
    pid=$!
    sleep "$moment"
    if kill -KILL $pid 2>/dev/null; then n_killed=$((n_killed + 1)); fi
    wait $pid 2>/dev/null
    code=$?
    [ $code -eq 0 ] && break
    [ $code -eq 137 ] || { echo "FAILED kill: exit code $code"; cat says; failed=$((failed + 1)); break; }
    [ -e kill.jsonl ] && [ "$(wc -l <kill.jsonl)" -ge 6 ] && break
done
n=$((n + 1))
[ $n_killed -gt 0 ] || { echo "FAILED kill: killed $n_killed times, at last $code"; failed=$((failed + 1)); }
whole "killed $n_killed times" kill.jsonl 6

finish
