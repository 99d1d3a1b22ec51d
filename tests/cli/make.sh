#!/bin/sh
# redline synth and quantize as a user meets them: files, lines, exit codes, sentences.
# And redline imatrix, whose files quantize obeys.
# usage: make.sh REDLINE SOURCE_DIR
set -u
redline=$(realpath "$1")
demo=$(realpath "$2")/models/demo.gguf
heldout=$(realpath "$2")/tests/data/demo/heldout.txt
. "$(dirname "$0")/checks"
mkdir "$tmp/work"
cd "$tmp/work" || exit 3

# only NAME FILES: nothing else lies in the folder
only() {
    n=$((n + 1))
    [ "$(echo *)" = "$2" ] || { echo "FAILED $1: there are $(echo *)"; failed=$((failed + 1)); }
}

check "synth --help" 0 "gpt-oss-20b" "$redline" synth --help
check "quantize --help" 0 "Q4_K_M" "$redline" quantize --help

# a made-up model: a seed gives the same bytes with any number of threads; it runs
check "synth" 0 "13 F32, 43 Q8_0" "$redline" synth stories15m Q8_0 a.gguf
check "synth, one thread" 0 "" "$redline" synth stories15m Q8_0 b.gguf -t 1 --seed 0
same "one thread" a.gguf b.gguf
check "it runs" 0 "tok/s" "$redline" run a.gguf -p "Once upon a time" -n 4 --temp 0
check "odd widths" 0 "36 of another type than the mixture has" "$redline" synth stories15m Q4_K_M c.gguf -s 7
check "no shape" 2 "there is no shape 'llama'; known are stories15m" "$redline" synth llama Q8_0 d.gguf
check "no type" 2 "there is no type 'Q3'; known are F32, F16" "$redline" synth stories15m Q3 d.gguf
check "two words" 2 "three words are needed" "$redline" synth stories15m Q8_0
check "a folder" 3 "no/folder" "$redline" synth stories15m Q8_0 no/folder/d.gguf
check "a full disk" 3 "No space left on device" "$redline" synth stories15m Q8_0 /dev/full
check "a file beyond its limit" 3 "it would have 2.3 MB: File too large" \
    sh -c "trap '' XFSZ; ulimit -f 100; exec '$redline' quantize '$demo' d.gguf Q4_0"
only "files of synth" "a.gguf b.gguf c.gguf"
rm -f -- *

# the demo model in fewer bits still tells the story
check "quantize" 0 "5 Q6_K" "$redline" quantize "$demo" q.gguf Q4_K_M
check "its name and type" 0 "general.file_type u32 15" sh -c "'$redline' inspect q.gguf | tr -s ' '"
check "it runs" 0 "Once upon a time, there was a" "$redline" run q.gguf -p "Once upon a time" -n 8 --temp 0
check "quiet" 0 "" "$redline" quantize "$demo" r.gguf q4_k_m -q -t 1
same "quiet is quiet" "$tmp/err" /dev/null
same "one thread" q.gguf r.gguf
check "a plan of it" 0 "packed" "$redline" plan q.gguf
check "an exact one" 0 "as the file is mapped" "$redline" plan q.gguf --exact
check "again" 2 "--allow-requantize" "$redline" quantize q.gguf s.gguf Q4_0
check "again, allowed" 0 "Q4_0" "$redline" quantize q.gguf s.gguf Q4_0 --allow-requantize
cp q.gguf before.gguf
check "onto itself" 2 "is the model that is to be read" "$redline" quantize q.gguf ./q.gguf Q8_0 --allow-requantize
same "the input is whole" q.gguf before.gguf
check "no input" 3 "none.gguf" "$redline" quantize none.gguf t.gguf Q8_0
check "no model" 3 "q.txt" sh -c "echo text >q.txt && '$redline' quantize q.txt t.gguf Q8_0"
check "a full disk" 3 "No space left on device" "$redline" quantize "$demo" /dev/full Q8_0
only "files of quantize" "before.gguf q.gguf q.txt r.gguf s.gguf"

# an importance matrix: the same bytes with any number of threads; fewer bits are lost where it counts
rm -f -- *
check "imatrix --help" 0 "-o OUT.gguf" "$redline" imatrix --help
head -c 8000 "$heldout" >text
check "imatrix" 0 "one.gguf: 29 entries from 9 chunks of 200 tokens" \
    "$redline" imatrix "$demo" -f text -o one.gguf -c 200 --special -t 1
check "two threads, quiet" 0 "" "$redline" imatrix "$demo" -f text -o two.gguf -c 200 --special -t 2 -ub 33 -q
same "quiet is quiet" "$tmp/err" /dev/null
same "two threads" one.gguf two.gguf
check "its text" 0 'imatrix.datasets string[1] ["text"]' sh -c "'$redline' inspect one.gguf | tr -s ' '"
check "its counts" 0 "blk.3.ffn_down.weight.counts F32 1" sh -c "'$redline' inspect one.gguf | tr -s ' '"
check "few chunks, from a pipe" 0 "29 entries from 2 chunks of 512 tokens" \
    sh -c "'$redline' imatrix '$demo' -f - -o two.gguf --chunks 2 <text"
check "where that was from" 0 'imatrix.datasets string[1] ["standard input"]' sh -c "'$redline' inspect two.gguf | tr -s ' '"
check "too short a text" 2 "a chunk takes 100000 (-c)" "$redline" imatrix "$demo" -f text -o three.gguf -c 100000
check "no text" 2 "a text is needed" "$redline" imatrix "$demo" -o three.gguf
check "no output" 2 "a file to write is needed" "$redline" imatrix "$demo" -f text
check "no such text" 3 "none.txt" "$redline" imatrix "$demo" -f none.txt -o three.gguf
check "a full disk" 3 "No space left on device" "$redline" imatrix "$demo" -f text -o /dev/full -c 200 --chunks 1
check "quantize by it" 0 "5 Q6_K" "$redline" quantize "$demo" q.gguf Q4_K_M --imatrix one.gguf -t 1
check "and again" 0 "" "$redline" quantize "$demo" r.gguf Q4_K_M --imatrix one.gguf -t 2 -q
same "one thread" q.gguf r.gguf
check "without it" 0 "" "$redline" quantize "$demo" r.gguf Q4_K_M -q
check "that is something else" 1 "differ" cmp q.gguf r.gguf
check "it is named" 0 "quantize.imatrix.chunks_count u32 9" sh -c "'$redline' inspect q.gguf | tr -s ' '"
check "it runs" 0 "Once upon a time, there was a" "$redline" run q.gguf -p "Once upon a time" -n 8 --temp 0
check "a broken matrix" 3 "" sh -c "head -c 20000 one.gguf >cut.gguf; '$redline' quantize '$demo' s.gguf Q4_0 --imatrix cut.gguf"
check "a model as a matrix" 3 "is no importance matrix" "$redline" quantize "$demo" s.gguf Q4_0 --imatrix q.gguf
check "no matrix" 3 "none.gguf" "$redline" quantize "$demo" s.gguf Q4_0 --imatrix none.gguf
check "another model" 0 "" "$redline" synth stories15m F16 other.gguf -q
check "another model's matrix" 3 "it is of another model" "$redline" quantize other.gguf s.gguf Q4_0 --imatrix one.gguf
only "files of imatrix" "cut.gguf one.gguf other.gguf q.gguf r.gguf text two.gguf"

# who stops it finds nothing left
rm -f -- *
stop_writing . "$redline" synth qwen3-0.6b F32 big.gguf -t 1
check "stopped" 0 "redline: stopped at" cat "$tmp/stopped"
only "nothing is left" "*"

finish
