/* hparams.h - the numbers that describe a model, read from metadata and checked once. */
#ifndef HPARAMS_H
#define HPARAMS_H

#include "arch.h"
#include "gguf.h"

enum rope_scaling { ROPE_SCALING_NONE, ROPE_SCALING_LINEAR, ROPE_SCALING_YARN };

struct hparams {
    const struct arch *arch;
    int n_layers;      /* L: block_count */
    int width;         /* D: embedding_length */
    int n_heads;       /* H: attention.head_count */
    int n_kv_heads;    /* K: attention.head_count_kv, H when absent */
    int d_head;        /* d: attention.key_length, D / H when absent; values have the same */
    int ffn_width;     /* F: feed_forward_length */
    int n_vocab;       /* V: rows of the token embedding */
    int n_ctx_train;   /* context_length */
    int n_experts;     /* E: expert_count, 0 for a dense model */
    int n_experts_used; /* expert_used_count */
    int pooling;       /* pooling_type: 1 mean, 2 first (CLS), 3 last; 0: the file says nothing */
    int expert_width;  /* F of one expert: expert_feed_forward_length, or F */
    float norm_eps;    /* attention.layer_norm_rms_epsilon */

    int n_rot;         /* rope.dimension_count, d when absent */
    float rope_base;   /* rope.freq_base, 10000 when absent */
    enum rope_scaling rope_scaling; /* rope.scaling.type */
    float rope_factor;              /* rope.scaling.factor (older: rope.scale_linear) */
    float rope_attn_factor;         /* rope.scaling.attn_factor */
    int rope_original_ctx;          /* rope.scaling.original_context_length */
    float yarn_ext_factor;          /* share of the interpolation blended out at high frequencies: 1 */
    float yarn_beta_fast, yarn_beta_slow;
};

/* REDLINE_SUPPORT names an architecture that has no row; REDLINE_FORMAT a missing or impossible key. */
int hparams_read(struct hparams *out, const struct gguf *g, struct redline_err *err);

#endif
