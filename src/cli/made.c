/* made.c - progress and the last line of the commands that make files. */
#include "made.h"

#include <stdio.h>
#include <unistd.h>

#include "clock.h"
#include "cmd.h"

enum { SHOW_EVERY_NS = 100000000 };

void made_start(struct made_line *line)
{
    line->progress.wanted = isatty(STDERR_FILENO) && !line->quiet;
    line->start_ns = line->shown_ns = clock_ns();
    cmd_catch_stop();
}

int made_progress(void *user, const struct redline_make_progress *p)
{
    struct made_line *line = user;
    uint64_t now = clock_ns();
    if (now - line->shown_ns > SHOW_EVERY_NS) {
        cmd_progress_show(&line->progress, p->tensor, (double)p->done_bytes / (double)p->total_bytes);
        line->shown_ns = now;
    }
    return cmd_stopped;
}

void made_report(struct made_line *line, const struct redline_made *made, const char *out)
{
    char bytes[32];
    double seconds = (double)(clock_ns() - line->start_ns) / 1e9;
    cmd_progress_clear(&line->progress);
    if (line->quiet) return;
    str_bytes_text(made->tensor_bytes, bytes, sizeof bytes);
    fprintf(stderr, "%s: %s of weights in %.1f s, %.2f GB/s |", out, bytes, seconds,
            (double)made->tensor_bytes / seconds / 1e9);
    for (size_t i = 0; i < made->n_types; i++)
        fprintf(stderr, "%s %llu %s", i ? "," : "", (unsigned long long)made->types[i].n_tensors,
                made->types[i].type);
    if (made->n_fallback)
        fprintf(stderr, " | %llu of another type than the mixture has: their rows are no multiple of its block",
                (unsigned long long)made->n_fallback);
    if (made->n_unweighted)
        fprintf(stderr, " | %llu encoded without weights, as the importance matrix has none: '%s'%s",
                (unsigned long long)made->n_unweighted, made->unweighted,
                made->n_unweighted > 1 ? " and others" : "");
    fputc('\n', stderr);
}

int made_summary(struct buf *out, struct redline_err *err, const char *text)
{
    TRY(buf_append_str(out, str_of(text), err));
    for (size_t i = 0; redline_mixture_name(i); i++)
        TRY(buf_printf(out, err, "%s%s", i ? ", " : "", redline_mixture_name(i)));
    return buf_printf(out, err, ".");
}
