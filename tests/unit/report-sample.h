#pragma once
/* A study whose truth is known, written row by row, and what a report of it must say. All fail the running test when they
 * cannot. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/store/study.h"

enum { MIB = 1 << 20 };

/* Text that breaks whatever prints it carelessly. */
extern const char report_hostile[];

struct report_sample {
    char folder[64], path[96], report[96];
    struct nf_study *s;
    int64_t capture, testbed, replay;
};

/* A machine, an invocation, and capture 1 with the bare pass 1 and the access pass 2; nothing is committed. */
void report_init(struct report_sample *m, const char *job);
void report_deinit(struct report_sample *m);
struct nf_query *report_query(struct nf_study *s, const char *sql);
/* Runs the query; the id of the row. */
int64_t report_insert(struct nf_study *s, struct nf_query *q);

/* Step class 1 of eight layers: op i reads parameter i (tensor i, 4 MiB) and writes activation i (8 + i, 8 MiB); then, layers
 * in reverse, ops 8 to 15 read both and write a temporary (16 + i, 2 MiB); ops 16 to 23 update the parameters. */
void report_add_profile(struct report_sample *m);
void report_add_replay(struct report_sample *m, int64_t peak_live_bytes);
/* Both of its tiers become memory of a node, 0 and 1, far the slower. */
void report_use_real_tiers(struct report_sample *m);

struct report_trial {
    const char *policy, *options, *semantics, *status, *message;
    double share, step_ns;
    int block, overlap, hog, evidence;
};
void report_add_trial(struct report_sample *m, const struct report_trial *t);
/* All-near, all-far and five policies at three capacities in so many blocks, their slowdowns known. */
void report_add_blocks(struct report_sample *m, int blocks);

/* The study of most tests: a job, the profile, a replay of 256 MiB at the most, and so many blocks of it. */
void report_known(struct report_sample *m, int blocks);

/* 0 or -errno, then printed. */
int report_write(struct report_sample *m);
/* The caller frees it. */
char *report_file(struct report_sample *m, const char *name);
bool report_exists(struct report_sample *m, const char *name);
void report_has(struct report_sample *m, const char *name, const char *text);
void report_lacks(struct report_sample *m, const char *name, const char *text);
/* Python's own parsers, for every file that claims a format. */
void report_parses(struct report_sample *m);
/* A report there is, whose files are what they claim. */
void report_made(struct report_sample *m);
