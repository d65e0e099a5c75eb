/* Policy `gap-greedy`: near holds tensors over the gaps where that saves most, and lets them go in the others.
 * Rule: every gap between two uses is an item (pages, ops held, bytes that the use at its end saves). Items are accepted greedily
 * on the load over the ops, by bytes saved per page and op, per page and its root, and per page, and the best of the results is
 * kept (pool/plan.h). Where not all of a tensor fits its first pages stay, unless parts=no. Over a gap that is not kept the tensor,
 * or what is not kept of it, leaves near; what is kept again comes back in time for the use before, and what is not worth its
 * moves is given up (pool/gap-plan.h).
 * Source: ours; the gaps of PFOO (Berger et al., POMACS 2018) as a plan, with G10's just-in-time fetches.
 * Semantics: in place, insert near or far by the plan, write back, copied by a helper. Sees profile and future.
 * Fails where the captured order is not the replayed one, and where moves cost more time than the far accesses they save: it weighs
 * bytes (option migration), not the link's time under load. Where uses touch some pages of a tensor more than others a part of it saves more or less
 * than its share. */
#include "pool/gap-plan.h"
#include "pool/policies.h"

const struct nf_policy_ops nf_policy_gap_greedy = {
    .name = "gap-greedy",
    .about = "tensors stay near over the gaps where that saves most, leave over the others, and are fetched in time",
    .options = nf_gap_option_table,
    .options_size = sizeof(struct nf_gap_options),
    .option_defaults = &nf_gap_option_defaults,
    .init = nf_gap_greedy_init,
    NF_TIMETABLE_VERBS(true),
};
