#include "replay/testbed.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/prefetchers.h"
#include "core/base/units.h"
#include "core/model/stream.h"
#include "pool/node-order.h"
#include "pool/tier-binding.h"
#include "replay/environment.h"
#include "replay/kernel.h"
#include "replay/pin.h"
#include "replay/working-set.h"

static bool far_is_described(const struct nf_testbed_options *o)
{
    return o->far_latency_x > 0 || o->far_bandwidth_x > 0;
}

int nf_testbed_check(const struct nf_testbed_options *o)
{
    if (o->n_specs > NF_TIER_MAX)
        return nf_fail(-EINVAL, "%zu tiers are more than the %d there can be", o->n_specs, NF_TIER_MAX);
    if (o->n_specs && far_is_described(o))
        return nf_fail(-EINVAL, "--far-latency and --far-bandwidth set up the far tier that is there when no --tier is named: with --tier "
                       "say it in the tier, emulated:latency-x=3,bandwidth-x=0.5");
    return 0;
}

/* --- opening --- */

/* "name=provider:..." or "provider:..."; a '=' after the ':' belongs to an option. */
static int open_spec(struct nf_testbed *t, const char *spec, const char *otherwise, const struct nf_tier_local *local)
{
    struct nf_tier *tier = &t->tiers[t->n_tiers];
    char name[sizeof tier->name];
    size_t n = strcspn(spec, "=:");
    int rc;

    if (spec[n] == '=') {
        if (n >= sizeof name)
            return nf_fail(-EINVAL, "tier '%s': its name is too long", spec);
        memcpy(name, spec, n);
        name[n] = '\0';
        spec += n + 1;
    } else {
        snprintf(name, sizeof name, "%s", otherwise);
    }
    rc = nf_tier_open(name, spec, local, tier);
    if (!rc)
        t->n_tiers++;
    return rc;
}

/* The nodes of this machine, seen from this CPU, in tier order. 0 where they are not asked for, or there are not two to bind to. */
static int find_nodes(const struct nf_testbed_options *o, int *nodes)
{
    int local = nf_binding_local_node(), n = 0;
    char why[128];

    if (o->nodes && !o->n_specs && !far_is_described(o) && local >= 0 && !nf_binding_probe(why, sizeof why))
        n = nf_node_order("/sys", local, nodes, NF_TIER_MAX);
    nf_error_clear(); /* a machine that shows no nodes has one memory */
    return n < 2 ? 0 : n;
}

static int open_node(struct nf_testbed *t, int node, const char *name)
{
    char spec[32];

    snprintf(spec, sizeof spec, "numa:node=%d", node);
    return open_spec(t, spec, name, NULL);
}

static int open_near(struct nf_testbed *t, const struct nf_testbed_options *o, const int *nodes, int n_nodes)
{
    int rc;

    if (o->n_specs)
        return open_spec(t, o->specs[0], "near", NULL);
    if (n_nodes)
        return open_node(t, nodes[0], "near");
    rc = open_spec(t, "numa", "near", NULL);
    if (rc != -ENODEV)
        return rc;
    nf_info("near is anonymous memory, its placement unproved: %s", nf_error_text(rc));
    return open_spec(t, "null", "near", NULL);
}

static int open_far(struct nf_testbed *t, const struct nf_testbed_options *o, const int *nodes, int n_nodes,
                    const struct nf_tier_local *local)
{
    size_t n = o->n_specs ? o->n_specs : (size_t)n_nodes;
    char spec[160], name[NF_UNITS_TEXT];
    int rc = 0;

    for (size_t i = 1; i < n && !rc; i++) {
        if (i == 1)
            snprintf(name, sizeof name, "far");
        else
            snprintf(name, sizeof name, "far%zu", i);
        rc = o->n_specs ? open_spec(t, o->specs[i], name, local) : open_node(t, nodes[i], name);
    }
    if (rc || n)
        return rc;
    snprintf(spec, sizeof spec, "emulated");
    if (o->far_latency_x > 0 && o->far_bandwidth_x > 0)
        snprintf(spec, sizeof spec, "emulated:latency-x=%g,bandwidth-x=%g", o->far_latency_x, o->far_bandwidth_x);
    else if (o->far_latency_x > 0)
        snprintf(spec, sizeof spec, "emulated:latency-x=%g", o->far_latency_x);
    else if (o->far_bandwidth_x > 0)
        snprintf(spec, sizeof spec, "emulated:bandwidth-x=%g", o->far_bandwidth_x);
    return open_spec(t, spec, "far", local);
}

/* --- numbers from the study --- */

/* Loads the tiers of a testbed; the specs must be those of the tiers that are open (near) or will be (o). Returns 1
 * when they are, 0 when not, -errno (cause set). */
static int load_tiers(struct nf_testbed *t, struct nf_study *study, int64_t id, const struct nf_tier *open,
                      uint32_t n_open)
{
    struct nf_query *q;
    uint32_t n = 0;
    bool same = true;
    int rc = nf_study_query(study,
                            "SELECT spec, latency_ns, read_bps, write_bps, stream_parallelism, gather_parallelism, "
                            "node FROM tier WHERE testbed_id = ?1 ORDER BY number",
                            &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, id);
    while ((rc = nf_query_step(q)) == 1) {
        if (n < n_open) {
            int64_t node = nf_query_i64(q, 6);

            same = same && !strcmp(nf_query_text(q, 0), open[n].spec) && (node < 0 || node == open[n].facts.node);
            t->measured[n] = (struct nf_measured){
                .latency_ns = nf_query_f64(q, 1),
                .read_bps = nf_query_f64(q, 2),
                .write_bps = nf_query_f64(q, 3),
                .parallelism = {.stream = nf_query_f64(q, 4), .gather = nf_query_f64(q, 5)},
            };
        }
        n++;
    }
    nf_query_done(q);
    return rc < 0 ? rc : same && n >= n_open;
}

/* What was measured on one CPU counts there; one that is wanted by its number is not passed over for that. */
static int find_testbed(struct nf_study *study, int64_t machine, int cpu, int64_t wanted, int64_t *id, uint64_t *llc)
{
    struct nf_query *q;
    int rc = nf_study_query(study,
                            "SELECT id, llc_effective_bytes FROM testbed WHERE machine_id = ?1 AND (?2 = 0 OR id = ?2) AND "
                            "(?2 <> 0 OR ?3 < 0 OR cpu < 0 OR cpu = ?3) AND llc_effective_bytes > 0 ORDER BY id DESC LIMIT 1",
                            &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, machine);
    nf_query_bind_i64(q, 2, wanted);
    nf_query_bind_i64(q, 3, cpu);
    rc = nf_query_step(q);
    *id = rc == 1 ? nf_query_i64(q, 0) : 0;
    *llc = rc == 1 ? (uint64_t)nf_query_i64(q, 1) : 0;
    nf_query_done(q);
    return rc < 0 ? rc : 0;
}

/* The latest testbed of this CPU, or the one wanted, that has a k of every class of access on such a near. *id 0: none. */
static int find_k(struct nf_study *study, const struct nf_testbed_options *o, const char *near_spec, int64_t *id)
{
    struct nf_query *q;
    int rc = nf_study_query(study,
                            "SELECT b.id FROM testbed b JOIN tier n ON n.testbed_id = b.id AND n.number = 0 WHERE b.machine_id = ?1 AND "
                            "n.spec = ?2 AND (?3 = 0 OR b.id = ?3) AND (?3 <> 0 OR ?5 < 0 OR b.cpu < 0 OR b.cpu = ?5) AND "
                            "(SELECT count(DISTINCT f.traffic) FROM tier_figure f WHERE f.testbed_id = b.id AND f.tier_number = 0 AND f.what = 'k' AND f.value > 0) = ?4 ORDER BY b.id DESC LIMIT 1",
                            &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, o->machine);
    nf_query_bind_text(q, 2, near_spec);
    nf_query_bind_i64(q, 3, o->k_id);
    nf_query_bind_i64(q, 4, NF_ACCESS_CLASSES);
    nf_query_bind_i64(q, 5, o->cpu);
    rc = nf_query_step(q);
    *id = rc == 1 ? nf_query_i64(q, 0) : 0;
    nf_query_done(q);
    return rc < 0 ? rc : 0;
}

/* k by class of access, where somebody measured it here. 0 or -errno (cause set). */
static int load_k(struct nf_testbed *t, const struct nf_testbed_options *o)
{
    double *k = t->measured[0].parallelism.of_class;
    struct nf_query *q;
    int rc = o->k_from ? find_k(o->k_from, o, t->tiers[0].spec, &t->k_id) : 0;

    if (rc || !t->k_id)
        return rc;
    rc = nf_study_query(o->k_from, "SELECT traffic, value FROM tier_figure WHERE testbed_id = ?1 AND tier_number = 0 AND what = 'k'", &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, t->k_id);
    while ((rc = nf_query_step(q)) == 1) {
        unsigned class = nf_access_class_named(nf_query_text(q, 0));

        if (class < NF_ACCESS_CLASSES)
            k[class] = nf_query_f64(q, 1);
    }
    nf_query_done(q);
    return rc;
}

/* --- measuring --- */

static int measure_tier(struct nf_testbed *t, uint32_t number, struct nf_measure_options *m)
{
    struct nf_working_set set = nf_working_set_of(&t->tiers[number], t->cpu);
    char have[NF_UNITS_TEXT], cache[NF_UNITS_TEXT];

    m->working_set_bytes = 4 * t->llc_bytes > set.bytes ? 4 * t->llc_bytes : set.bytes;
    if (set.cached)
        nf_warn("tier '%s': there is memory for a working set of %s only, and the last-level cache is said to hold %s: what is measured "
                "may be the cache", t->tiers[number].name, nf_format_bytes(have, (double)m->working_set_bytes),
                nf_format_bytes(cache, (double)set.reported_bytes));
    return nf_measure_tier(&t->tiers[number], number, m, &t->measured[number], &t->samples);
}

static int measure_near(struct nf_testbed *t, const struct nf_testbed_options *o, struct nf_measure_options *m)
{
    int rc = 0;

    t->llc_bytes = o->llc_bytes;
    if (!t->llc_bytes)
        rc = nf_measure_llc(&t->tiers[0], m, &t->llc_bytes, &t->samples);
    return rc ? rc : measure_tier(t, 0, m);
}

static struct nf_tier_local local_of(const struct nf_testbed *t)
{
    return (struct nf_tier_local){t->measured[0].latency_ns, t->measured[0].read_bps, t->measured[0].write_bps};
}

static int other_tiers(int64_t id)
{
    return nf_fail(-EINVAL, "testbed %lld has other tiers than these, or on other nodes", (long long)id);
}

static int open_and_measure(struct nf_testbed *t, const struct nf_testbed_options *o)
{
    struct nf_measure_options m = {.cpu = t->cpu, .quiet = o->quiet};
    struct nf_tier_local local;
    int64_t known = 0;
    uint64_t known_llc = 0;
    int nodes[NF_TIER_MAX], n_nodes = find_nodes(o, nodes), rc;

    rc = open_near(t, o, nodes, n_nodes);
    if (!rc && o->reuse)
        rc = find_testbed(o->reuse, o->machine, o->cpu, o->reuse_id, &known, &known_llc);
    if (!rc && o->reuse_id && !known)
        rc = nf_fail(-EINVAL, "testbed %lld is of another machine, or of this one set up otherwise: what was measured there counts there", (long long)o->reuse_id);
    if (rc)
        return rc;
    if (known) {
        rc = load_tiers(t, o->reuse, known, t->tiers, 1);
        known = rc == 1 ? known : 0;
        if (!rc && o->reuse_id)
            rc = other_tiers(o->reuse_id);
    }
    if (known)
        t->llc_bytes = o->llc_bytes ? o->llc_bytes : known_llc;
    else if (rc >= 0)
        rc = measure_near(t, o, &m);
    local = local_of(t);
    if (rc >= 0)
        rc = open_far(t, o, nodes, n_nodes, &local);
    if (!rc && known) {
        rc = load_tiers(t, o->reuse, known, t->tiers, t->n_tiers);
        if (rc == 1)
            t->id = known_llc == t->llc_bytes ? known : 0;
        else if (!rc)
            nf_info("the known testbed has other tiers: measuring them");
        known = rc == 1 ? known : 0;
    }
    if (rc >= 0 && o->reuse_id && t->id != o->reuse_id)
        rc = other_tiers(o->reuse_id);
    if (rc >= 0)
        rc = load_k(t, o);
    m.assumed = t->measured[0].parallelism;
    for (uint32_t i = 1; i < t->n_tiers && rc >= 0 && !known; i++)
        rc = measure_tier(t, i, &m);
    return rc < 0 ? rc : 0;
}

int nf_testbed_init(struct nf_testbed *t, const struct nf_testbed_options *o)
{
    struct nf_pin pin;
    int rc;

    *t = (struct nf_testbed){.cpu = -1};
    rc = nf_testbed_check(o);
    if (rc)
        return rc;
    /* Before anything is opened: which node is near, and which is another socket's, is that CPU's matter. */
    rc = nf_pin_init(&pin, o->cpu);
    if (rc)
        return rc;
    t->cpu = pin.cpu;
    nf_environment_governor("", t->cpu, t->governor, sizeof t->governor);
    rc = open_and_measure(t, o);
    nf_pin_deinit(&pin);
    return rc;
}

int nf_testbed_measure_figures(struct nf_testbed *t, bool quiet)
{
    double read_bps[NF_TIER_MAX] = {0};
    struct nf_tier_figures_options o = {.tiers = t->tiers, .read_bps = read_bps, .n_tiers = t->n_tiers, .local = local_of(t),
                                   .llc_bytes = t->llc_bytes, .cpu = t->cpu, .quiet = quiet};

    for (uint32_t i = 0; i < t->n_tiers; i++)
        read_bps[i] = t->measured[i].read_bps;
    return nf_tier_figures_measure(&o, &t->figures);
}

enum nf_evidence nf_testbed_evidence(const struct nf_testbed *t)
{
    enum nf_evidence all[NF_TIER_MAX];

    for (uint32_t i = 0; i < t->n_tiers; i++)
        all[i] = t->tiers[i].facts.evidence;
    return nf_evidence_weakest(all, t->n_tiers);
}

void nf_testbed_deinit(struct nf_testbed *t)
{
    for (uint32_t i = 0; i < t->n_tiers; i++)
        nf_tier_close(&t->tiers[i]);
    nf_array_free(&t->samples.list);
    nf_array_free(&t->figures.list);
    t->n_tiers = 0;
}

/* --- rows --- */

static int record_tier(const struct nf_testbed *t, struct nf_study *study, uint32_t i)
{
    const struct nf_tier *tier = &t->tiers[i];
    const struct nf_measured *m = &t->measured[i];
    struct nf_query *q;
    int rc = nf_study_query(study,
                            "INSERT INTO tier(testbed_id, number, name, provider, spec, target_latency_ns, "
                            "target_read_bps, latency_ns, read_bps, write_bps, stream_parallelism, "
                            "gather_parallelism, evidence, node, proved) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, "
                            "?12, ?13, ?14, ?15)",
                            &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, t->id);
    nf_query_bind_i64(q, 2, i);
    nf_query_bind_text(q, 3, tier->name);
    nf_query_bind_text(q, 4, tier->ops->name);
    nf_query_bind_text(q, 5, tier->spec);
    nf_query_bind_f64(q, 6, tier->facts.target_latency_ns);
    nf_query_bind_f64(q, 7, tier->facts.target_bps);
    nf_query_bind_f64(q, 8, m->latency_ns);
    nf_query_bind_f64(q, 9, m->read_bps);
    nf_query_bind_f64(q, 10, m->write_bps);
    nf_query_bind_f64(q, 11, m->parallelism.stream);
    nf_query_bind_f64(q, 12, m->parallelism.gather);
    nf_query_bind_i64(q, 13, tier->facts.evidence);
    nf_query_bind_i64(q, 14, tier->facts.node);
    nf_query_bind_i64(q, 15, !tier->facts.unproved);
    return nf_query_run(q);
}

static int record_sample(const struct nf_testbed *t, struct nf_study *study, const struct nf_tier_sample *s)
{
    struct nf_query *q;
    int rc = nf_study_query(study,
                            "INSERT INTO tier_sample(testbed_id, tier_number, what, working_set_bytes, parallelism, "
                            "run, value, unit) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                            &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, t->id);
    nf_query_bind_i64(q, 2, s->tier);
    nf_query_bind_text(q, 3, s->what);
    nf_query_bind_i64(q, 4, (int64_t)s->working_set_bytes);
    nf_query_bind_i64(q, 5, s->parallelism);
    nf_query_bind_i64(q, 6, s->run);
    nf_query_bind_f64(q, 7, s->value);
    nf_query_bind_text(q, 8, s->unit);
    return nf_query_run(q);
}

static int record_figure(const struct nf_testbed *t, struct nf_study *study, const struct nf_tier_figure *f)
{
    struct nf_buf samples = {0};
    struct nf_query *q;
    int rc;

    for (unsigned i = 0; i < f->n; i++)
        nf_buf_printf(&samples, "%s%.6g", i ? "," : "[", f->samples[i]);
    nf_buf_puts(&samples, "]");
    if (samples.failed)
        return nf_fail(-ENOMEM, "out of memory");
    rc = nf_study_query(study,
                        "INSERT INTO tier_figure(testbed_id, tier_number, to_tier, what, value, unit, stable, traffic, threads, "
                        "offered, traffic_bps, page, locality, working_set_bytes, llc_bytes, parallelism, cpu, governor, samples, "
                        "traffic_cpus) "
                        "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
                        &q);
    if (!rc) {
        nf_query_bind_i64(q, 1, t->id);
        nf_query_bind_i64(q, 2, f->tier);
        nf_query_bind_i64(q, 3, f->to_tier);
        nf_query_bind_text(q, 4, f->what);
        nf_query_bind_f64(q, 5, f->value);
        nf_query_bind_text(q, 6, f->unit);
        nf_query_bind_i64(q, 7, f->stable);
        nf_query_bind_text(q, 8, f->traffic);
        nf_query_bind_i64(q, 9, f->threads);
        nf_query_bind_f64(q, 10, f->offered);
        nf_query_bind_f64(q, 11, f->traffic_bps);
        nf_query_bind_text(q, 12, f->page);
        nf_query_bind_text(q, 13, f->locality);
        nf_query_bind_i64(q, 14, (int64_t)f->working_set_bytes);
        nf_query_bind_i64(q, 15, (int64_t)f->llc_bytes);
        nf_query_bind_i64(q, 16, f->parallelism);
        nf_query_bind_i64(q, 17, t->cpu);
        nf_query_bind_text(q, 18, t->governor);
        nf_query_bind_text(q, 19, samples.data);
        nf_query_bind_text(q, 20, f->traffic_cpus);
        rc = nf_query_run(q);
    }
    nf_buf_deinit(&samples);
    return rc;
}

static int record_testbed(struct nf_testbed *t, struct nf_study *study, int64_t invocation, int64_t machine)
{
    bool huge = t->tiers[0].facts.huge;
    struct nf_buf json = {0};
    char prefetchers[64], why[128];
    struct nf_query *q;
    int rc;

    nf_prefetchers_read("", t->cpu, prefetchers, sizeof prefetchers, why, sizeof why);
    nf_buf_printf(&json, "{\"cpu\":%d,\"kernels\":\"%s\",\"page\":\"%s\",\"prefetchers\":", t->cpu, nf_kernels_best()->name,
                  huge ? "thp" : "4k");
    nf_buf_json(&json, prefetchers);
    if (*why) {
        nf_buf_puts(&json, ",\"prefetchers_why\":");
        nf_buf_json(&json, why);
    }
    nf_buf_printf(&json, ",\"runs\":%d,\"working_set_bytes\":%llu,\"latency\":\"one dependent chain, TLB-local\"}", NF_MEASURE_RUNS,
                  (unsigned long long)t->measured[0].working_set_bytes);
    if (json.failed)
        return nf_fail(-ENOMEM, "out of memory");
    rc = nf_study_query(study,
                        "INSERT INTO testbed(invocation_id, machine_id, llc_effective_bytes, page_bytes, conditions, cpu) "
                        "VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
                        &q);
    if (!rc) {
        nf_query_bind_i64(q, 1, invocation);
        nf_query_bind_i64(q, 2, machine);
        nf_query_bind_i64(q, 3, (int64_t)t->llc_bytes);
        nf_query_bind_i64(q, 4, huge ? 2 << 20 : NF_PAGE_BYTES);
        nf_query_bind_text(q, 5, json.data);
        nf_query_bind_i64(q, 6, t->cpu);
        rc = nf_query_run(q);
    }
    nf_buf_deinit(&json);
    if (!rc)
        t->id = nf_study_last_id(study);
    return rc;
}

int nf_testbed_record(struct nf_testbed *t, struct nf_study *study, int64_t invocation, int64_t machine)
{
    int rc;

    if (t->id)
        return 0;
    rc = nf_study_begin(study);
    if (rc)
        return rc;
    rc = record_testbed(t, study, invocation, machine);
    for (uint32_t i = 0; i < t->n_tiers && !rc; i++)
        rc = record_tier(t, study, i);
    for (size_t i = 0; i < t->samples.list.n && !rc; i++)
        rc = record_sample(t, study, &t->samples.list.v[i]);
    for (size_t i = 0; i < t->figures.list.n && !rc; i++)
        rc = record_figure(t, study, &t->figures.list.v[i]);
    if (rc)
        nf_study_rollback(study);
    else
        rc = nf_study_commit(study);
    if (rc)
        t->id = 0;
    return rc;
}
