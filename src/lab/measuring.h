/* measuring.h - a measurement in progress, between the one who carries it out (measure.c) and the one who writes it
 * down (measure_record.c). */
#ifndef MEASURING_H
#define MEASURING_H

#include <pthread.h>

#include "drive.h"
#include "facts.h"
#include "record.h"
#include "redline_probe.h"

enum { MEASURING_WARNINGS = 8 };

struct measuring {
    struct task task;
    struct redline_model *model;
    struct redline_engine *engine;
    struct redline_engine_params params;
    struct redline_file_facts file;
    struct parts parts;
    struct drive drive;
    size_t n_requests;
    uint64_t origin_ns;          /* what times count from */
    bool origin_known;           /* it is the process's start */
    uint64_t model_open_ns, engine_open_ns, loaded_ns; /* when it began, began, was done */
    uint64_t peak_rss_bytes;
    double bandwidth;            /* bytes per second; NAN: not measured */
    char bandwidth_missing[320]; /* why it could not be; else "" */
    struct facts facts;          /* of the machine, before */
    char started[CLOCK_UTC], id[RECORD_ID];
    char digest[80];
    pthread_mutex_t lock;        /* of what follows: the engine's thread writes it */
    size_t n_warnings;
    char warnings[MEASURING_WARNINGS][256];
};

/* The whole record. */
int measuring_record(json_t **record, struct measuring *m, struct redline_err *err);

#endif
