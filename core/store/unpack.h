#pragma once
/* A zstd stream taken apart piece by piece, for readers of files that others compressed. Memory is bounded by a window of
 * 8 MiB; a stream that wants more is refused. */
#include <stddef.h>

struct nf_unpack;

struct nf_unpack *nf_unpack_new(void); /* NULL: no memory */
struct nf_unpack *nf_unpack_free(struct nf_unpack *u); /* NULL is fine; returns NULL */
/* Forgets the stream before. */
void nf_unpack_reset(struct nf_unpack *u);
/* The next piece of the stream; borrowed until it is used up. */
void nf_unpack_feed(struct nf_unpack *u, const void *data, size_t n);
/* Fills up to `room` bytes of out; *got < room: the piece is used up, feed the next. 0 or -EBADMSG (cause set). */
int nf_unpack_take(struct nf_unpack *u, void *out, size_t room, size_t *got);
