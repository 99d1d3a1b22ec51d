#!/usr/bin/env python3
"""A made-up OpenAI-compatible server for test_peer: streams words at a known pace and counts what it was asked.

    openai_server.py FOLDER      writes its port to FOLDER/port, and what it was asked to FOLDER/asked, a JSON line each

A prompt of W words has 2 W + 1 tokens here. What a request's model is called decides how it is answered:
  good, silent (no usage), pairs (two tokens a piece), broken (an error in the stream), refuse (400), torn (breaks off),
  plain (no stream), three (answers of several tokens begin when three requests run).
"""
import http.server
import json
import os
import sys
import threading
import time

FOLDER = sys.argv[1]
FIRST_S, NEXT_S = 0.05, 0.01  # until the first token, between two
LONG_S = 120  # for what would otherwise never end
lock = threading.Condition()
running = most = 0


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def send_json(self, code, value):
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/v1/models":
            self.send_json(200, {"data": [{"id": "good"}]})
        else:
            self.send_json(404, {"error": {"message": "there is no " + self.path}})

    def event(self, value, end="\n\n"):
        self.wfile.write(f"data: {value if isinstance(value, str) else json.dumps(value)}{end}".encode())
        self.wfile.flush()

    def stream(self, kind, n_prompt, n_gen):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b": a comment\r\n\r\nevent: nothing\n\n")
        time.sleep(FIRST_S)
        if kind == "three" and n_gen > 1:
            with lock:
                lock.wait_for(lambda: most >= 3, LONG_S)
        step = 2 if kind == "pairs" else 1
        for i in range(0, n_gen, step):
            if i:
                time.sleep(NEXT_S * step)
            self.event({"choices": [{"text": " w\u00f6rd" * step, "finish_reason": None}]},
                       "\r\n\r\n" if i % 2 else "\n\n")
            if kind == "torn" and n_gen > 1:
                return
            if kind == "broken" and n_gen > 1:
                self.event({"error": {"message": "out of paper"}})
        self.event({"choices": [{"text": "", "finish_reason": "length"}]})
        if kind != "silent":
            self.event({"choices": [], "usage": {"prompt_tokens": n_prompt, "completion_tokens": n_gen,
                                                 "prompt_tokens_details": {"cached_tokens": 0}}})
        self.event("[DONE]")

    def do_POST(self):
        global running, most
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        n_words = len(asked["prompt"].split())
        with lock:
            running += 1
            most = max(most, running)
            lock.notify_all()
            with open(os.path.join(FOLDER, "asked"), "a") as f:
                f.write(json.dumps({"n_words": n_words, "n_gen": asked["max_tokens"], "running": running,
                                    "path": self.path, "prompt": asked["prompt"]}) + "\n")
        try:
            kind = asked["model"]
            if kind == "refuse":
                self.send_json(400, {"error": {"message": "not today"}})
            elif kind == "plain":
                self.send_json(200, {"choices": [{"text": "all at once"}]})
            else:
                self.stream(kind, 2 * n_words + 1, asked["max_tokens"])
        finally:
            with lock:
                running -= 1


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(os.path.join(FOLDER, "port.new"), "w") as port:
    port.write(str(server.server_address[1]))
os.rename(os.path.join(FOLDER, "port.new"), os.path.join(FOLDER, "port"))
server.serve_forever()
