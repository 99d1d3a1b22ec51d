/* test_experiment.c - experiments out of YAML files: cells, short forms, words of the command line, refusals; and that
 * the shipped ones are whole. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base.h"
#include "experiment.h"
#include "fault.h"
#include "file.h"
#include "metric.h"
#include "record.h"
#include "scratch.h"
#include "yaml_tree.h"

static const char sweep[] = "name: sweep\n"
                            "title: A sweep\n"
                            "settings: {n_ctx: 1024, n_threads: 1}\n"
                            "grid:\n"
                            "  n_threads: [auto, 4]\n"
                            "  n_gpu_layers: [0, 25 %, all]\n"
                            "workloads:\n"
                            "  - {name: short, n_prompt: 8, n_gen: 4}\n"
                            "  - {name: load, kind: load, repetitions: 2}\n"
                            "load: warm\n"
                            "repetitions: {least: 6, most: 9, width: 5 %, of: output_ts}\n"
                            "order: {interleave: false, seed: 7}\n"
                            "short:\n"
                            "  grid: {n_gpu_layers: null, n_threads: [2]}\n"
                            "  repetitions: {most: 7}\n";

static const char *write_file(const char *name, const char *text)
{
    static char path[512];
    assert_int_equal(file_write(scratch_path(path, name), text, strlen(text), NULL), 0);
    return path;
}

static struct experiment read_text(const char *text, const struct experiment_overrides *o)
{
    struct experiment e;
    struct redline_err err = {0};
    if (experiment_read(&e, write_file("x.yaml", text), o, &err)) fail_msg("%s", err.message);
    return e;
}

static const char *text_at(const json_t *task, const char *path)
{
    return record_text(task, path);
}

/* ---- cells ----------------------------------------------------------------------------------- */

static void test_cells(void **state)
{
    (void)state;
    struct experiment e = read_text(sweep, NULL);
    static const struct {
        const char *label, *threads;
        double n_threads, n_layers;
    } wanted[] = {
        {"n_threads=auto n_gpu_layers=0 | short", "auto", NAN, 0},
        {"n_threads=auto n_gpu_layers=0 | load", "auto", NAN, 0},
        {"n_threads=auto n_gpu_layers=25 % | short", "auto", NAN, 1},
        {"n_threads=auto n_gpu_layers=25 % | load", "auto", NAN, 1},
        {"n_threads=auto n_gpu_layers=all | short", "auto", NAN, 4},
        {"n_threads=auto n_gpu_layers=all | load", "auto", NAN, 4},
        {"n_threads=4 n_gpu_layers=0 | short", "4", 4, 0},
    };
    assert_int_equal(experiment_n_cells(&e), 12);
    for (size_t i = 0; i < COUNT_OF(wanted); i++) {
        struct experiment_cell c = experiment_cell(&e, i);
        assert_string_equal(c.label, wanted[i].label);
        assert_string_equal(text_at(c.task, "experiment.name"), "sweep");
        assert_string_equal(text_at(c.task, "experiment.grid.n_threads"), wanted[i].threads);
        assert_string_equal(text_at(c.task, "requested.n_threads"), wanted[i].threads);
        assert_string_equal(text_at(c.task, "requested.n_ctx"), "1024");
        assert_true(record_number(c.task, "experiment.cell") == (double)i);
        assert_true(record_number(c.task, "settings.n_ctx") == 1024);
        assert_true(record_number(c.task, "settings.n_gpu_layers") == wanted[i].n_layers);
        double n_threads = record_number(c.task, "settings.n_threads");
        assert_true(isnan(wanted[i].n_threads) ? isnan(n_threads) : n_threads == wanted[i].n_threads);
        assert_string_equal(text_at(c.task, "load"), "warm");
        assert_true(json_is_null(record_at(c.task, "model")));
    }
    struct experiment_cell generate = experiment_cell(&e, 0), load = experiment_cell(&e, 1);
    assert_int_equal(generate.least, 6);
    assert_int_equal(generate.most, 9);
    assert_true(fabs(generate.width - 0.05) < 1e-12);
    assert_string_equal(generate.of, "output_ts");
    assert_int_equal(load.least, 2);
    assert_int_equal(load.most, 2);
    assert_true(load.width == 0);
    assert_null(load.of);
    assert_string_equal(text_at(generate.task, "workload.kind"), "generate");
    assert_true(record_number(generate.task, "workload.n_requests") == 1);
    assert_false(e.interleave);
    assert_int_equal(e.seed, 7);
    experiment_free(&e);
}

static void test_short(void **state)
{
    (void)state;
    const struct experiment_overrides o = {.short_form = true};
    struct experiment e = read_text(sweep, &o), whole = read_text(sweep, NULL);
    assert_int_equal(experiment_n_cells(&e), 2);
    struct experiment_cell c = experiment_cell(&e, 0);
    assert_string_equal(c.label, "n_threads=2 | short");
    assert_int_equal(c.least, 6);
    assert_int_equal(c.most, 7);
    assert_string_not_equal(e.digest, whole.digest);
    experiment_free(&e);
    experiment_free(&whole);
}

static const char own[] = "name: own\n"
                          "grid:\n"
                          "  kv:\n"
                          "    - {name: plain, type_k: f16}\n"
                          "    - {name: small, type_k: q8_0, type_v: q4_0, n_gen: 3}\n"
                          "  load: [fresh, warm]\n"
                          "workloads: [{name: w, document: words.txt, n_gen: 1}]\n";

static void test_own_axis(void **state)
{
    (void)state;
    write_file("words.txt", "some words");
    struct experiment e = read_text(own, NULL);
    char path[512];
    assert_int_equal(experiment_n_cells(&e), 4);
    struct experiment_cell c = experiment_cell(&e, 3);
    assert_string_equal(c.label, "kv=small load=warm | w");
    assert_string_equal(text_at(c.task, "settings.type_v"), "q4_0");
    assert_string_equal(text_at(c.task, "experiment.grid.kv"), "small");
    assert_string_equal(text_at(c.task, "load"), "warm");
    assert_true(record_number(c.task, "workload.n_gen") == 3);
    assert_string_equal(text_at(c.task, "workload.document"), scratch_path(path, "words.txt"));
    assert_true(record_number(c.task, "workload.n_requests") == 0); /* as many as it has parts */
    c = experiment_cell(&e, 0);
    assert_null(record_at(c.task, "settings.type_v"));
    assert_true(record_number(c.task, "workload.n_gen") == 1);
    experiment_free(&e);
}

static void test_models(void **state)
{
    (void)state;
    const char *models[] = {SOURCE_DIR "/models/demo.gguf", "demo"};
    const struct experiment_overrides o = {.models = models, .n_models = 2};
    struct experiment e = read_text("name: m\nmodels: [nowhere.gguf]\nworkloads: [{name: w, n_prompt: 1}]\n", &o);
    assert_int_equal(experiment_n_cells(&e), 2);
    assert_string_equal(experiment_cell(&e, 0).label, "demo.gguf | w");
    assert_string_equal(text_at(experiment_cell(&e, 0).task, "model"), models[0]);
    assert_true(json_is_null(record_at(experiment_cell(&e, 1).task, "model")));
    experiment_free(&e);
}

static void test_digest(void **state)
{
    (void)state;
    struct experiment a = read_text(sweep, NULL), b = read_text(sweep, NULL);
    assert_string_equal(a.digest, b.digest);
    experiment_free(&b);
    b = read_text("name: sweep\nworkloads: [{name: short, n_prompt: 8}]\n", NULL);
    assert_string_not_equal(a.digest, b.digest);
    experiment_free(&a);
    a = read_text("name: sweep\ntitle: Other words\nworkloads: [{name: short, n_prompt: 8}]\ntables: [{title: t}]\n",
                  NULL);
    assert_string_equal(a.digest, b.digest); /* what is measured is the same */
    experiment_free(&a);
    a = read_text("name: sweep\nworkloads: [{name: short, n_prompt: 8}]\norder: {seed: 2}\n", NULL);
    assert_string_not_equal(a.digest, b.digest);
    experiment_free(&a);
    experiment_free(&b);
}

/* ---- --set ----------------------------------------------------------------------------------- */

static void test_sets(void **state)
{
    (void)state;
    const char *sets[] = {"n_threads=1,2,3", "n_gpu_layers=0", "workload.n_gen=32", "type_k=q8_0", "n_prompt=2,3",
                          "repetitions.most=6", "load=fresh", "order.seed=9"};
    const struct experiment_overrides o = {.sets = sets, .n_sets = COUNT_OF(sets)};
    struct experiment e = read_text(sweep, &o);
    assert_int_equal(experiment_n_cells(&e), 3 * 2 * 2);
    struct experiment_cell c = experiment_cell(&e, 2);
    assert_string_equal(c.label, "n_threads=1 n_gpu_layers=0 n_prompt=3 | short");
    assert_true(record_number(c.task, "workload.n_gen") == 32);
    assert_true(record_number(c.task, "workload.n_prompt") == 3);
    assert_string_equal(text_at(c.task, "settings.type_k"), "q8_0");
    assert_string_equal(text_at(c.task, "load"), "fresh");
    assert_int_equal(c.most, 6);
    assert_int_equal(e.seed, 9);
    experiment_free(&e);
    const char *kv[] = {"kv=small"};
    const struct experiment_overrides chosen = {.sets = kv, .n_sets = 1};
    e = read_text(own, &chosen);
    assert_int_equal(experiment_n_cells(&e), 2);
    assert_string_equal(experiment_cell(&e, 0).label, "kv=small load=fresh | w");
    experiment_free(&e);
}

static void refuse_set(const char *text, const char *set, const char *words)
{
    struct experiment e;
    struct redline_err err = {0};
    const struct experiment_overrides o = {.sets = &set, .n_sets = 1};
    assert_int_equal(experiment_read(&e, write_file("x.yaml", text), &o, &err), REDLINE_ARG);
    if (!strstr(err.message, words)) fail_msg("'%s' is not in '%s'", words, err.message);
    assert_null(e.name);
}

static void test_sets_refused(void **state)
{
    (void)state;
    refuse_set(sweep, "n_thread=1", "there is no 'n_thread'; did you mean 'n_threads'?");
    refuse_set(sweep, "=1", "KEY=VALUE is expected");
    refuse_set(sweep, "n_threads", "KEY=VALUE is expected");
    refuse_set(sweep, "n_threads=many", "n_threads cannot be 'many'");
    refuse_set(sweep, "workload.n_threads=1", "there is no 'workload.n_threads'");
    refuse_set(sweep, "repetitions.often=1", "there is no key 'often'");
    refuse_set(sweep, "repetitions.most=1,2", "one value is expected");
    refuse_set(own, "kv=large", "there is no value 'large'");
}

/* ---- refusals -------------------------------------------------------------------------------- */

static const struct {
    const char *text, *words;
} refused[] = {
    {"", "an experiment needs a name"},
    {"name: X\n", ":1: an experiment needs a name of small letters"},
    {"name: x\n", "workloads are missing"},
    {"name: x\nworklods: []\n", ":2: experiment: there is no key 'worklods'; did you mean 'workloads'?"},
    {"name: x\nworkloads:\n  - {n_prompt: 1}\n", ":3: the workload has no name"},
    {"name: x\nworkloads:\n  - {name: a, n_prompt: 1}\n  - {name: a, n_prompt: 1}\n",
     ":4: there are two workloads 'a'"},
    {"name: x\nworkloads:\n  - {name: a, n_promt: 1}\n",
     ":3: workload: there is no key 'n_promt'; did you mean 'n_prompt'?"},
    {"name: x\nworkloads:\n  - {name: a}\n", ":3: a workload that generates needs n_prompt or a document"},
    {"name: x\nworkloads:\n  - {name: a, kind: embed}\n", ":3: a workload of kind embed needs a document"},
    {"name: x\nworkloads:\n  - {name: a, kind: sing}\n",
     ":3: kind cannot be 'sing': generate|embed|score|load is expected"},
    {"name: x\nworkloads:\n  - {name: a, document: none.txt}\n", ":3: the document 'none.txt' is neither"},
    {"name: x\nworkloads:\n  - {name: a, n_prompt: 1, arrival: even}\n",
     ":3: requests that arrive by themselves need a rate"},
    {"name: x\nsettings: {n_threads: 1000}\nworkloads: [{name: a, n_prompt: 1}]\n",
     ":2: n_threads cannot be '1000': a whole number between 0 and 512 is expected"},
    {"name: x\nsettings: {threads: 1}\n", ":2: settings: there is no key 'threads'"},
    {"name: x\ngrid:\n  n_threads: 4\n", ":3: n_threads: a list of values is expected"},
    {"name: x\ngrid:\n  n_threads: [4, x]\nworkloads: [{name: a, n_prompt: 1}]\n", ":3: n_threads cannot be 'x'"},
    {"name: x\ngrid:\n  n_thread: [4]\n",
     ":3: n_thread is no setting; as an axis of its own, its values are mappings with a name; "
     "did you mean 'n_threads'?"},
    {"name: x\ngrid:\n  kv:\n    - {name: a, typ_k: f16}\n",
     ":4: kv: there is no setting 'typ_k'; did you mean 'type_k'?"},
    {"name: x\ngrid:\n  n_gpu_layers: [300 %]\nworkloads: [{name: a, n_prompt: 1}]\n",
     ":3: n_gpu_layers cannot be '300 %'"},
    {"name: x\nload: hot\nworkloads: [{name: a, n_prompt: 1}]\n", ":2: load cannot be 'hot': fresh|warm is expected"},
    {"name: x\nrepetitions: {least: 3, most: 2, width: 5 %, of: output_ts}\nworkloads: [{name: a, n_prompt: 1}]\n",
     ":2: at least 3 repetitions and at most 2 cannot be"},
    {"name: x\nrepetitions: {width: 5 %}\nworkloads: [{name: a, n_prompt: 1}]\n", ":2: width needs `of`"},
    {"name: x\nrepetitions: {width: 5 %, of: speed}\nworkloads: [{name: a, n_prompt: 1}]\n",
     ":2: there is no metric 'speed'"},
    {"name: x\nrepetitions: {width: wide, of: output_ts}\nworkloads: [{name: a, n_prompt: 1}]\n",
     ":2: width: a share is expected, like 5 % or 0.05"},
    {"name: x\nrepetitions: {least: 0}\nworkloads: [{name: a, n_prompt: 1}]\n",
     ":2: least is 0, it must lie between 1"},
    {"name: x\nrequire: npu\n", ":2: require cannot be 'npu', known are gpu and cpu"},
    {"name: x\npeers: 3\n", ":2: peers: true or false is expected"},
    {"name: x\norder: {sed: 1}\n", ":2: order: there is no key 'sed'; did you mean 'seed'?"},
    {"name: x\ntables: [1]\nworkloads: [{name: a, n_prompt: 1}]\n", ":2: tables: a mapping is expected"},
    {"name: x\nshort: {grd: 1}\nworkloads: [{name: a, n_prompt: 1}]\n",
     ":2: short: there is no key 'grd'; did you mean 'grid'?"},
    {"name: x\nparts: [latency]\ngrid: {n_threads: [1]}\n", ":3: an experiment has parts or grid, not both"},
    {"name: x\nparts: [x]\n", ":2: parts: the name of another experiment is expected"},
    {"name: x\nparts: [latncy]\n", "there is no experiment 'latncy'; did you mean 'latency'?"},
    {"name: x\nparts: [probe]\n", ":2: probe has parts itself"},
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        struct experiment e;
        struct redline_err err = {0};
        int status = experiment_read(&e, write_file("x.yaml", refused[i].text), NULL, &err);
        if (status != REDLINE_ARG || !strstr(err.message, refused[i].words))
            fail_msg("'%s' is not in '%s' (%d) for:\n%s", refused[i].words, err.message, status, refused[i].text);
        assert_null(e.name);
        assert_null(e.cells);
    }
    struct experiment e;
    struct redline_err err = {0};
    assert_int_equal(experiment_read(&e, "nowhere/x.yaml", NULL, &err), REDLINE_IO);
    assert_int_equal(experiment_read(&e, "cpu-swep", NULL, &err), REDLINE_ARG);
    assert_string_equal(err.message, "there is no experiment 'cpu-swep'; did you mean 'cpu-sweep'?");
}

/* A refused allocation is said (but where opening a model can do without), and nothing is left behind, which the
 * sanitizers see. */
static void test_refused_memory(void **state)
{
    (void)state;
    char path[512];
    write_file("words.txt", "some words");
    write_file("faults.yaml", own);
    scratch_path(path, "faults.yaml");
    int n_refused = 0;
    for (uint64_t nth = 1, hit = 1; hit; nth++) {
        struct experiment e;
        struct redline_err err = {0};
        fault_arm(FAULT_ALLOC, nth, false);
        int status = experiment_read(&e, path, NULL, &err);
        hit = fault_count(FAULT_ALLOC) >= nth;
        fault_arm(FAULT_ALLOC, 0, false);
        assert_true(status == 0 || (hit && status == REDLINE_MEMORY));
        n_refused += status != 0;
        experiment_free(&e);
    }
    assert_true(n_refused >= 10);
}

/* ---- YAML ------------------------------------------------------------------------------------ */

static const struct {
    const char *text, *words;
} no_yaml[] = {
    {"a: &x 1\n", ":1: 'x': anchors, aliases and tags have no place here"},
    {"a: *x\n", ":1: 'x': anchors"},
    {"a:\n  - !!str 1\n", ":2: 'tag:yaml.org,2002:str': anchors"},
    {"a: 1\nb: 2\na: 3\n", ":3: 'a' is there already, in line 1"},
    {"a: 1\n---\nb: 1\n", ":2: a second document; one is read"},
    {"- 1\n", ":1: a mapping of keys is expected"},
    {"a: \"x\\ty\"\n", ":1: a control character in a text"},
    {"? [a]\n: 1\n", ":1: a list or a mapping cannot be a key"},
    {"a: [1\nb: 2\n", "this is not YAML"},
    {"a: \xff\n", ":1: this is not YAML"},
    {"a: [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]\n", ":1: nested deeper than 16"},
};

static void test_no_yaml(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(no_yaml); i++) {
        struct yaml y;
        struct redline_err err = {0};
        int status = yaml_read(&y, write_file("y.yaml", no_yaml[i].text), &err);
        if (status != REDLINE_ARG || !strstr(err.message, no_yaml[i].words))
            fail_msg("'%s' is not in '%s' (%d)", no_yaml[i].words, err.message, status);
        assert_null(y.root);
    }
}

static void test_yaml_words(void **state)
{
    (void)state;
    struct yaml y;
    struct redline_err err = {0};
    const char *text = "# of all kinds\nwhole: -4\nreal: 1.50\nyes: true\nnone: ~\ntext: 25 %\nquoted: \"4\"\n"
                       "zero: 007\nmask: -avx512\nlong: |\n  two\n  lines\nlist:\n  - 1\n  - a: 2\n    b: 3\n";
    assert_int_equal(yaml_read(&y, write_file("y.yaml", text), &err), 0);
    json_t *wanted = json_pack("{s:i,s:f,s:b,s:n,s:s,s:s,s:s,s:s,s:s,s:[i,{s:i,s:i}]}", "whole", -4, "real", 1.5,
                               "yes", 1, "none", "text", "25 %", "quoted", "4", "zero", "007", "mask", "-avx512",
                               "long", "two\nlines\n", "list", 1, "a", 2, "b", 3);
    assert_true(json_equal(y.root, wanted));
    json_decref(wanted);
    json_t *list = json_object_get(y.root, "list"), *inner = json_array_get(list, 1);
    assert_int_equal(yaml_line(&y, y.root, "yes"), 4);
    assert_int_equal(yaml_line(&y, y.root, "mask"), 9);
    assert_int_equal(yaml_line_at(&y, list, 0), 14);
    assert_int_equal(yaml_line(&y, inner, "b"), 16);
    double share = 0;
    assert_int_equal(yaml_get_share(&y, y.root, "text", &share, &err), 0);
    assert_true(share == 0.25);
    yaml_close(&y);
    assert_int_equal(yaml_read(&y, write_file("y.yaml", "# nothing\n"), &err), 0);
    assert_int_equal(json_object_size(y.root), 0);
    yaml_close(&y);
}

/* ---- the shipped ones ------------------------------------------------------------------------ */

/* A metric, or a path into the record. */
static void check_figure(const struct experiment *e, const json_t *figure)
{
    const char *name = json_string_value(json_is_object(figure) ? json_object_get(figure, "metric") : figure);
    if (!name || (!metric_find(name) && !strchr(name, '.')))
        fail_msg("%s: a table wants '%s', which is no metric", e->name, name ? name : "nothing");
}

static void check_tables(const struct experiment *e)
{
    const json_t *table, *figure;
    size_t i, j;
    json_array_foreach (e->tables, i, table) {
        assert_true(json_is_string(json_object_get(table, "title")));
        assert_true(json_is_array(json_object_get(table, "rows")));
        json_array_foreach (json_object_get(table, "values"), j, figure) check_figure(e, figure);
        if (json_object_get(table, "value")) check_figure(e, json_object_get(table, "value"));
    }
}

static const struct {
    const char *name;
    size_t n_cells;
    bool gpu, peers;
} shipped[] = {
    {"ci-smoke", 5, false, false},        {"compare-models", 3, false, false}, {"cpu-sweep", 12, false, false},
    {"document", 4, false, false},        {"embed-throughput", 4, false, false}, {"gpu-scaling", 10, true, false},
    {"gpu-smoke", 2, true, false},        {"kernel-choices", 12, false, false}, {"latency", 2, false, false},
    {"load-time", 2, false, false},       {"long-context", 10, false, false},  {"memory", 9, false, false},
    {"parity", 2, false, true},           {"probe", 39, false, false},
};

static void test_shipped(void **state)
{
    (void)state;
    json_t *list = NULL;
    struct redline_err err = {0};
    assert_int_equal(experiment_list(&list, &err), 0);
    assert_int_equal(json_array_size(list), COUNT_OF(shipped));
    for (size_t i = 0; i < COUNT_OF(shipped); i++) {
        const struct experiment_overrides brief = {.short_form = true};
        struct experiment e, in_short;
        assert_string_equal(record_text(json_array_get(list, i), "name"), shipped[i].name);
        assert_true(*record_text(json_array_get(list, i), "title"));
        if (experiment_read(&e, shipped[i].name, NULL, &err)) fail_msg("%s", err.message);
        if (experiment_read(&in_short, shipped[i].name, &brief, &err)) fail_msg("%s", err.message);
        assert_string_equal(e.name, shipped[i].name);
        assert_int_equal(experiment_n_cells(&e), shipped[i].n_cells);
        assert_int_equal(e.require != NULL, shipped[i].gpu);
        assert_int_equal(e.peers, shipped[i].peers);
        assert_true(*e.about);
        assert_true(json_array_size(e.tables) > 0);
        assert_true(experiment_n_cells(&in_short) <= experiment_n_cells(&e));
        check_tables(&e);
        experiment_free(&e);
        experiment_free(&in_short);
    }
    json_decref(list);
}

static void test_parts(void **state)
{
    (void)state;
    struct experiment e;
    struct redline_err err = {0};
    assert_int_equal(experiment_read(&e, "probe", NULL, &err), 0);
    size_t n_gpu = 0, n_peers = 0;
    for (size_t i = 0; i < experiment_n_cells(&e); i++) {
        struct experiment_cell c = experiment_cell(&e, i);
        assert_string_equal(text_at(c.task, "experiment.name"), "probe");
        assert_string_equal(text_at(c.task, "experiment.part"), c.part);
        assert_true(record_number(c.task, "experiment.cell") == (double)i);
        assert_memory_equal(c.label, c.part, strlen(c.part));
        n_gpu += c.require != NULL;
        n_peers += c.peers;
    }
    assert_int_equal(n_gpu, 5);
    assert_int_equal(n_peers, 2);
    assert_int_equal(json_array_size(e.parts), 12);
    const json_t *table;
    size_t i;
    json_array_foreach (e.tables, i, table)
        assert_non_null(json_object_get(json_object_get(table, "where"), "experiment.part"));
    experiment_free(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cells),      cmocka_unit_test(test_short),       cmocka_unit_test(test_own_axis),
        cmocka_unit_test(test_models),     cmocka_unit_test(test_digest),      cmocka_unit_test(test_sets),
        cmocka_unit_test(test_sets_refused), cmocka_unit_test(test_refused),   cmocka_unit_test(test_refused_memory),
        cmocka_unit_test(test_no_yaml),    cmocka_unit_test(test_yaml_words),  cmocka_unit_test(test_shipped),
        cmocka_unit_test(test_parts),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
