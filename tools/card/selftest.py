"""tools/gpu with made-up programs: each promise of its head, and each way in which a card may disappoint.

One program plays redline, bcheck, llama-bench and others, by the name that it is called with. It does what the file
`orders` beside it says, and writes down how it was called.
"""
import contextlib
import io
import json
import math
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import unittest
from unittest import mock

from . import bundle, checks, plan, speeds, steps, tables
from .steps import Failed, Steps

PROGRAM = f"#!{sys.executable}\n" + r'''
import array, json, os, subprocess, sys, time
here, name = os.path.split(os.path.abspath(sys.argv[0]))
words = sys.argv[1:]
orders = json.load(open(os.path.join(here, "orders")))
open(os.path.join(here, "calls"), "a").write(" ".join([name] + words) + "\n")
command = words[0] if name == "redline" else name

def of(option, default=None):
    return words[words.index(option) + 1] if option in words else default

def obey(what):
    """crash, hang, or words of its own with an exit code"""
    order = orders.get(what)
    if order == "hang":
        sys.stdout.flush()
        child = subprocess.Popen(["sleep", "600"])
        open(os.path.join(here, "child"), "w").write(str(child.pid))
        time.sleep(600)
    if order == "crash":
        os.abort()
    if isinstance(order, list):
        print(order[1])
        sys.exit(order[0])

on_gpu = of("-ngl", "0") not in ("0",)
if command == "--version":
    print(orders.get("version", "redline 9 (made)"))
elif command == "plan":
    cards = [{"device": "gpu0", "name": orders["card"], "arch": "9.0"}] if orders.get("card") else []
    print(json.dumps({"n_layers": 4, "devices": [{"device": "cpu", "name": "CPU", "arch": ""}] + cards}))
elif command == "probe":
    obey("probe")
    print(json.dumps({"gpus": [{"name": orders["card"], "arch": "9.0", "read_bytes_s": 4e9, "copy_bytes_s": 6e9,
                                "bf16_ops_s": 1e12}], "machine": {"cpu": "CPU"}}))
elif command == "run":
    if "--require" in words and not orders.get("card"):
        sys.exit("redline: a GPU is required, the bus shows none")
    obey("run")
    print(orders.get("text on the GPU", "Once upon a time") if on_gpu else "Once upon a time")
elif command == "logits":
    values = [3.0, 4.0]
    obey("logits" if on_gpu else "logits of the CPU")
    if on_gpu:
        values = [float(x) for x in orders.get("generated" if "--generated" in words else "text", values)]
    with open(of("-o"), "wb") as f:
        array.array("f", values).tofile(f)
elif command == "synth":
    if orders.get("synth"):
        open(words[3] + ".123-4.part", "w").write("half")
    obey("synth")
    open(words[3], "w").write("model")
elif command == "bench":
    n_gpu = {"all": 4, "auto": 3}.get(of("-ngl")) or int(of("-ngl", "0")) if on_gpu else 0
    placement = f"gpu0:{2 * n_gpu + 1}:9 cpu:{9 - 2 * n_gpu}:5"
    for p, n in ((int(of("-p")), 0), (0, int(of("-n")))):
        if not p and not n:
            continue
        obey(f"pp{p}" if p else f"tg{n}")
        print(json.dumps({"n_prompt": p, "n_gen": n, "n_depth": int(of("-d", "0")), "median_ts": 1000.0 if p else 100.0,
                          "load_ns": 2e9, "share_of_compute": 0.5, "bytes": 3e9, "median_ns": 1e9,
                          "n_gpu_layers": n_gpu, "placement": placement}), flush=True)
elif command == "llama-bench":
    for p in of("-p").split(","):
        for d in of("-d", "0").split(","):
            print(json.dumps({"n_prompt": int(p), "n_gen": int(of("-n")), "n_depth": int(d), "avg_ts": 500.0,
                              "build_commit": "abc"}))
else:
    obey(command)
'''
NAMES = ("redline", "bcheck", "llama-bench", "compute-sanitizer")


def has_gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as state:
            return state.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


class Case(unittest.TestCase):
    """A folder with the programs, and a Steps that runs them."""
    parse = None

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        for name in NAMES:
            with open(self.at(name), "w") as f:
                f.write(PROGRAM)
            os.chmod(self.at(name), stat.S_IRWXU)
        os.makedirs(self.at("data/archs"))
        for name in ("one", "two"):
            open(self.at(f"data/archs/{name}.gguf"), "w").close()
        environment = {"REDLINE_TEST_DATA": self.at("data"), "PATH": f"{self.folder}:/usr/bin:/bin"}
        patch = mock.patch.dict(os.environ, environment)
        patch.start()
        self.addCleanup(patch.stop)
        self.order()
        self.s = self.steps()

    def at(self, name):
        return os.path.join(self.folder, name)

    def order(self, **orders):
        """Underscores stand for blanks."""
        orders = {"card": "Made", "compute-sanitizer": [0, "ERROR SUMMARY: 0 errors"],
                  **{k.replace("_", " "): v for k, v in orders.items()}}
        with open(self.at("orders"), "w") as f:
            json.dump({k: v for k, v in orders.items() if v is not None}, f)

    def args(self, *words):
        return type(self).parse(["--no-build", "--tiny", "--redline", self.at("redline"), "--bcheck", self.at("bcheck"),
                                 "--results", self.at("gpu.json"), "--models", self.at("models"), *words])

    def steps(self, *words):
        return Steps(self.args(*words))

    def calls(self, *having):
        with open(self.at("calls")) as f:
            return [line for line in f.read().splitlines() if all(h in line for h in having)]

    def forget_calls(self):
        open(self.at("calls"), "w").close()

    def quiet(self, function, *rest):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            value = function(*rest)
        self.printed = out.getvalue()
        return value

    def step(self, key, function, seconds=30):
        return self.quiet(self.s.step, key, seconds, function, self.s)

    def in_time(self, attempt, seen):
        """attempt(seconds), from the beginning and with more seconds until seen(): a program may take long to start."""
        for exponent in range(8):
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.at("gpu.json"))
            self.forget_calls()
            self.s = self.steps()
            value = attempt(2 ** exponent)
            if seen():
                break
        return value

    def alone(self):
        os.makedirs(self.at("models"), exist_ok=True)
        made = speeds.Made(self.s)
        self.quiet(speeds.alone, self.s, plan.TINY, made)
        return made

    def whole(self, *words, end_after=None):
        """The script itself, from another folder; told to end when a file is there."""
        script = os.path.join(plan.ROOT, "tools", "gpu")
        shutil.copy(os.path.join(plan.ROOT, "docs", "gpu.md"), self.at("gpu.md"))
        os.makedirs(self.at("models"), exist_ok=True)
        command = [sys.executable, script, "--no-build", "--tiny", "--redline", "./redline", "--bcheck", "./bcheck",
                   "--results", "gpu.json", "--document", "gpu.md", "--models", "models", *words]
        child = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 300
        while end_after and not os.path.exists(self.at(end_after)) and time.monotonic() < until:
            time.sleep(0.1)
        if end_after:
            child.terminate()
        out, err = child.communicate()
        return subprocess.CompletedProcess(command, child.returncode, out, err)


class TestRunning(Case):
    def test_ended_with_all_it_started(self):
        self.order(bcheck="hang")

        def attempt(seconds):
            open(self.at("child"), "w").close()
            self.start = time.monotonic()
            return self.s.run([self.at("bcheck")], seconds)

        done = self.in_time(attempt, lambda: os.path.getsize(self.at("child")))
        self.assertIsNone(done.code)
        self.assertTrue(self.s.late)
        self.assertLess(time.monotonic() - self.start, 300)  # it would sleep 600
        with open(self.at("child")) as f:
            child = int(f.read())
        until = time.monotonic() + 300
        while not has_gone(child) and time.monotonic() < until:  # it is init that takes it away
            time.sleep(0.1)
        self.assertTrue(has_gone(child))

    def test_step_has_a_limit(self):
        self.order(bcheck="hang")
        self.assertIn("longer than 1 s", self.quiet(self.s.step, "check/bcheck", 1, checks.bcheck, self.s)["why"])

    def test_rows_before_a_hang_stay(self):
        self.order(tg2="hang")
        value = self.in_time(
            lambda seconds: self.quiet(self.s.step, "capped/m/8G", seconds, speeds.capped, self.s, "model", (16, 2), "8G"),
            lambda: "capped/m/8G" in self.s.kept)
        self.assertIsNone(value)
        self.assertEqual([r["n_prompt"] for r in self.s.kept["capped/m/8G"]["rows"]], [16])
        self.assertFalse(self.s.is_kept("capped/m/8G"))
        self.assertEqual(len(self.s.failed), 1)

    def test_any_mistake_costs_one_step_alone(self):
        self.order(probe=[0, '{"gpus": [{"name": "Made"}]}'])
        self.assertIsNone(self.step("odd", lambda s: {}["no such key"]))
        self.assertIn("KeyError", self.s.failed[0])
        self.assertTrue(self.step("check/text", checks.text)["ok"])

    def test_log_has_all(self):
        self.order(bcheck=[1, "first line\n" + "x" * 5000])
        self.step("check/bcheck", checks.bcheck)
        with open(self.at("gpu.json.log")) as f:
            self.assertIn("first line", f.read())

    def test_bundled_libraries(self):
        with mock.patch.object(steps, "BUNDLED", True), mock.patch.dict(os.environ, {"LD_LIBRARY_PATH": "/driver"}):
            self.assertEqual(self.s.environment([self.at("redline")])["LD_LIBRARY_PATH"], "/driver:" + plan.LIBRARIES)
            self.assertEqual(self.s.environment(["nvidia-smi"])["LD_LIBRARY_PATH"], "/driver")
            del os.environ["LD_LIBRARY_PATH"]
            self.assertEqual(self.s.environment([self.at("bcheck")])["LD_LIBRARY_PATH"], plan.LIBRARIES)


class TestKeeping(Case):
    def test_once(self):
        self.step("check/text", checks.text)
        self.forget_calls()
        self.s = self.steps()
        self.assertTrue(self.step("check/text", checks.text)["ok"])
        self.assertEqual(self.calls("run"), [])

    def test_again(self):
        for key in ("check/text", "check/bcheck"):
            self.s.keep(key, {"ok": True})
        self.s = self.steps("--again", "check/t*")
        self.assertFalse(self.s.is_kept("check/text"))
        self.assertTrue(self.s.is_kept("check/bcheck"))

    def test_failures_are_repeated(self):
        self.order(bcheck=[1, "FAIL one"])
        self.assertFalse(self.step("check/bcheck", checks.bcheck)["ok"])
        self.order()
        self.assertTrue(self.step("check/bcheck", checks.bcheck)["ok"])

    def test_of_one_program_and_card(self):
        self.quiet(self.s.belongs_to, checks.owner(self.s))
        self.s.keep("check/text", {"ok": True})
        self.quiet(self.s.belongs_to, checks.owner(self.s))
        self.assertIn("check/text", self.s.kept)
        self.order(card="Another")
        self.quiet(self.s.belongs_to, checks.owner(self.s))
        self.assertNotIn("check/text", self.s.kept)
        self.assertEqual(len([n for n in os.listdir(self.folder) if n.startswith("gpu.json.2")]), 1)
        self.order(version="redline 9 (made+)")
        self.assertRegex(checks.owner(self.s), r"made\+\) [0-9a-f]{12} on Made")


class TestChecks(Case):
    def families(self, seconds=30, **orders):
        self.order(**orders)
        return self.step("check/families", checks.families, seconds)

    def test_families(self):
        found = self.families()
        self.assertTrue(found["ok"])
        self.assertEqual((found["n"], found["of"], found["worst"]), (3, 3, 0))
        self.assertEqual(len(self.calls("logits", "--generated", "-ngl all")), 3)

    def test_wrong_logits(self):
        for form in ("text", "generated"):
            for numbers, words in (([3, "nan"], "apart"), ([3, "inf"], "apart"), ([3, 4.2], "apart"),
                                   ([3], "1 logits of the GPU, 2")):
                found = self.families(**{form: numbers})
                self.assertFalse(found["ok"], numbers)
                self.assertIn(words, found["why"])
        self.assertIn("exit code 5", self.families(logits=[5, "FAIL here"])["why"])

    def test_distance(self):
        self.assertAlmostEqual(checks.distance([3.0, 4.0], [3.0, 3.0]), 0.2)
        self.assertEqual(checks.distance([0.0], [1.0]), math.inf)
        self.assertTrue(math.isnan(checks.distance([3.0], [math.nan])))

    def test_fewer_than_there_are(self):
        with mock.patch.object(Steps, "step_left", lambda s: 1):
            found = self.families()
        self.assertFalse(found["ok"])
        self.assertIn("0 of 3", found["why"])
        with mock.patch.object(checks, "family_models", list):
            self.assertIsNone(self.families())
        self.assertIn("no models of families", self.s.failed[0])

    def test_first_hang_ends_it(self):
        def attempt(seconds):
            with mock.patch.object(checks, "MOST_SECONDS", seconds):
                return self.families(seconds=600, logits="hang")

        found = self.in_time(attempt, lambda: self.calls("logits", "-ngl all"))
        self.assertIn("longer than", found["why"])
        self.assertEqual(len(self.calls("logits", "-ngl all")), 1)

    def test_text(self):
        self.order(text_on_the_GPU="Once upon a tide")
        found = self.step("check/text", checks.text)
        self.assertFalse(found["ok"])
        self.assertIn("character 14", found["why"])

    def test_bcheck(self):
        for order, ok, words in (([0, "9 cases"], True, ""), ("crash", False, "signal 6"),
                                 ([1, "FAIL moe\n" + "x" * 999 + "\nFAIL mla"], False, "FAIL moe\nFAIL mla")):
            self.order(bcheck=order)
            found = self.step("check/bcheck", checks.bcheck)
            self.assertEqual(found["ok"], ok)
            self.assertIn(words, found["why"])
            del self.s.kept["check/bcheck"]
        self.order(bcheck=[77, "skipped: there is no GPU"])
        self.assertIsNone(self.step("check/bcheck", checks.bcheck))
        self.assertIn("skipped", self.s.failed[0])

    def test_memcheck(self):
        self.assertTrue(self.step("check/memcheck", checks.memcheck)["ok"])
        del self.s.kept["check/memcheck"]
        self.order(**{"compute-sanitizer": [9, "ERROR SUMMARY: 3 errors"]})
        self.assertFalse(self.step("check/memcheck", checks.memcheck)["ok"])
        self.order(**{"compute-sanitizer": [1, "not permitted"]})
        self.assertIsNone(self.step("check/memcheck", checks.memcheck))

    def test_no_card(self):
        self.order(card=None)
        with self.assertRaisesRegex(Failed, "the bus shows none.*nvidia-smi"):
            checks.owner(self.s)


class TestModels(Case):
    def test_checked_before_speed(self):
        self.alone()
        self.assertEqual(list(self.s.kept), ["check/made/stories15m/Q8_0", "speed/stories15m/Q8_0/pp16",
                                             "speed/stories15m/Q8_0/tg4@0"])
        self.assertEqual(len(self.calls("bench")), len(self.calls("bench", "--require gpu", "-ngl all")))

    def test_wrong_models_are_marked(self):
        self.order(generated=[3, 3])
        self.alone()
        self.assertFalse(self.s.kept["check/made/stories15m/Q8_0"]["ok"])
        text = tables.tables(self.s.kept, plan.TINY)
        self.assertIn("| stories15m (**wrong**) | Q8_0 |", text)
        self.assertIn("**A check failed", text)

    def test_failed_tests_are_repeated_alone(self):
        self.order(pp16="crash")
        self.alone()
        self.assertIn("speed/stories15m/Q8_0/tg4@0", self.s.kept)
        self.assertIn("speed/stories15m/Q8_0/pp16", self.s.failed[0])
        self.order()
        self.forget_calls()
        self.s = self.steps()
        self.alone()
        self.assertEqual(len(self.calls("bench")), 1)
        self.assertIn("speed/stories15m/Q8_0/pp16", self.s.kept)

    def test_left_after_a_hang(self):
        self.order(pp16="hang")
        with mock.patch.object(plan.TINY.models[0].__class__, "seconds", 2):
            self.alone()
        self.assertNotIn("speed/stories15m/Q8_0/tg4@0", self.s.kept)
        self.assertIn("was ended for its time", self.s.left_out[0])

    def test_slow_cpu_says_nothing_of_the_card(self):
        self.order(logits_of_the_CPU="hang")
        with mock.patch.object(checks, "MOST_SECONDS", 1):
            self.alone()
        self.assertNotIn("check/made/stories15m/Q8_0", self.s.kept)
        self.assertIn("speed/stories15m/Q8_0/pp16", self.s.kept)
        self.assertIn("on the CPU: longer than 1 s", self.s.failed[0])

    def test_removed(self):
        made = self.alone()
        self.assertEqual(len(os.listdir(self.at("models"))), 1)
        made.remove_all()
        self.assertEqual(os.listdir(self.at("models")), [])

    def test_halves_are_removed(self):
        self.order(synth="crash")
        self.alone()
        self.assertEqual(os.listdir(self.at("models")), [])
        self.assertIn("synth", self.s.left_out[0])

    def test_room(self):
        made = speeds.Made(self.s)
        for m in plan.FULL.models[:2]:
            made.paths[m] = self.at(m.type)
            open(made.paths[m], "w").close()
        with mock.patch.object(speeds, "has_room", lambda folder, size: not made.paths):
            self.assertEqual(made.room(1e9), made.folders[0])
        self.assertEqual([n for n in os.listdir(self.folder) if n in ("MXFP4", "Q4_K_M")], [])

    def test_smaller_cards(self):
        value = self.step("capped/x/8G", lambda s: speeds.capped(s, "model", (16, 2), "8G"))
        self.assertEqual(len(value["rows"]), 2)
        self.assertEqual(self.calls("plan"), [])
        self.assertEqual(len(self.calls("bench", "--require gpu")), 1)

    def test_peers(self):
        args = self.args("--peer", "llama-bench", "--peer", "older=old/llama-bench")
        self.assertEqual(args.peer, {"llama.cpp": os.path.abspath("llama-bench"),
                                     "older": os.path.abspath("old/llama-bench")})


class TestWhole(Case):
    def test_all(self):
        done = self.whole("--peer", "llama-bench")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        with open(self.at("gpu.json")) as f:
            keys = [key.split("/")[0] for key in json.load(f)]
        self.assertEqual(list(dict.fromkeys(keys)),
                         ["of", "card", "check", "speed", "peer", "scaling", "capped", "smoke"])
        with open(self.at("gpu.md")) as f:
            text = f.read()
        for line in ("| stories15m | Q8_0 | 2000 | 1000 (50 %) | 100.0 (75 %, 50 %) |", "| 50 % | 2 | 1000 | 100.0 |",
                     "| 8G | stories15m | Q8_0 | 3 (7 of 10) | 1000 | 100.0 |",
                     "| llama.cpp abc | stories15m | Q8_0 | prompt 16 | 500.0 | 1000.0 | 2.00 |"):
            self.assertIn(line, text)
        self.assertNotIn("FAILED", text)
        self.assertEqual(os.listdir(self.at("models")), [])

    def test_failed_check(self):
        self.order(bcheck=[1, "FAIL a|b"])
        done = self.whole()
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        with open(self.at("gpu.md")) as f:
            text = f.read()
        self.assertIn("**FAILED**: exit code 1: FAIL a\\|b |", text)
        self.assertIn("**A check failed", text)

    def test_interrupted(self):
        self.order(run="hang")
        done = self.whole(end_after="child")
        self.assertEqual(done.returncode, 4, done.stdout + done.stderr)
        with open(self.at("gpu.md")) as f:
            self.assertIn("`build-cuda/bcheck`) | passed |", f.read())

    def test_no_card(self):
        self.order(card=None)
        done = self.whole()
        self.assertEqual(done.returncode, 3)
        self.assertIn("the bus shows none", done.stderr)
        with open(self.at("gpu.md")) as mine, open(os.path.join(plan.ROOT, "docs", "gpu.md")) as of_the_tree:
            self.assertEqual(mine.read(), of_the_tree.read())

    def test_empty_tables(self):
        self.assertGreater(tables.tables({}, plan.FULL).count(tables.NEVER), 60)

    def test_tables_of_what_is_unknown(self):
        row = {"n_prompt": 16, "n_gen": 0, **dict.fromkeys(speeds.KEPT[3:])}
        card = {"name": "Made", "arch": "9.0", "read_bytes_s": 0}
        kept = {"card": {"gpus": [card], "smi": "", "version": "redline 9"},
                "speed/stories15m/Q8_0/pp16": {"rows": [row]}, "capped/stories15m/Q8_0/8G": {"rows": [row]},
                "scaling/stories15m/Q8_0/50": {"rows": [row]}}
        self.assertIn("| reading memory, GB/s | not measured |", tables.tables(kept, plan.TINY))


@unittest.skipUnless(shutil.which("objdump") and shutil.which("nm"), "there are no binutils")
class TestBundle(Case):
    def fill(self, *words):
        program = shutil.which("true")
        args = self.args("--bundle", self.at("bundle"), "--redline", program, "--bcheck", program, *words)
        return self.quiet(bundle.bundle, args)

    def test_sum(self):
        self.fill("--limit", "20")
        self.assertRegex(self.printed, r"\d+\.\d MB  archs/")
        self.assertTrue(os.path.exists(self.at("bundle/tools/card/steps.py")))

    def test_too_large(self):
        with self.assertRaisesRegex(Failed, "the limit is 1 MB"):
            self.fill("--limit", "1")

    def test_without_models(self):
        with mock.patch.object(bundle, "family_models", list), self.assertRaisesRegex(Failed, "no models of families"):
            self.fill()

    def test_libraries(self):
        needs = {"program": ["libcurl.so.4", "libnettle.so.8", "libc.so.6"],
                 "/l/nettle": ["libresolv.so.2", "libgmp.so.10"]}
        there = ("libcurl.so.4", "libnettle.so.8", "libgmp.so.10")
        ldd = "".join(f"\t{name} => /l/{name[3:].split('.')[0]} (0x1)\n" for name in there)
        with mock.patch.object(bundle, "needed_by", lambda path: needs.get(path, [])), \
                mock.patch.object(bundle, "call", lambda *command: ldd), mock.patch.object(os.path, "exists", bool):
            self.assertEqual(bundle.libraries_of("program"), {"libnettle.so.8": "/l/nettle", "libgmp.so.10": "/l/gmp"})


def run(parse):
    Case.parse = staticmethod(parse)
    tests = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    found = unittest.TextTestRunner().run(tests)
    print("self-test", "passed" if found.wasSuccessful() else "failed")
    return 0 if found.wasSuccessful() else 1
