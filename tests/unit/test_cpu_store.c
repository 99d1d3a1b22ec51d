/* test_cpu_store.c - weights as strips: parts of tensors, wherever they begin, are packed once and then stay. */
#include "check.h"
#include "cpu/cpu_store.h"
#include "file.h"
#include "hollow.h"
#include "model.h"
#include "scratch.h"

enum { COLS = 64, ROWS = 21, FIRST = 9, MATS = 3 };

static struct redline_err err;

/* Two parts of a tensor of MATS matrices: rows before FIRST, and from there on. */
static void cut(struct weight part[2], const float *data)
{
    static const int rows[2] = {FIRST, ROWS - FIRST};
    for (int i = 0; i < 2; i++)
        part[i] = (struct weight){.dtype = DTYPE_F32,
                                  .n_cols = COLS,
                                  .n_rows = rows[i],
                                  .n_mats = MATS,
                                  .row_bytes = COLS * sizeof(float),
                                  .mat_bytes = ROWS * COLS * sizeof(float),
                                  .data = data + i * FIRST * COLS};
}

/* Packing gives pages back, so they have to be a file's. */
static void map_parts(struct file_map *map, struct weight part[2])
{
    FILE *f = fopen(SCRATCH("rows"), "wb");
    assert_non_null(f);
    for (int i = 0; i < MATS * ROWS * COLS; i++) {
        float x = (float)i;
        assert_int_equal(fwrite(&x, sizeof x, 1, f), 1);
    }
    fclose(f);
    OK(file_map(map, SCRATCH("rows"), &err));
    cut(part, map->data);
}

/* Every matrix of the part has its strips, and they are the file's rows. */
static void check_part(const struct weight *w, bool is_packed)
{
    size_t bytes = (size_t)CEIL_DIV(w->n_rows, STRIP) * strip_bytes(strip_form(w->dtype), w->n_cols);
    char *want = mem_new(bytes, 1);
    for (int mat = 0; mat < w->n_mats; mat++) {
        const char *strips = store_strips(w, (size_t)mat * w->mat_bytes, w->n_rows, kern_ops());
        assert_int_equal(strips != NULL, is_packed);
        if (!strips) continue;
        store_pack_rows(want, w, (size_t)mat * w->mat_bytes, w->n_rows, &kern_scalar);
        assert_memory_equal(strips, want, bytes);
    }
    mem_free(want);
}

static void check_parts(const struct weight part[2], bool are_packed)
{
    for (int i = 0; i < 2; i++) check_part(&part[i], are_packed);
}

static void test_parts_at_first_use(void **state)
{
    struct store s = {0};
    struct weight part[2];
    struct file_map map;
    (void)state;
    map_parts(&map, part);
    for (int i = 0; i < 2; i++) OK(store_place(&s, &part[i], &err));
    store_allow(&s, 0);
    check_parts(part, false);
    assert_false(store_packed_some(&s));
    store_allow(&s, 1 << 20);
    check_parts(part, true);
    assert_true(store_packed_some(&s));
    store_allow(&s, 0);
    check_parts(part, true);
    store_free(&s);
    file_unmap(&map);
}

static void test_parts_at_rest(void **state)
{
    struct store s = {0};
    struct weight part[2];
    struct file_map map;
    struct team *team;
    (void)state;
    map_parts(&map, part);
    OK(team_new(&team, 2, &err));
    for (int i = 0; i < 2; i++) OK(store_place(&s, &part[i], &err));
    int n_calls = 1;
    while (!store_settle(&s, team, kern_ops(), 2 * COLS * STRIP * sizeof(float))) n_calls++;
    assert_in_range(n_calls, 3, 10); /* in pieces, but not in rows */
    check_parts(part, true);
    team_free(&team);
    store_free(&s);
    file_unmap(&map);
}

/* ---- models whose tensors hold several matrices ------------------------------------------------------- */

/* What is multiplied of a layer; and whether it begins within one of the file's sixteen rows. */
static int check_linear(const struct linear *l, const struct linear *all)
{
    if (l->w.n_mats == 0) return 0;
    check_part(&l->w, true);
    return all->w.n_mats && ((const char *)l->w.data - (const char *)all->w.data) / (ptrdiff_t)l->w.row_bytes % STRIP;
}

static int check_layer(const struct layer_weights *l)
{
    check_linear(&l->wo, &l->wo);
    check_linear(&l->down, &l->down);
    return check_linear(&l->wq, &l->wqkv) + check_linear(&l->wk, &l->wqkv) + check_linear(&l->wv, &l->wqkv) +
           check_linear(&l->gate, &l->gate_up) + check_linear(&l->up, &l->gate_up) +
           check_linear(&l->wk_b, &l->wkv_b) + check_linear(&l->wv_b, &l->wkv_b);
}

/* Parts that begin within a strip of the file. */
static int check_model(const char *name)
{
    char hollow[512];
    int n = 0;
    struct gguf *g;
    struct backend *b;
    struct model *m;
    struct backend_params bp = {.n_threads = 2};
    struct model_params mp = {.type_k = DTYPE_F32, .type_v = DTYPE_F32, .n_ctx = 64, .n_seqs = 1, .n_ubatch = 8,
                              .n_outputs = 8};
    snprintf(hollow, sizeof hollow, SOURCE_DIR "/tests/data/families/%s.gguf", name);
    OK(hollow_inflate(hollow, SCRATCH("model.gguf"), &err));
    OK(gguf_open(&g, SCRATCH("model.gguf"), &err));
    OK(backend_cpu.open(&b, &bp, &err));
    OK(model_open(&m, g, b, &mp, &err));
    for (int i = 0; i < 2; i++) { /* the first step says that it did more than its work */
        OK(model_add(m, 0, 1, MODEL_LOGITS, &err));
        OK(model_run(m, &err));
        assert_int_equal(backend_cpu.packed(b), i == 0);
    }
    while (!backend_cpu.settle(b)) continue;
    for (int i = 0; i < m->h.n_layers; i++) n += check_layer(&m->weights.layers[i]);
    model_close(&m);
    b->ops->close(&b);
    gguf_close(&g);
    return n;
}

static void test_fused_tensors(void **state)
{
    static const char *const names[] = {"bloom-6-heads", "falcon-7b", "phi3", "deepseek2-kv_b"};
    int n = 0;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        int of_model = check_model(names[i]);
        print_message("%s: %d parts begin within a strip\n", names[i], of_model);
        n += of_model;
    }
    assert_true(n > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_at_first_use),
        cmocka_unit_test(test_parts_at_rest),
        cmocka_unit_test(test_fused_tensors),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
