#!/usr/bin/env python3
"""Writes tests/data/encoders: tiny random models that make embeddings, and what transformers computes with them.

    tools/golden/encoders.py [--out FOLDER] [NAME...]

Needs what families-requirements.txt names.  A model is written as NAME.gguf, hollow (see hollow.py), and NAME.f32:
float32 vectors of three texts (the first 300, 19 and one of its tokens), of each the mean of all states, the first
and the last, from a run in float64 with plain attention.  encoders.txt lists them.
"""
import argparse
import os
from dataclasses import replace

import numpy as np
import torch
import transformers as hf

import hollow
from family import PAIRED, Case, Family, Filled, Type, common_keys

LENGTHS = (300, 19, 1)
POOLINGS = {"mean": 1, "cls": 2, "last": 3}
HEAD = """# Made by tools/golden/encoders.py; not edited by hand.
# name, numbers of a vector, what the file says of pooling
"""

BERT_NAMES = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
    "pooler.dense": None,
}
# nomic-bert and jina-embeddings-v3 as transformers spells them; converters fuse q, k and v.
ROTARY_NAMES = BERT_NAMES | {
    "self_attn.q_proj": lambda c, x: {"attn_qkv+0": x},
    "self_attn.k_proj": lambda c, x: {"attn_qkv+1": x},
    "self_attn.v_proj": lambda c, x: {"attn_qkv+2": x},
    "post_attention_layernorm": "attn_output_norm",
    "post_mlp_layernorm": "layer_output_norm",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
}
JINA2_FUSED = {"mlp.gate_proj": lambda c, x: {"ffn_up+0": x}, "mlp.up_proj": lambda c, x: {"ffn_up+1": x}}
MODERN_NAMES = {
    "embeddings.tok_embeddings": "token_embd",
    "embeddings.norm": "token_embd_norm",
    "attn_norm": "attn_norm",
    "attn.Wqkv": "attn_qkv",
    "attn.Wo": "attn_output",
    "mlp_norm": "ffn_norm",
    "mlp.Wi": "ffn_up",
    "mlp.Wo": "ffn_down",
    "final_norm": "output_norm",
}
GEMMA_NAMES = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
PLAIN_NAMES = {"embed_tokens": "token_embd", "norm": "output_norm"}


def encoder_keys(c):
    return common_keys(c) | {"attention.causal": False, "pooling_type": POOLINGS["mean"]}


def pooled(family, kind):
    return replace(family, keys=lambda c: family.keys(c) | {"pooling_type": POOLINGS[kind]})


def roberta_keys(c):
    """Positions begin behind the padding's id; the file has them from there on."""
    return encoder_keys(c) | {"context_length": c.max_position_embeddings - c.pad_token_id - 1}


def roberta_positions(c, x):
    return {"position_embd": x[c.pad_token_id + 1:]}


def modern_keys(c):
    keys = encoder_keys(c) | {"attention.layer_norm_epsilon": c.norm_eps, "attention.sliding_window": c.local_attention}
    return keys | {"rope.freq_base": c.rope_parameters["full_attention"]["rope_theta"],
                   "rope.freq_base_swa": c.rope_parameters["sliding_attention"]["rope_theta"]}


def gemma_keys(c):
    """transformers makes half of the window of it, and itself, when attention looks both ways."""
    keys = encoder_keys(c) | {"attention.sliding_window": 2 * (c.sliding_window - 1)}
    return keys | {"rope.freq_base_swa": c.rope_parameters["sliding_attention"]["rope_theta"]}


class Experts(torch.nn.Module):
    """Of nomic-embed-text-v2-moe: the shares of the chosen are those of a softmax over all."""
    N, USED = 4, 2

    def __init__(self, c):
        super().__init__()
        self.router = torch.nn.Parameter(torch.zeros(self.N, c.hidden_size))
        self.up = torch.nn.Parameter(torch.zeros(self.N, c.intermediate_size, c.hidden_size))
        self.down = torch.nn.Parameter(torch.zeros(self.N, c.hidden_size, c.intermediate_size))

    def forward(self, x):
        shares, chosen = (x @ self.router.T).softmax(-1).topk(self.USED)
        hidden = torch.nn.functional.gelu(torch.einsum("btd,btefd->btef", x, self.up[chosen]))
        return torch.einsum("btef,btedf,bte->btd", hidden, self.down[chosen], shares)


class NomicMoe(hf.JinaEmbeddingsV3Model):
    """The same but for experts in every second layer."""

    def __init__(self, config):
        super().__init__(config)
        for layer in self.layers[1::2]:
            layer.mlp = Experts(config)


class Jina2(hf.NomicBertModel):
    """jina-embeddings-v2: no rotary embedding, ALiBi instead (see Encoder.states)."""

    def __init__(self, config):
        super().__init__(config)
        self.rotary_emb.inv_freq.zero_()


def moe_keys(c):
    return encoder_keys(c) | {"moe_every_n_layers": 2, "expert_count": Experts.N, "expert_used_count": Experts.USED}


def llama_keys(c):
    return encoder_keys(c) | {"rope.dimension_count": c.head_dim}


SMALL = {"vocab_size": 96, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
         "intermediate_size": 96, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
MARKS = {"cls_token_id": 1, "sep_token_id": 2, "mask_token_id": 3}
GROUPED = {"num_key_value_heads": 2, "head_dim": 32}
POSITIONS = {"max_position_embeddings": 320}

BERT = Family("bert", hf.BertModel, encoder_keys, BERT_NAMES, config=SMALL | POSITIONS)
ROBERTA = Family("bert", hf.XLMRobertaModel, roberta_keys,
                 BERT_NAMES | {"embeddings.position_embeddings": roberta_positions},
                 config=SMALL | {"max_position_embeddings": 322, "pad_token_id": 1, "type_vocab_size": 1})
NOMIC = Family("nomic-bert", hf.NomicBertModel, encoder_keys, ROTARY_NAMES, config=SMALL)
JINA3 = Family("jina-bert-v3", hf.JinaEmbeddingsV3Model, encoder_keys, ROTARY_NAMES, config=SMALL)
MODERN = Family("modern-bert", hf.ModernBertModel, modern_keys, MODERN_NAMES,
                config=SMALL | MARKS | {"num_hidden_layers": 7, "local_attention": 40})
EURO = Family("eurobert", hf.EuroBertModel, encoder_keys, PLAIN_NAMES, config=SMALL | MARKS | GROUPED | {"head_dim": 16})
GEMMA = Family("gemma-embedding", hf.Gemma3TextModel, gemma_keys, PLAIN_NAMES | GEMMA_NAMES, norm_shift=1,
               config=SMALL | GROUPED | {"num_hidden_layers": 7, "sliding_window": 40, "query_pre_attn_scalar": 32,
                                         "use_bidirectional_attention": True})
NOMIC2 = Family("nomic-bert-moe", NomicMoe, moe_keys, ROTARY_NAMES | {
    "mlp.router": "ffn_gate_inp", "mlp.up": "ffn_up_exps", "mlp.down": "ffn_down_exps"}, config=SMALL)
JINA2 = Family("jina-bert-v2", Jina2, encoder_keys, ROTARY_NAMES, config=SMALL | {"hidden_act": "gelu"})
LLAMA = Family("llama-embed", hf.LlamaModel, llama_keys, PAIRED | PLAIN_NAMES, config=SMALL | GROUPED)
QWEN3 = pooled(Family("qwen3", hf.Qwen3Model, names=PLAIN_NAMES, config=SMALL | GROUPED), "last")
KEPT = {"position_embd": Type.F32, "token_types": Type.F32}  # by all converters
WIDE = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2}


class Encoder(Filled):
    dense = ()  # names and shapes of matrices behind the pooling

    def __init__(self, case, dense=()):
        super().__init__(case)
        self.dense = dense
        self.tensors |= {name: (shape, Type.F32) for name, shape in dense}
        for name, shape in dense:
            stem = f"{case.family.arch}.{name[:7]}_feat_"
            self.keys |= {stem + "in": shape[1], stem + "out": shape[0]}
        if hasattr(self.config, "type_vocab_size"):
            self.keys["tokenizer.ggml.token_type_count"] = self.config.type_vocab_size

    def parameters(self):
        for name, p in super().parameters():
            yield name.replace("encoder.layer.", "layers."), p

    def mask(self, n):
        """What is added to scores, where it is not what the class does by itself."""
        kind, h = self.config.model_type, self.config.num_attention_heads
        if isinstance(self.model, Jina2):
            slopes = 2.0 ** (-8 * torch.arange(1, h + 1, dtype=torch.float64) / h)
            i = torch.arange(n, dtype=torch.float64)
            return -slopes[:, None, None] * (i[:, None] - i).abs()[None, None]
        if kind == "llama":
            return torch.zeros(1, 1, n, n, dtype=torch.float64)
        return torch.ones(1, n, dtype=torch.int64)

    def states(self, n):
        ids = torch.from_numpy(self.ids()[:n])[None]
        more = {}
        if "position_embd.weight" in self.tensors:
            first = self.config.pad_token_id + 1 if self.config.model_type == "xlm-roberta" else 0
            more["position_ids"] = torch.arange(first, first + n)[None]
        with torch.no_grad():
            x = self.model(ids, attention_mask=self.mask(n), **more).last_hidden_state[0].double().numpy()
        for name, shape in self.dense:
            x = x @ hollow.values(name, shape, Type.F32).astype(np.float64).T
        return x

    def vectors(self):
        """[texts and poolings, D]"""
        rows = []
        for n in LENGTHS:
            x = self.states(n)
            rows += [x.mean(axis=0), x[0], x[-1]]
        return np.stack(rows)


CASES = [
    (Case("bert", BERT, {"type_vocab_size": 2}), ()),
    (Case("bert-q8_0", BERT, WIDE, KEPT | {"": Type.Q8_0}), ()),
    (Case("xlm-roberta", pooled(ROBERTA, "cls")), ()),
    (Case("nomic-bert", NOMIC), ()),
    (Case("nomic-bert-f16", NOMIC, WIDE, KEPT | {"": Type.F16}), ()),
    (Case("nomic-bert-moe", NOMIC2, {"num_hidden_layers": 4}), ()),
    (Case("jina-bert-v2", JINA2), ()),
    (Case("jina-bert-v2-fused", replace(JINA2, names=ROTARY_NAMES | JINA2_FUSED)), ()),
    (Case("jina-bert-v3", JINA3), ()),
    (Case("modern-bert", MODERN), ()),
    (Case("eurobert", pooled(EURO, "last")), ()),
    (Case("gemma-embedding", GEMMA), ()),
    (Case("gemma-embedding-dense", GEMMA), (("dense_2.weight", (160, 64)), ("dense_3.weight", (64, 160)))),
    (Case("llama-embed", LLAMA), ()),
    (Case("llama-both-ways", replace(LLAMA, arch="llama")), ()),
    (Case("qwen3-embedding", QWEN3), ()),
]


def make(case, dense, folder):
    filled = Encoder(case, dense)
    vectors = filled.vectors()
    if not np.isfinite(vectors).all():
        raise ValueError(f"{case.name}: vectors are not finite")
    path = os.path.join(folder, case.name)
    hollow.write(path + ".gguf", case.family.arch, filled.keys, filled.tensors, filled.given)
    vectors.astype("<f4").tofile(path + ".f32")
    pooling = next(k for k, v in POOLINGS.items() if v == filled.keys[f"{case.family.arch}.pooling_type"])
    return f"{case.name} {vectors.shape[1]} {pooling}\n"


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=os.path.join(here, "../../tests/data/encoders"))
    parser.add_argument("names", nargs="*", help="make these alone and leave the list as it is")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    lines = []
    for case, dense in CASES:
        if not args.names or case.name in args.names:
            lines.append(make(case, dense, args.out))
            print(lines[-1], end="", flush=True)
    if not args.names:
        with open(os.path.join(args.out, "encoders.txt"), "w") as file:
            file.writelines([HEAD, *lines])


if __name__ == "__main__":
    main()
