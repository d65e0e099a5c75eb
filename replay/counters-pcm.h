#pragma once
/* The CSV of Intel PCM's pcm-memory (-csv -nc), line by line: two lines of heading (whose each column is, what it holds),
 * then MB/s over each interval. Pure. */
#include <stddef.h>
#include <stdint.h>

enum { NF_PCM_PACKAGES = 16, NF_PCM_COLUMNS = 512, NF_PCM_LINE = 32768 };

enum nf_pcm_what { NF_PCM_OTHER, NF_PCM_READ, NF_PCM_WRITE, NF_PCM_CXL_READ, NF_PCM_CXL_WRITE, NF_PCM_TIME };

struct nf_pcm_bytes {
    double read, write;
};

struct nf_pcm {
    double interval_s; /* between rows where their times cannot be read */
    struct {
        uint8_t what, package; /* enum nf_pcm_what */
    } columns[NF_PCM_COLUMNS];
    unsigned n_columns, n_packages; /* 0: no heading yet */
    int8_t groups[NF_PCM_COLUMNS];  /* of the first line: package, -1 the whole system */
    unsigned n_groups;
    double last_s;                  /* of the last row, in its day; < 0: none */
    struct nf_pcm_bytes dram[NF_PCM_PACKAGES], cxl; /* summed over rows */
    int has_cxl_read, has_cxl_write;
    uint64_t rows, bad;             /* bad: rows that made no sense and count nothing */
    char line[NF_PCM_LINE];
    size_t n_line;
};

/* interval_s: what pcm-memory was asked for. */
void nf_pcm_init(struct nf_pcm *p, double interval_s);
/* Any bytes of the output, in any pieces. */
void nf_pcm_feed(struct nf_pcm *p, const char *data, size_t n);
