"""Families with gated feed-forward parts, without experts: Llama and what resembles it."""
import numpy as np
import transformers as hf

from family import (EPS, LINEAR, LLAMA3, PAIRED, RMS, SMALL, YARN, Case, Family, Type, common_keys, head_size,
                    llama3_factors, llama_keys, of, rope, rope_of)

POST_NORMS = {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
              "post_feedforward_layernorm": "post_ffw_norm"}
WIDE = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1}  # rows of blocks of 256


def factors(c):
    return {"rope_freqs.weight": llama3_factors(c)} if rope_of(c)["rope_type"] == "llama3" else {}


LLAMA = Family("llama", hf.LlamaForCausalLM, llama_keys, PAIRED, given=factors, config=RMS | rope())
MISTRAL = Family("llama", hf.MistralForCausalLM, llama_keys, PAIRED, config=RMS | rope() | {"sliding_window": None})

MIXED = {"attn_q.": Type.Q5_0, "attn_k.": Type.Q5_1, "attn_v.": Type.IQ4_NL, "attn_output": Type.Q4_1,
         "ffn_gate": Type.Q3_K, "ffn_up": Type.Q2_K, "ffn_down": Type.IQ4_XS, "token_embd": Type.Q5_K,
         "output": Type.MXFP4}


def weights(name, dtype, wide=False):
    return Case(f"llama-{name}", LLAMA, WIDE if wide else {}, {"": dtype} if not isinstance(dtype, dict) else dtype,
                n_tokens=96, error=1e-6)


LLAMAS = [
    Case("llama", LLAMA),
    Case("llama-biases", LLAMA, {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    Case("llama3", LLAMA, LLAMA3 | {"num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 16}),
    Case("llama-linear", LLAMA, LINEAR),
    Case("llama-yarn", LLAMA, YARN | {"head_dim": 32}),
    Case("mistral", MISTRAL, {"head_dim": 32}),
    weights("f16", Type.F16), weights("bf16", Type.BF16), weights("q8_0", Type.Q8_0), weights("q4_0", Type.Q4_0),
    weights("q4_k", Type.Q4_K, True), weights("q6_k", Type.Q6_K, True), weights("mixed", MIXED, True),
]

# ---- Qwen ----------------------------------------------------------------------------------------

QWEN2 = Family("qwen2", hf.Qwen2ForCausalLM, config=RMS | rope(theta=1e6))
QWEN3 = Family("qwen3", hf.Qwen3ForCausalLM, config=RMS | rope(theta=1e6) | {"head_dim": 32})

# The first Qwen: a Qwen 2 with as many key heads as heads, in one tensor, and its width of the feed-forward
# part told doubled.
QWEN = Family("qwen", hf.Qwen2ForCausalLM, lambda c: llama_keys(c) | {
    "feed_forward_length": 2 * c.intermediate_size, "attention.head_count_kv": None},
    {f"self_attn.{x}_proj": f"attn_qkv+{i}" for i, x in enumerate("qkv")},
    config=RMS | rope() | {"num_key_value_heads": 4})

QWENS = [
    Case("qwen", QWEN),
    Case("qwen2", QWEN2),
    Case("qwen2-yarn", QWEN2, rope("yarn", factor=4.0, original_max_position_embeddings=128, beta_fast=2.0,
                                   beta_slow=0.5) | {"tie_word_embeddings": True}),
    Case("qwen3", QWEN3, {"num_attention_heads": 8, "num_key_value_heads": 1}),
    Case("qwen3-q8_0", QWEN3, {}, {"": Type.Q8_0}, 96, error=1e-6),
    Case("qwen3-q4_k", QWEN3, WIDE | {"head_dim": 64}, {"": Type.Q4_K}, 96, error=1e-6),
]

# ---- Phi 3 ---------------------------------------------------------------------------------------


def phi3_keys(c):
    keys = common_keys(c)
    rotated = int(rope_of(c).get("partial_rotary_factor", 1) * head_size(c))
    keys |= {"rope.scaling.original_context_length": rope_of(c).get("original_max_position_embeddings",
                                                                  c.original_max_position_embeddings),
             "rope.dimension_count": rotated, "attention.sliding_window": c.sliding_window or 0}
    keys.pop("rope.scaling.type", None)
    if "long_factor" in rope_of(c):
        original = rope_of(c)["original_max_position_embeddings"]
        scale = c.max_position_embeddings / original
        keys["rope.scaling.attn_factor"] = float(np.sqrt(1 + np.log(scale) / np.log(original)))
    return keys


def phi3_factors(c):
    r = rope_of(c)
    return {f"rope_factors_{k}.weight": r[f"{k}_factor"] for k in ("long", "short")} if "long_factor" in r else {}


def longrope(original, d, **more):
    half = d // 2
    return rope("longrope", original_max_position_embeddings=original, **more,
                long_factor=[1 + 0.375 * i for i in range(half)], short_factor=[1 + 0.125 * i for i in range(half)])


PHI3 = Family("phi3", hf.Phi3ForCausalLM, phi3_keys,
              {"self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up"}, given=phi3_factors,
              config=RMS | rope() | {"sliding_window": None, "original_max_position_embeddings": 512})

PHIS = [
    Case("phi3", PHI3),
    Case("phi3-longrope-long", PHI3, longrope(128, 16) | {"original_max_position_embeddings": 128}),
    Case("phi3-longrope-short", PHI3, longrope(512, 16) | {"max_position_embeddings": 1024}),
    Case("phi4-mini", PHI3, longrope(128, 12, partial_rotary_factor=0.75)
         | {"original_max_position_embeddings": 128, "tie_word_embeddings": True}),
]

# ---- Gemma ---------------------------------------------------------------------------------------

GEMMA_CONFIG = RMS | rope(theta=10000.0) | {"head_dim": 32, "tie_word_embeddings": True,
                                 "hidden_activation": "gelu_pytorch_tanh"}


def gemma_keys(c):
    keys = common_keys(c)
    keys.pop("rope.freq_base", None)
    return keys


def gemma2_keys(c):
    return gemma_keys(c) | {"attn_logit_softcapping": float(c.attn_logit_softcapping),
                            "final_logit_softcapping": float(c.final_logit_softcapping),
                            "attention.sliding_window": c.sliding_window}


def gemma3_keys(c):
    keys = common_keys(c) | {"attention.sliding_window": c.sliding_window}
    if of(c, "final_logit_softcapping"):
        keys["final_logit_softcapping"] = float(c.final_logit_softcapping)
    return keys


GEMMA = Family("gemma", hf.GemmaForCausalLM, gemma_keys, norm_shift=1, config=GEMMA_CONFIG)
GEMMA2 = Family("gemma2", hf.Gemma2ForCausalLM, gemma2_keys, POST_NORMS, norm_shift=1,
                config=GEMMA_CONFIG | {"num_hidden_layers": 4, "sliding_window": 64, "query_pre_attn_scalar": 32,
                                       "attn_logit_softcapping": 3.0, "final_logit_softcapping": 4.0})
GEMMA3 = Family("gemma3", hf.Gemma3ForCausalLM, gemma3_keys, POST_NORMS, norm_shift=1,
                config=GEMMA_CONFIG | {"num_hidden_layers": 7, "sliding_window": 64, "query_pre_attn_scalar": 32})


def gemma3_rope(**full):
    return {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e6, **full},
                                "sliding_attention": {"rope_type": "default", "rope_theta": 5000.0}}}


GEMMAS = [
    Case("gemma", GEMMA, {"num_key_value_heads": 1}),
    Case("gemma2", GEMMA2),
    Case("gemma3", GEMMA3, gemma3_rope()),
    Case("gemma3-linear", GEMMA3, gemma3_rope(rope_type="linear", factor=8.0) | {"sliding_window": 96}),
]

# ---- others --------------------------------------------------------------------------------------


def olmo_keys(c):
    keys = common_keys(c) | {"attention.layer_norm_epsilon": 1e-5}
    return keys | ({"attention.clamp_kqv": float(c.clip_qkv)} if c.clip_qkv else {})


def window_keys(c):
    keys = common_keys(c)
    if of(c, "sliding_window"):
        keys["attention.sliding_window"] = c.sliding_window
        keys["attention.sliding_window_pattern"] = [t == "sliding_attention" for t in c.layer_types]
    return keys


def granite_keys(c):
    return llama_keys(c) | {"attention.scale": float(c.attention_multiplier),
                            "embedding_scale": float(c.embedding_multiplier),
                            "residual_scale": float(c.residual_multiplier), "logit_scale": float(c.logits_scaling)}


def cohere_keys(c):
    return common_keys(c) | {"logit_scale": float(c.logit_scale), "rope.scaling.type": "none"}


def cohere2_keys(c):
    return cohere_keys(c) | {"attention.sliding_window": c.sliding_window, "rope.dimension_count": head_size(c)}


def stablelm_keys(c):
    keys = common_keys(c) | {"rope.dimension_count": int(rope_of(c)["partial_rotary_factor"] * head_size(c)),
                             "use_parallel_residual": c.use_parallel_residual}
    keys.pop("rope.freq_base", None)
    return keys


def glm4_keys(c):
    return common_keys(c) | {"rope.dimension_count": int(head_size(c) * rope_of(c)["partial_rotary_factor"])}


def minicpm_keys(c):
    keys = granite_keys(c)
    return {k: v for k, v in keys.items() if k not in ("attention.scale", "rope.dimension_count")}


def ministral3_keys(c):
    return llama_keys(c) | {"rope.scaling.yarn_log_multiplier": float(rope_of(c)["mscale_all_dim"]),
                            "attention.temperature_scale": float(rope_of(c)["llama_4_scaling_beta"])}


OLMO = Family("olmo", hf.OlmoForCausalLM, olmo_keys, PAIRED, config=SMALL | rope())
OLMO2 = Family("olmo2", hf.Olmo2ForCausalLM, common_keys, POST_NORMS, config=RMS | rope(theta=500000.0))
OLMO3 = Family("olmo2", hf.Olmo3ForCausalLM, window_keys, POST_NORMS,
               config=RMS | rope(theta=500000.0) | {"num_hidden_layers": 4, "sliding_window": 64})
GRANITE = Family("granite", hf.GraniteForCausalLM, granite_keys, PAIRED,
                 config=RMS | rope() | {"attention_multiplier": 0.375, "embedding_multiplier": 3.0,
                                          "residual_multiplier": 0.25, "logits_scaling": 2.0})
MINICPM = Family("minicpm", hf.GraniteForCausalLM, minicpm_keys, PAIRED,
                 config=GRANITE.config | {"attention_multiplier": 0.25})
COHERE = Family("command-r", hf.CohereForCausalLM, cohere_keys,
                config=SMALL | rope() | {"layer_norm_eps": EPS, "tie_word_embeddings": True, "logit_scale": 0.125})
COHERE2 = Family("cohere2", hf.Cohere2ForCausalLM, cohere2_keys,
                 config=COHERE.config | {"num_hidden_layers": 4, "sliding_window": 64})
STABLELM = Family("stablelm", hf.StableLmForCausalLM, stablelm_keys,
                  {f"self_attn.{x}_layernorm.norms.{i}": f"attn_{x}_norm#{i}" for x in "qk" for i in range(8)},
                  config=SMALL | rope(theta=10000.0, partial_rotary_factor=0.25) | {
                      "layer_norm_eps": EPS, "head_dim": None})
GLM4 = Family("glm4", hf.Glm4ForCausalLM, glm4_keys,
              {"mlp.gate_up_proj": "ffn_up", "post_self_attn_layernorm": "post_attention_norm",
               "post_mlp_layernorm": "post_ffw_norm"},
              config=RMS | rope(partial_rotary_factor=0.5) | {"head_dim": 16, "attention_bias": True})
EXAONE4 = Family("exaone4", hf.Exaone4ForCausalLM, window_keys, POST_NORMS, given=factors,
                 config=RMS | rope() | {"num_hidden_layers": 4, "sliding_window": None})
EXAONE = Family("exaone", hf.LlamaForCausalLM, llama_keys, given=factors, config=RMS | rope())
SMOLLM3 = Family("smollm3", hf.SmolLM3ForCausalLM, llama_keys, PAIRED,
                 config=RMS | rope() | {"num_hidden_layers": 4, "tie_word_embeddings": True})
INTERNLM2 = Family("internlm2", hf.LlamaForCausalLM, common_keys, PAIRED, config=RMS | rope(theta=1e6))
ARCEE = Family("arcee", hf.ArceeForCausalLM, llama_keys, PAIRED, config=RMS | rope())
ERNIE4_5 = Family("ernie4_5", hf.Ernie4_5ForCausalLM, llama_keys, config=RMS | rope() | {"head_dim": 16})
SEED_OSS = Family("seed_oss", hf.SeedOssForCausalLM, common_keys, {"post_attention_layernorm": "post_attention_norm"},
                  config=RMS | rope() | {"head_dim": 32, "attention_bias": True, "attention_out_bias": False})
MINISTRAL3 = Family("mistral3", hf.Ministral3ForCausalLM, ministral3_keys, PAIRED,
                    config=RMS | {"head_dim": 32, "sliding_window": None})

MINISTRAL3_ROPE = rope("yarn", 1e6, factor=4.0, original_max_position_embeddings=128, beta_fast=8.0, beta_slow=2.0,
                       mscale=1.0, mscale_all_dim=1.0, llama_4_scaling_beta=0.1)

OTHERS = [
    Case("olmo", OLMO),
    Case("olmo-clip", OLMO, {"clip_qkv": 1.0}),
    Case("olmo2", OLMO2),
    Case("olmo3", OLMO3, {"layer_types": ["sliding_attention", "full_attention"] * 2}),
    Case("olmo3-yarn", OLMO3, {"rope_parameters": {
        "full_attention": YARN["rope_parameters"] | {"rope_theta": 500000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 500000.0}}}),
    Case("granite", GRANITE),
    Case("minicpm", MINICPM),
    Case("command-r", COHERE, {"use_qk_norm": False}),
    Case("command-r-qk-norm", COHERE, {"use_qk_norm": True}),
    Case("cohere2", COHERE2),
    Case("stablelm", STABLELM, {"use_parallel_residual": False, "use_qkv_bias": True}),
    Case("stablelm-2-12b", STABLELM, {"use_parallel_residual": True, "qk_layernorm": True}),
    Case("glm4", GLM4),
    Case("exaone", EXAONE, LLAMA3),
    Case("exaone4", EXAONE4, {"layer_types": ["full_attention"] * 4}),
    Case("exaone4-window", EXAONE4, LLAMA3 | {"sliding_window": 64, "sliding_window_pattern": 4}),
    Case("smollm3", SMOLLM3),
    Case("internlm2", INTERNLM2),
    Case("arcee", ARCEE),
    Case("ernie4_5", ERNIE4_5),
    Case("seed_oss", SEED_OSS),
    Case("mistral3", MINISTRAL3, MINISTRAL3_ROPE),
]

CASES = LLAMAS + QWENS + PHIS + GEMMAS + OTHERS
