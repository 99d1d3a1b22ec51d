#!/usr/bin/env python3
"""Writes tests/data/quant/quant_golden.h: what ggml's own Python package makes of blocks and of numbers.

Needs numpy and gguf.  For every element type two blocks of random valid bytes and the float32 numbers
that they stand for; for the types that the package can write, 64 numbers and their bytes."""

import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import quants

TYPES = ("F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4").split()
WRITABLE = "F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 MXFP4".split()
SCALES = {  # offsets of the f16 numbers of a block
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0],
}
PLAIN = 32  # elements of a "block" of a plain type here


def blocks(rng, name):
    """Two blocks of random bytes with finite scales of sane size."""
    n, size = gguf.GGML_QUANT_SIZES[Type[name]]
    if n == 1:
        numbers = rng.standard_normal(2 * PLAIN).astype(np.float32)
        return quants.quantize(numbers, Type[name]).view(np.uint8).reshape(-1)
    out = rng.integers(0, 256, (2, size), dtype=np.uint8)
    for at in SCALES.get(name, []):
        out[:, at:at + 2] = (rng.standard_normal((2, 1)) * 0.05).astype(np.float16).view(np.uint8)
    if name == "MXFP4":
        out[:, 0] = rng.integers(100, 140, 2)
    return out.reshape(-1)


def array(kind, name, values, form, per_line):
    lines = [", ".join(form % v for v in values[i:i + per_line]) for i in range(0, len(values), per_line)]
    return "static const %s %s[] = {\n    %s,\n};\n" % (kind, name, ",\n    ".join(lines))


def main():
    rng = np.random.default_rng(20240607)
    out = ["""/* quant_golden.h - made by tools/golden/quant.py with the gguf package %s; not edited by hand.
 *
 * read_*: two blocks (of a plain type: 64 numbers) and the float32 bits that they stand for.
 * write_*: the bytes of the 64 numbers in write_numbers. */
#ifndef QUANT_GOLDEN_H
#define QUANT_GOLDEN_H

#include <stdint.h>
""" % gguf_version()]
    for name in TYPES:
        data = blocks(rng, name)
        if name == "F32":
            numbers = data.view(np.float32)
        else:
            numbers = quants.dequantize(data.reshape(1, -1), Type[name]).reshape(-1)
        out.append(array("uint8_t", "read_%s" % name.lower(), data, "%d", 24))
        out.append(array("uint32_t", "read_%s_bits" % name.lower(), numbers.view(np.uint32), "0x%08x", 8))

    numbers = rng.standard_normal(64).astype(np.float32)
    numbers[32:] *= np.float32(0.03)
    numbers[40] = 0
    out.append(array("uint32_t", "write_numbers", numbers.view(np.uint32), "0x%08x", 8))
    for name in WRITABLE:
        data = quants.quantize(numbers.reshape(1, -1), Type[name]).view(np.uint8).reshape(-1)
        out.append(array("uint8_t", "write_%s" % name.lower(), data, "%d", 24))

    out.append("#define QUANT_GOLDEN_READ(X) \\\n    %s\n" % " ".join("X(%s, %s)" % (n, n.lower()) for n in TYPES))
    out.append("#define QUANT_GOLDEN_WRITE(X) \\\n    %s\n" % " ".join("X(%s, %s)" % (n, n.lower()) for n in WRITABLE))
    out.append("#endif\n")
    with open(sys.argv[1] if len(sys.argv) > 1 else "tests/data/quant/quant_golden.h", "w") as file:
        file.write("\n".join(out))


def gguf_version():
    from importlib.metadata import version
    return version("gguf")


main()
