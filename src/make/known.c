/* known.c - names that the user gives, looked up and listed. */
#include "known.h"

#include <stdio.h>

#include "redline_make.h"

const char *redline_mixture_name(size_t i)
{
    const struct mix *mix = mix_at(i);
    return mix ? mix->name : NULL;
}

const char *redline_shape_name(size_t i)
{
    const struct shape *shape = shape_at(i);
    return shape ? shape->name : NULL;
}

const char *redline_shape_title(size_t i)
{
    const struct shape *shape = shape_at(i);
    return shape ? shape->title : NULL;
}

/* "there is no shape 'llama'; known are stories15m, ..." */
static int unknown(const char *what, const char *name, const char *(*name_at)(size_t i),
                   struct redline_err *err)
{
    char list[256] = "";
    size_t n = 0;
    for (size_t i = 0; name_at(i) && n < sizeof list; i++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "", name_at(i));
    return err_set(err, REDLINE_ARG, "there is no %s '%.40s'; known are %s", what, name, list);
}

int known_find_mix(const struct mix **out, const char *name, struct redline_err *err)
{
    *out = mix_find(str_of(name));
    return *out ? 0 : unknown("type", name, redline_mixture_name, err);
}

int known_find_shape(const struct shape **out, const char *name, struct redline_err *err)
{
    *out = shape_find(str_of(name));
    return *out ? 0 : unknown("shape", name, redline_shape_name, err);
}
