#pragma once
/* When a replay has seen enough: the interval of every policy's median slowdown, paired with all-near within each block. */
#include <stdint.h>

#include "replay/trials.h"

struct nf_stop_rule {
    const struct nf_trials *trials; /* borrowed */
    uint32_t blocks;                /* at most */
    double *step_ns;                /* [block][trial]: mean step time; 0: not done, or failed */
};

/* 0 or -ENOMEM (cause set). */
int nf_stop_rule_init(struct nf_stop_rule *r, const struct nf_trials *trials, uint32_t blocks);
void nf_stop_rule_deinit(struct nf_stop_rule *r);
/* trial: index into trials->v. */
void nf_stop_rule_add(struct nf_stop_rule *r, uint32_t block, uint32_t trial, double step_ns);
/* The widest relative 95 % interval (bootstrap of the median of paired ratios: width / median) over all trials but all-near
 * itself, after the first n_blocks blocks. NAN while some trial has fewer than two pairs. */
double nf_stop_rule_width(const struct nf_stop_rule *r, uint32_t n_blocks, uint64_t seed);
