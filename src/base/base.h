/* base.h - the handful of macros that everything uses. */
#ifndef BASE_H
#define BASE_H

#include <stddef.h>

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* Usable on any integer type; each argument is evaluated more than once. */
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define CEIL_DIV(a, b) (((a) + (b) - 1) / (b))
#define ROUND_UP(a, b) (CEIL_DIV(a, b) * (b))

#endif
