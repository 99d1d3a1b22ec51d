/* peer_call.h - one measurement of a peer, between peer.c, which makes the record, and those who make the figures. */
#ifndef PEER_CALL_H
#define PEER_CALL_H

#include "str.h"
#include "task.h"

struct peer_call {
    const char *name, *command;
    struct task task;
    double timeout_s;
    const char *model_path;   /* of the task's model, the demo model's too */
    json_t *record;           /* under way: everything but the figures and what only the peer knows */
};

/* Both fill settings.effective, program, requests and derived. */
int peer_bench(struct peer_call *call, struct redline_err *err);
int peer_server(struct peer_call *call, struct redline_err *err);

#endif
