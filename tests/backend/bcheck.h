/* bcheck.h - what the parts of the backend checker share: one case, its memory, its bounds.
 *
 * A case is a short list of operations that a kind's build() writes down three times with the same random numbers: for
 * nobody, to learn what memory it takes; for the CPU with float32 activations, which is the reference; and for the GPU.
 * All memory of a case that operations read or write is one arena with red zones between its buffers, at the same
 * offsets on both sides; weights and vectors are placed as an engine places them.
 *
 * judge() then says how far each number may be from the reference: bc_margin() of it.  A number without a margin has to
 * be the same, bit for bit. */
#ifndef BCHECK_H
#define BCHECK_H

#include "backend.h"
#include "rng.h"

enum bc_form { BC_EXACT, BC_CODES, BC_TILES, BC_FORMS };
enum bc_side { BC_NOBODY, BC_CPU, BC_GPU, BC_SIDES };
enum bc_role { BC_IN, BC_OUT }; /* must stay as it is; may be written where it has a margin */

enum bc_fill {
    BC_RANDOM,      /* the only one whose rounding errors are held to be independent of each other */
    BC_ZEROS,
    BC_CONSTANT,
    BC_ALTERNATING,
    BC_MIXED,       /* huge and tiny */
    BC_NAN,         /* random, with one that is none */
    BC_FILLS
};

enum {
    BC_MOST_BUFFERS = 24,
    BC_MOST_MADE = 32,
    BC_MOST_OPS = 12,
    BC_MOST_TOKENS = 256,
    BC_MOST_PAGES = 1024,
};

struct bc_buffer {
    const char *name;
    size_t at, bytes; /* in the arena */
    enum bc_role role;
    bool is_kv;       /* rows of a cache: compared as numbers, where they are not the same bytes */
    enum dtype type;
    size_t row_bytes;
    int d;            /* numbers of a row, padded */
    float margin;     /* of these rows: relative to a row's root mean square; beside a step of its type */
};

struct bc_weight {      /* made once, placed for each side */
    struct weight whole; /* as a file has it; data: of the host */
    struct weight w;     /* some rows of each of its matrices, mostly all */
    void *placed[BC_SIDES];
};

struct bc_vector {
    float *v;
    size_t n;
    const float *at[BC_SIDES];
};

struct bc {
    const struct bc_kind *kind;
    int nth;
    enum bc_form form;
    bool long_run;
    enum bc_fill fill;    /* of this case's inputs */
    enum bc_side side;    /* that the operations are written down for */
    int variant;          /* of inputs and batch; weights and shapes do not depend on it */
    struct rng shapes, values, weights;
    struct backend *backend[BC_SIDES];

    char *image, *base;   /* of this side: where its values are written, and their address for operations */
    size_t used;          /* bytes of the arena so far */
    struct bc_buffer buffers[BC_MOST_BUFFERS];
    int n_buffers;
    struct bc_weight made[BC_MOST_MADE];
    struct bc_vector vectors[BC_MOST_MADE];
    int n_made, n_vectors; /* that this pass has asked for */
    size_t weight_bytes;   /* of the GPU */

    struct step step;
    struct op ops[BC_MOST_OPS];
    struct step_limits limits;
    int32_t ids[BC_MOST_TOKENS], pos[BC_MOST_TOKENS], seq[BC_MOST_TOKENS];
    int32_t outputs[BC_MOST_TOKENS], states[BC_MOST_TOKENS], n_kv[BC_MOST_TOKENS], page_table[BC_MOST_PAGES];
    uint8_t generated[BC_MOST_TOKENS];
    float *cs[2];
    int n_seqs, n_ctx;

    const char *before;    /* the CPU's arena as it was before the step, */
    char *after;           /* as it is now, */
    double *margins;       /* and a margin for each float32 number of it */
    char what[240];        /* the case, for messages */
};

struct bc_kind {
    const char *name;
    void (*build)(struct bc *c); /* the step of struct bc, with limits */
    void (*judge)(struct bc *c); /* after the CPU has run; the step is the CPU's */
    int n_cases[BC_FORMS];
    bool hostile; /* takes every fill; otherwise BC_RANDOM alone */
};
extern const struct bc_kind bc_kinds[];
extern const int bc_n_kinds;

/* Ends the program: what is checked here is not at fault. */
_Noreturn void bc_fatal(const struct bc *c, const char *message);
void bc_describe(struct bc *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- making (bc_make.c) ------------------------------------------------------------------ */

int bc_below(struct bc *c, int n);            /* of c->shapes: uniform in [0, n) */
int bc_between(struct bc *c, int low, int high); /* both included */
bool bc_one_in(struct bc *c, int n);
/* A weight type whose blocks divide n_cols: type `nth` of them, or a random one. */
enum dtype bc_nth_dtype(int nth, int n_cols);
enum dtype bc_dtype(struct bc *c, int n_cols);
enum dtype bc_kv_dtype(struct bc *c);

/* Room in the arena, filled with NaN; and numbers in it.  The result is an address of this side. */
void *bc_room(struct bc *c, const char *name, size_t bytes, enum bc_role role);
float *bc_floats(struct bc *c, const char *name, int n_rows, int n, enum bc_role role);
const float *bc_vector(struct bc *c, int n, float mean, float deviation);
struct linear bc_linear(struct bc *c, enum dtype dtype, int n_mats, int n_rows, int n_cols, bool bias);
struct norm bc_norm(struct bc *c, enum norm_kind kind, int n);
enum norm_kind bc_norm_kind(struct bc *c);
void bc_forget_made(struct bc *c); /* gives back all weights and vectors */

/* The batch of this form: n_tokens tokens, up to n_ctx positions.  n_rot: of either rotary table, or 0. */
void bc_batch(struct bc *c, int n_tokens, int n_ctx, const int n_rot[2]);
void bc_outputs(struct bc *c, int n_outputs, int n_states); /* of them, random ones */
/* A cache for that batch; where `filled`, with rows for all positions that sequences have.  n_window: 0, or what a
 * ring has to hold.  Without d_v, values are the first numbers of keys. */
struct kv_layer bc_kv(struct bc *c, int n_heads, int d_k, int d_v, enum dtype type_k, enum dtype type_v, int n_window,
                      bool filled);
struct op *bc_op(struct bc *c, enum op_kind kind);

/* ---- bounds (bc_margin.c) ---------------------------------------------------------------- */

/* The margins of numbers that start at this address of the CPU's arena. */
double *bc_margin(struct bc *c, const float *at);
const float *bc_before(const struct bc *c, const float *at); /* what stood there before the step */

/* y = w norm(x) + bias in double for n rows of the CPU's, and by how much the backend may miss it, by the form in which
 * it multiplies this type: for random numbers seven deviations of the sum of rounding errors and twice the largest of
 * them, otherwise their largest sum; and what float32 sums lose, 64 u sum|w x|.  norm may be NULL. */
void bc_product(struct bc *c, const struct linear *l, int mat, const struct norm *norm, const float *x, int n,
                double *y, double *e);
/* What a product of this type with random numbers may miss, relative to the root mean square of a row of it. */
double bc_relative(const struct bc *c, enum dtype dtype);
/* Gives n_rows rows of n numbers, `stride` apart, margins of factor times the root mean square of each row. */
void bc_by_rms(struct bc *c, const float *at, int n_rows, int n, size_t stride, double factor);
void bc_kv_margin(struct bc *c, double factor); /* the same for rows of caches */

/* ---- kinds ------------------------------------------------------------------------------- */

void bc_build_project(struct bc *c); /* bc_rows.c */
void bc_judge_project(struct bc *c);
void bc_build_glu(struct bc *c);
void bc_judge_glu(struct bc *c);
void bc_build_head(struct bc *c);
void bc_judge_head(struct bc *c);
void bc_build_states(struct bc *c);
void bc_judge_states(struct bc *c);
void bc_build_keep(struct bc *c);
void bc_judge_keep(struct bc *c);
void bc_build_qkv(struct bc *c); /* bc_heads.c */
void bc_judge_qkv(struct bc *c);
void bc_build_attend(struct bc *c);
void bc_judge_attend(struct bc *c);
void bc_build_mla(struct bc *c);
void bc_judge_mla(struct bc *c);
void bc_build_heads(struct bc *c);
void bc_judge_heads(struct bc *c);
void bc_build_moe(struct bc *c); /* bc_moe.c */
void bc_judge_moe(struct bc *c);
void bc_build_layer(struct bc *c);
void bc_judge_layer(struct bc *c);

#endif
