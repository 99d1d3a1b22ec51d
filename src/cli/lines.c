/* lines.c - libedit at a terminal, standard input as it comes elsewhere.
 *
 * While a line is edited, Ctrl-C and Ctrl-Z are keys and no signals: a signal would reach libedit in the
 * middle of a read, whereas a key that is bound to a function ends the line like any other. */
#include "lines.h"

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "mem.h"

enum {
    MOST_LINES = 1000, /* kept of the history; its file grows to twice that before it is cut */
    MOST_BYTES = 4096, /* of a line that goes into the history */
};

struct lines {
    struct buf text; /* the line in hand */
    bool ended;

    /* at a terminal; .edit is NULL elsewhere */
    EditLine *edit;
    History *history;
    const char *prompt;
    bool interrupted;
    char *path; /* of the history's file; NULL: it is not kept */
};

/* ---- the history's file: the lines as they were written ------------------------------------------ */

/* status, err: what became of it; a failure is told, and the history no longer kept. */
static void settle_history(struct lines *l, int status, const struct redline_err *err)
{
    if (!status) return;
    fprintf(stderr, "redline: warning: the history is not kept: %s\n", err->message);
    mem_free(l->path);
    l->path = NULL;
}

/* Without a folder for it in the environment, no history is kept. */
static int find_history(struct lines *l, struct redline_err *err)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    struct buf path = {0};
    int status = 0;
    if (state && *state == '/')
        status = buf_printf(&path, err, "%s/redline/history", state);
    else if (home && *home == '/')
        status = buf_printf(&path, err, "%s/.local/state/redline/history", home);
    l->path = path.p;
    return status;
}

static size_t count_lines(struct str text)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) n += text.p[i] == '\n';
    return n;
}

/* Without its first n lines. */
static struct str skip_lines(struct str text, size_t n)
{
    for (; n > 0; n--) {
        const char *end = memchr(text.p, '\n', text.n);
        text = (struct str){end + 1, text.n - (size_t)(end + 1 - text.p)};
    }
    return text;
}

static int replace_history(const struct lines *l, struct str text, struct redline_err *err)
{
    mode_t before = umask(0077);
    int status = file_write(l->path, text.p, text.n, err);
    umask(before);
    return status;
}

static int load_history(struct lines *l, struct redline_err *err)
{
    HistEvent event;
    struct buf text = {0};
    TRY(file_make_folders(l->path, 0700, err));
    if (access(l->path, F_OK) != 0) return 0;
    TRY(file_read(&text, l->path, err));
    size_t n = count_lines(buf_str(&text));
    struct str kept = skip_lines(buf_str(&text), n > MOST_LINES ? n - MOST_LINES : 0);
    int status = n > 2 * MOST_LINES ? replace_history(l, kept, err) : 0;
    char *rest = text.p + (kept.p - text.p);
    for (char *line; n > 0 && (line = strsep(&rest, "\n"));)
        if (*line) history(l->history, &event, H_ENTER, line);
    buf_free(&text);
    return status;
}

/* At the end of the file, where it takes nobody else's lines away. */
static int append_history(const struct lines *l, struct redline_err *err)
{
    int fd = open(l->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    FILE *file = fd >= 0 ? fdopen(fd, "a") : NULL;
    bool good = file && fprintf(file, "%s\n", l->text.p) > 0;
    int reason = errno;
    if (file && fclose(file) != 0) good = false, reason = errno;
    if (!file && fd >= 0) close(fd);
    if (good) return 0;
    return err_set(err, REDLINE_IO, "'%s' cannot be written: %s", l->path, strerror(reason));
}

static void remember(struct lines *l)
{
    HistEvent event;
    struct redline_err err;
    if (l->text.n == 0 || l->text.n > MOST_BYTES) return;
    if (history(l->history, &event, H_ENTER, l->text.p) < 1 || !l->path) return; /* 0: the same again */
    settle_history(l, append_history(l, &err), &err);
}

/* ---- the terminal ------------------------------------------------------------------------------ */

static struct lines *lines_of(EditLine *edit)
{
    void *l = NULL;
    el_get(edit, EL_CLIENTDATA, &l);
    return l;
}

static char *show_prompt(EditLine *edit)
{
    return (char *)(uintptr_t)lines_of(edit)->prompt;
}

static unsigned char interrupt(EditLine *edit, int key)
{
    (void)key;
    lines_of(edit)->interrupted = true;
    return CC_NEWLINE;
}

/* libedit's handler (EL_SIGNAL) sets the terminal right before the stop and after it. */
static unsigned char suspend(EditLine *edit, int key)
{
    (void)edit;
    (void)key;
    raise(SIGTSTP);
    return CC_REDISPLAY;
}

/* Characters are cut from bytes by the locale; where it knows only ASCII, by UTF-8 all the same. */
static void choose_locale(void)
{
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) setlocale(LC_CTYPE, "C.UTF-8");
}

static int open_terminal(struct lines *l, struct redline_err *err)
{
    HistEvent event;
    choose_locale();
    l->edit = el_init("redline", stdin, stderr, stderr);
    l->history = history_init();
    if (!l->edit || !l->history) return err_memory(err, 4096, "line editing");
    history(l->history, &event, H_SETSIZE, MOST_LINES);
    history(l->history, &event, H_SETUNIQUE, 1);
    el_set(l->edit, EL_CLIENTDATA, l);
    el_set(l->edit, EL_EDITOR, "emacs");
    el_set(l->edit, EL_SIGNAL, 1);
    el_set(l->edit, EL_HIST, history, l->history);
    el_set(l->edit, EL_PROMPT, show_prompt);
    el_set(l->edit, EL_ADDFN, "redline-interrupt", "Take the line away", interrupt);
    el_set(l->edit, EL_ADDFN, "redline-suspend", "Stop the program", suspend);
    el_set(l->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_source(l->edit, NULL); /* the user's own keys, ~/.editrc */
    el_set(l->edit, EL_SETTY, "-d", "-isig", NULL);
    el_set(l->edit, EL_BIND, "^C", "redline-interrupt", NULL);
    el_set(l->edit, EL_BIND, "^Z", "redline-suspend", NULL);
    TRY(find_history(l, err));
    struct redline_err why;
    if (l->path) settle_history(l, load_history(l, &why), &why);
    return 0;
}

static int edit_line(struct lines *l, enum lines_kind *kind, struct redline_err *err)
{
    int n = 0;
    l->interrupted = false;
    const char *line = el_gets(l->edit, &n);
    if (!line && n < 0 && errno == EINTR) l->interrupted = true; /* somebody sent the signal */
    *kind = l->interrupted ? LINES_INTERRUPT : line ? LINES_LINE : LINES_END;
    if (*kind != LINES_LINE) {
        fputs(l->interrupted ? "^C\n" : "\n", stderr);
        return 0;
    }
    TRY(buf_append(&l->text, line, (size_t)n, err));
    while (l->text.n && l->text.p[l->text.n - 1] == '\n') l->text.p[--l->text.n] = '\0';
    remember(l);
    return 0;
}

/* ---- anything else ----------------------------------------------------------------------------- */

static int read_line(struct lines *l, enum lines_kind *kind, struct redline_err *err)
{
    int c = EOF;
    *kind = LINES_LINE;
    while (!l->ended && (c = getc(stdin)) != '\n') {
        l->ended = c == EOF;
        if (c == 0) return err_set(err, REDLINE_FORMAT, "standard input has a zero byte in it, and is to be text");
        if (!l->ended) TRY(buf_append(&l->text, &(char){(char)c}, 1, err));
    }
    if (ferror(stdin)) return err_set(err, REDLINE_IO, "standard input cannot be read: %s", strerror(errno));
    if (l->ended && l->text.n == 0) *kind = LINES_END;
    return 0;
}

int lines_open(struct lines **out, struct redline_err *err)
{
    struct lines *l = *out = mem_new(1, sizeof *l);
    if (!l) return err_memory(err, sizeof *l, "reading lines");
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) return 0;
    int status = open_terminal(l, err);
    if (status) lines_close(out);
    return status;
}

void lines_close(struct lines **lines)
{
    struct lines *l = lines ? *lines : NULL;
    if (!l) return;
    if (l->edit) el_end(l->edit);
    if (l->history) history_end(l->history);
    buf_free(&l->text);
    mem_free(l->path);
    mem_free(l);
    *lines = NULL;
}

bool lines_at_terminal(const struct lines *l)
{
    return l->edit;
}

int lines_next(struct lines *l, const char *prompt, struct str *line, enum lines_kind *kind,
               struct redline_err *err)
{
    l->text.n = 0;
    l->prompt = prompt;
    TRY(buf_append(&l->text, "", 0, err));
    TRY(l->edit ? edit_line(l, kind, err) : read_line(l, kind, err));
    *line = buf_str(&l->text);
    return 0;
}
