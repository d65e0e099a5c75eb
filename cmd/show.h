#pragma once
/* What the views of `nearfar show` have in common. */
#include "analyze/figure.h"
#include "analyze/locality-view.h"
#include "core/base/table.h"
#include "core/model/profile.h"
#include "core/model/stream.h"
#include "core/store/study.h"

/* What a view works on; all borrowed. */
struct nf_show {
    struct nf_study *study;
    int64_t capture;
    struct nf_stream *stream; /* NULL for views that ask for nothing of the steps */
    const struct nf_step_class *class;
    struct nf_profile *profile; /* of the class; for views that are tables */
    uint64_t llc_bytes;
    enum nf_table_format format;
    size_t limit;       /* rows of the last table; 0: the view's own */
    const char *source; /* audit, reuse: what this source saw; NULL: the latest, the framework */
    double ghz;         /* sampled: clock of the cores; 0: unknown */
    const char *by;     /* "role", "tensor", "address"; NULL: the view's default */
    uint64_t tensor;    /* the only one wanted; NF_TENSOR_ALL: all */
    uint64_t block;     /* bytes */
    uint64_t period;    /* of the simulated samples */
    const char *plot;   /* file to draw into; NULL: none */
};

/* --- views that are one table --- */

struct nf_show_view {
    const char *name, *about;
    const struct nf_column *columns;
    size_t n_columns;
    const char *sql; /* ?1 = capture; columns as above, then fill is NULL */
    int (*fill)(const struct nf_show *s, struct nf_table *t); /* 0 or -errno (cause set) */
    bool of_samples; /* needs an observation, and no steps */
};

extern const struct nf_show_view nf_show_roles, nf_show_regimes, nf_show_tensors, nf_show_ops, nf_show_gaps;
extern const struct nf_show_view nf_show_audit, nf_show_audit_tensors;
extern const struct nf_show_view nf_show_sources, nf_show_samples, nf_show_sampled, nf_show_watches;

/* --- views that have options of their own: how a step reuses memory --- */

/* The class as s->source saw it: its sightings, or the visits that left a sample of it. 0, -ENOENT when it saw nothing of the
 * class (cause set), -errno (cause set). nf_step_class_seen_deinit frees it. */
int nf_show_seen_by(const struct nf_show *s, struct nf_step_class *seen);
/* All print to stdout. 0, -EINVAL for options that cannot be (cause set), -errno (cause set). */
int nf_show_reuse(const struct nf_show *s);
int nf_show_mrc(const struct nf_show *s);
int nf_show_heat(const struct nf_show *s);

/* --- what they share --- */

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
