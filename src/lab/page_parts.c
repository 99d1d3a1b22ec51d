/* page_parts.c - style sheet and scripts, taken into the program by the assembler: PAGE_CSS, PAGE_JS and PAGE_CHART_JS
 * are their paths, which CMake knows. */
#include "page_parts.h"

#define PART(name, path)                         \
    __asm__(".section .rodata\n"                 \
            ".global redline_" #name "_begin\n"  \
            ".global redline_" #name "_end\n"    \
            "redline_" #name "_begin:\n"         \
            ".incbin \"" path "\"\n"             \
            "redline_" #name "_end:\n"           \
            ".byte 0\n"                          \
            ".previous\n");                      \
    extern const char redline_##name##_begin[], redline_##name##_end[]; \
    struct str name(void)                        \
    {                                            \
        return (struct str){redline_##name##_begin, (size_t)(redline_##name##_end - redline_##name##_begin)}; \
    }

PART(page_css, PAGE_CSS)
PART(page_js, PAGE_JS)
PART(page_chart_js, PAGE_CHART_JS)
