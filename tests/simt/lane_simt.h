/* lane_simt.h - the names of lane.cuh a second time, in plain C++; lane.cuh says what they mean. */
#ifndef LANE_SIMT_H
#define LANE_SIMT_H

#include <math.h>
#include <string.h>

#include "simt.h"

/* ---- numbers ---------------------------------------------------------------------------------------- */

LANE uint32_t bits_of_f32(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

LANE float f32_of_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

LANE float f32_of_f16(uint16_t h)
{
    uint32_t sign = (h & 0x8000u) << 16, rest = h & 0x7fffu;
    if (rest >= 0x7c00u) return f32_of_bits(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
    return f32_of_bits(sign | bits_of_f32(f32_of_bits(rest << 13) * 0x1p112f)); /* exact, subnormals too */
}

LANE uint16_t f16_of_f32(float f)
{
    uint32_t sign = bits_of_f32(f) >> 16 & 0x8000u, u = bits_of_f32(f) & 0x7fffffffu;
    if (u > 0x7f800000u) return 0x7fff;
    if (u >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and more */
    if (u < 0x38800000u) /* subnormal: its last bit is that of numbers from 0.5 on */
        return (uint16_t)(sign | (bits_of_f32(f32_of_bits(u) + 0.5f) - 0x3f000000u));
    return (uint16_t)(sign | (u + 0xfffu + (u >> 13 & 1) - 0x38000000u) >> 13);
}

LANE float f32_of_bf16(uint16_t h)
{
    return f32_of_bits((uint32_t)h << 16);
}

LANE uint16_t bf16_of_f32(float f)
{
    uint32_t u = bits_of_f32(f);
    return f != f ? (uint16_t)0x7fff : (uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

LANE uint32_t bf16x2_of_f32(float first, float second)
{
    return bf16_of_f32(first) | (uint32_t)bf16_of_f32(second) << 16;
}

/* Nothing is fused here: compiled without contraction. */
LANE float mul_rounded(float a, float b)
{
    return a * b;
}

LANE float add_rounded(float a, float b)
{
    return a + b;
}

LANE float exp2_near(float f)
{
    return f < -126 ? 0 : exp2f(f);
}

LANE int int_of_f32(float f)
{
    if (f != f) return 0;
    return f >= 0x1p31f ? INT32_MAX : f < -0x1p31f ? INT32_MIN : (int)lrintf(f);
}

LANE int dot4(uint32_t codes, uint32_t bytes, int sum)
{
    for (int i = 0; i < 32; i += 8) sum += (int)(codes >> i & 0xff) * (int8_t)(bytes >> i);
    return sum;
}

LANE int dot4_signed(uint32_t codes, uint32_t bytes, int sum)
{
    for (int i = 0; i < 32; i += 8) sum += (int8_t)(codes >> i) * (int8_t)(bytes >> i);
    return sum;
}

LANE uint32_t pick_bytes(uint32_t low, uint32_t high, uint32_t selector)
{
    uint64_t all = (uint64_t)high << 32 | low;
    uint32_t picked = 0;
    if (selector & 0x8888u) simt_fail("pick_bytes: selector 0x%x names bytes beyond the eighth", selector);
    for (int i = 0; i < 4; i++) picked |= (uint32_t)(all >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
    return picked;
}

LANE uint32_t pick_bytes_or_signs(uint32_t low, uint32_t high, uint32_t selector)
{
    uint32_t picked = pick_bytes(low, high, selector & 0x7777u);
    for (int i = 0; i < 4; i++)
        if (selector >> 4 * i & 8) {
            uint32_t sign = picked >> (8 * i + 7) & 1 ? 0xffu : 0;
            picked = (picked & ~(0xffu << 8 * i)) | sign << 8 * i;
        }
    return picked;
}

LANE uint32_t rotate_left(uint32_t u, int n)
{
    return u << (n & 31) | u >> (-n & 31);
}

LANE float rsqrtf(float f)
{
    return 1 / sqrtf(f);
}

LANE int count_bits(uint32_t u)
{
    return __builtin_popcount(u);
}

/* ---- a warp ----------------------------------------------------------------------------------------- */

LANE int lane_id()
{
    return simt_lane();
}

template <typename T> T simt_exchange(const char *what, simt_place at, T value, int from)
{
    T got;
    static_assert(sizeof value <= SIMT_BRINGS, "a lane cannot bring so much");
    memcpy(&got, simt_brought(simt_meet(what, at, &value, sizeof value), from & 31), sizeof got);
    return got;
}

template <typename T> LANE T warp_xor(T value, int mask, SIMT_HERE)
{
    return simt_exchange("warp_xor", at, value, lane_id() ^ mask);
}

template <typename T> LANE T warp_from(T value, int lane, SIMT_HERE)
{
    return simt_exchange("warp_from", at, value, lane);
}

LANE uint32_t warp_ballot(bool yes, SIMT_HERE)
{
    const simt_meeting *m = simt_meet("warp_ballot", at, &yes, sizeof yes);
    uint32_t all = 0;
    for (int i = 0; i < SIMT_LANES; i++) all |= (uint32_t)(m->present >> i & m->brought[i][0] & 1) << i;
    return all;
}

LANE void warp_barrier(SIMT_HERE)
{
    simt_meet("warp_barrier", at, NULL, 0);
}

LANE float warp_sum(float v, SIMT_HERE)
{
    for (int m = 16; m > 0; m /= 2) v += warp_xor(v, m, at);
    return v;
}

LANE double warp_sum(double v, SIMT_HERE)
{
    for (int m = 16; m > 0; m /= 2) v += warp_xor(v, m, at);
    return v;
}

LANE float warp_max(float v, SIMT_HERE)
{
    for (int m = 16; m > 0; m /= 2) v = fmaxf(v, warp_xor(v, m, at));
    return v;
}

/* ---- a block, a grid -------------------------------------------------------------------------------- */

LANE void block_barrier(SIMT_HERE)
{
    simt_block_barrier(at);
}

LANE char *shared_memory()
{
    return simt_shared_memory();
}

LANE void grid_wait()
{
    simt_grid_wait();
}

LANE void grid_release()
{
}

/* ---- memory ----------------------------------------------------------------------------------------- */

template <typename T> LANE T *simt_aligned(T *p, simt_place at)
{
    if ((uintptr_t)p % 16) simt_fail("%s:%d: address %p is not a multiple of 16", at.file, at.line, (const void *)p);
    return p;
}

LANE uint4 load_stream(const void *p, SIMT_HERE)
{
    uint4 v;
    memcpy(&v, simt_aligned(p, at), sizeof v);
    return v;
}

LANE void prefetch_l2(const void *)
{
}

LANE void copy_async16(void *shared, const void *global, bool valid, SIMT_HERE)
{
    simt_copy(simt_aligned(shared, at), simt_aligned(global, at), valid, at);
}

LANE void copy_commit()
{
    simt_copy_commit();
}

template <int N> LANE void copy_wait()
{
    simt_copy_wait(N);
}

/* ---- tensor cores ----------------------------------------------------------------------------------- */

/* Every lane brings its row. */
LANE void warp_load_matrices(uint32_t r[4], const void *shared, SIMT_HERE)
{
    const simt_meeting *m = simt_meet("warp_load_matrices", at, simt_aligned(shared, at), 16);
    int row = lane_id() / 4, two = lane_id() % 4;
    for (int i = 0; i < 4; i++) memcpy(&r[i], (const char *)simt_brought(m, 8 * i + row) + 4 * two, 4);
}

LANE void warp_load_matrices_turned(uint32_t r[4], const void *shared, SIMT_HERE)
{
    const simt_meeting *m = simt_meet("warp_load_matrices_turned", at, simt_aligned(shared, at), 16);
    int column = lane_id() / 4, row = 2 * (lane_id() % 4);
    for (int i = 0; i < 4; i++) {
        uint16_t two[2];
        for (int j = 0; j < 2; j++)
            memcpy(&two[j], (const char *)simt_brought(m, 8 * i + row + j) + 2 * column, sizeof two[j]);
        r[i] = two[0] | (uint32_t)two[1] << 16;
    }
}

LANE void warp_mma_bf16(float c[4], const uint32_t a[4], const uint32_t b[2], SIMT_HERE)
{
    uint32_t mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    const simt_meeting *m = simt_meet("warp_mma_bf16", at, mine, sizeof mine);
    int g = lane_id() / 4, t = lane_id() % 4;
    for (int half = 0; half < 2; half++) /* of columns: four lanes hold two of each row and two of each column */
        for (int i = 0; i < 4; i++) {
            const uint32_t *row = (const uint32_t *)simt_brought(m, 4 * g + i) + 2 * half;
            for (int j = 0; j < 2; j++) {
                uint32_t col = ((const uint32_t *)simt_brought(m, 4 * (2 * t + j) + i) + 4)[half];
                for (int k = 0; k < 32; k += 16) {
                    float b_k = f32_of_bf16((uint16_t)(col >> k));
                    c[j] += f32_of_bf16((uint16_t)(row[0] >> k)) * b_k;
                    c[2 + j] += f32_of_bf16((uint16_t)(row[1] >> k)) * b_k;
                }
            }
        }
}

#endif
