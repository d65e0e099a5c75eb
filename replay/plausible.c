#include "replay/plausible.h"

#include <math.h>
#include <string.h>

/* Sums over many visits, each rounded: what a double loses, with room. */
static const double ROUNDING = 1e-9;

/* What all measured steps issue, on whatever tier. */
struct issued {
    uint64_t read_bytes, write_bytes;
    double lines; /* past the cache filter */
};

static void add_visit(struct issued *sum, const struct nf_script_visit *v)
{
    sum->read_bytes += v->rw == NF_RW_WRITE ? 0 : v->total;
    sum->write_bytes += v->rw == NF_RW_READ ? 0 : v->total;
    sum->lines += (double)v->bytes * v->miss_first + (double)(v->total - v->bytes) * v->miss_again;
}

static struct issued issued(const struct nf_engine_config *c)
{
    struct issued sum = {0};

    for (uint32_t step = 0; step < nf_engine_cycle_steps(c); step++) {
        const struct nf_script *s = &c->scripts[nf_engine_cycle_class(c, step)];

        for (uint32_t i = 0; i < s->of->n_ops; i++) {
            const struct nf_script_range *visits = &s->ops[i].visits;

            for (uint32_t v = visits->first; v < visits->first + visits->n; v++)
                add_visit(&sum, &s->visits[v]);
        }
    }
    sum.read_bytes *= c->cycles;
    sum.write_bytes *= c->cycles;
    sum.lines *= c->cycles;
    return sum;
}

static bool is_flag(const bool *b)
{
    unsigned char byte;

    memcpy(&byte, b, sizeof byte); /* as a bool only 0 and 1 may be read */
    return byte <= 1;
}

static bool is_amount(double x)
{
    return isfinite(x) && x >= 0;
}

/* Each figure alone. */
static bool can_be_read(const struct nf_trial *t, const struct nf_engine_config *c)
{
    bool good = (unsigned)t->status <= NF_TRIAL_FAILED && is_flag(&t->saturated) && is_flag(&t->cold) && is_flag(&t->helper_shares) &&
                memchr(t->message, '\0', sizeof t->message) && memchr(t->cpus, '\0', sizeof t->cpus) &&
                memchr(t->interference, '\0', sizeof t->interference) && t->helper_cpu >= -1 && t->helper_cpu < CPU_SETSIZE &&
                t->threads >= 1 && t->threads <= CPU_SETSIZE && is_amount(t->assumed_k_share) && t->assumed_k_share <= 1 + ROUNDING &&
                is_amount(t->scheduled_ns) && is_amount(t->background_bps) && t->steps <= (uint64_t)nf_engine_cycle_steps(c) * c->cycles;

    for (uint32_t i = 0; i < NF_TIER_MAX && good; i++)
        good = is_amount(t->tier[i].achieved_latency_ns) && is_amount(t->tier[i].achieved_bps);
    for (unsigned i = 0; t->step_ns && i < t->steps && good; i++)
        good = is_amount(t->step_ns[i]);
    return good;
}

static bool is_asked_for(const struct nf_trial *t, const struct nf_engine_config *c)
{
    return t->store == c->store && t->cold == c->cold && t->steps == nf_engine_cycle_steps(c) * c->cycles &&
           t->warmup_steps <= nf_engine_cycle_steps(c) * c->warmup_max && t->proofs == c->cycles + 1;
}

static bool times_add_up(const struct nf_trial *t)
{
    double sum = 0;

    for (unsigned i = 0; i < t->steps; i++)
        sum += t->step_ns[i];
    return fabs(sum - (double)t->wall_ns) <= ROUNDING * sum && t->memory_ns <= t->wall_ns && t->injected_ns <= t->wall_ns &&
           t->compute_ns <= t->wall_ns - t->injected_ns && t->recompute_ns <= t->wall_ns;
}

/* Streams read in batches hold one at a time: what all of it issues is not known here. */
static bool bytes_add_up(const struct nf_trial *t, const struct nf_engine_config *c)
{
    struct issued want = c->between ? (struct issued){0} : issued(c), sum = {0};
    uint64_t charged = 0, missed = 0;

    for (uint32_t i = 0; i < NF_TIER_MAX; i++) {
        const struct nf_trial_tier *tier = &t->tier[i];
        uint64_t issued_bytes = tier->read_bytes + tier->write_bytes;

        if (i >= c->pool.n_tiers && (issued_bytes || tier->charged_bytes || tier->charged_lines || tier->miss_read_bytes || tier->miss_write_bytes))
            return false;
        if (tier->charged_bytes / (2 * NF_LINE_BYTES) > tier->charged_lines) /* an update reads and writes its line */
            return false;
        sum.read_bytes += tier->read_bytes;
        sum.write_bytes += tier->write_bytes;
        charged += tier->charged_lines;
        missed += tier->miss_read_bytes + tier->miss_write_bytes;
    }
    return c->between || (sum.read_bytes == want.read_bytes && sum.write_bytes == want.write_bytes &&
                          (double)charged <= want.lines * (1 + ROUNDING) + 1 &&
                          (double)missed <= 2 * NF_LINE_BYTES * (want.lines * (1 + ROUNDING) + 1));
}

static bool moves_add_up(const struct nf_trial *t, const struct nf_engine_config *c)
{
    uint64_t in = 0, out = 0;

    for (uint32_t i = 0; i < NF_TIER_MAX; i++) {
        const struct nf_pool_tier_stats *s = &t->pool.tier[i];

        if (s->live_bytes > s->peak_bytes || s->copy_bytes > s->live_bytes ||
            s->peak_bytes > (i < c->pool.n_tiers ? c->pool.capacity[i] : 0))
            return false;
        in += s->moved_in_bytes;
        out += s->moved_out_bytes;
    }
    return in == t->pool.moved_bytes && out == t->pool.moved_bytes && !t->pool.refused;
}

const char *nf_trial_implausible(const struct nf_trial *t, const struct nf_engine_config *c)
{
    if (!can_be_read(t, c))
        return "a figure is out of its range";
    if (t->status == NF_TRIAL_FAILED)
        return NULL;
    if (!is_asked_for(t, c))
        return "it is not the trial that was asked for";
    if (!times_add_up(t))
        return "its times are not those of its steps";
    if (!bytes_add_up(t, c))
        return "its bytes are not those of the step's visits";
    if (!moves_add_up(t, c))
        return "its tiers hold more than they may, or moved what never arrived";
    return NULL;
}
