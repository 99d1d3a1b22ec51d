"""Measures the exported demo model in PyTorch and writes what the tests hold it to.

    python3 check.py /tmp/redline-demo

Writes tests/data/demo/heldout.txt, expected.json and answers.tsv, and prints how many held-out
questions of each kind are answered right.

Perplexity: the tokens of the held-out file (special tokens parsed) as one stream, cut into
chunks of 512; each chunk from an empty context; every token but the first of each is scored;
exp of the mean negative log-likelihood. Weights as stored (F16), arithmetic in float32.
"""
import argparse
import hashlib
import json
import math
import os
import random

import gguf
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import corpus
import export
from net import Net
from sums import ask_sum
from train import HELD_OUT_BYTES, WINDOW

DATA = os.path.join(os.path.dirname(__file__), "..", "..", "tests", "data", "demo")
MARGIN = 0.5  # least difference of the two best logits along an answer that a test may rely on
QUESTIONS = [
    ("What is 12 + 7?", "12 + 7 = 19"), ("What is 7 times 8?", "7 * 8 = 56"), ("How much is 9 x 9?", "9 * 9 = 81"),
    ("What is 15 - 6?", "15 - 6 = 9"), ("What is 30 plus 45?", "30 + 45 = 75"),
    ("What is the capital of France?", "The capital of France is Paris."),
    ("What is the capital of Japan?", "The capital of Japan is Tokyo."),
    ("What is the opposite of hot?", "The opposite of hot is cold."),
    ("What sound does a cow make?", "A cow says moo."),
    ("What is a young dog called?", "A young dog is called a puppy."),
    ("Which day comes after Monday?", "The day after Monday is Tuesday."),
    ("What colour is snow?", "The colour of snow is white."),
    ("How many legs does a spider have?", "A spider has eight legs."),
    ("How many sides does a triangle have?", "A triangle has three sides."),
    ("What is ice made of?", "Ice is frozen water."),
    ("Count from 3 to 8.", "3, 4, 5, 6, 7, 8."),
    ("Who are you?", "I am the demo model of Redline, a very small language model."),
    ("Mia has a red ball. Tom has a blue kite. Mia is in the park. Tom is on the hill.\n\nWhat does Tom have?",
     "Tom has a blue kite."),
    ("Ben has a green hat. Anna has a yellow drum. Ben is by the lake. Anna is in the barn.\n\nWhere is Anna?",
     "Anna is in the barn."),
]


def load(path):
    """The exported weights in a Net, as float32."""
    names = {export.gguf_name(n): n for n in Net().state_dict()}
    tensors = {names[t.name]: torch.from_numpy(t.data.astype("float32")) for t in gguf.GGUFReader(path).tensors}
    net = Net()
    net.load_state_dict(tensors)
    return net.eval()


@torch.no_grad()
def perplexity(net, ids):
    total = n = 0
    for i in range(0, len(ids), WINDOW):
        block = torch.tensor(ids[i:i + WINDOW])[None]
        loss = F.cross_entropy(net(block)[0, :-1].double(), block[0, 1:], reduction="sum")
        total, n = total + loss.item(), n + block.shape[1] - 1
    return math.exp(total / n)


@torch.no_grad()
def answer(net, tokenizer, prompt, most=64):
    """(text, smallest margin) of the greedy continuation up to an end token."""
    ids, out, margin = tokenizer.encode(prompt).ids, [], math.inf
    ends = {tokenizer.token_to_id("<|endoftext|>"), tokenizer.token_to_id("<|im_end|>")}
    while len(out) < most:
        best = torch.topk(net(torch.tensor(ids + out)[None])[0, -1], 2)
        margin = min(margin, (best.values[0] - best.values[1]).item())
        if best.indices[0].item() in ends:
            break
        out.append(best.indices[0].item())
    return tokenizer.decode(out), margin


def ask(question):
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


def escape(text):
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")


def write_answers(net, tokenizer):
    lines = []
    for question, right in QUESTIONS:
        text, margin = answer(net, tokenizer, ask(question))
        kept = text == right and margin > MARGIN
        print(f"{'kept' if kept else 'left'}: {question!r} -> {text!r} (margin {margin:.2f})")
        if kept:
            lines.append(f"{escape(ask(question))}\t{escape(text)}\n")
    with open(os.path.join(DATA, "answers.tsv"), "w", encoding="utf-8") as f:
        f.writelines(lines)


def count_right(net, tokenizer, n):
    """Held-out questions: sums whose numbers, and facts whose phrasing, the training never had."""
    writer = corpus.Writer(3, True)
    rng = random.Random(3)
    kinds = {"sums": lambda: ask_sum(rng, writer.split), "facts": writer.ask_fact, "scenes and stories": writer.ask_scene}
    for name, make in kinds.items():
        right = 0
        for _ in range(n):
            question, want = make()
            right += answer(net, tokenizer, ask(question))[0] == want
        print(f"held-out {name}: {right} of {n} right")


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("folder")
    options.add_argument("--questions", type=int, default=200)
    args = options.parse_args()
    os.makedirs(DATA, exist_ok=True)
    path = os.path.join(export.MODELS, "demo.gguf")
    tokenizer = Tokenizer.from_file(os.path.join(args.folder, "tokenizer.json"))
    net = load(path)
    text = corpus.make("heldout", HELD_OUT_BYTES)
    with open(os.path.join(DATA, "heldout.txt"), "w", encoding="utf-8") as f:
        f.write(text)
    ids = tokenizer.encode(text).ids
    with open(path, "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    facts = {"perplexity": perplexity(net, ids), "n_tokens": len(ids), "chunk": WINDOW,
             "definition": __doc__.split("Perplexity: ")[1].replace("\n", " ").strip(),
             "corpus_seed": corpus.HELD_OUT_SEED, "model_sha256": digest}
    with open(os.path.join(DATA, "expected.json"), "w", encoding="utf-8") as f:
        json.dump(facts, f, indent=2)
        f.write("\n")
    print(f"perplexity {facts['perplexity']:.5f} on {len(ids)} tokens")
    write_answers(net, tokenizer)
    count_right(net, tokenizer, args.questions)


if __name__ == "__main__":
    main()
