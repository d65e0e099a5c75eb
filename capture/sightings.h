#pragma once
/* What the sources beside the framework saw of the running step: touches and samples wait for the op they belong to, and
 * become the step's sightings (visits in form) or attributed samples. The reducer feeds it in order of time. */
#include <stdbool.h>
#include <stdint.h>

#include "capture/storage.h"
#include "core/model/sample.h"
#include "core/model/stream.h"

enum { NF_SIGHTING_SOURCES_MAX = 8 };
/* In a sighting, touches_q8 is the accesses of a byte × 256 where the source counts them, 256 where it does not, and this
 * when the touch fell between two ops: after the one before had ended, before its own began. */
enum { NF_SIGHTING_BETWEEN = 0 };

struct nf_sighting_source {
    bool sees_all;    /* every touch at its resolution: gives sightings; else its samples are kept one by one */
    bool rw_observed; /* each touch tells read from write; else what the op's visits say is taken */
    bool in_ring;     /* its touches come as NF_EVENT_TOUCH */
    uint32_t resolution_bytes;
    uint8_t evidence; /* enum nf_access_evidence */
};

/* Sums over the pass. A sample is in attributed or unattributed once the step it fell into has ended; what is in neither
 * at the end fell outside the steps. */
struct nf_sighting_totals {
    uint64_t samples, attributed, between_ops, unattributed;
};

/* What one source saw of a finished step. */
struct nf_seen {
    const struct nf_visit *visits; /* ordered by op, tensor, offset; rw READ before WRITE; sees_all */
    uint32_t n_visits;
    uint64_t hash; /* over op, tensor, offset, bytes and rw of each visit */
    const struct nf_sample *samples; /* in order of time; not sees_all */
    uint32_t n_samples;
};

struct nf_sightings;

struct nf_sightings *nf_sightings_new(void); /* NULL: no memory */
struct nf_sightings *nf_sightings_free(struct nf_sightings *s);
/* Index of the source, or -ENOMEM, -E2BIG. */
int nf_sightings_add_source(struct nf_sightings *s, const struct nf_sighting_source *source);
unsigned nf_sightings_sources(const struct nf_sightings *s);
/* Index of the source whose touches come through the ring; -1: none. */
int nf_sightings_ring_source(const struct nf_sightings *s);
const struct nf_sighting_totals *nf_sightings_totals(const struct nf_sightings *s, unsigned source);

/* Samples, attributed to the storages that live at their addresses now. 0 or -ENOMEM. */
int nf_sightings_samples(struct nf_sightings *s, unsigned source, const struct nf_sample *const *samples, size_t n,
                         const struct nf_storage_map *live);
/* An extent that was touched so many times, in all so many bytes. 0 or -ENOMEM. */
int nf_sightings_touch(struct nf_sightings *s, unsigned source, uint64_t address, uint64_t bytes, uint8_t rw,
                       uint64_t accesses, uint64_t accessed_bytes, uint64_t time_ns, const struct nf_storage_map *live);
/* The op that has just ended takes what waits. visits, visited: its own so far known, to tell reads from writes.
 * 0 or -ENOMEM. */
int nf_sightings_op(struct nf_sightings *s, uint32_t op, uint64_t start_ns, const struct nf_visit *visits,
                    struct nf_storage *const *visited, size_t n_visits);
/* The step has ended and its storages are numbered: what each source saw of it, borrowed until nf_sightings_turn.
 * seen: one per source. 0 or -ENOMEM. */
int nf_sightings_finish(struct nf_sightings *s, uint32_t step, struct nf_seen *seen);
void nf_sightings_turn(struct nf_sightings *s);
/* Samples that came before training began. */
void nf_sightings_outside(struct nf_sightings *s, unsigned source, uint64_t samples);
