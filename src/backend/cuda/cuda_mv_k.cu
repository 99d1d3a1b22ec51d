/* cuda_mv_k.cu - products of few rows with weights in blocks of 256. */
#include "cuda_mv_codes.cuh"

bool cuda_mv_k(struct cuda_run *run, const struct mv *a, enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_Q2_K: mv_few<mv_of_codes, DTYPE_Q2_K>(run, a); return true;
    case DTYPE_Q3_K: mv_few<mv_of_codes, DTYPE_Q3_K>(run, a); return true;
    case DTYPE_Q4_K: mv_few<mv_of_codes, DTYPE_Q4_K>(run, a); return true;
    case DTYPE_Q5_K: mv_few<mv_of_codes, DTYPE_Q5_K>(run, a); return true;
    case DTYPE_Q6_K: mv_few<mv_of_codes, DTYPE_Q6_K>(run, a); return true;
    case DTYPE_IQ4_XS: mv_few<mv_of_codes, DTYPE_IQ4_XS>(run, a); return true;
    default: return false;
    }
}
