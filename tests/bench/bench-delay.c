/* Injected delay: what the emulated far tier achieves against its target, by the same measurement as a real tier. One
 * chain is what the latency was set by; two, four and eight chains, and the stream, are what it was not. */
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "replay/measure.h"
#include "tests/bench/bench.h"

static const double TOLERANCE = 0.03;

/* No access can be faster than the latency of its chain, or than its line takes on the link. */
static double chase_target_ns(const struct nf_tier_facts *far, unsigned chains)
{
    double latency = far->target_latency_ns / chains, link = 64e9 / far->target_bps;

    return latency > link ? latency : link;
}

static void print_chase(struct bench *b, const struct nf_tier_facts *far, const struct nf_samples *samples, unsigned chains)
{
    double values[64];
    unsigned n = 0;
    char name[64];

    for (size_t i = 0; i < samples->list.n && n < 64; i++)
        if (!strcmp(samples->list.v[i].what, "chase") && samples->list.v[i].parallelism == chains)
            values[n++] = samples->list.v[i].value / chase_target_ns(far, chains);
    snprintf(name, sizeof name, "injected latency, %u chain%s", chains, chains > 1 ? "s" : "");
    bench_within(b, name, "of target", values, n, 1, TOLERANCE);
}

int bench_delay(struct bench *b)
{
    /* The default working set reaches memory; a smoke test only needs to get there. */
    struct nf_measure_options options = {.cpu = -1, .working_set_bytes = b->smoke ? 32 << 20 : 0};
    struct nf_tier near, far;
    struct nf_samples near_samples = {0}, far_samples = {0};
    struct nf_measured at_near, at_far;
    struct nf_tier_local local;
    double values[64];
    unsigned n = 0;
    int rc;

    rc = nf_tier_open("near", "numa", NULL, &near);
    if (rc) {
        printf("delay: %s\n", nf_error_text(rc));
        return 77;
    }
    rc = nf_measure_tier(&near, 0, &options, &at_near, &near_samples);
    nf_tier_close(&near);
    nf_array_free(&near_samples.list);
    if (rc)
        goto failed;
    local = (struct nf_tier_local){at_near.latency_ns, at_near.read_bps, at_near.write_bps};
    rc = nf_tier_open("far", "emulated", &local, &far);
    if (rc)
        goto failed;
    options.assumed = at_near.parallelism;
    rc = nf_measure_tier(&far, 1, &options, &at_far, &far_samples);
    if (!rc) {
        for (unsigned chains = 1; chains <= 8; chains *= 2)
            print_chase(b, &far.facts, &far_samples, chains);
        for (size_t i = 0; i < far_samples.list.n && n < 64; i++)
            if (!strcmp(far_samples.list.v[i].what, "read"))
                values[n++] = far_samples.list.v[i].value / far.facts.target_bps;
        bench_within(b, "injected bandwidth, read", "of target", values, n, 1, TOLERANCE);
    }
    nf_tier_close(&far);
    nf_array_free(&far_samples.list);
    if (!rc)
        return 0;
failed:
    printf("delay: %s\n", nf_error_text(rc));
    return -1;
}
