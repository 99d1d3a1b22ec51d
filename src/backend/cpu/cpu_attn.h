/* cpu_attn.h - inside attention: what its two ways share, sums in float32 and products of BF16. */
#ifndef CPU_ATTN_H
#define CPU_ATTN_H

#include "cpu_backend.h"

/* From query to query: rows whose beginnings lie in different sets of a cache. */
enum { SCORE_STRIDE = ATTN_PIECE + 16 };

struct group { /* queries that walk the cache together: consecutive tokens of one sequence and of one kind */
    int token, n_tokens;
};

struct state { /* of n queries */
    float *m, *l;  /* [n] */
    float *o;      /* [n, d_v] */
};

struct work { /* a member's scratch, and what it works on */
    const struct cpu_member *member;
    const struct op_attend *op;
    int n_share;   /* G = H / K, query heads per KV head */
    int d_k, d_v;  /* numbers of a row of the cache, its padding included: of queries and sums here too */
    float *q;      /* [n, d_k], times the scale of scores */
    float *scores; /* [n, SCORE_STRIDE] of a piece, in place of its probabilities */
    struct state running, piece;
    char *tiles;   /* cpu_attn_tile_bytes() for cpu_attn_tiles.c, on a cache line */
};

/* What a token at `pos` sees: positions [from, to) of its sequence, which has n_kv. */
struct sight {
    int from, to;
};

/* Of some tokens of a group: what any of them sees, and what every one does. */
struct group_sight {
    struct sight any, all;
};

/* A pass over a piece, page by page: scores of its keys, or sums of its values. */
struct pass {
    const struct work *w;
    struct group g;
    int head, start; /* first position of the piece */
    const struct state *state;
    bool values;
    const char *next; /* what the page after this one begins with, or NULL */
};

/* cpu_attn.c */
struct sight cpu_attn_sight(const struct work *w, int token);
struct group_sight cpu_attn_group_sight(const struct work *w, struct group g);
/* Position `at` of a sequence, in the keys or values of one head; rows of a page follow one another. */
const char *cpu_attn_row(const struct pass *p, bool values, int at);
/* Scores of a piece, positions [from, to), to probabilities. */
void cpu_attn_soften(const struct pass *p, int from, int to);

/* cpu_attn_tiles.c */
size_t cpu_attn_tile_bytes(const struct step_limits *l, int n_queries);
/* Whether the queries of this pass are a text's, and the processor and the cache's types let them go in BF16. */
bool cpu_attn_takes_tiles(const struct pass *p);
/* The piece from position p->start on, of which [from, to) is seen by some query, into p->state. */
void cpu_attn_tiles(const struct pass *p, int from, int to);

#endif
