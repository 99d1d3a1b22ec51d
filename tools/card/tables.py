"""The tables of docs/gpu.md, from what is kept."""
import re

from .checks import MOST_DISTANCE, MOST_DISTANCE_MADE
from .steps import Failed

BEGIN, END = "<!-- tables of tools/gpu: begin -->", "<!-- tables of tools/gpu: end -->"
NEVER = "not yet run"
WORDS = 200  # characters of a check's complaint that stand in the table


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(r) + " |" for r in rows]


def figure(value, form="%.1f"):
    return form % value if isinstance(value, (int, float)) else NEVER


def share_text(value):
    return "%.0f %%" % (100 * value) if isinstance(value, (int, float)) else "-"


def row_of(value, **wanted):
    for r in (value or {}).get("rows", []):
        if all(r.get(k) == v for k, v in wanted.items()):
            return r
    return {}


def speed_of(kept, model, test):
    row = row_of(kept.get(f"speed/{model.name}/{test.name}"))
    return row if row.get("median_ts") else {}


def in_cell(text):
    return " ".join(text.split())[:WORDS].replace("|", "\\|")


# ---- the card and the checks -------------------------------------------------------------------------------------


def limit_text(card, key, unit):
    return "%.1f" % (card[key] / unit) if card.get(key) else "not measured"


def card_lines(kept):
    card = kept.get("card")
    if not card:
        return [f"The card: {NEVER}.", ""]
    g = card["gpus"][0]
    return [f"Measured on {g['name']} (compute capability {g['arch']}), {card['smi'] or 'no nvidia-smi'}; "
            f"{card['version']}.", "", *table(["limit of this card", "measured"],
                       [["reading memory, GB/s", limit_text(g, "read_bytes_s", 1e9)],
                        ["copying within memory (both ways), GB/s", limit_text(g, "copy_bytes_s", 1e9)],
                        ["products of BF16 (mma, operands in registers), TOPS",
                         limit_text(g, "bf16_ops_s", 1e12)]]), ""]


def verdict(check):
    if not check:
        return NEVER
    if not check["ok"]:
        return f"**FAILED**: {in_cell(check.get('why', ''))}"
    models = f", {check['n']} models" if check.get("n") else ""
    worst = f", the furthest {check['worst']:.1e}" if check.get("worst") is not None else ""
    return "passed" + models + worst


def made_verdict(kept, plan):
    """That of the models together; those that failed are named."""
    checks = [(m.name, kept.get(f"check/made/{m.name}")) for m in plan.models]
    bad = [f"{name}: {c.get('why', '')}" for name, c in checks if c and not c["ok"]]
    there = [c for _, c in checks if c]
    if bad:
        return verdict({"ok": False, "why": "; ".join(bad)})
    if not there:
        return NEVER
    return verdict({"ok": True, "n": f"{len(there)} of {len(checks)}", "worst": max(c["worst"] for c in there)})


def check_lines(kept, plan):
    def of(name):
        return verdict(kept.get("check/" + name))
    rows = [["every operation against the CPU (`build-cuda/bcheck`)", of("bcheck")],
            [f"logits of small models of every family, GPU against CPU, as a text and as generated tokens "
             f"(limit {MOST_DISTANCE})", of("families")],
            ["64 tokens of the demo model, GPU and CPU, character by character", of("text")],
            [f"logits of the models below, GPU against CPU, in both forms (limit {MOST_DISTANCE_MADE})",
             made_verdict(kept, plan)],
            ["`compute-sanitizer --tool memcheck`, the demo model", of("memcheck")]]
    lines = table(["check", "result"], rows) + [""]
    if any("FAILED" in r[1] for r in rows):
        lines += ["**A check failed: the speeds below are those of a program whose results are not right.**", ""]
    return lines


# ---- speeds ------------------------------------------------------------------------------------------------------


def of_limits(row, card):
    """Shares of what reading and copying reached: a token's work is nearly all reading."""
    g = (card or {}).get("gpus", [{}])[0]
    rate = row["bytes"] * 1e9 / row["median_ns"] if row.get("bytes") and row.get("median_ns") else None
    shares = [rate / g[k] if rate and g.get(k) else None for k in ("read_bytes_s", "copy_bytes_s")]
    return ", ".join(share_text(x) for x in shares)


def speed_lines(kept, plan):
    prompts, decodes = [t for t in plan.tests if t.n_prompt], [t for t in plan.tests if t.n_gen]
    head = ["model", "type", "load, ms"] + [f"prompt {t.n_prompt}, tok/s (of BF16)" for t in prompts]
    head += [f"decode at {t.n_depth}, tok/s (of reading, of copying)" for t in decodes]
    rows = []
    for m in plan.models:
        there = [r for r in (speed_of(kept, m, t) for t in plan.tests) if r]
        checked = kept.get(f"check/made/{m.name}")
        cells = [m.shape + (" (**wrong**)" if checked and not checked["ok"] else ""), m.type,
                 figure((there[0].get("load_ns") or 0) / 1e6, "%.0f") if there else NEVER]
        for t in prompts:
            r = speed_of(kept, m, t)
            cells.append(f"{r['median_ts']:.0f} ({share_text(r['share_of_compute'])})" if r else NEVER)
        for t in decodes:
            r = speed_of(kept, m, t)
            cells.append(f"{r['median_ts']:.1f} ({of_limits(r, kept.get('card'))})" if r else NEVER)
        rows.append(cells)
    return ["All layers on the card (`redline bench -ngl all -r 3`):", "", *table(head, rows), ""]


def pair(value):
    """Prompt and generated tokens per second, as cells."""
    rows = (value or {}).get("rows", [])
    prompt = next((r for r in rows if r["n_prompt"] and not r["n_gen"]), {})
    gen = next((r for r in rows if r["n_gen"] and not r["n_prompt"]), {})
    return [figure(prompt.get("median_ts"), "%.0f"), figure(gen.get("median_ts"))]


def pair_head(plan):
    return [f"prompt {plan.pair[0]}, tok/s", "decode, tok/s"]


def scaling_lines(kept, plan):
    rows = []
    for share in plan.shares:
        one = kept.get(f"scaling/{plan.scaling.name}/{share}")
        rows.append([f"{share} %", str(one["rows"][0]["n_gpu_layers"]) if one else NEVER] + pair(one))
    return [f"By layers on the card, {plan.scaling.shape} {plan.scaling.type} "
            f"(`redline bench -ngl N -p {plan.pair[0]} -n {plan.pair[1]}`):", "",
            *table(["share", "layers", *pair_head(plan)], rows), ""]


def where(row):
    """Whole layers, and blocks of all: what ran, as the row of a speed says ('gpu0:5:24 cpu:5:22')."""
    n = {"cpu": 0, "gpu": 0}
    for device, blocks in re.findall(r"\b(cpu|gpu)\d*:(\d+):", row["placement"] or ""):
        n[device] += int(blocks)
    return f"{row['n_gpu_layers']} ({n['gpu']} of {n['cpu'] + n['gpu']})"


def capped_lines(kept, plan):
    rows = []
    for m in plan.caps:
        for cap in plan.cap_sizes:
            one = kept.get(f"capped/{m.name}/{cap}")
            places = [where(r) for r in one["rows"]] if one else [NEVER]
            rows.append([cap, m.shape, m.type, ", ".join(dict.fromkeys(places))] + pair(one))
    return ["Smaller cards, played with `--device-memory` (`-ngl auto`; what was on the card for each speed):", "",
            *table(["card", "model", "type", "layers on it (blocks)", *pair_head(plan)], rows), ""]


def peer_lines(kept, plan):
    rows = []
    for m in plan.models:
        for key in [k for k in kept if k.startswith(f"peer/{m.name}/")]:
            for r in kept[key]["rows"]:
                test = next((t for t in plan.tests if (t.n_prompt, t.n_gen, t.n_depth) ==
                             (r["n_prompt"], r["n_gen"], r["n_depth"] or 0)), None)
                if not test:
                    continue
                mine = speed_of(kept, m, test)
                ratio = mine["median_ts"] / r["avg_ts"] if mine and r["avg_ts"] else None
                what = f"prompt {test.n_prompt}" if test.n_prompt else f"decode at {test.n_depth}"
                program = f"{key.split('/')[-1]} {r['build_commit'] or ''}".strip()
                rows.append([program, m.shape, m.type, what, figure(r["avg_ts"]), figure(mine.get("median_ts")),
                             figure(ratio, "%.2f")])
    return ["Beside llama.cpp (`tools/gpu --peer PATH/llama-bench`, `-fa 1`):", "",
            *table(["program", "model", "type", "test", "its tok/s", "redline, tok/s", "ratio"],
                   rows or [[NEVER] * 7]), ""]


def tables(kept, plan):
    parts = (card_lines(kept), check_lines(kept, plan), speed_lines(kept, plan), scaling_lines(kept, plan),
             capped_lines(kept, plan), peer_lines(kept, plan))
    return "\n".join(line for part in parts for line in part)


def write_document(path, text):
    with open(path) as f:
        document = f.read()
    if BEGIN not in document or END not in document:
        raise Failed(f"{path} has no place for the tables")
    head, rest = document.split(BEGIN)
    with open(path, "w") as f:
        f.write(head + BEGIN + "\n\n" + text.strip() + "\n\n" + END + rest.split(END)[1])
