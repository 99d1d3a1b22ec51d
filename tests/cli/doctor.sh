#!/bin/sh
# redline doctor, --require and -ngl as a user meets them.  What doctor finds depends on the machine; its shape does not,
# nor what is wrong with settings that are wrong anywhere.
# usage: doctor.sh REDLINE SOURCE_DIR
set -u
redline=$(realpath "$1")
source_dir=$(realpath "$2")
demo=$source_dir/models/demo.gguf
. "$(dirname "$0")/checks"
unset REDLINE_CPU
cd "$tmp" || exit 3

# finds NAME OPTION...: the output goes to $tmp/found; the exit code says whether there are findings
finds() {
    name=$1
    shift
    n=$((n + 1))
    "$redline" doctor "$@" >"$tmp/found" 2>"$tmp/err" </dev/null
    code=$?
    said=0
    grep -q '"code"\|^FAULT \|^advice' "$tmp/found" && said=1
    [ "$code" -eq "$said" ] && [ ! -s "$tmp/err" ] ||
        { echo "FAILED $name: exit code $code"; cat "$tmp/found" "$tmp/err"; failed=$((failed + 1)); }
}

# has NAME TEXT, lacks NAME TEXT: in what was found
has() {
    n=$((n + 1))
    grep -qF -- "$2" "$tmp/found" || { echo "FAILED $1: '$2' is missing in:"; cat "$tmp/found"; failed=$((failed + 1)); }
}
lacks() {
    n=$((n + 1))
    ! grep -qF -- "$2" "$tmp/found" || { echo "FAILED $1: '$2' is in:"; cat "$tmp/found"; failed=$((failed + 1)); }
}

finds "the machine"
has "memory" " of memory, "
has "limits" "none on record"
lacks "no model" "model:"
finds "a model" "$demo"
has "its need" "with a context of 1024 needs"
lacks "a context that the user did not choose" "context-untrained"
finds "too many threads" -t 512
has "their code" "threads-over-cores"
has "their remedy" "remedy: -t "
finds "a long context" "$demo" -c 2048
has "its code" "context-untrained"
finds "too long for any machine" "$demo" -c 268435456
has "its code" "memory-short"
finds "small batches" -ub 4
has "their code" "batch-tiny"
if grep -q 'flags.* avx2' /proc/cpuinfo; then
    export REDLINE_CPU=scalar
    finds "a mask"
    has "its code" "features-masked"
    lacks "one cause is one finding" "cpu-plain"
fi
unset REDLINE_CPU
printf 'llm: {primary: {n_threads: 512}}\n' >config/redline.yaml
finds "settings of a file"
has "are seen" "threads-over-cores"
rm config/redline.yaml

# JSON: whole, nulls with reasons, findings with all members
finds "json" "$demo" -t 512 --json
n=$((n + 1))
python3 - "$tmp/found" <<'END' || { echo "FAILED json"; failed=$((failed + 1)); }
import json
import sys
d = json.load(open(sys.argv[1]))
assert set(d) == {"machine", "missing", "limits", "plan", "findings"}, d.keys()
for name, value in d["machine"].items():
    assert (value is None) == (f"machine.{name}" in d["missing"]), name
assert d["plan"]["fits"] is True and d["plan"]["n_gpu_layers"] == 0 and d["limits"] is None
for f in d["findings"]:
    assert set(f) == {"code", "level", "what", "remedy"} and all(f.values()), f
    assert f["level"] in ("fault", "advice"), f
assert "threads-over-cores" in [f["code"] for f in d["findings"]]
levels = [f["level"] for f in d["findings"]]
assert levels == sorted(levels, reverse=True), levels  # the worst first
END

# records: how it is used
python3 - "$source_dir/docs/lab-record.example.json" >use.jsonl <<'END'
import json
import sys
record = json.load(open(sys.argv[1]))
record["workload"]["n_depth"] = 20
for request in record["requests"]:
    request["n_prompt"], request["n_generated"] = 64, 8
print(json.dumps(record))
END
finds "records" "$demo" -c 262144 -ub 65536 --records use.jsonl
has "what was used" "context-unused"
has "how much" "at most 92 were ever used"
has "prompts" "a usual prompt has 64"
check "records that are none" 3 "missing.jsonl" "$redline" doctor --records missing.jsonl

# wrong usage
check "no such model" 3 "none.gguf" "$redline" doctor none.gguf
check "a help page" 0 "usage: redline doctor" "$redline" doctor --help

# a GPU that is asked for and cannot be had: before anything is read, so the model need not even be there
if ! "$redline" run -q -n 1 --require gpu >"$tmp/out" 2>&1; then
    for command in "run -n 1" "chat" "embed" "score -f none.txt" "bench -p 8 -n 0" "plan" "logits --tokens 1 -o none.f32" \
        "imatrix -f none.txt -o none.imatrix"; do
        check "require gpu: $command" 3 "a GPU is required" "$redline" $command -m none.gguf --require gpu
        check "layers: $command" 3 "layers are wanted on a GPU" "$redline" $command -m none.gguf -ngl 20
    done
    check "require gpu: lab run" 3 "a GPU is required" "$redline" lab run none --require gpu
    check "require gpu: tune" 3 "a GPU is required" "$redline" tune none.gguf --require gpu
    check "an experiment that requires one" 3 "needs a GPU" "$redline" lab run "$source_dir/experiments/gpu-smoke.yaml"
    check "the reason" 3 "nothing was loaded: " "$redline" run --require gpu
    check "all layers" 3 "-ngl auto runs on the CPU" "$redline" run -ngl all
    check "a setting" 3 "a GPU is required" env REDLINE__LLM__PRIMARY__REQUIRE=gpu "$redline" run -n 1
    printf 'llm: {primary: {n_gpu_layers: 20}}\n' >config/redline.yaml
    check "a file" 3 "layers are wanted on a GPU" "$redline" run -n 1
    check "a flag beats it" 0 "" "$redline" run -q -n 1 -ngl 0
    rm config/redline.yaml
    finds "doctor goes on" "$demo" -ngl 20
    has "and plans" "0 of 4 layers on a GPU"
fi
check "the CPU" 0 "" "$redline" run -q -n 1 --require cpu
check "no layers" 0 "" "$redline" run -q -n 1 -ngl 0
check "whatever there is" 0 "" "$redline" run -q -n 1 -ngl auto --require any
check "a contradiction" 2 "the CPU is required" "$redline" run --require cpu -ngl 4
check "another" 2 "a GPU is required" "$redline" run --require gpu -ngl 0
check "no such word" 2 "known are auto, all and 0 to 100000" "$redline" run -ngl -1
check "no such device" 2 "known are any, gpu and cpu" "$redline" run --require tpu
check "plan says so" 0 '"n_gpu_layers": 0' "$redline" plan "$demo" --json

finish
