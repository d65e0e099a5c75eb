#pragma once
/* Numbers as reports print them. NAN and infinities print as "unknown". */
#include <stddef.h>

#include "analyze/curve.h"
#include "core/base/buf.h"

void nf_print_fixed(struct nf_buf *b, double v, int decimals);
/* "12.5 %" of a share of 1. */
void nf_print_share(struct nf_buf *b, double share);
void nf_print_bytes(struct nf_buf *b, double bytes);
void nf_print_bps(struct nf_buf *b, double bps);
void nf_print_ns(struct nf_buf *b, double ns);
/* "1.234 [1.200, 1.301]". */
void nf_print_estimate(struct nf_buf *b, const struct nf_estimate *e);
/* "injected-delay + modelled" of a bit set of enum nf_evidence. */
void nf_print_evidence(struct nf_buf *b, unsigned bits);
/* Foreign text as every writer may print it: control characters become spaces, broken UTF-8 and what XML forbids U+FFFD. */
void nf_print_clean(struct nf_buf *b, const char *text);
/* As much of a buffer as fits into size bytes with the NUL, never half a character. */
void nf_print_keep(char *to, size_t size, const struct nf_buf *from);
/* Text for Markdown, in and out of table cells. */
void nf_print_markdown(struct nf_buf *b, const char *text);
