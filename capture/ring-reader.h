#pragma once
/* The tool's end of the ring (capture/ring.h): creates it, hands out its path, reads batches. */
#include <stdint.h>

#include "capture/ring.h"

struct nf_ring {
    struct nf_ring_header *header;
    struct nf_event *slots;
    uint64_t tail;
    uint32_t n_slots; /* ours: the job can write to its header */
    int fd;
    char path[64]; /* for the job: /proc/<this process>/fd/<fd> */
};

/* slots: a power of two. 0 or -errno (cause set). */
int nf_ring_init(struct nf_ring *r, uint32_t slots);
void nf_ring_deinit(struct nf_ring *r);
/* Empties it for the next pass. No writer may be alive. */
void nf_ring_reset(struct nf_ring *r);
/* Up to max events, copied out. Returns how many. */
uint32_t nf_ring_read(struct nf_ring *r, struct nf_event *out, uint32_t max);
uint64_t nf_ring_lost(const struct nf_ring *r);
