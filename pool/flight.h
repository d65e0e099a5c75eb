#pragma once
/* Moves under way: a thread that carries them out in the order they were posted, while its owner goes on. The owner alone
 * posts and lands, so that only it changes where storages are; the thread reads and writes payload. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "pool/mover.h"

struct nf_flight_move {
    uint32_t handle; /* the owner's */
    bool orphan;     /* its storage was freed meanwhile */
    uint32_t to_tier;
    struct nf_pool_storage from;
    struct nf_extent to;
    uint64_t offset, bytes; /* the part of the storage that moves */
    bool pages;             /* of a storage whose pages move: `to` has addresses for all of it */
    atomic_bool cancelled; /* it ends at its next chunk */
    /* Written by the thread: */
    int rc;
    char cause[256];
    uint64_t ns;
};

enum { NF_FLIGHT_MOVES = 1024 };
struct nf_flight;

/* cpu: to run on, NULL: anywhere. 0, -ENOMEM, -errno (cause set). */
int nf_flight_start(struct nf_mover *mover, const int *cpu, struct nf_flight **out);
/* Cancels what is under way; nothing is landed. NULL is fine. Returns NULL. */
struct nf_flight *nf_flight_stop(struct nf_flight *f);

/* The place for the next move, to be filled and posted; NULL: NF_FLIGHT_MOVES are under way. */
struct nf_flight_move *nf_flight_next(struct nf_flight *f);
/* Hands it over. Returns its number, from 1 on. */
uint64_t nf_flight_post(struct nf_flight *f);
/* How many were posted and are not landed. */
uint32_t nf_flight_n(const struct nf_flight *f);
/* Of those, the i-th, oldest first. */
struct nf_flight_move *nf_flight_at(struct nf_flight *f, uint32_t i);
/* By number; it is under way. */
struct nf_flight_move *nf_flight_find(struct nf_flight *f, uint64_t number);
/* Whether the oldest has ended. False where there is none. */
bool nf_flight_ended(const struct nf_flight *f);
/* Waits until the oldest has ended. */
void nf_flight_await(struct nf_flight *f);
/* Takes the oldest, which has ended, out. */
void nf_flight_land(struct nf_flight *f);
