#pragma once
/* The sources of one capture at work: what they need in the job's environment, what they deliver in the access pass, and
 * the merging of the job's events with their samples into one order of time. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "capture/reduce.h"
#include "capture/ring-reader.h"
#include "capture/source.h"
#include "core/store/study.h"

struct nf_observe;

/* specs: "NAME:options" of the sources beside the framework, which always takes part; naming it is fine.
 * 0, -EINVAL for a spec (cause set), NF_OBSERVE_E_UNAVAILABLE when a source cannot work here (cause set), -ENOMEM. */
enum { NF_OBSERVE_E_UNAVAILABLE = 1 };
int nf_observe_new(const char *const *specs, size_t n, struct nf_observe **out);
struct nf_observe *nf_observe_free(struct nf_observe *o); /* NULL is fine; returns NULL */

/* Environment changes for the job in this pass; as nf_source_ops.environment. */
size_t nf_observe_environment(const struct nf_observe *o, enum nf_pass_kind kind, const char *ring_path, const char **out,
                              size_t max);

/* The command that runs argv in this pass; *out is to be freed, or NULL when it is argv itself. 0 or -errno (cause set). */
int nf_observe_command(const struct nf_observe *o, enum nf_pass_kind kind, char *const *argv, char ***out);
/* Whether a source writes its touches into the ring, for which an engine must be in or around the job. */
bool nf_observe_wants_engine(const struct nf_observe *o);

/* An access pass begins: opens the sources, adds a row for each to the study (inside a transaction of the caller) and each
 * to the reducer. 0 or -errno (cause set). */
int nf_observe_begin(struct nf_observe *o, struct nf_study *study, int64_t pass_id, struct nf_reduce *reduce);
/* The job's process is there and waits. context: the struct nf_observe. 0 or -errno (cause set). */
int nf_observe_attach(void *context, pid_t pid);
/* Takes what the ring holds and what the sources have, and hands it to the reducer in order of time. ended: the job has,
 * nothing more will come. 1 when there was something, 0 when not, or -errno (cause set). */
int nf_observe_drain(struct nf_observe *o, struct nf_ring *ring, struct nf_reduce *reduce, bool ended);
/* What the sources saw of a finished step, inside a transaction of the caller. 0 or -errno (cause set). */
int nf_observe_step(struct nf_observe *o, const struct nf_step *step, int64_t class_id);
/* Before the caller commits: writes what is still buffered, and the counts so far, so that what a kill leaves adds up; losses
 * are told at the end alone. 0 or -errno (cause set). */
int nf_observe_commit(struct nf_observe *o, const struct nf_reduce *reduce);
/* The pass has ended: its counts into the study, inside a transaction of the caller; the sources are closed.
 * 0 or -errno (cause set). */
int nf_observe_end(struct nf_observe *o, const struct nf_reduce *reduce);
