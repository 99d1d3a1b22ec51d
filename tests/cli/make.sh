#!/bin/sh
# redline synth and quantize as a user meets them: files, lines, exit codes, sentences.
# usage: make.sh REDLINE SOURCE_DIR
set -u
redline=$(realpath "$1")
demo=$(realpath "$2")/models/demo.gguf
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for variable in $(env | sed -n 's/^\(REDLINE__[A-Z0-9_]*\)=.*/\1/p') REDLINE_CONFIG_DIR; do unset "$variable"; done
mkdir "$tmp/work"
cd "$tmp/work" || exit 3
n=0
failed=0

# says NAME EXPECTED_CODE EXPECTED_TEXT COMMAND...: the text in what the command prints to standard error or output
says() {
    name=$1 code=$2 text=$3
    shift 3
    "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    got=$?
    n=$((n + 1))
    if [ "$got" -ne "$code" ]; then
        echo "FAILED $name: exit code $got, expected $code"; cat "$tmp/err"; failed=$((failed + 1))
    elif [ -n "$text" ] && ! cat "$tmp/out" "$tmp/err" | grep -qF -- "$text"; then
        echo "FAILED $name: '$text' is missing in:"; cat "$tmp/out" "$tmp/err"; failed=$((failed + 1))
    elif [ "$code" -ge 2 ] && [ "$(wc -l <"$tmp/err")" -ne 1 ]; then
        echo "FAILED $name: not one sentence:"; cat "$tmp/err"; failed=$((failed + 1))
    fi
}

# same NAME FILE_A FILE_B
same() {
    n=$((n + 1))
    cmp -s "$2" "$3" || { echo "FAILED $1: $2 and $3 differ"; failed=$((failed + 1)); }
}

# only NAME FILES: nothing else lies in the folder
only() {
    n=$((n + 1))
    [ "$(echo *)" = "$2" ] || { echo "FAILED $1: there are $(echo *)"; failed=$((failed + 1)); }
}

says "synth --help" 0 "gpt-oss-20b" "$redline" synth --help
says "quantize --help" 0 "Q4_K_M" "$redline" quantize --help

# a made-up model: a seed gives the same bytes with any number of threads; it runs
says "synth" 0 "13 F32, 43 Q8_0" "$redline" synth stories15m Q8_0 a.gguf
says "synth, one thread" 0 "" "$redline" synth stories15m Q8_0 b.gguf -t 1 --seed 0
same "one thread" a.gguf b.gguf
says "it runs" 0 "tok/s" "$redline" run a.gguf -p "Once upon a time" -n 4 --temp 0
says "odd widths" 0 "36 of another type than the mixture has" "$redline" synth stories15m Q4_K_M c.gguf -s 7
says "no shape" 2 "there is no shape 'llama'; known are stories15m" "$redline" synth llama Q8_0 d.gguf
says "no type" 2 "there is no type 'Q3'; known are F32, F16" "$redline" synth stories15m Q3 d.gguf
says "two words" 2 "three words are needed" "$redline" synth stories15m Q8_0
says "a folder" 3 "no/folder" "$redline" synth stories15m Q8_0 no/folder/d.gguf
says "a full disk" 3 "No space left on device" "$redline" synth stories15m Q8_0 /dev/full
only "files of synth" "a.gguf b.gguf c.gguf"
rm -f -- *

# the demo model in fewer bits still tells the story
says "quantize" 0 "5 Q6_K" "$redline" quantize "$demo" q.gguf Q4_K_M
says "its name and type" 0 "general.file_type u32 15" sh -c "'$redline' inspect q.gguf | tr -s ' '"
says "it runs" 0 "Once upon a time, there was a" "$redline" run q.gguf -p "Once upon a time" -n 8 --temp 0
says "quiet" 0 "" "$redline" quantize "$demo" r.gguf q4_k_m -q -t 1
same "quiet is quiet" "$tmp/err" /dev/null
same "one thread" q.gguf r.gguf
says "again" 2 "--allow-requantize" "$redline" quantize q.gguf s.gguf Q4_0
says "again, allowed" 0 "Q4_0" "$redline" quantize q.gguf s.gguf Q4_0 --allow-requantize
cp q.gguf before.gguf
says "onto itself" 2 "is the model that is to be read" "$redline" quantize q.gguf ./q.gguf Q8_0 --allow-requantize
same "the input is whole" q.gguf before.gguf
says "no input" 3 "none.gguf" "$redline" quantize none.gguf t.gguf Q8_0
says "no model" 3 "q.txt" sh -c "echo text >q.txt && '$redline' quantize q.txt t.gguf Q8_0"
says "a full disk" 3 "No space left on device" "$redline" quantize "$demo" /dev/full Q8_0
only "files of quantize" "before.gguf q.gguf q.txt r.gguf s.gguf"

# who stops it finds nothing left
rm -f -- *
"$redline" synth qwen3-0.6b F32 big.gguf -t 1 2>"$tmp/stopped" &
job=$!
sleep 0.2
kill -TERM $job
wait $job
says "stopped" 0 "redline: stopped at" cat "$tmp/stopped"
only "nothing is left" "*"

echo "$((n - failed)) passed, $failed failed"
[ "$failed" -eq 0 ]
