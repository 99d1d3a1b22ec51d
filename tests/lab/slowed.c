/* slowed.c - makes any program really slower, by as much as is asked for.
 *
 *     env LD_PRELOAD=libslowed.so SLOWED=5 COMMAND    5 % more processor time for the same work
 *
 * A timer interrupts whatever thread computes, every few milliseconds of processor time; it then counts to nothing
 * until it has used that share of the time that went by.  So the program is held up as by a processor that somebody
 * else takes now and then, and by the same share however busy the machine is. */
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static const long PERIOD_US = 5000;

static double share, wasted_s;

static double used_s(clockid_t clock)
{
    struct timespec t = {0, 0};
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void waste(int signal_number)
{
    double owed = share * (used_s(CLOCK_PROCESS_CPUTIME_ID) - wasted_s) - wasted_s;
    double begun = used_s(CLOCK_THREAD_CPUTIME_ID), used = 0;
    (void)signal_number;
    while (used < owed) used = used_s(CLOCK_THREAD_CPUTIME_ID) - begun;
    wasted_s += used;
}

__attribute__((constructor)) static void begin(void)
{
    const char *percent = getenv("SLOWED");
    struct sigaction action = {.sa_handler = waste, .sa_flags = SA_RESTART};
    struct itimerval every = {{0, PERIOD_US}, {0, PERIOD_US}};
    share = percent ? atof(percent) / 100 : 0;
    if (!(share > 0)) return;
    sigaction(SIGPROF, &action, NULL);
    setitimer(ITIMER_PROF, &every, NULL);
}
