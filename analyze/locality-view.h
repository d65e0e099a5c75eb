#pragma once
/* How a step reuses memory, computed for commands and reports alike: tensors in groups, miss-ratio curves by every
 * estimator, reuse histograms, as tables. */
#include <stdbool.h>
#include <stdint.h>

#include "core/base/table.h"
#include "core/model/mrc.h"
#include "core/model/stream.h"

/* --- groups --- */

/* Tensors in groups, by role, each its own, or one against all others. */
struct nf_tensor_groups {
    uint32_t *of;    /* group of each tensor */
    uint32_t n;      /* 0: no groups */
    uint32_t first;  /* where tables begin among the whole (0) and the groups: one tensor is shown alone */
    char (*names)[96];
    int *roles;      /* whose colour a group has; -1: none */
};

#define NF_TENSOR_ALL UINT64_MAX
/* by: NULL, "role", "tensor"; a tensor goes before it. 0, -EINVAL, -ENOMEM (cause set); deinit in any case. */
int nf_tensor_groups_init(struct nf_tensor_groups *g, const struct nf_step_class *c, const char *by, uint64_t tensor);
void nf_tensor_groups_deinit(struct nf_tensor_groups *g);
/* "all" for 0, then the groups' names. */
const char *nf_tensor_groups_name(const struct nf_tensor_groups *g, uint32_t at);

/* --- blocks --- */

/* The block size for a step of which nothing is known: 64 bytes, or, where the step accesses so many of these (or holds so
 * many live) that its curves would take more than some ten seconds or a GiB, 4 KiB or the next power of two that does not. 0:
 * none up to 1 MiB. *accesses: of blocks of that size in one pass. */
uint32_t nf_locality_block(const struct nf_step_class *c, uint64_t *accesses);

/* --- miss-ratio curves --- */

enum nf_mrc_by { NF_MRC_EXACT, NF_MRC_SHARDS_TENTH, NF_MRC_SHARDS_HUNDREDTH, NF_MRC_SHARDS_SIZE, NF_MRC_AET, NF_MRC_FUSED,
                 NF_MRC_ESTIMATORS };

struct nf_mrc_set {
    struct nf_mrc *curves[NF_MRC_ESTIMATORS]; /* each: of the whole, then of the groups */
    double ns[NF_MRC_ESTIMATORS];             /* to compute them */
    uint64_t reach;                           /* of the whole's exact curve */
};

/* period: line accesses per simulated sample of the visit-fused one, at least 1. 0 or -ENOMEM (cause set); deinit in any
 * case. */
int nf_mrc_set_init(struct nf_mrc_set *m, const struct nf_step_class *c, uint32_t block_bytes,
                    const struct nf_tensor_groups *g, uint64_t period);
void nf_mrc_set_deinit(struct nf_mrc_set *m);

/* Every estimator's error against exact, of the whole and each group. */
enum { NF_MRC_ERROR_COLUMNS = 6, NF_MRC_ERROR_UNTIMED = 5 };
extern const struct nf_column nf_mrc_error_columns[NF_MRC_ERROR_COLUMNS];
/* Every estimator, group and size. accesses: how they are known. */
enum { NF_MRC_COLUMNS = 9, NF_MRC_UNTIMED = 8 };
extern const struct nf_column nf_mrc_columns[NF_MRC_COLUMNS];
/* t has all columns, or (not timed) all but the last. */
void nf_mrc_set_errors(const struct nf_mrc_set *m, const struct nf_tensor_groups *g, bool timed, struct nf_table *t);
void nf_mrc_set_rows(const struct nf_mrc_set *m, const struct nf_tensor_groups *g, const char *accesses, bool timed,
                     struct nf_table *t);

/* --- reuse --- */

struct nf_reuse_set {
    struct nf_mrc *curves;                     /* distances in blocks; of the whole, then of the groups */
    struct nf_histogram *traffic, *ns;         /* between two accesses */
    uint32_t block_bytes;
    bool timed;                                /* the ops have times: ns is filled */
};

/* 0 or -ENOMEM (cause set); deinit in any case. */
int nf_reuse_set_init(struct nf_reuse_set *r, const struct nf_step_class *c, uint32_t block_bytes,
                      const struct nf_tensor_groups *g);
void nf_reuse_set_deinit(struct nf_reuse_set *r);

/* Accessed bytes, share of first accesses, median and 90 % of distance, traffic and time; of what is accessed at all. */
enum { NF_REUSE_SUMMARY_COLUMNS = 9 };
extern const struct nf_column nf_reuse_summary_columns[NF_REUSE_SUMMARY_COLUMNS];
void nf_reuse_set_summary(const struct nf_reuse_set *r, const struct nf_tensor_groups *g, struct nf_table *t);
/* Octaves of every measure. */
enum { NF_REUSE_COLUMNS = 6 };
extern const struct nf_column nf_reuse_columns[NF_REUSE_COLUMNS];
void nf_reuse_set_octaves(const struct nf_reuse_set *r, const struct nf_tensor_groups *g, const char *evidence,
                          struct nf_table *t);

/* "steady state of one step: 334 ops, 752 visits of 123.78 MiB, ..." */
void nf_locality_step(const struct nf_step_class *c, char *text, size_t size);
/* "framework", or the kinds of evidence with their shares of the visited bytes. */
void nf_locality_evidence(const struct nf_step_class *c, char *text, size_t size);
