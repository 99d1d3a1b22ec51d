/* mix.c - the rules of the mixtures, as tables.
 *
 * A tensor's name gives its role; the first rule for this role whose condition holds gives its type.
 * Conditions and their order are those of llama.cpp's quantisation (llama-quant.cpp, 2026), where they
 * were found by measuring perplexity: values of attention and the second matrix of the feed-forward
 * part suffer most from few bits, first and last layers more than those between. */
#define _GNU_SOURCE
#include "mix.h"

#include <ctype.h>
#include <stdlib.h>

#include "base.h"

enum mix_id { F32, F16, BF16, Q8_0, Q6_K, Q5_K_M, Q4_K_M, Q4_K_S, Q4_0, MXFP4, MIX_COUNT };

/*                   name      base         general.file_type */
static const struct mix mixes[MIX_COUNT] = {
    [F32] =    {"F32",    DTYPE_F32,   0},
    [F16] =    {"F16",    DTYPE_F16,   1},
    [BF16] =   {"BF16",   DTYPE_BF16,  32},
    [Q8_0] =   {"Q8_0",   DTYPE_Q8_0,  7},
    [Q6_K] =   {"Q6_K",   DTYPE_Q6_K,  18},
    [Q5_K_M] = {"Q5_K_M", DTYPE_Q5_K,  17},
    [Q4_K_M] = {"Q4_K_M", DTYPE_Q4_K,  15},
    [Q4_K_S] = {"Q4_K_S", DTYPE_Q4_K,  14},
    [Q4_0] =   {"Q4_0",   DTYPE_Q4_0,  2},
    [MXFP4] =  {"MXFP4",  DTYPE_MXFP4, 38}, /* experts alone; the rest is Q8_0 */
};

/* What else people say. */
static const struct {
    const char *name;
    enum mix_id mix;
} aliases[] = {{"Q4_K", Q4_K_M}, {"Q5_K", Q5_K_M}, {"MXFP4_MOE", MXFP4}};

const struct mix *mix_at(size_t i)
{
    return i < COUNT_OF(mixes) ? &mixes[i] : NULL;
}

static bool same_letters(struct str a, const char *b)
{
    size_t i = 0;
    while (i < a.n && b[i] && toupper((unsigned char)a.p[i]) == b[i]) i++;
    return i == a.n && !b[i];
}

const struct mix *mix_find(struct str name)
{
    for (size_t i = 0; i < COUNT_OF(mixes); i++)
        if (same_letters(name, mixes[i].name)) return &mixes[i];
    for (size_t i = 0; i < COUNT_OF(aliases); i++)
        if (same_letters(name, aliases[i].name)) return &mixes[aliases[i].mix];
    return NULL;
}

/* ---- names -------------------------------------------------------------------------------------
 */

static bool contains(struct str s, const char *part)
{
    return memmem(s.p, s.n, part, strlen(part)) != NULL;
}

/* The N of "blk.N."; -1 for a tensor of no layer. */
static int layer_of(struct str name)
{
    size_t i = 4;
    int layer = 0;
    if (!str_starts(name, STR("blk."))) return -1;
    for (; i < name.n && isdigit((unsigned char)name.p[i]) && i < 4 + 6; i++)
        layer = 10 * layer + (name.p[i] - '0');
    return i > 4 && i < name.n && name.p[i] == '.' ? layer : -1;
}

int mix_compare(const void *a, const void *b)
{
    const struct mix_tensor *x = a, *y = b;
    int lx = layer_of(x->name), ly = layer_of(y->name);
    if (lx != ly) return lx < ly ? -1 : 1;
    int order = memcmp(x->name.p, y->name.p, MIN(x->name.n, y->name.n));
    if (order) return order;
    return x->name.n < y->name.n ? -1 : x->name.n > y->name.n;
}

/* Matrices that stay as they are: small, and of more weight than their size. */
static const char *const kept[] = {
    "_norm.weight",       "ffn_gate_inp.weight",    "ffn_gate_tid2eid.weight", "altup",
    "laurel",             "per_layer_model_proj",   "ssm_conv1d",              "shortconv.conv.weight",
    "indexer.k_proj.weight", "indexer.q_proj.weight", "time_mix_first.weight", "time_mix_w0.weight",
    "time_mix_w1.weight", "time_mix_w2.weight",     "time_mix_v0.weight",      "time_mix_v1.weight",
    "time_mix_v2.weight", "time_mix_a0.weight",     "time_mix_a1.weight",      "time_mix_a2.weight",
    "time_mix_g1.weight", "time_mix_g2.weight",     "time_mix_decay_w1.weight", "time_mix_decay_w2.weight",
    "attn_rel_b.weight",  "time_mix_lerp_fused.weight", ".position_embd",      "sam.pos_embd",
    "sam.neck.",          "sam.net_",               ".rel_pos",                ".patch_embd",
    ".patch_merger",      "a.rvq.codebook",         "mm.a.code_embd",
};

static bool is_vector(const struct mix_tensor *t)
{
    return t->shape[1] == 1 && t->shape[2] == 1 && t->shape[3] == 1;
}

static bool is_kept(const struct mix_tensor *t)
{
    if (is_vector(t) || !str_ends(t->name, STR("weight"))) return true;
    if (str_eq(t->name, STR("position_embd.weight")) || str_eq(t->name, STR("token_types.weight"))) return true;
    for (size_t i = 0; i < COUNT_OF(kept); i++)
        if (contains(t->name, kept[i])) return true;
    return false;
}

/* ---- roles -------------------------------------------------------------------------------------
 */

enum role { OTHER, HEAD, EMBEDDING, VALUE, KEY, ATTENTION_OUT, FFN_DOWN, ROLE_COUNT };

static const struct {
    const char *part;
    enum role role;
} roles[] = {
    /* the first that the name contains */
    {"attn_qkv.weight", VALUE},
    {"attn_kv_b.weight", VALUE},
    {"attn_v.weight", VALUE},
    {"attn_k.weight", KEY},
    {"attn_output.weight", ATTENTION_OUT},
    {"ffn_down", FFN_DOWN},
};

static enum role role_of(struct str name)
{
    if (str_eq(name, STR("output.weight"))) return HEAD;
    if (str_eq(name, STR("token_embd.weight")) || str_eq(name, STR("per_layer_token_embd.weight")))
        return EMBEDDING;
    for (size_t i = 0; i < COUNT_OF(roles); i++)
        if (contains(name, roles[i].part)) return roles[i].role;
    return OTHER;
}

/* ---- conditions --------------------------------------------------------------------------------
 */

struct place { /* one tensor among those of its role */
    const struct mix_model *model;
    const struct mix_tensor *tensor;
    enum dtype base;
    int i, n; /* the i-th of n; for FFN_DOWN n is the number of layers */
};

typedef bool condition(const struct place *p);

static bool always(const struct place *p)
{
    (void)p;
    return true;
}

static bool falcon(const struct place *p)
{
    return str_eq(p->model->arch, STR("falcon"));
}

static bool odd_width(const struct place *p)
{
    return p->tensor->shape[0] % dtype_info(p->base)->block_n != 0;
}

/* The first and the last eighth, and every third between. */
static bool more_bits(const struct place *p)
{
    return p->i < p->n / 8 || p->i >= 7 * p->n / 8 || (p->i - p->n / 8) % 3 == 2;
}

static bool first_eighth(const struct place *p)
{
    return p->i < p->n / 8 && !falcon(p);
}

/* With an importance matrix, the guard against these layers going astray. */
static bool first_eighth_weighted(const struct place *p)
{
    return p->model->weighted && p->i < p->n / 8;
}

static bool first_four(const struct place *p)
{
    return p->i < 4;
}

static bool falcon_first(const struct place *p)
{
    return falcon(p) && p->i < p->n / 16;
}

static bool falcon_more(const struct place *p)
{
    return falcon(p) && more_bits(p);
}

static bool eight_experts(const struct place *p)
{
    return p->model->n_experts == 8;
}

static bool eight_experts_not_falcon(const struct place *p)
{
    return eight_experts(p) && !falcon(p);
}

static bool of_experts(const struct place *p)
{
    return p->tensor->shape[2] > 1;
}

/* The 70B class, where eight heads share their values: these matrices are small, bits cost little. */
static bool shared_values(const struct place *p)
{
    static const struct {
        const char *arch;
        int n_layers;
        bool grouped; /* only with fewer KV heads than heads */
    } large[] = {{"llama", 80, true}, {"qwen2", 80, false}, {"deci", 80, false}, {"olmo", 80, false},
                 {"jais2", 68, false}};
    const struct mix_model *m = p->model;
    for (size_t i = 0; i < COUNT_OF(large); i++)
        if (str_eq(m->arch, str_of(large[i].arch)) && m->n_layers == large[i].n_layers)
            return !large[i].grouped || m->n_heads != m->n_kv_heads;
    return false;
}

/* ---- rules -------------------------------------------------------------------------------------
 */

#define IN(mix) (1u << (mix))

static const struct rule {
    unsigned mixes; /* bits; 0: every mixture of quantised types */
    enum role role; /* ROLE_COUNT: any */
    condition *when;
    enum dtype type;
} rules[] = {
    {IN(MXFP4), HEAD, always, DTYPE_Q8_0},
    {IN(Q8_0), HEAD, always, DTYPE_Q8_0},
    {0, HEAD, falcon, DTYPE_Q8_0},
    {0, HEAD, odd_width, DTYPE_Q8_0},
    {0, HEAD, always, DTYPE_Q6_K},

    {IN(MXFP4), ROLE_COUNT, of_experts, DTYPE_MXFP4},
    {IN(MXFP4), ROLE_COUNT, always, DTYPE_Q8_0},

    {0, VALUE, eight_experts, DTYPE_Q8_0},
    {IN(Q4_K_M) | IN(Q5_K_M), VALUE, more_bits, DTYPE_Q6_K},
    {IN(Q4_K_S), VALUE, first_four, DTYPE_Q5_K},
    {IN(Q4_K_M) | IN(Q4_K_S), VALUE, shared_values, DTYPE_Q5_K},

    {0, KEY, eight_experts, DTYPE_Q8_0},

    {IN(Q4_K_M), FFN_DOWN, falcon_first, DTYPE_Q6_K},
    {IN(Q4_K_M), FFN_DOWN, falcon_more, DTYPE_Q5_K},
    {IN(Q4_K_M), FFN_DOWN, falcon, DTYPE_Q4_K},
    {IN(Q4_K_M) | IN(Q5_K_M), FFN_DOWN, more_bits, DTYPE_Q6_K},
    {IN(Q4_K_S), FFN_DOWN, first_eighth, DTYPE_Q5_K},
    {IN(Q4_0), FFN_DOWN, first_eighth_weighted, DTYPE_Q4_1},

    {IN(Q4_K_M) | IN(Q4_K_S), ATTENTION_OUT, eight_experts_not_falcon, DTYPE_Q5_K},
};

static enum dtype by_rules(const struct mix *mix, enum role role, const struct place *p)
{
    unsigned bit = IN(mix - mixes);
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        const struct rule *r = &rules[i];
        bool fits = (!r->mixes || r->mixes & bit) && (r->role == ROLE_COUNT || r->role == role);
        if (fits && r->when(p)) return r->type;
    }
    return mix->base;
}

/* For rows that are no multiple of the block: of 256 to one of 32, of 32 to none. */
static enum dtype fallback(enum dtype wanted, uint64_t width)
{
    static const struct {
        enum dtype wanted, instead;
    } steps[] = {{DTYPE_Q4_K, DTYPE_Q5_0}, {DTYPE_Q5_K, DTYPE_Q5_1}, {DTYPE_Q6_K, DTYPE_Q8_0}};
    for (size_t i = 0; i < COUNT_OF(steps) && width % dtype_info(wanted)->block_n != 0; i++)
        if (steps[i].wanted == wanted) wanted = steps[i].instead;
    return width % dtype_info(wanted)->block_n == 0 ? wanted : DTYPE_F16;
}

void mix_assign(const struct mix *mix, const struct mix_model *model, struct mix_tensor *tensors, size_t n)
{
    int n_of[ROLE_COUNT] = {0}, i_of[ROLE_COUNT] = {0};
    bool tied = true;
    for (size_t i = 0; i < n; i++) {
        enum role role = role_of(tensors[i].name);
        n_of[role]++;
        tied = tied && role != HEAD;
    }
    n_of[FFN_DOWN] = model->n_layers;
    for (size_t i = 0; i < n; i++) {
        struct mix_tensor *t = &tensors[i];
        t->to = t->from;
        t->fell_back = false;
        if (is_kept(t)) continue;
        t->to = mix->base;
        if (!dtype_info(mix->base)->is_quantized) continue;
        enum role role = role_of(t->name);
        /* experts may be missing from a layer, so that counting would not give its number */
        int at = role == FFN_DOWN && model->n_experts > 1 ? layer_of(t->name) : i_of[role];
        struct place place = {model, t, mix->base, at, n_of[role]};
        enum dtype wanted = by_rules(mix, role == EMBEDDING && tied ? HEAD : role, &place);
        t->to = fallback(wanted, t->shape[0]);
        t->fell_back = t->to != wanted;
        i_of[role]++;
    }
}
