#!/bin/sh
# Settings as a user meets them: five levels and which one wins, sentences about wrong files and variables.
# usage: settings.sh REDLINE SOURCE_DIR
set -u
redline=$(realpath "$1")
source_dir=$(realpath "$2")
demo=$source_dir/models/demo.gguf
. "$(dirname "$0")/checks"
unset REDLINE_CONFIG_DIR
mkdir "$tmp/work"
cd "$tmp/work" || exit 3
matches="grep -q" # a pattern for a line, blanks folded

# says NAME EXPECTED_CODE EXPECTED_LINE COMMAND...: what is wrong is said before anything is printed
says() {
    check "$@"
    [ "$2" -lt 2 ] || [ ! -s "$tmp/out" ] || { echo "FAILED $1: prints"; cat "$tmp/out"; failed=$((failed + 1)); }
}

# yaml NAME EXPECTED_SENTENCE TEXT: what is said about such a redline.yaml (\n in TEXT is a line end)
yaml() {
    printf '%b' "$3" >redline.yaml
    says "$1" 2 "^redline: $2\$" "$redline" config
}

# each level beats the one before
key=llm.primary.n_threads
variable=REDLINE__LLM__PRIMARY__N_THREADS
says "default" 0 "^$key 0 default\$" "$redline" config
printf '# mine\nllm:\n  primary:\n    n_threads: 2\n    sampling: {temperature: 0.25, seed: 7}\n' >redline.yaml
says "redline.yaml" 0 "^$key 2 redline.yaml:4\$" "$redline" config
says "a nested section" 0 '^llm.primary.sampling.temperature 0.25 redline.yaml:5$' "$redline" config
printf 'llm: {primary: {n_threads: 3}}\n' >overrides.local.yaml
says "overrides.local.yaml" 0 "^$key 3 overrides.local.yaml:1\$" "$redline" config
says "what it leaves" 0 '^llm.primary.sampling.seed 7 redline.yaml:5$' "$redline" config
says "environment" 0 "^$key 4 environment $variable\$" env $variable=4 "$redline" config
says "flag" 0 "^$key 5 flag -t\$" env $variable=4 "$redline" config -t 5
says "long flag" 0 "^$key 6 flag --threads\$" env $variable=4 "$redline" config --threads=6
says "json" 0 '"origin": "overrides.local.yaml:1"' "$redline" config --json
says "json: a number" 0 '"value": 0.25' "$redline" config --json
says "json: no model" 0 '"value": null' "$redline" config --json
says "the other folder" 0 "^$key 2 sub/redline.yaml:3\$" \
    sh -c 'mkdir sub; sed 1d redline.yaml >sub/redline.yaml; REDLINE_CONFIG_DIR=sub "$0" config' "$redline"
says "no such folder" 2 "REDLINE_CONFIG_DIR is 'none', which is no folder" env REDLINE_CONFIG_DIR=none "$redline" config
says "help page" 0 "(now 3: overrides.local.yaml:1)" "$redline" run --help

# the commands obey
says "run: threads and seed" 0 '"n_threads": 3' "$redline" run -q --json -n 1
says "plan: threads" 0 "3 threads" "$redline" plan "$demo"
says "plan: its own context" 0 "4096 tokens" "$redline" plan "$demo"
says "plan: another" 0 "128 tokens" env REDLINE__LLM__PRIMARY__N_CTX=128 "$redline" plan "$demo"
says "plan: its own again" 0 "4096 tokens" env REDLINE__LLM__PRIMARY__N_CTX=0 "$redline" plan "$demo"
"$redline" run -q -n 24 --temp 0.25 -s 7 >a
"$redline" run -q -n 24 >b
says "run: sampling" 0 "" cmp a b
printf 'llm: {primary: {model: no.gguf, exact: true}}\n' >overrides.local.yaml
says "run: model" 3 "no.gguf" "$redline" run -n 1
says "plan: model" 3 "no.gguf" "$redline" plan
says "inspect: model" 3 "no.gguf" "$redline" inspect
says "tokenize: model" 3 "no.gguf" "$redline" tokenize
says "a word beats the model" 0 "total" "$redline" plan "$demo"
says "a flag does" 0 "total" "$redline" plan -m "$demo"
says "flag and word" 2 "two models" "$redline" plan -m "$demo" "$demo"
says "no model again" 2 "a model is needed" "$redline" plan -m ""
says "a flag that is on" 0 '^llm.primary.exact true overrides.local.yaml:1$' "$redline" config
says "and off" 0 '^llm.primary.exact false flag --exact$' "$redline" config --exact=false
says "flag alone" 0 '^llm.primary.exact true flag --exact$' env REDLINE__LLM__PRIMARY__EXACT=false "$redline" config --exact
rm overrides.local.yaml

# files that are fine
for text in '' '# nothing\n' '---\n' 'llm:\n' 'llm:\n  primary:\n#    n_threads: 8\n' '\357\273\277llm: {}\r\n' '--- {}\n...\n'; do
    printf '%b' "$text" >redline.yaml
    says "fine: $text" 0 "^$key 0 default\$" "$redline" config
done
printf '%s\n' 'llm:' '  "primary":' "    model: 'a b.gguf' # mine" '    type_k: "f32"' >redline.yaml
says "quoted texts" 0 '^llm.primary.model a b.gguf redline.yaml:3$' "$redline" config
says "a quoted choice" 0 '^llm.primary.type_k f32 redline.yaml:4$' "$redline" config

# unknown keys
yaml "nearest" "redline.yaml:3: there is no setting 'llm.primary.n_thread'; did you mean 'llm.primary.n_threads'?" \
    'llm:\n  primary:\n    n_thread: 8\n'
yaml "nearest section" "redline.yaml:1: there is no setting 'lm'; did you mean 'llm'?" 'lm:\n  primary:\n'
yaml "nearest elsewhere" "redline.yaml:3: there is no setting 'llm.primary.top_k'; did you mean 'llm.primary.sampling.top_k'?" \
    'llm:\n  primary:\n    top_k: 8\n'
yaml "none is near" "redline.yaml:2: there is no setting 'llm.photosynthesis'; redline config lists them" \
    'llm:\n  photosynthesis: 1\n'
yaml "dots" "redline.yaml:1: 'llm.primary.n_threads': write sections as nested mappings, not with dots" \
    'llm.primary.n_threads: 8\n'
yaml "key twice" "redline.yaml:4: 'llm.primary.n_threads' is there already, in line 3" \
    'llm:\n  primary:\n    n_threads: 8\n    n_threads: 9\n'
yaml "section twice" "redline.yaml:2: 'llm' is there already, in line 1" 'llm:\nllm:\n'
yaml "a key that is a list" "redline.yaml:1: a list or a mapping cannot be a key" '[a, b]: 1\n'

# wrong values
yaml "no number" "redline.yaml:1: llm.primary.n_threads 'many': a whole number is expected" 'llm: {primary: {n_threads: many}}'
yaml "no whole number" ".*1: llm.primary.n_threads '2.5': a whole number is expected" 'llm: {primary: {n_threads: 2.5}}'
yaml "quoted number" ".*1: llm.primary.n_threads: '2' is a text; write the value without quotes" \
    'llm: {primary: {n_threads: "2"}}'
yaml "out of range" ".*:1: llm.primary.n_threads 513: it must lie between 0 and 512" 'llm: {primary: {n_threads: 513}}'
yaml "nan" ".*:1: llm.primary.sampling.top_p nan: it must lie between 0 and 1" 'llm: {primary: {sampling: {top_p: nan}}}'
yaml "seed" ".*:1: llm.primary.sampling.seed '-1': a whole number .* is expected" 'llm: {primary: {sampling: {seed: -1}}}'
yaml "no boolean" ".*:1: llm.primary.exact 'maybe': true or false is expected" 'llm: {primary: {exact: maybe}}'
yaml "no choice" ".*:1: llm.primary.type_k cannot be 'q9', known are f32, f16, bf16, q8_0 and q4_0" 'llm: {primary: {type_k: q9}}'
yaml "no value" ".*:1: llm.primary.n_threads has no value" 'llm: {primary: {n_threads: }}'
yaml "null" ".*:1: llm.primary.model has no value" 'llm: {primary: {model: null}}'
yaml "a list" ".*:1: llm.primary.n_threads: one value is expected, not a list" 'llm: {primary: {n_threads: [1, 2]}}'
yaml "a section" ".*:1: llm.primary.n_threads: one value is expected, not a section" 'llm: {primary: {n_threads: {a: 1}}}'
yaml "a value for a section" ".*:1: llm: a section with settings is expected" 'llm: 5'
yaml "a list at the top" ".*:1: a section with settings is expected" '- llm\n'
yaml "a second document" ".*:2: a second document; one is read" 'llm: {}\n--- {}\n'
yaml "control character" ".*:1: a control character in a text" 'llm: {primary: {model: "a\\0b"}}'
yaml "a line end" ".*:1: llm.primary.model: a text of one line is expected" 'llm: {primary: {model: "a\\nb"}}'

printf 'llm: {primary: {type_k: q9}}\n' >overrides.local.yaml
printf 'llm: {primary: {type_k: f32}}\n' >redline.yaml
says "a wrong value over a right one" 2 "overrides.local.yaml:1: .* cannot be 'q9'" "$redline" config
says "the right one on the help page" 0 "(now f32: redline.yaml:1)" "$redline" run --help
rm overrides.local.yaml

# not YAML, and what settings do without
yaml "broken" ".*:2: this is not YAML: .*" 'llm: {\n'
yaml "a tab" ".*:2: this is not YAML: .*" 'llm:\n\tprimary:\n'
yaml "no UTF-8" ".*:2: this is not YAML: .*" 'llm:\n  \377: 1\n'
yaml "an anchor" ".*:1: 'a': anchors, aliases and tags have no place here" 'llm: &a {primary: {}}'
yaml "an alias" ".*:1: 'a': anchors, .*" 'llm: *a'
yaml "a tag" ".*:1: 'tag:yaml.org,2002:str': anchors, .*" 'llm: {primary: {model: !!str a}}'
head -c 2000000 /dev/zero | tr '\0' '#' >redline.yaml
says "too large" 2 "redline.yaml has 2000000 bytes, the limit of a YAML file is 1048576" "$redline" config
says "every command refuses" 2 "redline.yaml has" "$redline" run -n 1
says "but the help page" 0 "usage: redline run" "$redline" run --help
rm redline.yaml && mkdir redline.yaml
says "a folder" 3 "redline.yaml" "$redline" config
rmdir redline.yaml

# the environment
says "unknown variable" 2 "there is no setting REDLINE__LLM__PRIMARY__N_THREAD; did you mean $variable?" \
    env REDLINE__LLM__PRIMARY__N_THREAD=1 "$redline" config
says "wrong section" 2 "did you mean $variable?" env REDLINE__LM__PRIMARY__N_THREADS=1 "$redline" config
says "small letters" 2 "did you mean $variable?" env REDLINE__llm__primary__n_threads=1 "$redline" config
says "no variable is near" 2 "redline config lists them" env REDLINE__PHOTOSYNTHESIS=1 "$redline" config
says "a section's variable" 2 "REDLINE__LLM names a section of settings" env REDLINE__LLM=1 "$redline" config
says "wrong value" 2 "$variable 'many': a whole number is expected" env $variable=many "$redline" config
says "no value" 2 "$variable '': a whole number is expected" env $variable= "$redline" config
says "a single underscore" 0 "^$key 0 default\$" env REDLINE_THREADS=1 "$redline" config
says "a value that no command asks for" 2 "N_SEQS" env REDLINE__LLM__PRIMARY__N_SEQS=x "$redline" plan "$demo"

# the document is what the table says
"$redline" config --markdown >settings.md
says "docs/settings.md" 0 "" cmp settings.md "$source_dir/docs/settings.md"

finish
