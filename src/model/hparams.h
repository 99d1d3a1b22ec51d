/* hparams.h - the numbers that describe a model, read from metadata and checked once. */
#ifndef HPARAMS_H
#define HPARAMS_H

#include "arch.h"
#include "gguf.h"

enum { HPARAMS_MAX_LAYERS = 4096 };

enum rope_scaling { ROPE_SCALING_NONE, ROPE_SCALING_LINEAR, ROPE_SCALING_YARN, ROPE_SCALING_LONGROPE };

struct hparams {
    const struct arch *arch;
    int n_layers;      /* L: block_count, less those that predict further tokens */
    int n_layers_ahead; /* nextn_predict_layers */
    int width;         /* D: embedding_length */
    int n_heads;       /* H: attention.head_count */
    int n_kv_heads;    /* K: attention.head_count_kv, H when absent */
    int d_k, d_v;      /* attention.key_length, value_length; D / H when absent */
    int ffn_width;     /* F: feed_forward_length */
    int n_vocab;       /* V: rows of the token embedding */
    int n_ctx_train;   /* context_length */
    bool encoder;      /* every token sees the whole sequence: by family, or attention.causal; no logits then */
    enum activation act;
    int embed_width;   /* numbers of an embedding: D, or rows of dense_3 */
    int dense_width;   /* rows of dense_2, 0 without it */
    int n_experts;     /* E: expert_count, 0 for a dense model */
    int n_experts_used; /* expert_used_count */
    int expert_width;  /* F of one expert */
    int shared_width;  /* F of the shared expert, 0 without one */
    int n_dense_lead;  /* layers before the first with experts */
    int moe_step;      /* every so many layers one with experts; 1: all */
    int pooling;       /* pooling_type: 1 mean, 2 first (CLS), 3 last, 4 the score of a reranker; 0: the file says
                          nothing */
    float norm_eps;    /* attention.layer_norm_rms_epsilon or layer_norm_epsilon */

    enum moe_gate gating;
    bool renormalize;
    int n_groups, n_groups_used;
    float share_scale;

    float embed_scale, residual_scale, logit_scale; /* factors; 1 when there are none */
    float attn_scale;
    float attn_softcap, logit_softcap;
    float clamp;       /* of q, k and v; 0: none */
    float alibi;       /* 0: none */
    bool parallel;     /* by key; see arch.h */
    float temp_scale, temp_offset; /* see struct op_qkv */
    int temp_length;

    enum window_kind window;
    int n_window;
    uint64_t windowed[HPARAMS_MAX_LAYERS / 64]; /* a bit for each layer that has the window */

    /* Latent attention; kv_rank 0: there is none. */
    int q_rank, kv_rank, d_nope, d_v_head;
    bool absorbed;     /* the file has the tensors for it */

    int n_rot;         /* rope.dimension_count, d when absent */
    float rope_base;   /* rope.freq_base, 10000 when absent */
    float rope_base_window;         /* of windowed layers: rope.freq_base_swa */
    enum rope_scaling rope_scaling; /* rope.scaling.type */
    float rope_factor;              /* rope.scaling.factor (older: rope.scale_linear) */
    float rope_attn_factor;         /* rope.scaling.attn_factor */
    int rope_original_ctx;          /* rope.scaling.original_context_length */
    enum rope_kind rope;
    int rope_sections[4];           /* pairs of each kind of position; those of the last do not turn */
    float yarn_ext_factor;          /* share of the interpolation blended out at high frequencies: 1 */
    float yarn_beta_fast, yarn_beta_slow;
    float yarn_mul;                 /* rope.scaling.yarn_log_multiplier; 0: none */
};

/* REDLINE_SUPPORT names an architecture that has no row; REDLINE_FORMAT a missing or impossible key. */
int hparams_read(struct hparams *out, const struct gguf *g, struct redline_err *err);

/* What a layer is. */
bool hparams_windowed(const struct hparams *h, int layer);
bool hparams_has_experts(const struct hparams *h, int layer);
bool hparams_rotates(const struct hparams *h, int layer);

/* What the cache holds of a position: heads, and the numbers of one key and of one value. */
struct kv_shape {
    int n_heads, d_k, d_v;
    bool shared; /* values are the beginning of keys */
};
struct kv_shape hparams_kv_shape(const struct hparams *h);

#endif
