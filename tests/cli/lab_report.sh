#!/bin/sh
# redline lab report as a user meets it: tables, series, several stores, rules, the page, sentences.
# usage: lab_report.sh REDLINE SOURCE_DIR
set -u
redline=$(realpath "$1")
source_dir=$(realpath "$2")
. "$(dirname "$0")/checks"
make=$source_dir/tests/cli/make_store
example=$source_dir/docs/lab-record.example.json
for kind in sweep context latency hostile history; do "$make" "$example" $kind >"$tmp/$kind.jsonl" || exit 1; done
cd "$tmp" || exit 1 # where no experiments and no accepted reports lie

# holds NAME PYTHON FILE...: an expression about `d`, the JSON report, and `r`, the records of the first file
holds() {
    name=$1 condition=$2
    shift 2
    n=$((n + 1))
    "$redline" lab report --json "$@" >"$tmp/json" 2>"$tmp/err"
    python3 -c '
import json, statistics, sys
d, r = json.load(open(sys.argv[1])), [json.loads(line) for line in open(sys.argv[2])]
def values(metric, **keys):
    return [x["derived"][metric]["value"] for x in r if "failed" not in x
            and all(str(x["experiment"]["grid"].get(k, x["workload"].get(k))) == v for k, v in keys.items())]
def table(title):
    return next(t for s in d["sections"] for t in s["tables"] if t["title"].startswith(title))
def cell(title, head, *keys):
    t = table(title)
    row = next(row for row in t["rows"] if [c["text"] for c in row[:t["n_keys"]]] == list(keys))
    return row[t["heads"].index(head)]
sys.exit(0 if eval("(" + sys.argv[3] + ")") else 1)' "$tmp/json" "$1" "$condition" ||
        { echo "FAILED $name: not $condition"; cat "$tmp/err"; head -c 2000 "$tmp/json"; failed=$((failed + 1)); }
}

cat >sweep.yaml <<'END'
name: sweep
title: A sweep
workloads: [{name: short, n_prompt: 64, n_gen: 64}]
grid: {n_threads: [auto, 1, 4, 16], n_batch: [128, 256, 512]}
tables:
  - {title: Speed, rows: [n_threads], columns: [n_batch], value: output_ts}
  - title: Cost
    rows: [n_threads, n_batch]
    values: [{metric: load_ms, unit: s}, output_ts, {metric: itl_p95_ms, pool: true, label: p95},
             {metric: itl_p99_ms, label: p99}, settings.effective.device]
    versus: {n_batch: 128}
  - {title: Of four, where: {n_threads: 4}, rows: [n_batch], values: [peak_rss_bytes, decode_ts]}
  - {title: Nothing, where: {n_threads: 5}, rows: [n_batch], values: [decode_ts]}
END

check "help" 0 "usage: redline lab report" "$redline" lab report --help
check "no store" 2 "no store of records" "$redline" lab report
check "no such store" 3 "no/such/file" "$redline" lab report no/such/file.jsonl
: >empty.jsonl
check "an empty store" 2 "holds no records" "$redline" lab report empty.jsonl
check "no such series" 2 "no record belongs to the series 'x'" "$redline" lab report history.jsonl --series x
check "two forms at once" 2 "cannot both be" "$redline" lab report history.jsonl --json --html x.html
check "no such experiment" 2 "nothing-like-it" "$redline" lab report history.jsonl --tables nothing-like-it
check "full standard output" 3 "cannot be written" sh -c "exec '$redline' lab report history.jsonl >/dev/full"
check "no place for the page" 3 "no/such/folder" "$redline" lab report history.jsonl --html no/such/folder/x.html
sed 's/value: output_ts/value: output_tss/' sweep.yaml >wrong.yaml
check "an unknown metric" 2 "did you mean 'output_ts'?" "$redline" lab report sweep.jsonl --tables wrong.yaml
sed 's/unit: s/unit: GB/' sweep.yaml >wrong.yaml
check "no such unit" 2 "load_ms is in ms" "$redline" lab report sweep.jsonl --tables wrong.yaml
sed 's/versus: {n_batch/versus: {n_bitch/' sweep.yaml >wrong.yaml
check "compared by nothing" 2 "none of its rows' keys" "$redline" lab report sweep.jsonl --tables wrong.yaml

check "a failure's sentence" 0 "n_threads 16, n_batch 128: 16 threads were asked for" "$redline" lab report sweep.jsonl
check "what was asked and not got" 0 "n_threads: asked for 4, ran with 2 (18 times)" "$redline" lab report sweep.jsonl
check "another tool's records" 0 "* Model: demo.gguf llama ?B F16, 3.67 M parameters" \
    "$redline" lab report "$source_dir/tests/data/lab/llama-bench-lc.json"
check "too few for p99" 0 "needs 368 intervals, has 63" "$redline" lab report sweep.jsonl
check "made again" 0 'Made again with: `redline lab run made-sweep`' "$redline" lab report sweep.jsonl
check "how many runs" 0 "6 runs a row." "$redline" lab report sweep.jsonl
check "few runs are told as such" 0 "(3 runs: " "$redline" lab report context.jsonl
check "where and when" 0 "Measured: 57 measurements, 3 of them failed, 2026-11-20 10:00:00 to 2026-11-20 10:05:00 UTC" \
    "$redline" lab report sweep.jsonl
check "what is not known" 0 "governor: the system shows no cpufreq" "$redline" lab report sweep.jsonl
check "words" 0 "decode speed: Generated tokens after the first" "$redline" lab report sweep.jsonl
check "a title" 0 "# Ours" "$redline" lab report sweep.jsonl --title Ours
check "text stays text" 0 '\<script>window.broken=1\</script>\|\`\*\[x\](javascript' sh -c \
    "'$redline' lab report hostile.jsonl | sed 's/\\[x\\]/[x\\\\]/'"

s="sweep.jsonl --tables sweep.yaml"
holds "the median of a cell" 'cell("Speed", "n_batch 256", "4")["value"] == statistics.median(values("output_ts", n_threads="4", n_batch="256"))' $s
holds "its interval, of six" 'cell("Speed", "n_batch 256", "4")["low"] == min(values("output_ts", n_threads="4", n_batch="256"))' $s
holds "rows and columns in the experiment's order" \
    '[row[0]["text"] for row in table("Speed")["rows"]] == ["auto", "1", "4", "16"] and table("Speed")["heads"] == ["n_threads", "n_batch 128", "n_batch 256", "n_batch 512"]' $s
holds "a matrix, higher is better" 'table("Speed")["matrix"] and table("Speed")["better"] == "higher"' $s
holds "failed cells" 'cell("Speed", "n_batch 128", "16")["text"] == "failed" and cell("Speed", "n_batch 128", "16")["value"] is None' $s
holds "another unit" 'abs(cell("Cost", "load, s", "4", "256")["value"] * 1000 - statistics.median(values("load_ms", n_threads="4", n_batch="256"))) < 1e-9' $s
holds "a ratio" 'abs(cell("Cost", "output speed / 128", "4", "512")["value"] - statistics.median(values("output_ts", n_threads="4", n_batch="512")) / statistics.median(values("output_ts", n_threads="4", n_batch="128"))) < 1e-9' $s
holds "a text has no ratio" '"device / 128" not in table("Cost")["heads"] and cell("Cost", "device", "1", "128")["text"] == "cpu"' $s
holds "pooled gaps" 'cell("Cost", "p95, ms", "4", "256")["n"] == 6 * 63' $s
holds "not pooled: refused" 'cell("Cost", "p99, ms", "4", "256")["text"] == "needs 368 intervals, has 63"' $s
holds "a part of the records" '[row[0]["text"] for row in table("Of four")["rows"]] == ["128", "256", "512"]' $s
holds "no table of nothing" 'not any(t["title"] == "Nothing" for t in d["sections"][0]["tables"])' $s

holds "the last series alone" 'table("Every")["heads"] == ["figure", "short"] and "abcdef3" in str(d["facts"]) and "abcdef2" not in str(d["facts"])' history.jsonl
holds "all series, never mixed" 'len(table("Every")["heads"]) == 5' history.jsonl --series all
holds "one series" 'cell("Every", "short", "output speed, tok/s")["value"] == statistics.median(values("output_ts")[6:12])' \
    history.jsonl --series 2026-11-11T10:00:00.000Z
holds "history has a point for each series" '[len(s["points"]) for p in d["sections"][0]["plots"] if p["title"] == "History" for s in p["sets"]] == [4]' history.jsonl
holds "speed against context" '[[q["x"] for q in s["points"]] for p in d["sections"][0]["plots"] if p["title"] == "Generation against context" for s in p["sets"]] == [[192, 1088, 4160, 16448]] * 2' context.jsonl
holds "a histogram is whole" 'all(abs(sum(q["y"] for q in s["points"]) - 100) < 1e-6 for p in d["sections"][0]["plots"] if p["title"] == "Time between tokens" for s in p["sets"])' latency.jsonl
holds "percentiles as far as they can be told" '[round(s["points"][-1]["x"]) for p in d["sections"][0]["plots"] if p["title"].startswith("Percentiles") for s in p["sets"]] == [100, 500]' latency.jsonl
cp latency.jsonl other.jsonl
holds "stores side by side" 'table("Every")["heads"] == ["figure", "latency, short", "other, short", "latency, long", "other, long"]' latency.jsonl other.jsonl
holds "experiments have sections" '[s["experiment"] for s in d["sections"]] == ["made-sweep", "made-latency"]' sweep.jsonl latency.jsonl

cat >rules.yaml <<'END'
rules:
  - {name: fast enough, metric: output_ts, at_least: 5, where: {workload: short}}
  - {name: too fast, metric: output_ts, at_most: 5, where: {workload: long}}
END
check "a rule that holds" 0 "* **holds** fast enough" "$redline" lab report latency.jsonl --rules rules.yaml
check "a rule that is broken" 0 "* **broken** too fast" "$redline" lab report latency.jsonl --rules rules.yaml

# the page: nothing from elsewhere, texts as texts, every plot with its numbers
check "a page" 0 "" "$redline" lab report hostile.jsonl --html page.html
n=$((n + 1))
python3 - page.html <<'END' || failed=$((failed + 1))
import html.parser, json, re, sys
text = open(sys.argv[1], encoding="utf-8").read()
class Reader(html.parser.HTMLParser):
    tags, addresses, stack, shown, data = [], [], [], "", ""
    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.stack.append((tag, dict(attributes)))
        self.addresses += [v for k, v in attributes if k in ("src", "href", "action", "srcset")]
    def handle_endtag(self, tag):
        self.stack = self.stack[:-1]
    def handle_data(self, data):
        inside = [t for t, _ in self.stack]
        if "script" in inside and self.stack[-1][1].get("id") == "plots":
            self.data += data
        elif "script" not in inside and "style" not in inside:
            self.shown += data
reader = Reader(convert_charrefs=True)
reader.feed(text)
wrong = []
if reader.tags.count("script") != 3: wrong.append(f"{reader.tags.count('script')} scripts")
if any(not a.startswith(("data:", "#")) for a in reader.addresses): wrong.append(f"addresses {reader.addresses}")
if "<script>window.broken=1</script>" not in reader.shown: wrong.append("the model's name is not shown as it is")
if not json.loads(reader.data): wrong.append("no plots")
if reader.tags.count("canvas") != len(json.loads(reader.data)): wrong.append("canvases and plots differ in number")
if "Permission is hereby granted" not in text or "Content-Security-Policy" not in text: wrong.append("licence or policy")
if re.search(r"(NaN|Infinity|nan|inf)\b", reader.data): wrong.append("a number that JSON has not")
print("\n".join("FAILED the page: " + w for w in wrong), end="\n" if wrong else "")
sys.exit(bool(wrong))
END

# parts stand as their experiment has them, not as they were drawn, each with its own title and tables
mkdir -p parts/experiments
cd parts || exit 1
for part in a b; do
    printf 'name: %s\ntitle: Part %s\nworkloads: [{name: short, n_prompt: 8, n_gen: 4}]\ntables:\n' $part $part
    printf '  - {title: Of %s, rows: [n_threads], values: [output_ts]}\n' $part
done >both
head -5 both >experiments/a.yaml
tail -5 both >experiments/b.yaml
printf 'name: both\nparts: [b, a]\n' >experiments/both.yaml
python3 -c '
import json, sys
for i, line in enumerate(open("../sweep.jsonl")):
    r = json.loads(line)
    r["experiment"].update(name="both", part="ab"[i % 2])
    print(json.dumps(r))' >both.jsonl
holds "parts in order" '[s["title"] for s in d["sections"]] == ["Part b", "Part a"]' both.jsonl
holds "parts with their tables" '[[t["title"] for t in s["tables"]] for s in d["sections"]] == [["Of b"], ["Of a"]]' both.jsonl

finish
