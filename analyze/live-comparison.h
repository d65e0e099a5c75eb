#pragma once
/* The real job, bound to tiers by the kernel or placed by a plan, held against what the replay says of the same: one policy with
 * one set of options and one near capacity, on the same nodes of the same machine, beside a hog where the job was beside one. What
 * differs in any of these is not compared, and the row says in what. */
#include <stdbool.h>

#include "analyze/curve.h"
#include "analyze/dataset.h"
#include "core/base/array.h"
#include "core/base/table.h"
#include "core/model/words.h"
#include "core/store/study.h"

enum nf_live_kind { NF_LIVE_BOUND, NF_LIVE_PLACED, NF_LIVE_PLACED_HOG, NF_LIVE_KINDS };

/* Step times of one kind of live run against those of the job alone (of a hog: of the job beside one), and of the policy it is
 * replayed as against all-near. */
struct nf_live_comparison {
    enum nf_live_kind kind;
    char label[208];              /* "bound far: node 1", "lru at 20 % near" */
    bool near;                    /* all of it was near: it is the job as it runs alone, and there is nothing to predict */
    char policy[160];             /* replayed as, with its options; "": no replay is comparable */
    double near_share;            /* with so much near */
    unsigned evidence;            /* the weakest of the run's and the replayed tiers' */
    struct nf_estimate real, predicted[NF_OVERLAP_COUNT]; /* n 0: not replayed */
    char verdict[256];
};

struct nf_live_comparisons {
    NF_ARRAY(struct nf_live_comparison) of; /* one a kind of run, in the order of their first ones */
};

/* 0, -ENOMEM or -errno (cause set). Deinit in every case. */
int nf_live_comparisons_init(struct nf_live_comparisons *l, struct nf_study *study, const struct nf_dataset *d);
void nf_live_comparisons_deinit(struct nf_live_comparisons *l);

enum { NF_LIVE_COLUMNS = 10 };
extern const struct nf_column nf_live_columns[NF_LIVE_COLUMNS];
/* A row each. */
void nf_live_comparisons_table(const struct nf_live_comparisons *l, struct nf_table *t);
