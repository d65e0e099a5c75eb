#pragma once
/* A JSON file of any size, cut into pieces small enough to hold: the members of its outermost object one by one, and the
 * elements of one array among them one by one. Offsets are bytes of the decompressed file. A piece may not be larger than
 * 16 MiB nor nested deeper than 64, so memory is bounded whatever the file holds.
 *
 * Recorders print numbers as C does. Where JSON has no word for one (nan, inf), the piece has a 0 of the same length;
 * integers too wide for 64 bits become reals. */
#include <stddef.h>
#include <stdint.h>

enum { NF_JSON_PIECE_MAX = 16 << 20, NF_JSON_DEPTH_MAX = 64, NF_JSON_KEY = 64 };

struct nf_json_pieces;

struct nf_json_piece {
    const char *text; /* valid until the next call */
    size_t n;
    uint64_t offset;
    char key[NF_JSON_KEY]; /* of the member; cut where longer. "" for elements of an outermost array */
    int is_element;        /* of the streamed array, not a whole member */
};

/* streamed: the key of the array whose elements come one by one; so do those of an outermost array.
 * 0 or -errno (cause set). */
int nf_json_pieces_open(const char *path, const char *streamed, struct nf_json_pieces **out);
/* 1: a piece; 0: the file ended where JSON says; -EBADMSG and other -errno (cause set, with file and byte). */
int nf_json_pieces_next(struct nf_json_pieces *p, struct nf_json_piece *out);
uint64_t nf_json_pieces_offset(const struct nf_json_pieces *p); /* bytes read so far */
/* Sets the cause to "FILE: byte OFFSET: <text>". Returns -EBADMSG. */
int nf_json_pieces_fail(const struct nf_json_pieces *p, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
struct nf_json_pieces *nf_json_pieces_close(struct nf_json_pieces *p); /* NULL is fine; returns NULL */
