/* test_doctor.c - a clean machine has no findings; every fault, made up, is found by itself alone, with figures and a
 * remedy; what can be made up as files of /proc and /sys is read from there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "doctor.h"
#include "file.h"
#include "made_machine.h"

/* All that a case points to. */
struct made {
    struct doctor_case c;
    struct facts facts;
    struct redline_plan plan;
    struct redline_file_facts file;
    struct facts_file model_file;
    struct redline_plan_block blocks[4];
    struct doctor_records records;
};

static void set_case(struct made *m)
{
    m->plan = (struct redline_plan){.device = "cpu", .n_threads = 4, .n_ctx = 4096, .n_ubatch = 512, .n_layers = 32,
                                    .type_k = "f16", .type_v = "f16", .weight_bytes = 4ull << 30,
                                    .kv_bytes = 1ull << 30, .buffer_bytes = 64u << 20, .total_bytes = 5ull << 30,
                                    .available_bytes = 12ull << 30, .n_ctx_train = 8192, .n_ctx_fits = 8192,
                                    .fits = true};
    m->file = (struct redline_file_facts){.runnable = true, .reason = ""};
    m->model_file = (struct facts_file){.cached_share = {.value = 0.5}, .bytes = 4ull << 30};
    m->c = (struct doctor_case){.facts = &m->facts, .plan = &m->plan, .file = &m->file, .model_file = &m->model_file,
                                .n_ctx = 4096, .n_ctx_used = 2000, .n_ubatch = 512, .n_prompt_typical = 40,
                                .flash_attn = true, .type_k = "f16", .type_v = "f16", .kv_kernel = true};
}

/* 4 cores of 8 processors, 16 GiB, nothing wrong. */
static void make(struct made *m)
{
    *m = (struct made){.facts = {.machine = {.cpu = "Made Processor", .features = "avx2 avx512", .n_logical = 8,
                                             .build = "GNU 12.2.0 RelWithDebInfo ", .n_physical = 4, .n_threads = 4,
                                             .memory_bytes = 16ull << 30},
                                 .n_online = 8,
                                 .load_1m = {.value = 0.3},
                                 .governor = {.value = "performance"},
                                 .throttled_share = {.value = NAN, .reason = "there is no quota"},
                                 .memory_available_bytes = {.value = (double)(12ull << 30)},
                                 .huge_pages = {.value = "madvise"},
                                 .gpu_reason = "the bus shows no NVIDIA card",
                                 .gpu_driver = {.reason = "no NVIDIA driver is loaded"}}};
    set_case(m);
}

/* All layers on a GPU. */
static void plan_gpu(struct made *m)
{
    m->plan.n_gpu_layers = m->plan.n_gpu_layers_fits = 32;
    m->plan.n_devices = 2;
    m->plan.devices[1] = (struct redline_plan_device){.name = "Made Card", .label = "gpu0", .n_blocks = 65,
                                                      .sum_bytes = 5ull << 30, .left_bytes = 15ull << 30};
}

/* The same with a GPU that works, and a program that uses it. */
static void add_gpu(struct made *m)
{
    struct facts *f = &m->facts;
    f->n_gpus = 1;
    f->gpus[0] = (struct gpu_fact){.name = "Made Card", .memory_bytes = 24ull << 30, .free_bytes = 20ull << 30};
    f->gpu_reason[0] = '\0';
    f->gpu_driver = f->gpu_library = (struct fact_text){.value = "550.54.14"};
    f->gpu_on_bus = (struct fact_text){.value = "0000:01:00.0 10de:2684"};
    f->gpu_cuda = 12040;
    m->c.cuda_version = 12020;
    m->c.n_usable = 1;
    plan_gpu(m);
}

/* What the plan leaves on the CPU, for this reason. */
static void leave(struct made *m, enum redline_why why, bool experts)
{
    m->plan.n_blocks = 4;
    m->c.blocks = m->blocks;
    for (int i = 0; i < 4; i++)
        m->blocks[i] = (struct redline_plan_block){.part = REDLINE_PART_FEED_FORWARD, .layer = i,
                                                   .device = i < 2 ? 0 : 1, .experts = experts,
                                                   .weight_bytes = 1ull << 30, .why = why};
}

static void no_plan_on_it(struct made *m)
{
    m->plan.n_gpu_layers = m->plan.n_gpu_layers_fits = 0;
    m->plan.devices[1].n_blocks = 0;
}

static void set_text(struct fact_text *out, const char *value)
{
    *out = (struct fact_text){0};
    snprintf(out->value, sizeof out->value, "%s", value);
}

static void set_build(struct made *m, const char *build)
{
    snprintf(m->facts.machine.build, sizeof m->facts.machine.build, "%s", build);
}

/* ---- the faults ---------------------------------------------------------------------------------- */

static void not_runnable(struct made *m)
{
    m->file = (struct redline_file_facts){.reason = "the architecture 'odd' is not known"};
}

static void too_large(struct made *m)
{
    m->plan.fits = false;
    m->plan.available_bytes = 3ull << 30;
    m->plan.n_ctx_fits = 1024;
}

static void far_too_large(struct made *m)
{
    too_large(m);
    m->plan.n_ctx_fits = 0;
}

static void wants_gpu(struct made *m) { m->c.require = "gpu"; }
static void wants_layers(struct made *m) { m->c.n_gpu_layers = "20"; }

static void no_driver(struct made *m)
{
    set_text(&m->facts.gpu_on_bus, "0000:01:00.0 10de:2684");
    m->c.require = "gpu"; /* the cause is the finding, not what follows from it */
}

static void mismatch(struct made *m)
{
    add_gpu(m);
    m->facts.n_gpus = 0;
    m->facts.gpu_mismatch = true;
    set_text(&m->facts.gpu_library, "550.90.07");
}

static void hidden(struct made *m)
{
    add_gpu(m);
    m->facts.n_gpus = 0;
    snprintf(m->facts.gpu_reason, sizeof m->facts.gpu_reason, "NVIDIA's driver shows no GPU");
}

static void built_without(struct made *m)
{
    add_gpu(m);
    m->c.cuda_version = 0;
    no_plan_on_it(m);
}

static void cuda_newer(struct made *m)
{
    add_gpu(m);
    m->c.cuda_version = 12080;
    m->c.n_usable = 0;
    no_plan_on_it(m);
}

static void not_served(struct made *m)
{
    add_gpu(m);
    m->c.n_usable = 0;
    snprintf(m->facts.gpus[0].capability, sizeof m->facts.gpus[0].capability, "7.5");
    no_plan_on_it(m);
}

/* A newer driver would not help. */
static void old_in_all(struct made *m)
{
    not_served(m);
    m->c.refusal = "the GPU Made Card 0 has compute capability 7.5";
    m->c.cuda_version = m->facts.gpu_cuda + 10;
}

static void refused(struct made *m)
{
    add_gpu(m);
    m->c.n_usable = 0;
    m->c.refusal = "CUDA gives this program no GPU: operation not permitted";
    no_plan_on_it(m);
}

static void zero_layers(struct made *m)
{
    add_gpu(m);
    m->c.n_gpu_layers = "0";
}

static void requires_cpu(struct made *m)
{
    add_gpu(m);
    m->c.require = "cpu";
}

static void planned_elsewhere(struct made *m)
{
    add_gpu(m);
    no_plan_on_it(m);
}

static void fewer_than_fit(struct made *m)
{
    add_gpu(m);
    m->plan.n_gpu_layers = 20;
}

static void no_room(struct made *m)
{
    add_gpu(m);
    leave(m, REDLINE_WHY_NO_ROOM, false);
}

static void experts_by_setting(struct made *m)
{
    add_gpu(m);
    leave(m, REDLINE_WHY_CPU_MOE, true);
}

static void experts_without_room(struct made *m)
{
    add_gpu(m);
    leave(m, REDLINE_WHY_PLACEMENT, true);
}

static void plan_fills_it(struct made *m)
{
    add_gpu(m);
    m->plan.devices[1].left_bytes = 100u << 20;
}

static void others_fill_it(struct made *m)
{
    add_gpu(m);
    m->facts.gpus[0].free_bytes = 1ull << 30;
    m->c.plan = NULL;
}

static void slower(struct made *m)
{
    add_gpu(m);
    m->records = (struct doctor_records){.cpu_ts = 12.5, .gpu_ts = 9.5, .n_gpu_layers = 16, .workload = "short"};
    m->c.records = &m->records;
}

static void taken_more(struct made *m)
{
    add_gpu(m);
    m->records = (struct doctor_records){.planned_bytes = 5.0 * (1 << 30), .taken_bytes = 7.0 * (1 << 30),
                                         .device = "Made Card"};
    m->c.records = &m->records;
}

static void taken_less(struct made *m)
{
    taken_more(m);
    m->records.taken_bytes = 3.0 * (1 << 30);
}

static void shared_gpu(struct made *m)
{
    add_gpu(m);
    m->facts.gpus[0].n_other_processes = 2;
}

static void sanitized(struct made *m) { set_build(m, "GNU 12.2.0 RelWithDebInfo address,undefined"); }
static void debug_build(struct made *m) { set_build(m, "GNU 12.2.0 Debug "); }

static void masked(struct made *m)
{
    snprintf(m->facts.features_masked, sizeof m->facts.features_masked, "avx2 avx512");
    snprintf(m->facts.machine.features, sizeof m->facts.machine.features, "scalar");
}

static void plain(struct made *m)
{
    snprintf(m->facts.machine.features, sizeof m->facts.machine.features, "scalar");
}

static void no_kernel(struct made *m)
{
    m->c.kv_kernel = false;
    m->c.type_k = "q4_0";
}

static void no_flash(struct made *m)
{
    m->c.flash_attn = false;
    m->c.flash_attn_reason = "heads of 288 numbers have no kernel";
}

static void many_threads(struct made *m) { m->c.n_threads = 8; }

static void over_quota(struct made *m)
{
    m->facts.machine.quota = 1.5;
    m->facts.machine.n_threads = 2;
    m->c.n_threads = 4;
}

static void ran_out(struct made *m)
{
    m->facts.machine.quota = 2;
    m->facts.throttled_share = (struct fact_number){.value = 0.3};
}

static void small_batch(struct made *m) { m->c.n_ubatch = 8; }
static void small_batch_unknown(struct made *m)
{
    m->c.n_ubatch = 1;
    m->c.n_prompt_typical = -1;
}
static void large_batch(struct made *m)
{
    m->c.n_ubatch = 4096;
    m->plan.buffer_bytes = 1ull << 30;
}
static void pressed(struct made *m) { m->facts.memory_pressure.value = 7.5; }
static void no_huge_pages(struct made *m) { set_text(&m->facts.huge_pages, "never"); }
static void saving(struct made *m) { set_text(&m->facts.governor, "powersave"); }
static void busy(struct made *m) { m->facts.load_1m.value = 3.5; }
static void swapped(struct made *m) { m->facts.swap_used_bytes.value = (double)(1u << 30); }
static void slow_disk(struct made *m) { set_text(&m->model_file.slow, "a rotating disk"); }
static void slow_disk_half_gib(struct made *m)
{
    slow_disk(m);
    m->model_file.bytes = 512u << 20;
}
static void untrained(struct made *m) { m->plan.n_ctx_train = 2048; }
static void unused(struct made *m) { m->c.n_ctx_used = 300; }

static const struct {
    const char *code;
    void (*inject)(struct made *m);
    const char *figure; /* part of the evidence */
    const char *remedy; /* and of the remedy */
} faults[] = {
    {"model-not-runnable", not_runnable, "'odd'", "redline inspect"},
    {"memory-short", too_large, "5.00 GiB", "-c 1024"},
    {"memory-short", far_too_large, "3.00 GiB", "quantize"},
    {"gpu-missing", wants_gpu, "no NVIDIA card", "--require any"},
    {"gpu-missing", wants_layers, "no NVIDIA card", "-ngl auto"},
    {"gpu-no-driver", no_driver, "10de:2684", "install"},
    {"gpu-driver-mismatch", mismatch, "550.90.07", "restart"},
    {"gpu-hidden", hidden, "550.54.14", "--gpus all"},
    {"gpu-build", built_without, "24.0 GiB", "make cuda"},
    {"gpu-not-served", not_served, "7.5", "8.0 or newer"},
    {"gpu-not-served", old_in_all, "7.5", "8.0 or newer"},
    {"gpu-refused", refused, "operation not permitted", "/dev/nvidia*"},
    {"gpu-layers-left", fewer_than_fit, "20 of 32 layers", "-ngl 32"},
    {"gpu-layers-left", no_room, "2.00 GiB more", "-ctk q8_0"},
    {"gpu-experts-left", experts_by_setting, "experts of 2 layers (2.00 GiB)", "--n-cpu-moe"},
    {"gpu-experts-left", experts_without_room, "placement 2.00", "redline plan"},
    {"gpu-memory-full", plan_fills_it, "0.10 GiB", "--device-memory 5G"},
    {"gpu-memory-full", others_fill_it, "1.00 of 24.0 GiB", "nvidia-smi"},
    {"gpu-slower", slower, "9.5 tokens per second with 16 layers", "gpu-scaling"},
    {"gpu-plan-off", taken_more, "5.00 GiB of Made Card planned and 7.00 taken", "--device-memory"},
    {"gpu-plan-off", taken_less, "3.00 taken", "-ngl all"},
    {"gpu-cuda-old", cuda_newer, "CUDA 12.8", "12.8"},
    {"gpu-unused", zero_layers, "n_gpu_layers is 0", "-ngl auto"},
    {"gpu-unused", requires_cpu, "require is cpu", "-ngl auto"},
    {"gpu-unused", planned_elsewhere, "no part of the model", "-ngl auto"},
    {"gpu-busy", shared_gpu, "2 other processes compute", "nvidia-smi"},
    {"build-slow", sanitized, "address,undefined", "--preset release"},
    {"build-slow", debug_build, "Debug", "--preset release"},
    {"features-masked", masked, "avx2 avx512", "unset REDLINE_CPU"},
    {"cpu-plain", plain, "no AVX2", "-cpu host"},
    {"kv-without-kernel", no_kernel, "q4_0", "-ctk f16"},
    {"flash-attention-off", no_flash, "288", "-ctk f16"},
    {"threads-over-cores", many_threads, "8 threads are set", "-t 4"},
    {"threads-over-quota", over_quota, "1.50 processors", "-t 2"},
    {"quota-throttled", ran_out, "30 %", "cpu.max"},
    {"batch-tiny", small_batch, "40 is read in 5 passes", "-ub 512"},
    {"batch-tiny", small_batch_unknown, "512 passes", "-ub 512"},
    {"batch-oversized", large_batch, "4096 tokens", "-ub 512"},
    {"memory-pressure", pressed, "7.5 %", "ps aux"},
    {"huge-pages-off", no_huge_pages, "never", "echo madvise"},
    {"governor-slow", saving, "powersave", "-g performance"},
    {"machine-busy", busy, "3.50 threads", "top"},
    {"swap-used", swapped, "1.00 GiB", "swapoff"},
    {"model-slow-disk", slow_disk, "50 % of its 4.00 GiB", "copy"},
    {"model-slow-disk", slow_disk_half_gib, "50 % of its 512 MiB", "copy"},
    {"context-untrained", untrained, "trained on 2048", "-c 2048"},
    {"context-unused", unused, "at most 300", "-c 512"},
};
enum { N_FAULTS = sizeof faults / sizeof *faults };

/* ---- examining ----------------------------------------------------------------------------------- */

static void expect(const struct made *m, const char *code, struct doctor_finding *out)
{
    struct doctor_finding found[DOCTOR_MOST];
    size_t n = doctor_examine(&m->c, found);
    for (size_t i = 0; i < n; i++)
        if (!code || n > 1 || strcmp(found[i].code, code) != 0)
            print_error("expected %s, found %s: %s\n", code ? code : "nothing", found[i].code, found[i].what);
    if (!code) {
        assert_int_equal(n, 0);
        return;
    }
    if (n != 1) print_error("expected %s alone\n", code);
    assert_int_equal(n, 1);
    assert_string_equal(found[0].code, code);
    *out = found[0];
}

static void test_clean(void **state)
{
    struct made m;
    (void)state;
    make(&m);
    expect(&m, NULL, NULL);
    add_gpu(&m);
    expect(&m, NULL, NULL);
    m.c.cuda_version = 12080; /* of the same major version, and cards are served */
    expect(&m, NULL, NULL);
    m.c.require = "gpu";
    m.c.n_gpu_layers = "all";
    expect(&m, NULL, NULL);
    make(&m); /* too much of what costs nothing */
    m.c.n_ctx_used = 10;
    m.plan.kv_bytes = 1u << 20;
    m.c.n_ubatch = 4096;
    m.plan.buffer_bytes = 1u << 20;
    expect(&m, NULL, NULL);
    make(&m); /* a second of reading */
    slow_disk(&m);
    m.model_file.bytes = 100u << 20;
    expect(&m, NULL, NULL);
    make(&m); /* nothing is known of a model, of settings, of what was used */
    m.c = (struct doctor_case){.facts = &m.facts, .n_ctx_used = -1, .n_prompt_typical = -1, .flash_attn = true,
                               .kv_kernel = true};
    expect(&m, NULL, NULL);
}

static void test_each(void **state)
{
    struct made m;
    struct doctor_finding found;
    (void)state;
    for (size_t i = 0; i < N_FAULTS; i++) {
        make(&m);
        faults[i].inject(&m);
        expect(&m, faults[i].code, &found);
        if (!strstr(found.what, faults[i].figure) || !strstr(found.remedy, faults[i].remedy))
            print_error("%s: '%s' or '%s' is missing: %s; %s\n", found.code, faults[i].figure, faults[i].remedy,
                        found.what, found.remedy);
        assert_non_null(strstr(found.what, faults[i].figure));
        assert_non_null(strstr(found.remedy, faults[i].remedy));
        assert_true(strlen(found.what) < sizeof found.what - 1 && strlen(found.remedy) < sizeof found.remedy - 1);
    }
}

static void test_all_are_tested(void **state)
{
    const char *code;
    enum doctor_level level = DOCTOR_FAULT, before;
    (void)state;
    for (size_t i = 0; before = level, code = doctor_row(i, &level); i++) {
        bool is_tested = false;
        for (size_t k = 0; k < N_FAULTS; k++) is_tested |= strcmp(faults[k].code, code) == 0;
        if (!is_tested) print_error("%s is not tested\n", code);
        if (level < before) print_error("%s stands behind what is less\n", code);
        assert_true(is_tested && level >= before);
    }
}

/* The document has a row for each, with its level. */
static void test_document(void **state)
{
    struct buf text = {0};
    struct redline_err err;
    (void)state;
    assert_int_equal(file_read(&text, SOURCE_DIR "/docs/doctor.md", &err), 0);
    for (size_t i = 0; i < N_FAULTS; i++) {
        struct made m;
        struct doctor_finding found;
        char row[64];
        make(&m);
        faults[i].inject(&m);
        expect(&m, faults[i].code, &found);
        snprintf(row, sizeof row, "| `%s` | %s |", found.code, found.level == DOCTOR_FAULT ? "fault" : "advice");
        if (!strstr(text.p, row)) print_error("'%s' is missing\n", row);
        assert_non_null(strstr(text.p, row));
    }
    buf_free(&text);
}

/* What records show of the use. */
static void test_use(void **state)
{
    int used, prompt;
    (void)state;
    json_t *records = json_pack(
        "[{s:{s:i}, s:[{s:i, s:i}, {s:i, s:i}]}, {s:{s:i}, s:[{s:i, s:i}]}, {s:n}]", "workload", "n_depth", 1000,
        "requests", "n_prompt", 10, "n_generated", 5, "n_prompt", 30, "n_generated", 7, "workload", "n_depth", 0,
        "requests", "n_prompt", 20, "n_generated", 900, "requests");
    assert_non_null(records);
    doctor_use(records, &used, &prompt);
    assert_int_equal(used, 1037);
    assert_int_equal(prompt, 20);
    json_array_clear(records);
    doctor_use(records, &used, &prompt);
    assert_int_equal(used, -1);
    assert_int_equal(prompt, -1);
    json_decref(records);
}

/* A record of one model, with so many layers on a GPU, and what was planned and taken of its memory. */
static json_t *made_record(const char *workload, int n_prompt, int n_gpu_layers, double decode_ts, double taken)
{
    return json_pack("{s:{s:s}, s:{s:s, s:s, s:i}, s:{s:{s:i}}, s:{s:{s:f}}, "
                     "s:[{s:s, s:f, s:f}, {s:s, s:s, s:f, s:f}]}",
                     "model", "digest", "sha256:1", "workload", "name", workload, "kind", "generate",
                     "n_prompt", n_prompt, "settings", "effective", "n_gpu_layers", n_gpu_layers,
                     "derived", "decode_ts", "value", decode_ts, "devices",
                     "device", "cpu", "planned_bytes", 1e9, "taken_bytes", 9e9,
                     "device", "gpu0", "name", "Made Card", "planned_bytes", 2e9, "taken_bytes", taken);
}

/* What they show of GPUs: the workload where the GPU is furthest behind, by medians, with the most layers there. */
static void test_gpu_records(void **state)
{
    struct doctor_records r;
    (void)state;
    json_t *records = json_array();
    doctor_records(records, &r);
    assert_true(r.cpu_ts == 0 && r.planned_bytes == 0);
    json_array_append_new(records, made_record("short", 64, 0, 10, 2e9));
    doctor_records(records, &r);
    assert_true(r.cpu_ts == 0 && r.planned_bytes == 2e9 && r.taken_bytes == 2e9);
    json_array_append_new(records, made_record("short", 64, 16, 2, 2.1e9)); /* half of it is another question */
    json_array_append_new(records, made_record("short", 64, 32, 50, 2e9));
    json_array_append_new(records, made_record("long", 512, 0, 10, 2e9));
    json_array_append_new(records, made_record("long", 512, 0, 14, 2e9));
    json_array_append_new(records, made_record("long", 512, 32, 9, 1.5e9));
    doctor_records(records, &r);
    assert_string_equal(r.workload, "long");
    assert_true(r.cpu_ts == 12 && r.gpu_ts == 9 && r.n_gpu_layers == 32);
    assert_true(r.taken_bytes == 1.5e9);
    assert_string_equal(r.device, "Made Card");
    json_decref(records);
}

/* Several at once, the worst first. */
static void test_order(void **state)
{
    struct made m;
    struct doctor_finding found[DOCTOR_MOST];
    (void)state;
    make(&m);
    busy(&m);
    swapped(&m);
    many_threads(&m);
    too_large(&m);
    assert_int_equal(doctor_examine(&m.c, found), 4);
    assert_string_equal(found[0].code, "memory-short");
    assert_string_equal(found[1].code, "threads-over-cores");
    assert_int_equal(found[1].level, DOCTOR_FAULT);
    assert_int_equal(found[2].level, DOCTOR_ADVICE);
    assert_int_equal(found[3].level, DOCTOR_ADVICE);
}

/* ---- from files ---------------------------------------------------------------------------------- */

static const struct {
    const char *code;
    const char *path, *text, *more_path, *more_text;
} files[] = {
    {NULL, "/proc/loadavg", "0.50 0 0 1/2 3\n", NULL, NULL},
    {"machine-busy", "/proc/loadavg", "2.50 0 0 1/2 3\n", NULL, NULL},
    {"memory-pressure", "/proc/pressure/memory", "some avg10=3.00 avg60=0 avg300=0 total=1\n", NULL, NULL},
    {"swap-used", "/proc/meminfo",
     "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\nSwapTotal: 2097152 kB\nSwapFree: 1048576 kB\n", NULL, NULL},
    {"huge-pages-off", "/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n", NULL, NULL},
    {"governor-slow", "/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "schedutil\n", NULL, NULL},
    {"threads-over-quota", "/sys/fs/cgroup/box/cpu.max", "150000 100000\n", NULL, NULL},
    {"quota-throttled", "/sys/fs/cgroup/box/cpu.max", "400000 100000\n", "/sys/fs/cgroup/box/cpu.stat",
     "nr_periods 100\nnr_throttled 10\n"},
    {"gpu-no-driver", "/sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n",
     "/sys/bus/pci/devices/0000:01:00.0/class", "0x030200\n"},
    {"gpu-hidden", "/proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu\n",
     NULL, NULL},
};

/* What is real of a made-up machine is made clean too. */
static void read_files(struct made *m, const struct facts_source *source)
{
    facts_read(&m->facts, source);
    set_build(m, "GNU 12.2.0 RelWithDebInfo ");
    m->facts.features_masked[0] = '\0';
    snprintf(m->facts.machine.features, sizeof m->facts.machine.features, "avx2");
    m->facts.machine.n_physical = m->facts.machine.n_logical = 4;
    set_case(m);
    m->c.n_threads = 4;
}

static void test_files(void **state)
{
    struct made m;
    struct doctor_finding found;
    struct facts_source source = {.root = scratch_folder, .no_nvml = true};
    (void)state;
    machine_put_clean();
    read_files(&m, &source);
    expect(&m, NULL, NULL);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        machine_put_clean();
        machine_put(files[i].path, files[i].text);
        if (files[i].more_path) machine_put(files[i].more_path, files[i].more_text);
        read_files(&m, &source);
        expect(&m, files[i].code, &found);
    }
}

/* The library that is made up, and the faults that only it shows. */
static void test_library(void **state)
{
    static const struct {
        const char *code, *init, *gpus;
        int cuda_version;
    } cases[] = {{NULL, "0", "1", 12040},
                 {"gpu-driver-mismatch", "18", "1", 12040},
                 {"gpu-hidden", "0", "0", 12040},
                 {"gpu-build", "0", "1", 0},
                 {"gpu-cuda-old", "0", "1", 13000},
                 {"gpu-busy", "0", "2", 12040}};
    struct made m;
    struct doctor_finding found;
    struct facts_source source = {.root = scratch_folder, .nvml = NVML_MADE};
    (void)state;
    machine_put_clean();
    machine_put_card("0000:01:00.0", "0x030000\n", "0x2684\n");
    machine_put_driver();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        setenv("NVML_MADE_INIT", cases[i].init, 1);
        setenv("NVML_MADE_GPUS", cases[i].gpus, 1);
        read_files(&m, &source);
        m.c.cuda_version = cases[i].cuda_version;
        m.c.n_usable = m.facts.n_gpus;
        if (m.facts.n_gpus) plan_gpu(&m);
        expect(&m, cases[i].code, &found);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clean), cmocka_unit_test(test_each),  cmocka_unit_test(test_all_are_tested),
        cmocka_unit_test(test_order), cmocka_unit_test(test_files), cmocka_unit_test(test_library),
        cmocka_unit_test(test_document), cmocka_unit_test(test_use),
        cmocka_unit_test(test_gpu_records),
    };
    if (scratch_make()) return 1;
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    machine_clear();
    scratch_remove();
    return status;
}
