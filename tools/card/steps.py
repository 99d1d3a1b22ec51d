"""Runs programs within the time that is left, and keeps what each step found at once in a file.

A step that is kept is not run again, unless --again names it or it had failed. What is kept belongs to one program and
one card: results of another are put aside, not mixed in. All that programs print goes into a log beside the results.
"""
import fnmatch
import json
import math
import os
import shlex
import signal
import subprocess
import tempfile
import time
import traceback
from collections import namedtuple

from .plan import BUNDLED, LIBRARIES, ROOT

TAIL = 400      # characters of a program's last words that are told; the log has all
MOST_FAILS = 6  # of its FAIL lines

# why: "" where the exit code is 0, else how it ended and its last words; code: None where it was ended for its time
Done = namedtuple("Done", "code out why")


class Failed(Exception):
    """A sentence; with what was found before, if that is worth keeping."""
    def __init__(self, text, value=None):
        super().__init__(text)
        self.value = value


def words_of(out, err):
    """The lines that say FAIL, or else the last words."""
    fails = [line for line in (out + "\n" + err).splitlines() if line.startswith("FAIL")]
    if fails:
        more = [f"and {len(fails) - MOST_FAILS} more"] if len(fails) > MOST_FAILS else []
        return "\n".join(fails[:MOST_FAILS] + more)
    return (err.strip() or out.strip())[-TAIL:]


def why_ended(code, seconds, out, err):
    if code == 0:
        return ""
    how = f"longer than {seconds:.0f} s" if code is None else f"signal {-code}" if code < 0 else f"exit code {code}"
    return ": ".join(filter(None, [how, words_of(out, err)]))


def end_group(child):
    """The program and all that it started; one that even so does not go is left behind."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        pass


def text_of(file):
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def read_results(path):
    try:
        with open(path) as f:
            return json.load(f)
    except (OSError, ValueError):
        return {}


def is_whole(value):
    return "failed" not in value and value.get("ok", True)


class Steps:
    def __init__(self, args):
        self.args, self.end, self.left_out, self.failed = args, time.monotonic() + args.seconds, [], []
        self.step_end = self.end
        self.late = False  # the last step was ended for its time
        self.kept = read_results(args.results)
        os.makedirs(os.path.dirname(os.path.abspath(args.results)), exist_ok=True)

    def left(self):
        return self.end - time.monotonic()

    def step_left(self):
        return self.step_end - time.monotonic()

    def belongs_to(self, owner):
        """What is kept of another program or card is put aside."""
        other = self.kept.get("of")
        if self.kept and other != owner:
            aside = time.strftime(f"{self.args.results}.%Y%m%d-%H%M%S")
            os.replace(self.args.results, aside)
            print(f"what is kept is of {other}, this is {owner}: put aside as {aside}")
            self.kept = {}
        self.keep("of", owner)

    def keep(self, key, value):
        self.kept[key] = value
        with open(self.args.results + ".new", "w") as f:
            json.dump(self.kept, f, indent=1)
        os.replace(self.args.results + ".new", self.args.results)

    def log(self, text):
        with open(self.args.results + ".log", "a", errors="replace") as f:
            f.write(text.rstrip() + "\n")

    def environment(self, command):
        """A bundle's libraries are for its own programs, behind what is set: the driver may be found there alone."""
        found = dict(os.environ)
        if BUNDLED and any(own in command for own in (self.args.redline, self.args.bcheck)):
            found["LD_LIBRARY_PATH"] = ":".join(filter(None, [found.get("LD_LIBRARY_PATH"), LIBRARIES]))
        return found

    def run(self, command, seconds=math.inf):
        """Done; no longer than `seconds`, the step and the call have."""
        start = time.monotonic()
        seconds = max(1, min(seconds, self.step_end - start, self.end - start))
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                child = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, cwd=ROOT,
                                         env=self.environment(command), start_new_session=True)
            except OSError as e:
                raise Failed(f"{command[0]}: {e.strerror}") from None
            try:
                code = child.wait(seconds)
            except subprocess.TimeoutExpired:
                code, self.late = None, True
            finally:
                end_group(child)
            printed, said = text_of(out), text_of(err)
        done = Done(code, printed, why_ended(code, seconds, printed, said))
        self.log(f"\n$ {shlex.join(command)}\n{said}{printed}\n# exit code {code}, {time.monotonic() - start:.1f} s")
        return done

    def redline(self, words, seconds=math.inf):
        return self.run([self.args.redline] + words, seconds)

    def redline_json(self, words, seconds=60):
        done = self.redline(words, seconds)
        try:
            return json.loads(done.out)
        except ValueError:
            raise Failed(f"redline {' '.join(words)}: {done.why or 'no JSON'}") from None

    def is_kept(self, key):
        again = any(fnmatch.fnmatch(key, pattern) for pattern in self.args.again)
        return key in self.kept and is_whole(self.kept[key]) and not again

    def leave_out(self, key, why):
        self.left_out.append(f"{key}: {why}")
        print(self.left_out[-1], flush=True)

    def step(self, key, seconds, function, *rest):
        """function(*rest) returns the dictionary that is kept; None where there is none."""
        self.late = False
        if self.is_kept(key):
            print(f"{key}: kept")
            return self.kept[key]
        if self.left() < seconds / 4:
            self.leave_out(key, f"{self.left():.0f} s are left, about {seconds:.0f} are needed")
            return None
        start = time.monotonic()
        self.step_end = start + seconds
        self.log(f"\n==== {key}")
        try:
            value = function(*rest)
        except Exception as e:  # whatever it is, it must not cost the other steps
            self.log(traceback.format_exc())
            why = str(e) if isinstance(e, Failed) else f"{type(e).__name__}: {e}"
            self.failed.append(f"{key}: {why}")
            print(f"{key}: FAILED: {why}", flush=True)
            value = getattr(e, "value", None)
            if value:
                self.keep(key, dict(value, failed=why))
            return None
        finally:
            self.step_end = self.end
        self.keep(key, value)
        verdict = "" if value.get("ok", True) else f": THE CHECK FAILED: {value.get('why', '')}"
        print(f"{key}: {time.monotonic() - start:.1f} s{verdict}", flush=True)
        return value
