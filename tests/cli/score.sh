#!/bin/sh
# redline score as a user meets it: the figures of llama-perplexity, references and records, sentences.
# usage: score.sh REDLINE SOURCE_DIR
set -u
redline=$(realpath "$1")
demo=$(realpath "$2")/models/demo.gguf
heldout=$(realpath "$2")/tests/data/demo/heldout.txt
. "$(dirname "$0")/checks"
mkdir "$tmp/work"
cd "$tmp/work" || exit 3

# holds NAME PYTHON OPTIONS...: an expression about `s`, the object that --json prints, and `r`, its reference
holds() {
    name=$1 condition=$2
    shift 2
    n=$((n + 1))
    "$redline" score --json -q "$@" >"$tmp/score" 2>"$tmp/err"
    python3 -c '
import json, sys
s = json.load(open(sys.argv[1]))
r = s["reference"]
near = lambda a, b, share: abs(a / b - 1) <= share
sys.exit(0 if eval("(" + sys.argv[2] + ")") else 1)' "$tmp/score" "$condition" 2>"$tmp/python" ||
        { echo "FAILED $name: not $condition"; cat "$tmp/score" "$tmp/err" "$tmp/python"; failed=$((failed + 1)); }
}

check "help" 0 "usage: redline score" "$redline" score --help
check "no model" 2 "a model is needed" "$redline" score -f "$heldout"
check "no text" 2 "a text is needed" "$redline" score "$demo"
check "text missing" 3 "no/such/file" "$redline" score "$demo" -f no/such/file
check "a short chunk" 2 "chunks of 2 tokens, at least 3" "$redline" score "$demo" -f "$heldout" -c 2
printf 'Once upon a time there was a dog. The dog ran. The dog ate. The end.' >short
check "a short text" 2 "two chunks of 512 are needed" "$redline" score "$demo" -f short
check "an empty text" 2 "the text has 0 tokens" "$redline" score "$demo" -f -
check "a short text, short chunks" 0 "2 chunks of 8 tokens, 6 scored" "$redline" score "$demo" -f short -c 8 --chunks 2

# llama-perplexity on the same files says 91.2514 +/- 6.28872; it multiplies F16 weights in float32
holds "the held-out text" 'near(s["perplexity"], 91.2514, 5e-4) and near(s["perplexity_error"], 6.28872, 5e-3) and
    s["n_chunks"] == 48 and s["n_scored"] == 48 * 255 and r is None' "$demo" -f "$heldout" --exact --save exact
# what rounding to BF16 may cost, where the processor has products of it
holds "BF16 against float32" 'r["kl_mean"] <= 2e-4' "$demo" -f "$heldout" --reference exact
# and of a model that wants BOS, in chunks of 128 and of 101 tokens
stories=${REDLINE_TEST_DATA:-none}/stories260K/stories260K.gguf
if [ -f "$stories" ]; then
    holds "with BOS" 'near(s["perplexity"], 253.8619, 5e-4)' "$stories" -f "$heldout" -c 128 --chunks 40
    holds "with BOS, odd chunks" 'near(s["perplexity"], 508.7190, 5e-4)' "$stories" -f "$heldout" -c 101 --chunks 40
fi

# what all rounding may cost against exact arithmetic: floating point weights, and those with 8-bit activations
few="-f $heldout -c 128 --chunks 40"
for model in "$demo" "$stories"; do
    [ -f "$model" ] || continue
    for bound in F16:2e-4 BF16:2e-4 Q8_0:1e-3 Q4_K_M:1e-3; do
        "$redline" quantize "$model" rounded.gguf "${bound%:*}" >/dev/null 2>&1
        "$redline" score rounded.gguf $few -q --exact --save rounded.rec >/dev/null
        holds "$bound of $(basename "$model")" "r['kl_mean'] <= ${bound#*:}" rounded.gguf $few --reference rounded.rec
    done
done

# from the logits command, by another computation
"$redline" tokenize "$demo" --ids --special -f "$heldout" >ids
python3 - "$redline" "$demo" <<'END' >perplexity
import array, math, subprocess, sys
ids = [int(x) for x in open("ids").read().split()]
nll = []
for chunk in range(2):
    part = ids[64 * chunk:64 * (chunk + 1)]
    raw = subprocess.run([sys.argv[1], "logits", sys.argv[2], "--tokens", ",".join(map(str, part)), "-o", "-"],
                         capture_output=True, check=True).stdout
    rows, width = array.array("f", raw), len(raw) // 4 // 64
    for i in range(32, 63):
        row = rows[i * width:(i + 1) * width]
        nll.append(math.log(math.fsum(math.exp(x) for x in row)) - row[part[i + 1]])
print(math.exp(sum(nll) / len(nll)), len(nll))
END
read -r perplexity count <perplexity
holds "as from the logits" "near(s['perplexity'], $perplexity, 1e-6) and s['n_scored'] == $count" \
    "$demo" -f "$heldout" --special -c 64 --chunks 2

# the same bits however many chunks run together, on however many threads
few="-f $heldout -c 96 --chunks 9 -q"
"$redline" score "$demo" $few >a
"$redline" score "$demo" $few -b 96 -ub 50 -t 1 >b
same "one chunk at a time" a b
"$redline" score "$demo" $few -b 65536 -ub 7 >b
same "all chunks at once" a b
"$redline" score "$demo" $few -f - <"$heldout" | sed "s|on - *:|on $heldout:|" >b
same "from standard input" a b
same "quiet is quiet" "$tmp/err" /dev/null

# against itself, as a model and as a record
alike='r["kl_mean"] == r["kl_largest"] == 0 and r["same_top"] == 1 and r["perplexity_ratio"] == 1'
holds "against itself" "$alike and not r['kl_is_lower_bound'] and r['kind'] == 'model'" "$demo" $few --reference "$demo"
check "save" 0 "perplexity" "$redline" score "$demo" $few --save a.rec
holds "against its record" "$alike and r['kl_is_lower_bound'] and r['kind'] == 'record' and r['n_top'] == 64 and
    r['made'] == 'demo.gguf, F16 keys, F16 values'" "$demo" $few --reference a.rec
check "the size of a record" 0 "$((64 + 31 + 9 * (96 * 4 + 47 * 520)))" wc -c a.rec

# against what is a little different
"$redline" quantize -q "$demo" q.gguf Q4_0
holds "of fewer bits" '1 < r["perplexity_ratio"] < 1.2 and near(s["perplexity"], r["perplexity"] * r["perplexity_ratio"], 1e-9)
    and 0 < r["kl_median"] < r["kl_mean"] < r["kl_p99"] < r["kl_largest"] < 10 and 0.8 < r["same_top"] < 1
    and 0 < r["kl_mean_error"] < r["kl_mean"]' q.gguf $few --reference "$demo"
cp "$tmp/score" exact
holds "of fewer bits, by the record" 'all(near(r["perplexity_ratio"], x["perplexity_ratio"], 1e-9) and
    r["same_top"] == x["same_top"] and 0.9 * x["kl_mean"] < r["kl_mean"] <= x["kl_mean"]
    for x in [json.load(open("exact"))["reference"]])' q.gguf $few --reference a.rec
holds "other settings" '0 < r["kl_mean"] < 1e-3 and s["type_k"] == "F32" and s["exact"]' \
    "$demo" $few --reference a.rec -ctk f32 --exact
check "onto its reference" 0 "against a record of demo.gguf" "$redline" score q.gguf $few --reference a.rec --save a.rec
check "which is another now" 0 "against a record of q.gguf" "$redline" score q.gguf $few --reference a.rec

# not comparable, not readable
check "another text" 2 "another text or another tokenizer" sh -c \
    "tail -c +9000 '$heldout' | '$redline' score '$demo' -f - -c 96 --chunks 9 --reference a.rec"
check "special tokens parsed" 2 "another text or another tokenizer" "$redline" score "$demo" $few --special --reference a.rec
check "other chunks" 2 "chunks of 96 tokens, here they have 64" "$redline" score "$demo" $few -c 64 --reference a.rec
check "fewer chunks" 2 "has 9 chunks, here there are 5" "$redline" score "$demo" $few --chunks 5 --reference a.rec
{ head -c 20 a.rec; printf '\001\010\000\000'; tail -c +25 a.rec; } >b.rec
check "another vocabulary" 2 "vocabulary has 2049 tokens, this one 2048" "$redline" score "$demo" $few --reference b.rec
if [ -f "$stories" ]; then
    check "a model of another tokenizer" 2 "another tokenizer" "$redline" score "$demo" $few --reference "$stories"
fi
{ head -c 8 a.rec; printf '\002'; tail -c +10 a.rec; } >b.rec
check "another version" 3 "version 2, known is 1" "$redline" score "$demo" $few --reference b.rec
head -c 100000 a.rec >b.rec
check "half a record" 3 "has 100000 bytes, a record of 9 chunks of 96 tokens has" "$redline" score "$demo" $few --reference b.rec
check "no record" 3 "not a GGUF file" "$redline" score "$demo" $few --reference "$heldout"
check "reference missing" 3 "none.rec" "$redline" score "$demo" $few --reference none.rec
check "a full disk" 3 "No space left on device" "$redline" score "$demo" $few --save /dev/full
check "no folder" 3 "no/folder" "$redline" score "$demo" $few --save no/folder/a.rec
check "a full standard output" 3 "cannot be written" sh -c "exec '$redline' score '$demo' $few >/dev/full"

# who stops it finds nothing left
mkdir stop
cat "$heldout" "$heldout" "$heldout" "$heldout" "$heldout" "$heldout" >long
stop_writing stop "$redline" score "$demo" -f long -t 1 --exact --save stop/a.rec
check "stopped" 0 "redline: stopped" cat "$tmp/stopped"
check "nothing is left" 0 "0" sh -c 'ls -A stop | wc -l'

finish
