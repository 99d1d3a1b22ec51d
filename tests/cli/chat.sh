#!/bin/sh
# redline chat in a pipe: answers alone on standard output, the conversation kept, sentences, exit codes.
# What happens at a terminal is tested by terminal.c.
# usage: chat.sh REDLINE SOURCE_DIR
set -u
redline=$(realpath "$1")
source_dir=$(realpath "$2")
. "$(dirname "$0")/checks"
export HOME="$tmp/home" XDG_STATE_HOME="$tmp/state"

fail() {
    echo "FAILED $1"
    cat "$tmp/out" "$tmp/err"
    failed=$((failed + 1))
}

# talk NAME EXPECTED_CODE INPUT OPTIONS...: leaves what is printed in $tmp/out and $tmp/err
talk() {
    name=$1 code=$2
    printf "$3" >"$tmp/in"
    shift 3
    "$redline" chat "$@" <"$tmp/in" >"$tmp/out" 2>"$tmp/err"
    got=$?
    n=$((n + 1))
    [ "$got" -eq "$code" ] || fail "$name: exit code $got, expected $code"
}

# says STREAM TEXT: of the last talk
says() {
    n=$((n + 1))
    grep -qF -- "$2" "$tmp/$1" || fail "$name: '$2' is missing in $1:"
}

# prints LINES: all of the last talk's standard output
prints() {
    n=$((n + 1))
    printf "$1" >"$tmp/want"
    cmp -s "$tmp/want" "$tmp/out" || fail "$name: not the expected answers:"
}

times='What is 7 times 8?\n'
capital='What is the capital of France?\n'
paris='The capital of France is Paris.\n'

talk "two questions" 0 "$times$capital" --temp 0
prints "7 * 8 = 56\n$paris"
says err "(16 tokens, 0 cached"
says err "stop: end"
says err "GB/s measured here"
n=$((n + 1))
sed -n 2p "$tmp/err" | grep -q '([0-9]* tokens, [1-9][0-9]* cached)' || fail "the session keeps the prefix:"
n=$((n + 1))
[ "$(wc -l <"$tmp/err")" -eq 2 ] || fail "one line for each answer, no prompt in a pipe:"

talk "quiet" 0 "$times" -q --temp 0
prints '7 * 8 = 56\n'
n=$((n + 1))
[ ! -s "$tmp/err" ] || fail "quiet is quiet:"
talk "no newline at the end" 0 'What is 7 times 8?' -q --temp 0
prints '7 * 8 = 56\n'
talk "empty lines, no input" 0 '\n  \n\n' -q
prints ''
talk "a line goes on" 0 'What is\\\n7 times 8?\n' --temp 0
says err "(16 tokens, 0 cached"
talk "the input ends after a backslash" 0 'What is 7 times 8?\\' -q --temp 0
says out "= "
talk "the same seed" 0 'Tell me a story.\n/clear\nTell me a story.\n' -q -s 3 -n 12
cp "$tmp/out" "$tmp/first"
talk "the same seed again" 0 'Tell me a story.\n/clear\nTell me a story.\n' -q -s 3 -n 12
n=$((n + 1))
cmp -s "$tmp/first" "$tmp/out" || fail "same seed, same answers:"
n=$((n + 1))
[ "$(sed -n 1p "$tmp/out")" != "$(sed -n 2p "$tmp/out")" ] || fail "another seed for each answer:"

# commands
talk "clear" 0 "$times/clear\n$times" --temp 0
n=$((n + 1))
sed -n 2p "$tmp/err" | grep -qF '(1 token, 15 cached)' || fail "a cleared conversation begins as the first one did:"
talk "clear keeps the system message" 0 "$times/clear\n$times" --temp 0 -sys 'Be brief.'
n=$((n + 1))
sed -n 2p "$tmp/err" | grep -qF '(1 token, ' || fail "the system message stays:"
talk "regen" 0 "$times/regen\n" --temp 0
prints '7 * 8 = 56\n7 * 8 = 56\n'
says err "(1 token, 15 cached)"
talk "nothing to give again" 0 '/regen\n'
says err "there is no answer yet"
talk "system" 0 "/system Be brief.\n$times/system\n/regen\n" --temp 0
says err "(15 tokens, 1 cached)"
n=$((n + 1))
! sed -n 1p "$tmp/err" | grep -qF '(16 tokens' || fail "the system message is part of the conversation:"
talk "help" 0 '/help\n'
says err "/regen"
prints ''
talk "exit" 0 "/exit\n$times" -q
prints ''
talk "an unknown command" 3 '/cler\n'
says err "there is no command '/cler'; did you mean '/clear'?"
talk "a slash" 0 '//etc\n' -q
n=$((n + 1))
[ -s "$tmp/out" ] || fail "a message may begin with a slash:"

# limits
talk "a message that does not fit" 3 "$times$(head -c 300 "$source_dir/tests/data/demo/heldout.txt" | tr '\n%%' '  ')\n$capital" \
    --temp 0 -c 64
says err "the context holds 64; /clear begins a new one"
prints "7 * 8 = 56\n$paris"
talk "a full context" 0 'Tell me a story.\n' --temp 0 -c 32
says err "the context of 32 tokens is full and the answer cut; /clear begins a new"
says err "stop: context"
talk "a length" 0 'Tell me a story.\n' --temp 0 -n 3
says err "(3 tokens, stop: length)"
talk "a tiny context" 2 '' -c 4
says err "the shortest conversation has"
talk "a zero byte" 3 'a\0b\n' -q
says err "zero byte"

# templates
talk "a known template" 0 "$times" -q --temp 0 --chat-template chatml
prints '7 * 8 = 56\n'
talk "an unknown template" 2 "$times" --chat-template llama2
says err "there is no chat template 'llama2'; known is chatml"
talk "no model" 3 "$times" "$tmp/none.gguf"
says err "none.gguf"
LC_ALL=C sed 's/tokenizer\.chat_template/tokenizer.chat_formless/' "$source_dir/models/demo.gguf" >"$tmp/formless.gguf"
talk "marks and no template" 3 "$times" "$tmp/formless.gguf"
says err "--chat-template chatml uses that form all the same, whose marks its vocabulary has"
talk "so it does" 0 "$times" -q --temp 0 "$tmp/formless.gguf" --chat-template chatml
prints '7 * 8 = 56\n'
if [ -n "${REDLINE_TEST_DATA:-}" ]; then
    talk "no template" 3 "$times" "$REDLINE_TEST_DATA/stories260K/stories260K.gguf"
    says err "the model file has no chat template"
    talk "a template for a file without one" 0 "Hi\n" "$REDLINE_TEST_DATA/stories260K/stories260K.gguf" \
        --chat-template chatml -n 4
    says err "stop: length"
    talk "no weights" 3 "$times" "$REDLINE_TEST_DATA/vocab/ggml-vocab-qwen2.gguf"
else
    echo "chat.sh: models without a template: REDLINE_TEST_DATA is not set: skipped"
fi

# the output breaks
n=$((n + 1))
printf "$times" | "$redline" chat -q >/dev/full 2>"$tmp/err"
[ $? -eq 3 ] && grep -q "cannot be written" "$tmp/err" || fail "full standard output:"
n=$((n + 1))
[ ! -e "$tmp/state" ] && [ ! -e "$tmp/home" ] || fail "a pipe has no history:"

finish
