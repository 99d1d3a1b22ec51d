"""What the card is, and whether it computes what the CPU computes."""
import array
import glob
import hashlib
import math
import operator
import os
import shutil
import tempfile

from .plan import DEMO, ROOT
from .steps import Failed

NOT_RUN = 77       # bcheck's exit code where there is no card
MOST_SECONDS = 60  # of a model's logits

# What rounding may make of it: activations of 8 bits, and BF16 in texts, on either side.
MOST_DISTANCE = 0.02
# Of dozens of layers with random weights: one of 22 layers is 0.022 from its own exact form, on the CPU, and a product
# that is wrong in one layer of 32 moves the logits by 0.15 and more.
MOST_DISTANCE_MADE = 0.1

# A text is computed in tiles; a generated token is a step of its own, in other kernels, replayed from a graph.
FORMS = {"text": [], "generated": ["--generated"]}
TOKENS_SMALL = {"text": 48, "generated": 16}  # enough of a text for tiles
TOKENS_MADE = {"text": 24, "generated": 4}


def owner(s):
    """The program and the card that all results are of."""
    version = s.redline(["--version"], 20)
    if version.why:
        raise Failed(f"{s.args.redline} --version: {version.why}")
    plan = s.redline_json(["plan", DEMO, "--json", "-ngl", "auto"])
    cards = [f"{d['name']} ({d['arch']})" for d in plan["devices"] if d["device"] != "cpu"]
    if not cards:
        required = s.redline(["run", "-q", "-n", "1", "--temp", "0", "--require", "gpu", DEMO], 60)
        why = required.why or "redline plan shows none, but redline run --require gpu runs"
        raise Failed(f"no GPU: {why}{smi_words(s)}")
    return f"{version.out.strip()}{file_mark(s.args.redline, version.out)} on {', '.join(cards)}"


def file_mark(program, version):
    """A revision names a program, unless its sources had changes."""
    if "+)" not in version:
        return ""
    with open(program, "rb") as f:
        return " " + hashlib.sha256(f.read()).hexdigest()[:12]


def smi_words(s):
    if not shutil.which("nvidia-smi"):
        return "; there is no nvidia-smi"
    done = s.run(["nvidia-smi"], 20)
    return f"; nvidia-smi says:\n{(done.why or done.out).strip()}"


def look(s):
    """What the card is, and what it does at most."""
    probe = s.redline_json(["probe", "--json"], 90)
    if not probe.get("gpus"):
        raise Failed("redline probe shows no GPU")
    smi = ""
    if shutil.which("nvidia-smi"):
        done = s.run(["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit",
                      "--format=csv,noheader"], 20)
        smi = "" if done.why else done.out.strip()
    version = s.redline(["--version"], 10).out.strip()
    return {"gpus": probe["gpus"], "version": version, "smi": smi, "cpu": probe.get("machine", {}).get("cpu", "")}


def bcheck(s):
    """Every operation; only its own word that there is no card means that it was not run."""
    done = s.run([s.args.bcheck])
    if done.code == NOT_RUN:
        raise Failed(f"bcheck did not run: {done.out.strip()}")
    return {"ok": done.code == 0, "why": done.why, "words": (done.out.strip().splitlines() or [""])[-1]}


def memcheck(s):
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not os.path.exists(tool):
        raise Failed("compute-sanitizer is not installed")
    done = s.run([tool, "--tool", "memcheck", "--error-exitcode", "9", s.args.redline, "run", "-q", "-n", "4", "--temp",
                  "0", "-ngl", "all", DEMO])
    if "ERROR SUMMARY:" not in done.out + done.why:  # it may be refused, or slow: that says nothing about Redline
        raise Failed(f"memcheck did not end: {done.why or done.out[-200:]}")
    return {"ok": done.code == 0, "why": done.why}


def text(s):
    """The demo model's greedy text: small kernels and replayed graphs inside a model, over many tokens."""
    texts = []
    for layers in ("0", "all"):
        done = s.redline(["run", "-q", "-n", "64", "--temp", "0", "-ngl", layers, DEMO], 60)
        if done.why:
            return {"ok": False, "why": f"-ngl {layers}: {done.why}"}
        texts.append(done.out)
    cpu, gpu = texts
    if cpu == gpu:
        return {"ok": bool(cpu.strip()), "why": "" if cpu.strip() else "there is no text"}
    at = next((i for i, (a, b) in enumerate(zip(cpu, gpu)) if a != b), min(len(cpu), len(gpu)))
    cpu, gpu = (t[at:at + 40] for t in texts)
    return {"ok": False, "why": f"from character {at} on the CPU writes '{cpu}', the GPU '{gpu}'"}


# ---- logits ------------------------------------------------------------------------------------------------------


class SlowCpu(Failed):
    """It had no time to say what is right: nothing is known of the card."""


def logits(s, model, layers, form, n_tokens, path):
    ids = ",".join(str(i % 23 + 3) for i in range(n_tokens))
    done = s.redline(["logits", model, "--tokens", ids, "-o", path, "-ngl", layers] + FORMS[form], MOST_SECONDS)
    if s.late and layers == "0":
        s.late = False
        raise SlowCpu(f"{form}, on the CPU: {done.why}")
    if done.why:
        raise Failed(f"{form}, -ngl {layers}: {done.why}")
    values = array.array("f")
    with open(path, "rb") as f:
        values.frombytes(f.read())
    os.remove(path)
    return values


def distance(a, b):
    """Root of the mean squared difference, by that of the numbers of `a`."""
    if len(a) != len(b) or not a:
        raise Failed(f"{len(b)} logits of the GPU, {len(a)} of the CPU")
    difference = array.array("d", map(operator.sub, a, b))
    total, apart = (math.fsum(map(operator.mul, x, x)) for x in (a, difference))
    return math.sqrt(apart / total) if total else math.inf if apart else 0.0


def compare(s, model, n_tokens, most):
    """(distance or None, sentence or ''), of the worst form, with so many tokens of each."""
    worst = 0
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "logits")
        for form in FORMS:
            try:
                d = distance(*(logits(s, model, layers, form, n_tokens[form], path) for layers in ("0", "all")))
            except SlowCpu:
                raise
            except Failed as e:
                return None, str(e)
            if not d <= most:  # nor is NaN
                return None, f"{form}: {d:.2g} apart, the limit is {most}"
            worst = max(worst, d)
    return worst, ""


def family_models():
    folders = [os.environ.get("REDLINE_TEST_DATA"), ROOT, os.path.join(ROOT, "..", "shared", "data")]
    folder = next((f for f in folders if f and os.path.isdir(os.path.join(f, "archs"))), ROOT)
    return sorted(glob.glob(os.path.join(folder, "archs", "*.gguf")))


def families(s):
    """Small models of every family, on the CPU and on the GPU."""
    models = family_models()
    if not models:
        raise Failed("there are no models of families: REDLINE_TEST_DATA names no folder with archs/")
    models = [DEMO] + models
    found, bad = {}, {}
    for model in models:
        if s.step_left() < 3:
            bad["the others"] = f"{len(found) + len(bad)} of {len(models)} ran in the time"
            break
        name = os.path.basename(model)[:-5]
        d, why = compare(s, model, TOKENS_SMALL, MOST_DISTANCE)
        if why:
            bad[name] = why
        else:
            found[name] = d
        if s.late:  # a card that hangs would take the time of all else
            bad["the others"] = "not run after that"
            break
    why = "; ".join(f"{k}: {v}" for k, v in bad.items())
    return {"ok": not bad, "n": len(found), "of": len(models), "worst": max(found.values(), default=None), "why": why}


def made(s, path):
    """A model of real size with random weights, before its speed counts."""
    d, why = compare(s, path, TOKENS_MADE, MOST_DISTANCE_MADE)
    return {"ok": not why, "worst": d, "why": why}
