#include "capture/watch-budget.h"

/* A word that is let go after fewer hits tells little; a draw that earns less waits until this many can be paid. */
enum { LEAST_HITS = 8 };
#define CREDIT_KEPT_NS 1e9

void nf_watch_budget_init(struct nf_watch_budget *b, double share, const struct nf_watch_costs *costs, double period_ns)
{
    *b = (struct nf_watch_budget){.share = share, .costs = *costs, .draw_ns = share * period_ns};
}

void nf_watch_budget_earn(struct nf_watch_budget *b, uint64_t cpu_ns)
{
    double most;

    if (cpu_ns <= b->earned_until_ns)
        return;
    b->credit_ns += b->share * (double)(cpu_ns - b->earned_until_ns);
    most = b->draw_ns > b->share * CREDIT_KEPT_NS ? b->draw_ns : b->share * CREDIT_KEPT_NS;
    b->credit_ns = b->credit_ns < most ? b->credit_ns : most;
    b->earned_until_ns = cpu_ns;
}

void nf_watch_budget_spend(struct nf_watch_budget *b, uint64_t reads, uint64_t writes, uint64_t moves)
{
    double ns = (double)reads * (double)b->costs.read_ns + (double)writes * (double)b->costs.write_ns +
                (double)moves * (double)b->costs.move_ns;

    b->credit_ns -= ns;
    b->spent_ns += ns;
}

uint64_t nf_watch_budget_allowance(struct nf_watch_budget *b, unsigned words)
{
    /* Any hit may be a write, the dearer kind. */
    double each_ns = b->costs.write_ns > b->costs.read_ns ? (double)b->costs.write_ns : (double)b->costs.read_ns;
    double hits = b->draw_ns / (words ? words : 1) / (each_ns >= 1.0 ? each_ns : 1.0);

    hits = hits < LEAST_HITS ? LEAST_HITS : hits < 1e6 ? hits : 1e6;
    if (b->credit_ns < hits * (words ? words : 1) * each_ns) {
        b->denied++;
        return 0;
    }
    return (uint64_t)hits;
}
