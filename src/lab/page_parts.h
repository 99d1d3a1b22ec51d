/* page_parts.h - the files that every page contains, as they lie in the program. */
#ifndef PAGE_PARTS_H
#define PAGE_PARTS_H

#include "str.h"

struct str page_css(void);
struct str page_js(void);
struct str page_chart_js(void); /* Chart.js as it was installed where the program was built */

#endif
