/* test_families.c - every family of models against transformers.
 *
 * tests/data/families has a tiny random model of each, hollow (hollow.h), and the logits that transformers
 * computes with the same weights after the first and the last few tokens; tools/golden/families.py makes
 * both.  Here each runs with an F32 cache and exact arithmetic, its prompt in one batch and in small ones. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "hollow.h"
#include "model.h"
#include "nmse.h"
#include "scratch.h"

enum { MOST_MODELS = 200, MOST_TOKENS = 512 };

#define FAMILIES SOURCE_DIR "/tests/data/families/"

static struct redline_err err;

static struct family {
    char name[64];
    int n_tokens, n_first, n_last; /* logits of the first and the last so many tokens are known */
    double bound;                  /* of the normalised mean squared error */
} families[MOST_MODELS];
static int n_families;

static bool read_list(void)
{
    char line[256];
    FILE *f = fopen(FAMILIES "families.txt", "r");
    if (!f) return false;
    while (n_families < MOST_MODELS && fgets(line, sizeof line, f)) {
        struct family *m = &families[n_families];
        if (line[0] == '#') continue;
        int n = sscanf(line, "%63s %d %d %d %lf", m->name, &m->n_tokens, &m->n_first, &m->n_last, &m->bound);
        if (n != 5) break;
        n_families++;
    }
    bool complete = feof(f) != 0;
    fclose(f);
    return complete && n_families;
}

/* ---- running ------------------------------------------------------------------------------------- */

struct loaded {
    struct gguf *g;
    struct backend *b;
    struct model *m;
};

static int load(struct loaded *l, const char *path, int n_tokens)
{
    struct backend_params bp = {.n_threads = 2, .exact = true};
    struct model_params mp = {.type_k = DTYPE_F32, .type_v = DTYPE_F32, .n_ctx = n_tokens, .n_seqs = 1,
                              .n_ubatch = n_tokens, .n_outputs = n_tokens};
    TRY(gguf_open(&l->g, path, &err));
    TRY(backend_cpu.open(&l->b, &bp, &err));
    return model_open(&l->m, l->g, l->b, &mp, &err);
}

static void unload(struct loaded *l)
{
    model_close(&l->m);
    if (l->b) l->b->ops->close(&l->b);
    gguf_close(&l->g);
}

static bool is_wanted(const struct family *f, int i)
{
    return i < f->n_first || i >= f->n_tokens - f->n_last;
}

/* The wanted rows of logits to out, the prompt fed in batches of `step`. */
static int feed(struct model *m, const struct family *f, int step, float *out)
{
    size_t v = (size_t)m->h.n_vocab;
    for (int i = 0; i < f->n_tokens; i += step) {
        int n = MIN(step, f->n_tokens - i), rows = 0;
        for (int j = i; j < i + n; j++) {
            unsigned wanted = is_wanted(f, j) ? MODEL_LOGITS : 0;
            TRY(model_add(m, 0, hollow_id(f->name, (uint64_t)j, m->h.n_vocab), wanted, &err));
            rows += wanted != 0;
        }
        TRY(model_run(m, &err));
        memcpy(out, m->logits, (size_t)rows * v * sizeof *out);
        out += (size_t)rows * v;
    }
    return 0;
}

/* ---- comparing ----------------------------------------------------------------------------------- */

/* The known rows, n numbers; NULL when the file has another size. */
static float *read_reference(const char *name, size_t n)
{
    char path[512];
    snprintf(path, sizeof path, FAMILIES "%s.f32", name);
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    float *out = mem_new(n + 1, sizeof *out);
    size_t got = fread(out, sizeof *out, n + 1, f);
    fclose(f);
    if (got == n) return out;
    mem_free(out);
    return NULL;
}

/* Whether one way of feeding stays within the bound. */
static bool check_feeding(const struct family *f, struct model *m, int step, const float *want, size_t n)
{
    float *got = mem_new(n, sizeof *got);
    model_trim(m, 0, 0);
    int status = feed(m, f, step, got);
    double error = status ? NAN : nmse(got, want, n);
    bool is_right = error <= f->bound;
    if (status)
        print_message("%s: in batches of %d: %s\n", f->name, step, err.message);
    else
        print_message("%-24s in batches of %3d: %.2g%s\n", f->name, step, error, is_right ? "" : "  WRONG");
    mem_free(got);
    return is_right;
}

static bool check_loaded(const struct family *f, struct model *m)
{
    size_t n = (size_t)(f->n_first + f->n_last) * (size_t)m->h.n_vocab;
    float *want = read_reference(f->name, n);
    bool is_right = want != NULL;
    if (!want) print_message("%s: no reference of %zu numbers\n", f->name, n);
    for (int i = 0; want && i < 3; i++)
        is_right &= check_feeding(f, m, (const int[]){f->n_tokens, 7, 1}[i], want, n);
    mem_free(want);
    return is_right;
}

static bool check_family(const struct family *f)
{
    char hollow[512];
    struct loaded l = {0};
    snprintf(hollow, sizeof hollow, FAMILIES "%s.gguf", f->name);
    int status = hollow_inflate(hollow, SCRATCH("model.gguf"), &err);
    if (!status) status = load(&l, SCRATCH("model.gguf"), f->n_tokens);
    bool is_right = !status && check_loaded(f, l.m);
    if (status) print_message("%s: %s\n", f->name, err.message);
    unload(&l);
    return is_right;
}

static void test_families(void **state)
{
    int n_wrong = 0;
    (void)state;
    assert_true(read_list());
    for (int i = 0; i < n_families; i++) {
        assert_true(families[i].n_tokens <= MOST_TOKENS);
        n_wrong += !check_family(&families[i]);
    }
    if (n_wrong) fail_msg("%d of %d models are not right", n_wrong, n_families);
}

/* ---- the generator ------------------------------------------------------------------------------- */

/* What tools/golden/hollow.py computes. */
static void test_generator(void **state)
{
    struct gguf_tensor t = {.name = STR("blk.0.attn_q.weight"), .shape = {64, 1, 1, 1}};
    (void)state;
    assert_true(hollow_word(str_hash(t.name), 2) == 0xde184e2817327282u);
    assert_int_equal(hollow_rule_of(&t).shift, -2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generator),
        cmocka_unit_test(test_families),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
