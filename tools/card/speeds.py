"""How fast models are on the card, alone, beside other programs, in parts, and on smaller cards that it plays."""
import glob
import json
import os
import shutil
import tempfile

from . import checks
from .plan import DEMO, ROOT
from .steps import Failed

KEPT = ("test", "n_prompt", "n_gen", "n_depth", "n_gpu_layers", "placement", "gpu_info", "median_ts", "load_ns",
        "share_of_bandwidth", "share_of_compute", "bandwidth", "compute_limit", "bytes", "median_ns", "peak_rss_bytes")
KEPT_OF_PEERS = ("n_prompt", "n_gen", "n_depth", "avg_ts", "build_commit")
ROOM = 2e9  # bytes that are left free


# ---- made models -------------------------------------------------------------------------------------------------


def memory_left():
    with open("/proc/meminfo") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("MemAvailable:"))


def has_room(folder, size):
    if not os.path.isdir(folder) or shutil.disk_usage(folder).free < 1.1 * size + ROOM:
        return False
    # there the file is memory itself, and what it is loaded into comes on top
    return not folder.startswith("/dev/shm") or memory_left() > 2.2 * size + ROOM


class Made:
    """Models of `redline synth`: made when they are asked for, kept while there is room, removed at the end."""

    def __init__(self, s):
        self.s, self.paths = s, {}
        self.folders = [s.args.models] if s.args.models else ["/dev/shm", tempfile.gettempdir()]

    def room(self, size):
        """A folder; models of before give way, the largest first."""
        while True:
            folder = next((f for f in self.folders if has_room(f, size)), None)
            if folder or not self.paths:
                return folder
            self.remove(max(self.paths, key=lambda m: m.bytes))

    def path(self, model):
        if model in self.paths:
            return self.paths[model]
        names = [os.path.join(f, f"redline-{model.shape}-{model.type}.gguf") for f in self.folders]
        path = next((n for n in names if os.path.exists(n)), None)
        if not path:
            folder = self.room(model.bytes)
            if not folder:
                raise Failed(f"{model.bytes / 1e9:.1f} GB have no room in {' or '.join(self.folders)}")
            path = os.path.join(folder, os.path.basename(names[0]))
            done = self.s.redline(["synth", model.shape, model.type, path, "-q"], 150)
            if done.why:
                remove_all(path)
                raise Failed(f"synth: {done.why}")
        self.paths[model] = path
        return path

    def remove(self, model):
        path = self.paths.pop(model)
        if not self.s.args.keep_models:
            remove_all(path)

    def remove_all(self):
        for model in list(self.paths):
            self.remove(model)


def remove_all(path):
    """The file, and what a program left that was ended while it wrote it."""
    for name in [path] + glob.glob(glob.escape(path) + ".*.part"):
        try:
            os.remove(name)
        except OSError:
            pass


# ---- measuring ---------------------------------------------------------------------------------------------------


def json_lines(text, wanted):
    """Whole lines alone: a program that was ended may have left half of one."""
    rows = []
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append({k: row.get(k) for k in wanted})
    return rows


def rows_of(s, command, n_wanted, wanted):
    """{"rows": ...}; what was printed before a failure goes with it."""
    done = s.run(command)
    rows = json_lines(done.out, wanted)
    if done.why or len(rows) < n_wanted:
        raise Failed(done.why or f"{len(rows)} of {n_wanted} rows", {"rows": rows} if rows else None)
    return {"rows": rows}


def bench(s, path, options, n_wanted):
    return rows_of(s, [s.args.redline, "bench", path, "-r", "3", "-o", "jsonl"] + options, n_wanted, KEPT)


def speed(s, path, test):
    return bench(s, path, ["-ngl", "all", "--require", "gpu"] + test.options, 1)


def pair_options(pair):
    return ["-p", str(pair[0]), "-n", str(pair[1])]


def scaling(s, path, pair, share):
    n_layers = s.redline_json(["plan", path, "--json", "-ngl", "0"])["n_layers"]
    n = round(share / 100 * n_layers)
    required = ["--require", "gpu"] if n else []
    return bench(s, path, ["-ngl", str(n)] + required + pair_options(pair), 2)


def capped(s, path, pair, cap):
    """What is on the card is read from the rows: each test has a context of its own, so a plan of its own."""
    return bench(s, path, ["--device-memory", cap, "-ngl", "auto", "--require", "gpu"] + pair_options(pair), 2)


def peer(s, path, tests, program):
    """A run for prompts, one for generated tokens, each with all its tests."""
    rows = []
    for group in ([t for t in tests if t.n_prompt], [t for t in tests if t.n_gen]):
        sizes = (",".join(str(x) for x in dict.fromkeys(column)) for column in zip(*group))
        options = [word for pair in zip(("-p", "-n", "-d"), sizes) for word in pair]
        try:
            rows += rows_of(s, [program, "-m", path, "-ngl", "99", "-fa", "1", "-r", "3", "-o", "jsonl"] + options,
                            len(group), KEPT_OF_PEERS)["rows"]
        except Failed as e:
            rows += (e.value or {}).get("rows", [])
            raise Failed(str(e), {"rows": rows} if rows else None) from None
    return {"rows": rows}


def smoke(s):
    experiment = os.path.join(ROOT, "experiments", "gpu-smoke.yaml")
    with tempfile.TemporaryDirectory() as tmp:
        done = s.redline(["lab", "run", experiment, "--short", "-m", DEMO, "-o", os.path.join(tmp, "gpu-smoke.jsonl")])
    if done.code not in (0, 4):
        raise Failed(f"lab run gpu-smoke: {done.why}")
    return {"tables": done.out.strip()[-3000:]}


# ---- the steps of models -----------------------------------------------------------------------------------------


def steps_of(s, made, model, wanted):
    """wanted: (key, function, rest), called with s, a path and the rest. A model that hung once is left: the time is
    for others."""
    wanted = [step for step in wanted if not s.is_kept(step[0])]
    why = "" if s.left() > model.seconds / 4 else f"{s.left():.0f} s are left"
    try:
        path = made.path(model) if wanted and not why else None
    except (Failed, OSError) as e:
        why = str(e)
    for key, function, *rest in wanted:
        if why:
            s.leave_out(key, why)
            continue
        s.step(key, model.seconds, function, s, path, *rest)
        why = f"{key} was ended for its time" if s.late else ""


def alone(s, plan, made):
    """Of each model first whether it is right, then how fast."""
    for m in plan.models:
        steps_of(s, made, m, [(f"check/made/{m.name}", checks.made)] +
                 [(f"speed/{m.name}/{test.name}", speed, test) for test in plan.tests])


def beside_peers(s, plan, made):
    for m in plan.models:
        steps_of(s, made, m, [(f"peer/{m.name}/{name}", peer, plan.tests, program)
                              for name, program in s.args.peer.items()])


def in_parts(s, plan, made):
    m = plan.scaling
    steps_of(s, made, m, [(f"scaling/{m.name}/{share}", scaling, plan.pair, share) for share in plan.shares])
    for m in plan.caps:
        steps_of(s, made, m, [(f"capped/{m.name}/{cap}", capped, plan.pair, cap) for cap in plan.cap_sizes])
