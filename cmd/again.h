#pragma once
/* `nearfar replay --again`: a replay that runs as a captured job, and what its capture comes to beside the first one. */
#include <stdbool.h>
#include <stdint.h>

#include "cmd/command.h"
#include "core/model/stream.h"

struct nf_again_request {
    const char *study;
    const char *const *sources; /* "NAME:options", each captured by itself */
    size_t n_sources;
    int64_t capture;            /* 0: the latest */
    double scale;
    unsigned threads;           /* 0: as the job had */
    int cpu;                    /* -1: wherever */
    uint64_t seed;
    bool quiet;
    const char *policy;         /* "NAME:options"; NULL: everything near */
    double near_share;          /* of peak live, under the policy */
};
/* argc, argv: of the whole program, for the study's record. Prints a table for each source. An exit code: NF_EXIT_FAILED where
 * a replay and its capture disagree. */
int nf_again_command(const struct nf_again_request *r, int argc, char **argv);

/* The job that is captured: `nearfar again-job STUDY`, which nobody calls by hand and no help lists. */
extern const struct nf_command nf_cmd_again_job;

/* How the job names a storage, so that its capture can be told apart: by the tensor's number, or by the slot that carries it
 * from step to step. text: room for 32 bytes. */
void nf_again_name(const struct nf_tensor *t, uint32_t number, char text[32]);
