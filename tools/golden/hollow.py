"""Hollow GGUF files: metadata and tensor descriptions without the tensors' data, which follows by a rule from
the names; and that rule.  tests/unit/hollow.h has the same rule in C; both give the very same bits.

Element i of a tensor comes from the 64-bit word i of its stream: splitmix64 of (FNV-1a of the name, i).
* Numbers: the upper 24 bits as a fraction u in [-1, 1); the value is mean + u * 2^shift, exact in float64,
  then rounded once to float32 and once to the type.  rule_of() tells mean and shift.
* Blocks: the words of the stream are the bytes; over them the scales, made of the bits that stand in their
  place so that the numbers have about the spread of 2^shift.
* A tensor that cannot be random (rotary factors) lies in the metadata, under hollow.NAME, as float32.
"""
import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import quants

U64 = np.uint64
GIVEN = "hollow."

# Mean and shift (None: by the length of a row) of the first suffix that fits.
RULES = (
    (".bias", 0.0, -2),
    ("norm.weight", 1.0, -2),
    ("norm_2.weight", 1.0, -2),
    ("token_embd.weight", 0.0, 0),
    ("position_embd.weight", 0.0, -1),
    ("attn_sinks.weight", 0.0, 1),
    ("", 0.0, None),
)

# Of a block: where its f16 scale lies, the exponent that belongs to shift 0; whether the scale's sign is
# random; where its f16 minimum lies and how many powers of two it is above the scale.
BLOCKS = {
    Type.Q4_0: (0, -4, True, None, 0),
    Type.Q4_1: (0, -4, False, 2, 3),
    Type.Q5_0: (0, -5, True, None, 0),
    Type.Q5_1: (0, -5, False, 2, 4),
    Type.Q8_0: (0, -8, True, None, 0),
    Type.Q2_K: (80, -5, False, 82, 0),
    Type.Q3_K: (108, -7, True, None, 0),
    Type.Q4_K: (0, -9, False, 2, 3),
    Type.Q5_K: (0, -10, False, 2, 4),
    Type.Q6_K: (208, -12, True, None, 0),
    Type.IQ4_NL: (0, -8, True, None, 0),
    Type.IQ4_XS: (0, -12, True, None, 0),
}
# Their minimum is added, not taken away.
ADDED = (Type.Q4_1, Type.Q5_1)


def words(name, n):
    """The first n words of the stream of a name."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    x = U64(seed) + np.arange(1, n + 1, dtype=U64) * U64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> U64(30))) * U64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> U64(27))) * U64(0x94D049BB133111EB)
    return x ^ (x >> U64(31))


def rule_of(name, row):
    """Mean and shift; row: elements of a row, of which a product sums as many."""
    mean, shift = next((mean, shift) for suffix, mean, shift in RULES if name.endswith(suffix))
    if shift is None:
        shift = 0
        while 6 * 4**-shift < row:
            shift -= 1
    return mean, shift


def numbers(name, shape):
    """float32 of a tensor; shape as numpy has it, the row last."""
    mean, shift = rule_of(name, shape[-1])
    u = (words(name, int(np.prod(shape))) >> U64(40)).astype(np.float64) / 2**23 - 1
    return (mean + u * 2.0**shift).astype(np.float32).reshape(shape)


def put_f16(blocks, at, exponent, keep):
    """Gives the two random bytes an exponent and leaves the mantissa, and of the sign what keep says."""
    bits = blocks[:, at].astype(np.uint16) | blocks[:, at + 1].astype(np.uint16) << 8
    bits = (bits & np.uint16(keep)) | np.uint16(max(exponent + 15, 1) << 10)
    blocks[:, at], blocks[:, at + 1] = bits & 255, bits >> 8


def dressed(name, shape, dtype):
    """Bytes of the blocks of a tensor: [blocks, bytes of one]."""
    n, size = gguf.GGML_QUANT_SIZES[dtype]
    count = int(np.prod(shape)) // n
    stream = words(name, -(-count * size // 8)).astype("<u8").view(np.uint8)
    blocks = stream[: count * size].reshape(count, size).copy()
    shift = rule_of(name, shape[-1])[1]
    if dtype == Type.MXFP4:
        blocks[:, 0] = 127 + shift - 2 - (blocks[:, 0] & 1)
        return blocks
    at, unit, is_signed, minimum, above = BLOCKS[dtype]
    put_f16(blocks, at, shift + unit, 0x83FF if is_signed else 0x03FF)
    if minimum is not None:
        blocks[:, minimum], blocks[:, minimum + 1] = blocks[:, at], blocks[:, at + 1]
        put_f16(blocks, minimum, max(shift + unit, -14) + above, 0x03FF)
        if dtype in ADDED:
            blocks[:, minimum + 1] |= 0x80
    if dtype == Type.Q8_0:  # no encoder writes -128
        blocks[:, 2:][blocks[:, 2:] == 0x80] = 0
    return blocks


def values(name, shape, dtype):
    """float32 numbers that a tensor of this type stands for."""
    if dtype == Type.F32:
        return numbers(name, shape)
    if dtype in (Type.F16, Type.BF16):
        return quants.dequantize(quants.quantize(numbers(name, shape), dtype), dtype).reshape(shape)
    n, size = gguf.GGML_QUANT_SIZES[dtype]
    blocks = dressed(name, shape, dtype).reshape(*shape[:-1], shape[-1] // n * size)
    return quants.dequantize(blocks, dtype).astype(np.float32).reshape(shape)


def ids(name, n, n_vocab):
    """Token ids of a model."""
    return (words(name + ".ids", n) >> U64(40)).astype(np.int64) % n_vocab


def add_value(writer, key, value):
    """bool, int (u32), float (f32), str, or a list of one of them."""
    add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string,
           list: writer.add_array}
    add[type(value)](key, value)


def write(path, arch, keys, tensors, given):
    """tensors: {name: (shape, type)}; given: {name: float32 array}, the tensors that lie in the metadata."""
    writer = gguf.GGUFWriter(path, arch)
    for key, value in keys.items():
        add_value(writer, key, value)
    for name, value in given.items():
        writer.add_array(GIVEN + name, [float(v) for v in value])
    for name, (shape, dtype) in tensors.items():
        n, size = gguf.GGML_QUANT_SIZES[dtype]
        writer.add_tensor_info(name, shape, np.dtype(np.float32), int(np.prod(shape)) // n * size, raw_dtype=dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
