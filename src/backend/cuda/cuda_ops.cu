/* cuda_ops.cu - projections, feed-forward part, head, final states and what moves between them.
 *
 * Products are cuda_multiply()'s; what it can do with a number while it has it in a register is asked for there, and
 * what waits for whole rows, or is seldom wanted, is a kernel of its own behind it. */
#include "cuda_rows.cuh"

enum { OPS_THREADS = 256 };

/* Blocks for n numbers of a row, `width` to a thread. */
static unsigned row_blocks(int n, int width)
{
    return (unsigned)((n + width * OPS_THREADS - 1) / (width * OPS_THREADS));
}

/* ---- projection -------------------------------------------------------------------------------------------------- */

void cuda_op_project(struct cuda_run *run, const struct op_project *op)
{
    const struct weight *w = &op->w.w;
    bool normed = op->post.kind != NORM_NONE || op->after.kind != NORM_NONE || op->again.kind != NORM_NONE;
    struct cuda_product p = {};
    p.x = op->in;
    p.x_stride = (size_t)w->n_cols;
    p.n = run->n_tokens;
    p.w = &op->w;
    p.out = normed ? run->b->scratch.rows : op->x;
    p.out_stride = (size_t)w->n_rows;
    p.after = normed ? AFTER_STORE : AFTER_ADD;
    p.scale = op->scale;
    cuda_multiply(run, &p, 1);
    if (normed)
        cuda_add_normed(run, op->x, p.out, op->scale, &op->post, &op->after, &op->again, run->n_tokens, w->n_rows);
}

/* ---- feed-forward part ------------------------------------------------------------------------------------------- */

/* sigmoid(share . norm x) of each row: what a shared expert counts for. */
static __global__ void weigh_rows(struct norm norm, const float *x, const float *share, float *out, int n)
{
    __shared__ double partial[32];
    struct by_block block = {partial};
    grid_wait();
    grid_release();
    x += blockIdx.x * (size_t)n;
    struct unit u = unit_of<1>(norm, x, n, block);
    double dot = 0;
    for (int i = block.first(); i < n; i += block.step())
        dot += (double)normed<1>(norm, u, x, i).v[0] * (double)share[i];
    dot = block.sum(dot);
    if (threadIdx.x == 0) out[blockIdx.x] = 1 / (1 + expf(-(float)dot));
}

/* Row t of out, divided by `divisors` and multiplied with share[t], as far as there are such. */
template <int W> static __global__ void scale_rows(float *out, const float *divisors, const float *share, int n)
{
    grid_wait();
    grid_release();
    int i = W * (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i >= n) return;
    out += blockIdx.y * (size_t)n + (size_t)i;
    struct numbers<W> y = load_numbers<W>(out);
    if (divisors) {
        struct numbers<W> by = load_numbers<W>(divisors + i);
        for (int j = 0; j < W; j++) y.v[j] /= by.v[j];
    }
    float factor = share ? share[blockIdx.y] : 1;
    for (int j = 0; j < W; j++) y.v[j] *= factor;
    store_numbers<W>(out, y);
}

void cuda_op_glu(struct cuda_run *run, const struct op_glu *op)
{
    const struct weight *w = &op->up.w;
    float *share = op->share ? run->b->scratch.router : NULL;
    if (share)
        device_launch(run->d, "weighing a shared expert", weigh_rows, dim3((unsigned)run->n_tokens),
                      dim3(row_threads(w->n_cols, 1)), 0, op->norm, op->x, op->share, share, w->n_cols);
    struct cuda_product p = {};
    p.x = op->x;
    p.x_stride = (size_t)w->n_cols;
    p.n = run->n_tokens;
    p.norm = &op->norm;
    p.w = &op->gate;
    p.up = &op->up;
    p.out = op->out;
    p.out_stride = (size_t)w->n_rows;
    p.after = AFTER_GLU;
    p.act = op->act;
    cuda_multiply(run, &p, 1);
    if (!share && !op->divisors) return;
    bool four = w->n_rows % 4 == 0 && by_four(op->out) && by_four(op->divisors);
    device_launch(run->d, "scaling hidden rows", four ? scale_rows<4> : scale_rows<1>,
                  dim3(row_blocks(w->n_rows, four ? 4 : 1), (unsigned)run->n_tokens), dim3(OPS_THREADS), 0, op->out,
                  op->divisors, share, w->n_rows);
}

/* ---- head and final states --------------------------------------------------------------------------------------- */

template <int W> static __global__ void cap_rows(float *logits, float scale, float softcap, int n)
{
    grid_wait();
    grid_release();
    int i = W * (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i >= n) return;
    logits += blockIdx.y * (size_t)n + (size_t)i;
    struct numbers<W> y = load_numbers<W>(logits);
    for (int j = 0; j < W; j++) {
        y.v[j] *= scale;
        if (softcap > 0) y.v[j] = softcap * tanhf(y.v[j] / softcap);
    }
    store_numbers<W>(logits, y);
}

/* Where every token wants its logits, rows are read where they are: `outputs` ascend. */
void cuda_op_head(struct cuda_run *run, const struct op_head *op)
{
    const struct weight *w = &op->w.w;
    bool gathered = run->n_outputs != run->n_tokens;
    float *rows = run->b->scratch.norm;
    if (gathered) cuda_gather(run, &op->norm, rows, op->x, run->batch.outputs, run->n_outputs, w->n_cols);
    struct cuda_product p = {};
    p.x = gathered ? rows : op->x;
    p.x_stride = (size_t)w->n_cols;
    p.n = run->n_outputs;
    p.norm = gathered ? NULL : &op->norm;
    p.w = &op->w;
    p.out = op->logits;
    p.out_stride = (size_t)w->n_rows;
    p.after = AFTER_STORE;
    cuda_multiply(run, &p, 1);
    if (op->scale == 1 && op->softcap <= 0) return;
    bool four = w->n_rows % 4 == 0 && by_four(op->logits);
    device_launch(run->d, "capping logits", four ? cap_rows<4> : cap_rows<1>,
                  dim3(row_blocks(w->n_rows, four ? 4 : 1), (unsigned)run->n_outputs), dim3(OPS_THREADS), 0,
                  op->logits, op->scale, op->softcap, w->n_rows);
}

void cuda_op_states(struct cuda_run *run, const struct op_states *op)
{
    cuda_gather(run, &op->norm, op->out, op->x, run->batch.states, run->n_states, op->width);
}

void cuda_op_dense(struct cuda_run *run, const struct op_dense *op)
{
    struct cuda_product p = {};
    p.x = op->in;
    p.x_stride = (size_t)op->w.w.n_cols;
    p.n = run->n_states;
    p.w = &op->w;
    p.out = op->out;
    p.out_stride = (size_t)op->w.w.n_rows;
    p.after = AFTER_STORE;
    cuda_multiply(run, &p, 1);
}

/* ---- tokens that are left ---------------------------------------------------------------------------------------- */

enum { KEEP_AHEAD = 8 }; /* rows on the way at a time */

/* A thread moves one column of all rows.  Row i comes from row index[i], not before it and before row index[i + 1]; so
 * what rows i to i + 7 are to be can be read, and then they can be written. */
static __global__ void keep_rows(float *rows, const int32_t *index, int n_rows, int width)
{
    grid_wait();
    grid_release();
    int column = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (column >= width) return;
    rows += column;
    for (int first = 0; first < n_rows; first += KEEP_AHEAD) {
        float kept[KEEP_AHEAD];
        for (int i = 0; i < KEEP_AHEAD; i++)
            kept[i] = first + i < n_rows ? rows[(size_t)index[first + i] * (size_t)width] : 0;
        for (int i = 0; i < KEEP_AHEAD; i++)
            if (first + i < n_rows) rows[(size_t)(first + i) * (size_t)width] = kept[i];
    }
}

static void keep(struct cuda_run *run, float *rows, int width)
{
    device_launch(run->d, "keeping rows", keep_rows, dim3(row_blocks(width, 1)), dim3(OPS_THREADS), 0, rows,
                  run->batch.outputs, run->n_outputs, width);
}

void cuda_op_keep(struct cuda_run *run, const struct op_keep *op)
{
    if (run->n_outputs < run->n_tokens) { /* otherwise all rows stay where they are */
        keep(run, op->x, op->width);
        keep(run, op->values, op->values_width);
    }
    run->n_tokens = run->n_outputs;
}
