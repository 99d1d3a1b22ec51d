/* test_imatrix.c - importance matrices: collecting one from an engine, the file, and redline_quantize() by it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base.h"
#include "check.h"
#include "fault.h"
#include "file.h"
#include "imatrix.h"
#include "redline_make.h"
#include "redline_probe.h"
#include "scratch.h"
#include "tiny.h"

static struct redline_err err;

#define REFUSED(call, code, part)                                                                   \
    do {                                                                                            \
        assert_int_equal(call, code);                                                               \
        if (!strstr(err.message, part)) fail_msg("'%s' is missing in '%s'", part, err.message);     \
    } while (0)

static void check_same_files(const char *a, const char *b, bool same)
{
    struct buf x, y;
    OK(file_read(&x, SCRATCH(a), &err));
    OK(file_read(&y, SCRATCH(b), &err));
    assert_int_equal(x.n == y.n && memcmp(x.p, y.p, x.n) == 0, same);
    buf_free(&x);
    buf_free(&y);
}

static void make_model(const char *name, int n_experts)
{
    struct tiny m = tiny_default;
    m.n_experts = n_experts;
    m.n_used = n_experts ? 2 : 0;
    OK(tiny_write(SCRATCH(name), &m, &err));
}

/* ---- collecting ------------------------------------------------------------------------------ */

enum { N_TOKENS = 40 };

/* Two requests of N_TOKENS tokens with a row of logits each. */
static int score(struct redline_engine *engine)
{
    for (int k = 0; k < 2; k++) {
        struct redline_job *job;
        struct redline_event done;
        int32_t ids[N_TOKENS];
        for (int i = 0; i < N_TOKENS; i++) ids[i] = (i * 31 + k * 7) % 96;
        struct redline_request request = {.kind = REDLINE_SCORE, .ids = ids, .n_ids = N_TOKENS};
        TRY(redline_submit(&job, engine, &request, &err));
        int status = redline_wait(job, &done, &err);
        redline_job_free(&job);
        if (status) return status;
    }
    return 0;
}

static int collect(const char *model_name, const char *out, int n_threads, int n_ubatch,
                   struct redline_imatrix_facts *facts)
{
    struct redline_model *model = NULL;
    struct redline_engine *engine = NULL;
    struct redline_imatrix *matrix = NULL;
    struct redline_imatrix_text text = {"a text", 2, N_TOKENS};
    struct redline_engine_params params = {
        .n_ctx = N_TOKENS, .n_threads = n_threads, .n_ubatch = n_ubatch, .n_outputs = n_ubatch};
    int status = redline_imatrix_new(&matrix, &err);
    params.imatrix = matrix;
    if (!status) status = redline_model_open(&model, SCRATCH(model_name), &err);
    if (!status) status = redline_engine_open(&engine, model, &params, &err);
    if (!status) status = score(engine);
    redline_engine_close(&engine);
    if (!status) status = redline_imatrix_write(matrix, SCRATCH(out), &text, facts, &err);
    redline_imatrix_free(&matrix);
    redline_model_close(&model);
    return status;
}

static const struct imatrix_entry *entry(const struct imatrix *m, const char *name)
{
    const struct imatrix_entry *e = imatrix_find(m, str_of(name));
    if (!e) fail_msg("there is no entry '%s'", name);
    return e;
}

static double total(const struct imatrix_entry *e)
{
    double sum = 0;
    for (uint64_t i = 0; i < e->n_sums; i++) sum += (double)e->sums[i];
    return sum;
}

/* What is normed has length sqrt(width) before its weights; so sums of squares are known but for these. */
static void sums_of_a_dense_model(void **state)
{
    struct imatrix m;
    struct redline_imatrix_facts facts;
    (void)state;
    make_model("a.gguf", 0);
    OK(collect("a.gguf", "m.gguf", 2, 16, &facts));
    assert_int_equal(facts.n_entries, 2 * 7 + 1);
    assert_int_equal(facts.n_partial, 0);
    OK(imatrix_open(&m, SCRATCH("m.gguf"), &err));
    assert_int_equal(m.n, facts.n_entries);
    assert_true(str_eq(m.text.dataset, STR("a text")));
    assert_int_equal(m.text.n_chunks, 2);
    assert_int_equal(m.text.chunk_size, N_TOKENS);
    for (size_t i = 0; i < m.n; i++) {
        assert_int_equal(m.entries[i].n_counts, 1);
        assert_true(m.entries[i].counts[0] == 2 * N_TOKENS);
    }
    const struct imatrix_entry *q = entry(&m, "blk.1.attn_q.weight"), *k = entry(&m, "blk.1.attn_k.weight");
    assert_int_equal(q->n_sums, 256);
    assert_memory_equal(q->sums, k->sums, 256 * sizeof(float)); /* the same rows */
    double mean = total(q) / (2 * N_TOKENS) / 256;
    assert_true(mean > 0.8 && mean < 1.3);
    assert_int_equal(entry(&m, "blk.1.ffn_down.weight")->n_sums, 512);
    entry(&m, "output.weight");
    assert_null(imatrix_find(&m, STR("token_embd.weight")));
    imatrix_close(&m);
    scratch_clear();
}

static void sums_of_experts(void **state)
{
    struct imatrix m;
    struct redline_imatrix_facts facts;
    (void)state;
    make_model("a.gguf", 16);
    OK(collect("a.gguf", "m.gguf", 2, 16, &facts));
    OK(imatrix_open(&m, SCRATCH("m.gguf"), &err));
    size_t n_partial = 0;
    for (int layer = 0; layer < 2; layer++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.ffn_up_exps.weight", layer);
        const struct imatrix_entry *e = entry(&m, name);
        snprintf(name, sizeof name, "blk.%d.ffn_gate_inp.weight", layer);
        double n_rows = 0, router = total(entry(&m, name));
        bool partial = false;
        assert_int_equal(e->n_counts, 16);
        for (int i = 0; i < 16; i++) {
            double sum = 0;
            n_rows += (double)e->counts[i];
            for (int c = 0; c < 256; c++) sum += (double)e->sums[i * 256 + c];
            assert_true((sum > 0) == (e->counts[i] > 0));
            partial = partial || e->counts[i] == 0;
        }
        n_partial += 3 * partial;
        assert_true(n_rows == 2 * N_TOKENS * 2); /* two experts a token */
        assert_true(fabs(total(e) / router - 2) < 1e-4);
    }
    assert_int_equal(facts.n_partial, n_partial);
    imatrix_close(&m);
    scratch_clear();
}

static void the_same_for_any_threads_and_batches(void **state)
{
    (void)state;
    for (int n_experts = 0; n_experts <= 8; n_experts += 8) {
        make_model("a.gguf", n_experts);
        OK(collect("a.gguf", "1.gguf", 1, 40, NULL));
        OK(collect("a.gguf", "2.gguf", 2, 40, NULL));
        OK(collect("a.gguf", "3.gguf", 3, 7, NULL));
        check_same_files("1.gguf", "2.gguf", true);
        check_same_files("1.gguf", "3.gguf", true);
        scratch_clear();
    }
}

static void what_nobody_computed(void **state)
{
    struct redline_imatrix *matrix;
    struct redline_imatrix_text text = {0};
    (void)state;
    OK(redline_imatrix_new(&matrix, &err));
    REFUSED(redline_imatrix_write(matrix, SCRATCH("m.gguf"), &text, NULL, &err), REDLINE_ARG, "is empty");
    redline_imatrix_free(&matrix);
    redline_imatrix_free(&matrix);
    assert_int_equal(scratch_clear(), 0);
}

/* ---- the file -------------------------------------------------------------------------------- */

/* A file with one pair of tensors, parts of which may be wrong. */
static void make_file(const char *name, const char *sums_name, const char *counts_name, enum dtype type,
                      uint64_t n_counts, float sum, float count)
{
    struct gguf_writer *w;
    float sums[256], counts[3] = {count, count, count};
    for (int i = 0; i < 256; i++) sums[i] = i == 77 ? sum : 1;
    OK(gguf_writer_new(&w, SCRATCH(name), 0, &err));
    OK(gguf_write_string(w, "general.type", STR("imatrix"), &err));
    OK(gguf_write_tensor(w, str_of(sums_name), type, 1, (const uint64_t[]){256}, &err));
    OK(gguf_write_tensor(w, str_of(counts_name), DTYPE_F32, 1, &n_counts, &err));
    OK(gguf_write_data(w, sums, dtype_row_bytes(dtype_info(type), 256), &err));
    OK(gguf_write_data(w, counts, n_counts * sizeof(float), &err));
    OK(gguf_writer_finish(w, &err));
    gguf_writer_free(&w);
}

static void broken_files(void **state)
{
    static const struct {
        const char *sums, *counts;
        enum dtype type;
        uint64_t n_counts;
        float sum, count;
        const char *part; /* NULL: is read */
    } rows[] = {
        {"a.in_sum2", "a.counts", DTYPE_F32, 1, 0, 5, NULL},
        {"a.in_sum2", "a.counts", DTYPE_F32, 2, 0, 0, NULL},
        {"a.in_sum2", "b.counts", DTYPE_F32, 1, 1, 5, "sums for 'a' and no tensor 'a.counts'"},
        {"a.in_sum", "a.counts", DTYPE_F32, 1, 1, 5, "is no importance matrix: it has no tensor of sums"},
        {"a.in_sum2", "a.counts", DTYPE_F16, 1, 1, 5, "holds 'a.in_sum2' as F16, it must be F32"},
        {"a.in_sum2", "a.counts", DTYPE_F32, 3, 1, 5, "256 sums of 'a' for 3 counts"},
        {"a.in_sum2", "a.counts", DTYPE_F32, 1, -1, 5, "-1 in 'a.in_sum2', at 77 of 256"},
        {"a.in_sum2", "a.counts", DTYPE_F32, 1, INFINITY, 5, "inf in 'a.in_sum2', at 77 of 256"},
        {"a.in_sum2", "a.counts", DTYPE_F32, 1, 1, NAN, "nan in 'a.counts', at 0 of 1"},
    };
    struct imatrix m;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        make_file("m.gguf", rows[i].sums, rows[i].counts, rows[i].type, rows[i].n_counts, rows[i].sum, rows[i].count);
        if (rows[i].part) {
            REFUSED(imatrix_open(&m, SCRATCH("m.gguf"), &err), REDLINE_FORMAT, rows[i].part);
        } else {
            OK(imatrix_open(&m, SCRATCH("m.gguf"), &err));
            assert_int_equal(m.n, 1);
            imatrix_close(&m);
        }
    }
    REFUSED(imatrix_open(&m, SCRATCH("none.gguf"), &err), REDLINE_IO, "none.gguf");
    scratch_clear();
}

/* ---- quantize -------------------------------------------------------------------------------- */

static int quantize(const char *out, const char *mixture, const char *imatrix, int n_threads, struct redline_made *made)
{
    struct redline_quantize_params params = {.n_threads = n_threads, .imatrix = imatrix ? SCRATCH(imatrix) : NULL};
    return redline_quantize(SCRATCH("a.gguf"), SCRATCH(out), mixture, &params, made, &err);
}

/* A matrix for the tiny model in which the first `n_important` columns of every weight matter most. */
static void make_matrix(const char *name, const char *const *weights, size_t n, uint64_t n_mats, uint64_t n_cols)
{
    struct imatrix_entry entries[8];
    struct imatrix_text text = {STR("made up"), 3, 512};
    static float sums[8 * 512], counts[8];
    for (size_t i = 0; i < COUNT_OF(sums); i++) sums[i] = i % 4 == 0 ? 100 : 0.01f;
    for (size_t i = 0; i < COUNT_OF(counts); i++) counts[i] = i == 1 ? 0 : 7; /* the second expert: never */
    for (size_t i = 0; i < n; i++)
        entries[i] = (struct imatrix_entry){str_of(weights[i]), n_mats * n_cols, n_mats, sums, counts};
    OK(imatrix_write(SCRATCH(name), entries, n, &text, &err));
}

/* The squares of the error of every fourth column, which the matrix above calls important, and of the others. */
static void errors_of(const char *file, const char *name, uint64_t first, uint64_t n, double *important, double *others)
{
    struct gguf *a, *b;
    OK(gguf_open(&a, SCRATCH("a.gguf"), &err));
    OK(gguf_open(&b, SCRATCH(file), &err));
    const struct gguf_tensor *x = gguf_find_tensor(a, str_of(name)), *y = gguf_find_tensor(b, str_of(name));
    float *numbers = malloc((first + n) * sizeof *numbers);
    assert_non_null(numbers);
    assert_int_equal(x->dtype, DTYPE_F32);
    kern_scalar.decode[y->dtype](numbers, y->data, first + n);
    *important = *others = 0;
    for (uint64_t i = first; i < first + n; i++) {
        double e = (double)numbers[i] - (double)((const float *)x->data)[i];
        *(i % 4 ? others : important) += e * e;
    }
    free(numbers);
    gguf_close(&a);
    gguf_close(&b);
}

static void important_columns_lose_less(void **state)
{
    static const char *const names[] = {"blk.0.attn_q.weight", "blk.1.ffn_up.weight"};
    struct redline_made made;
    struct gguf *g;
    struct str text;
    uint32_t n = 0;
    double before, after, others;
    (void)state;
    make_model("a.gguf", 0);
    make_matrix("m.gguf", names, 2, 1, 256);
    OK(quantize("without.gguf", "Q4_K_M", NULL, 2, &made));
    assert_int_equal(made.n_weighted + made.n_unweighted, 0);
    OK(quantize("with.gguf", "Q4_K_M", "m.gguf", 2, &made));
    assert_int_equal(made.n_weighted, 2);
    assert_int_equal(made.n_unweighted, 2 * 7 + 2 - 2);
    assert_string_equal(made.unweighted, "output.weight");
    for (size_t i = 0; i < 2; i++) {
        errors_of("without.gguf", names[i], 0, 256 * 256, &before, &others);
        errors_of("with.gguf", names[i], 0, 256 * 256, &after, &others);
        if (after > 0.8 * before) fail_msg("%s: %g without weights, %g with", names[i], before, after);
    }
    errors_of("without.gguf", "blk.0.attn_k.weight", 0, 128 * 256, &before, &others);
    errors_of("with.gguf", "blk.0.attn_k.weight", 0, 128 * 256, &after, &others);
    assert_true(before == after);
    OK(quantize("again.gguf", "Q4_K_M", "m.gguf", 1, NULL));
    check_same_files("with.gguf", "again.gguf", true);
    OK(gguf_open(&g, SCRATCH("with.gguf"), &err));
    OK(gguf_get_string(g, "quantize.imatrix.dataset", &text, &err));
    assert_true(str_eq(text, STR("made up")));
    OK(gguf_get_string(g, "quantize.imatrix.file", &text, &err));
    assert_true(str_eq(text, str_of(SCRATCH("m.gguf"))));
    OK(gguf_get_u32(g, "quantize.imatrix.entries_count", &n, &err));
    assert_int_equal(n, 2);
    OK(gguf_get_u32(g, "quantize.imatrix.chunks_count", &n, &err));
    assert_int_equal(n, 3);
    gguf_close(&g);
    scratch_clear();
}

/* Each expert by its own row; the second, which no token chose, without. */
static void experts_by_their_own_weights(void **state)
{
    static const char *const names[] = {"blk.0.ffn_up_exps.weight"};
    const uint64_t mat = 512 * 256;
    double before, after, others;
    (void)state;
    make_model("a.gguf", 4);
    make_matrix("m.gguf", names, 1, 4, 256);
    OK(quantize("without.gguf", "Q4_K_M", NULL, 2, NULL));
    OK(quantize("with.gguf", "Q4_K_M", "m.gguf", 2, NULL));
    for (uint64_t i = 0; i < 4; i++) {
        errors_of("without.gguf", names[0], i * mat, mat, &before, &others);
        errors_of("with.gguf", names[0], i * mat, mat, &after, &others);
        if (i == 1 ? after != before : after > 0.8 * before)
            fail_msg("expert %d: %g without weights, %g with", (int)i, before, after);
    }
    scratch_clear();
}

static void what_does_not_fit(void **state)
{
    static const char *const names[] = {"blk.0.attn_q.weight"}, *const others[] = {"blk.9.attn_q.weight"};
    (void)state;
    make_model("a.gguf", 0);
    make_matrix("m.gguf", names, 1, 1, 512);
    REFUSED(quantize("b.gguf", "Q4_0", "m.gguf", 2, NULL), REDLINE_FORMAT,
            "512 sums and 1 counts for 'blk.0.attn_q.weight', which has 1 matrices of 256 columns");
    make_matrix("m.gguf", names, 1, 2, 128);
    REFUSED(quantize("b.gguf", "Q4_0", "m.gguf", 2, NULL), REDLINE_FORMAT, "256 sums and 2 counts");
    make_matrix("m.gguf", others, 1, 1, 256);
    REFUSED(quantize("b.gguf", "Q4_0", "m.gguf", 2, NULL), REDLINE_FORMAT, "no entry for any of the 16 tensors");
    REFUSED(quantize("b.gguf", "Q4_0", "a.gguf", 2, NULL), REDLINE_FORMAT, "is no importance matrix");
    REFUSED(quantize("b.gguf", "Q4_0", "none.gguf", 2, NULL), REDLINE_IO, "none.gguf");
    OK(quantize("b.gguf", "Q8_0", "m.gguf", 2, NULL)); /* which has nothing to weigh */
    assert_int_equal(scratch_clear(), 3);
}

/* ---- faults ---------------------------------------------------------------------------------- */

static int collect_again(void)
{
    return collect("a.gguf", "c.gguf", 1, 40, NULL);
}

static int quantize_again(void)
{
    return quantize("c.gguf", "Q4_0", "m.gguf", 2, NULL);
}

static void every_refused_allocation_is_said(void **state)
{
    static int (*const calls[])(void) = {collect_again, quantize_again};
    static const char *const names[] = {"blk.0.attn_q.weight"};
    (void)state;
    make_model("a.gguf", 0);
    make_matrix("m.gguf", names, 1, 1, 256);
    for (size_t c = 0; c < COUNT_OF(calls); c++) {
        fault_arm(FAULT_ALLOC, 0, false);
        OK(calls[c]());
        uint64_t n = fault_count(FAULT_ALLOC);
        unlink(SCRATCH("c.gguf"));
        for (uint64_t i = 1; i <= n; i++) {
            fault_arm(FAULT_ALLOC, i, false);
            assert_int_equal(calls[c](), REDLINE_MEMORY);
            assert_int_not_equal(access(SCRATCH("c.gguf"), F_OK), 0);
        }
        fault_arm(FAULT_ALLOC, 0, false);
    }
    scratch_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_of_a_dense_model),
        cmocka_unit_test(sums_of_experts),
        cmocka_unit_test(the_same_for_any_threads_and_batches),
        cmocka_unit_test(what_nobody_computed),
        cmocka_unit_test(broken_files),
        cmocka_unit_test(important_columns_lose_less),
        cmocka_unit_test(experts_by_their_own_weights),
        cmocka_unit_test(what_does_not_fit),
        cmocka_unit_test(every_refused_allocation_is_said),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
