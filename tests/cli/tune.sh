#!/bin/sh
# redline tune as a user meets it: what it writes, what it keeps of what was there, and what it refuses before it
# measures.  Whether it chooses well is test_tune's business; here there is one candidate, whom nobody can beat.
# usage: tune.sh REDLINE SOURCE_DIR
set -u
redline=$(realpath "$1")
source_dir=$(realpath "$2")
demo=$source_dir/models/demo.gguf
. "$(dirname "$0")/checks"
unset REDLINE_CPU
mkdir "$tmp/work"
cd "$tmp/work" || exit 3
file=$REDLINE_CONFIG_DIR/overrides.local.yaml
one="-p 32 -n 4 -t 1 -ub 32 -q --busy" # whoever runs beside this test

# holds NAME COMMAND...
holds() {
    name=$1
    shift
    n=$((n + 1))
    "$@" >"$tmp/held" 2>&1 || { echo "FAILED $name: $*"; cat "$tmp/held"; failed=$((failed + 1)); }
}

# the file of settings, where they are read from
check "tune" 0 "written to $file" "$redline" tune "$demo" $one
holds "the table" grep -q "^| 1 | 32 | [0-9.]* | [0-9.]* | 1 | 3 | chosen |$" "$tmp/out"
check "threads" 0 "llm.primary.n_threads 1 $file" "$redline" config
check "batch" 0 "llm.primary.n_ubatch 32 $file" "$redline" config
holds "the evidence" grep -q "^# made again with: redline tune $demo $one$" "$file"
holds "the model" grep -q "^# model: demo.gguf, sha256:" "$file"
check "obeyed" 0 '"n_threads": 1' "$redline" run -q --json -n 1

# what was there is there still
printf '# mine\nllm:\n  primary:\n    # two of them\n    n_threads: 2 # not now\n    sampling: {seed: 9}\n' >"$file"
check "tune again" 0 "written to" "$redline" tune $one
sed '/^# redline tune: begin/,/^# redline tune: end/d' "$file" >rest
printf '# mine\nllm:\n  primary:\n    n_ubatch: 32\n    # two of them\n    n_threads: 1 # not now\n    sampling: {seed: 9}\n' >expected
same "all but the values" rest expected
check "and again" 0 "written to" "$redline" tune $one
sed '/^# redline tune: begin/,/^# redline tune: end/d' "$file" >rest
same "no second evidence" rest expected
check "still settings" 0 "llm.primary.sampling.seed 9" "$redline" config
cp "$file" kept

# a machine that others use: nothing is pinned that would hold when it is quiet again
others=
for i in $(seq "$(nproc)"); do
    while :; do :; done &
    others="$others $!"
done
"$redline" tune "$demo" -p 32 -n 4 -t 1 -ub 32 -q --json >"$tmp/out" 2>"$tmp/err"
holds "more runs are needed" test $? -eq 4
holds "why" grep -q "$file is left as it is; make it again .* or write it with --busy" "$tmp/err"
same "so it is" "$file" kept
holds "JSON says it" grep -q '"busy": true' "$tmp/out"
check "busy all the same" 0 "written to" "$redline" tune $one
holds "and the evidence says it" grep -q "^# other programs used .* not the machine's speed, make it again" "$file"
kill $others
cp kept "$file"

# elsewhere
check "standard output" 0 "# redline tune: begin" "$redline" tune $one -o -
holds "settings alone" test "$(tail -1 "$tmp/err")" = ""
check "json" 0 '"decided": true' "$redline" tune $one -o other.yaml --json
holds "another file" grep -q "^    n_threads: 1$" other.yaml
same "the settings as they were" "$file" kept

# several candidates: whoever wins, the file says the same as the table
"$redline" tune -p 64 -n 8 -t 1,1 -ub 8,64 --budget 180s --busy --json -q -o several.yaml >several.json 2>"$tmp/err"
holds "decided, or not yet" test $? -le 4
python3 - <<'END' >chosen
import json
answer = json.load(open("several.json"))
assert [c["n_ubatch"] for c in answer["candidates"]] == [8, 64] and answer["without_full"] is None
assert all(c["prompt_ts"] > 0 and c["decode_ts"] > 0 for c in answer["candidates"])
print(f"n_ubatch: {answer['n_ubatch']}")
END
holds "the same" grep -qf chosen several.yaml

# refused before anything is measured
check "no such model" 3 "no.gguf" "$redline" tune no.gguf $one
check "two models" 2 "two models" "$redline" tune "$demo" -m "$demo" $one
check "no list" 2 "-t '1,x': at most" "$redline" tune $one -t 1,x
check "too large a share" 2 "from 0.1 % to 50 % is expected" "$redline" tune $one --within 60%
check "no share" 2 "--within 'much': a share" "$redline" tune $one --within much
check "no time" 2 "--budget soon: a duration" "$redline" tune $one --budget soon
check "no such folder" 3 "none/x.yaml" "$redline" tune $one -o none/x.yaml
printf 'llm: {primary: [1]}\n' >odd.yaml
check "no section" 2 "odd.yaml:1: a section with settings is expected here" "$redline" tune $one -o odd.yaml
printf 'llm: {\n' >odd.yaml
check "no YAML" 2 "this is not YAML" "$redline" tune $one -o odd.yaml
check "little time" 4 "s has room for three, or try fewer" "$redline" tune $one --budget 0.001 -o late.yaml
holds "nothing written" test ! -e late.yaml
same "nor changed" "$file" kept

finish
