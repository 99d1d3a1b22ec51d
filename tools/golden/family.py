"""What a family of models is here: a class of transformers, and how its parameters and configuration stand in
a GGUF file.

A GGUF tensor is told as an array of positions in transformers' parameters, so any cutting, joining and
turning of them is plain numpy, and the same table serves the file and the filling of the model.
"""
import re
from dataclasses import dataclass, field
from typing import Callable

import numpy as np
import torch
from gguf import GGMLQuantizationType as Type

import hollow

LAYER = re.compile(r"^(?:\w+\.)*(?:layers|h|blocks)\.(\d+)\.(.+)$")

# transformers' names without .weight or .bias; those of a layer begin behind its number.
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
    "mlp.experts.gate_up_proj": lambda c, x: {"ffn_gate_exps": x[:, : x.shape[1] // 2],
                                              "ffn_up_exps": x[:, x.shape[1] // 2:]},
    "mlp.experts.down_proj": "ffn_down_exps",
}


def of(config, *names):
    """The first of the attributes that the configuration has, else None."""
    return next((getattr(config, n) for n in names if getattr(config, n, None) is not None), None)


def head_size(c):
    return of(c, "head_dim") or of(c, "hidden_size", "n_embd") // of(c, "num_attention_heads", "n_head")


def rope_of(c):
    rope = of(c, "rope_parameters") or {}
    return rope.get("full_attention", rope)


def rope_keys(c):
    rope, keys = rope_of(c), {}
    kind = rope.get("rope_type")
    if kind in ("linear", "yarn"):
        keys["rope.scaling.type"] = kind
        keys["rope.scaling.factor"] = float(rope["factor"])
    if kind == "yarn":
        keys["rope.scaling.original_context_length"] = rope["original_max_position_embeddings"]
        for ours, theirs in (("yarn_attn_factor", "attention_factor"), ("yarn_beta_fast", "beta_fast"),
                             ("yarn_beta_slow", "beta_slow")):
            if rope.get(theirs) is not None:
                keys["rope.scaling." + ours] = float(rope[theirs])
    if kind == "longrope":
        keys["rope.scaling.type"] = kind
    if rope.get("rope_theta") is not None:
        keys["rope.freq_base"] = float(rope["rope_theta"])
    if (local := (of(c, "rope_parameters") or {}).get("sliding_attention")) is not None:
        keys["rope.freq_base_swa"] = float(local["rope_theta"])
    return keys


# Metadata that most converted files have: key, attributes of the configuration, kind.
COMMON = (
    ("context_length", ("max_position_embeddings",), int),
    ("embedding_length", ("hidden_size",), int),
    ("feed_forward_length", ("intermediate_size",), int),
    ("attention.head_count", ("num_attention_heads",), int),
    ("attention.head_count_kv", ("num_key_value_heads",), int),
    ("attention.layer_norm_rms_epsilon", ("rms_norm_eps",), float),
    ("attention.layer_norm_epsilon", ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"), float),
    ("expert_count", ("num_local_experts", "num_experts", "n_routed_experts"), int),
    ("expert_used_count", ("num_experts_per_tok",), int),
    ("expert_group_count", ("n_group",), int),
    ("expert_group_used_count", ("topk_group",), int),
    ("attention.key_length", ("head_dim",), int),
    ("attention.value_length", ("head_dim",), int),
)


def common_keys(c):
    keys = {"block_count": c.num_hidden_layers}
    for key, attributes, kind in COMMON:
        if (value := of(c, *attributes)) is not None:
            keys[key] = kind(value)
    return keys | rope_keys(c)


def llama3_factors(c):
    """Divisors of the frequencies, by the wave's length (Llama 3.1)."""
    rope, d = rope_of(c), head_size(c)
    length = 2 * np.pi * rope["rope_theta"] ** (np.arange(0, d, 2) / d)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    smooth = (rope["original_max_position_embeddings"] / length - low) / (high - low)
    return 1 / (np.clip(smooth, 0, 1) * (1 - 1 / rope["factor"]) + 1 / rope["factor"])


def llama_keys(c):
    return common_keys(c) | {"rope.dimension_count": head_size(c)}


def pairs(n_heads, x):
    """Rows of heads whose halves turn together, so that neighbours do."""
    return x.reshape(n_heads, 2, -1, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def paired(name, attribute):
    return lambda c, x: {name: pairs(getattr(c, attribute), x)}


PAIRED = {"self_attn.q_proj": paired("attn_q", "num_attention_heads"),
          "self_attn.k_proj": paired("attn_k", "num_key_value_heads")}


def rope(kind="default", theta=5000.0, **more):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **more}}


# Parts of configurations.
SMALL = dict(vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=512, pad_token_id=None, bos_token_id=None,
             eos_token_id=None, tie_word_embeddings=False)
EPS = 0.015625  # large, to be felt
RMS = SMALL | {"rms_norm_eps": EPS}
LINEAR = rope("linear", factor=4.0)
LLAMA3 = rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=128)
YARN = rope("yarn", factor=4.0, original_max_position_embeddings=1024) | {"max_position_embeddings": 4096}


@dataclass
class Family:
    arch: str
    cls: type  # of transformers
    keys: Callable = common_keys  # configuration -> metadata; None: no such key
    names: dict = field(default_factory=dict)  # over NAMES: a name, None (no tensor), or a function
    norm_shift: float = 0  # what the file's norm weights are above transformers'
    factors: dict = field(default_factory=dict)  # part of a name -> what transformers' numbers are of the file's
    given: Callable = lambda c: {}  # configuration -> {name: values} of tensors that are not random
    config: dict = field(default_factory=dict)  # arguments of transformers' configuration
    adjust: Callable = lambda model: None  # what a configuration cannot say


@dataclass
class Case:
    name: str
    family: Family
    config: dict = field(default_factory=dict)  # over the family's
    types: dict = field(default_factory=dict)  # the first part of a name that fits -> type; "" fits all matrices
    n_tokens: int = 300
    error: float = 1e-7


class Filled:
    """A case's model with its weights, its metadata, its tensors' shapes and types."""

    def __init__(self, case):
        f = case.family
        config = f.cls.config_class(**(f.config | case.config))
        self.case, self.config = case, config
        self.model = f.cls._from_config(config, attn_implementation="eager", experts_implementation="eager")
        f.adjust(self.model.double().eval())
        self.keys = {f"{f.arch}.{k}": v for k, v in f.keys(config).items() if v is not None}
        self.keys |= {f"{f.arch}.vocab_size": config.vocab_size, "tokenizer.ggml.model": "no_vocab"}
        self.given = f.given(config)
        places = self.places(NAMES | f.names)
        self.tensors = {name: (x.shape, self.type_of(name, x)) for name, x in places.items()}
        self.fill(places)
        self.tensors |= {name: ((len(v),), Type.F32) for name, v in self.given.items()}

    def type_of(self, name, x):
        if x.ndim < 2 or "norm" in name or "ffn_gate_inp" in name or name.endswith(".bias"):
            return Type.F32
        return next((t for part, t in self.case.types.items() if part in name), Type.F32)

    def parameters(self):
        """Names and values, tied ones once; also what is saved as a buffer."""
        saved = self.model.state_dict()
        yield from self.model.named_parameters()
        yield from ((n, b) for n, b in self.model.named_buffers() if n in saved)

    def places(self, names):
        """{GGUF name: positions in the parameters laid end to end}."""
        out, at = {}, 0
        for name, p in self.parameters():
            x = np.arange(at, at + p.numel()).reshape(p.shape)
            at += p.numel()
            layer = LAYER.match(name)
            stem, prefix = (layer[2], f"blk.{layer[1]}.") if layer else (name, "")
            suffix = next((s for s in (".weight", ".bias") if stem.endswith(s)), "")
            stem = stem[: len(stem) - len(suffix)]
            if stem not in names:
                raise KeyError(f"{self.case.name}: no name for {name} {list(p.shape)}")
            to = names[stem]
            made = to(self.config, x) if callable(to) else {to: x} if to else {}
            for gguf_name, y in made.items():
                whole = gguf_name.endswith((".weight", ".bias"))
                out[prefix + gguf_name + ("" if whole else suffix or ".weight")] = y
        return join(out)

    def fill(self, places):
        flat = np.zeros(sum(p.numel() for _, p in self.parameters()))
        used = np.zeros(flat.shape, int)
        for name, x in places.items():
            values = hollow.values(name, *self.tensors[name]).astype(np.float64)
            if name.endswith("norm.weight"):
                values -= self.case.family.norm_shift
            for part, factor in self.case.family.factors.items():
                values *= factor if part in name else 1
            flat[x.reshape(-1)] = values.reshape(-1)
            np.add.at(used, x.reshape(-1), 1)
        skipped = {k for k, v in self.case.family.names.items() if v is None}
        if (used > 1).any() or ((used == 0).any() and not skipped):
            raise ValueError(f"{self.case.name}: {int((used == 0).sum())} parameters without a value, "
                             f"{int((used > 1).sum())} with several")
        with torch.no_grad():
            at = 0
            for _, p in self.parameters():
                p.copy_(torch.from_numpy(flat[at:at + p.numel()].reshape(p.shape)))
                at += p.numel()

    def ids(self):
        return hollow.ids(self.case.name, self.case.n_tokens, self.config.vocab_size)

    def logits(self):
        """[T, V]"""
        with torch.no_grad():
            out = self.model(torch.from_numpy(self.ids())[None], use_cache=False).logits[0]
        return out.double().numpy()


def join(places):
    """NAME#0, NAME#1, ... (from several parameters) become one tensor, stacked or, with +, behind one another."""
    out = {}
    for name, x in places.items():
        match = re.match(r"^(.*)([#+])(\d+)(\.\w+)$", name)
        if not match:
            out[name] = x
            continue
        whole = match[1] + match[4]
        part = x[None] if match[2] == "#" else x
        out[whole] = np.concatenate([out[whole], part]) if whole in out else part
    return out
