/* page.c - the frame of the page, and everything in it that is read: plots are figures whose numbers stand below them
 * as tables, so nothing is lost without scripts. */
#include "page.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "page_parts.h"
#include "record.h"

static int add(struct buf *out, const char *html, struct redline_err *err)
{
    return buf_append(out, html, strlen(html), err);
}

/* Text as text, within elements and attributes. */
static int add_text(struct buf *out, const char *text, struct redline_err *err)
{
    static const char special[] = "&<>\"'";
    static const char *const instead[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    for (;;) {
        size_t n = strcspn(text, special);
        TRY(buf_append(out, text, n, err));
        text += n;
        if (!*text) return 0;
        TRY(add(out, instead[strchr(special, *text++) - special], err));
    }
}

/* before, text, after: the two around it are HTML. */
static int add_within(struct buf *out, const char *before, const char *text, const char *after, struct redline_err *err)
{
    TRY(add(out, before, err));
    TRY(add_text(out, text ? text : "", err));
    return add(out, after, err);
}

/* ---- tables -------------------------------------------------------------------------------------- */

/* The least and the largest figure of a table or of one of its columns. */
struct span {
    double low, high;
    size_t n;
};

static struct span span_of(const json_t *rows, size_t first, size_t end)
{
    struct span s = {INFINITY, -INFINITY, 0};
    size_t i, c;
    json_t *row, *cell;
    json_array_foreach(rows, i, row)
        json_array_foreach(row, c, cell) {
            double v = record_number(cell, "value");
            if (c < first || c >= end || isnan(v)) continue;
            s.low = fmin(s.low, v);
            s.high = fmax(s.high, v);
            s.n++;
        }
    return s;
}

/* 0 for the worst figure of a matrix to 1 for the best: how deep its cell is coloured. */
static double depth(const json_t *table, const struct span *s, double v)
{
    double share = s->high > s->low ? (v - s->low) / (s->high - s->low) : 0.5;
    return strcmp(record_text(table, "better"), "lower") == 0 ? 1 - share : share;
}

/* "41.2 (40.8 to 41.9)": the interval in a line of its own. */
static int add_figure(struct buf *out, const char *text, struct redline_err *err)
{
    const char *interval = strstr(text, " (");
    if (!interval) return add_within(out, "<b>", text, "</b>", err);
    char value[64];
    snprintf(value, sizeof value, "%.*s", (int)(interval - text), text);
    TRY(add_within(out, "<b>", value, "</b>", err));
    char rest[160];
    snprintf(rest, sizeof rest, "%s", interval + 2);
    if (*rest) rest[strlen(rest) - 1] = '\0'; /* the closing bracket */
    return add_within(out, "<small>", rest, "</small>", err);
}

static int add_cell(struct buf *out, const json_t *table, const json_t *cell, size_t column, const struct span *s,
                    struct redline_err *err)
{
    const char *text = record_text(cell, "text");
    double v = record_number(cell, "value");
    if ((json_int_t)column < json_integer_value(json_object_get(table, "n_keys")))
        return add_within(out, "<th scope=\"row\">", text, "</th>", err);
    if (!json_object_get(cell, "value")) return add_within(out, "<td>", text, "</td>", err);
    if (isnan(v)) return add_within(out, "<td class=\"figure none\">", text, "</td>", err);
    bool matrix = json_is_true(json_object_get(table, "matrix"));
    TRY(add(out, "<td class=\"figure\"", err));
    if (matrix) TRY(buf_printf(out, err, " style=\"--share:%.2f\"", 0.06 + 0.44 * depth(table, s, v)));
    TRY(add(out, ">", err));
    TRY(add_figure(out, text, err));
    return add(out, "</td>", err);
}

static bool is_figure_column(const json_t *rows, size_t column)
{
    for (size_t i = 0; i < json_array_size(rows); i++)
        if (json_object_get(json_array_get(json_array_get(rows, i), column), "value")) return true;
    return false;
}

static int add_table_body(struct buf *out, const json_t *table, struct redline_err *err)
{
    const json_t *heads = json_object_get(table, "heads"), *rows = json_object_get(table, "rows");
    struct span s = span_of(rows, 0, SIZE_MAX);
    size_t i, c;
    json_t *row, *cell, *head;
    TRY(add(out, "<thead><tr>", err));
    json_array_foreach(heads, c, head)
        TRY(add_within(out, is_figure_column(rows, c) ? "<th scope=\"col\" class=\"figure\">" : "<th scope=\"col\">",
                       json_string_value(head), "</th>", err));
    TRY(add(out, "</tr></thead>\n<tbody>\n", err));
    json_array_foreach(rows, i, row) {
        TRY(add(out, "<tr>", err));
        json_array_foreach(row, c, cell) TRY(add_cell(out, table, cell, c, &s, err));
        TRY(add(out, "</tr>\n", err));
    }
    return add(out, "</tbody>", err);
}

static int add_table(struct buf *out, const json_t *table, struct redline_err *err)
{
    const char *title = record_text(table, "title");
    const json_t *notes = json_object_get(table, "notes");
    if (*title) TRY(add_within(out, "<h3>", title, "</h3>\n", err));
    TRY(add_within(out, "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"", *title ? title : "Table",
                   "\">\n", err));
    TRY(add(out, json_is_true(json_object_get(table, "matrix")) ? "<table class=\"heat\">\n" : "<table>\n", err));
    TRY(add_table_body(out, table, err));
    TRY(add(out, "\n</table></div>\n", err));
    if (json_array_size(notes) == 0) return 0;
    TRY(add(out, "<p class=\"notes\">", err));
    for (size_t i = 0; i < json_array_size(notes); i++)
        TRY(add_within(out, i ? " " : "", json_string_value(json_array_get(notes, i)), "", err));
    return add(out, "</p>\n", err);
}

/* ---- plots --------------------------------------------------------------------------------------- */

static int add_number(struct buf *out, const json_t *point, const char *key, struct redline_err *err)
{
    double v = record_number(point, key);
    if (isnan(v)) return add(out, "<td></td>", err);
    return buf_printf(out, err, "<td class=\"figure\">%.*g</td>", 6, v);
}

/* Percentiles and times as they are read, not as they are drawn. */
static int add_x(struct buf *out, const json_t *point, const char *scale, struct redline_err *err)
{
    double x = record_number(point, "x");
    if (strcmp(scale, "percentile") == 0)
        return buf_printf(out, err, "<td class=\"figure\">p%.6g</td>", 100 * (1 - 1 / x));
    if (strcmp(scale, "time") == 0)
        return add_within(out, "<td>", record_text(point, "text"), "</td>", err);
    return buf_printf(out, err, "<td class=\"figure\">%.6g</td>", x);
}

static int add_points(struct buf *out, const json_t *plot, struct redline_err *err)
{
    size_t s, i;
    json_t *set, *point;
    json_array_foreach(json_object_get(plot, "sets"), s, set)
        json_array_foreach(json_object_get(set, "points"), i, point) {
            TRY(add_within(out, "<tr><th scope=\"row\">", record_text(set, "label"), "</th>", err));
            TRY(add_x(out, point, record_text(plot, "x.scale"), err));
            TRY(add_number(out, point, "y", err));
            TRY(add_number(out, point, "low", err));
            TRY(add_number(out, point, "high", err));
            TRY(add(out, "</tr>\n", err));
        }
    return 0;
}

static int add_plot(struct buf *out, const json_t *plot, struct redline_err *err)
{
    const char *title = record_text(plot, "title"), *x = record_text(plot, "x.label");
    TRY(add_within(out, "<figure>\n<h3>", title, "</h3>\n", err));
    TRY(add_within(out, "<div class=\"canvas\"><canvas role=\"img\" aria-label=\"", title,
                   "; the numbers stand below\"></canvas></div>\n", err));
    TRY(add_within(out, "<figcaption>", record_text(plot, "about"), "</figcaption>\n", err));
    TRY(add(out, "<details><summary>The numbers</summary><div class=\"wide\" tabindex=\"0\"><table>\n"
                 "<thead><tr><th scope=\"col\">row</th><th scope=\"col\" class=\"figure\">", err));
    TRY(add_within(out, "", *x ? x : "series", "</th><th scope=\"col\" class=\"figure\">", err));
    TRY(add_within(out, "", record_text(plot, "y.label"),
                   "</th><th scope=\"col\" class=\"figure\">from</th><th scope=\"col\" class=\"figure\">to</th>"
                   "</tr></thead>\n<tbody>\n", err));
    TRY(add_points(out, plot, err));
    return add(out, "</tbody></table></div></details>\n</figure>\n", err);
}

static int add_plots(struct buf *out, const json_t *plots, struct redline_err *err)
{
    if (json_array_size(plots) == 0) return 0;
    TRY(add(out, "<div class=\"plots\">\n", err));
    for (size_t i = 0; i < json_array_size(plots); i++) TRY(add_plot(out, json_array_get(plots, i), err));
    return add(out, "</div>\n", err);
}

/* ---- sections ------------------------------------------------------------------------------------ */

static int add_list(struct buf *out, const char *title, const json_t *texts, const char *kind, struct redline_err *err)
{
    if (json_array_size(texts) == 0) return 0;
    TRY(buf_printf(out, err, "<h3>%s</h3>\n<ul class=\"plain\">\n", title));
    for (size_t i = 0; i < json_array_size(texts); i++) {
        TRY(buf_printf(out, err, "<li class=\"%s\">", kind));
        TRY(add_within(out, "", json_string_value(json_array_get(texts, i)), "</li>\n", err));
    }
    return add(out, "</ul>\n", err);
}

static int add_section(struct buf *out, const json_t *section, size_t i, bool titled, struct redline_err *err)
{
    const char *about = record_text(section, "about"), *command = record_text(section, "command");
    TRY(buf_printf(out, err, "<section id=\"part-%zu\">\n", i + 1));
    if (titled) TRY(add_within(out, "<h2>", record_text(section, "title"), "</h2>\n", err));
    if (*about) TRY(add_within(out, "<p>", about, "</p>\n", err));
    for (size_t t = 0; t < json_array_size(json_object_get(section, "tables")); t++)
        TRY(add_table(out, json_array_get(json_object_get(section, "tables"), t), err));
    TRY(add_plots(out, json_object_get(section, "plots"), err));
    TRY(add_list(out, "Not measured", json_object_get(section, "failed"), "broken", err));
    TRY(add_list(out, "Worth knowing", json_object_get(section, "notes"), "look", err));
    if (*command) TRY(add_within(out, "<p class=\"quiet\">Made again with <code>", command, "</code></p>\n", err));
    return add(out, "</section>\n", err);
}

static int add_rules(struct buf *out, const json_t *rules, struct redline_err *err)
{
    if (json_array_size(rules) == 0) return 0;
    TRY(add(out, "<section id=\"rules\">\n<h2>Rules</h2>\n<ul class=\"plain\">\n", err));
    for (size_t i = 0; i < json_array_size(rules); i++) {
        const json_t *rule = json_array_get(rules, i);
        const char *answer = record_text(rule, "answer");
        bool broken = strcmp(answer, "broken") == 0, look = broken && strcmp(record_text(rule, "level"), "look") == 0;
        const char *kind = look ? "look" : broken ? "broken" : strcmp(answer, "holds") == 0 ? "holds" : "";
        TRY(buf_printf(out, err, "<li class=\"%s\"><b>%s</b> ", kind, look ? "look" : answer));
        TRY(add_within(out, "", record_text(rule, "name"), ": ", err));
        TRY(add_within(out, "", record_text(rule, "sentence"), "</li>\n", err));
    }
    return add(out, "</ul>\n</section>\n", err);
}

static int add_pairs(struct buf *out, const char *title, const json_t *pairs, struct redline_err *err)
{
    if (json_array_size(pairs) == 0) return 0;
    TRY(buf_printf(out, err, "<section>\n<h2>%s</h2>\n<dl>\n", title));
    for (size_t i = 0; i < json_array_size(pairs); i++) {
        const json_t *pair = json_array_get(pairs, i);
        TRY(add_within(out, "<dt>", json_string_value(json_array_get(pair, 0)), "</dt>", err));
        TRY(add_within(out, "<dd>", json_string_value(json_array_get(pair, 1)), "</dd>\n", err));
    }
    return add(out, "</dl>\n</section>\n", err);
}

static int add_contents(struct buf *out, const json_t *sections, struct redline_err *err)
{
    if (json_array_size(sections) < 2) return 0;
    TRY(add(out, "<nav aria-label=\"Contents\"><ul>\n", err));
    for (size_t i = 0; i < json_array_size(sections); i++) {
        TRY(buf_printf(out, err, "<li><a href=\"#part-%zu\">", i + 1));
        TRY(add_within(out, "", record_text(json_array_get(sections, i), "title"), "</a></li>\n", err));
    }
    return add(out, "</ul></nav>\n", err);
}

static int add_header(struct buf *out, const json_t *document, struct redline_err *err)
{
    const json_t *measured = json_array_get(json_object_get(document, "facts"), 0);
    TRY(add_within(out, "<header>\n<h1>", record_text(document, "title"), "</h1>\n", err));
    TRY(add_within(out, "<p class=\"quiet\">", json_string_value(json_array_get(measured, 1)), "</p>\n", err));
    TRY(add_contents(out, json_object_get(document, "sections"), err));
    return add(out, "</header>\n<main>\n", err);
}

/* ---- scripts ------------------------------------------------------------------------------------- */

static const char licence[] =
    "Copyright (c) 2014-2022 Chart.js Contributors\n\n"
    "Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated\n"
    "documentation files (the \"Software\"), to deal in the Software without restriction, including without\n"
    "limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the\n"
    "Software, and to permit persons to whom the Software is furnished to do so, subject to the following conditions:\n"
    "\n"
    "The above copyright notice and this permission notice shall be included in all copies or substantial portions of\n"
    "the Software.\n\n"
    "THE SOFTWARE IS PROVIDED \"AS IS\", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED\n"
    "TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL\n"
    "THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF\n"
    "CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER\n"
    "DEALINGS IN THE SOFTWARE.\n";

/* JSON within a script element: no character of it can end the element. */
static int add_json(struct buf *out, const json_t *value, struct redline_err *err)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(6) | JSON_ENSURE_ASCII);
    if (!text) return err_memory(err, 0, "the plots");
    int status = 0;
    for (const char *p = text; *p && status == 0;) {
        size_t n = strcspn(p, "<>&");
        status = buf_append(out, p, n, err);
        p += n;
        if (*p && status == 0) status = buf_printf(out, err, "\\u%04x", (unsigned)*p++);
    }
    free(text);
    return status;
}

static int add_scripts(struct buf *out, const json_t *sections, struct redline_err *err)
{
    json_t *plots = json_array();
    int status = plots ? 0 : err_memory(err, 0, "the plots");
    for (size_t i = 0; i < json_array_size(sections) && status == 0; i++)
        if (json_array_extend(plots, json_object_get(json_array_get(sections, i), "plots")))
            status = err_memory(err, 0, "the plots");
    if (status == 0 && json_array_size(plots) > 0) {
        status = add(out, "<script type=\"application/json\" id=\"plots\">", err);
        if (status == 0) status = add_json(out, plots, err);
        if (status == 0) status = buf_printf(out, err, "</script>\n<script>\n/* Chart.js:\n%s*/\n", licence);
        if (status == 0) status = buf_append_str(out, page_chart_js(), err);
        if (status == 0) status = add(out, "</script>\n<script>\n", err);
        if (status == 0) status = buf_append_str(out, page_js(), err);
        if (status == 0) status = add(out, "</script>\n", err);
    }
    json_decref(plots);
    return status;
}

/* ---- the whole ----------------------------------------------------------------------------------- */

static int add_head(struct buf *out, const json_t *document, struct redline_err *err)
{
    TRY(add(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                 "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                 "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                 "style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n"
                 "<meta name=\"generator\" content=\"redline lab report\">\n"
                 "<link rel=\"icon\" href=\"data:,\">\n", err));
    TRY(add_within(out, "<title>", record_text(document, "title"), "</title>\n<style>\n", err));
    TRY(buf_append_str(out, page_css(), err));
    return add(out, "</style>\n</head>\n<body>\n", err);
}

int page_write(struct buf *out, const json_t *document, struct redline_err *err)
{
    const json_t *sections = json_object_get(document, "sections");
    const char *title = record_text(document, "title");
    TRY(add_head(out, document, err));
    TRY(add_header(out, document, err));
    TRY(add_rules(out, json_object_get(document, "rules"), err));
    for (size_t i = 0; i < json_array_size(sections); i++) {
        const json_t *section = json_array_get(sections, i);
        bool titled = json_array_size(sections) > 1 || strcmp(record_text(section, "title"), title) != 0;
        TRY(add_section(out, section, i, titled, err));
    }
    TRY(add_pairs(out, "Machine and program", json_object_get(document, "facts"), err));
    TRY(add_pairs(out, "Words", json_object_get(document, "words"), err));
    TRY(add(out, "</main>\n<footer class=\"quiet\">Figures are medians; below each the 95 % interval of the median, or "
                 "the range of all runs where they are fewer than six.</footer>\n", err));
    TRY(add_scripts(out, sections, err));
    return add(out, "</body>\n</html>\n", err);
}
