#pragma once
/* What the engine is tried on: steps made by hand, tiers that remember what they were charged and what was written to them, a policy that
 * remembers what it was asked and puts each storage where the test says. Failures end the running test. */
#include <stdbool.h>
#include <stdint.h>

#include "core/base/buf.h"
#include "replay/engine.h"

enum { STEP_OPS_MAX = 64, STEP_VISITS_MAX = 64, STEP_TENSORS_MAX = 16, BED_ARENA = 16 << 20 };

struct step {
    struct nf_op ops[STEP_OPS_MAX];
    struct nf_visit visits[STEP_VISITS_MAX];
    struct nf_tensor tensors[STEP_TENSORS_MAX];
    struct nf_step_class c;
    uint32_t sequence[1];
    char *names[1];
    struct nf_stream stream;
    struct nf_profile profile;
    struct nf_script script;
};

void step_init(struct step *s);
/* birth NF_OP_BEFORE and death NF_OP_AFTER use the tensor's own number as slot. Returns the number. */
uint32_t step_tensor(struct step *s, uint64_t bytes, int32_t birth, int32_t death);
void step_op(struct step *s, double dur_ns);
/* By the last op, from the tensor's begin, with k = 1. */
struct nf_visit *step_visit(struct step *s, uint32_t tensor, uint64_t bytes, enum nf_rw rw);
/* The filter is off: every byte is charged. */
void step_ready(struct step *s);
void step_deinit(struct step *s);

struct bed_memory {
    char *at;
    _Atomic uint64_t charges, read_bytes, write_bytes, lines; /* by a mover's thread as well */
    double line_ns;          /* what a line costs at k = 1 */
    uint64_t words[256];     /* at unmap: how many 8-byte words held each value */
};
/* Of a struct bed_memory. */
extern const struct nf_tier_ops bed_tier;

/* Where the next storages go, in turn: shares of tier 1 in percent; asked cyclically. */
struct bed_script {
    unsigned far_percent[8];
    unsigned n, next;
    bool striped, illegal;
    struct nf_buf told;
};
extern struct bed_script bed_script;
extern const struct nf_policy_ops bed_policy;
void bed_place_all(unsigned far_percent, bool striped);
/* Group teardown. */
int bed_forget(void **state);

/* Near injects nothing, a line of far takes far_line_ns. */
struct bed {
    struct bed_memory memory[2];
    struct nf_tier tiers[2];
    struct nf_engine_config config;
};
void bed_init(struct bed *b, const struct step *s, double far_line_ns);
/* A trial that must not fail. Caller deinits it. */
void bed_run(const struct bed *b, struct nf_trial *t);
/* The step that was disturbed least. */
double bed_best_step(const struct nf_trial *t);
/* bed_run until the best step of one takes at most most_ns: tests run on machines that do other things. Caller deinits the last. */
void bed_run_until(const struct bed *b, double most_ns, struct nf_trial *t);
