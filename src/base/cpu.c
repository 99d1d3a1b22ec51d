/* cpu.c - which instruction sets the kernels may use, and the REDLINE_CPU mask. */
#define _GNU_SOURCE
#include "cpu.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "base.h"
#include "str.h"

static const struct {
    struct str name;
    uint32_t bit;
    uint32_t gone; /* what goes with it: the level and all that builds on it */
} levels[] = {
    {STR("avx2"), CPU_AVX2, CPU_AVX2 | CPU_AVX512 | CPU_BF16 | CPU_AMX | CPU_VNNI},
    {STR("avx512"), CPU_AVX512, CPU_AVX512 | CPU_BF16 | CPU_AMX},
    {STR("bf16"), CPU_BF16, CPU_BF16},
    {STR("amx"), CPU_AMX, CPU_AMX},
    {STR("vnni"), CPU_VNNI, CPU_VNNI},
};

#if defined(__x86_64__)
static uint64_t xgetbv0(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bool amx_granted(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

/* Bit numbers: Intel SDM volume 2, CPUID; state components: volume 1, 13.1. */
static uint32_t detect(void)
{
    uint32_t a, b, c, d, b7, c7, d7, a71 = 0, features = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    bool xsave = c >> 27 & 1, fma = c >> 12 & 1, f16c = c >> 29 & 1, avx = c >> 28 & 1;
    if (!xsave || !__get_cpuid_count(7, 0, &a, &b7, &c7, &d7)) return 0;
    if (a >= 1) __get_cpuid_count(7, 1, &a71, &b, &c, &d);
    uint64_t state = xgetbv0();
    bool ymm = (state & 0x6) == 0x6, zmm = (state & 0xe6) == 0xe6, tiles = (state & 0x60000) == 0x60000;

    if (ymm && avx && fma && f16c && (b7 >> 5 & 1) && (b7 >> 3 & 1) && (b7 >> 8 & 1)) features |= CPU_AVX2;
    uint32_t f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    if ((features & CPU_AVX2) && zmm && (b7 & f_dq_bw_vl) == f_dq_bw_vl && (c7 >> 11 & 1))
        features |= CPU_AVX512;
    if ((features & CPU_AVX2) && (a71 >> 4 & 1)) features |= CPU_VNNI;
    if ((features & CPU_AVX512) && (a71 >> 5 & 1)) features |= CPU_BF16;
    uint32_t amx = 1u << 22 | 1u << 24 | 1u << 25;
    if ((features & CPU_AVX512) && tiles && (d7 & amx) == amx && amx_granted()) features |= CPU_AMX;
    return features;
}
#else
static uint32_t detect(void)
{
    return 0;
}
#endif

static bool apply_word(uint32_t *features, struct str word)
{
    if (word.n == 0) return true;
    if (str_eq(word, STR("scalar"))) {
        *features = 0;
        return true;
    }
    for (size_t i = 0; i < COUNT_OF(levels); i++)
        if (word.p[0] == '-' && str_eq((struct str){word.p + 1, word.n - 1}, levels[i].name)) {
            *features &= ~levels[i].gone;
            return true;
        }
    return false;
}

/* The first unknown word, or one with p == NULL. */
static struct str apply_mask(uint32_t *features, const char *mask)
{
    while (mask && *mask) {
        struct str word = {mask, strcspn(mask, ", ")};
        if (!apply_word(features, word)) return word;
        mask += word.n;
        mask += strspn(mask, ", ");
    }
    return (struct str){NULL, 0};
}

int64_t cpu_mask(uint32_t features, const char *mask)
{
    return apply_mask(&features, mask).p ? -1 : (int64_t)features;
}

static pthread_once_t detected = PTHREAD_ONCE_INIT;
static uint32_t all_there, chosen;

static void choose(void)
{
    all_there = detect();
    int64_t masked = cpu_mask(all_there, getenv("REDLINE_CPU"));
    chosen = masked < 0 ? all_there : (uint32_t)masked;
}

uint32_t cpu_features(void)
{
    pthread_once(&detected, choose);
    return chosen;
}

uint32_t cpu_features_all(void)
{
    pthread_once(&detected, choose);
    return all_there;
}

int cpu_features_check(struct redline_err *err)
{
    uint32_t features = 0;
    struct str word = apply_mask(&features, getenv("REDLINE_CPU"));
    if (!word.p) return 0;
    return err_set(err, REDLINE_ARG, "REDLINE_CPU: '%.*s' is not known; 'scalar' and -avx2, -avx512, "
                   "-bf16, -amx, -vnni are", STR_ARG(word));
}

void cpu_features_text(uint32_t features, char *out, size_t n)
{
    size_t used = 0;
    snprintf(out, n, "scalar");
    for (size_t i = 0; i < COUNT_OF(levels); i++)
        if (features & levels[i].bit && used < n) {
            int more = snprintf(out + used, n - used, "%s%s", used ? " " : "", levels[i].name.p);
            used += more > 0 ? (size_t)more : 0;
        }
}
