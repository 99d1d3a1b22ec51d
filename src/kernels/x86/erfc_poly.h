/* erfc_poly.h - the tail of the normal distribution, Phi(-a) for a >= 0, as act_avx2.c and act_avx512.c
 * compute it: Phi(-a) = exp(-a^2 / 2) s P(v) with s = 1 / (1 + a / 4) and v = s * 38/15 - 23/15.
 *
 * exp(a^2 / 2) Phi(-a) falls off as 1 / a, so that what is left for P is smooth.  P interpolates
 * exp(a^2 / 2) Phi(-a) / s at the Chebyshev nodes of v in [-1, 1], which is a in [0, 15]: 1.4e-8 of it.  By
 * a = 15 the tail is less than any float32. */
#ifndef ERFC_POLY_H
#define ERFC_POLY_H

#define ERFC_END 15.0f
#define ERFC_SCALE (38.0f / 15)
#define ERFC_OFFSET (-23.0f / 15)

enum { ERFC_DEGREE = 9 };
static const float erfc_poly[ERFC_DEGREE + 1] = {
    0.225570908f,    0.157504185f,     0.0812726707f,    0.0295192597f,    0.00636184077f,
    0.000134121129f, -0.000332736234f, -5.00912886e-05f, 1.61051209e-05f,  3.73959576e-06f,
};

#endif
