#pragma once
/* Turns the events of one pass into steps. A finished step is handed to the sink in canonical form: tensors numbered
 * (carried ones by carry slot, then the step's own in order of birth), ops in order, visits tensor-relative, so that two
 * steps that did the same have the same hash whatever their addresses and times. */
#include <stdint.h>

#include "capture/ring.h"
#include "capture/sightings.h"
#include "capture/storage.h"
#include "core/model/stream.h"

/* A role interval of a finished step. */
struct nf_step_role {
    uint32_t tensor;
    uint8_t role;
    int32_t from_op, to_op;
    uint32_t name; /* text number */
};

struct nf_step_tensor {
    uint64_t bytes, address;
    int32_t birth, death, carry_in, carry_out;
    uint32_t dtype, shape, name, module; /* text numbers */
    uint32_t device;                     /* text number; 0: the CPU */
    uint8_t role, birth_phase;
    bool tracked;
};

struct nf_step_op {
    uint32_t name, module; /* text numbers; module as attributed */
    uint32_t raw_module;   /* as the hook said */
    uint16_t microbatch;
    uint8_t phase, thread;
    uint64_t start_ns, dur_ns;
};

/* One finished step. Everything is borrowed from the reducer until the sink returns. */
struct nf_step {
    uint32_t number;
    uint64_t dur_ns;
    uint64_t hash, op_hash, allocation_hash;
    const struct nf_step_op *ops;
    const struct nf_visit *visits;
    const struct nf_step_tensor *tensors;
    const struct nf_step_role *roles;
    uint32_t n_ops, n_visits, n_tensors, n_roles;
    const struct nf_seen *seen; /* one per source beside the framework */
    unsigned n_seen;
};

struct nf_reduce_totals {
    uint64_t events, ops, steps;
    uint64_t live_bytes, tracked_peak_bytes, untracked_peak_bytes;
    uint64_t unattributed_visits, unattributed_bytes, skipped_device_storages;
    uint8_t parameter_sha256[32];
    bool has_parameter_sha256;
    int64_t rank, world;
    uint32_t threads;
    char framework[64], language[64];
    char notes[512]; /* what the hook could not see, '; '-separated */
};

struct nf_reduce;

/* sink: 0 or an error that ends the reduction. with_visits: an access pass. */
struct nf_reduce *nf_reduce_new(bool with_visits, int (*sink)(void *context, const struct nf_step *step),
                                void *context); /* NULL: no memory */
struct nf_reduce *nf_reduce_free(struct nf_reduce *r);
/* A source beside the framework; before the first event. Its index, or -errno. */
int nf_reduce_add_source(struct nf_reduce *r, const struct nf_sighting_source *source);
/* Samples of such a source, in order of time among the events: what the job said before them has been given before.
 * Of one that sees all, only time, address and rw count. 0 or -ENOMEM. */
int nf_reduce_samples(struct nf_reduce *r, unsigned source, const struct nf_sample *const *samples, size_t n);
/* The storages alive now. */
const struct nf_storage_map *nf_reduce_live(const struct nf_reduce *r);
const struct nf_sighting_totals *nf_reduce_sighted(const struct nf_reduce *r, unsigned source);
/* 0, -ENOMEM, what the sink returned, or -EBADMSG for events that contradict the ring's format. */
int nf_reduce_event(struct nf_reduce *r, const struct nf_event *e);
const struct nf_reduce_totals *nf_reduce_totals(const struct nf_reduce *r);
/* The text behind a number; "" when unknown. Valid until the reducer is freed. */
const char *nf_reduce_text(const struct nf_reduce *r, uint32_t number);
