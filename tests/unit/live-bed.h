#pragma once
/* A preloaded library of ours tried as a job would have it: in a process of its own. */
#include <stdio.h>
#include <unistd.h>

#include "core/base/error.h"
#include "core/base/job-placer.h"
#include "live/preloaded.h"

/* Ends the process where it does not hold: cmocka's own end at the test's parent. */
#define MUST(truth) ((truth) ? (void)0 : (fprintf(stderr, "line %d: %s: %s\n", __LINE__, #truth, nf_error_text(0)), _exit(1)))

/* Runs the test in a child, which has to end well. */
void bed_apart(void (*test)(void));
/* Whether a child of the running test ended well. */
bool bed_ended_well(pid_t child);
/* What the library offers, loaded with its file named; stays loaded. */
const struct nf_job_placer *bed_load(const struct nf_live_preloaded *p);
