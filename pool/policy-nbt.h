#pragma once
/* The adapting threshold of policy `nbt`, apart from where faults come from. */

/* A page is promoted when its hint fault comes within threshold_ns; once a period the threshold follows the bytes of candidates: an
 * eighth of ref_ns down where they pass 110 % of the limit, up where they stay under 90 %; never below that eighth, nor beyond 2 ref_ns.
 * Returns the new threshold. */
double nf_nbt_threshold(double threshold_ns, double ref_ns, double candidate_bytes, double limit_bytes);
