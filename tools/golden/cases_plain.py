"""Families with plain feed-forward parts: GPT-2 and those of its time."""
import numpy as np
import transformers as hf

from family import EPS, SMALL, Case, Family, common_keys, head_size, of, rope, rope_of

NORMS = {"transformer.ln_f": "output_norm", "transformer.wte": "token_embd", "transformer.wpe": "position_embd"}
PLAIN = {k: v for k, v in SMALL.items() if k not in ("num_key_value_heads", "intermediate_size")}


def sizes(c, n_heads, context, **more):
    width = of(c, "hidden_size", "n_embd", "d_model")
    return {"context_length": context, "embedding_length": width, "feed_forward_length": 4 * width,
            "block_count": of(c, "num_hidden_layers", "n_layer", "n_layers"), "attention.head_count": n_heads, **more}


def turned(name):
    return lambda c, x: {name: x.T}


def by_kind(n_heads, x):
    """Rows of one head's q, k and v behind one another: all of q, all of k, all of v."""
    return x.reshape(n_heads, 3, -1, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)


# ---- GPT-2, StarCoder ----------------------------------------------------------------------------


def gpt2_keys(c):
    return sizes(c, c.n_head, c.n_positions) | {"attention.layer_norm_epsilon": c.layer_norm_epsilon}


GPT2_CONFIG = {"vocab_size": 96, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 320,
               "layer_norm_epsilon": EPS, "bos_token_id": None, "eos_token_id": None}
GPT2 = Family("gpt2", hf.GPT2LMHeadModel, gpt2_keys, NORMS | {
    "ln_1": "attn_norm", "ln_2": "ffn_norm", "attn.c_attn": turned("attn_qkv"), "attn.c_proj": turned("attn_output"),
    "mlp.c_fc": turned("ffn_up"), "mlp.c_proj": turned("ffn_down")}, config=GPT2_CONFIG)
STARCODER = Family("starcoder", hf.GPTBigCodeForCausalLM,
                   lambda c: gpt2_keys(c) | {"attention.head_count_kv": 1}, NORMS | {
                       "ln_1": "attn_norm", "ln_2": "ffn_norm", "attn.c_attn": "attn_qkv",
                       "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"},
                   config=GPT2_CONFIG | {"multi_query": True, "activation_function": "gelu_pytorch_tanh"})
STARCODER2 = Family("starcoder2", hf.Starcoder2ForCausalLM, common_keys,
                    {"mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"},
                    config=SMALL | rope() | {"use_bias": True, "sliding_window": None, "norm_epsilon": EPS})

# ---- GPT-NeoX, Bloom, MPT, Falcon ----------------------------------------------------------------

NEOX = {"attention.query_key_value": lambda c, x: {"attn_qkv": by_kind(c.num_attention_heads, x)},
        "attention.dense": "attn_output", "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down"}


def neox_keys(c):
    return sizes(c, c.num_attention_heads, c.max_position_embeddings, feed_forward_length=c.intermediate_size) | {
        "rope.dimension_count": int(rope_of(c)["partial_rotary_factor"] * head_size(c)),
        "use_parallel_residual": c.use_parallel_residual, "attention.layer_norm_epsilon": c.layer_norm_eps}


def bloom_keys(c):
    return sizes(c, c.n_head, c.seq_length) | {"attention.head_count_kv": c.n_head,
                                               "attention.layer_norm_epsilon": c.layer_norm_epsilon}


def mpt_keys(c):
    a = c.attn_config
    return sizes(c, c.n_heads, c.max_seq_len) | {"attention.layer_norm_epsilon": 1e-5,
                                                 "attention.max_alibi_bias": float(a.alibi_bias_max)} | (
        {"attention.clamp_kqv": float(a.clip_qkv)} if a.clip_qkv else {})


def falcon_keys(c):
    return sizes(c, c.num_attention_heads, 2048) | {
        "tensor_data_layout": "jploski", "attention.head_count_kv": c.num_kv_heads if c.new_decoder_architecture else 1,
        "attention.layer_norm_epsilon": c.layer_norm_epsilon}


def falcon_qkv(c, x):
    """Groups of their queries, a key and a value: all queries, all keys, all values."""
    d = head_size(c)
    x = x.reshape(c.num_kv_heads if c.new_decoder_architecture else 1, -1, d, *x.shape[1:])
    return {"attn_qkv": np.concatenate([y.reshape(-1, *x.shape[3:]) for y in (x[:, :-2], x[:, -2], x[:, -1])])}


GPTNEOX = Family("gptneox", hf.GPTNeoXForCausalLM, neox_keys, NEOX | {
    "gpt_neox.embed_in": "token_embd", "gpt_neox.final_layer_norm": "output_norm"},
    config=SMALL | rope(theta=10000.0, partial_rotary_factor=0.5) | {"layer_norm_eps": EPS})
BLOOM = Family("bloom", hf.BloomForCausalLM, bloom_keys, {
    "transformer.word_embeddings": "token_embd", "transformer.word_embeddings_layernorm": "token_embd_norm",
    "transformer.ln_f": "output_norm", "post_attention_layernorm": "ffn_norm",
    "self_attention.query_key_value": lambda c, x: {"attn_qkv": by_kind(c.n_head, x)},
    "self_attention.dense": "attn_output", "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down"},
    config={"vocab_size": 96, "hidden_size": 64, "n_layer": 2, "n_head": 4, "seq_length": 512,
            "layer_norm_epsilon": EPS, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None})
MPT = Family("mpt", hf.MptForCausalLM, mpt_keys, {
    "transformer.wte": "token_embd", "transformer.norm_f": "output_norm", "norm_1": "attn_norm", "norm_2": "ffn_norm",
    "attn.Wqkv": "attn_qkv", "attn.out_proj": "attn_output", "ffn.up_proj": "ffn_up", "ffn.down_proj": "ffn_down"},
    config={"vocab_size": 96, "d_model": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": 512, "no_bias": True})
FALCON_NAMES = {"transformer.word_embeddings": "token_embd", "transformer.ln_f": "output_norm",
                "self_attention.query_key_value": falcon_qkv, "self_attention.dense": "attn_output",
                "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down"}
FALCON_CONFIG = PLAIN | rope(theta=10000.0) | {"layer_norm_epsilon": EPS, "bias": False, "alibi": False,
                                               "parallel_attn": True}
FALCON_7B = Family("falcon", hf.FalconForCausalLM, falcon_keys, FALCON_NAMES,
                   config=FALCON_CONFIG | {"multi_query": True, "new_decoder_architecture": False})
FALCON_40B = Family("falcon", hf.FalconForCausalLM, falcon_keys, FALCON_NAMES | {
    "ln_attn": "attn_norm_2", "ln_mlp": "attn_norm"},
    config=FALCON_CONFIG | {"num_kv_heads": 2, "new_decoder_architecture": True})

# ---- Phi 2, Nemotron -----------------------------------------------------------------------------


def phi2_keys(c):
    return sizes(c, c.num_attention_heads, c.max_position_embeddings) | {
        "attention.head_count_kv": c.num_attention_heads, "attention.layer_norm_epsilon": c.layer_norm_eps,
        "rope.dimension_count": int(rope_of(c)["partial_rotary_factor"] * head_size(c))}



def nemotron_keys(c):
    return common_keys(c) | {"attention.layer_norm_epsilon": c.norm_eps,
                             "rope.dimension_count": int(head_size(c) * rope_of(c)["partial_rotary_factor"])}


PHI2 = Family("phi2", hf.PhiForCausalLM, phi2_keys, {
    "model.final_layernorm": "output_norm", "self_attn.dense": "attn_output", "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down"},
    config=SMALL | rope(theta=10000.0, partial_rotary_factor=0.5) | {
        "layer_norm_eps": EPS, "num_key_value_heads": 4, "intermediate_size": 256})

NEMOTRON = Family("nemotron", hf.NemotronForCausalLM, nemotron_keys, norm_shift=1,
                  config=SMALL | rope(theta=10000.0, partial_rotary_factor=0.5) | {"norm_eps": EPS, "head_dim": 16})

CASES = [
    Case("nemotron", NEMOTRON),
    Case("gpt2", GPT2),
    Case("starcoder", STARCODER),
    Case("starcoder2", STARCODER2),
    Case("gptneox", GPTNEOX, {"use_parallel_residual": True}),
    Case("gptneox-serial", GPTNEOX, {"use_parallel_residual": False, "hidden_act": "gelu"}),
    Case("bloom", BLOOM),
    Case("bloom-6-heads", BLOOM, {"hidden_size": 96, "n_head": 6}),
    Case("mpt", MPT),
    Case("mpt-6-heads", MPT, {"d_model": 96, "n_heads": 6, "attn_config": {"clip_qkv": 1.0}}),
    Case("falcon-7b", FALCON_7B),
    Case("falcon-40b", FALCON_40B),
    Case("phi2", PHI2),
]
