#pragma once
/* How far the replay can be believed, in one table that every report has, also when it is bad: consistency with the step it was
 * fitted to and where that time goes, fidelity of predictions that nothing was fitted to (a bandwidth hog, a real tier, a live
 * plan), and the replay captured again. What was not measured stands there with the command that measures it. */
#include "analyze/dataset.h"
#include "analyze/fidelity.h"
#include "analyze/trial-record.h"
#include "core/base/table.h"
#include "core/store/study.h"

struct nf_fidelity_view {
    struct nf_table *rows;      /* never NULL once made */
    struct nf_table *breakdown; /* of the all-near steps, by mode; NULL: no trial accounts for its time */
};

/* 0, -ENOMEM or -errno (cause set). Deinit in every case. */
int nf_fidelity_view_init(struct nf_fidelity_view *v, struct nf_study *study, const struct nf_dataset *d,
                          const struct nf_fidelity *f, const struct nf_trial_record *record);
void nf_fidelity_view_deinit(struct nf_fidelity_view *v);
