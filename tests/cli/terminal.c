/* terminal.c - redline chat as somebody at a terminal meets it: editing, history, Ctrl-C, leaving.
 *
 *     terminal REDLINE
 *
 * A pseudo-terminal takes the place of the person's; what must appear is waited for, for so long that a slow
 * machine is no failure. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "../unit/scratch.h"

enum { WAIT_MS = 30000, MOST_OUTPUT = 1 << 20 };

static const char *redline;
static int n_checks, n_failed;

struct terminal {
    pid_t pid;
    int fd;
    char out[MOST_OUTPUT]; /* all that was shown, zero-terminated */
    size_t n, seen;        /* seen: up to here it was expected */
};

static void check(bool good, const char *what)
{
    n_checks++;
    if (good) return;
    n_failed++;
    printf("FAILED %s\n", what);
}

/* ---- a program at a terminal -------------------------------------------------------------------- */

/* For the address sanitizer: libedit never frees the names of the functions that are added to it. */
static const char *leak_options(void)
{
    static char options[600];
    const char *path = SCRATCH("leaks");
    FILE *file = fopen(path, "w");
    if (file) fputs("leak:wcsdup\n", file);
    if (file) fclose(file);
    snprintf(options, sizeof options, "print_suppressions=0:suppressions=%s", path);
    return options;
}

/* As a shell at a terminal starts programs; whoever runs this test in the background may have had Ctrl-C ignored. */
static void hear_signals(void)
{
    static const int numbers[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGTSTP};
    sigset_t none;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) signal(numbers[i], SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* mask: REDLINE_CPU, "" for all that the machine has. */
static void start(struct terminal *t, const char *state, const char *mask, const char *const *more)
{
    const char *args[24] = {redline, "chat"};
    struct winsize size = {.ws_row = 40, .ws_col = 150};
    int n = 2;
    for (; *more; more++) args[n++] = *more;
    t->n = t->seen = 0;
    t->pid = forkpty(&t->fd, NULL, NULL, &size);
    if (t->pid < 0) {
        perror("terminal: forkpty");
        exit(1);
    }
    if (t->pid > 0) return;
    hear_signals();
    setenv("TERM", "xterm", 1);
    setenv("LSAN_OPTIONS", leak_options(), 1);
    setenv("LC_ALL", "C", 1);
    setenv("HOME", scratch_folder, 1);
    setenv("XDG_STATE_HOME", state, 1);
    setenv("REDLINE_CONFIG_DIR", scratch_folder, 1);
    if (*mask) setenv("REDLINE_CPU", mask, 1);
    execv(redline, (char *const *)(uintptr_t)args);
    _exit(127);
}

/* Reads what is shown within ms; false: nothing more, or the program has gone. */
static bool read_some(struct terminal *t, int ms)
{
    struct pollfd p = {.fd = t->fd, .events = POLLIN};
    if (poll(&p, 1, ms) != 1 || t->n + 1 >= sizeof t->out) return false;
    ssize_t n = read(t->fd, t->out + t->n, sizeof t->out - 1 - t->n);
    if (n <= 0) return false;
    t->n += (size_t)n;
    t->out[t->n] = '\0';
    return true;
}

/* Waits until the text is shown, behind what was expected before; without it, nothing further makes sense. */
static void expect(struct terminal *t, const char *text)
{
    char *at;
    t->out[t->n] = '\0';
    while (!(at = strstr(t->out + t->seen, text)))
        if (!read_some(t, WAIT_MS)) break;
    check(at != NULL, text);
    if (!at) {
        printf("it is not in: %s\n", t->out + t->seen);
        kill(t->pid, SIGKILL);
        exit(1);
    }
    t->seen = (size_t)(at - t->out) + strlen(text);
}

/* Whether its main thread waits; where the system does not show it, yes. */
static bool sleeps(const struct terminal *t)
{
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)t->pid);
    FILE *file = fopen(path, "r");
    size_t n = file ? fread(text, 1, sizeof text - 1, file) : 0;
    const char *after = n ? strrchr(text, ')') : NULL;
    if (file) fclose(file);
    return !after || after[2] == 'S';
}

/* Waits for a prompt, and until the program waits for keys, one by one: a signal between its prompt and its reading
 * would end no reading. */
static void expect_prompt(struct terminal *t)
{
    struct termios mode;
    expect(t, "> ");
    for (int ms = 0; ms < WAIT_MS; ms++) {
        if (tcgetattr(t->fd, &mode) == 0 && !(mode.c_lflag & ICANON) && sleeps(t)) return;
        usleep(1000);
    }
    check(false, "the terminal is ready for keys");
}

static void type(struct terminal *t, const char *keys)
{
    if (write(t->fd, keys, strlen(keys)) != (ssize_t)strlen(keys)) check(false, "typing");
}

static int wait_for_end(struct terminal *t)
{
    int status;
    while (read_some(t, WAIT_MS)) continue; /* until the terminal is closed */
    for (int ms = 0; waitpid(t->pid, &status, WNOHANG) == 0; ms++) {
        if (ms == WAIT_MS) kill(t->pid, SIGKILL);
        usleep(1000);
    }
    close(t->fd);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- the history's file -------------------------------------------------------------------------- */

static const char *history_path(void)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/state/redline/history", scratch_folder);
    return path;
}

/* Lines of the file; -1: there is none. */
static int history_lines(void)
{
    FILE *file = fopen(history_path(), "r");
    int n = 0;
    if (!file) return -1;
    for (int c; (c = getc(file)) != EOF;) n += c == '\n';
    fclose(file);
    return n;
}

static void write_history(int n_lines)
{
    FILE *file = fopen(history_path(), "w");
    if (!file) return;
    for (int i = 0; i < n_lines; i++) fprintf(file, "line%d\n", i);
    fclose(file);
}

/* ---- what people do ------------------------------------------------------------------------------ */

static const char *const greedy[] = {"--temp", "0", NULL};
static const char up[] = "\033[A", left[] = "\033[D", backspace[] = "\177";

static void test_editing(struct terminal *t, const char *state)
{
    start(t, state, "", greedy);
    expect(t, "/help lists commands, Ctrl-D leaves.");
    expect_prompt(t);
    type(t, "What is 7 times 9?");
    type(t, left);
    type(t, backspace);
    type(t, "8\r");
    expect(t, "7 * 8 = 56\r\n");
    expect(t, "stop: end");
    expect_prompt(t);
    type(t, up);
    expect(t, "What is 7 times 8?");
    type(t, "\r");
    expect(t, "cached");
    expect_prompt(t);
    type(t, "caf\303\251\\\rand tea\r");
    expect(t, "caf\303\251\\\r\n. and tea");
    expect(t, "stop: ");
    expect_prompt(t);
    type(t, "rubbish\003");
    expect(t, "rubbish^C\r\n");
    expect_prompt(t);
    type(t, "\003");
    expect(t, "^C\r\nCtrl-D or /exit leaves.\r\n");
    expect_prompt(t);
    kill(t->pid, SIGINT);
    expect(t, "^C\r\n");
    expect_prompt(t);
    type(t, "/help\r");
    expect(t, "/regen");
    expect_prompt(t);
    type(t, "\004");
    check(wait_for_end(t) == 0, "Ctrl-D ends well");
}

static void test_history(struct terminal *t, const char *state)
{
    struct stat st;
    check(stat(history_path(), &st) == 0 && (st.st_mode & 0777) == 0600, "the history is its owner's alone");
    check(history_lines() == 4, "the history has four lines, the one that was given twice once");
    start(t, state, "", greedy);
    expect_prompt(t);
    type(t, up);
    expect(t, "/help");
    for (int i = 0; i < 3; i++) type(t, up);
    expect(t, "What is 7 times 8?");
    type(t, "\r");
    expect(t, "7 * 8 = 56\r\n");
    expect_prompt(t);
    type(t, "/exit\r");
    check(wait_for_end(t) == 0, "/exit ends well");
    check(history_lines() == 6, "two lines more");
}

static void test_long_history(struct terminal *t, const char *state)
{
    struct stat st;
    write_history(2500);
    start(t, state, "", greedy);
    expect_prompt(t);
    type(t, up);
    expect(t, "line2499");
    type(t, "\003");
    expect_prompt(t);
    type(t, "\004");
    check(wait_for_end(t) == 0, "a long history");
    check(history_lines() == 1000, "a long history is cut");
    check(stat(history_path(), &st) == 0 && (st.st_mode & 0777) == 0600, "and stays its owner's alone");
}

static void test_no_history(struct terminal *t)
{
    start(t, "/dev/null/state", "", greedy);
    expect(t, "redline: warning: the history is not kept: the folder '/dev/null/state' cannot be made: ");
    expect_prompt(t);
    type(t, "What is 7 times 8?\r");
    expect(t, "7 * 8 = 56\r\n");
    expect_prompt(t);
    type(t, up);
    expect(t, "What is 7 times 8?");
    type(t, "\003");
    expect_prompt(t);
    type(t, "\004");
    check(wait_for_end(t) == 0, "without a folder for the history");
}

/* Asks, and ends the answer with Ctrl-C when there is some of it.  Random tokens may end it before: asked again. */
static void stop_an_answer(struct terminal *t, const char *question)
{
    enum { SOME = 20, TRIES = 8 };
    static const char cancelled[] = "cancel";
    bool stopped = false;
    for (int i = 0; i < TRIES && !stopped; i++) {
        type(t, question);
        type(t, "\r");
        expect(t, question);
        expect(t, "\r\n");
        while (t->n < t->seen + SOME && read_some(t, WAIT_MS)) continue;
        type(t, "\003");
        expect(t, "stop: ");
        while (t->n < t->seen + sizeof cancelled && read_some(t, WAIT_MS)) continue;
        stopped = strncmp(t->out + t->seen, cancelled, sizeof cancelled - 1) == 0;
        expect_prompt(t);
    }
    check(stopped, "Ctrl-C stops an answer");
}

/* Random tokens that hardly ever end, one after the other in portable C: there is time to press keys. */
static void test_interrupt(struct terminal *t, const char *state)
{
    static const char *const endless[] = {"--temp", "1000", "--top-k", "0", "--top-p", "1", "--min-p", "0",
                                          "--seed", "1", "-t", "1", NULL};
    start(t, state, "scalar", endless);
    expect_prompt(t);
    stop_an_answer(t, "Talk for ever.");
    size_t before = t->seen;
    stop_an_answer(t, "And again.");
    check(!strstr(t->out + before, " 0 cached"), "what came before Ctrl-C stays in the conversation");
    kill(t->pid, SIGTERM);
    check(wait_for_end(t) == 128 + SIGTERM, "SIGTERM ends it");
}

int main(int argc, char **argv)
{
    static struct terminal t;
    char state[512];
    if (argc != 2 || scratch_make() != 0) {
        fprintf(stderr, "usage: terminal REDLINE\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    redline = argv[1];
    snprintf(state, sizeof state, "%s/state", scratch_folder);
    test_editing(&t, state);
    test_history(&t, state);
    test_long_history(&t, state);
    test_no_history(&t);
    test_interrupt(&t, state);
    unlink(history_path());
    strcat(state, "/redline");
    rmdir(state);
    *strrchr(state, '/') = '\0';
    rmdir(state);
    scratch_remove();
    printf("%d passed, %d failed\n", n_checks - n_failed, n_failed);
    return n_failed ? 1 : 0;
}
