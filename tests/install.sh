#!/bin/sh
# What a stranger gets: installs into a folder, compiles each header alone, builds examples/chat.c by the line
# that stands in it, and runs the program and the example from there.
# usage: install.sh BUILD_DIR SOURCE_DIR CC [SANITIZERS]
set -u
build=$1
source_dir=$2
cc=$3
sanitize=${4:+-fsanitize=$4}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export REDLINE_CONFIG_DIR="$tmp"
n=0
failed=0

# check NAME COMMAND...
check() {
    name=$1
    shift
    n=$((n + 1))
    "$@" >"$tmp/out" 2>&1 || { echo "FAILED $name:"; cat "$tmp/out"; failed=$((failed + 1)); }
}

# answers PROGRAM...: a conversation by pipe
answers() {
    printf 'What is 7 times 8?\nWhat is the capital of France?\n' | "$@" >"$tmp/answers" 2>"$tmp/err" || return 1
    printf '7 * 8 = 56\nThe capital of France is Paris.\n' | cmp - "$tmp/answers"
}

# header_alone COMPILER LANGUAGE STANDARD HEADER
header_alone() {
    echo "#include <$4>" | $1 -x "$2" -std="$3" -Wall -Wextra -pedantic -Werror -I"$include" -fsyntax-only -
}

check "install" env DESTDIR="$tmp/root" cmake --install "$build"
pc=$(find "$tmp/root" -name redline.pc)
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
check "redline.pc" pkg-config --exists redline
include=$(pkg-config --variable=includedir redline)
prefix=$(pkg-config --variable=prefix redline)

for header in redline.h redline_probe.h redline_make.h redline_status.h; do
    for compiler in gcc clang; do
        command -v $compiler >/dev/null && check "$compiler $header" header_alone $compiler c c11 $header
    done
    for compiler in g++ clang++; do
        command -v $compiler >/dev/null && check "$compiler $header" header_alone $compiler c++ c++17 $header
    done
done
[ "$n" -ge 8 ] || { echo "FAILED: too few compilers"; failed=$((failed + 1)); }

cp "$source_dir/examples/chat.c" "$tmp"
line=$(sed -n 's/^ \*  *\(cc chat\.c .*\) && .*/\1/p' "$tmp/chat.c")
check "the line that builds the example" test -n "$line"
cc() {
    "$cc" $sanitize "$@"
}
cd "$tmp" && check "the example is built" eval "$line"
check "the example answers" answers ./chat "$prefix/share/redline/demo.gguf"
check "the program answers" answers "$prefix/bin/redline" chat -q --temp 0 "$prefix/share/redline/demo.gguf"
printf 'x\n' | ./chat none.gguf >"$tmp/out" 2>&1
[ $? -eq 1 ] && grep -q "none.gguf" "$tmp/out" || { echo "FAILED: a missing model"; failed=$((failed + 1)); }
foreign=$(nm -g --defined-only "$(pkg-config --variable=libdir redline)/libredline.a" | awk 'NF == 3 && $3 !~ /^redline_/ {print $3}')
check "only redline_* is to be seen" test -z "$foreign"

echo "$((n - failed)) passed, $failed failed"
[ "$failed" -eq 0 ]
