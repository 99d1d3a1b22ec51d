#!/bin/sh
# redline lab worker, check and metrics: every kind of work gives a valid record, figures are what other commands say,
# impossible tasks get their sentence.
# usage: lab_worker.sh REDLINE SOURCE_DIR
set -u
redline=$(realpath "$1")
source=$(realpath "$2")
. "$(dirname "$0")/checks"
unset REDLINE_CPU
demo=$source/models/demo.gguf
text=$source/tests/data/demo/heldout.txt
schema=$source/docs/lab-record.schema.json

# task TEXT: for the next worker
task() { printf '%s' "$1" >"$tmp/task"; }
worker() { "$redline" lab worker <"$tmp/task"; }

# record NAME TASK: the record is in $tmp/NAME
record() {
    task "$2"
    n=$((n + 1))
    if worker >"$tmp/$1" 2>"$tmp/err" && [ ! -s "$tmp/err" ]; then
        cat "$tmp/$1" >>"$tmp/store"
    else
        echo "FAILED $1: $2"; cat "$tmp/err"; failed=$((failed + 1))
    fi
}

# refused NAME EXPECTED_CODE EXPECTED_TEXT TASK
refused() {
    task "$4"
    check "$1" "$2" "$3" sh -c "'$redline' lab worker <'$tmp/task'"
}

# says NAME PYTHON: of the record r, whose figures are f
says() {
    n=$((n + 1))
    python3 - "$tmp/$1" "$2" <<'END' || { echo "FAILED $1: $2"; failed=$((failed + 1)); }
import json, sys
r = json.load(open(sys.argv[1]))
f = {name: figure["value"] for name, figure in r["derived"].items()}
q = r["requests"]
sys.exit(not eval(sys.argv[2]))
END
}

# ---- every kind of work ---------------------------------------------------------------------------
record plain '{"experiment": {"name": "x", "cell": 2}, "requested": {"n_threads": "auto"}, "program": {"contestant": "ours"},
               "workload": {"name": "short", "n_prompt": 64, "n_gen": 24}}'
says plain 'r["experiment"] == {"name": "x", "cell": 2} and r["settings"]["requested"] == {"n_threads": "auto"}'
says plain 'r["program"]["contestant"] == "ours" and r["program"]["version"] and r["program"]["commit"]'
says plain 'r["model"]["file"] == "demo.gguf" and r["model"]["n_layers"] == 4 == len(r["settings"]["effective"]["placement"])'
says plain 'len(q) == 1 and len(q[0]["engine_ns"]) == 24 == len(q[0]["consumer_ns"]) and q[0]["n_prompt"] == 64'
says plain 'q[0]["submitted_ns"] <= q[0]["started_ns"] <= q[0]["prefilled_ns"] <= q[0]["engine_ns"][0]'
says plain 'all(e <= c for e, c in zip(q[0]["engine_ns"], q[0]["consumer_ns"]))'
says plain '0 < r["times"]["model_open_ns"] <= r["times"]["engine_open_ns"] < r["times"]["loaded_ns"] < q[0]["submitted_ns"]'
says plain 'abs(f["first_token_from_start_ms"] - q[0]["engine_ns"][0] / 1e6) < 1e-6 and f["load_ms"] > 0'
says plain 'f["samples"] == 23 and f["itl_p50_ms"] > 0 and f["itl_p95_ms"] is None'
says plain 'r["missing"]["derived.itl_p99_ms"] == "needs 368 intervals, has 23"'
says plain 'f["share_of_bandwidth"] is None and "cache" in r["missing"]["derived.share_of_bandwidth"]'
says plain '0 < r["model"]["token_bytes"] <= r["model"]["weight_bytes"]'
says plain 'r["model"]["token_bytes"] == r["model"]["token_ops"] + r["model"]["head_ops"]' # F16: 2 bytes, 2 operations
says plain 'f["peak_rss_bytes"] > r["model"]["weight_bytes"] / 2 and f["kv_touched_bytes"] > 0'

record many '{"load": "warm", "workload": {"n_prompt": 16, "n_gen": 8, "n_depth": 96, "n_requests": 7, "concurrency": 3}}'
says many 'len(q) == 7 and all(x["n_cached"] == 96 and x["n_prompt"] == 112 for x in q)'
says many 'r["settings"]["effective"]["n_seqs"] == 3 and f["first_token_from_start_ms"] is None'

record random '{"workload": {"n_prompt": 16, "n_gen": 4, "n_requests": 6, "arrival": "poisson", "rate": 200, "concurrency": 2}}'
says random 'len(q) == 6 and r["workload"]["rate"] == 200 and len({x["submitted_ns"] for x in q}) == 6'
record even '{"workload": {"n_prompt": 8, "n_gen": 1, "n_requests": 4, "arrival": "even", "rate": 20}}'
says even 'all(x["submitted_ns"] >= r["times"]["loaded_ns"] + i * 50e6 for i, x in enumerate(q)) and f["decode_ts"] is None'
says even 'r["missing"]["derived.tpot_ms"] == "one token has no time after it"'

record prefill '{"workload": {"n_prompt": 200, "n_gen": 0}}'
says prefill 'f["prefill_ts"] > 0 and f["ttft_ms"] is None and f["output_ts"] is None and f["total_ts"] > 0'
says prefill 'r["missing"]["derived.ttft_ms"] == "no token was generated"'

printf 'One two three.\nFour\tfive.\n\n \nSix seven\neight.\n' >"$tmp/text"
record paragraphs '{"workload": {"document": "'"$tmp/text"'", "split": "paragraphs", "n_gen": 2}}'
says paragraphs '[x["n_input_words"] for x in q] == [5, 3] and f["input_words_s"] > 0 and r["workload"]["document"] == "text"'
record lines '{"workload": {"document": "'"$tmp/text"'", "split": "lines", "n_gen": 2, "n_prompt": 2, "n_requests": 5}}'
says lines '[x["n_input_words"] for x in q] == [3, 2, 2, 1, 3] and max(x["n_prompt"] for x in q) == 2'
record whole '{"workload": {"document": "'"$tmp/text"'", "n_gen": 2}}'
says whole '[x["n_input_words"] for x in q] == [8]'

record embed '{"workload": {"kind": "embed", "document": "'"$text"'", "n_requests": 30, "concurrency": 8}}'
says embed 'len(q) == 30 and f["records_s"] > 0 and f["tokens_s"] > f["records_s"] and "ttft_ms" not in f'
record vectors '{"workload": {"kind": "embed", "n_prompt": 40, "n_requests": 5}}'
says vectors 'f["tokens_s"] > 0 and all(x["n_prompt"] == 40 for x in q)'

record score '{"settings": {"n_ctx": 256}, "workload": {"kind": "score", "document": "'"$text"'", "n_requests": 6}}'
"$redline" score "$demo" -f "$text" -c 256 --chunks 6 --json -q >"$tmp/scored"
says score 'abs(f["ppl"] / json.load(open(sys.argv[1].replace("score", "scored")))["perplexity"] - 1) < 1e-9'

record load '{"workload": {"kind": "load"}}'
says load 'q == [] and f["load_ms"] > 0 and f["peak_rss_bytes"] > 0 and "output_ts" not in f'
record reload '{"load": "warm", "workload": {"kind": "load"}, "settings": {"n_threads": 1, "type_k": "q8_0", "exact": true}}'
says reload '[r["settings"]["effective"][k] for k in ("n_threads", "type_k", "type_v", "exact")] == [1, "q8_0", "f16", True]'

# ---- kernels, digests, the process's start --------------------------------------------------------
export REDLINE_CPU=scalar
record scalar '{"settings": {"cpu_mask": "scalar"}, "workload": {"n_gen": 1}}'
says scalar 'r["settings"]["effective"]["cpu_mask"] == "scalar" and "avx" not in r["settings"]["effective"]["features"]'
says scalar '{k["kernel"] for k in r["settings"]["effective"]["kernels"]} == {"scalar"}'
says scalar '[r["machine"][k] for k in ("id", "features")] == \
    [json.load(open(sys.argv[1].replace("scalar", "plain")))["machine"][k] for k in ("id", "features")]'
record unsaid '{"workload": {"n_gen": 1}}'
says unsaid 'r["settings"]["effective"]["cpu_mask"] == "scalar"'
refused "another mask" 2 "settings.cpu_mask is '-avx512', but REDLINE_CPU is 'scalar'" '{"settings": {"cpu_mask": "-avx512"}}'
unset REDLINE_CPU

echo "sha256:$(sha256sum <"$demo" | cut -d' ' -f1)" >"$tmp/digest"
says plain 'r["model"]["digest"] == open(sys.argv[1].replace("plain", "digest")).read().strip()'
sed 's/sha256:......../sha256:00000000/' "$tmp/cache/redline/digests.json" >"$tmp/kept"
cp "$tmp/kept" "$tmp/cache/redline/digests.json"
record kept '{"workload": {"n_gen": 1}}'
says kept 'r["model"]["digest"].startswith("sha256:00000000")'
echo broken >"$tmp/cache/redline/digests.json"
record anew '{"workload": {"n_gen": 1}}'
says anew 'r["model"]["digest"] == open(sys.argv[1].replace("anew", "digest")).read().strip()'

now=$(python3 -c 'import time; print(time.monotonic_ns() - 3 * 10**9)')
record begun '{"started_ns": '"$now"', "workload": {"n_prompt": 8, "n_gen": 2}}'
says begun '3000 < f["first_token_from_start_ms"] and r["times"]["process_start_within_ns"] == 0'

# ---- the consumer's clock and the engine's ----------------------------------------------------------

# What is certain: each token's times in order, and the figures of both clocks made of their own.
record order '{"workload": {"n_prompt": 512, "n_gen": 100, "n_requests": 2}}'
says order 'all(x["submitted_ns"] <= x["started_ns"] <= x["prefilled_ns"] <= x["done_ns"] <= x["ended_ns"] for x in q)'
says order 'all(x["submitted_ns"] < e <= c <= x["ended_ns"] for x in q for e, c in zip(x["engine_ns"], x["consumer_ns"]))'
says order 'all(x[k] == sorted(x[k]) and len(x[k]) == 100 for x in q for k in ("engine_ns", "consumer_ns"))'
for clock in engine consumer; do
    name=$(echo _$clock | sed 's/_engine//')
    gaps="sum(x['${clock}_ns'][99] - x['${clock}_ns'][0] for x in q) / 198e6"
    first="sum(x['${clock}_ns'][0] - x['submitted_ns'] for x in q) / 2e6"
    says order "abs(f['itl${name}_mean_ms'] / ($gaps) - 1) < 1e-6 and abs(f['ttft${name}_ms'] / ($first) - 1) < 1e-6"
done

# That they agree: the best of many, for who consumes may have to wait for a processor.
agree() {
    python3 - "$tmp/agree" <<'END'
import json, sys
f = {name: figure["value"] for name, figure in json.load(open(sys.argv[1]))["derived"].items()}
pairs = [("ttft_ms", "ttft_consumer_ms")] + [(f"itl_{x}_ms", f"itl_consumer_{x}_ms") for x in ("mean", "p50", "p95")]
sys.exit(not all(abs(f[a] / f[b] - 1) < 0.02 for a, b in pairs))
END
}
n=$((n + 1))
for try in $(seq 40); do
    task '{"workload": {"n_prompt": 512, "n_gen": 100}}'
    worker >"$tmp/agree" && agree && break
done
agree || { echo "FAILED the clocks of engine and consumer are never within 2 %"; failed=$((failed + 1)); }

# ---- valid, by the schema and by the program --------------------------------------------------------
check "check" 0 " 0 lines that are none" "$redline" lab check "$tmp/store"
check "a torn line" 1 "the last line has no end" sh -c "printf '{\"version\"' | '$redline' lab check -"
check "no JSON" 1 "standard:1: this line is no JSON" sh -c "cd '$tmp'; echo x >standard; '$redline' lab check standard"
check "no record" 1 "it is no record: it has no version" sh -c "echo '{}' | '$redline' lab check -"
check "no store" 2 "a store is needed" "$redline" lab check
check "missing store" 3 "No such file" "$redline" lab check "$tmp/none"
check "schema" 0 "" "$redline" lab check --schema
same "docs/lab-record.schema.json is not what redline lab check --schema prints" "$tmp/out" "$schema"
check "metrics" 0 "" "$redline" lab metrics --markdown
same "docs/lab-records.md is not what redline lab metrics --markdown prints" "$tmp/out" "$source/docs/lab-records.md"
check "one metric" 0 "ttft_ms, ms; better: less" "$redline" lab metrics ttft_ms
check "no metric" 2 "there is no metric 'speed'" "$redline" lab metrics speed
if python3 -c 'import jsonschema' 2>/dev/null; then
    validate=$source/tests/lab/validate.py
    python3 -c 'import json, sys; print(json.dumps(json.load(open(sys.argv[1]))))' \
        "$source/docs/lab-record.example.json" >>"$tmp/store"
    check "every record by the schema" 0 " 0 errors" "$validate" "$schema" "$tmp/store"
    check "schema and check agree" 0 " 0 differ" "$validate" "$schema" --agree "$redline" "$tmp/plain"
else
    echo "skipped: the schema, for there is no python3-jsonschema"
    [ "${CI:-}" = true ] && failed=$((failed + 1))
fi

# ---- refused ----------------------------------------------------------------------------------------
refused "no JSON" 2 "the task is no JSON: line 1" '{"a": '
refused "no object" 2 "the task is not a JSON object" '[1]'
refused "unknown member" 2 "task has no member 'setings'; is it 'settings'?" '{"setings": {}}'
refused "unknown setting" 2 "settings has no member 'n_thread'; is it 'n_threads'?" '{"settings": {"n_thread": 1}}'
refused "unknown kind" 2 "workload.kind is 'generat', which it cannot be; is it 'generate'?" '{"workload": {"kind": "generat"}}'
refused "a text for a number" 2 "settings.n_ctx is not a whole number" '{"settings": {"n_ctx": "many"}}'
refused "out of range" 2 "workload.concurrency is 0, it must lie between 1 and 1024" '{"workload": {"concurrency": 0}}'
refused "a number for a text" 2 "workload.document is not a text" '{"workload": {"document": 7}}'
refused "no truth" 2 "settings.exact is neither true nor false" '{"settings": {"exact": 1}}'
refused "no section" 2 "workload is not an object" '{"workload": []}'
refused "no rate" 2 "workload.rate is missing" '{"workload": {"arrival": "poisson"}}'
refused "idle rate" 2 "workload.rate is 5, but requests follow one another" '{"workload": {"rate": 5}}'
refused "depth in the open" 2 "only requests that follow one another have a past" \
    '{"workload": {"arrival": "even", "rate": 5, "n_depth": 5}}'
refused "no text to score" 2 "workload.document is missing: the text that is scored" '{"workload": {"kind": "score"}}'
refused "nothing to embed" 2 "workload.document is missing: the texts that are embedded" '{"workload": {"kind": "embed"}}'
refused "embedding generates nothing" 2 "workload.n_gen is not for kind 'embed'" \
    '{"workload": {"kind": "embed", "n_prompt": 4, "n_gen": 4}}'
refused "short text" 2 "two chunks of 512 are needed" '{"workload": {"kind": "score", "document": "'"$tmp/text"'"}}'
refused "empty text" 2 "has no text" '{"workload": {"document": "/dev/null"}}'
refused "no document" 3 "No such file" '{"workload": {"document": "'"$tmp/none"'"}}'
refused "no model" 3 "No such file" '{"model": "'"$tmp/none"'"}'
refused "no model file" 3 "" '{"model": "'"$tmp/text"'"}'
refused "a GPU" 3 "n_gpu_layers" '{"settings": {"n_gpu_layers": 2}}'
refused "a type" 2 "" '{"settings": {"type_k": "q3"}}'
refused "too short a context" 2 "" '{"settings": {"n_ctx": 16}, "workload": {"n_prompt": 64, "n_gen": 1}}'
refused "a cut answer" 2 "the context was full after 17 of 64 tokens of the answer to request 0" \
    '{"settings": {"n_ctx": 80}, "workload": {"n_prompt": 64, "n_gen": 64}}'
refused "too much memory" 3 "" '{"settings": {"n_ctx": 16000000, "n_seqs": 500}}'
refused "the future" 2 "in the future" '{"started_ns": 9000000000000000000}'
check "a word too many" 2 "" "$redline" lab worker now

finish
