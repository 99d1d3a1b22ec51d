/* bcheck.c - the driver: every operation of the GPU backend is held against the CPU's, in float32.
 *
 * A case is run on the CPU once, on the GPU twice, with the same bits; where all tokens are generated, then with other
 * inputs and another batch, and at last with the first again: what is captured and replayed must look at both anew.
 * Then faults are planted into results that had passed, which the comparison has to find. */
#include "bcheck.h"

#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base.h"
#include "clock.h"
#include "kern.h"

#define KIND(kind, random, ...)                                                                                       \
    {                                                                                                                 \
        .name = #kind, .build = bc_build_##kind, .judge = bc_judge_##kind, .hostile = !(random),                      \
        .n_cases = {__VA_ARGS__}                                                                                      \
    }
const struct bc_kind bc_kinds[] = {
    /* of the forms exact, codes, tiles */
    KIND(states, false, 10, 10, 0), KIND(project, false, 8, 32, 32), KIND(glu, false, 7, 28, 28),
    KIND(head, false, 6, 16, 16),   KIND(keep, true, 4, 16, 16),     KIND(qkv, true, 9, 18, 18),
    KIND(attend, true, 12, 24, 24), KIND(mla, true, 6, 16, 16),      KIND(heads, false, 8, 16, 16),
    KIND(moe, true, 6, 18, 18),     KIND(layer, true, 4, 16, 16),
};
const int bc_n_kinds = COUNT_OF(bc_kinds);

static const char *const form_names[] = {[BC_EXACT] = "exact", [BC_CODES] = "codes", [BC_TILES] = "tiles"};

enum { LONG_FACTOR = 8, VARIANTS = 3, MOST_COMPLAINTS = 4 };

static struct options {
    uint64_t seed;
    const char *filter;
    int only; /* of the cases of a kind, or -1 */
    bool long_run, verbose, list;
} options = {.seed = 1, .only = -1};

static struct {
    int checked, failed, planted, unnoticed;
} totals;

/* ---- saying what happens ----------------------------------------------------------------- */

static const struct bc *running; /* for those that end the program */

static void tell_case(void)
{
    if (!running) return;
    fflush(stdout);
    fprintf(stderr, "while checking %s %s %d: %s\n", running->kind->name, form_names[running->form], running->nth,
            running->what);
}

static void on_signal(int number)
{
    tell_case();
    running = NULL;
    signal(number, SIG_DFL);
    raise(number);
}

_Noreturn void bc_fatal(const struct bc *c, const char *message)
{
    running = c;
    fprintf(stderr, "bcheck: %s\n", message);
    exit(2);
}

void bc_describe(struct bc *c, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int n = vsnprintf(c->what, sizeof c->what, format, list);
    va_end(list);
    if (c->fill != BC_RANDOM && n >= 0 && (size_t)n < sizeof c->what)
        snprintf(c->what + n, sizeof c->what - (size_t)n, ", inputs %d", c->fill);
}

/* ---- comparing --------------------------------------------------------------------------- */

struct result { /* of a case: what the CPU made of it */
    struct bc_buffer buffers[BC_MOST_BUFFERS];
    int n_buffers;
    size_t bytes;
    const char *before, *after;
    const double *margins;
};

struct complaint {
    char text[320];
};

static bool complain(struct complaint *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool complain(struct complaint *out, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(out->text, sizeof out->text, format, list);
    va_end(list);
    return false;
}

static bool near(float got, float want, double margin)
{
    if (isnan(want)) return isnan(got);
    return memcmp(&got, &want, sizeof got) == 0 || fabs((double)got - (double)want) <= margin;
}

static float float_at(const char *arena, size_t at)
{
    float x;
    memcpy(&x, arena + at, sizeof x);
    return x;
}

static bool same_floats(const struct result *r, const struct bc_buffer *b, const char *got, struct complaint *out)
{
    size_t n = b->bytes / sizeof(float), n_wrong = 0, first = 0;
    for (size_t i = 0; i < n; i++) {
        size_t at = b->at + i * sizeof(float);
        if (memcmp(got + at, r->after + at, sizeof(float)) == 0) continue;
        double margin = b->role == BC_IN ? 0 : r->margins[at / sizeof(float)];
        if (near(float_at(got, at), float_at(r->after, at), margin)) continue;
        if (n_wrong++ == 0) first = i;
    }
    if (n_wrong == 0) return true;
    size_t at = b->at + first * sizeof(float);
    return complain(out, "%s[%zu] is %.9g, must be %.9g within %.3g; it was %.9g; %zu of %zu are wrong", b->name, first,
                    (double)float_at(got, at), (double)float_at(r->after, at), r->margins[at / sizeof(float)],
                    (double)float_at(r->before, at), n_wrong, n);
}

/* What rounding to a type may turn a small difference into, relative to the largest number of a row. */
static double step_of(enum dtype type)
{
    switch (type) {
    case DTYPE_F16: return 0x1p-10;
    case DTYPE_BF16: return 0x1p-7;
    case DTYPE_Q8_0: return 1.05 / 127;
    case DTYPE_Q4_0: return 0.2; /* the largest may be another one then, of the other sign */
    default: return 0;
    }
}

static bool same_row(const struct bc_buffer *b, const char *got, const char *want, int *worst)
{
    float x[1024], y[1024];
    double square = 0, top = 0;
    kern_ops()->decode[b->type](x, got, (size_t)b->d);
    kern_ops()->decode[b->type](y, want, (size_t)b->d);
    for (int i = 0; i < b->d; i++) {
        square += (double)y[i] * (double)y[i] / b->d;
        top = MAX(top, fabs((double)y[i]));
    }
    double margin = (double)b->margin * sqrt(square) + (b->margin > 0 ? step_of(b->type) * top : 0);
    for (*worst = 0; *worst < b->d; ++*worst)
        if (!near(x[*worst], y[*worst], margin)) return false;
    return true;
}

static bool same_rows(const struct result *r, const struct bc_buffer *b, const char *got, struct complaint *out)
{
    for (size_t at = 0; at < b->bytes; at += b->row_bytes) {
        const char *mine = got + b->at + at, *want = r->after + b->at + at, *before = r->before + b->at + at;
        int worst = 0;
        if (memcmp(mine, want, b->row_bytes) == 0) continue;
        if (memcmp(want, before, b->row_bytes) == 0)
            return complain(out, "row %zu of the %s was changed", at / b->row_bytes, b->name);
        if (!same_row(b, mine, want, &worst))
            return complain(out, "number %d of row %zu of the %s (%s) is wrong%s", worst, at / b->row_bytes, b->name,
                            dtype_name(b->type), memcmp(mine, before, b->row_bytes) ? "" : ": it was not written");
    }
    return true;
}

static bool compare(const struct result *r, const char *got, struct complaint *out)
{
    size_t at = 0;
    for (int i = 0; i <= r->n_buffers; i++) {
        const struct bc_buffer *b = &r->buffers[i];
        size_t end = i < r->n_buffers ? b->at : r->bytes;
        for (; at < end; at++)
            if (got[at] != (char)0xff)
                return complain(out, "wrote beside its memory: %zu bytes before %s", end - at,
                                i < r->n_buffers ? b->name : "the end");
        if (i == r->n_buffers) break;
        if (b->is_kv ? !same_rows(r, b, got, out) : !same_floats(r, b, got, out)) return false;
        at = b->at + b->bytes;
    }
    return true;
}

/* ---- planted faults ---------------------------------------------------------------------- */

static bool notices(const struct result *r, char *got, size_t at, const void *fault, size_t n)
{
    struct complaint ignored;
    char kept[8];
    memcpy(kept, got + at, n);
    memcpy(got + at, fault, n);
    bool noticed = !compare(r, got, &ignored);
    memcpy(got + at, kept, n);
    return noticed;
}

/* A number that is off by four margins, one that is none, and a byte of a red zone. */
static void plant(const struct bc *c, const struct result *r, char *got)
{
    for (int i = 0; i < r->n_buffers; i++) {
        const struct bc_buffer *b = &r->buffers[i];
        size_t at = b->at + b->bytes / 2 / sizeof(float) * sizeof(float);
        float want = float_at(r->after, at), margin = (float)(4 * r->margins[at / sizeof(float)]), none = NAN;
        float off = want + margin + fabsf(want) * 1e-5f + 1e-30f;
        char zone = 0x55;
        int n_planted = 2;
        int n_noticed = notices(r, got, b->at - 1, &zone, 1) + notices(r, got, b->at + b->bytes, &zone, 1);
        if (!b->is_kv && isfinite(want)) {
            n_noticed += notices(r, got, at, &off, sizeof off) + notices(r, got, at, &none, sizeof none);
            n_planted += 2;
        }
        totals.planted += n_planted;
        totals.unnoticed += n_planted - n_noticed;
        if (n_noticed < n_planted)
            printf("UNNOTICED %s %s %d: %d of %d faults in %s\n", c->kind->name, form_names[c->form], c->nth,
                   n_planted - n_noticed, n_planted, b->name);
    }
}

/* ---- running ----------------------------------------------------------------------------- */

struct arena { /* of the GPU */
    char *image, *result, *first; /* host: what goes in, what came out, and did with the first batch */
};

static uint64_t seed_of(const struct bc *c, uint64_t more)
{
    uint64_t kind = (uint64_t)(c->kind - bc_kinds);
    return options.seed * 0x9e3779b97f4a7c15 + (kind * 1000003 + (uint64_t)c->nth * 4 + (uint64_t)c->form) * 64 + more;
}

/* Writes the step down for one side. */
static void build(struct bc *c, enum bc_side side, char *image, char *base)
{
    static const struct step_limits least = {.n_layers = 1, .n_outputs = 1, .width = 32, .n_heads = 1, .n_kv_heads = 1,
                                             .d_k = 32, .d_v = 32, .ffn_width = 32, .n_vocab = 1};
    c->side = side;
    c->image = image;
    c->base = base;
    c->limits = least;
    if (image) memset(image, 0xff, c->used);
    c->used = 0;
    c->n_buffers = c->n_made = c->n_vectors = 0;
    memset(&c->step, 0, sizeof c->step);
    rng_seed(&c->shapes, seed_of(c, 0));
    rng_seed(&c->weights, seed_of(c, 1));
    rng_seed(&c->values, seed_of(c, 2 + (uint64_t)c->variant));
    c->step.ops = c->ops;
    c->kind->build(c);
}

static void must(struct bc *c, int status, const struct redline_err *err)
{
    if (status) bc_fatal(c, err->message);
}

static void open_side(struct bc *c, enum bc_side side, const struct backend_ops *ops)
{
    struct redline_err err;
    struct backend_params params = {.n_threads = 1, .exact = side == BC_CPU || c->form == BC_EXACT,
                                    .weight_bytes = side == BC_GPU ? c->weight_bytes : 0};
    must(c, ops->open(&c->backend[side], &params, &err), &err);
    must(c, ops->prepare(c->backend[side], &c->limits, &err), &err);
}

static void *reserve(struct bc *c, enum bc_side side, size_t bytes)
{
    struct redline_err err;
    void *p = NULL;
    must(c, c->backend[side]->ops->reserve(c->backend[side], &p, bytes, "the arena", &err), &err);
    return p;
}

static void *reserve_host(struct bc *c, size_t bytes)
{
    struct redline_err err;
    void *p = NULL;
    must(c, c->backend[BC_GPU]->ops->reserve_host(c->backend[BC_GPU], &p, bytes, "the arena", &err), &err);
    return p;
}

/* What the CPU makes of a variant, and how near to it a result has to be. */
static void run_cpu(struct bc *c, char *base, char *before, struct result *r)
{
    struct redline_err err;
    size_t bytes = c->used;
    build(c, BC_CPU, base, base);
    memcpy(before, base, bytes);
    must(c, c->backend[BC_CPU]->ops->run(c->backend[BC_CPU], &c->step, &err), &err);
    c->before = before;
    memset(c->margins, 0, bytes / sizeof(float) * sizeof *c->margins);
    c->kind->judge(c);
    *r = (struct result){
        .n_buffers = c->n_buffers, .bytes = bytes, .before = before, .after = base, .margins = c->margins};
    memcpy(r->buffers, c->buffers, sizeof r->buffers);
}

static bool run_gpu(struct bc *c, const struct arena *a, char *base, struct complaint *out)
{
    struct redline_err err;
    memset(a->result, 0, c->used);
    c->step.in = (struct step_copy){base, a->image, c->used};
    c->step.out[0] = (struct step_copy){a->result, base, c->used};
    if (c->backend[BC_GPU]->ops->run(c->backend[BC_GPU], &c->step, &err) == 0) return true;
    return complain(out, "failed: %s", err.message);
}

/* One variant: near the CPU's, and the same twice. */
static bool check_variant(struct bc *c, const struct arena *a, char *gpu_base, const struct result *r,
                          struct complaint *out)
{
    build(c, BC_GPU, a->image, gpu_base);
    if (!run_gpu(c, a, gpu_base, out) || !compare(r, a->result, out)) return false;
    if (c->variant == 0) {
        memcpy(a->first, a->result, c->used);
        if (c->nth < 4) plant(c, r, a->result);
    }
    char *kept = malloc(c->used);
    if (!kept) abort();
    memcpy(kept, a->result, c->used);
    bool ran = run_gpu(c, a, gpu_base, out), same = ran && memcmp(kept, a->result, c->used) == 0;
    free(kept);
    return ran && !same ? complain(out, "other bits when it was run again") : ran;
}

static bool check_first_again(struct bc *c, const struct arena *a, char *gpu_base, struct complaint *out)
{
    c->variant = 0;
    build(c, BC_GPU, a->image, gpu_base);
    if (!run_gpu(c, a, gpu_base, out)) return false;
    return memcmp(a->first, a->result, c->used) == 0 || complain(out, "other bits after other batches");
}

static bool check_case(struct bc *c, struct complaint *out)
{
    build(c, BC_NOBODY, NULL, NULL);
    size_t bytes = c->used;
    open_side(c, BC_CPU, &backend_cpu);
    open_side(c, BC_GPU, backend_gpu);
    char *cpu_base = reserve(c, BC_CPU, bytes), *gpu_base = reserve(c, BC_GPU, bytes), *before = malloc(bytes);
    struct arena a = {reserve_host(c, bytes), reserve_host(c, bytes), malloc(bytes)};
    struct result r;
    c->margins = calloc(bytes / sizeof(float) + 1, sizeof *c->margins);
    if (!before || !a.first || !c->margins) abort();
    bool passed = true;
    for (c->variant = 0; passed && c->variant < (c->form == BC_CODES ? VARIANTS : 1); c->variant++) {
        run_cpu(c, cpu_base, before, &r);
        passed = check_variant(c, &a, gpu_base, &r, out);
    }
    if (passed && c->form == BC_CODES) passed = check_first_again(c, &a, gpu_base, out);
    const struct backend_ops *gpu = backend_gpu;
    gpu->release_host(c->backend[BC_GPU], a.image, bytes);
    gpu->release_host(c->backend[BC_GPU], a.result, bytes);
    gpu->release(c->backend[BC_GPU], gpu_base, bytes);
    backend_cpu.release(c->backend[BC_CPU], cpu_base, bytes);
    free(a.first);
    free(before);
    free(c->margins);
    return passed;
}

static void finish(struct bc *c)
{
    backend_cpu.close(&c->backend[BC_CPU]);
    backend_gpu->close(&c->backend[BC_GPU]);
    bc_forget_made(c);
    for (int i = 0; i < 2; i++) free(c->cs[i]);
}

static bool run_case(const struct bc_kind *kind, enum bc_form form, int nth)
{
    struct bc *c = calloc(1, sizeof *c);
    struct complaint complaint = {""};
    if (!c) abort();
    c->kind = kind;
    c->form = form;
    c->nth = nth;
    c->long_run = options.long_run;
    c->fill = kind->hostile && nth % 4 == 3 ? (enum bc_fill)(nth / 4 % BC_FILLS) : BC_RANDOM;
    running = c;
    if (options.verbose) {
        build(c, BC_NOBODY, NULL, NULL);
        printf("%s %s %d: %s\n", kind->name, form_names[form], nth, c->what);
        bc_forget_made(c);
    }
    bool passed = check_case(c, &complaint);
    if (!passed)
        printf("FAIL %s %s %d: %s: %s (--seed %llu%s)\n", kind->name, form_names[form], nth, c->what, complaint.text,
               (unsigned long long)options.seed, options.long_run ? " --long" : "");
    running = NULL;
    finish(c);
    free(c);
    return passed;
}

static void run_kind(const struct bc_kind *kind, enum bc_form form)
{
    char name[64];
    int n = kind->n_cases[form] * (options.long_run ? LONG_FACTOR : 1), n_failed = 0, n_run = 0;
    snprintf(name, sizeof name, "%s %s", kind->name, form_names[form]);
    if (n == 0 || (options.filter && !strcasestr(name, options.filter))) return;
    if (options.list) {
        printf("%s\n", name);
        return;
    }
    uint64_t start = clock_ns();
    for (int nth = 0; nth < n && n_failed < MOST_COMPLAINTS; nth++) {
        if (options.only >= 0 && nth != options.only) continue;
        n_failed += !run_case(kind, form, nth);
        n_run++;
    }
    totals.checked += n_run;
    totals.failed += n_failed;
    printf("%-16s %4d cases, %d failed, %.1f s\n", name, n_run, n_failed, (double)(clock_ns() - start) * 1e-9);
}

/* ---- the program ------------------------------------------------------------------------- */

static int usage(void)
{
    fputs("usage: bcheck [--seed N] [--filter WORD] [--only N] [--long] [--verbose] [--list]\n"
          "  --filter   only kinds whose name (\"project codes\") contains WORD\n"
          "  --only     only their case N\n"
          "  --long     more cases, of larger shapes\n",
          stderr);
    return 2;
}

static bool parse(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--seed") && i + 1 < argc)
            options.seed = strtoull(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--filter") && i + 1 < argc)
            options.filter = argv[++i];
        else if (!strcmp(argv[i], "--only") && i + 1 < argc)
            options.only = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--long"))
            options.long_run = true;
        else if (!strcmp(argv[i], "--verbose"))
            options.verbose = true;
        else if (!strcmp(argv[i], "--list"))
            options.list = true;
        else
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    if (!parse(argc, argv)) return usage();
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!options.list && (!backend_gpu || backend_gpu->n_devices() == 0)) {
        puts(backend_gpu ? "skipped: there is no GPU that it can drive" : "skipped: built without a GPU backend");
        return 77;
    }
    atexit(tell_case);
    signal(SIGSEGV, on_signal);
    signal(SIGABRT, on_signal);
    for (int i = 0; i < bc_n_kinds; i++)
        for (int form = 0; form < BC_FORMS; form++) run_kind(&bc_kinds[i], (enum bc_form)form);
    if (!options.list)
        printf("seed %llu: %d cases checked, %d failed; %d of %d planted faults unnoticed\n",
               (unsigned long long)options.seed, totals.checked, totals.failed, totals.unnoticed, totals.planted);
    return totals.failed || totals.unnoticed;
}
