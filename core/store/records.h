#pragma once
/* The rows whole commands write and read: machine, invocation, and the stream of a capture. */
#include <stdint.h>

#include "core/model/stream.h"
#include "core/store/study.h"

/* Finds or adds this machine (facts read from /proc and /sys). > 0 or -errno (cause set). */
int64_t nf_record_machine(struct nf_study *s);
/* Adds an invocation in its own transaction, 'running'. > 0 or -errno (cause set). */
int64_t nf_record_invocation(struct nf_study *s, int argc, char *const *argv);
/* status: "complete" or "failed". 0 or -errno. */
int nf_record_invocation_end(struct nf_study *s, int64_t id, const char *status, const char *message);

/* The effective LLC in bytes: as last measured on a testbed of the study, else as its first machine's CPU reports it, else
 * 32 MiB, what a server core of these years shares. Never 0. */
uint64_t nf_record_llc(struct nf_study *s);

/* The latest capture with at least one step class, or the given one. > 0, -ENOENT (cause set) when there is none. */
int64_t nf_record_capture_find(struct nf_study *s, int64_t wanted);
/* Loads a capture's stream; durations corrected to the bare step time. 0 or -errno, -EBADMSG for contradictory rows
 * (cause set). *out: free with nf_stream_free. */
int nf_record_stream_load(struct nf_study *s, int64_t capture, struct nf_stream **out);
