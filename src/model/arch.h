/* arch.h - what distinguishes one family from another, as a row of a table.
 *
 * One decoder (decoder.c) reads the row.  A metadata key counts only if the row asks for it: files
 * carry many keys that their own family ignores.  A family that fits costs a row here; a property that
 * no row has yet costs a field, and a line where hparams.c, weights.c or the decoder reads it. */
#ifndef ARCH_H
#define ARCH_H

#include <stdbool.h>

#include "step.h"
#include "str.h"

/* Metadata that a family reads beyond what all do; the keys themselves stand in hparams.c. */
enum arch_keys {
    KEY_LOGIT_SCALE = 1 << 0,    /* logits are multiplied by it */
    KEY_LOGIT_DIVISOR = 1 << 1,  /* the same key, logits are divided by it */
    KEY_RESIDUAL_SCALE = 1 << 2,
    KEY_EMBED_SCALE = 1 << 3,
    KEY_ATTN_SCALE = 1 << 4,     /* instead of 1 / sqrt(d) */
    KEY_SOFTCAPS = 1 << 5,       /* of scores and of logits */
    KEY_CLAMP = 1 << 6,          /* of q, k and v */
    KEY_ALIBI = 1 << 7,
    KEY_PARALLEL = 1 << 8,       /* whether attention and feed-forward part read the same stream */
    KEY_WINDOW = 1 << 9,         /* its size, pattern and rotary base */
    KEY_EXPERT_WIDTH = 1 << 10,  /* of one expert; without it, that of the feed-forward part */
    KEY_SHARED_WIDTH = 1 << 11,  /* of the shared expert */
    KEY_SHARED_COUNT = 1 << 12,  /* the shared expert is so many experts wide */
    KEY_DENSE_LEAD = 1 << 13,    /* so many layers before the first with experts */
    KEY_MOE_STEP = 1 << 14,      /* every so many layers one with experts */
    KEY_MOE_GATE = 1 << 15,      /* gating function, renormalisation, groups */
    KEY_SHARE_SCALE = 1 << 16,   /* of the chosen experts' shares */
    KEY_TEMPERATURE = 1 << 17,   /* of attention, growing with the position */
    KEY_YARN_MUL = 1 << 18,      /* what YaRN's temperature is multiplied by */
    KEY_ROPE_SECTIONS = 1 << 19, /* rotary embedding of images' positions; text has one position */
    KEY_LATENT = 1 << 20,        /* ranks and head sizes of latent attention */
    KEY_ROPE_OFF = 1 << 21,      /* rope.scaling.finetuned = false means: no rotary embedding */
    KEY_NEXTN = 1 << 22,         /* so many layers at the end predict further tokens; they are not run */
    KEY_MOE_EVERY = 1 << 23,     /* every so many layers one with experts; without it, or 0: none */
    KEY_ACTIVATION = 1 << 24,    /* of the feed-forward part */
};

enum arch_norms {
    NORMS_BEFORE,    /* norm, part, sum */
    NORMS_AFTER,     /* part, norm, sum */
    NORMS_AROUND,    /* norm, part, norm, sum */
    NORMS_AFTER_SUM, /* part, sum, norm: the original transformer */
};

enum arch_head_norm {
    HEADS_PLAIN,
    HEADS_NORMED,     /* each head of q and k, before the rotary embedding */
    HEADS_NORMED_OPTIONAL, /* the same, where the file has the weights */
    HEADS_OPTIONAL,   /* ... and one set of them for each head */
    HEADS_WHOLE,      /* all heads of q, and of k, together */
    HEADS_WHOLE_OPTIONAL,
    HEADS_UNWEIGHTED, /* each head after the rotary embedding, without weights, in layers that have it */
};

enum arch_parallel {
    PARALLEL_NEVER,
    PARALLEL_ALWAYS,
    PARALLEL_KEY,       /* as the key says; the feed-forward part has a norm of its own */
    PARALLEL_UNNORMED,  /* where the file has no norm for the feed-forward part */
};

enum arch_ffn {
    FFN_GATED,
    FFN_PLAIN,
    FFN_FUSED, /* gate and up in one tensor */
    FFN_FOUND, /* any of the three, by the file's tensors */
};

enum arch_window_rope {
    WINDOW_ROPE_SAME,  /* windowed layers rotate like the others, but may have a base of their own */
    WINDOW_ROPE_PLAIN, /* ... and without scaling */
};

enum arch_no_rope { ROPE_IN_ALL, ROPE_IN_WINDOWED /* layers alone */, ROPE_NOT_IN_FOURTH /* 4, 8, ... */ };

/* Tensors that a family cannot do without; elsewhere they are used where the file has them. */
enum arch_biases {
    BIAS_NORM = 1 << 0,
    BIAS_QKV = 1 << 1,
    BIAS_OUT = 1 << 2,
    BIAS_FFN = 1 << 3,
    BIAS_HEAD = 1 << 4,
    BIAS_EXPERTS = 1 << 5, /* and the router's */
};

struct arch {
    const char *name;    /* general.architecture */
    const char *family;  /* for people */
    unsigned keys;       /* enum arch_keys */
    unsigned biases;     /* enum arch_biases */
    unsigned no_biases;  /* enum arch_biases that are not used even where a file has tensors of that name */
    enum rope_kind rope;
    enum arch_no_rope no_rope;
    enum norm_kind norm;
    enum arch_norms norms;
    enum arch_head_norm head_norm;
    enum arch_parallel parallel;
    enum arch_ffn ffn;
    enum activation act;
    bool encoder;        /* every token sees the whole sequence; there are no logits */
    bool positions;      /* a table of learned positions is needed */
    bool mpt_extras;      /* such a table, and divisors of hidden values, are used where present */
    bool rope_factors;   /* divisors of the rotary frequencies are used where present */
    bool second_norm;    /* a second norm of the stream is used where present: see weights.h */
    bool embed_norm;     /* rows of the embedding are normed */
    bool first_unnormed; /* the first layer may be without a norm before attention */
    bool dense_out;      /* two matrices behind the last norm, where the file has them */
    bool embed_sqrt;     /* and scaled by sqrt(D) */
    bool sinks;          /* of attention */
    bool alibi;          /* 8, without a key */
    bool yarn_unrounded; /* YaRN's ramp begins and ends between pairs */
    bool yarn_mul_all;   /* a multiplier other than 1 holds for both of YaRN's temperatures */
    bool norm_unweighted; /* norms of the stream have no weights */
    bool ffn_halved;     /* feed_forward_length counts gate and up */
    bool ffn_norm_late;  /* the norm of the feed-forward part is called post_attention_norm */
    bool shared_gate;    /* the shared expert is scaled by a sigmoid */

    enum window_kind window;
    int window_size;     /* without a key; 0: the key is needed where window_always */
    int window_period;   /* every so many layers the last is a full one, without a key */
    bool window_late;    /* the first of them, not the last */
    bool window_always;  /* a file without the key has windows too */
    bool window_fixed;   /* a key that is not 0 does not change the size */
    int window_layers;   /* without a pattern, a model with another number of layers has none; 0: any number */
    enum arch_window_rope window_rope;
    float window_base;   /* of rotary angles in windowed layers without a key; 0: that of the others */

    float attn_softcap, logit_softcap; /* without keys */
    bool mup_scales;     /* without keys: embedding 12, residual 1.4 / sqrt(L), logits 256 / D (Hu et al. 2024) */
    bool experts_only;   /* a model without experts does not exist */
    enum moe_gate gating;
    bool renormalize;    /* the chosen experts' shares */
    bool share_input;    /* see struct op_moe */

    int wide_layers;     /* a model with so many layers scales scores by 1 / sqrt(D / H) */
};

/* NULL when there is no such row. */
const struct arch *arch_find(struct str name);

/* Why a known name has no row, as the end of a sentence that begins with it; NULL for other names. */
const char *arch_refusal(struct str name);

/* Row i of the table, NULL past the end. */
const struct arch *arch_at(int i);

#endif
