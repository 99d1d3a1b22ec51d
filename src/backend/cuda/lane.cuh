/* lane.cuh - what one thread of a warp can do beyond C++: the instructions that kernels are written in.
 *
 * Kernels name no instruction themselves.  Here each has a name and its PTX; tests/simt has the same names a second
 * time, in plain C++, so that every kernel also runs on a machine without a GPU, one thread after the other.
 * `warp` in a name: all 32 lanes call it together.
 *
 * Kernels keep to what both sides have: threadIdx, blockIdx, blockDim, gridDim, __shared__ arrays of constant size,
 * shared_memory(), fmaf, expf, rsqrtf and the like; bits are moved between types by memcpy or the functions below. */
#ifndef LANE_CUH
#define LANE_CUH

#include <stdint.h>

#include <cuda_runtime.h>

#define LANE __device__ __forceinline__

#ifdef REDLINE_SIMT
#include "lane_simt.h"
#else

/* ---- numbers ---------------------------------------------------------------------------------------- */

/* Nearest even, as the CPU rounds. */
LANE float f32_of_f16(uint16_t h)
{
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
}

LANE uint16_t f16_of_f32(float f)
{
    uint16_t h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
    return h;
}

LANE float f32_of_bf16(uint16_t h)
{
    return __uint_as_float((uint32_t)h << 16);
}

/* Two in one register, the first in the low half. */
LANE uint32_t bf16x2_of_f32(float first, float second)
{
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
    return pair;
}

LANE uint16_t bf16_of_f32(float f)
{
    return (uint16_t)bf16x2_of_f32(f, 0);
}

LANE uint32_t bits_of_f32(float f)
{
    return __float_as_uint(f);
}

LANE float f32_of_bits(uint32_t u)
{
    return __uint_as_float(u);
}

/* Rounded by themselves, whatever stands beside them; the compiler makes one fma of * and + where it can. */
LANE float mul_rounded(float a, float b)
{
    return __fmul_rn(a, b);
}

LANE float add_rounded(float a, float b)
{
    return __fadd_rn(a, b);
}

/* Nearest even. */
LANE int int_of_f32(float f)
{
    return __float2int_rn(f);
}

/* 2^f within 2^-22 of it; 0 for what is below 2^-126. */
LANE float exp2_near(float f)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(f));
    return y;
}

/* sum + the products of four unsigned codes and four signed bytes. */
LANE int dot4(uint32_t codes, uint32_t bytes, int sum)
{
    int out;
    asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(out) : "r"(codes), "r"(bytes), "r"(sum));
    return out;
}

/* The same with signed codes. */
LANE int dot4_signed(uint32_t codes, uint32_t bytes, int sum)
{
    return __dp4a((int)codes, (int)bytes, sum);
}

/* Byte i of the result is byte (selector >> 4 i & 7) of the eight bytes of low and high. */
LANE uint32_t pick_bytes(uint32_t low, uint32_t high, uint32_t selector)
{
    return __byte_perm(low, high, selector);
}

/* The same; but where bit 4 i + 3 of the selector is set, byte i is 0xff if that byte is negative, else 0. */
LANE uint32_t pick_bytes_or_signs(uint32_t low, uint32_t high, uint32_t selector)
{
    uint32_t picked;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(picked) : "r"(low), "r"(high), "r"(selector));
    return picked;
}

LANE uint32_t rotate_left(uint32_t u, int n) /* n: modulo 32 */
{
    return __funnelshift_l(u, u, (unsigned)n);
}

LANE int count_bits(uint32_t u)
{
    return __popc(u);
}

/* ---- a warp ----------------------------------------------------------------------------------------- */

LANE int lane_id()
{
    return (int)(threadIdx.x & 31);
}

template <typename T> LANE T warp_xor(T value, int mask) /* the value of lane (own ^ mask) */
{
    return __shfl_xor_sync(0xffffffffu, value, mask);
}

template <typename T> LANE T warp_from(T value, int lane)
{
    return __shfl_sync(0xffffffffu, value, lane);
}

LANE uint32_t warp_ballot(bool yes)
{
    return __ballot_sync(0xffffffffu, yes);
}

LANE void warp_barrier()
{
    __syncwarp();
}

/* The same sum in every lane, in one order. */
LANE float warp_sum(float v)
{
    for (int m = 16; m > 0; m /= 2) v += warp_xor(v, m);
    return v;
}

LANE double warp_sum(double v)
{
    for (int m = 16; m > 0; m /= 2) v += warp_xor(v, m);
    return v;
}

LANE float warp_max(float v)
{
    for (int m = 16; m > 0; m /= 2) v = fmaxf(v, warp_xor(v, m));
    return v;
}

/* ---- a block ---------------------------------------------------------------------------------------- */

LANE void block_barrier()
{
    __syncthreads();
}

/* The memory that the launch asked for, 128-byte aligned. */
LANE char *shared_memory()
{
    extern __shared__ __align__(128) char shared_bytes[];
    return shared_bytes;
}

/* ---- a grid ----------------------------------------------------------------------------------------- */

/* Every kernel waits before it reads what an earlier one wrote, or writes what an earlier one reads; every thread does.
 * Weights may be read before.  Release lets the next kernel begin, as far as it does not wait. */
LANE void grid_wait()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

LANE void grid_release()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/* ---- memory ----------------------------------------------------------------------------------------- */

/* 16 aligned bytes of weights: read once, so they need not stay in the first-level cache. */
LANE uint4 load_stream(const void *p)
{
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
}

LANE void prefetch_l2(const void *p)
{
    asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
}

/* 16 bytes from global to shared memory while the thread goes on; zeros where !valid (then nothing is read).  They are
 * there for this thread after copy_wait(), for others after a barrier behind it. */
LANE void copy_async16(void *shared, const void *global, bool valid)
{
    uint32_t to = (uint32_t)__cvta_generic_to_shared(shared);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 ::"r"(to), "l"(global), "r"(valid ? 16 : 0)
                 : "memory");
}

LANE void copy_commit() /* what this thread began since the last one is a group */
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int N> LANE void copy_wait() /* until at most the N newest groups of this thread are under way */
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* ---- tensor cores ----------------------------------------------------------------------------------- */

/* Four 8x8 matrices of 16-bit numbers: lane 8 i + j gives the address of row j of matrix i (16 bytes, aligned); r[i] is
 * then numbers 2 (lane % 4) and the next of row lane / 4 of matrix i.  turned: of column lane / 4. */
LANE void warp_load_matrices(uint32_t r[4], const void *shared)
{
    uint32_t from = (uint32_t)__cvta_generic_to_shared(shared);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from)
                 : "memory");
}

LANE void warp_load_matrices_turned(uint32_t r[4], const void *shared)
{
    uint32_t from = (uint32_t)__cvta_generic_to_shared(shared);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from)
                 : "memory");
}

/* c[16, 8] += a[16, 16] b[16, 8] of BF16 numbers, with g = lane / 4 and t = lane % 4:
 *     a[0], a[1]: row g and row g + 8, columns 2 t, 2 t + 1;  a[2], a[3]: the same, columns 2 t + 8, 2 t + 9
 *     b[0], b[1]: column g, rows 2 t, 2 t + 1, and rows 2 t + 8, 2 t + 9
 *     c[0], c[1]: row g, columns 2 t, 2 t + 1;  c[2], c[3]: row g + 8 */
LANE void warp_mma_bf16(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif
#endif
