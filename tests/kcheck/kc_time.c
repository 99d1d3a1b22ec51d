/* kc_time.c - how fast each slot is, against the scalar one.
 *
 * A sample is a batch of calls that lasts about a millisecond; the figure is the least of several,
 * which is what the kernel needs when nobody disturbs it.  Matrix products: one token and 128, 4096
 * columns, with weights that fit into a second-level cache and with weights that fit into none; those in
 * BF16: 16, 128 and 512 tokens. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base.h"
#include "kcheck.h"

enum {
    N = 4096,
    HEAD = 128,
    ROWS_KV = 512,
    TOKENS = 128,
    MOST_TOKENS = 512,
    BF16_STRIDE = 2 * N + 64, /* bytes */
    SMALL_BYTES = 512 << 10,
    LARGE_BYTES = 64 << 20
};

/* Everything that a call may need; filled with ordinary numbers once. */
static struct bench {
    float *a, *b, *y, *cs; /* TOKENS * N each */
    float *squares;        /* N, of b */
    struct act_q8 *acts;
    char *halves;               /* MOST_TOKENS rows of N BF16 numbers */
    char *weights[DTYPE_COUNT]; /* rows, LARGE_BYTES, made when asked for */
    char *strips;               /* of a product; as many */
    int n_rows, n_tokens;       /* of a product */
    int n_queries;              /* of attention */
} bench;

/* Of this thread: what others run in between does not count. */
static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void *room(size_t bytes)
{
    void *p = aligned_alloc(64, ROUND_UP(bytes, 64));
    if (!p) abort();
    return p;
}

static void prepare(struct kc *kc)
{
    if (bench.a) return;
    size_t n = (size_t)TOKENS * N;
    bench.a = room(n * 4);
    bench.b = room(n * 4);
    bench.y = room(n * 4 * 16);
    bench.cs = room(n * 4);
    bench.acts = room(n / 256 * sizeof *bench.acts);
    kc_fill_floats(kc, KC_RANDOM, bench.a, n);
    kc_fill_floats(kc, KC_RANDOM, bench.b, n);
    kc_fill_floats(kc, KC_RANDOM, bench.cs, n);
    kc_fill_acts(kc, KC_RANDOM, bench.acts, n);
    bench.halves = room((size_t)MOST_TOKENS * BF16_STRIDE);
    for (int t = 0; t < MOST_TOKENS; t++)
        kern_scalar.encode[DTYPE_BF16](bench.halves + (size_t)t * BF16_STRIDE, bench.a + (size_t)(t % TOKENS) * N, N);
    bench.squares = room(N * 4);
    for (int i = 0; i < N; i++) bench.squares[i] = bench.b[i] * bench.b[i];
    memset(bench.y, 0, n * 4 * 16);
}

/* Random where it is cheap, copies of that further on: times do not depend on the values. */
static char *weights(struct kc *kc)
{
    enum dtype dtype = (enum dtype)kc->index;
    const struct dtype_info *info = dtype_info(dtype);
    if (bench.weights[dtype]) return bench.weights[dtype];
    char *w = bench.weights[dtype] = room(LARGE_BYTES);
    size_t piece = dtype_row_bytes(info, 256 * N);
    kc_fill_weights(kc, KC_RANDOM, dtype, w, 256 * N);
    for (size_t at = piece; at + piece <= LARGE_BYTES; at += piece) memcpy(w + at, w, piece);
    return w;
}

/* The same as strips; N columns of any type make a strip as long as its rows. */
static void pack_weights(struct kc *kc)
{
    enum dtype dtype = (enum dtype)kc->index;
    size_t row = dtype_row_bytes(dtype_info(dtype), N);
    const char *rows = weights(kc);
    if (!bench.strips) bench.strips = room(LARGE_BYTES);
    madvise(bench.strips, LARGE_BYTES, MADV_HUGEPAGE);
    for (size_t at = 0; at + STRIP * row <= LARGE_BYTES; at += STRIP * row)
        kern_scalar.pack(bench.strips + at, dtype, rows + at % (256 * row), row, STRIP, N);
}

/* ---- one call of each slot --------------------------------------------------------------- */

static bool is_tiles(const struct kc *kc)
{
    return !strcmp(kc->group->name, "mm_tiles");
}

static void call_mm(const struct kern_ops *ops, struct kc *kc)
{
    const struct dtype_info *info = dtype_info((uint32_t)kc->index);
    struct kern_mm_args a = {
        .y = bench.y,
        .y_stride = (size_t)bench.n_rows,
        .w = bench.strips,
        .w_stride = STRIP * dtype_row_bytes(info, N),
        .n_rows = bench.n_rows,
        .n_cols = N,
        .n_tokens = bench.n_tokens,
    };
    if (is_tiles(kc)) {
        a.x = bench.halves;
        a.x_stride = BF16_STRIDE;
        ops->mm_tiles[kc->index](&a);
        return;
    }
    a.x = info->is_quantized ? (const void *)bench.acts : bench.a;
    a.x_stride = info->is_quantized ? N / 256 * sizeof *bench.acts : N * sizeof *bench.a;
    ops->mm[kc->index](&a);
}

static void call_pack(const struct kern_ops *ops, struct kc *kc)
{
    ops->pack(bench.y, DTYPE_Q4_K, bench.weights[DTYPE_Q4_K], dtype_row_bytes(dtype_info(DTYPE_Q4_K), N), STRIP, N);
    (void)kc;
}

static void call_turn(const struct kern_ops *ops, struct kc *kc)
{
    ops->turn(bench.y, strip_bytes(strip_form(DTYPE_BF16), N / HEAD), bench.a, N / HEAD, HEAD);
    (void)kc;
}

static void call_conversion(const struct kern_ops *ops, struct kc *kc)
{
    if (!strcmp(kc->group->name, "decode"))
        ops->decode[kc->index](bench.y, weights(kc), N);
    else if (!strcmp(kc->group->name, "encode_weighted"))
        ops->encode_weighted[kc->index](bench.y, bench.a, bench.squares, N);
    else
        ops->encode[kc->index](bench.y, bench.a, N);
}

static void call_kv(const struct kern_ops *ops, struct kc *kc)
{
    size_t stride = dtype_row_bytes(dtype_info((uint32_t)kc->index), HEAD);
    struct kern_kv rows = {.rows = weights(kc), .stride = stride, .n = ROWS_KV, .d = HEAD};
    if (!strcmp(kc->group->name, "kv_dot"))
        ops->kv_dot[kc->index](bench.y, ROWS_KV, bench.a, HEAD, bench.n_queries, &rows);
    else
        ops->kv_sum[kc->index](bench.y, HEAD, bench.a, ROWS_KV, bench.n_queries, &rows);
}

static void call_vector(const struct kern_ops *ops, struct kc *kc)
{
    const char *name = kc->group->name;
    static volatile float sink;
    if (!strcmp(name, "dot")) sink = ops->dot(bench.a, bench.b, N);
    if (!strcmp(name, "add")) ops->add(bench.y, bench.a, N);
    if (!strcmp(name, "axpy")) ops->axpy(bench.y, 1e-3f, bench.a, N);
    if (!strcmp(name, "scale")) ops->scale(bench.y, 1, N);
    if (!strcmp(name, "max")) sink = ops->max(bench.a, N);
    if (!strcmp(name, "exp_sum")) {
        memcpy(bench.y, bench.a, N * sizeof *bench.y);
        sink = ops->exp_sum(bench.y, 5, N);
    }
    if (!strcmp(name, "rms_norm")) ops->rms_norm(bench.y, bench.a, bench.b, N, 1e-6f);
    if (!strcmp(name, "layer_norm")) ops->layer_norm(bench.y, bench.a, bench.b, bench.cs, N, 1e-6f);
    if (!strcmp(name, "act")) ops->act[kc->index](bench.y, bench.a, bench.b, N);
    if (!strcmp(name, "softcap")) {
        memcpy(bench.y, bench.a, N * sizeof *bench.y);
        ops->softcap(bench.y, 30, N);
    }
    if (!strcmp(name, "rope")) {
        memcpy(bench.y, bench.a, HEAD * sizeof *bench.y);
        ops->rope[kc->index](bench.y, bench.cs, HEAD);
    }
    if (!strcmp(name, "quant_act")) ops->quant_act((struct act_q8 *)(void *)bench.y, bench.a, N);
    (void)sink;
}

typedef void call_fn(const struct kern_ops *ops, struct kc *kc);

static call_fn *call_of(const struct kc *kc)
{
    const char *name = kc->group->name;
    if (!strcmp(name, "mm") || is_tiles(kc)) return call_mm;
    if (!strcmp(name, "pack")) return call_pack;
    if (!strcmp(name, "turn")) return call_turn;
    if (!strcmp(name, "decode") || !strncmp(name, "encode", 6)) return call_conversion;
    if (!strncmp(name, "kv_", 3)) return call_kv;
    return call_vector;
}

/* ---- measuring --------------------------------------------------------------------------- */

/* Least time of one call; budget_ms bounds the whole, but a slow kernel is called once at least. */
static double least_ns(const struct kern_ops *ops, struct kc *kc, double budget_ms)
{
    call_fn *call = call_of(kc);
    double begin = now_ns(), least = 0;
    call(ops, kc);
    double first = now_ns() - begin;
    if (first > budget_ms * 1e6) return first;
    begin = now_ns(); /* again, with the caches filled */
    call(ops, kc);
    first = now_ns() - begin;
    int batch = (int)MAX(1, 1e6 / first);
    while (now_ns() - begin < budget_ms * 1e6 || least == 0) {
        double t = now_ns();
        for (int i = 0; i < batch; i++) call(ops, kc);
        t = (now_ns() - t) / batch;
        if (least == 0 || t < least) least = t;
    }
    return least;
}

static int n_lines;

static void print_line(struct kc *kc, bool json, const char *shape, double ns, double ratio,
                       double bytes, double operations)
{
    char name[64];
    kc_slot_name(kc->group, kc->index, name, sizeof name);
    if (json) {
        printf("{\"kernel\": \"%s\", \"isa\": \"%s\", \"shape\": \"%s\", \"ns\": %.1f, \"ratio\": "
               "%.2f",
               name, kc->isa, shape, ns, ratio);
        if (bytes > 0) printf(", \"gb_s\": %.2f, \"gops\": %.2f", bytes / ns, operations / ns);
        puts("}");
        return;
    }
    if (n_lines++ == 0)
        printf("%-16s %-12s %-12s %12s %9s %8s %8s\n", "kernel", "isa", "shape", "ns", "x scalar",
               "GB/s", "GOPS");
    printf("%-16s %-12s %-12s %12.1f %9.2f", name, kc->isa, shape, ns, ratio);
    if (bytes > 0) printf(" %8.2f %8.2f", bytes / ns, operations / ns);
    puts("");
}

/* The scalar product of a large matrix takes seconds: it is measured on 16 rows and scaled up. */
static double scalar_mm_ns(struct kc *kc)
{
    static struct {
        double ns;
        int n_tokens;
    } per_row[2][DTYPE_COUNT];
    double *known = &per_row[is_tiles(kc)][kc->index].ns;
    int *n_tokens = &per_row[is_tiles(kc)][kc->index].n_tokens, rows = bench.n_rows;
    if (*n_tokens != bench.n_tokens) {
        *n_tokens = bench.n_tokens;
        bench.n_rows = MIN(rows, 16);
        *known = least_ns(kc->scalar, kc, 20) / bench.n_rows;
        bench.n_rows = rows;
    }
    return *known * rows;
}

static void time_mm(struct kc *kc, bool json)
{
    static const int counts[2][4] = {{1, TOKENS}, {16, TOKENS, MOST_TOKENS}}; /* of tokens; of BF16 */
    size_t row = dtype_row_bytes(dtype_info((uint32_t)kc->index), N);
    bool is_scalar = kc_slot(kc->ops, kc->group, kc->index) == kc_slot(kc->scalar, kc->group, kc->index);
    pack_weights(kc);
    for (const int *count = counts[is_tiles(kc)]; *count; count++)
        for (int large = 0; large < 2; large++) {
            char shape[32];
            bench.n_tokens = *count;
            bench.n_rows = (int)MIN((large ? LARGE_BYTES : SMALL_BYTES) / row, 16 * N) / STRIP * STRIP;
            if (large && bench.n_tokens > 1) bench.n_rows = MIN(bench.n_rows, 2048);
            double scalar = scalar_mm_ns(kc), ns = is_scalar ? scalar : least_ns(kc->ops, kc, 50);
            double bytes = (double)row * bench.n_rows, products = (double)N * bench.n_rows * bench.n_tokens;
            snprintf(shape, sizeof shape, "T=%d R=%d", bench.n_tokens, bench.n_rows);
            print_line(kc, json, shape, ns, scalar / ns, bytes, 2 * products);
        }
}

/* One query; the four and the eight that share a KV head; eight times eight of a prompt. */
static void time_kv(struct kc *kc, bool json)
{
    static const int queries[] = {1, 4, 8, 64};
    weights(kc);
    for (size_t i = 0; i < COUNT_OF(queries); i++) {
        char shape[32];
        bench.n_queries = queries[i];
        double ns = least_ns(kc->ops, kc, 10), scalar = least_ns(kc->scalar, kc, 10);
        double row = (double)dtype_row_bytes(dtype_info((uint32_t)kc->index), HEAD);
        snprintf(shape, sizeof shape, "%dx%dx%d", queries[i], ROWS_KV, HEAD);
        print_line(kc, json, shape, ns, scalar / ns, row * ROWS_KV, 2.0 * queries[i] * ROWS_KV * HEAD);
    }
}

void kc_time_slot(struct kc *kc, bool json)
{
    prepare(kc);
    if (!strncmp(kc->group->name, "kv_", 3)) {
        time_kv(kc, json);
        return;
    }
    if (call_of(kc) == call_mm) {
        time_mm(kc, json);
        return;
    }
    if (kc->group->count == DTYPE_COUNT) weights(kc);
    if (!strcmp(kc->group->name, "pack")) {
        kc->index = DTYPE_Q4_K;
        weights(kc);
        kc->index = 0;
    }
    double ns = least_ns(kc->ops, kc, 10), scalar = least_ns(kc->scalar, kc, 10);
    const char *shape = !strcmp(kc->group->name, "rope")   ? "n=128"
                        : !strcmp(kc->group->name, "pack") ? "Q4_K 16x4096"
                                                           : "n=4096";
    print_line(kc, json, shape, ns, scalar / ns, 0, 0);
}
