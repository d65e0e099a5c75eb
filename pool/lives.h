#pragma once
/* The storages of a stream's steps in a pool: which one each tensor has, and what a step hands on to the next. */
#include <stdbool.h>
#include <stdint.h>

#include "core/model/stream.h"
#include "pool/pool.h"

/* What the policy is told of a class, where its profiles are another capture's: the class there, and per tensor and op of this one those
 * it has there. UINT32_MAX: not profiled. */
struct nf_seen_as {
    uint32_t step_class;
    const uint32_t *tensor, *op;
};

enum { NF_NO_HANDLE = UINT32_MAX };

enum nf_arrival {
    NF_ARRIVES_BORN,   /* allocated before its op */
    NF_ARRIVES_COLD,   /* allocated as the step begins: nobody had handed it on */
    NF_ARRIVES_CARRIED /* handed on by a step before */
};

/* Who is told of it; either may be NULL. */
struct nf_lives_watch {
    void *context;
    /* The storage of a tensor is there now. 0, or an error that ends the step (cause set). */
    int (*arrives)(void *context, uint32_t class_index, uint32_t number, enum nf_arrival how);
    /* It is about to be freed. */
    void (*leaves)(void *context, uint32_t handle);
};

struct nf_lives {
    struct nf_pool *pool;           /* borrowed; set by the caller before the first step */
    const struct nf_stream *stream; /* borrowed, as below */
    const struct nf_seen_as *seen;  /* per class; NULL: the policy sees what is replayed */
    struct nf_lives_watch watch;
    uint32_t **handles; /* per class and tensor; NF_NO_HANDLE: none, as of tensors without bytes always */
    uint32_t *carry;    /* per carry slot */
};

/* 0 or -ENOMEM (cause set). Caller deinits in every case; nothing is freed of the pool's. */
int nf_lives_init(struct nf_lives *l, const struct nf_stream *stream, const struct nf_seen_as *seen, const struct nf_lives_watch *watch);
void nf_lives_deinit(struct nf_lives *l);

/* The op as the policy knows it. */
static inline uint32_t nf_lives_seen_op(const struct nf_lives *l, uint32_t class_index, uint32_t op)
{
    return l->seen && l->stream->classes[class_index].n_ops ? l->seen[class_index].op[op] : op;
}

/* Storages of the step before enter by their carry slot; a slot nobody filled is allocated now, cold.
 * 0, or nf_pool_allocate's and the watch's -errno (cause set), as of the next. */
int nf_lives_enter(struct nf_lives *l, uint32_t class_index);
/* A tensor is born in an op. */
int nf_lives_bear(struct nf_lives *l, uint32_t class_index, uint32_t number, uint32_t op);
void nf_lives_end(struct nf_lives *l, uint32_t class_index, uint32_t number);
/* Survivors leave by their slot. A slot still filled belonged to a storage this class does not know: another class left it and nothing
 * took it up, so it goes, as it must have in the job. */
void nf_lives_leave(struct nf_lives *l, uint32_t class_index);
