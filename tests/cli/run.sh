#!/bin/sh
# The commands as a user meets them: what goes to which stream, exit codes, sentences.
# usage: run.sh REDLINE SOURCE_DIR
set -u
redline=$(realpath "$1")
source_dir=$(realpath "$2")
demo=$source_dir/models/demo.gguf
. "$(dirname "$0")/checks"

check "help" 0 "usage: redline COMMAND" "$redline" --help
check "version" 0 "redline 0." "$redline" --version
for flag in --help --version help "lab --help" "run --help"; do
    check "$flag, nowhere to write it" 3 "cannot be written" sh -c "exec '$redline' $flag >/dev/full"
done
check "help run" 0 "usage: redline run" "$redline" help run
check "help lab gate" 0 "usage: redline lab gate" "$redline" help lab gate
check "help rnu" 2 "did you mean 'run'?" "$redline" help rnu
for command in run embed tokenize logits inspect plan score imatrix bench probe chat config; do
    check "$command --help" 0 "usage: redline $command" "$redline" $command --help
done
for command in doctor inspect plan embed; do
    n=$((n + 1))
    "$redline" $command --help >"$tmp/out"
    ! grep "demo model" "$tmp/out" || { echo "FAILED $command has no demo model"; failed=$((failed + 1)); }
done
check "run has one" 0 "Without MODEL, with the demo model" "$redline" run --help
check "unknown command" 2 "did you mean 'tokenize'?" "$redline" tokenise
check "unknown option" 2 "did you mean '--temp'?" "$redline" run --tmp 1
check "a flag of others" 2 "'-b' sets llm.primary.n_batch, which this command does not use" "$redline" run -b 512
check "of others still" 2 "'--temp' sets llm.primary.sampling.temperature" "$redline" embed --temp 1
check "a short one that nobody has" 2 "there is no option '-y'; --help lists them" "$redline" run -y
check "attention" 2 "'-fa' has nothing to switch: attention always runs in one pass" "$redline" run -fa on
check "not a number" 2 "a whole number is expected" "$redline" run -n many
check "out of range" 2 "must lie between" "$redline" run --top-p 2
check "value missing" 2 "needs a value" "$redline" run -n
check "two models" 2 "two models" "$redline" run a.gguf -m b.gguf
for words in embed inspect plan tokenize "score -f x" "imatrix -f x -o x" "logits --tokens 1 -o x"; do
    check "no model for $words" 2 "a model is needed: redline ${words%% *} MODEL" "$redline" $words
done
check "two prompts" 2 "one prompt is enough" "$redline" run -p a -f b
check "empty prompt" 2 "the prompt is empty" "$redline" run -p ""
check "wrong KV type" 2 "known are f32, f16, bf16, q8_0 and q4_0" "$redline" run -ctk q5_1 -n 1
check "model missing" 3 "no/such/file" "$redline" run no/such/file.gguf
check "a folder" 3 "folder" "$redline" inspect "$tmp"
check "wrong mask" 2 "REDLINE_CPU" env REDLINE_CPU=-sse9 "$redline" run -n 1
check "a prompt that is too long" 2 "the context holds 2" "$redline" run -c 2 -p "Once upon a time there was" -n 4
same "is not echoed" "$tmp/out" /dev/null
check "a context beyond all" 2 "and -n 1000000000 need a context of 1000000004 tokens; the limit is 268435456" \
    "$redline" run -n 1000000000
check "full standard output" 3 "cannot be written" sh -c "exec '$redline' run -n 4 >/dev/full"

# the demo model: text to standard output, the measured line to standard error
"$redline" run -n 24 --temp 0 >"$tmp/a" 2>"$tmp/line"
check "measured line" 0 "GB/s measured here" cat "$tmp/line"
for mask in scalar -avx512 -avx2; do
    REDLINE_CPU=$mask "$redline" run -q -n 24 --temp 0 -t 1 >"$tmp/b" 2>"$tmp/quiet"
    same "text under REDLINE_CPU=$mask" "$tmp/a" "$tmp/b"
done
same "quiet is quiet" "$tmp/quiet" /dev/null
"$redline" run -q -n 24 --temp 0 --no-display-prompt -m "$demo" >"$tmp/b"
{ printf 'Once upon a time'; cat "$tmp/b"; } >"$tmp/c"
same "no prompt" "$tmp/a" "$tmp/c"
printf 'Once upon a time' | "$redline" run -q -n 24 --temp 0 -f - >"$tmp/b"
same "prompt from standard input" "$tmp/a" "$tmp/b"
echo 'Once upon a time' | "$redline" run -q -n 24 --temp 0 >"$tmp/b"
same "a piped prompt" "$tmp/a" "$tmp/b"
for try in 1 2 3 4 5 6 7 8 9 10; do # who comes later than the program waits for says so, and is too late
    { sleep 0.5; printf 'Once upon a time'; } | "$redline" run -q -n 24 --temp 0 >"$tmp/b" 2>"$tmp/said"
    grep -q "nothing came" "$tmp/said" || break
done
same "a late one" "$tmp/a" "$tmp/b"
same "has come" "$tmp/said" /dev/null
echo '12 + 7 =' >"$tmp/sum"
"$redline" run -q -n 8 --temp 0 <"$tmp/sum" >"$tmp/b"
"$redline" run -q -n 8 --temp 0 -p '12 + 7 =' >"$tmp/c"
same "a prompt in a file" "$tmp/b" "$tmp/c"
"$redline" run -q -n 8 --temp 0 -p '12 + 7 =' <"$tmp/a" >"$tmp/c"
same "-p stands before it" "$tmp/b" "$tmp/c"
: | "$redline" run -q -n 24 --temp 0 >"$tmp/b"
same "a pipe with nothing in it" "$tmp/a" "$tmp/b"
"$redline" run -q -n 24 --temp 0 <&- >"$tmp/b"
same "no standard input" "$tmp/a" "$tmp/b"
mkfifo "$tmp/silent"
sleep 900 >"$tmp/silent" &
timeout 600 "$redline" run -q -n 24 --temp 0 <"$tmp/silent" >"$tmp/b" 2>"$tmp/said"
kill $!
same "a silent pipe" "$tmp/a" "$tmp/b"
check "is told of" 0 "nothing came from the pipe at standard input in 3 s, the prompt is 'Once upon" cat "$tmp/said"
"$redline" run -q -n 40 -s 7 >"$tmp/b"
"$redline" run -q -n 40 -s 7 -t 1 >"$tmp/c"
same "same seed, same text" "$tmp/b" "$tmp/c"
check "one token" 0 "(1 token, stop: length)" "$redline" run -n 1
check "json" 0 '"decode_tokens_per_s"' "$redline" run --json -q -n 8

check "no prompt for JSON" 2 "the prompt is empty" "$redline" run --json -p ""
check "a prompt that JSON cannot hold" 2 "prompt is not UTF-8" "$redline" run --json -p "$(printf 'caf\351')"

# tokens
printf 'Hello\nworld' | "$redline" tokenize "$demo" --ids >"$tmp/ids"
check "one line of ids" 0 "1" wc -l "$tmp/ids"
printf '<|im_end|>' | "$redline" tokenize "$demo" --ids --special >"$tmp/ids"
check "a special token" 0 "2" cat "$tmp/ids"
"$redline" logits "$demo" --tokens 5,6,7 -o "$tmp/logits" && check "logits" 0 "$((3 * 2048 * 4))" wc -c "$tmp/logits"
check "a wrong id" 2 "outside the vocabulary" "$redline" logits "$demo" --tokens 5,99999 -o "$tmp/never"
check "no ids" 2 "not a list of token ids" "$redline" logits "$demo" --tokens 5,,6 -o "$tmp/never"
check "nothing written" 1 "" test -e "$tmp/never"

# a vector for each line: alone, among others, at any number of threads and in any order
{ printf 'Once upon a time\n12 + 7 =\r\nThe end\n'; seq 1 200; } >"$tmp/lines"
"$redline" embed "$demo" -q -f "$tmp/lines" >"$tmp/a"
check "a vector a line" 0 "203" grep -c embedding "$tmp/a"
"$redline" embed "$demo" -q -f "$tmp/lines" -t 1 -np 3 -ub 7 -o "$tmp/b"
same "vectors in other steps" "$tmp/a" "$tmp/b"
sed -n 2p "$tmp/lines" | "$redline" embed "$demo" -q | sed 's/.*"n_tokens"//' >"$tmp/b"
sed -n 2p "$tmp/a" | sed 's/.*"n_tokens"//' >"$tmp/c"
same "a line alone" "$tmp/b" "$tmp/c"
sort -r "$tmp/lines" | "$redline" embed "$demo" -q | sed 's/.*"n_tokens"//' | sort >"$tmp/b"
sed 's/.*"n_tokens"//' "$tmp/a" | sort >"$tmp/c"
same "lines in another order" "$tmp/b" "$tmp/c"
check "raw vectors" 0 "$((203 * 256 * 4))" sh -c "'$redline' embed '$demo' -q -f '$tmp/lines' --format f32 | wc -c"
printf 'query: 12\n' | "$redline" embed "$demo" -q >"$tmp/b"
printf '12' | "$redline" embed "$demo" -q --prefix 'query: ' >"$tmp/c"
same "a prefix" "$tmp/b" "$tmp/c"
printf 'Once upon a time there was\nhi\n\nOnce upon\n' >"$tmp/odd"
check "an empty line" 2 "line 3 is empty" "$redline" embed "$demo" -f "$tmp/odd"
check "a long line" 2 "line 1 has" "$redline" embed "$demo" -f "$tmp/odd" -c 2 --skip-empty
check "a long line, cut" 0 "cut to 2" "$redline" embed "$demo" -f "$tmp/odd" -c 2 --skip-empty --truncate
check "its number" 0 '{"index":3,"n_tokens":2,"embedding":[' "$redline" embed "$demo" -f "$tmp/odd" --skip-empty
check "no text" 2 "no text to embed" "$redline" embed "$demo"
check "no pooling" 0 '"embeddings":[[' "$redline" embed "$demo" -f "$tmp/lines" --pooling none
check "wrong pooling" 2 "--pooling" "$redline" embed "$demo" --pooling rank

# what is in a file, and what it costs
check "inspect" 0 "can be run" "$redline" inspect "$demo"
check "inspect --json" 0 '"runnable": true' "$redline" inspect "$demo" --json --strict
check "plan" 0 "longest context that fits" "$redline" plan "$demo" --layers
check "a plan that does not fit" 1 "DOES NOT FIT" "$redline" plan "$demo" -c 268435456
check "a run that does not fit" 3 "would fit" "$redline" run "$demo" -c 268435456 -n 1

# broken files: each a sentence and exit code 3
head -c 1000 "$demo" >"$tmp/short.gguf"
check "truncated" 3 "short.gguf" "$redline" run "$tmp/short.gguf"
printf 'GGML............................' >"$tmp/magic.gguf"
check "wrong magic" 3 "magic.gguf" "$redline" inspect "$tmp/magic.gguf"
: >"$tmp/empty.gguf"
check "empty" 3 "empty.gguf" "$redline" inspect "$tmp/empty.gguf"
head -c 4000000 "$demo" >"$tmp/half.gguf"
check "half the weights" 3 "half.gguf" "$redline" run "$tmp/half.gguf"
for file in "$source_dir"/tests/fuzz/corpus/gguf/*; do
    "$redline" run "$file" -n 1 >"$tmp/out" 2>"$tmp/err" </dev/null
    n=$((n + 1))
    [ $? -le 3 ] && [ "$(wc -l <"$tmp/err")" -eq 1 ] || { echo "FAILED on $file"; failed=$((failed + 1)); }
done

finish
