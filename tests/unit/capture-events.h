#pragma once
/* Hand-written event streams for the reducer: one call per event, and a sink that keeps copies of the steps. */
#include <stddef.h>
#include <stdint.h>

#include "capture/reduce.h"

enum { KEPT_STEPS = 16, KEPT_OPS = 256, KEPT_VISITS = 1024, KEPT_TENSORS = 256, KEPT_ROLES = 512 };

struct kept_step {
    struct nf_step step; /* its pointers lead into the arrays below */
    struct nf_step_op ops[KEPT_OPS];
    struct nf_visit visits[KEPT_VISITS];
    struct nf_step_tensor tensors[KEPT_TENSORS];
    struct nf_step_role roles[KEPT_ROLES];
};

/* A job under construction. `now` is the clock of its events; op durations move it. */
struct events {
    struct nf_reduce *reduce;
    uint64_t now;
    uint32_t texts;
    struct kept_step *kept; /* KEPT_STEPS */
    size_t n_kept;
    /* Called beside the keeping sink when set; its result ends the reduction. */
    int (*also)(void *context, const struct nf_step *step);
    void *context;
};

void events_init(struct events *j, int with_visits);
void events_deinit(struct events *j);

/* Text number of a new text. */
uint32_t ev_text(struct events *j, const char *text);
void ev_alloc(struct events *j, uint64_t address, uint64_t bytes);
void ev_free(struct events *j, uint64_t address);
/* role: an enum nf_role the framework announces, or 0. */
void ev_tensor(struct events *j, uint64_t address, uint64_t bytes, uint8_t role, uint32_t name, uint32_t module);
/* An op that starts now and takes 100 ns. */
void ev_op(struct events *j, uint32_t name, uint8_t phase, uint32_t module);
/* An op that started at start_ns. */
void ev_op_at(struct events *j, uint32_t name, uint8_t phase, uint64_t start_ns);
void ev_visit(struct events *j, uint64_t address, uint64_t bytes, uint8_t rw);
void ev_runs(struct events *j, uint64_t address, uint64_t bytes, uint64_t run, uint64_t stride, uint8_t rw);
void ev_checkpoint(struct events *j, uint64_t address);
void ev_mark(struct events *j, uint32_t mark, uint64_t a, uint64_t b);
void ev_step(struct events *j, uint64_t allocation_hash);
/* Any event; expects success. */
void ev_raw(struct events *j, const struct nf_event *e);

/* The tensor of a kept step whose captured address it is; fails the test when there is none. */
const struct nf_step_tensor *kept_at(const struct kept_step *k, uint64_t address);
