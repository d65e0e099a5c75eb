#pragma once
/* How policy `colloid` finds what share of accesses near should serve, apart from where latencies come from. */

struct nf_colloid_share {
    double low, high; /* between which the balance is sought */
};
#define NF_COLLOID_SHARE_INIT {0, 1}

/* latency += (observed - latency) / 32; the first observation is taken as it is. */
double nf_colloid_ewma(double latency_ns, double observed_ns);
/* By how much near's share of accesses, now `share`, should change: above 0 promote so much, below 0 demote so much, 0: balanced within
 * a twentieth. The bounds halve the range towards the balance; where they meet and it is not there, it has moved, and one bound opens. */
double nf_colloid_shift(struct nf_colloid_share *s, double share, double near_ns, double far_ns);
