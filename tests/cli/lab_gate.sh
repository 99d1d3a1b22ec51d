#!/bin/sh
# redline lab gate, accept and import as a user meets them: streams, exit codes, sentences.
# usage: lab_gate.sh REDLINE SOURCE_DIR
set -u
redline=$(realpath "$1")
samples=$2/tests/data/lab
. "$(dirname "$0")/checks"
case $redline in /*) ;; *) redline=$PWD/$redline ;; esac
case $samples in /*) ;; *) samples=$PWD/$samples ;; esac
cd "$tmp" || exit 1

check "import help" 0 "usage: redline lab import" "$redline" lab import --help
check "nothing to import" 2 "a file is needed" "$redline" lab import
check "no such file" 3 "no/such" "$redline" lab import no/such.json
echo "no figures" >other.txt
check "nothing known" 3 "'other.txt', line 1: neither records nor" "$redline" lab import other.txt
for sample in llama-bench-lc.json llama-bench-lc.jsonl llama-bench-ik.json llama-bench-lc.csv llama-bench-ik.csv \
              llama-batched-bench.jsonl llama-sweep-bench.jsonl vllm-serve.json; do
    check "import $sample" 0 "records of" "$redline" lab import "$samples/$sample" -o "$tmp/all.jsonl"
done
check "what was imported are records" 0 "" "$redline" lab check all.jsonl
"$redline" lab import "$samples/llama-bench-lc.json" >printed.jsonl 2>/dev/null
check "to standard output" 0 "18 records of records" "$redline" lab import printed.jsonl -o again.jsonl

# undecided NAME TEXT COMMAND...: exit code 4 with an answer, where `check` wants a sentence on standard error
undecided() {
    name=$1 text=$2
    shift 2
    check "$name" 0 "$text" sh -c '"$@"; [ $? -eq 4 ]' sh "$@"
}

# made-up figures of llama-bench: SPEEDS... as nanoseconds of 1000 tokens
bench() {
    python3 -c '
import json, sys
print(json.dumps([{"model_filename": "m.gguf", "cpu_info": "a cpu", "n_threads": int(sys.argv[1]), "n_prompt": 0, "n_gen": 1000, "avg_ns": 1000,
                   "samples_ns": [int(x) for x in sys.argv[2:]]}]))' "$@"
}
bench 2 1000 1001 1002 1003 1004 1005 1006 1007 >base.json
bench 2 1100 1101 1102 1103 1104 1105 1106 1107 >slow.json
bench 2 1000 1101 >few.json
bench 4 1000 1001 1002 1003 1004 1005 1006 1007 >other.json
check "gate help" 0 "usage: redline lab gate" "$redline" lab gate --help
check "nothing to compare" 2 "nothing to compare" "$redline" lab gate
check "slower" 1 "1 slower, 0 faster, 0 same, 0 undecided" "$redline" lab gate base.json slow.json
check "faster" 0 "0 slower, 1 faster" "$redline" lab gate slow.json base.json
check "same" 0 "same within 2.0 %" "$redline" lab gate base.json base.json
check "a larger least effect" 0 "same within 15.0 %" "$redline" lab gate base.json slow.json --least-effect 15%
undecided "undecided" "more runs" "$redline" lab gate base.json few.json
check "not comparable" 2 "settings.effective.n_threads 2 and 4" "$redline" lab gate base.json other.json
check "by force" 0 "though not comparable" "$redline" lab gate base.json other.json --force
check "for programs" 1 '"verdict": "slower"' "$redline" lab gate base.json slow.json --json
check "no such metric" 2 "no metric 'speed'" "$redline" lab gate base.json slow.json --metric speed
check "a share" 0 "same" "$redline" lab gate base.json base.json --least-effect "2 %"
check "no share" 2 "a share from 0 % to 99 % is expected" "$redline" lab gate base.json slow.json --least-effect much
check "no such store" 3 "no/such" "$redline" lab gate no/such.json slow.json
printf 'rules:\n  - {name: quick, metric: decode_ts, at_least: 2000000000}\n' >rules.yaml
check "a broken rule" 1 "1 of 1 rules broken" "$redline" lab gate base.json base.json --rules rules.yaml
printf 'rules:\n  - {name: quick, metric: decode_ts, at_lest: 2}\n' >rules.yaml
check "no rule" 2 "rules.yaml:2" "$redline" lab gate base.json base.json --rules rules.yaml

check "nothing accepted" 2 "belongs to an experiment" "$redline" lab gate base.json
check "accept without experiment" 2 "holds no record of an experiment" "$redline" lab accept all.jsonl
"$redline" lab import base.json 2>/dev/null | python3 -c '
import json, sys
for line in sys.stdin:
    r = json.loads(line)
    r["experiment"] = {"name": "made-up", "series": sys.argv[1], "grid": {}}
    r["machine"]["id"] = "feed"
    print(json.dumps(r))' 2026-01-01 >first.jsonl
sed 's/2026-01-01/2026-01-02/' first.jsonl >second.jsonl
check "not accepted yet" 2 "no accepted report" "$redline" lab gate second.jsonl
check "accept" 0 "made-up @ feed, 2026-01-01" "$redline" lab accept first.jsonl
check "held against what was accepted" 0 "1 same" "$redline" lab gate second.jsonl
check "what was accepted itself" 2 "these are the accepted records themselves" "$redline" lab gate first.jsonl
rm first.jsonl
check "what was accepted is gone" 3 "first.jsonl" "$redline" lab gate second.jsonl

# Commands by turns: sleeping takes known times.
check "live, one command" 2 "two commands" "$redline" lab gate --live "sleep 0"
check "live, no such command" 3 "no/such" "$redline" lab gate --live no/such "sleep 0"
check "live, a failing command" 3 "exit code 1" "$redline" lab gate --live false false
check "live, other figures" 2 "not comparable" "$redline" lab gate --live "cat base.json" "cat all.jsonl"
check "live, slower" 1 "1 slower" "$redline" lab gate --live "sleep 0.02" "sleep 0.2" --least-effect 20% --budget 2m
check "live, the same figures" 0 "1 same" "$redline" lab gate --live "cat base.json" "cat base.json" --budget 60
check "live, figures" 1 "1 slower" "$redline" lab gate --live "cat base.json" "cat slow.json" --budget 60
undecided "live, no time" "more runs" "$redline" lab gate --live "sleep 0.2" "sleep 0.2" --budget 1s --least 2
check "live, no pair in no time" 2 "a duration is expected" "$redline" lab gate --live true true --budget 0
finish
