#pragma once
/* The views of `nearfar show` that compute how a step reuses memory, and draw it. */
#include "analyze/figure.h"
#include "core/base/table.h"
#include "core/model/stream.h"

/* What such a view works on; all borrowed. */
struct nf_show {
    const struct nf_stream *stream;
    const struct nf_step_class *class;
    uint64_t llc_bytes;
    enum nf_table_format format;
    size_t limit;      /* rows of the last table; 0: the view's own */
    const char *by;    /* "role", "tensor", "address"; NULL: the view's default */
    uint64_t tensor;   /* the only one wanted; UINT64_MAX: all */
    uint64_t block;    /* bytes */
    uint64_t period;   /* of the simulated samples */
    const char *plot;  /* file to draw into; NULL: none */
};

/* All print to stdout. 0, -EINVAL for options that cannot be (cause set), -errno (cause set). */
int nf_show_reuse(const struct nf_show *s);
int nf_show_mrc(const struct nf_show *s);
int nf_show_heat(const struct nf_show *s);

/* --- what they share --- */

/* Tensors in groups, by role, each its own, or one against all others. */
struct nf_show_groups {
    uint32_t *of; /* group of each tensor */
    uint32_t n;   /* 0: no groups */
    char (*names)[96];
    int *roles; /* whose colour a group has; -1: none */
};

/* by: NULL, "role", "tensor". 0, -EINVAL, -ENOMEM (cause set); deinit in any case. */
int nf_show_groups_init(struct nf_show_groups *g, const struct nf_show *s, const char *by);
void nf_show_groups_deinit(struct nf_show_groups *g);
/* "all" for 0, then the groups' names. */
const char *nf_show_curve_name(const struct nf_show_groups *g, uint32_t at);
/* Where a table begins among the whole (0) and the groups: with --tensor only that one is shown. */
uint32_t nf_show_first_curve(const struct nf_show *s);

/* What stands above every table and figure. */
struct nf_show_facts {
    char accesses[128]; /* how they are known: "framework" */
    char evidence[256], step[192];
};
/* Checks --block against the step; in text prints the facts. how: by what model. 0 or -EINVAL (cause set). */
int nf_show_facts_init(struct nf_show_facts *f, const struct nf_show *s, const char *how);

/* Prints at most --limit rows, by default rows_in_text or for programs all. 0 or -errno (cause set). */
int nf_show_print(struct nf_table *t, const struct nf_show *s, size_t rows_in_text);
/* Draws into --plot unless rc says that something failed before; the canvas is emptied. rc or -errno (cause set). */
int nf_show_draw(struct nf_canvas *c, const struct nf_show *s, int rc);
