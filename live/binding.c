#include "live/binding.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "live/plan.h"
#include "pool/node-order.h"

const char *const nf_live_rule_names[NF_LIVE_RULES + 1] = {"near", "far", "interleave", "weighted", "preferred-many", "first-touch", NULL};

/* The kernel's own table takes no larger ones. */
enum { WEIGHT_MAX = 255 };

struct tiers {
    int node[NF_TIER_MAX];
    enum nf_evidence evidence[NF_TIER_MAX];
    unsigned n;
};

/* A tier that is a node: "numa:node=1", or "cxl=numa:node=1" with a name in front. */
static int add_tier(struct tiers *t, const char *spec)
{
    const struct nf_tier_ops *provider;
    struct nf_tier tier = {0};
    int rc;

    if (t->n == NF_TIER_MAX)
        return nf_fail(-EINVAL, "more than the %d tiers there can be", NF_TIER_MAX);
    spec = nf_tier_unnamed(spec);
    provider = nf_tier_provider(spec);
    if (!provider)
        return -EINVAL;
    /* An emulated tier is on a node too, but its slowness is added by whoever replays, and a job's own loads wait for
     * nobody. */
    if (!nf_tier_is_node(provider))
        return nf_fail(-ENODEV, "a job can be bound to tiers that are NUMA nodes only, and '%s' is none: what an emulated tier "
                       "adds, a job's own loads do not feel. On one node '--hog' slows the job for real", spec);
    rc = nf_tier_open("tier", spec, NULL, &tier);
    if (rc)
        return rc;
    if (tier.facts.node < 0 || tier.facts.node > 63)
        rc = nf_fail(-ENODEV, "node %d cannot be bound to: nodes 0 to 63 can", tier.facts.node);
    t->node[t->n] = tier.facts.node;
    t->evidence[t->n++] = tier.facts.evidence;
    nf_tier_close(&tier);
    return rc;
}

static int add_nodes(struct tiers *t)
{
    int nodes[NF_TIER_MAX], local = nf_binding_local_node(), n = nf_node_order("/sys", local < 0 ? 0 : local, nodes, NF_TIER_MAX);
    int rc = n < 0 ? n : 0;
    char spec[32];

    for (int i = 0; i < n && !rc; i++) {
        snprintf(spec, sizeof spec, "numa:node=%d", nodes[i]);
        rc = add_tier(t, spec);
    }
    return rc;
}

/* "weights=5:3". */
static int parse_weights(const char *text, unsigned n, uint32_t *weights)
{
    const char *p = strncmp(text, "weights=", 8) ? "" : text + 8;
    unsigned i = 0;

    for (; i < n && *p >= '0' && *p <= '9'; i++) {
        char *end;
        unsigned long weight = strtoul(p, &end, 10);

        if (!weight || weight > WEIGHT_MAX || *end != (i + 1 < n ? ':' : '\0'))
            break;
        weights[i] = (uint32_t)weight;
        p = end + 1;
    }
    if (i && i == n)
        return 0;
    return nf_fail(-EINVAL, "weighted:%s: weights=A:B... is wanted, one whole number of 1 to %d for each of %u tiers, near first", text,
                   WEIGHT_MAX, n);
}

int nf_live_binding_init(struct nf_live_binding *b, const char *rule, const char *const *specs, size_t n_specs)
{
    static const enum nf_binding_rule kernel_rules[NF_LIVE_RULES] = {NF_BINDING_ONE, NF_BINDING_ONE, NF_BINDING_INTERLEAVE,
                                                                     NF_BINDING_WEIGHTED, NF_BINDING_PREFERRED_MANY,
                                                                     NF_BINDING_FIRST_TOUCH};
    const char *options = strchr(rule, ':');
    size_t at, length = options ? (size_t)(options - rule) : strlen(rule);
    struct tiers t = {0};
    char why[128];
    unsigned first, last;
    int rc = 0;

    *b = (struct nf_live_binding){0};
    while (b->rule < NF_LIVE_RULES && (strncmp(rule, nf_live_rule_names[b->rule], length) || nf_live_rule_names[b->rule][length]))
        b->rule++;
    if (b->rule == NF_LIVE_RULES || (options && b->rule != NF_LIVE_WEIGHTED))
        return nf_fail(-EINVAL, "a job is bound near, far, interleave, weighted, preferred-many or first-touch, not '%s'", rule);
    for (size_t i = 0; i < n_specs && !rc; i++)
        rc = add_tier(&t, specs[i]);
    if (!rc && !n_specs)
        rc = add_nodes(&t);
    if (rc)
        return rc;
    if (b->rule != NF_LIVE_NEAR && t.n < 2)
        return nf_fail(-ENODEV, "there is one tier only, node %d, so nothing is far: name a second one with --tier "
                       "numa:node=N, or see what '--hog' does on one node", t.node[0]);
    rc = options ? parse_weights(options + 1, t.n, b->weights) : 0;
    if (rc)
        return rc;
    for (unsigned i = 1; options && i < t.n; i++) {
        for (unsigned k = 0; k < i; k++) {
            if (t.node[k] == t.node[i])
                return nf_fail(-EINVAL, "%s: two tiers are on node %d, and a page there belongs to one", rule, t.node[i]);
        }
    }
    b->kernel_rule = options ? NF_BINDING_FIRST_TOUCH : kernel_rules[b->rule];
    if (nf_binding_rule_probe(b->kernel_rule, why, sizeof why))
        return nf_fail(-ENODEV, "%s%s", why, b->rule == NF_LIVE_WEIGHTED && !options ? "; with weights named (weighted:weights=2:1) a preloaded "
                       "library deals the job's pages instead" : "");
    first = b->rule == NF_LIVE_FAR ? t.n - 1 : 0;
    last = b->rule == NF_LIVE_NEAR ? 0 : t.n - 1;
    b->evidence = nf_evidence_weakest(t.evidence + first, last - first + 1);
    at = (size_t)snprintf(b->text, sizeof b->text, "%s: node", nf_live_rule_names[b->rule]);
    for (unsigned i = first; i <= last; i++) {
        b->nodes[b->n_nodes++] = t.node[i];
        at += (size_t)snprintf(b->text + at, sizeof b->text - at, "%s%d", i > first ? "," : " ", t.node[i]);
    }
    for (unsigned i = 0; options && i < b->n_nodes; i++)
        at += (size_t)snprintf(b->text + at, sizeof b->text - at, "%s%u", i ? ":" : " by ", b->weights[i]);
    return 0;
}

int nf_live_binding_enter(const struct nf_live_binding *b)
{
    return nf_binding_rule_enter(b->kernel_rule, b->nodes, b->n_nodes);
}

enum nf_evidence nf_live_evidence(void)
{
    struct nf_tier tier = {0};
    enum nf_evidence evidence = NF_EVIDENCE_MEASURED_DEVICE;

    if (!nf_tier_open("near", "numa", NULL, &tier))
        evidence = tier.facts.evidence;
    nf_error_clear(); /* a machine without nodes is still measured */
    nf_tier_close(&tier);
    return evidence;
}

static int take_measured(struct nf_study *study, struct nf_live_tiers *out)
{
    struct nf_query *q;
    int rc = nf_study_query(study, "SELECT number, latency_ns, read_bps FROM tier WHERE testbed_id = (SELECT max(id) FROM testbed) "
                                   "ORDER BY number", &q);

    if (rc)
        return rc;
    while ((rc = nf_query_step(q)) == 1) {
        int64_t number = nf_query_i64(q, 0);

        if (number < 0 || number >= NF_TIER_MAX)
            continue;
        out->latency_ns[number] = nf_query_f64(q, 1);
        out->read_bps[number] = nf_query_f64(q, 2);
    }
    nf_query_done(q);
    return rc;
}

int nf_live_tiers_find(struct nf_study *study, const char *const *specs, size_t n_specs, struct nf_live_tiers *out)
{
    struct tiers t = {0};
    int rc = 0;

    *out = (struct nf_live_tiers){0};
    for (size_t i = 0; i < n_specs && !rc; i++)
        rc = add_tier(&t, specs[i]);
    if (!rc && !n_specs && add_nodes(&t)) { /* a machine that shows no nodes has one memory */
        nf_error_clear();
        t.n = 0;
    }
    if (rc)
        return rc;
    if (n_specs == 1)
        return nf_fail(-EINVAL, "a plan places on two tiers or more, and '%s' is one", specs[0]);
    out->n = t.n < 2 ? 2 : t.n;
    for (unsigned i = 0; i < out->n; i++)
        out->node[i] = t.n < 2 ? -1 : t.node[i];
    out->evidence = t.n < 2 ? NF_EVIDENCE_ASSUMED : nf_evidence_weakest(t.evidence, t.n);
    return take_measured(study, out);
}
