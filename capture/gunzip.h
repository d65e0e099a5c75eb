#pragma once
/* The bytes of a file from its first to its last, decompressed where it is gzip. */
#include <stddef.h>
#include <stdint.h>

struct nf_gunzip;

/* 0 or -errno (cause set: it names the file). */
int nf_gunzip_open(const char *path, struct nf_gunzip **out);
/* Up to size bytes; 0 at the end. < 0: -errno (cause set: what is wrong, without the file's name). */
long nf_gunzip_read(struct nf_gunzip *g, void *out, size_t size);
struct nf_gunzip *nf_gunzip_close(struct nf_gunzip *g); /* NULL is fine; returns NULL */
