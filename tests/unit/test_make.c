/* test_make.c - redline_quantize(): what is written, what is kept, and that the input is never harmed. */
#define _GNU_SOURCE
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base.h"
#include "check.h"
#include "fault.h"
#include "file.h"
#include "gguf.h"
#include "mix.h"
#include "redline_make.h"
#include "scratch.h"
#include "tiny.h"

static struct redline_err err;

/* A refusal with this code, whose sentence has this part; no file but those before is left. */
#define REFUSED(call, code, part)                                                                   \
    do {                                                                                            \
        assert_int_equal(call, code);                                                               \
        if (!strstr(err.message, part)) fail_msg("'%s' is missing in '%s'", part, err.message);     \
    } while (0)

static int quantize(const char *in, const char *out, const char *mixture, bool allow, int n_threads)
{
    struct redline_quantize_params params = {.n_threads = n_threads, .allow_requantize = allow};
    return redline_quantize(SCRATCH(in), SCRATCH(out), mixture, &params, NULL, &err);
}

static void make_tiny(const char *name, enum dtype type, int n_experts)
{
    struct tiny m = tiny_default;
    m.type = type;
    m.n_layers = 8;
    m.n_experts = n_experts;
    m.n_used = n_experts / 2;
    m.biases = true;
    OK(tiny_write(SCRATCH(name), &m, &err));
}

static void check_same_files(const char *a, const char *b)
{
    struct buf x, y;
    OK(file_read(&x, SCRATCH(a), &err));
    OK(file_read(&y, SCRATCH(b), &err));
    assert_int_equal(x.n, y.n);
    assert_memory_equal(x.p, y.p, x.n);
    buf_free(&x);
    buf_free(&y);
}

/* ---- rules ----------------------------------------------------------------------------------- */

static enum dtype type_of(const char *mixture, const struct mix_model *model, const char *name, uint64_t width)
{
    uint64_t shape[4] = {width, 64, strstr(name, "_exps") ? 4 : 1, 1};
    struct mix_tensor t[2] = {{.name = str_of(name), .n_dims = 2, .shape = shape, .from = DTYPE_F16},
                              {.name = STR("output.weight"), .n_dims = 2, .shape = shape, .from = DTYPE_F16}};
    mix_assign(mix_find(str_of(mixture)), model, t, 2);
    return t[0].to;
}

static void rules(void **state)
{
    static const struct {
        const char *mixture, *arch;
        int n_layers, n_experts, n_kv_heads;
        const char *name;
        uint64_t width;
        enum dtype want;
    } rows[] = {
        {"Q4_K_M", "llama", 32, 0, 32, "token_embd.weight", 4096, DTYPE_Q4_K},
        {"q4_k", "llama", 32, 0, 32, "token_embd.weight", 4096, DTYPE_Q4_K},
        {"Q4_K_M", "llama", 1, 8, 8, "blk.0.attn_k.weight", 4096, DTYPE_Q8_0},
        {"Q4_K_M", "llama", 1, 8, 8, "blk.0.attn_output.weight", 4096, DTYPE_Q5_K},
        {"Q5_K_M", "llama", 1, 8, 8, "blk.0.attn_output.weight", 4096, DTYPE_Q5_K},
        {"Q4_K_S", "falcon", 60, 8, 8, "blk.0.attn_output.weight", 4096, DTYPE_Q4_K},
        {"Q4_K_S", "llama", 32, 0, 32, "blk.0.ffn_down.weight", 4096, DTYPE_Q5_K},
        {"Q4_K_S", "llama", 32, 4, 32, "blk.3.ffn_down_exps.weight", 4096, DTYPE_Q5_K},
        {"Q4_K_S", "llama", 32, 4, 32, "blk.4.ffn_down_exps.weight", 4096, DTYPE_Q4_K},
        {"Q4_K_M", "llama", 32, 4, 32, "blk.6.ffn_down_exps.weight", 4096, DTYPE_Q6_K},
        {"Q4_K_M", "llama", 32, 4, 32, "blk.7.ffn_down_exps.weight", 4096, DTYPE_Q4_K},
        {"Q4_K_M", "llama", 32, 4, 32, "blk.6.ffn_down_exps.weight", 4128, DTYPE_Q8_0},
        {"Q4_K_M", "llama", 32, 0, 32, "blk.0.ffn_up.weight", 4128, DTYPE_Q5_0},
        {"Q5_K_M", "llama", 32, 0, 32, "blk.0.ffn_up.weight", 4128, DTYPE_Q5_1},
        {"Q6_K", "llama", 32, 0, 32, "blk.0.ffn_up.weight", 4128, DTYPE_Q8_0},
        {"Q6_K", "llama", 32, 0, 32, "blk.0.ffn_up.weight", 172, DTYPE_F16},
        {"Q8_0", "llama", 32, 0, 32, "blk.0.ffn_up.weight", 172, DTYPE_F16},
        {"MXFP4", "llama", 32, 4, 32, "blk.0.ffn_up_exps.weight", 64, DTYPE_MXFP4},
        {"MXFP4_MOE", "llama", 32, 4, 32, "blk.0.attn_q.weight", 64, DTYPE_Q8_0},
        {"BF16", "llama", 32, 0, 32, "blk.0.attn_q.weight", 64, DTYPE_BF16},
        {"Q4_0", "llama", 32, 4, 32, "blk.0.ffn_gate_inp.weight", 4096, DTYPE_F16}, /* kept */
        {"Q4_0", "llama", 32, 0, 32, "blk.0.attn_q_norm.weight", 4096, DTYPE_F16},
        {"Q4_0", "llama", 32, 0, 32, "blk.0.ffn_up.bias", 4096, DTYPE_F16},
        {"Q4_0", "rwkv7", 32, 0, 32, "blk.0.time_mix_w1.weight", 4096, DTYPE_F16},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct mix_model model = {str_of(rows[i].arch), rows[i].n_layers, rows[i].n_experts, 32,
                                  rows[i].n_kv_heads, false};
        enum dtype got = type_of(rows[i].mixture, &model, rows[i].name, rows[i].width);
        if (got != rows[i].want)
            fail_msg("row %zu: %s of %s is %s, must be %s", i, rows[i].name, rows[i].mixture, dtype_name(got),
                     dtype_name(rows[i].want));
    }
}

/* An importance matrix guards the first layers of Q4_0. */
static void rules_by_weight(void **state)
{
    struct mix_model model = {STR("llama"), 8, 0, 32, 32, true};
    (void)state;
    assert_int_equal(type_of("Q4_0", &model, "blk.0.ffn_down.weight", 4096), DTYPE_Q4_1);
    assert_int_equal(type_of("Q4_0", &model, "blk.0.ffn_up.weight", 4096), DTYPE_Q4_0);
    assert_int_equal(type_of("Q4_K_S", &model, "blk.0.ffn_down.weight", 4096), DTYPE_Q5_K);
    model.n_layers = 7;
    assert_int_equal(type_of("Q4_0", &model, "blk.0.ffn_down.weight", 4096), DTYPE_Q4_0);
}

static void a_matrix_of_one_row_is_a_vector(void **state)
{
    uint64_t shape[4] = {256, 1, 1, 1};
    struct mix_model model = {STR("llama"), 1, 0, 1, 1, false};
    struct mix_tensor t = {.name = STR("blk.0.ffn_up.weight"), .n_dims = 2, .shape = shape, .from = DTYPE_F32};
    (void)state;
    mix_assign(mix_find(STR("Q4_0")), &model, &t, 1);
    assert_int_equal(t.to, DTYPE_F32);
}

/* ---- contents -------------------------------------------------------------------------------- */

static float *decoded(const struct gguf_tensor *t, uint64_t *n)
{
    const struct dtype_info *info = dtype_info(t->dtype);
    *n = t->bytes / info->block_bytes * info->block_n;
    float *x = malloc(*n * sizeof *x);
    assert_non_null(x);
    kern_scalar.decode[t->dtype](x, t->data, *n);
    return x;
}

/* What may be lost: root mean square of the error over that of the weights. */
static double loss_of(enum dtype type)
{
    static const struct {
        enum dtype type;
        double most;
    } rows[] = {{DTYPE_F32, 0}, {DTYPE_F16, 4e-4}, {DTYPE_BF16, 3e-3}, {DTYPE_Q8_0, 0.006}, {DTYPE_Q6_K, 0.02},
                {DTYPE_Q5_K, 0.04}, {DTYPE_Q4_K, 0.08}, {DTYPE_Q4_0, 0.09}, {DTYPE_MXFP4, 0.14}};
    size_t i = 0;
    while (i < COUNT_OF(rows) && rows[i].type != type) i++;
    if (i == COUNT_OF(rows)) fail_msg("%s was not expected", dtype_name(type));
    return rows[i].most;
}

static void compare(const struct gguf_tensor *in, const struct gguf_tensor *out)
{
    uint64_t n, m;
    double error = 0, square = 0;
    float *x = decoded(in, &n), *y = decoded(out, &m);
    assert_int_equal(n, m);
    for (uint64_t i = 0; i < n; i++) {
        error += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        square += (double)x[i] * (double)x[i];
    }
    if (sqrt(error / square) > loss_of(out->dtype))
        fail_msg("%.*s as %s: error %g", STR_ARG(in->name), dtype_name(out->dtype), sqrt(error / square));
    free(x);
    free(y);
}

static void check_values(const struct gguf *in, const struct gguf *out, uint32_t file_type)
{
    uint32_t got = 99;
    for (uint64_t i = 0; i < in->n_values; i++) {
        const struct gguf_value *a = &in->values[i], *b = &out->values[i];
        assert_true(str_eq(a->key, b->key) && a->type == b->type && a->n == b->n);
    }
    assert_int_equal(out->n_values, in->n_values + 2);
    OK(gguf_get_u32(out, "general.file_type", &got, &err));
    assert_int_equal(got, file_type);
    OK(gguf_get_u32(out, "general.quantization_version", &got, &err));
    assert_int_equal(got, 2);
}

static void check_mixture(const char *mixture, const char *source)
{
    struct gguf *in, *out;
    struct redline_made made;
    struct redline_quantize_params params = {.n_threads = 1};
    uint64_t bytes = 0;
    OK(redline_quantize(SCRATCH(source), SCRATCH("out.gguf"), mixture, &params, &made, &err));
    OK(quantize(source, "again.gguf", mixture, false, 3));
    check_same_files("out.gguf", "again.gguf");
    OK(gguf_open(&in, SCRATCH(source), &err));
    OK(gguf_open(&out, SCRATCH("out.gguf"), &err));
    check_values(in, out, mix_find(str_of(mixture))->file_type);
    assert_int_equal(out->n_tensors, in->n_tensors);
    for (uint64_t i = 0; i < in->n_tensors; i++) {
        const struct gguf_tensor *t = gguf_find_tensor(out, in->tensors[i].name);
        assert_non_null(t);
        compare(&in->tensors[i], t);
        bytes += t->bytes;
    }
    assert_int_equal(made.n_tensors, in->n_tensors);
    assert_int_equal(made.tensor_bytes, bytes);
    gguf_close(&in);
    gguf_close(&out);
}

static void every_mixture_keeps_what_it_can(void **state)
{
    (void)state;
    make_tiny("dense.gguf", DTYPE_F32, 0);
    make_tiny("experts.gguf", DTYPE_F32, 8);
    for (size_t i = 0; redline_mixture_name(i); i++) {
        check_mixture(redline_mixture_name(i), "dense.gguf");
        check_mixture(redline_mixture_name(i), "experts.gguf");
    }
}

/* F16 and BF16 are read as well; what has its type already is copied. */
static void other_inputs(void **state)
{
    (void)state;
    make_tiny("f16.gguf", DTYPE_F16, 0);
    OK(quantize("f16.gguf", "f32.gguf", "F32", false, 2));
    OK(quantize("f32.gguf", "back.gguf", "F16", false, 2));
    OK(quantize("f16.gguf", "copy.gguf", "F16", false, 2));
    check_same_files("back.gguf", "copy.gguf");
    OK(quantize("f16.gguf", "a.gguf", "Q8_0", false, 2));
    OK(quantize("a.gguf", "b.gguf", "Q8_0", false, 2)); /* nothing to encode: no permission needed */
    check_same_files("a.gguf", "b.gguf");
    scratch_clear();
    make_tiny("a.gguf", DTYPE_F32, 0);
    REFUSED(quantize("a.gguf", "b.gguf", "Q4_K_M", false, 2), 0, "");
    REFUSED(quantize("b.gguf", "c.gguf", "Q8_0", false, 2), REDLINE_ARG, "--allow-requantize");
    REFUSED(quantize("b.gguf", "c.gguf", "F16", false, 2), REDLINE_ARG, "is Q6_K already");
    assert_int_equal(scratch_clear(), 2);
}

static void requantizing_when_allowed(void **state)
{
    (void)state;
    make_tiny("a.gguf", DTYPE_Q8_0, 0);
    REFUSED(quantize("a.gguf", "b.gguf", "Q4_0", false, 2), REDLINE_ARG, "is Q8_0 already");
    OK(quantize("a.gguf", "b.gguf", "Q4_0", true, 2));
    struct gguf *g;
    OK(gguf_open(&g, SCRATCH("b.gguf"), &err));
    assert_int_equal(gguf_find_tensor(g, STR("blk.0.attn_q.weight"))->dtype, DTYPE_Q4_0);
    gguf_close(&g);
    assert_int_equal(scratch_clear(), 2);
}

/* ---- split inputs ---------------------------------------------------------------------------- */

static int write_part(const struct gguf *g, const char *name, uint16_t i, uint64_t first, uint64_t last)
{
    struct gguf_writer *w;
    TRY(gguf_writer_new(&w, SCRATCH(name), 0, &err));
    int status = gguf_write_u16(w, "split.no", i, &err);
    if (!status) status = gguf_write_u16(w, "split.count", 2, &err);
    for (uint64_t v = 0; v < g->n_values && i == 0 && !status; v++) status = gguf_write_value(w, &g->values[v], &err);
    for (uint64_t t = first; t < last && !status; t++)
        status = gguf_write_tensor(w, g->tensors[t].name, g->tensors[t].dtype, g->tensors[t].n_dims,
                                   g->tensors[t].shape, &err);
    for (uint64_t t = first; t < last && !status; t++)
        status = gguf_write_data(w, g->tensors[t].data, g->tensors[t].bytes, &err);
    if (!status) status = gguf_writer_finish(w, &err);
    gguf_writer_free(&w);
    return status;
}

static void split_input_gives_one_file(void **state)
{
    struct gguf *g;
    (void)state;
    make_tiny("a.gguf", DTYPE_F32, 0);
    OK(gguf_open(&g, SCRATCH("a.gguf"), &err));
    OK(write_part(g, "s-00001-of-00002.gguf", 0, 0, 17));
    OK(write_part(g, "s-00002-of-00002.gguf", 1, 17, g->n_tensors));
    gguf_close(&g);
    OK(quantize("a.gguf", "whole.gguf", "Q4_K_M", false, 2));
    OK(quantize("s-00001-of-00002.gguf", "joined.gguf", "Q4_K_M", false, 2));
    check_same_files("whole.gguf", "joined.gguf");
    REFUSED(quantize("s-00001-of-00002.gguf", "s-00001-of-00002.gguf", "F16", false, 1), REDLINE_ARG, "to be read");
    REFUSED(quantize("s-00001-of-00002.gguf", "s-00002-of-00002.gguf", "F16", false, 1), REDLINE_ARG, "to be read");
    OK(quantize("s-00001-of-00002.gguf", "f16.gguf", "F16", false, 1));
    assert_int_equal(scratch_clear(), 6);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void the_input_is_never_the_output(void **state)
{
    (void)state;
    make_tiny("a.gguf", DTYPE_F32, 0);
    OK(quantize("a.gguf", "copy.gguf", "F32", false, 1));
    assert_int_equal(symlink("a.gguf", SCRATCH("link.gguf")), 0);
    assert_int_equal(link(SCRATCH("a.gguf"), SCRATCH("hard.gguf")), 0);
    REFUSED(quantize("a.gguf", "a.gguf", "Q8_0", false, 1), REDLINE_ARG, "is the model that is to be read");
    REFUSED(quantize("a.gguf", "link.gguf", "Q8_0", false, 1), REDLINE_ARG, "is the model that is to be read");
    REFUSED(quantize("link.gguf", "a.gguf", "Q8_0", false, 1), REDLINE_ARG, "is the model that is to be read");
    REFUSED(quantize("a.gguf", "hard.gguf", "Q8_0", false, 1), REDLINE_ARG, "is the model that is to be read");
    OK(quantize("a.gguf", "again.gguf", "F32", false, 1));
    check_same_files("copy.gguf", "again.gguf");
    assert_int_equal(scratch_clear(), 5);
}

/* A model of one matrix whose last element is x. */
static void make_one(const char *name, float x, const char *arch)
{
    enum { N = 40000 };
    static float weights[2 * N]; /* more than one piece */
    struct gguf_writer *w;
    weights[2 * N - 1] = x;
    OK(gguf_writer_new(&w, SCRATCH(name), 0, &err));
    if (arch) OK(gguf_write_string(w, "general.architecture", str_of(arch), &err));
    OK(gguf_write_u32(w, "llama.block_count", 1, &err));
    OK(gguf_write_tensor(w, STR("blk.0.ffn_up.weight"), DTYPE_F32, 2, (const uint64_t[]){N, 2}, &err));
    OK(gguf_write_data(w, weights, sizeof weights, &err));
    OK(gguf_writer_finish(w, &err));
    gguf_writer_free(&w);
}

static void weights_that_no_block_can_hold(void **state)
{
    static const struct {
        float x;
        const char *mixture, *part; /* NULL: is written */
    } rows[] = {{NAN, "Q8_0", "not a finite number"}, {-INFINITY, "Q4_0", "not a finite number"},
                {INFINITY, "BF16", "not a finite number"}, {NAN, "F32", NULL /* copied */},
                {7e4f, "F16", "of size 70000; what goes to F16 must fit into f16: 65504"},
                {-7e4f, "Q8_0", "what goes to Q8_0 must fit"}, {7e4f, "BF16", NULL}, {6e4f, "Q4_0", NULL},
                {6e4f, "F16", NULL}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        make_one("a.gguf", rows[i].x, "llama");
        if (rows[i].part)
            REFUSED(quantize("a.gguf", "b.gguf", rows[i].mixture, false, 2), REDLINE_FORMAT, rows[i].part);
        else
            OK(quantize("a.gguf", "b.gguf", rows[i].mixture, false, 2));
        assert_int_equal(scratch_clear(), rows[i].part ? 1 : 2);
    }
}

static void what_is_no_model(void **state)
{
    (void)state;
    make_one("a.gguf", 1, NULL);
    REFUSED(quantize("a.gguf", "b.gguf", "Q8_0", false, 1), REDLINE_FORMAT, "no general.architecture");
    make_one("a.gguf", 1, "other");
    REFUSED(quantize("a.gguf", "b.gguf", "Q8_0", false, 1), REDLINE_FORMAT, "no other.block_count");
    REFUSED(quantize("none.gguf", "b.gguf", "Q8_0", false, 1), REDLINE_IO, "none.gguf");
    REFUSED(quantize("a.gguf", "b.gguf", "Q3_X", false, 1), REDLINE_ARG, "no type 'Q3_X'; known are F32, F16");
    make_one("a.gguf", 1, "llama");
    REFUSED(quantize("a.gguf", "no/folder/b.gguf", "Q8_0", false, 1), REDLINE_IO, "no/folder/b.gguf");
    assert_int_equal(scratch_clear(), 1);
}

static void no_room_on_the_disk(void **state)
{
    struct rlimit old, small = {20000, 20000};
    (void)state;
    make_tiny("a.gguf", DTYPE_F32, 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int status = quantize("a.gguf", "b.gguf", "Q8_0", false, 2);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    REFUSED(status, REDLINE_IO, "cannot write");
    REFUSED(redline_quantize(SCRATCH("a.gguf"), "/dev/full", "Q8_0", NULL, NULL, &err), REDLINE_IO, "No space left");
    assert_int_equal(scratch_clear(), 1);
}

static int stop_half_way(void *user, const struct redline_make_progress *p)
{
    int *n_calls = user;
    ++*n_calls;
    assert_true(p->done_bytes > 0 && p->done_bytes <= p->total_bytes && strlen(p->tensor) > 0);
    return p->done_bytes > p->total_bytes / 2;
}

static void the_listener_may_stop_it(void **state)
{
    int n_calls = 0;
    struct redline_quantize_params params = {.n_threads = 2, .listener = stop_half_way, .user = &n_calls};
    (void)state;
    make_tiny("a.gguf", DTYPE_F32, 0);
    REFUSED(redline_quantize(SCRATCH("a.gguf"), SCRATCH("b.gguf"), "Q8_0", &params, NULL, &err), REDLINE_CANCEL,
            "stopped at");
    assert_in_range(n_calls, 2, 100);
    assert_int_equal(scratch_clear(), 1);
}

static void every_refused_resource_is_said(void **state)
{
    static const struct {
        enum fault_kind kind;
        int code;
    } faults[] = {{FAULT_ALLOC, REDLINE_MEMORY}, {FAULT_READ, REDLINE_IO}, {FAULT_THREAD, REDLINE_DEVICE}};
    (void)state;
    make_one("a.gguf", 1, "llama");
    for (size_t f = 0; f < COUNT_OF(faults); f++) {
        fault_arm(faults[f].kind, 0, false);
        OK(quantize("a.gguf", "b.gguf", "Q4_0", false, 2));
        uint64_t n = fault_count(faults[f].kind);
        unlink(SCRATCH("b.gguf"));
        assert_true(n > 0);
        for (uint64_t i = 1; i <= n; i++) {
            fault_arm(faults[f].kind, i, false);
            assert_int_equal(quantize("a.gguf", "b.gguf", "Q4_0", false, 2), faults[f].code);
            assert_int_not_equal(access(SCRATCH("b.gguf"), F_OK), 0);
        }
        fault_arm(faults[f].kind, 0, false);
    }
    assert_int_equal(scratch_clear(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules),
        cmocka_unit_test(rules_by_weight),
        cmocka_unit_test(a_matrix_of_one_row_is_a_vector),
        cmocka_unit_test(every_mixture_keeps_what_it_can),
        cmocka_unit_test(other_inputs),
        cmocka_unit_test(requantizing_when_allowed),
        cmocka_unit_test(split_input_gives_one_file),
        cmocka_unit_test(the_input_is_never_the_output),
        cmocka_unit_test(weights_that_no_block_can_hold),
        cmocka_unit_test(what_is_no_model),
        cmocka_unit_test(no_room_on_the_disk),
        cmocka_unit_test(the_listener_may_stop_it),
        cmocka_unit_test(every_refused_resource_is_said),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
