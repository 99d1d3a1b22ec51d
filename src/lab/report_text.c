/* report_text.c - a report as Markdown that is also read well as it is: columns stand below one another. */
#include <string.h>

#include "base.h"
#include "mem.h"
#include "record.h"
#include "report.h"

enum { MOST_COLUMNS = 128 };

int report_escape(struct buf *out, const char *text, struct redline_err *err)
{
    for (; *text; text++) {
        if (strchr("\\|<`*[", *text)) TRY(buf_append(out, "\\", 1, err));
        bool blank = (unsigned char)*text < ' ';
        TRY(buf_append(out, blank ? " " : text, 1, err));
    }
    return 0;
}

static size_t n_columns_of(const char *text) /* on a screen: code points */
{
    size_t n = 0;
    for (; *text; text++) n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* ---- tables -------------------------------------------------------------------------------------- */

/* The table as escaped texts, row after row, the heads first. */
struct grid {
    struct buf *cells; /* [n_rows, n_columns] */
    size_t n_rows, n_columns;
    size_t width[MOST_COLUMNS];
    bool right[MOST_COLUMNS]; /* figures stand to the right */
};

static int set_cell(struct grid *g, size_t row, size_t column, const char *text, struct redline_err *err)
{
    struct buf *cell = &g->cells[row * g->n_columns + column];
    TRY(buf_reserve(cell, 1, err));
    TRY(report_escape(cell, text ? text : "", err));
    size_t width = n_columns_of(cell->p);
    if (width > g->width[column]) g->width[column] = width;
    return 0;
}

static int fill_grid(struct grid *g, const json_t *heads, const json_t *rows, struct redline_err *err)
{
    for (size_t c = 0; c < g->n_columns; c++) {
        g->width[c] = 3;
        TRY(set_cell(g, 0, c, json_string_value(json_array_get(heads, c)), err));
    }
    for (size_t r = 1; r < g->n_rows; r++)
        for (size_t c = 0; c < g->n_columns; c++) {
            const json_t *cell = json_array_get(json_array_get(rows, r - 1), c);
            if (json_object_get(cell, "value")) g->right[c] = true;
            TRY(set_cell(g, r, c, record_text(cell, "text"), err));
        }
    return 0;
}

static int print_row(struct buf *out, const struct grid *g, size_t row, struct redline_err *err)
{
    for (size_t c = 0; c < g->n_columns; c++) {
        const char *text = g->cells[row * g->n_columns + c].p;
        int pad = (int)(g->width[c] - n_columns_of(text));
        TRY(buf_printf(out, err, "| %*s%s%*s ", g->right[c] ? pad : 0, "", text, g->right[c] ? 0 : pad, ""));
    }
    return buf_printf(out, err, "|\n");
}

static int print_rule(struct buf *out, const struct grid *g, struct redline_err *err)
{
    for (size_t c = 0; c < g->n_columns; c++) {
        TRY(buf_printf(out, err, "|"));
        for (size_t i = 0; i < g->width[c] + 1; i++) TRY(buf_printf(out, err, "-"));
        TRY(buf_printf(out, err, g->right[c] ? ":" : "-"));
    }
    return buf_printf(out, err, "|\n");
}

static int print_grid(struct buf *out, const struct grid *g, struct redline_err *err)
{
    for (size_t r = 0; r < g->n_rows; r++) {
        TRY(print_row(out, g, r, err));
        if (r == 0) TRY(print_rule(out, g, err));
    }
    return 0;
}

static int print_cells(struct buf *out, const json_t *table, struct redline_err *err)
{
    const json_t *heads = json_object_get(table, "heads"), *rows = json_object_get(table, "rows");
    struct grid g = {.n_rows = json_array_size(rows) + 1, .n_columns = json_array_size(heads)};
    if (g.n_columns > MOST_COLUMNS)
        return err_set(err, REDLINE_ARG, "the table '%s' has %zu columns, the limit is %d", record_text(table, "title"),
                       g.n_columns, MOST_COLUMNS);
    g.cells = mem_new(g.n_rows * g.n_columns, sizeof *g.cells);
    int status = g.cells ? fill_grid(&g, heads, rows, err) : err_memory(err, 0, "a table");
    if (status == 0) status = print_grid(out, &g, err);
    for (size_t i = 0; g.cells && i < g.n_rows * g.n_columns; i++) buf_free(&g.cells[i]);
    mem_free(g.cells);
    return status;
}

/* ---- around them --------------------------------------------------------------------------------- */

static int print_heading(struct buf *out, const char *marks, const char *text, struct redline_err *err)
{
    bool open = out->n >= 2 && memcmp(out->p + out->n - 2, "\n\n", 2) != 0; /* no empty line yet */
    TRY(buf_printf(out, err, "%s%s ", open ? "\n" : "", marks));
    TRY(report_escape(out, text, err));
    return buf_printf(out, err, "\n\n");
}

static int print_list(struct buf *out, const char *before, const json_t *texts, struct redline_err *err)
{
    if (json_array_size(texts) == 0) return 0;
    TRY(buf_printf(out, err, "\n%s\n\n", before));
    for (size_t i = 0; i < json_array_size(texts); i++) {
        TRY(buf_printf(out, err, "* "));
        TRY(report_escape(out, json_string_value(json_array_get(texts, i)), err));
        TRY(buf_printf(out, err, "\n"));
    }
    return 0;
}

static int print_table(struct buf *out, const json_t *table, struct redline_err *err)
{
    const char *title = record_text(table, "title");
    const json_t *notes = json_object_get(table, "notes");
    if (*title) TRY(print_heading(out, "###", title, err));
    TRY(print_cells(out, table, err));
    for (size_t i = 0; i < json_array_size(notes); i++) {
        TRY(buf_printf(out, err, i ? " " : "\n"));
        TRY(report_escape(out, json_string_value(json_array_get(notes, i)), err));
    }
    return json_array_size(notes) ? buf_printf(out, err, "\n") : 0;
}

static int print_section(struct buf *out, const json_t *section, bool alone, const char *title,
                         struct redline_err *err)
{
    const char *own = record_text(section, "title"), *about = record_text(section, "about");
    const char *command = record_text(section, "command");
    if (!alone || strcmp(own, title) != 0) TRY(print_heading(out, "##", own, err));
    if (*about) TRY(buf_printf(out, err, "%s%s", about, about[strlen(about) - 1] == '\n' ? "" : "\n"));
    for (size_t i = 0; i < json_array_size(json_object_get(section, "tables")); i++)
        TRY(print_table(out, json_array_get(json_object_get(section, "tables"), i), err));
    TRY(print_list(out, "Not measured:", json_object_get(section, "failed"), err));
    TRY(print_list(out, "Worth knowing:", json_object_get(section, "notes"), err));
    const char *fence = strchr(command, '`') ? "``" : "`";
    return *command ? buf_printf(out, err, "\nMade again with: %s%s%s\n", fence, command, fence) : 0;
}

static int print_rules(struct buf *out, const json_t *rules, struct redline_err *err)
{
    if (json_array_size(rules) == 0) return 0;
    TRY(print_heading(out, "##", "Rules", err));
    for (size_t i = 0; i < json_array_size(rules); i++) {
        const json_t *rule = json_array_get(rules, i);
        const char *answer = record_text(rule, "answer"), *level = record_text(rule, "level");
        bool look = strcmp(answer, "broken") == 0 && strcmp(level, "look") == 0;
        TRY(buf_printf(out, err, "* **%s** ", look ? "look" : answer));
        TRY(report_escape(out, record_text(rule, "name"), err));
        TRY(buf_printf(out, err, ": "));
        TRY(report_escape(out, record_text(rule, "sentence"), err));
        TRY(buf_printf(out, err, "\n"));
    }
    return 0;
}

static int print_pairs(struct buf *out, const char *title, const json_t *pairs, struct redline_err *err)
{
    if (json_array_size(pairs) == 0) return 0;
    TRY(print_heading(out, "##", title, err));
    for (size_t i = 0; i < json_array_size(pairs); i++) {
        const json_t *pair = json_array_get(pairs, i);
        TRY(buf_printf(out, err, "* "));
        TRY(report_escape(out, json_string_value(json_array_get(pair, 0)), err));
        TRY(buf_printf(out, err, ": "));
        TRY(report_escape(out, json_string_value(json_array_get(pair, 1)), err));
        TRY(buf_printf(out, err, "\n"));
    }
    return 0;
}

int report_to_markdown(struct buf *out, const json_t *document, struct redline_err *err)
{
    const json_t *sections = json_object_get(document, "sections");
    const char *title = record_text(document, "title");
    TRY(print_heading(out, "#", title, err));
    for (size_t i = 0; i < json_array_size(sections); i++)
        TRY(print_section(out, json_array_get(sections, i), json_array_size(sections) == 1, title, err));
    TRY(print_rules(out, json_object_get(document, "rules"), err));
    TRY(print_pairs(out, "Machine and program", json_object_get(document, "facts"), err));
    return print_pairs(out, "Words", json_object_get(document, "words"), err);
}
