#!/bin/sh
# Commands with a GPU: what is planned, done, proven and refused.  The GPU is simulated (tests/simt), so all but speed is
# as it would be; few tokens, as a simulated thread takes its time.
# usage: gpu.sh REDLINE_SIMT SOURCE_DIR
set -u
redline=$(realpath "$1")
source_dir=$(realpath "$2")
demo=$source_dir/models/demo.gguf
. "$(dirname "$0")/checks"
unset REDLINE_CPU
cd "$tmp" || exit 3

# the plan: blocks, devices, reasons
check "all layers" 0 "4 of 4 layers on GPUs" "$redline" plan "$demo" -ngl all
check "the embedding stays" 0 "rows are looked up" "$redline" plan "$demo" -ngl all --layers
check "half of them" 0 "2 of 4 layers on GPUs" "$redline" plan "$demo" -ngl 2
check "none" 0 "not asked for" "$redline" plan "$demo" -ngl 0 --layers
check "a small card" 0 "capped by device_memory" "$redline" plan "$demo" --device-memory 300M
check "no room" 0 "no room on a GPU" "$redline" plan "$demo" --device-memory 100M --layers
check "by name" 0 "placement" "$redline" plan "$demo" -ngl all -ot 'blk\.0\.=cpu' --layers
check "no such block" 2 "nothing.at.all" "$redline" plan "$demo" -ot 'nothing.at.all=cpu'
check "no such device" 3 "gpu9" "$redline" plan "$demo" -ot 'blk=gpu9'
check "not a size" 2 "a number of bytes is expected" "$redline" plan "$demo" --device-memory 8X
"$redline" plan "$demo" -ngl 3 --json >plan
check "as JSON" 0 "3 2 10" python3 -c 'import json
p = json.load(open("plan"))
print(p["n_gpu_layers"], len(p["devices"]), len(p["blocks"]))'

# the same text, and who made it
"$redline" run -q -n 4 --temp 0 -ngl 0 >cpu
"$redline" run -n 4 --temp 0 -ngl all >gpu 2>line
same "the same text" cpu gpu
check "where it ran" 0 "4 of 4 layers on Simulated GPU" cat line
check "what each did" 0 "gpu0 Simulated GPU: 9 of 10 blocks" cat line
"$redline" run -q --json -n 2 --temp 0 -ngl 2 >run
check "both worked" 0 "True True 2" python3 -c 'import json
r = json.load(open("run"))
d = {x["device"]: x for x in r["devices"]}
print(d["gpu0"]["n_ops"] > 20, d["cpu"]["n_ops"] > 20, r["n_gpu_layers"])'

# logits as of a text and as of generated tokens: other kernels, near one another and near the CPU
for form in "" --generated; do
    "$redline" logits "$demo" --tokens 5,6,7,8 -ngl 0 $form -o "cpu$form"
    "$redline" logits "$demo" --tokens 5,6,7,8 -ngl all $form -o "gpu$form"
done
check "both forms" 0 "True True True" python3 -c 'import array
def read(name):
    return array.array("f", open(name, "rb").read())
def near(a, b):
    return len(a) == len(b) == 4 * 2048 and sum((x - y) ** 2 for x, y in zip(a, b)) <= 4e-4 * sum(x * x for x in a)
text, generated = read("gpu"), read("gpu--generated")
print(text != generated, near(read("cpu"), text), near(read("cpu--generated"), generated))'

# required and refused before anything is read
check "required" 0 "" "$redline" run -q -n 1 --require gpu
check "required, no room" 3 "no part of the model fits" "$redline" run -n 1 --require gpu --device-memory 100M
check "asked for, no room" 3 "would fit" "$redline" run -n 1 -ngl all --device-memory 100M
check "the CPU required" 0 "cpu" sh -c "'$redline' run -q --json -n 1 --require cpu | grep '\"device\"'"

# a driver that refuses, or cards that there is no code for, which is not having none
check "no GPU, and no word" 0 "" env SIMT_DEVICES=0 sh -c "! '$redline' run -n 1 2>&1 >/dev/null | grep warning"
check "no driver, and no word" 0 "" env SIMT_DRIVER=0 sh -c "! '$redline' run -n 1 2>&1 >/dev/null | grep warning"
check "refused" 0 "warning: CUDA gives this program no GPU: system has unsupported" \
    env SIMT_REFUSES=803 "$redline" run -n 1
check "the plan knows" 0 "no GPU here can be used" env SIMT_REFUSES=803 "$redline" plan "$demo" --layers
check "refused, and asked for" 3 "CUDA gives this program no GPU" env SIMT_REFUSES=803 "$redline" run -n 1 -ot '.*=gpu'
check "too old" 0 "compute capability 7.5, and this program has code for 8.0 and newer; the CPU is used" \
    env SIMT_ARCH=75 "$redline" run -n 1
check "too old, and asked for" 3 "compute capability 7.5" env SIMT_ARCH=75 "$redline" run -n 1 -ot '.*=gpu'
check "refused, found" 1 "gpu-refused" env SIMT_REFUSES=803 "$redline" doctor

# a card that another process holds
check "held" 0 "busy or unavailable; the CPU is used" env SIMT_HELD=0 "$redline" run -n 1
check "another is used" 0 "gpu1 Simulated GPU: 9 of 10 blocks" env SIMT_DEVICES=2 SIMT_HELD=0 "$redline" run -n 1
check "nobody needs it" 0 "" env SIMT_DEVICES=2 SIMT_HELD=1 \
    sh -c "! '$redline' run -n 1 -ngl all 2>&1 >/dev/null | grep -e gpu1 -e warning"
check "nor looks at it" 0 "Simulated GPU, not needed" env SIMT_DEVICES=2 SIMT_HELD=1 "$redline" plan "$demo"
"$redline" plan "$demo" -ngl all -c 64 --json >plan.json
room=$(python3 -c "
import json
d = json.load(open('plan.json'))['devices'][1]
print(d['margin_bytes'] + d['buffer_bytes'] + d['scratch_bytes'] + (d['weight_bytes'] + d['kv_bytes']) * 3 // 4)")
check "both are needed" 0 "gpu1 Simulated GPU: " env SIMT_DEVICES=2 "$redline" run -n 1 -ngl all -c 64 --device-memory "$room"
check "held, and asked for" 3 "busy or unavailable" env SIMT_HELD=0 "$redline" run -n 1 -ngl all
check "held, and required" 3 "busy or unavailable" env SIMT_HELD=0 "$redline" run -n 1 --require gpu

# steps that become no graphs are launched kernel by kernel, and that is told
SIMT_GRAPHS=0 "$redline" run -n 6 --temp 0 -ngl all >plain 2>line
check "kernel by kernel" 0 "warning: gpu0: steps are launched kernel by kernel" cat line
check "told once" 0 "1" grep -c "kernel by kernel" line
"$redline" run -n 6 --temp 0 -ngl all >graphs 2>line
same "the same text without graphs" plain graphs
check "with graphs, no word" 1 "" grep warning line
SIMT_DRIVER=12020 "$redline" run -n 6 --temp 0 -ngl all >older 2>line
same "the same text with an older driver" older graphs
check "graphs of an older driver" 1 "" grep warning line

# limits, and what is wrong
check "its limits" 0 "Simulated GPU (9.0)" "$redline" probe --budget 100
check "behind a card that is too old" 0 "Simulated GPU (9.0)" env SIMT_DEVICES=2 SIMT_ARCH=75,90 "$redline" probe
export SIMT_MEMORY=400M SIMT_L2=60M
check "no room to read" 0 "gpu0 - - " "$redline" probe
check "a run without its limit" 0 "warning: how fast gpu0 reads cannot be measured: " "$redline" run -n 2 -ngl all
check "as JSON" 0 "None None gpu0" python3 -c 'import json, subprocess, sys
r = json.loads(subprocess.check_output([sys.argv[1], "run", "-q", "--json", "-n", "2", "-ngl", "all"]))
print(r["bandwidth_bytes_per_s"], r["decode_share_of_bandwidth"], r["bandwidth_missing"].split()[2])' "$redline"
check "a benchmark" 0 "not measured" "$redline" bench -p 0 -n 2 -r 1 -ngl all
check "its row" 0 "how fast gpu0 reads" "$redline" bench -p 0 -n 2 -r 1 -ngl all -o csv
generate='{"kind": "generate", "n_prompt": 4, "n_gen": 2}'
printf '{"model": "%s", "settings": {"n_gpu_layers": "all"}, "workload": %s}' "$demo" "$generate" |
    "$redline" lab worker >record
check "a record" 0 "None how fast gpu0 reads" python3 -c 'import json
r = json.load(open("record"))
print(r["derived"]["share_of_bandwidth"]["value"], r["missing"]["derived.share_of_bandwidth"][:19])'
unset SIMT_MEMORY SIMT_L2
check "layers left" 1 "gpu-layers-left" "$redline" doctor "$demo" -ngl 2
check "no room found" 1 "more do not fit on the GPUs" "$redline" doctor "$demo" --device-memory 280M

# a record: counts of each layer on its device, plan and fact
printf '{"model": "%s", "settings": {"n_gpu_layers": 2}, "workload": {"kind": "generate", "n_prompt": 4, "n_gen": 2}}' \
    "$demo" | "$redline" lab worker >record
check "counts" 0 "cpu,cpu,gpu0,gpu0 True True" python3 -c 'import json
r = json.load(open("record"))
counts = r["counts"]
by = {(c["device"], c["layer"]): c["n_ops"] for c in counts}
print(",".join(l["device"] for l in r["settings"]["effective"]["placement"]),
      by[("gpu0", 3)] > 0 and ("gpu0", 0) not in by and by[("cpu", 0)] > 0 and ("cpu", 3) not in by,
      [d["taken_bytes"] > 0 for d in r["devices"] if d["device"] == "gpu0"] == [True])'
printf '{"settings": {"device_memory": "8X"}}' | "$redline" lab worker >/dev/null 2>refused
check "a size in a task" 0 "settings.device_memory '8X'" cat refused
check "experiments run" 0 "CPU and GPU" sh -c "'$redline' lab run gpu-smoke --short -m '$demo' -o store \
    --set workload.n_prompt=4 --set workload.n_gen=2 --set repetitions.least=1 --set repetitions.most=1"
finish
