/* cuda_rows.cu - rows of activations as a whole: normed, gathered, added, rounded to BF16; a block for each row.
 *
 * A row is read once for each sum and once to be written.  It stays in the first-level cache meanwhile, so registers
 * are not asked to hold it, and its width has no limit. */
#include "cuda_rows.cuh"

struct rows { /* where a kernel finds them */
    struct norm norm;
    const float *x;
    size_t stride;
    const int32_t *index; /* row i is row index[i] of x; NULL: row i */
    int n;
};

static struct norm norm_or_none(const struct norm *norm)
{
    struct norm none = {};
    return norm ? *norm : none;
}

static bool rows_by_four(const struct rows *r)
{
    return r->n % 4 == 0 && r->stride % 4 == 0 && by_four(r->x) && norm_by_four(&r->norm);
}

LANE const float *row_at(const struct rows &r, unsigned i)
{
    return r.x + (size_t)(r.index ? r.index[i] : (int)i) * r.stride;
}

/* ---- normed rows ------------------------------------------------------------------------------------------------- */

template <int W> static __global__ void norm_rows(struct rows in, float *y, size_t y_stride)
{
    __shared__ double partial[32];
    struct by_block block = {partial};
    grid_wait();
    grid_release();
    const float *x = row_at(in, blockIdx.x);
    float *to = y + blockIdx.x * y_stride;
    struct unit u = unit_of<W>(in.norm, x, in.n, block);
    for (int i = W * block.first(); i < in.n; i += W * block.step())
        store_numbers<W>(to + i, normed<W>(in.norm, u, x, i));
}

static void launch_norm(struct cuda_run *run, const struct rows *in, float *y, size_t y_stride, int n_rows)
{
    bool four = rows_by_four(in) && y_stride % 4 == 0 && by_four(y);
    device_launch(run->d, "norming rows", four ? norm_rows<4> : norm_rows<1>, dim3((unsigned)n_rows),
                  dim3(row_threads(in->n, four ? 4 : 1)), 0, *in, y, y_stride);
}

void cuda_norm(struct cuda_run *run, const struct norm *norm, float *y, const float *x, size_t stride, int n_rows,
               int n)
{
    struct rows in = {norm_or_none(norm), x, stride, NULL, n};
    if (in.norm.kind == NORM_NONE && y == x) return;
    launch_norm(run, &in, y, stride, n_rows);
}

void cuda_gather(struct cuda_run *run, const struct norm *norm, float *y, const float *x, const int32_t *index,
                 int n_rows, int n)
{
    struct rows in = {norm_or_none(norm), x, (size_t)n, index, n};
    launch_norm(run, &in, y, (size_t)n, n_rows);
}

/* ---- normed sums ------------------------------------------------------------------------------------------------- */

struct sums { /* see cuda_add_normed() */
    float *x, *in;
    float scale;
    struct norm post, after, again;
    int n;
};

/* The rounds of a row's three norms: each thread goes on with the numbers that it wrote itself. */
template <int W> static __global__ void add_rows(struct sums a)
{
    __shared__ double partial[32];
    struct by_block block = {partial};
    grid_wait();
    grid_release();
    float *x = a.x + blockIdx.x * (size_t)a.n, *in = a.in + blockIdx.x * (size_t)a.n;
    bool twice = a.again.kind != NORM_NONE;
    float *sum = twice ? in : x;
    struct unit u = unit_of<W>(a.post, in, a.n, block);
    for (int i = W * block.first(); i < a.n; i += W * block.step()) {
        struct numbers<W> y = normed<W>(a.post, u, in, i), old = load_numbers<W>(x + i);
        for (int j = 0; j < W; j++) y.v[j] = old.v[j] + a.scale * y.v[j];
        store_numbers<W>(sum + i, y);
    }
    if (a.after.kind == NORM_NONE && !twice) return;
    u = unit_of<W>(a.after, sum, a.n, block);
    for (int i = W * block.first(); i < a.n; i += W * block.step()) {
        struct numbers<W> y = normed<W>(a.after, u, sum, i), old = load_numbers<W>(x + i);
        for (int j = 0; j < W && twice; j++) y.v[j] += old.v[j];
        store_numbers<W>(sum + i, y);
    }
    if (!twice) return;
    u = unit_of<W>(a.again, in, a.n, block);
    for (int i = W * block.first(); i < a.n; i += W * block.step())
        store_numbers<W>(x + i, normed<W>(a.again, u, in, i));
}

void cuda_add_normed(struct cuda_run *run, float *x, float *in, float scale, const struct norm *post,
                     const struct norm *after, const struct norm *again, int n_rows, int n)
{
    struct sums a = {x, in, scale, norm_or_none(post), norm_or_none(after), norm_or_none(again), n};
    bool four = n % 4 == 0 && by_four(x) && by_four(in) && norm_by_four(&a.post) && norm_by_four(&a.after) &&
                norm_by_four(&a.again);
    device_launch(run->d, "adding normed rows", four ? add_rows<4> : add_rows<1>, dim3((unsigned)n_rows),
                  dim3(row_threads(n, four ? 4 : 1)), 0, a);
}

/* ---- rows as BF16 ------------------------------------------------------------------------------------------------ */

template <int W> struct alignas(2 * W) halves {
    uint16_t v[W];
};

template <int W> static __global__ void round_rows(struct rows in, uint16_t *y, int n_padded)
{
    __shared__ double partial[32];
    struct by_block block = {partial};
    grid_wait();
    grid_release();
    const float *x = row_at(in, blockIdx.x);
    uint16_t *to = y + blockIdx.x * (size_t)n_padded;
    struct unit u = unit_of<W>(in.norm, x, in.n, block);
    for (int i = W * block.first(); i < n_padded; i += W * block.step()) {
        struct numbers<W> row = {};
        struct halves<W> out;
        if (i < in.n) row = normed<W>(in.norm, u, x, i);
        for (int j = 0; j < W; j++) out.v[j] = bf16_of_f32(row.v[j]);
        *reinterpret_cast<struct halves<W> *>(to + i) = out;
    }
}

void cuda_to_bf16(struct cuda_run *run, const struct norm *norm, uint16_t *y, int n_padded, const float *x,
                  size_t stride, const int32_t *index, int n_rows, int n)
{
    struct rows in = {norm_or_none(norm), x, stride, index, n};
    bool four = rows_by_four(&in);
    device_launch(run->d, "rounding rows to BF16", four ? round_rows<4> : round_rows<1>, dim3((unsigned)n_rows),
                  dim3(row_threads(n, four ? 4 : 1)), 0, in, y, n_padded);
}
