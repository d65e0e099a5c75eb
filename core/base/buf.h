#pragma once
/* A growing text or byte buffer. Appends after a failed one do nothing; check nf_buf.failed once. */
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct nf_buf {
    char *data; /* always NUL-terminated once anything was appended */
    size_t n, cap;
    bool failed; /* an append ran out of memory; data is what fitted */
};

void nf_buf_add(struct nf_buf *b, const void *data, size_t n);
void nf_buf_puts(struct nf_buf *b, const char *text);
void nf_buf_printf(struct nf_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A JSON string literal with its quotes; bytes that are not valid UTF-8 become U+FFFD. */
void nf_buf_json(struct nf_buf *b, const char *text);
/* A CSV field, quoted only where RFC 4180 demands it. */
void nf_buf_csv(struct nf_buf *b, const char *text);
/* Text for HTML and SVG: & < > " escaped. */
void nf_buf_html(struct nf_buf *b, const char *text);
void nf_buf_clear(struct nf_buf *b);
void nf_buf_deinit(struct nf_buf *b);

/* The whole file as a NUL-terminated buffer. 0, -errno (cause set), -EFBIG beyond max. Caller deinits. */
int nf_buf_read_file(struct nf_buf *b, const char *path, size_t max);
/* Writes all bytes to path through a temporary beside it and a rename. 0 or -errno (cause set). */
int nf_file_write(const char *path, const void *data, size_t n);
