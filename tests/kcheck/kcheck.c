/* kcheck.c - the driver: every kernel that the dispatcher would choose is held against the
 * definition.
 *
 * Walks the feature levels of this machine upward and checks each slot of kern_select() that is new
 * at its level.  Owns the guarded buffers and the traps: a kernel that crashes is named, and the
 * run goes on. */
#include "kcheck.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "cpu.h"

static const char *const ropes[] = {[KERN_ROPE_PAIRS] = "PAIRS", [KERN_ROPE_HALVES] = "HALVES"};
static const char *const acts[] = {
    [KERN_ACT_SILU] = "SILU",
    [KERN_ACT_GELU] = "GELU",
    [KERN_ACT_GELU_ERF] = "GELU_ERF",
    [KERN_ACT_GELU_QUICK] = "GELU_QUICK",
    [KERN_ACT_RELU] = "RELU",
    [KERN_ACT_RELU_SQR] = "RELU_SQR",
    [KERN_ACT_SWIGLU_OAI] = "SWIGLU_OAI",
};

#define KINDS(field, n, names, function)                                                           \
    {                                                                                              \
        .name = #field, .offset = offsetof(struct kern_ops, field), .count = n, .kinds = names,    \
        .check = function                                                                          \
    }
#define FIELD(field, n, function) KINDS(field, n, NULL, function)
const struct kc_group kc_groups[] = {
    FIELD(dot, 1, kc_check_dot),
    FIELD(add, 1, kc_check_add),
    FIELD(axpy, 1, kc_check_axpy),
    FIELD(scale, 1, kc_check_scale),
    FIELD(max, 1, kc_check_max),
    FIELD(exp_sum, 1, kc_check_exp_sum),
    FIELD(rms_norm, 1, kc_check_rms_norm),
    FIELD(layer_norm, 1, kc_check_layer_norm),
    KINDS(act, KERN_ACT_COUNT, acts, kc_check_act),
    FIELD(softcap, 1, kc_check_softcap),
    KINDS(rope, KERN_ROPE_COUNT, ropes, kc_check_rope),
    FIELD(quant_act, 1, kc_check_quant_act),
    FIELD(decode, DTYPE_COUNT, kc_check_decode),
    FIELD(encode, DTYPE_COUNT, kc_check_encode),
    FIELD(encode_weighted, DTYPE_COUNT, kc_check_encode_weighted),
    FIELD(pack, 1, kc_check_pack),
    FIELD(mm, DTYPE_COUNT, kc_check_mm),
    FIELD(mm_tiles, DTYPE_COUNT, kc_check_mm_tiles),
    FIELD(turn, 1, kc_check_turn),
    FIELD(kv_dot, DTYPE_COUNT, kc_check_kv_dot),
    FIELD(kv_sum, DTYPE_COUNT, kc_check_kv_sum),
};
const int kc_n_groups = COUNT_OF(kc_groups);

/* ---- slots ------------------------------------------------------------------------------- */

kc_slot_fn *kc_slot(const struct kern_ops *ops, const struct kc_group *group, int index)
{
    kc_slot_fn *fn;
    memcpy(&fn, (const char *)ops + group->offset + (size_t)index * sizeof fn, sizeof fn);
    return fn;
}

const char *kc_slot_name(const struct kc_group *group, int index, char *out, size_t n)
{
    const char *kind = group->kinds                  ? group->kinds[index]
                       : group->count == DTYPE_COUNT ? dtype_name((uint32_t)index)
                                                     : "";
    snprintf(out, n, "%s%s%s", group->name, *kind ? " " : "", kind);
    return out;
}

/* ---- traps ------------------------------------------------------------------------------- */

static sigjmp_buf out_of_check;
static volatile sig_atomic_t in_check;
static bool is_quiet;

static void on_signal(int number)
{
    if (in_check) siglongjmp(out_of_check, number);
    signal(number, SIG_DFL);
    raise(number);
}

static void set_traps(void)
{
    static const int signals[] = {SIGILL, SIGSEGV, SIGBUS, SIGFPE};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_NODEFER};
    for (size_t i = 0; i < COUNT_OF(signals); i++) sigaction(signals[i], &action, NULL);
}

static void complain(const struct kc *kc, const char *what)
{
    char name[64];
    if (is_quiet) return;
    printf("FAIL %s %s: %s: %s (--seed %llu)\n",
           kc_slot_name(kc->group, kc->index, name, sizeof name), kc->isa, kc->what, what,
           (unsigned long long)kc->seed);
}

void kc_fail(struct kc *kc, const char *format, ...)
{
    char text[256];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    complain(kc, text);
    siglongjmp(out_of_check, 1000);
}

void kc_case(struct kc *kc, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(kc->what, sizeof kc->what, format, list);
    va_end(list);
}

bool kc_run_slot(struct kc *kc, bool quiet)
{
    int reason = sigsetjmp(out_of_check, 1);
    is_quiet = quiet;
    if (reason == 0) {
        kc_case(kc, "start");
        rng_seed(&kc->rng, kc->seed); /* every version of a slot sees the same inputs */
        in_check = 1;
        kc->group->check(kc);
    } else if (reason < 1000) {
        complain(kc, strsignal(reason));
    }
    in_check = 0;
    return reason == 0;
}

/* ---- guarded buffers --------------------------------------------------------------------- */

enum { AREAS = 8, ROOM = 8 << 20, MARGIN = 256, CANARY = 0x99 };

static struct area {
    char *room; /* ROOM bytes between two unmapped pages */
    char *data;
    size_t bytes;
    bool is_output;
    uint64_t hash;
} areas[AREAS];
static int n_used;

static struct area *take(struct kc *kc, size_t bytes)
{
    if (n_used == AREAS || bytes + MARGIN > ROOM) kc_fail(kc, "the checker is out of buffers");
    struct area *a = &areas[n_used++];
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (!a->room) {
        char *map = mmap(NULL, ROOM + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (map == MAP_FAILED || mprotect(map + page, ROOM, PROT_READ | PROT_WRITE)) {
            perror("mmap");
            exit(2);
        }
        a->room = map + page;
    }
    a->bytes = bytes;
    a->data = kc->side == KC_BEHIND ? a->room + ROOM - bytes : a->room;
    return a;
}

/* What lies beside the buffer on the side without a guard. */
static char *margin(const struct area *a)
{
    return a->data == a->room ? a->data + a->bytes : a->data - MARGIN;
}

void kc_reset(struct kc *kc)
{
    (void)kc;
    n_used = 0;
}

void *kc_in(struct kc *kc, size_t bytes)
{
    struct area *a = take(kc, bytes);
    a->is_output = false;
    memset(margin(a), 0x7f, MARGIN); /* NaN: what is read beside the buffer shows in the sums */
    return a->data;
}

void *kc_out(struct kc *kc, size_t bytes)
{
    struct area *a = take(kc, bytes);
    a->is_output = true;
    memset(a->data, CANARY, bytes);
    memset(margin(a), CANARY, MARGIN);
    return a->data;
}

bool kc_is_canary(const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++)
        if (p[i] != CANARY) return false;
    return true;
}

static uint64_t hash_of(const char *data, size_t n)
{
    uint64_t h = 0xcbf29ce484222325 ^ n;
    for (; n >= 8; n -= 8, data += 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        h = (h ^ word) * 0x9e3779b97f4a7c15;
        h ^= h >> 29;
    }
    for (; n; n--) h = (h ^ (unsigned char)*data++) * 0x100000001b3;
    return h;
}

void kc_before(struct kc *kc)
{
    (void)kc;
    for (int i = 0; i < n_used; i++)
        if (!areas[i].is_output) areas[i].hash = hash_of(areas[i].data, areas[i].bytes);
}

void kc_after(struct kc *kc)
{
    for (int i = 0; i < n_used; i++) {
        struct area *a = &areas[i];
        if (a->is_output && !kc_is_canary(margin(a), MARGIN))
            kc_fail(kc, "wrote %s its output", a->data == a->room ? "behind" : "before");
        if (!a->is_output && hash_of(a->data, a->bytes) != a->hash)
            kc_fail(kc, "changed its input");
    }
}

/* ---- the walk ---------------------------------------------------------------------------- */

static struct options {
    uint64_t seed;
    const char *filter;
    int part, n_parts; /* every n_parts-th slot, from this one on, counted from 1 */
    bool bench, json, list;
} options = {.part = 1, .n_parts = 1};

static struct {
    int seen, checked, failed;
} totals;

static void visit(struct kc *kc)
{
    char name[64];
    kc_slot_name(kc->group, kc->index, name, sizeof name);
    if (options.filter && !strcasestr(name, options.filter) && !strcasestr(kc->isa, options.filter))
        return;
    if (totals.seen++ % options.n_parts != options.part - 1) return;
    if (options.list) {
        printf("%-12s %s\n", kc->isa, name);
        return;
    }
    bool passed = kc_run_slot(kc, false);
    totals.checked++;
    totals.failed += !passed;
    if (passed && options.bench) kc_time_slot(kc, options.json);
}

/* Slots that are not what they were before. */
static void visit_level(const struct kern_ops *ops, const struct kern_ops *before)
{
    for (int g = 0; g < kc_n_groups; g++)
        for (int i = 0; i < kc_groups[g].count; i++) {
            kc_slot_fn *fn = kc_slot(ops, &kc_groups[g], i);
            if (!fn || (before && fn == kc_slot(before, &kc_groups[g], i))) continue;
            struct kc kc = {.ops = ops,
                            .scalar = &kern_scalar,
                            .group = &kc_groups[g],
                            .index = i,
                            .isa = ops->name,
                            .seed = options.seed};
            visit(&kc);
        }
}

/* What the instructions' users do is checked; how fast says nothing. */
static void visit_emulated(const struct kern_ops *before)
{
#if defined(__x86_64__)
    uint32_t need = kern_amx_emulated.need & ~(uint32_t)CPU_AMX;
    if ((cpu_features() & need) != need) return;
    struct kern_ops ops = *before;
    bool bench = options.bench;
    ops.name = "amx-emulated";
    memcpy(ops.mm_tiles, kern_amx_emulated.mm_tiles, sizeof ops.mm_tiles);
    options.bench = false;
    visit_level(&ops, before);
    options.bench = bench;
#else
    (void)before;
#endif
}

/* Where AVX-VNNI is lacking but AVX-512 has the instruction. */
static void visit_vnni512(void)
{
#if defined(__x86_64__)
    struct kern_ops before, ops;
    if ((cpu_features() & (CPU_VNNI | CPU_AVX512)) != CPU_AVX512) return;
    kern_select(&before, CPU_AVX2);
    ops = before;
    ops.name = kc_vnni512.name;
    memcpy(ops.mm, kc_vnni512.mm, sizeof ops.mm);
    visit_level(&ops, &before);
#endif
}

static int usage(void)
{
    fputs("usage: kcheck [--seed N] [--filter WORD] [--part I/N] [--list] [--bench] [--json]\n"
          "  --filter  only slots whose name (\"mm Q4_K\") or instruction set contains WORD\n"
          "  --part    every N-th of those, from the I-th on: parts 1/N to N/N together check all\n"
          "  --bench   times of the slots that passed; --json as one JSON object per line\n",
          stderr);
    return 2;
}

static bool parse_part(const char *text)
{
    int n = 0;
    return sscanf(text, "%d/%d%n", &options.part, &options.n_parts, &n) == 2 && !text[n] && options.part >= 1 &&
           options.part <= options.n_parts;
}

static bool parse(int argc, char **argv)
{
    options.seed = (uint64_t)time(NULL) ^ (uint64_t)getpid() << 20;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--seed") && i + 1 < argc)
            options.seed = strtoull(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--filter") && i + 1 < argc)
            options.filter = argv[++i];
        else if (!strcmp(argv[i], "--part") && i + 1 < argc) {
            if (!parse_part(argv[++i])) return false;
        } else if (!strcmp(argv[i], "--list"))
            options.list = true;
        else if (!strcmp(argv[i], "--bench"))
            options.bench = true;
        else if (!strcmp(argv[i], "--json"))
            options.json = options.bench = true;
        else
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    static const uint32_t levels[] = {0, CPU_AVX2, CPU_VNNI, CPU_AVX512, CPU_BF16, CPU_AMX};
    if (!parse(argc, argv)) return usage();
    setvbuf(stdout, NULL, _IOLBF, 0);
    set_traps();
    if (!options.json && !options.list) printf("seed %llu\n", (unsigned long long)options.seed);
    int unnoticed = options.list || options.part > 1 ? 0 : kc_self_test(options.seed);

    struct kern_ops before, ops;
    uint32_t mask = 0;
    for (size_t i = 0; i < COUNT_OF(levels); i++) {
        if ((cpu_features() & levels[i]) != levels[i]) continue;
        mask |= levels[i];
        kern_select(&ops, mask);
        visit_level(&ops, i ? &before : NULL);
        before = ops;
    }
    visit_emulated(&before);
    visit_vnni512();
    if (!options.list && !options.json)
        printf("%d kernels checked, %d failed, %d planted faults unnoticed\n", totals.checked,
               totals.failed, unnoticed);
    return totals.failed || unnoticed;
}
