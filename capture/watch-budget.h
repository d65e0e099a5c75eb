#pragma once
/* What watching may cost the job: it earns a share of the CPU time it uses, and each hit and each move is paid from that.
 * Pure: who calls brings the clock. */
#include <stdint.h>

struct nf_watch_costs {
    uint64_t read_ns, write_ns, move_ns; /* of a hit by a read, a hit by a write, moving one word on one thread */
};

struct nf_watch_budget {
    double share; /* of the job's CPU time */
    struct nf_watch_costs costs;
    double credit_ns; /* below 0: in debt */
    double spent_ns;
    uint64_t earned_until_ns; /* the job's CPU time when it was last looked at */
    double draw_ns;           /* what one draw may cost */
    uint64_t denied;          /* draws that had to be left out */
};

/* period_ns: from one draw to the next, on average. */
void nf_watch_budget_init(struct nf_watch_budget *b, double share, const struct nf_watch_costs *costs, double period_ns);
/* The job has used so much CPU time since it began. Credit is kept for what a second of one core earns, no longer: what was
 * saved while nothing was accessed must not be spent in one go. */
void nf_watch_budget_earn(struct nf_watch_budget *b, uint64_t cpu_ns);
void nf_watch_budget_spend(struct nf_watch_budget *b, uint64_t reads, uint64_t writes, uint64_t moves);
/* How many hits each of `words` words may take before it has to be let go: as many as a draw earns on average, the same for
 * all, so that it does not depend on what was seen before. 0 (counted as denied): wait for more credit. */
uint64_t nf_watch_budget_allowance(struct nf_watch_budget *b, unsigned words);
