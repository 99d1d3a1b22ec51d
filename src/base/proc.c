/* proc.c - fork, exec, pipes, and the waiting for them.
 *
 * A program leads a process group; when it has ended, whatever it left behind in the group is killed before its number
 * is given back, so the group cannot be somebody else's by then.  It is killed too when the thread that started it
 * ends. */
#define _GNU_SOURCE
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "clock.h"
#include "fault.h"
#include "mem.h"

enum {
    ERROR_KEPT = 64 << 10, /* bytes of what it says of itself */
    PIECE = 64 << 10,      /* read at once */
    LOOK_EVERY_MS = 100,   /* at the wish to stop */
    NO_PIDFD_MS = 5,       /* at the program, where the system cannot wake us when it ends */
    LINGER_MS = 1000,      /* for what a descendant that left the group still holds open */
    ASKED_MS = 2000,       /* between asking it to end and killing it */
};

/* ---- starting ------------------------------------------------------------------------------------ */

struct program {
    pid_t pid;                  /* of the group too */
    int pid_fd;                 /* readable when it has ended; -1: the system has no such thing */
    int in, out, error;         /* our ends of its pipes; -1: none, or at their end */
};

struct pipes {
    int in[2], out[2], error[2], failure[2]; /* failure: what kept it from starting, as errno */
};

static void close_fd(int *fd)
{
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

static void close_pipe(int fds[2])
{
    close_fd(&fds[0]);
    close_fd(&fds[1]);
}

static int open_pipe(int fds[2])
{
    if (fault_hits(FAULT_READ)) {
        errno = EMFILE;
        return -1;
    }
    return pipe2(fds, O_CLOEXEC);
}

static int open_null(int fds[2], int end, int flags)
{
    fds[end] = open("/dev/null", flags | O_CLOEXEC);
    return fds[end] < 0 ? -1 : 0;
}

static int open_pipes(struct pipes *p, const struct proc_params *params, bool background)
{
    *p = (struct pipes){{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}};
    if (open_pipe(p->failure)) return -1;
    if (params->input.n ? open_pipe(p->in) : open_null(p->in, 0, O_RDONLY)) return -1;
    if (background ? open_null(p->out, 1, O_WRONLY) : open_pipe(p->out)) return -1;
    return background ? open_null(p->error, 1, O_WRONLY) : open_pipe(p->error);
}

static void close_pipes(struct pipes *p)
{
    close_pipe(p->in);
    close_pipe(p->out);
    close_pipe(p->error);
    close_pipe(p->failure);
}

/* This process's environment with params->environment on top; the strings are borrowed. */
static int make_environment(char ***out, const char *const *on_top, struct redline_err *err)
{
    size_t n = 0, n_own = 0, n_top = 0;
    while (environ && environ[n_own]) n_own++;
    while (on_top && on_top[n_top]) n_top++;
    char **all = *out = mem_new(n_own + n_top + 1, sizeof *all);
    if (!all) return err_memory(err, (n_own + n_top + 1) * sizeof *all, "an environment");
    for (size_t i = 0; i < n_top; i++) all[n++] = (char *)(uintptr_t)on_top[i];
    for (size_t i = 0; i < n_own; i++) {
        size_t name = strcspn(environ[i], "="), j = 0;
        while (j < n_top && (strncmp(all[j], environ[i], name) != 0 || all[j][name] != '=')) j++;
        if (j == n_top) all[n++] = environ[i];
    }
    return 0;
}

/* In the child, where nothing may be done that another thread's lock could stand in the way of. */
static void become(const struct pipes *p, const char *const *argv, char **environment, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent && dup2(p->in[0], 0) >= 0 && dup2(p->out[1], 1) >= 0 && dup2(p->error[1], 2) >= 0) {
        sigprocmask(SIG_SETMASK, &none, NULL);
        execvpe(argv[0], (char *const *)(uintptr_t)argv, environment);
    }
    int reason = errno;
    while (write(p->failure[1], &reason, sizeof reason) < 0 && errno == EINTR) {}
    _exit(127);
}

/* What kept it from starting; 0: it runs. */
static int read_failure(struct pipes *p)
{
    int reason = 0;
    ssize_t n;
    close_fd(&p->failure[1]);
    do n = read(p->failure[0], &reason, sizeof reason);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof reason ? reason : 0;
}

static int wait_for(pid_t pid, struct rusage *usage)
{
    int how = 0;
    while (wait4(pid, &how, 0, usage) < 0 && errno == EINTR) {}
    return how;
}

/* fds 0 to 2 may be closed in us: then a pipe could be one of them, and dup2() would destroy another. */
static int lift(int *fd)
{
    if (*fd < 0 || *fd > 2) return 0;
    int higher = fcntl(*fd, F_DUPFD_CLOEXEC, 3);
    if (higher < 0) return -1;
    close(*fd);
    *fd = higher;
    return 0;
}

static int lift_all(struct pipes *p)
{
    int *const all[] = {&p->in[0], &p->in[1], &p->out[0], &p->out[1], &p->error[0], &p->error[1], &p->failure[0],
                        &p->failure[1]};
    for (size_t i = 0; i < COUNT_OF(all); i++)
        if (lift(all[i])) return -1;
    return 0;
}

static int take_end(int *to, int *from)
{
    *to = *from;
    *from = -1;
    return *to < 0 ? 0 : fcntl(*to, F_SETFL, O_NONBLOCK);
}

/* Starts it; what stands in *p is the caller's to close. */
static int launch(struct program *out, struct pipes *p, const struct proc_params *params, bool background,
                  struct redline_err *err)
{
    const char *name = params->argv[0];
    char **environment;
    if (open_pipes(p, params, background) || lift_all(p))
        return err_set(err, REDLINE_IO, "'%s' cannot be started: %s", name, strerror(errno));
    TRY(make_environment(&environment, params->environment, err));
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) become(p, params->argv, environment, parent);
    int reason = pid < 0 ? errno : read_failure(p);
    mem_free(environment);
    if (reason && pid > 0) wait_for(pid, NULL);
    if (reason) return err_set(err, REDLINE_IO, "'%s' cannot be started: %s", name, strerror(reason));
    *out = (struct program){.pid = pid, .pid_fd = (int)syscall(SYS_pidfd_open, pid, 0)};
    take_end(&out->in, &p->in[1]);
    take_end(&out->out, &p->out[0]);
    take_end(&out->error, &p->error[0]);
    return 0;
}

static int start(struct program *out, const struct proc_params *params, bool background, struct redline_err *err)
{
    struct pipes p;
    if (!params->argv[0] || !params->argv[0][0])
        return err_set(err, REDLINE_ARG, "a command is needed, this one is empty");
    *out = (struct program){.pid = -1, .pid_fd = -1, .in = -1, .out = -1, .error = -1};
    int status = launch(out, &p, params, background, err);
    close_pipes(&p);
    return status;
}

static bool has_ended(const struct program *p)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == p->pid;
}

static void close_program(struct program *p)
{
    close_fd(&p->in);
    close_fd(&p->out);
    close_fd(&p->error);
    close_fd(&p->pid_fd);
}

/* ---- running to its end -------------------------------------------------------------------------- */

struct run {
    struct program program;
    const struct proc_params *params;
    struct proc_result *out;
    size_t n_written; /* of its input */
    uint64_t ended_ns; /* 0: it runs */
};

/* Without a signal where it no longer reads. */
static ssize_t write_quietly(int fd, const char *p, size_t n)
{
    sigset_t pipe_signal, before, pending;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    sigpending(&pending);
    ssize_t n_written = write(fd, p, n);
    int reason = errno;
    if (n_written < 0 && reason == EPIPE && !sigismember(&pending, SIGPIPE))
        sigtimedwait(&pipe_signal, NULL, &(struct timespec){0});
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = reason;
    return n_written;
}

static void feed(struct run *r)
{
    struct str input = r->params->input;
    ssize_t n = write_quietly(r->program.in, input.p + r->n_written, input.n - r->n_written);
    if (n > 0) r->n_written += (size_t)n;
    bool gone = n < 0 && errno != EAGAIN && errno != EINTR;
    if (gone || r->n_written == input.n) close_fd(&r->program.in);
}

static void keep_end(struct buf *b, size_t n)
{
    if (b->n <= n) return;
    memmove(b->p, b->p + b->n - n, n + 1);
    b->n = n;
}

/* Reads a piece; a pipe at its end is closed. */
static int take(int *fd, struct buf *to, struct redline_err *err)
{
    TRY(buf_reserve(to, PIECE, err));
    ssize_t n = read(*fd, to->p + to->n, PIECE);
    if (n > 0) {
        to->n += (size_t)n;
        to->p[to->n] = '\0';
    }
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) close_fd(fd);
    return 0;
}

/* How long to wait for the next thing to happen; 0: the time is over. */
static int patience_ms(const struct run *r, uint64_t now)
{
    double limit = r->params->timeout_s * 1e3, passed = (double)(now - r->out->started_ns) / 1e6;
    int ms = r->program.pid_fd < 0 ? NO_PIDFD_MS : LOOK_EVERY_MS;
    if (r->ended_ns) return now - r->ended_ns < (uint64_t)LINGER_MS * 1000000 ? ms : 0;
    if (r->params->timeout_s <= 0) return ms;
    return passed >= limit ? 0 : (int)MIN((double)ms, limit - passed + 1);
}

static bool talks(const struct run *r)
{
    return r->program.out >= 0 || r->program.error >= 0;
}

/* Waits for one of its pipes or its end, and serves what has come. */
static int serve(struct run *r, int ms, struct redline_err *err)
{
    struct program *p = &r->program;
    struct pollfd fds[] = {{.fd = p->out, .events = POLLIN},
                           {.fd = p->error, .events = POLLIN},
                           {.fd = p->in, .events = POLLOUT},
                           {.fd = r->ended_ns ? -1 : p->pid_fd, .events = POLLIN}};
    if (poll(fds, COUNT_OF(fds), ms) <= 0) return 0;
    if (fds[0].revents) TRY(take(&p->out, &r->out->out, err));
    if (fds[1].revents) TRY(take(&p->error, &r->out->error, err));
    if (fds[2].revents) feed(r);
    if (r->out->error.n > 2 * ERROR_KEPT) keep_end(&r->out->error, ERROR_KEPT);
    return 0;
}

static void note_end(struct run *r)
{
    if (r->ended_ns || !has_ended(&r->program)) return;
    r->ended_ns = clock_ns();
    kill(-r->program.pid, SIGKILL); /* what it left behind */
    close_fd(&r->program.in);
}

static int follow(struct run *r, struct redline_err *err)
{
    int ms;
    while (!r->ended_ns || talks(r)) {
        note_end(r);
        if (!r->ended_ns && r->params->stop && *r->params->stop) {
            r->out->stopped = true;
            return 0;
        }
        ms = patience_ms(r, clock_ns());
        if (ms == 0) {
            r->out->timed_out = !r->ended_ns;
            return 0;
        }
        TRY(serve(r, ms, err));
    }
    return 0;
}

static uint64_t ns_of(struct timeval t)
{
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_usec * 1000u;
}

static void reap(struct run *r)
{
    struct rusage usage = {0};
    struct proc_result *out = r->out;
    kill(-r->program.pid, SIGKILL);
    int how = wait_for(r->program.pid, &usage);
    out->wall_ns = (r->ended_ns ? r->ended_ns : clock_ns()) - out->started_ns;
    out->exit_code = WIFEXITED(how) ? WEXITSTATUS(how) : -1;
    out->signal = WIFSIGNALED(how) ? WTERMSIG(how) : 0;
    out->user_ns = ns_of(usage.ru_utime);
    out->system_ns = ns_of(usage.ru_stime);
    out->peak_rss_bytes = (uint64_t)usage.ru_maxrss * 1024;
}

int proc_run(struct proc_result *out, const struct proc_params *params, struct redline_err *err)
{
    struct run r = {.params = params, .out = out};
    *out = (struct proc_result){.exit_code = -1, .started_ns = clock_ns()};
    TRY(start(&r.program, params, false, err));
    int status = follow(&r, err);
    reap(&r);
    close_program(&r.program);
    keep_end(&out->error, ERROR_KEPT);
    return status;
}

void proc_result_free(struct proc_result *r)
{
    buf_free(&r->out);
    buf_free(&r->error);
    *r = (struct proc_result){0};
}

/* ---- in the background --------------------------------------------------------------------------- */

struct proc {
    struct program program;
};

int proc_start(struct proc **out, const struct proc_params *params, struct redline_err *err)
{
    struct proc_params p = *params;
    p.input = (struct str){0};
    struct proc *made = *out = mem_new(1, sizeof *made);
    if (!made) return err_memory(err, sizeof *made, "a program");
    int status = start(&made->program, &p, true, err);
    if (!status) return 0;
    mem_free(made);
    *out = NULL;
    return status;
}

bool proc_alive(struct proc *p)
{
    return !has_ended(&p->program);
}

void proc_end(struct proc **proc)
{
    struct proc *p = proc ? *proc : NULL;
    if (!p) return;
    kill(-p->program.pid, SIGTERM);
    uint64_t asked = clock_ns();
    while (proc_alive(p) && clock_ns() - asked < (uint64_t)ASKED_MS * 1000000)
        poll(&(struct pollfd){.fd = p->program.pid_fd, .events = POLLIN}, 1, NO_PIDFD_MS);
    kill(-p->program.pid, SIGKILL);
    wait_for(p->program.pid, NULL);
    close_program(&p->program);
    mem_free(p);
    *proc = NULL;
}

/* ---- command lines ------------------------------------------------------------------------------- */

/* One word of a command line, cut in place: quotation marks and backslashes go.  False: a mark is not closed. */
static bool cut_word(const char **from, char **to)
{
    const char *p = *from;
    char *out = *to, mark = 0;
    for (; *p && (mark || !strchr(" \t\r\n", *p)); p++) {
        if (mark == 0 && (*p == '\'' || *p == '"'))
            mark = *p;
        else if (mark && *p == mark)
            mark = 0;
        else if (*p == '\\' && p[1] && (mark == 0 || (mark == '"' && strchr("\"\\", p[1]))))
            *out++ = *++p;
        else
            *out++ = *p;
    }
    *out++ = '\0';
    *from = p;
    *to = out;
    return mark == 0;
}

int proc_split(char ***argv, const char *command, struct redline_err *err)
{
    size_t n = strlen(command), most = n / 2 + 2, n_words = 0, bytes = most * sizeof(char *) + n + 2;
    char **words = *argv = mem_new(bytes, 1);
    if (!words) return err_memory(err, bytes, "a command");
    char *to = (char *)(words + most);
    for (const char *p = command + strspn(command, " \t\r\n"); *p; p += strspn(p, " \t\r\n")) {
        words[n_words++] = to;
        if (cut_word(&p, &to)) continue;
        mem_free(words);
        *argv = NULL;
        return err_set(err, REDLINE_ARG, "a quotation mark is not closed in '%.200s'", command);
    }
    return 0;
}

int proc_quote(struct buf *out, const char *word, struct redline_err *err)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./:=,+-@%";
    if (*word && word[strspn(word, plain)] == '\0') return buf_append_str(out, str_of(word), err);
    TRY(buf_append(out, "'", 1, err));
    for (; *word; word++) TRY(*word == '\'' ? buf_append(out, "'\\''", 4, err) : buf_append(out, word, 1, err));
    return buf_append(out, "'", 1, err);
}

int proc_self(struct buf *out, struct redline_err *err)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path);
    if (n < 0 || n == (ssize_t)sizeof path)
        return err_set(err, REDLINE_IO, "the path of this program cannot be read: %s",
                       n < 0 ? strerror(errno) : "it is too long");
    return buf_append(out, path, (size_t)n, err);
}
