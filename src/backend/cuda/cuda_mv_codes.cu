/* cuda_mv_codes.cu - products of few rows with weights in blocks of 32. */
#include "cuda_mv_codes.cuh"

bool cuda_mv_codes(struct cuda_run *run, const struct mv *a, enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_Q4_0: mv_few<mv_of_codes, DTYPE_Q4_0>(run, a); return true;
    case DTYPE_Q4_1: mv_few<mv_of_codes, DTYPE_Q4_1>(run, a); return true;
    case DTYPE_Q5_0: mv_few<mv_of_codes, DTYPE_Q5_0>(run, a); return true;
    case DTYPE_Q5_1: mv_few<mv_of_codes, DTYPE_Q5_1>(run, a); return true;
    case DTYPE_Q8_0: mv_few<mv_of_codes, DTYPE_Q8_0>(run, a); return true;
    case DTYPE_IQ4_NL: mv_few<mv_of_codes, DTYPE_IQ4_NL>(run, a); return true;
    case DTYPE_MXFP4: mv_few<mv_of_codes, DTYPE_MXFP4>(run, a); return true;
    default: return false;
    }
}
