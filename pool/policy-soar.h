#pragma once
/* The score of policy `soar`, apart from where its inputs come from. */

/* What one window of time tells about memory. */
struct nf_soar_window {
    double stall_share; /* of all the time, stalled in this window for memory beyond the caches */
    double misses;      /* of all objects in it */
    double aol_cycles;  /* amortized offcore latency: latency of a miss over the misses outstanding with it */
};

/* What an object with so many of the window's misses adds to its score (Liu et al., OSDI 2025). 0 in a window without misses. */
double nf_soar_score(const struct nf_soar_window *w, double object_misses);
