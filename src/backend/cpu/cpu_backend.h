/* cpu_backend.h - inside the CPU backend: one open device, and one thread's view of a running step.
 *
 * A step is run by the whole team at once (team.h): every member walks the list of operations and does
 * its share of each; barriers stand where one member reads what another wrote.  Scratch memory is laid
 * out once by cpu_backend.c and belongs to the device, not to an operation. */
#ifndef CPU_BACKEND_H
#define CPU_BACKEND_H

#include "backend.h"
#include "cpu_pace.h"
#include "cpu_store.h"
#include "kern.h"
#include "team.h"

enum {
    ATTN_PIECE = 8 * KV_PAGE, /* positions per partial result of attention */
    PASSING = 2,              /* strips that are packed for the moment */
    /* Tokens that share one pass over a page: this many, but no more than make so many queries; and these
     * where there is little to do for a thread. */
    ATTN_TOKENS = 32,
    ATTN_QUERIES = 128,
    ATTN_FEW_TOKENS = 8,
};

struct cpu_scratch {
    float *norm;          /* [T, D or q_rank] normed rows */
    struct act_q8 *q8;    /* [T, T * used or T * H, blocks] rows as 8-bit activations */
    char *bf16;           /* as many rows of BF16 numbers, where some product wants them */
    uint8_t *generated;   /* as many: what kind of token each belongs to */
    uint8_t *kept;        /* [n_outputs] the same of tokens that KEEP has left */
    float *rows;          /* [n, D or F] gathered or intermediate rows of head and MoE */
    float *k, *v;         /* [T, K d] before they go to the cache */
    float *q_latent;      /* [T, q_rank] */
    float *kv_latent;     /* [T, kv_rank + n_rot] */
    float *expanded;      /* [T, H (d_nope + n_rot)] queries before absorption */
    float *up;            /* [T * used, F] */
    float *hidden;        /* [T * used, F] of MoE */
    float *router;        /* [T, E]; [T] shares of the shared expert */
    int32_t *chosen;      /* [T, used] experts by falling probability */
    float *share;         /* [T, used] their weights */
    int32_t *slot_of;     /* [T, used] row in expert order */
    int32_t *token_of;    /* [T * used] the other way */
    int32_t *expert_first; /* [E + 1] first row of each expert */
    int32_t *wanted;       /* [1 + E] how many experts have rows, and which */
    char *strip;          /* per member: PASSING of the widest weight, packed for the moment */
    size_t strip_bytes;   /* of one member */
    float *attn;          /* per member: queries, scores, running and partial state */
    size_t attn_floats;   /* of one member */
    float *partial;       /* [T K G pieces, 2 + d] when pieces are shared out */
};

struct cpu_backend {
    struct backend base;
    struct team *team;
    int n_threads;
    bool adapt;
    struct pace pace;
    _Atomic int n_used;   /* threads of the last step; asked for by any thread */
    struct store store;   /* of weights */
    bool packed;          /* some of them, in the last forward pass */
    uint64_t pass_ns, pass_slept_ns; /* of the parts of a pass so far */
    int pass_tokens;
    struct backend_count *counts; /* [limits.n_layers + 1], owned */
    const struct backend_watch *watch; /* or NULL */
    const struct kern_ops *kern;
    bool exact;
    struct step_limits limits;
    struct cpu_scratch scratch;
    void *scratch_memory; /* all of the above */
    size_t scratch_bytes;
    const struct step *step; /* the one that is running */
};

struct cpu_member { /* one thread inside a step */
    struct cpu_backend *b;
    const struct kern_ops *kern;
    const struct step_batch *batch;
    struct team *team;
    int id;
};

/* Activations in the forms that products want: float32 rows and, where some weight needs them, the same rows in
 * 8 bits or as BF16 numbers.  Rows of generated tokens are multiplied by the kernels that suit few tokens; all others
 * by those that suit many, where there are such: what shares a batch with a row never decides about it. */
enum cpu_form {
    FORM_Q8 = 1,      /* of rows of generated tokens */
    FORM_Q8_TEXT = 2, /* of all others */
    FORM_BF16 = 4,    /* of all others */
};

struct cpu_rows {
    const float *f32;
    size_t f32_stride; /* floats */
    const struct act_q8 *q8;
    size_t q8_stride;  /* bytes */
    const char *bf16;  /* see kern.h, mm_tiles */
    size_t bf16_stride; /* bytes */
    const uint8_t *generated; /* by row */
    size_t generated_stride;
    int n_tokens;
};

/* From row to row of n activations in 8 bits, and of n BF16 numbers: an odd number of cache lines. */
static inline size_t cpu_q8_bytes(size_t n)
{
    return (n + STRIP_CHUNK - 1) / STRIP_CHUNK * sizeof(struct act_q8);
}

static inline size_t cpu_bf16_bytes(size_t n)
{
    return (n + STRIP_CHUNK - 1) / STRIP_CHUNK * STRIP_CHUNK * sizeof(uint16_t) + 64;
}

/* cpu_mm.c */
/* The kernel of texts for a type, where the processor has one beside that of single tokens; products of F32 stay in
 * F32, and none is exact. */
kern_mm_fn *cpu_tile_kernel(const struct cpu_backend *b, enum dtype dtype);
/* Forms that products of w read beside float32. */
unsigned cpu_wants(const struct cpu_backend *b, const struct weight *w);
/* Writes rows [first, last) of all tokens to y (y_stride floats a token); mat chooses an expert.  The
 * bias is added.  x->n_tokens may be 0. */
void cpu_mm(const struct cpu_member *m, const struct linear *w, int mat, const struct cpu_rows *x,
            int first, int last, float *y, size_t y_stride);
/* How many of n_tokens rows [first, last) are multiplied with at a time: who takes no more finds what was just written
 * in the cache. */
int cpu_pass_tokens(const struct cpu_member *m, const struct linear *w, int mat, int first, int last, int n_tokens);
/* Rows to prepare: row i is x + (index ? index[i] : i) * stride, n floats.  It belongs to token token[i]; where
 * that is NULL, to index[i] or i / per_token. */
struct cpu_source {
    const float *x;
    const int32_t *index;
    size_t stride;
    int n_rows, n;
    const int32_t *token;
    int per_token;
};
/* The members together: norm rows and bring them into these forms; ends with a barrier. */
struct cpu_rows cpu_prepare(const struct cpu_member *m, const struct cpu_source *from, const struct norm *norm,
                            unsigned forms);
/* Rows from `first` on, n of them, every `step`-th. */
struct cpu_rows cpu_rows_of(const struct cpu_rows *all, int first, int n, int step);
/* y = norm of x; y may be x. */
void cpu_norm_row(const struct kern_ops *kern, const struct norm *norm, float *y, const float *x, size_t n);
/* The kernel of an activation. */
enum kern_act cpu_act(enum activation act);
/* A number of rows per work item, where the members share n_rows: a multiple of grain and of STRIP. */
int cpu_chunk(const struct cpu_member *m, int n_rows, int grain);
/* for (int first, last; cpu_next_rows(...);): the items of n_rows, as team_next() hands them out. */
bool cpu_next_rows(const struct cpu_member *m, int n_rows, int chunk, int *first, int *last);

/* Address of position batch->pos[t] of head h in a layer's key or value pages. */
char *cpu_kv_slot(const struct cpu_member *m, const struct kv_layer *kv, char *pages, size_t page_bytes,
                  size_t row_bytes, int t, int h);
/* A key or value of d numbers into the cache. */
void cpu_kv_store(const struct cpu_member *m, enum dtype type, char *slot, const float *head, int d);
/* One head, rotated in place as token t's position says. */
void cpu_rotate(const struct cpu_member *m, const struct rotary *rope, float *head, int t);
/* What queries of token t are scaled by; see struct op_qkv. */
float cpu_temperature(const struct cpu_member *m, float scale, float offset, int length, int t);

/* cpu_ops.c, cpu_qkv.c, cpu_mla.c, cpu_attn.c, cpu_moe.c: one function per operation; none ends with a barrier, the
 * caller puts one after each. */
void cpu_op_embed(const struct cpu_member *m, const struct op_embed *op);
void cpu_op_qkv(const struct cpu_member *m, const struct op_qkv *op);
void cpu_op_mla(const struct cpu_member *m, const struct op_mla *op);
void cpu_op_heads(const struct cpu_member *m, const struct op_heads *op);
void cpu_op_attend(const struct cpu_member *m, const struct op_attend *op);
void cpu_op_project(const struct cpu_member *m, const struct op_project *op);
void cpu_op_glu(const struct cpu_member *m, const struct op_glu *op);
void cpu_op_moe(const struct cpu_member *m, const struct op_moe *op);
void cpu_op_head(const struct cpu_member *m, const struct op_head *op);
void cpu_op_states(const struct cpu_member *m, const struct op_states *op);
void cpu_op_dense(const struct cpu_member *m, const struct op_dense *op);

/* Floats of scratch that cpu_op_attend needs per member, and for shared partial results. */
size_t cpu_attn_member_floats(const struct step_limits *l);
size_t cpu_attn_partial_floats(const struct step_limits *l, int n_threads);

#endif
