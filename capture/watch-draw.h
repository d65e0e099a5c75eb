#pragma once
/* Which words a watchpoint source looks at next: drawn at random from the storages that live now. Pure. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "capture/storage.h"
#include "core/base/rng.h"

enum { NF_WATCH_WORD_BYTES = 8 };

struct nf_watch_draw_options {
    uint64_t min_bytes; /* storages below it are left out */
    bool by_tensor;     /* every storage is as likely as any other; else every word is */
};

struct nf_watch_word {
    uint64_t address;         /* aligned to a word, all of it inside the storage */
    uint64_t storage, bytes;  /* where the storage begins and how large it is */
};

/* Draws at most `wanted` different words. Returns how many: fewer when so many draws met a word twice, 0 when no storage
 * is large enough. */
size_t nf_watch_draw(struct nf_rng *rng, const struct nf_watch_draw_options *o, const struct nf_storage_map *live,
                     struct nf_watch_word *out, size_t wanted);
