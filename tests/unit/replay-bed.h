#pragma once
/* A small study and a replay of it that takes milliseconds: what the rules of a whole session are tried on. Tiers are known to the
 * study, so that nothing is measured; far injects what the test asks for. Failures end the running test. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/store/study.h"
#include "replay/session.h"

/* Group fixtures: a folder of its own and its removal. */
int replay_bed_setup(void **state);
int replay_bed_teardown(void **state);
const char *replay_bed_folder(void);
const char *replay_bed_path(void); /* of the study */

/* One class of two ops of 2 ms: op 0 reads every tensor but the last, which are carried from step to step, and writes the last; op 1
 * reads that, which dies, and updates the others. pages: of each tensor, n of them. untimed: the capture holds no op times. */
struct replay_bed_shape {
    const uint64_t *pages;
    size_t n;
    bool untimed;
};
/* Caller closes it. */
struct nf_study *replay_bed_study(const struct replay_bed_shape *shape);
/* Tiers "null" and `far` as testbed of this machine: near has 100 ns, 10 GB/s, 10 lines in flight of a stream and 5 of a gather; what
 * far claims of its parallelism is 1, and nobody may use it. LLC: 64 KiB. */
void replay_bed_know_tiers(struct nf_study *s, const char *far);
/* Two blocks of `policies` at half near on those tiers, overlap asap, one step. The pointers stay the caller's. */
struct nf_replay_options replay_bed_options(const char *const *policies, size_t n_policies, const char *const tiers[2]);
/* nf_replay_run, which must succeed. */
struct nf_replay_result replay_bed_run(struct nf_study *s, const struct nf_replay_options *o);

int64_t replay_bed_invocation(void);
int64_t replay_bed_int(struct nf_study *s, const char *sql);
double replay_bed_real(struct nf_study *s, const char *sql);
void replay_bed_execute(struct nf_study *s, const char *sql);
