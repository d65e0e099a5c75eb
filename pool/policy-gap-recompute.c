/* Policy `gap-recompute`: what is made again faster than far memory would give it back is not held between two uses; of the rest near
 * holds what saves most from use to use.
 * Rule: first `recompute`'s choice of gaps whose storage is made again (pool/policy-recompute.h), then `gap-greedy`'s plan, with its timed
 * fetches, over the step without them: the ops that run again are uses like any other, and room that is not held is room for others.
 * Source: ours, of the two; Peng et al., Capuchin, ASPLOS 2020, weighs swapping against recomputation in one order of costs instead.
 * Semantics: in place, insert near or far by the plan, write back, copied by a helper; ops run again before the next use of what they
 * make. Sees profile and future.
 * Fails where either fails; and what is made again is chosen before the fetches are planned: a gap whose transfer would have been hidden
 * may be made again all the same (option exposed says how much of a transfer counts). */
#include "pool/gap-plan.h"
#include "pool/policies.h"
#include "pool/policy-recompute.h"

struct options {
    struct nf_gap_options gaps; /* first: nf_gap_plan reads them */
    struct nf_recompute_options again;
};

static const struct nf_option table[] = {NF_GAP_OPTION_ROWS, NF_RECOMPUTE_OPTION_ROWS(offsetof(struct options, again)), {NULL}};
static const struct options defaults = {.gaps = NF_GAP_OPTION_DEFAULTS, .again = NF_RECOMPUTE_OPTION_DEFAULTS};

static int choose_again(const struct nf_policy_env *env, uint32_t step_class, char *const *names, struct nf_recompute *r, uint8_t **choices)
{
    const struct options *o = env->options;

    return nf_recompute_plan(env, &o->again, step_class, names, r, choices);
}

const struct nf_policy_ops nf_policy_gap_recompute = {
    .name = "gap-recompute",
    .about = "near, far or made again by what each costs; the rest as gap-greedy keeps, fetches and lets go",
    .options = table,
    .options_size = sizeof(struct options),
    .option_defaults = &defaults,
    .init = nf_gap_greedy_init,
    NF_TIMETABLE_VERBS_AND(true, NF_POLICY_HAS_RECOMPUTE),
    .recompute = choose_again,
};
