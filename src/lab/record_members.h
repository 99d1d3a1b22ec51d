/* record_members.h - the members of a record, in one table: what is checked, what the schema says, what the
 * documentation says. */
#ifndef RECORD_MEMBERS_H
#define RECORD_MEMBERS_H

#include <stddef.h>

enum record_kind { RECORD_OBJECT, RECORD_ARRAY, RECORD_TEXT, RECORD_INTEGER, RECORD_NUMBER, RECORD_TRUTH };

enum {
    RECORD_CORE = 1,     /* there also when the measurement failed */
    RECORD_NEVER = 2,    /* null */
    RECORD_OPTIONAL = 4, /* may be left out */
};

struct record_member {
    const char *path;
    enum record_kind kind;
    unsigned flags;
    const char *about;
};

/* An object before what is in it. */
extern const struct record_member record_members[];
extern const size_t n_record_members;

/* Of every object in an array. */
struct record_elements {
    const char *path; /* of the array */
    const struct record_member *members;
    size_t n;
};
extern const struct record_elements record_elements[];
extern const size_t n_record_elements;

#endif
