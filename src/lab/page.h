/* page.h - a report as one HTML file that needs nothing else: tables, and plots drawn in the browser by Chart.js,
 * which is part of the file; light and dark, from a phone's width on, readable without scripts.
 *
 * All text of the document is text in the page, whatever it looks like; the page may load nothing from anywhere
 * (its content security policy says so). */
#ifndef PAGE_H
#define PAGE_H

#include <jansson.h>

#include "err.h"
#include "str.h"

/* document: of report_make(). */
int page_write(struct buf *out, const json_t *document, struct redline_err *err);

#endif
