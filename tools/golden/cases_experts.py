"""Families with mixtures of experts, and those with compressed keys and values."""
import math
from types import MethodType

import torch
import transformers as hf

from cases_gated import longrope, phi3_factors, phi3_keys
from family import PAIRED, RMS, SMALL, Case, Family, Type, common_keys, head_size, llama_keys, of, rope, rope_of

# ---- Mixtral, Qwen, OLMoE, Granite, Phi ----------------------------------------------------------

SHARED = {"mlp.shared_expert.gate_proj": "ffn_gate_shexp", "mlp.shared_expert.up_proj": "ffn_up_shexp",
          "mlp.shared_expert.down_proj": "ffn_down_shexp",
          "mlp.shared_expert_gate": "ffn_gate_inp_shexp"}


def qwen2moe_keys(c):
    return common_keys(c) | {"expert_feed_forward_length": c.moe_intermediate_size,
                             "expert_shared_feed_forward_length": c.shared_expert_intermediate_size}


def qwen3moe_keys(c):
    return common_keys(c) | {"expert_feed_forward_length": c.moe_intermediate_size}


def granitemoe_keys(c):
    return llama_keys(c) | {"attention.scale": float(c.attention_multiplier),
                            "embedding_scale": float(c.embedding_multiplier),
                            "residual_scale": float(c.residual_multiplier), "logit_scale": float(c.logits_scaling)}


def deepseek_keys(c):
    keys = qwen2moe_keys(c) | {"expert_shared_count": c.shared_expert_intermediate_size // c.moe_intermediate_size,
                               "expert_weights_scale": 1.0, "leading_dense_block_count": len(c.mlp_only_layers),
                               "rope.dimension_count": 16, "rope.scaling.type": "none"}
    keys.pop("expert_shared_feed_forward_length")
    return keys


MIXTRAL = Family("llama", hf.MixtralForCausalLM, llama_keys, PAIRED,
                 config=RMS | rope(theta=1e6) | {"num_local_experts": 8, "num_experts_per_tok": 2,
                                                   "sliding_window": None})
QWEN2MOE = Family("qwen2moe", hf.Qwen2MoeForCausalLM, qwen2moe_keys, SHARED,
                  config=RMS | rope(theta=1e6) | {"num_experts": 8, "num_experts_per_tok": 3,
                                                    "moe_intermediate_size": 32, "decoder_sparse_step": 1,
                                                    "shared_expert_intermediate_size": 48})
# The first DeepSeek is a Qwen 2 whose shared experts count in full: here the gate is sigmoid(0).
DEEPSEEK = Family("deepseek", hf.Qwen2MoeForCausalLM, deepseek_keys,
                  SHARED | PAIRED | {"mlp.shared_expert_gate": None}, factors={"ffn_down_shexp": 2},
                  config=RMS | rope() | {"num_hidden_layers": 3, "num_experts": 16, "num_experts_per_tok": 4,
                                           "moe_intermediate_size": 32, "shared_expert_intermediate_size": 64,
                                           "mlp_only_layers": [0], "qkv_bias": False, "norm_topk_prob": False})
QWEN3MOE = Family("qwen3moe", hf.Qwen3MoeForCausalLM, qwen3moe_keys,
                  config=RMS | rope(theta=1e6) | {"num_experts": 32, "num_experts_per_tok": 4, "head_dim": 32,
                                                    "moe_intermediate_size": 32, "norm_topk_prob": True})
OLMOE = Family("olmoe", hf.OlmoeForCausalLM, common_keys,
               config=SMALL | rope() | {"num_experts": 16, "num_experts_per_tok": 4, "intermediate_size": 32,
                                        "num_key_value_heads": 4, "norm_topk_prob": False, "rms_norm_eps": 1e-5})
GRANITE_EXPERTS = PAIRED | {
    "block_sparse_moe.router": "ffn_gate_inp",
    "block_sparse_moe.experts.gate_up_proj": lambda c, x: {"ffn_gate_exps": x[:, : x.shape[1] // 2],
                                                           "ffn_up_exps": x[:, x.shape[1] // 2:]},
    "block_sparse_moe.experts.down_proj": "ffn_down_exps",
    "shared_mlp.input_linear": lambda c, x: {"ffn_gate_shexp": x[: len(x) // 2], "ffn_up_shexp": x[len(x) // 2:]},
    "shared_mlp.output_linear": "ffn_down_shexp",
}
GRANITEMOE = Family("granitemoe", hf.GraniteMoeForCausalLM, granitemoe_keys, GRANITE_EXPERTS,
                    config=RMS | rope() | {"num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 32,
                                             "attention_multiplier": 0.375, "embedding_multiplier": 3.0,
                                             "residual_multiplier": 0.5, "logits_scaling": 2.0})
GRANITE_SHARED = Family("granitemoe", hf.GraniteMoeSharedForCausalLM, lambda c: granitemoe_keys(c) | {
    "expert_shared_feed_forward_length": c.shared_intermediate_size}, GRANITE_EXPERTS,
    config=GRANITEMOE.config | {"shared_intermediate_size": 48})


def phimoe_as_read(model):
    """Puts in place what the readers of such files compute, where that is not what transformers does: norms
    without a mean, and shares that are the two best of a softmax, made to sum to 1 (see docs/models.md)."""
    def norm(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight + self.bias

    def route(self, x):
        logits = torch.nn.functional.linear(x, self.weight)
        shares, chosen = logits.softmax(-1).topk(self.top_k)
        return logits, shares / shares.sum(-1, keepdim=True), chosen

    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.forward = MethodType(norm, module)
        if hasattr(module, "router_jitter_noise"):
            module.forward = MethodType(route, module)


SCALE = math.sqrt(1 + math.log(2) / math.log(512))  # of a context of 1024 over 512
PHIMOE = Family("phimoe", hf.PhimoeForCausalLM, phi3_keys, {"mlp.router": "ffn_gate_inp"}, given=phi3_factors,
                adjust=phimoe_as_read,
                config=RMS | longrope(512, 16, short_mscale=SCALE, long_mscale=SCALE) | {
                    "num_local_experts": 8, "num_experts_per_tok": 2, "attention_bias": True, "lm_head_bias": True,
                    "intermediate_size": 32, "sliding_window": None, "max_position_embeddings": 1024,
                    "original_max_position_embeddings": 512})

# ---- gpt-oss, Llama 4 ----------------------------------------------------------------------------


def gpt_oss_keys(c):
    return common_keys(c) | {"attention.sliding_window": c.sliding_window,
                             "expert_feed_forward_length": c.intermediate_size}


def woven(c, x):
    """[E, D, 2F] or biases [E, 2F], gate and up by turns."""
    x = x.swapaxes(1, 2) if x.ndim == 3 else x
    end = ".weight" if x.ndim == 3 else ".bias"
    return {"ffn_gate_exps" + end: x[:, ::2], "ffn_up_exps" + end: x[:, 1::2]}


GPT_OSS = Family("gpt-oss", hf.GptOssForCausalLM, gpt_oss_keys, {
    "self_attn.sinks": "attn_sinks", "post_attention_layernorm": "post_attention_norm", "mlp.router": "ffn_gate_inp",
    "mlp.experts.gate_up_proj": woven, "mlp.experts.gate_up_proj_bias": woven,
    "mlp.experts.down_proj": lambda c, x: {"ffn_down_exps": x.swapaxes(1, 2)},
    "mlp.experts.down_proj_bias": lambda c, x: {"ffn_down_exps.bias": x},
}, config=RMS | {"num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 16, "num_local_experts": 32,
                   "num_experts_per_tok": 4, "intermediate_size": 32, "sliding_window": 64}
                 | rope("yarn", 150000.0, factor=4.0, original_max_position_embeddings=128, beta_fast=8.0,
                        beta_slow=2.0, truncate=False))


def llama4_keys(c):
    return llama_keys(c) | {"feed_forward_length": c.intermediate_size_mlp,
                            "expert_feed_forward_length": c.intermediate_size,
                            "interleave_moe_layer_step": c.interleave_moe_layer_step}


FORWARD = "feed_forward."
LLAMA4 = Family("llama4", hf.Llama4ForCausalLM, llama4_keys, {
    FORWARD + "gate_proj": "ffn_gate", FORWARD + "up_proj": "ffn_up", FORWARD + "down_proj": "ffn_down",
    FORWARD + "router": "ffn_gate_inp",
    FORWARD + "experts.gate_up_proj": lambda c, x: {"ffn_gate_exps": x.swapaxes(1, 2)[:, : x.shape[2] // 2],
                                                    "ffn_up_exps": x.swapaxes(1, 2)[:, x.shape[2] // 2:]},
    FORWARD + "experts.down_proj": lambda c, x: {"ffn_down_exps": x.swapaxes(1, 2)},
    FORWARD + "shared_expert.gate_proj": "ffn_gate_shexp", FORWARD + "shared_expert.up_proj": "ffn_up_shexp",
    FORWARD + "shared_expert.down_proj": "ffn_down_shexp",
}, config=RMS | rope() | {"num_hidden_layers": 4, "head_dim": 16, "intermediate_size": 32,
                            "intermediate_size_mlp": 96, "num_local_experts": 8, "num_experts_per_tok": 1,
                            "interleave_moe_layer_step": 2, "attention_chunk_size": 8192,
                            "use_qk_norm": True, "attn_temperature_tuning": True, "floor_scale": 8192,
                            "attn_scale": 0.1})

# ---- GLM 4.5, dots.llm1 --------------------------------------------------------------------------

GATED = {"mlp.gate.e_score_correction_bias": lambda c, x: {"exp_probs_b.bias": x},
         "mlp.shared_experts.gate_proj": "ffn_gate_shexp", "mlp.shared_experts.up_proj": "ffn_up_shexp",
         "mlp.shared_experts.down_proj": "ffn_down_shexp"}
GATED_CONFIG = RMS | {
    "num_hidden_layers": 3, "head_dim": 32, "n_routed_experts": 16, "num_experts_per_tok": 4, "n_shared_experts": 1,
    "moe_intermediate_size": 32, "first_k_dense_replace": 1, "routed_scaling_factor": 1.5, "n_group": 1,
    "topk_group": 1, "norm_topk_prob": True}


def sigmoid_keys(c):
    return common_keys(c) | {
        "expert_count": c.n_routed_experts, "expert_shared_count": c.n_shared_experts, "expert_gating_func": 2,
        "expert_feed_forward_length": c.moe_intermediate_size, "leading_dense_block_count": c.first_k_dense_replace,
        "expert_weights_scale": float(c.routed_scaling_factor), "expert_weights_norm": True}


def glm4moe_keys(c):
    return sigmoid_keys(c) | {"rope.dimension_count": int(head_size(c) * rope_of(c)["partial_rotary_factor"])}


GLM4_MOE = Family("glm4moe", hf.Glm4MoeForCausalLM, glm4moe_keys, GATED | {
    "post_attention_layernorm": "post_attention_norm"},
    config=GATED_CONFIG | rope(partial_rotary_factor=0.5) | {"attention_bias": True})
DOTS1 = Family("dots1", hf.Dots1ForCausalLM, sigmoid_keys, GATED,
               config=GATED_CONFIG | rope() | {"num_key_value_heads": 4})

# ---- DeepSeek 2 and 3 ----------------------------------------------------------------------------


def deepseek2_keys(c):
    keys = common_keys(c)
    moe = {"expert_count": c.n_routed_experts, "expert_shared_count": c.n_shared_experts,
           "expert_feed_forward_length": c.moe_intermediate_size, "leading_dense_block_count": c.first_k_dense_replace,
           "expert_weights_scale": float(c.routed_scaling_factor)}
    if c.norm_topk_prob:
        moe["expert_weights_norm"] = True
    if of(c, "scoring_func"):
        moe["expert_gating_func"] = {"softmax": 1, "sigmoid": 2}[c.scoring_func]
    mla = {"attention.head_count_kv": 1, "attention.kv_lora_rank": c.kv_lora_rank,
           "attention.key_length": c.kv_lora_rank + c.qk_rope_head_dim, "attention.value_length": c.kv_lora_rank,
           "attention.key_length_mla": c.qk_nope_head_dim + c.qk_rope_head_dim,
           "attention.value_length_mla": c.v_head_dim, "rope.dimension_count": c.qk_rope_head_dim}
    if c.q_lora_rank:
        mla["attention.q_lora_rank"] = c.q_lora_rank
    if "mscale_all_dim" in rope_of(c):
        mla["rope.scaling.yarn_log_multiplier"] = 0.1 * rope_of(c)["mscale_all_dim"]
    return keys | moe | mla


def deepseek2_old_keys(c):
    """Of files from before the keys and values stayed compressed."""
    size = {"attention.head_count_kv": c.num_attention_heads, "attention.value_length": c.v_head_dim,
            "attention.key_length": c.qk_nope_head_dim + c.qk_rope_head_dim, "attention.key_length_mla": None,
            "attention.value_length_mla": None}
    return {k: v for k, v in (deepseek2_keys(c) | size).items() if v is not None}


def mistral4_keys(c):
    return deepseek2_keys(c) | {"attention.temperature_scale": float(rope_of(c)["llama_4_scaling_beta"]),
                                "attention.temperature_length": rope_of(c)["original_max_position_embeddings"]}


def minicpm3_keys(c):
    keys = common_keys(c) | {"attention.q_lora_rank": c.q_lora_rank, "attention.kv_lora_rank": c.kv_lora_rank,
                             "attention.key_length": c.qk_nope_head_dim + c.qk_rope_head_dim,
                             "rope.dimension_count": c.qk_rope_head_dim}
    return {k: v for k, v in keys.items() if k not in ("attention.value_length", "rope.freq_base")}


def halves(c, x):
    """[H * (nope + v), rank] to the part that makes keys, turned round, and the one that makes values."""
    x = x.reshape(c.num_attention_heads, c.qk_nope_head_dim + c.v_head_dim, -1)
    return {"attn_k_b": x[:, : c.qk_nope_head_dim].swapaxes(1, 2), "attn_v_b": x[:, c.qk_nope_head_dim:]}


def one_epsilon(model):
    """Inner norms have a fixed epsilon, which is that of the others in published models; files tell one."""
    for name, module in model.named_modules():
        if name.endswith("_a_layernorm"):
            module.variance_epsilon = model.config.rms_norm_eps


MLA = {"self_attn.q_a_proj": "attn_q_a", "self_attn.q_a_layernorm": "attn_q_a_norm", "self_attn.q_b_proj": "attn_q_b",
       "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa", "self_attn.kv_a_layernorm": "attn_kv_a_norm",
       "self_attn.kv_b_proj": halves, "mlp.gate.e_score_correction_bias": lambda c, x: {"exp_probs_b.bias": x},
       "mlp.shared_experts.gate_proj": "ffn_gate_shexp", "mlp.shared_experts.up_proj": "ffn_up_shexp",
       "mlp.shared_experts.down_proj": "ffn_down_shexp"}
DEEPSEEK_CONFIG = RMS | rope() | {
    "num_hidden_layers": 3, "num_key_value_heads": 4, "kv_lora_rank": 32, "q_lora_rank": None, "qk_nope_head_dim": 24,
    "qk_rope_head_dim": 16, "v_head_dim": 20, "head_dim": 16, "n_routed_experts": 16, "num_experts_per_tok": 4,
    "n_shared_experts": 2, "moe_intermediate_size": 32, "first_k_dense_replace": 1, "routed_scaling_factor": 1.5,
    "n_group": 1, "topk_group": 1}
DEEPSEEK2 = Family("deepseek2", hf.DeepseekV2ForCausalLM, deepseek2_keys, MLA,
                   config=DEEPSEEK_CONFIG | {"topk_method": "greedy", "norm_topk_prob": False}, adjust=one_epsilon)
DEEPSEEK3 = Family("deepseek2", hf.DeepseekV3ForCausalLM, deepseek2_keys, MLA,
                   config=DEEPSEEK_CONFIG | {"norm_topk_prob": True, "n_group": 4, "topk_group": 2,
                                             "rope_interleave": True, "routed_scaling_factor": 2.5,
                                             "scoring_func": "sigmoid"}, adjust=one_epsilon)
DEEPSEEK2_OLD = Family("deepseek2", hf.DeepseekV2ForCausalLM, deepseek2_old_keys,
                       MLA | {"self_attn.kv_b_proj": "attn_kv_b"}, config=DEEPSEEK2.config, adjust=one_epsilon)

MISTRAL4 = Family("mistral4", hf.Mistral4ForCausalLM, mistral4_keys, MLA,
                  config={k: v for k, v in DEEPSEEK_CONFIG.items() if k != "head_dim"} | {
                      "q_lora_rank": 48, "norm_topk_prob": True, "rope_interleave": True, "first_k_dense_replace": 0},
                  adjust=one_epsilon)
MINICPM3 = Family("minicpm3", hf.MiniCPM3ForCausalLM, minicpm3_keys, MLA | {"self_attn.kv_b_proj": "attn_kv_b"},
                  config=RMS | rope(theta=10000.0) | {"num_key_value_heads": 4, "kv_lora_rank": 32, "q_lora_rank": 48,
                                           "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "v_head_dim": 16,
                                           "scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 256},
                  adjust=one_epsilon)

DEEPSEEK_YARN = rope("yarn", factor=4.0, original_max_position_embeddings=128, beta_fast=2.0, beta_slow=0.5,
                     mscale=1.0, mscale_all_dim=1.0)

CASES = [
    Case("mixtral", MIXTRAL),
    Case("mixtral-q4_0", MIXTRAL, {}, {"": Type.Q4_0}, 96, error=1e-6),
    Case("qwen2moe", QWEN2MOE),
    Case("qwen3moe", QWEN3MOE),
    Case("deepseek", DEEPSEEK),
    Case("olmoe", OLMOE),
    Case("granitemoe", GRANITEMOE),
    Case("granitemoe-shared", GRANITE_SHARED),
    Case("phimoe", PHIMOE),
    Case("glm4moe", GLM4_MOE, {"use_qk_norm": True}),
    Case("glm4moe-air", GLM4_MOE, {"use_qk_norm": False}),
    Case("dots1", DOTS1),
    Case("gpt-oss", GPT_OSS),
    Case("gpt-oss-mxfp4", GPT_OSS, {}, {"_exps": Type.MXFP4, "token_embd": Type.BF16, "output.": Type.BF16},
         error=1e-6),
    Case("llama4", LLAMA4),
    Case("deepseek2-lite", DEEPSEEK2),
    Case("deepseek2", DEEPSEEK2, {"q_lora_rank": 48} | DEEPSEEK_YARN),
    Case("deepseek2-groups", DEEPSEEK2, {"q_lora_rank": 48, "n_group": 4, "topk_group": 2,
                                         "topk_method": "group_limited_greedy", "routed_scaling_factor": 16.0}),
    Case("deepseek2-kv_b", DEEPSEEK2_OLD, {"q_lora_rank": 48}),
    Case("deepseek3", DEEPSEEK3, {"q_lora_rank": 48}),
    Case("deepseek3-yarn", DEEPSEEK3, DEEPSEEK_YARN),
    Case("mistral4", MISTRAL4, rope("yarn", factor=4.0, original_max_position_embeddings=128, beta_fast=2.0,
                                    beta_slow=0.5, mscale=1.0, mscale_all_dim=1.0, llama_4_scaling_beta=0.1)),
    Case("minicpm3", MINICPM3),
]
