#pragma once
/* Who watches a replay at its own level: told of every storage, op and step as the engine has them, and of every access as
 * the worker threads really issued it. For capturing a replay again; a replay that is timed has no observer. All calls come
 * from the engine's driving thread. */
#include <stddef.h>
#include <stdint.h>

#include "core/base/array.h"
#include "core/model/stream.h"
#include "pool/arena.h"
#include "pool/pool.h"
#include "replay/script.h"

/* What the threads touched for one visit: of a whole visit its own extent, of one that was cut the parts of it. */
struct nf_observed_visit {
    char *memory;                        /* where its storage begins */
    uint64_t offset, bytes, run, stride; /* as nf_visit */
    uint8_t rw, pattern;
};
struct nf_observed_visits {
    NF_ARRAY(struct nf_observed_visit) a;
};

/* context is the first argument of all. Those that return an int: 0, or -errno (cause set), which fails the trial. */
struct nf_replay_observer {
    void *context;
    /* Memory of a tier that is replayed on: page-aligned. With several tiers storages move, and what is told of them are their
     * homes (below), not their memory. */
    int (*map)(void *context, size_t bytes, void **memory);
    void (*unmap)(void *context, void *memory, size_t bytes);
    /* A storage exists, as tensor `number` of a step class; one that is carried into a step is told of again, by the number it
     * has there. */
    void (*storage)(void *context, const struct nf_tensor *t, uint32_t number, char *memory, bool carried);
    void (*gone)(void *context, char *memory);
    int (*measuring)(void *context); /* warm-up is over: the steps that count begin */
    void (*op_begins)(void *context);
    int (*op_ends)(void *context, uint32_t op, const struct nf_observed_visits *visits);
    int (*step_ends)(void *context);
};

/* One stretch of a visit's walk that a thread has issued: bytes [from, to) of one pass. */
struct nf_issued {
    uint32_t visit; /* of the script */
    uint64_t from, to;
};
struct nf_issued_log {
    NF_ARRAY(struct nf_issued) a;
    bool lost; /* there was no memory for one */
};
void nf_issued_log_add(struct nf_issued_log *log, uint32_t visit, uint64_t from, uint64_t to);

/* What the logs of an op's threads come to, visit by visit in the order of the script; the logs are emptied. memory: where each of its
 * operands begins. 0 or -ENOMEM (cause set). out is reused. */
int nf_observed_gather(const struct nf_script *s, const struct nf_script_op *op, char *const *memory,
                       struct nf_issued_log *const *logs, unsigned n_logs, struct nf_observed_visits *out);

/* Addresses by which storages are known wherever they are: where they would be if one tier held them all. Nothing is there. */
struct nf_homes {
    struct nf_arena arena;
    char *base; /* NULL: there are none */
    size_t bytes;
    NF_ARRAY(char *) of; /* by handle */
};
/* bytes: as the one tier's arena would have. 0 or -ENOMEM (cause set). Caller deinits in every case. */
int nf_homes_init(struct nf_homes *h, size_t bytes);
void nf_homes_deinit(struct nf_homes *h);
/* 0 or -ENOMEM (cause set). */
int nf_homes_take(struct nf_homes *h, uint32_t handle, uint64_t address, uint64_t bytes);
void nf_homes_give(struct nf_homes *h, uint32_t handle);
