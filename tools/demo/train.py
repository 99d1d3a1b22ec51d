"""Trains the demo model on text that corpus.py makes.

    python3 train.py --minutes 30 --out /tmp/redline-demo
    python3 export.py /tmp/redline-demo

The optimiser is Muon (Jordan et al. 2024) for the matrices of the layers and AdamW for the
rest; the learning rate falls to zero over the time that is given, so the time decides how
many tokens are seen. Seeds are fixed; the number of steps, and with it the result, still
depends on the speed of the machine.
"""
import argparse
import math
import os
import time

import numpy
import torch
import torch.nn.functional as F

import corpus
import vocab
from net import VOCAB, Net

WINDOW, BATCH = 512, 8
TRAIN_BYTES, HELD_OUT_BYTES = 60_000_000, 90_000
WARM_UP = 0.02  # of the time


def orthogonalize(g):
    """The nearest (semi-)orthogonal matrix, by five Newton-Schulz steps."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = (g / (g.norm() + 1e-7)).bfloat16()
    if tall := g.shape[0] > g.shape[1]:
        x = x.T
    for _ in range(5):
        s = x @ x.T
        x = a * x + (b * s + c * s @ s) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr, momentum=0.95):
        super().__init__(params, dict(lr=lr, momentum=momentum))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                m.mul_(group["momentum"]).add_(p.grad)
                update = orthogonalize(p.grad + group["momentum"] * m)
                p.mul_(1 - 0.05 * group["lr"])
                p.add_(update.float(), alpha=-group["lr"] * max(1, p.shape[0] / p.shape[1]) ** 0.5)


def token_file(out, text, tokenizer):
    path = os.path.join(out, "train.u16")
    if not os.path.exists(path):
        documents = text.split(vocab.SPECIAL[0])
        ids = [i for e in tokenizer.encode_batch(documents) for i in e.ids + [0]]
        numpy.array(ids, dtype=numpy.uint16).tofile(path)
    return numpy.fromfile(path, dtype=numpy.uint16)


def batches(tokens, rng):
    while True:
        at = rng.integers(0, len(tokens) - WINDOW - 1, BATCH)
        block = torch.from_numpy(numpy.stack([tokens[i:i + WINDOW + 1] for i in at]).astype(numpy.int64))
        yield block[:, :-1], block[:, 1:]


@torch.no_grad()
def perplexity(net, ids):
    """The definition that check.py states, in the training's own precision."""
    total = n = 0
    for i in range(0, len(ids), WINDOW):
        block = torch.tensor(ids[i:i + WINDOW])[None]
        loss = F.cross_entropy(net(block)[0, :-1].float(), block[0, 1:], reduction="sum")
        total, n = total + loss.item(), n + block.shape[1] - 1
    return math.exp(total / n)


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--minutes", type=float, default=30)
    options.add_argument("--out", default="/tmp/redline-demo")
    options.add_argument("--threads", type=int, default=os.cpu_count())
    args = options.parse_args()
    os.makedirs(args.out, exist_ok=True)
    torch.manual_seed(1)
    torch.set_num_threads(args.threads)

    text = corpus.make("train", TRAIN_BYTES)
    held_out = corpus.make("heldout", HELD_OUT_BYTES)
    tokenizer = vocab.train(text[:8_000_000], VOCAB)
    tokenizer.save(os.path.join(args.out, "tokenizer.json"))
    tokens = token_file(args.out, text, tokenizer)
    held_ids = tokenizer.encode(held_out).ids
    print(f"{len(tokens)} training tokens, {len(held_ids)} held-out tokens", flush=True)

    net = Net()
    print(f"{sum(p.numel() for p in net.parameters())} parameters", flush=True)
    matrices = [p for l in net.layers for p in l.parameters() if p.dim() == 2]
    others = [net.embed.weight] + [p for p in net.parameters() if p.dim() == 1]
    muon, adam = Muon(matrices, lr=0.02), torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0)
    rates = [(muon, 0.02), (adam, 3e-3)]

    start, step, seen, shown = time.time(), 0, 0, 0.0
    for x, y in batches(tokens, numpy.random.default_rng(1)):
        share = (time.time() - start) / (60 * args.minutes)
        if share >= 1:
            break
        rate = min(1, share / WARM_UP + 0.01) * 0.5 * (1 + math.cos(math.pi * share))
        for optimizer, base in rates:
            optimizer.param_groups[0]["lr"] = base * rate
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(net(x).float().flatten(0, 1), y.flatten())
        loss.backward()
        for optimizer, _ in rates:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step, seen = step + 1, seen + x.numel()
        if share - shown >= 0.1 or step == 50:
            shown = share
            torch.save(net.state_dict(), os.path.join(args.out, "net.pt"))
            print(f"{100 * share:5.1f} % step {step} tokens {seen} loss {loss.item():.4f} "
                  f"held-out perplexity {perplexity(net, held_ids[:8192]):.4f} "
                  f"{seen / (time.time() - start):.0f} tokens/s", flush=True)
    torch.save(net.state_dict(), os.path.join(args.out, "net.pt"))
    print(f"done: {step} steps, {seen} tokens, {time.time() - start:.0f} s, "
          f"held-out perplexity {perplexity(net, held_ids):.4f}", flush=True)


if __name__ == "__main__":
    main()
