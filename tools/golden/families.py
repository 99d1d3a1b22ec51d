#!/usr/bin/env python3
"""Writes tests/data/families: tiny random models of every family and what transformers computes with them.

    tools/golden/families.py [--out FOLDER] [NAME...]

Needs what families-requirements.txt names.  A model is written as NAME.gguf, hollow (see hollow.py), and
NAME.f32: float32 logits [8, V] after the first four and the last four tokens, from a run in float64 with
plain attention.  families.txt lists them; with names, only those are made and the list's other lines stay.
"""
import argparse
import os

import numpy as np

import hollow
from cases import CASES
from family import Filled

ROWS = 4  # at either end
HEAD = """# Made by tools/golden/families.py; not edited by hand.
# name, tokens, rows of logits at the beginning and at the end, allowed normalised mean squared error
"""


def make(case, folder):
    filled = Filled(case)
    logits = filled.logits()
    if not np.isfinite(logits).all():
        raise ValueError(f"{case.name}: logits are not finite")
    path = os.path.join(folder, case.name)
    hollow.write(path + ".gguf", case.family.arch, filled.keys, filled.tensors, filled.given)
    np.concatenate([logits[:ROWS], logits[-ROWS:]]).astype("<f4").tofile(path + ".f32")


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=os.path.join(here, "../../tests/data/families"))
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    unknown = set(args.names) - {c.name for c in CASES}
    if unknown:
        parser.error(f"no such model: {', '.join(sorted(unknown))}")
    os.makedirs(args.out, exist_ok=True)
    for case in CASES:
        if not args.names or case.name in args.names:
            print(case.name, flush=True)
            make(case, args.out)
    with open(os.path.join(args.out, "families.txt"), "w") as file:
        file.write(HEAD)
        file.writelines(f"{c.name} {c.n_tokens} {ROWS} {ROWS} {c.error:g}\n" for c in CASES)


if __name__ == "__main__":
    main()
