/* cuda_mv.cu - products of few rows: what goes out together, and the form of activations that it wants. */
#include "cuda_mv.cuh"

#include <string.h>

enum { ROUND_THREADS = 256 };

/* ---- rows for those that do not make their own -------------------------------------------------------- */

/* Block (part, row): a row that is normed is one part. */
template <int W>
static __global__ void round_rows(struct mv_record *to, struct norm norm, const float *x, size_t stride, int n_cols,
                                  bool mixed)
{
    __shared__ double partial[32];
    struct by_block block = {partial};
    grid_release();
    grid_wait();
    x += blockIdx.y * stride;
    struct unit u = unit_of<W>(norm, x, n_cols, block);
    int n_warps = (int)blockDim.x / 32;
    mv_round_row<W>(to + blockIdx.y * (size_t)(n_cols / 32), n_cols, mixed, norm, u, x,
                    (int)blockIdx.x * n_warps + (int)threadIdx.x / 32, (int)gridDim.x * n_warps);
}

static const struct norm *norm_of(const struct cuda_product *p)
{
    static const struct norm none = {};
    return p->norm ? p->norm : &none;
}

/* Rows of x that there are. */
static int n_rows_of_x(const struct cuda_product *p)
{
    return p->x_of_token ? p->n / p->n_used : p->n;
}

static bool four_at_a_time(const struct cuda_product *p)
{
    return by_four(p->x) && (p->x_stride % 4 == 0 || n_rows_of_x(p) == 1);
}

/* Of types whose codes are looked up, see strip.cuh. */
static bool is_mixed(enum dtype dtype)
{
    return dtype == DTYPE_MXFP4 || dtype == DTYPE_IQ4_NL || dtype == DTYPE_IQ4_XS;
}

/* scratch.bf16 has room for two bytes a number, and these are as many. */
static void round_before(struct cuda_run *run, struct mv *a, const struct cuda_product *p, enum dtype dtype)
{
    const struct norm *norm = norm_of(p);
    bool four = four_at_a_time(p) && norm_by_four(norm);
    int of_block = (four ? 4 : 1) * ROUND_THREADS;
    unsigned n_parts = norm->kind == NORM_NONE ? (unsigned)((a->n_cols + of_block - 1) / of_block) : 1;
    struct mv_record *to = (struct mv_record *)(void *)run->b->scratch.bf16;
    device_launch(run->d, "rounding rows to 8 bits", four ? round_rows<4> : round_rows<1>,
                  dim3(n_parts, (unsigned)n_rows_of_x(p)), dim3(ROUND_THREADS), 0, to, *norm, p->x, p->x_stride,
                  a->n_cols, is_mixed(dtype));
    a->x = to;
    a->x_bytes = mv_codes_bytes(a->n_cols);
}

/* As far apart as they are. */
static void norm_before(struct cuda_run *run, struct mv *a, const struct cuda_product *p)
{
    float *to = run->b->scratch.norm;
    cuda_norm(run, p->norm, to, p->x, p->x_stride, n_rows_of_x(p), a->n_cols);
    a->x = to;
    a->by_four = p->x_stride % 4 == 0 || n_rows_of_x(p) == 1;
}

/* Activations in the form that the weight type wants, made now or by the blocks themselves. */
static void bring(struct cuda_run *run, struct mv *a, const struct cuda_product *p, enum dtype dtype)
{
    const struct norm *norm = norm_of(p);
    bool normed = norm->kind != NORM_NONE, codes = dtype_info(dtype)->is_quantized;
    bool one = p->n == 1 || a->by_row; /* row to a block */
    a->by_four = four_at_a_time(p) && a->n_cols % 4 == 0;
    a->own = one && a->by_four && a->n_cols <= MV_OWN_COLS && norm_by_four(norm);
    a->x = p->x;
    a->x_bytes = p->x_stride * sizeof(float);
    a->norm = *norm;
    if (a->own) return;
    if (codes)
        round_before(run, a, p, dtype);
    else if (normed)
        norm_before(run, a, p);
}

/* ---- what goes out together --------------------------------------------------------------------------- */

static bool same_norm(const struct cuda_product *a, const struct cuda_product *b)
{
    const struct norm *m = norm_of(a), *n = norm_of(b);
    return m->kind == n->kind && m->eps == n->eps && m->weight == n->weight && m->bias == n->bias;
}

static bool together(const struct cuda_product *a, const struct cuda_product *b)
{
    return a->w->w.dtype == b->w->w.dtype && a->w->w.n_cols == b->w->w.n_cols && a->x == b->x &&
           a->x_stride == b->x_stride && a->n == b->n && same_norm(a, b) && a->x_scale == b->x_scale &&
           a->after == b->after && a->scale == b->scale && a->act == b->act && a->experts == b->experts &&
           a->heads == b->heads && a->x_of_token == b->x_of_token && a->n_used == b->n_used;
}

static struct mv_side side_of(const struct mv *a, const struct mv_job *job, const struct cuda_product *p,
                              const struct linear *l)
{
    size_t mat = (size_t)(p->experts ? 0 : p->mat);
    struct mv_side side = {(const char *)l->w.placed + mat * (size_t)job->n_strips * a->strip_bytes, l->bias};
    if (side.bias) side.bias += mat * (size_t)l->w.n_rows;
    return side;
}

static void add_job(struct mv *a, const struct cuda_product *p, const struct linear *w, const struct linear *pair)
{
    struct mv_job *job = &a->job[a->n_jobs++];
    job->out = p->out;
    job->out_stride = p->out_stride;
    job->n_rows = w->w.n_rows;
    job->n_strips = (w->w.n_rows + STRIP - 1) / STRIP;
    job->side[0] = side_of(a, job, p, w);
    if (pair) job->side[1] = side_of(a, job, p, pair);
    a->n_sides = pair ? 2 : 1;
    a->n_strips += job->n_strips;
}

static void begin(struct mv *a, const struct cuda_run *run, const struct cuda_product *p, const struct linear *w,
                  enum mv_end end)
{
    memset(a, 0, sizeof *a);
    a->n_cols = w->w.n_cols;
    a->strip_bytes = strip_bytes(strip_form(w->w.dtype), w->w.n_cols);
    a->n = p->n;
    a->x_scale = p->x_scale;
    a->by_row = p->experts || p->heads;
    a->chosen = p->experts ? run->b->scratch.chosen : NULL;
    a->n_heads = p->heads ? w->w.n_mats : 0;
    a->x_div = p->x_of_token ? p->n_used : 1;
    a->end = end;
    a->scale = p->scale;
    a->act = p->act;
}

static void launch(struct cuda_run *run, struct mv *a, const struct cuda_product *p, enum dtype dtype)
{
    bring(run, a, p, dtype);
    if (!cuda_mv_codes(run, a, dtype) && !cuda_mv_k(run, a, dtype)) cuda_mv_float(run, a, dtype);
}

/* Two weights of one type in one go; otherwise one after the other, the first by way of out. */
static void multiply_glu(struct cuda_run *run, const struct cuda_product *p)
{
    struct mv a;
    bool gated = p->w && p->w->w.n_mats > 0;
    bool pair = gated && p->w->w.dtype == p->up->w.dtype;
    if (gated) {
        begin(&a, run, p, p->w, pair ? MV_PAIR : MV_STORE);
        add_job(&a, p, p->w, pair ? p->up : NULL);
        launch(run, &a, p, p->w->w.dtype);
    }
    if (pair) return;
    begin(&a, run, p, p->up, gated ? MV_GATED : MV_ACT);
    add_job(&a, p, p->up, NULL);
    launch(run, &a, p, p->up->w.dtype);
}

void cuda_mv(struct cuda_run *run, const struct cuda_product *products, int n_products)
{
    for (int i = 0; i < n_products;) {
        const struct cuda_product *p = &products[i];
        if (p->after == AFTER_GLU) {
            multiply_glu(run, p);
            i++;
            continue;
        }
        struct mv a;
        begin(&a, run, p, p->w, p->after == AFTER_ADD ? MV_ADD : MV_STORE);
        for (; i < n_products && a.n_jobs < MV_JOBS && together(p, &products[i]); i++)
            add_job(&a, &products[i], products[i].w, NULL);
        launch(run, &a, p, p->w->w.dtype);
    }
}

void cuda_multiply(struct cuda_run *run, const struct cuda_product *products, int n_products)
{
    if (products->n == 0) return; /* no token is left */
    if (run->form == CUDA_CODES)
        cuda_mv(run, products, n_products);
    else
        cuda_mm(run, products, n_products);
}
