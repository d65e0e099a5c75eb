#pragma once
/* Sampled hotness as policy `hemem` defines it; `colloid` moves by another rule on the same. */
#include "pool/page-tracker.h"

struct nf_hemem_options {
    struct nf_page_options page;
    uint64_t read_hot, write_hot, cool; /* sampled loads, sampled stores, both */
    uint64_t interval_ns, rate_bps;
};
#define NF_HEMEM_OPTIONS_INIT                                                                                         \
    {.page = {.unit_bytes = NF_PAGE_UNIT_HUGE, .period = 5000, .fault_ns = NF_PAGE_FAULT_NS_ASSUMED,                  \
              .unmap_ns = NF_PAGE_UNMAP_NS_ASSUMED, .speed = 1},                                                      \
     .read_hot = 8, .write_hot = 4, .cool = 18, .interval_ns = 10000000, .rate_bps = 10000000000}
#define NF_HEMEM_OPTION_ROWS                                                                                          \
    NF_PAGE_OPTION_ROWS("2M", "5000"),                                                                                \
    {"read-hot", 0, NF_OPTION_U64, offsetof(struct nf_hemem_options, read_hot), "N",                                  \
     "sampled loads that make a page hot (default 8)"},                                                               \
    {"write-hot", 0, NF_OPTION_U64, offsetof(struct nf_hemem_options, write_hot), "N",                                \
     "sampled stores that do (default 4)"},                                                                           \
    {"cool", 0, NF_OPTION_U64, offsetof(struct nf_hemem_options, cool), "N",                                          \
     "samples of one page beyond which all counts are halved (default 18)"}

struct nf_hemem {
    struct nf_page_tracker t;
    struct nf_hemem_options o;
    struct nf_page_list near_hot, near_cold, far_hot, far_cold;
    uint64_t now_ns, next_ns; /* of the policy thread */
    uint32_t filed;           /* cooling when all pages were last filed */
};

/* 0, -EINVAL, -ENOMEM (cause set). */
int nf_hemem_init(struct nf_hemem *h, const struct nf_policy_env *env, const struct nf_hemem_options *o);
int nf_hemem_place(struct nf_hemem *h, const struct nf_policy_tensor *tensor, struct nf_placement *out);
/* Whether its counts say hot now. */
bool nf_hemem_hot(const struct nf_hemem *h, struct nf_page *page);
/* Into the list that its tier and heat say. */
void nf_hemem_file(struct nf_hemem *h, struct nf_page *page);
/* One sample: counts, cools where a count is full, files. */
void nf_hemem_sample(void *h, struct nf_page *page, bool write);
/* Whether the policy thread would run now; then its next time is set, and pages that have cooled are filed. */
bool nf_hemem_due(struct nf_hemem *h);
/* Bytes it may move at a time. */
uint64_t nf_hemem_budget(const struct nf_hemem *h);
