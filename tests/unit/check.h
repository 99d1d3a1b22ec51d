/* check.h - what tests of the engine share: a call that has to succeed, and the folder of reference data. */
#ifndef CHECK_H
#define CHECK_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Fails with the sentence in `err`, which the test has. */
#define OK(call)                                                                                    \
    do {                                                                                            \
        if (call) fail_msg("%s", err.message);                                                      \
    } while (0)

/* The folder that REDLINE_TEST_DATA names.  Without it the test is skipped and says so; in CI it fails. */
static inline const char *test_data(void)
{
    const char *folder = getenv("REDLINE_TEST_DATA"), *ci = getenv("CI");
    if (folder && *folder) return folder;
    if (ci && strcmp(ci, "true") == 0) fail_msg("REDLINE_TEST_DATA is not set");
    print_message("skipped: REDLINE_TEST_DATA is not set\n");
    skip();
    return NULL;
}

#endif
