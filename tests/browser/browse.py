#!/usr/bin/env python3
"""Looks at a page in Chromium as a reader does: at a desktop's and a phone's width, light and dark, without scripts.

    browse.py PAGE...       what is wrong, one line each; exit code 1 if anything is
    browse.py --self-test   pages that are wrong in every way that is looked for
    browse.py --shots FOLDER PAGE...   also pictures of them

Exit code 77: there is no Chromium.  Speaks the DevTools protocol through a pipe, so nothing needs to be installed
besides it.
"""
import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile

SIZES = {"desktop": (1280, 900, False), "phone": (390, 844, True)}
LOOKS = (("desktop", False, True), ("phone", False, True), ("phone", True, True), ("phone", False, False)) # dark, scripts

# Of the page as it is now: what a reader would see is missing or wrong.
LOOK = """(() => {
  const wrong = [], root = document.documentElement;
  if (root.scrollWidth > innerWidth) wrong.push(`it is ${root.scrollWidth} pixels wide, the window ${innerWidth}`);
  const plots = document.getElementById("plots");
  const canvases = [...document.querySelectorAll("canvas")];
  const n = plots ? JSON.parse(plots.textContent).length : 0;
  if (canvases.length !== n) wrong.push(`${canvases.length} canvases for ${n} plots`);
  canvases.forEach((canvas, i) => {
    if (canvas.clientWidth < 250 || canvas.clientHeight < 150) wrong.push(`canvas ${i} is too small to read`);
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width || 1, canvas.height || 1);
    const colours = new Set();
    let drawn = 0;
    for (let p = 0; p < data.length; p += 4)
      if (data[p + 3] > 40) { drawn++; colours.add(data[p] >> 4 << 8 | data[p + 1] >> 4 << 4 | data[p + 2] >> 4); }
    if (drawn < 800 || colours.size < 3) wrong.push(`canvas ${i} is empty: ${drawn} pixels, ${colours.size} colours`);
  });
  if (!document.querySelector("table")) wrong.push("no table");
  if (window.broken !== undefined) wrong.push("text out of records was run as a script");
  const light = colour => {
    const [r, g, b] = colour.match(/[0-9.]+/g).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const ground = light(getComputedStyle(document.body).backgroundColor);
  for (const e of document.querySelectorAll("h1, h2, h3, p, th, td, td small, dt, dd, li, figcaption, summary, footer")) {
    const ink = light(getComputedStyle(e).color);
    const contrast = (Math.max(ink, ground) + .05) / (Math.min(ink, ground) + .05);
    if (contrast < 4.5) { wrong.push(`${e.localName} has a contrast of ${contrast.toFixed(1)}, the least is 4.5`); break; }
  }
  return {wrong, ground};
})()"""

# Without scripts: the tables are there, and no empty frame is.
READ = """(() => {
  const wrong = [];
  if (document.documentElement.classList.contains("drawn")) wrong.push("scripts ran all the same");
  if (![...document.querySelectorAll("table")].some(t => t.getClientRects().length)) wrong.push("no table is shown without scripts");
  if ([...document.querySelectorAll("canvas")].some(c => c.getClientRects().length)) wrong.push("an empty canvas without scripts");
  const plain = [...document.querySelectorAll("figure")].filter(f => !f.querySelector("details td"));
  if (plain.length) wrong.push("a plot without its numbers");
  return {wrong};
})()"""


class Browser:
    def __init__(self, program):
        self.folder = tempfile.mkdtemp(prefix="browse-")
        (r3, w3), (r4, w4) = os.pipe(), os.pipe()
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (r3, w4)]

        def ends():  # Chromium reads from 3 and writes to 4
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        flags = ["--headless=new", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
                 "--disable-background-networking", "--disable-dev-shm-usage", f"--user-data-dir={self.folder}"]
        if os.getuid() == 0:
            flags.append("--no-sandbox")
        self.process = subprocess.Popen([program, *flags, "about:blank"], preexec_fn=ends, pass_fds=(3, 4),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for fd in (r3, w4, *high):
            os.close(fd)
        self.to, self.frm = os.fdopen(w3, "wb", buffering=0), os.fdopen(r4, "rb")
        self.n, self.events, self.session = 0, [], None

    def read(self):
        message = bytearray()
        while True:
            c = self.frm.read(1)
            if not c:
                raise RuntimeError("Chromium ended")
            if c == b"\0":
                return json.loads(message)
            message += c

    def call(self, method, **params):
        self.n += 1
        message = {"id": self.n, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.to.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.n:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def wait(self, method):
        while not any(e.get("method") == method for e in self.events):
            self.events.append(self.read())

    def open_tab(self):
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")
        return target

    def close_tab(self, target):
        self.session = None
        self.call("Target.closeTarget", targetId=target)

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:  # nothing is left to learn from it
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def told(events, page):
    """What the browser had to complain about, and what the page wanted from elsewhere."""
    for event in events:
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            yield "exception: " + details.get("exception", {}).get("description", details["text"]).split("\n")[0]
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            yield "console: " + " ".join(str(a.get("value", a.get("description"))) for a in params["args"])
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            yield "log: " + params["entry"]["text"]
        elif method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if url != page and not url.startswith("data:"):
                yield "asks for " + url[:100]


def look(browser, path, size, dark, scripts, shots):
    width, height, phone = SIZES[size]
    page = "file://" + os.path.abspath(path)
    target = browser.open_tab()
    browser.events.clear()
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone)
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
    browser.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    browser.call("Emulation.setScriptExecutionDisabled", value=not scripts)
    browser.call("Page.navigate", url=page)
    browser.wait("Page.loadEventFired")
    result = browser.call("Runtime.evaluate", expression=LOOK if scripts else READ, returnByValue=True)
    if "exceptionDetails" in result:
        raise RuntimeError(result["exceptionDetails"]["exception"]["description"])
    seen = result["result"]["value"]
    if shots:
        name = os.path.splitext(os.path.basename(path))[0]
        picture = browser.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        with open(f"{shots}/{name}-{size}{'-dark' if dark else ''}{'' if scripts else '-plain'}.png", "wb") as f:
            f.write(base64.b64decode(picture))
    wrong = seen["wrong"] + list(told(browser.events, page))
    if scripts and (seen["ground"] < 0.2) != dark:
        wrong.append("its ground is " + ("light" if dark else "dark"))
    browser.close_tab(target)
    return wrong


def look_all(browser, path, shots=None):
    for size, dark, scripts in LOOKS:
        how = f"{size}{', dark' if dark else ''}{'' if scripts else ', without scripts'}"
        for what in look(browser, path, size, dark, scripts, shots):
            yield f"{os.path.basename(path)}, {how}: {what}"


BAD = """<!doctype html><html><head><meta charset="utf-8"><style>body {background: #fff; color: #bbb}</style></head><body>
<div style="width: 2000px">wide</div><p>pale</p><figure><canvas style="display: block" width="400" height="300"></canvas></figure>
<img src="https://example.org/x.png" alt=""><script type="application/json" id="plots">[]</script>
<script>window.broken = 1; console.error("complaint"); setTimeout(() => {}, 0); throw new Error("thrown");</script></body></html>"""
FOUND = ["pixels wide", "1 canvases for 0 plots", "is empty", "no table", "was run as a script", "a contrast of",
         "asks for https://example.org", "console: complaint", "exception: Error: thrown", "its ground is light",
         "no table is shown without scripts", "an empty canvas without scripts", "a plot without its numbers"]


def self_test(browser):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "bad.html")
        with open(path, "w", encoding="utf-8") as f:
            f.write(BAD)
        found = "\n".join(look_all(browser, path))
    missed = [what for what in FOUND if what not in found]
    for what in missed:
        print(f"self-test: not found: {what}")
    return missed


def main():
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not program:
        print("there is no Chromium; `make browser` installs it")
        return 77
    words = sys.argv[1:]
    shots = None
    if words and words[0] == "--shots":
        shots, words = words[1], words[2:]
    browser = Browser(program)
    try:
        if words == ["--self-test"]:
            wrong = self_test(browser)
        else:
            wrong = [line for page in words for line in look_all(browser, page, shots)]
            print("\n".join(wrong) if wrong else f"{len(words)} pages, {len(LOOKS) * len(words)} looks, nothing wrong")
    finally:
        browser.end()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
