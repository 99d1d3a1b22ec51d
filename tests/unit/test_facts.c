/* test_facts.c - what made-up machines are doing, what cannot be read of them and why; NVIDIA's library, made up too;
 * the running machine; the facts as part of a record. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <sys/sysmacros.h>

#include "base.h"
#include "facts.h"
#include "made_machine.h"
#include "record.h"

static struct redline_err err;
static struct facts facts;

static void read_made(void)
{
    struct facts_source source = {.root = scratch_folder, .no_nvml = true};
    facts_read(&facts, &source);
}

static void test_clean(void **state)
{
    (void)state;
    machine_put_clean();
    read_made();
    assert_int_equal(facts.n_online, 4);
    assert_true(facts.load_1m.value == 0.1);
    assert_string_equal(facts.governor.value, "performance");
    assert_true(isnan(facts.throttled_share.value));
    assert_string_equal(facts.throttled_share.reason, "there is no quota");
    assert_true(facts.machine.memory_bytes == 16ull << 30);
    assert_true(facts.memory_available_bytes.value == (double)(12ull << 30));
    assert_true(facts.swap_used_bytes.value == 0);
    assert_true(facts.memory_pressure.value == 0);
    assert_string_equal(facts.huge_pages.value, "madvise");
    assert_int_equal(facts.n_gpus, 0);
    assert_string_equal(facts.gpu_on_bus.value, "");
    assert_string_equal(facts.gpu_on_bus.reason, "the bus shows no NVIDIA card");
    assert_string_equal(facts.gpu_driver.reason, "no NVIDIA driver is loaded");
    assert_int_equal(strlen(facts.machine_id), 16);
}

/* Nothing is there at all: everything has its reason, nothing a value. */
static void test_nothing(void **state)
{
    (void)state;
    machine_clear();
    read_made();
    const struct fact_number *numbers[] = {&facts.load_1m, &facts.throttled_share, &facts.memory_available_bytes,
                                           &facts.swap_used_bytes, &facts.memory_pressure};
    const struct fact_text *texts[] = {&facts.governor, &facts.huge_pages, &facts.gpu_driver, &facts.gpu_library,
                                       &facts.gpu_on_bus};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        assert_true(isnan(numbers[i]->value));
        assert_true(numbers[i]->reason[0] != '\0');
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_string_equal(texts[i]->value, "");
        assert_true(texts[i]->reason[0] != '\0');
    }
    assert_string_equal(facts.load_1m.reason, "/proc/loadavg: No such file or directory");
    assert_int_equal(facts.n_online, 0);
}

static void test_busy(void **state)
{
    (void)state;
    machine_put_clean();
    machine_put("/proc/loadavg", "17.25 3.00 2.00 9/100 4711\n");
    machine_put("/proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 1048576 kB\n"
                                 "SwapTotal: 2097152 kB\nSwapFree: 1048576 kB\n");
    machine_put("/proc/pressure/memory", "some avg10=12.50 avg60=1.00 avg300=0.00 total=9\n");
    machine_put("/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave\n");
    machine_put("/sys/devices/system/cpu/online", "0-3,8,10-11\n");
    machine_put("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
    read_made();
    assert_true(facts.load_1m.value == 17.25);
    assert_true(facts.swap_used_bytes.value == (double)(1u << 30));
    assert_true(facts.memory_available_bytes.value == (double)(1u << 30));
    assert_true(facts.memory_pressure.value == 12.5);
    assert_string_equal(facts.governor.value, "powersave"); /* one is enough */
    assert_int_equal(facts.n_online, 7);
    assert_string_equal(facts.huge_pages.value, "never");
}

static void test_quota(void **state)
{
    (void)state;
    machine_put_clean();
    machine_put("/sys/fs/cgroup/box/cpu.max", "50000 100000\n");
    machine_put("/sys/fs/cgroup/box/cpu.stat", "usage_usec 1\nnr_periods 200\nnr_throttled 50\n");
    machine_put("/sys/fs/cgroup/cpu.stat", "usage_usec 1\nnr_periods 0\nnr_throttled 0\n");
    read_made();
    assert_true(facts.machine.quota == 0.5);
    assert_int_equal(facts.machine.n_threads, 1);
    assert_true(facts.throttled_share.value == 0.25);
    machine_clear(); /* the first version of control groups */
    machine_put("/proc/self/cgroup", "2:cpu,cpuacct:/a\n0::/\n");
    machine_put("/sys/fs/cgroup/cpu/a/cpu.stat", "nr_periods 10\nnr_throttled 1\nthrottled_time 5\n");
    read_made();
    assert_true(facts.throttled_share.value == 0.1);
}

static void test_cards(void **state)
{
    char sentence[400];
    (void)state;
    machine_put_clean();
    machine_put_card("0000:41:00.0", "0x030200\n", "0x2330\n");
    machine_put_card("0000:41:00.1", "0x040300\n", "0x22ba\n"); /* its sound is no card */
    read_made();
    assert_string_equal(facts.gpu_on_bus.value, "0000:41:00.0 10de:2330");
    machine_put_card("0000:01:00.0", "0x030000\n", "0x2684\n");
    machine_put_driver();
    read_made();
    assert_string_equal(facts.gpu_on_bus.value, "0000:01:00.0 10de:2684 and 1 more");
    assert_string_equal(facts.gpu_driver.value, "550.54.14");
    machine_put("/proc/driver/nvidia/version",
                "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.124.06  Release Build  (dvs-builder)\n");
    read_made();
    assert_string_equal(facts.gpu_driver.value, "570.124.06");
    assert_true(facts_gpu_refusal(&facts, 0, 0, "", sentence, sizeof sentence));
    assert_non_null(strstr(sentence, "built without CUDA"));
}

static void read_library(const char *library, const char *init, const char *n)
{
    struct facts_source source = {.root = scratch_folder, .nvml = library};
    setenv("NVML_MADE_INIT", init, 1);
    setenv("NVML_MADE_GPUS", n, 1);
    facts_read(&facts, &source);
}

static void test_library(void **state)
{
    char sentence[400];
    (void)state;
    machine_put_clean();
    machine_put_card("0000:01:00.0", "0x030000\n", "0x2684\n");
    machine_put_driver();
    read_library(NVML_MADE, "0", "2");
    assert_int_equal(facts.n_gpus, 2);
    assert_string_equal(facts.gpu_reason, "");
    assert_string_equal(facts.gpu_library.value, "550.54.14");
    assert_false(facts.gpu_mismatch);
    assert_int_equal(facts.gpu_cuda, 12040);
    const struct gpu_fact *g = &facts.gpus[1];
    assert_string_equal(g->name, "Made Card 1");
    assert_string_equal(g->pci_id, "00000000:02:00.0");
    assert_true(g->memory_bytes == 24ull << 30 && g->free_bytes == 20ull << 30);
    assert_string_equal(g->capability, "8.9");
    assert_int_equal(facts.gpus[0].n_other_processes, 0); /* this one does not count */
    assert_int_equal(g->n_other_processes, 1);
    assert_false(facts_gpu_refusal(&facts, 13000, 1, "", sentence, sizeof sentence));
    assert_true(facts_gpu_refusal(&facts, 0, 0, "", sentence, sizeof sentence));

    assert_true(facts_gpu_refusal(&facts, 12000, 0, "CUDA says no", sentence, sizeof sentence));
    assert_string_equal(sentence, "the driver shows Made Card 0, and CUDA says no");

    read_library(NVML_MADE, "18", "2");
    assert_int_equal(facts.n_gpus, 0);
    assert_true(facts.gpu_mismatch);
    assert_non_null(strstr(facts.gpu_reason, "Driver/library version mismatch"));
    assert_true(facts_gpu_refusal(&facts, 13000, 0, "", sentence, sizeof sentence));
    assert_non_null(strstr(sentence, "restart"));

    read_library(NVML_MADE, "0", "0");
    assert_int_equal(facts.n_gpus, 0);
    assert_string_equal(facts.gpu_reason, "NVIDIA's driver shows no GPU");
    read_library(NVML_MADE, "0", "17"); /* more than there is room for, one of them broken */
    assert_int_equal(facts.n_gpus, FACTS_MOST_GPUS);

    read_library(SCRATCH("none.so"), "0", "1");
    assert_int_equal(facts.n_gpus, 0);
    assert_non_null(strstr(facts.gpu_reason, "NVIDIA's library is not there"));
    assert_true(facts.gpu_library.reason[0] != '\0');
    read_library("libm.so.6", "0", "1"); /* a library, of something else */
    assert_non_null(strstr(facts.gpu_reason, "has no function nvmlInit_v2"));

    machine_clear(); /* without a card or a driver, that is the reason */
    machine_put_clean();
    read_library(SCRATCH("none.so"), "0", "1");
    assert_string_equal(facts.gpu_reason, "the bus shows no NVIDIA card");
    assert_true(facts_gpu_refusal(&facts, 13000, 0, "", sentence, sizeof sentence));
    assert_string_equal(sentence, "the bus shows no NVIDIA card; a machine with an NVIDIA card is needed");
    assert_true(facts_gpu_refusal(&facts, 0, 0, "", sentence, sizeof sentence));
    assert_string_equal(sentence, "this program was built without CUDA, and the bus shows no NVIDIA card; a machine "
                                  "with an NVIDIA card and a program built with CUDA are needed");
}

/* Whatever machine this runs on: a value or a reason, never both, never neither. */
static void test_this_machine(void **state)
{
    (void)state;
    facts_read(&facts, NULL);
    const struct fact_number *numbers[] = {&facts.load_1m, &facts.throttled_share, &facts.memory_available_bytes,
                                           &facts.swap_used_bytes, &facts.memory_pressure};
    const struct fact_text *texts[] = {&facts.governor, &facts.huge_pages, &facts.gpu_driver, &facts.gpu_library,
                                       &facts.gpu_on_bus};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        assert_true(isnan(numbers[i]->value) == (numbers[i]->reason[0] != '\0'));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_true((texts[i]->value[0] == '\0') == (texts[i]->reason[0] != '\0'));
    assert_true((facts.n_gpus == 0) == (facts.gpu_reason[0] != '\0'));
    assert_true(facts.memory_available_bytes.value > 0);
    assert_true(facts.load_1m.value >= 0);
    assert_true(facts.n_online >= 1);
}

/* The machine in place of that of a record which is whole. */
static json_t *record_with_facts(void)
{
    json_t *record = json_load_file(SOURCE_DIR "/docs/lab-record.example.json", 0, NULL);
    assert_non_null(record);
    assert_int_equal(json_object_del(record, "machine"), 0);
    assert_int_equal(facts_to_record(&facts, record, &err), 0);
    if (record_check(record, &err)) fail_msg("%s", err.message);
    return record;
}

static void test_record(void **state)
{
    (void)state;
    machine_put_clean();
    machine_put("/proc/pressure/memory", "");
    read_made();
    json_t *record = record_with_facts();
    assert_true(record_number(record, "machine.load_1m") == 0.1);
    assert_string_equal(record_text(record, "machine.governor"), "performance");
    assert_string_equal(record_text(record, "machine.id"), facts.machine_id);
    assert_true(json_is_null(record_at(record, "machine.quota")));
    assert_string_equal(record_reason(record, "machine.quota"), "there is no limit");
    assert_true(json_is_null(record_at(record, "machine.memory_pressure")));
    assert_string_equal(record_reason(record, "machine.memory_pressure"), "/proc/pressure/memory: it is empty");
    assert_int_equal(json_array_size(record_at(record, "machine.gpus")), 0);
    assert_string_equal(record_reason(record, "machine.gpu_driver"), "no NVIDIA driver is loaded");
    json_decref(record);
}

static void test_record_with_gpus(void **state)
{
    (void)state;
    machine_put_clean(); /* a card is there, and nothing can be said of it */
    machine_put_card("0000:41:00.0", "0x030200\n", "0x2330\n");
    read_library(SCRATCH("none.so"), "0", "1");
    json_t *record = record_with_facts();
    assert_true(json_is_null(record_at(record, "machine.gpus")));
    assert_string_equal(record_reason(record, "machine.gpus"), "no NVIDIA driver is loaded");
    json_decref(record);

    machine_put_driver();
    read_library(NVML_MADE, "0", "2");
    record = record_with_facts();
    json_t *gpu = json_array_get(record_at(record, "machine.gpus"), 1);
    assert_string_equal(record_text(gpu, "name"), "Made Card 1");
    assert_true(record_number(gpu, "n_other_processes") == 1);
    assert_string_equal(record_text(record, "machine.gpu_driver"), "550.54.14");
    json_decref(record);

    setenv("NVML_MADE_SHY", "1", 1);
    read_library(NVML_MADE, "0", "1");
    setenv("NVML_MADE_SHY", "0", 1);
    assert_int_equal(facts.gpus[0].n_other_processes, -1);
    record = record_with_facts();
    gpu = json_array_get(record_at(record, "machine.gpus"), 0);
    assert_true(json_is_null(record_at(gpu, "n_other_processes")));
    assert_non_null(json_object_get(record_at(record, "missing"), "machine.gpus")); /* for all within */
    json_decref(record);
}

static void test_file(void **state)
{
    struct facts_file file;
    struct facts_source source = {.root = scratch_folder};
    struct stat st;
    char path[128], text[8192];
    (void)state;
    memset(text, 'x', sizeof text);
    FILE *f = fopen(SCRATCH("model"), "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, sizeof text, f), sizeof text);
    fclose(f);
    machine_clear();
    facts_read_file(&file, SCRATCH("model"), &source);
    assert_true(file.bytes == sizeof text);
    assert_true(isnan(file.cached_share.value) || file.cached_share.value == 1); /* it was just written */
    assert_int_equal(stat(SCRATCH("model"), &st), 0);
    snprintf(path, sizeof path, "/sys/dev/block/%u:%u/queue/rotational", major(st.st_dev), minor(st.st_dev));
    machine_put(path, "1\n");
    facts_read_file(&file, SCRATCH("model"), &source);
    assert_string_equal(file.slow.value, "a rotating disk");
    machine_put("/proc/cpuinfo", "flags\t\t: fpu hypervisor lahf_lm\n"); /* whose disks do not tell */
    facts_read_file(&file, SCRATCH("model"), &source);
    assert_string_equal(file.slow.value, "");
    assert_non_null(strstr(file.slow.reason, "virtual"));
    machine_put("/proc/cpuinfo", "flags\t\t: fpu lahf_lm\n");
    static const struct {
        const char *name;
        bool rotates;
    } disks[] = {{"vda1", false}, {"xvda", false}, {"nbd0", false}, {"sda1", true}, {"dm-0", true}};
    for (size_t i = 0; i < COUNT_OF(disks); i++) {
        char uevent[128], line[64];
        snprintf(uevent, sizeof uevent, "/sys/dev/block/%u:%u/uevent", major(st.st_dev), minor(st.st_dev));
        snprintf(line, sizeof line, "MAJOR=254\nDEVNAME=%s\nDEVTYPE=disk\n", disks[i].name);
        machine_put(uevent, line);
        facts_read_file(&file, SCRATCH("model"), &source);
        assert_string_equal(file.slow.value, disks[i].rotates ? "a rotating disk" : "");
    }
    machine_put(path, "0\n");
    facts_read_file(&file, SCRATCH("model"), &source);
    assert_string_equal(file.slow.value, "");
    assert_string_equal(file.slow.reason, "");
    facts_read_file(&file, SCRATCH("none"), &source);
    assert_true(isnan(file.cached_share.value));
    assert_non_null(strstr(file.slow.reason, "none"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clean),  cmocka_unit_test(test_nothing), cmocka_unit_test(test_busy),
        cmocka_unit_test(test_quota),  cmocka_unit_test(test_cards),   cmocka_unit_test(test_library),
        cmocka_unit_test(test_record), cmocka_unit_test(test_file),    cmocka_unit_test(test_this_machine),
        cmocka_unit_test(test_record_with_gpus),
    };
    if (scratch_make()) return 1;
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    machine_clear();
    scratch_remove();
    return status;
}
