/* lab_args.c - flags given several times, durations, shares. */
#include "lab_args.h"

#include <math.h>
#include <stdlib.h>

#include "yaml_tree.h"

static int add_word(struct opt_call *call, const char *name, const char *value, struct redline_err *err)
{
    struct lab_words *w = (struct lab_words *)call;
    if (w->n == LAB_MOST_WORDS)
        return err_set(err, REDLINE_ARG, "%s is given more than %d times", name, LAB_MOST_WORDS);
    w->all[w->n++] = value;
    return 0;
}

struct opt lab_words_opt(struct lab_words *to, const char *names, const char *value, const char *help)
{
    to->call.set = add_word;
    return (struct opt){names, value, OPT_CALL, &to->call, 0, 0, help};
}

static int set_duration(struct opt_call *call, const char *name, const char *value, struct redline_err *err)
{
    static const struct {
        const char *unit;
        double s;
    } units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"min", 60}, {"h", 3600}};
    struct lab_duration *d = (struct lab_duration *)call;
    char *end = (char *)value;
    double x = value[0] >= '0' && value[0] <= '9' ? strtod(value, &end) : NAN;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (!(x > 0) || !isfinite(x) || strcmp(end, units[i].unit) != 0) continue;
        d->s = x * units[i].s;
        return 0;
    }
    return err_set(err, REDLINE_ARG, "%s %s: a duration is expected, like 90s, 5m or 1h", name, value);
}

struct opt lab_duration_opt(struct lab_duration *to, const char *names, const char *help)
{
    to->call.set = set_duration;
    return (struct opt){names, "TIME", OPT_CALL, &to->call, 0, 0, help};
}

static int set_share(struct opt_call *call, const char *name, const char *value, struct redline_err *err)
{
    struct lab_share *to = (struct lab_share *)call;
    char *end;
    double x = strtod(value, &end);
    bool whole = yaml_parse_share(value, &x) || (end != value && !*end);
    if (!whole || !(x >= to->least && x <= to->most))
        return err_set(err, REDLINE_ARG, "%s '%.40s': a share from %g %% to %g %% is expected, like 3%% or 0.03", name,
                       value, 100 * to->least, 100 * to->most);
    to->value = x;
    return 0;
}

struct opt lab_share_opt(struct lab_share *to, const char *names, double least, double most, const char *help)
{
    to->call.set = set_share;
    to->least = least;
    to->most = most;
    return (struct opt){names, "SHARE", OPT_CALL, &to->call, 0, 0, help};
}
