#include "replay/residual.h"

#include <errno.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "core/model/stats.h"

enum { STEPS_LEAST = 5 /* below it one preempted step moves a median */ };

static uint64_t cycle_ops(const struct nf_engine_config *config)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < nf_engine_cycle_steps(config); i++)
        n += config->stream->classes[nf_engine_cycle_class(config, i)].n_ops;
    return n;
}

/* Sample `at` (0, 1, ...) of an op: its times lie step after step in op_ns. */
struct steps {
    const struct nf_engine_config *config;
    const double *op_ns;
    double *sample;   /* room for one per step */
    uint64_t *starts; /* of each measured step in op_ns */
    uint32_t n;
};

static double op_median(const struct steps *s, uint32_t class_index, uint32_t op)
{
    size_t n = 0;

    for (uint32_t i = 0; i < s->n; i++) {
        if (nf_engine_cycle_class(s->config, i % nf_engine_cycle_steps(s->config)) == class_index)
            s->sample[n++] = s->op_ns[s->starts[i] + op];
    }
    return n ? nf_quantile(s->sample, n, 0.5) : 0;
}

static void subtract(struct nf_residual *r, const struct steps *s)
{
    const struct nf_engine_config *config = s->config;
    double floored = 0;

    for (uint32_t i = 0; i < nf_engine_cycle_steps(config); i++) {
        uint32_t class_index = nf_engine_cycle_class(config, i);
        const struct nf_script *script = &config->scripts[class_index];

        for (uint32_t op = 0; op < script->of->n_ops; op++) {
            double captured = script->ops[op].captured_ns, asap = op_median(s, class_index, op);

            r->captured_ns += captured;
            r->asap_ns += asap;
            floored += captured < asap ? captured : 0;
            r->op_ns[class_index][op] = captured > asap ? captured - asap : 0;
        }
    }
    r->timed = r->captured_ns > 0;
    r->floored_share = r->timed ? floored / r->captured_ns : 0;
}

int nf_residual_zero(struct nf_residual *r, const struct nf_stream *stream)
{
    *r = (struct nf_residual){.n_classes = stream->n_classes};
    r->op_ns = calloc(r->n_classes + (size_t)1, sizeof *r->op_ns);
    for (uint32_t i = 0; r->op_ns && i < r->n_classes; i++) {
        r->op_ns[i] = calloc(stream->classes[i].n_ops + (size_t)1, sizeof **r->op_ns);
        if (!r->op_ns[i])
            return nf_fail(-ENOMEM, "out of memory for the times of %u ops", stream->classes[i].n_ops);
    }
    return r->op_ns ? 0 : nf_fail(-ENOMEM, "out of memory for %u classes", r->n_classes);
}

int nf_residual_init(struct nf_residual *r, const struct nf_engine_config *config)
{
    struct nf_engine_config asap = *config;
    uint32_t per_cycle = nf_engine_cycle_steps(config);
    struct steps steps = {.config = config};
    struct nf_trial trial = {0};
    double *op_ns = NULL;
    uint64_t at = 0;
    int rc = -ENOMEM;

    asap.overlap = NF_OVERLAP_ASAP;
    asap.cycles = per_cycle >= STEPS_LEAST ? 1 : STEPS_LEAST;
    asap.op_ns_room = cycle_ops(config) * asap.cycles;
    steps.n = per_cycle * asap.cycles;
    asap.op_ns = op_ns = calloc(asap.op_ns_room + 1, sizeof *op_ns);
    steps.op_ns = op_ns;
    steps.sample = calloc(steps.n + (size_t)1, sizeof *steps.sample);
    steps.starts = calloc(steps.n + (size_t)1, sizeof *steps.starts);
    if (nf_residual_zero(r, config->stream) || !op_ns || !steps.sample || !steps.starts)
        goto out;
    for (uint32_t i = 0; i < steps.n; i++) {
        steps.starts[i] = at;
        at += config->stream->classes[nf_engine_cycle_class(config, i % per_cycle)].n_ops;
    }
    rc = nf_trial_run(&asap, &trial);
    if (!rc && trial.status == NF_TRIAL_FAILED)
        rc = nf_fail(-EIO, "the all-near calibration failed: %s", trial.message);
    if (!rc)
        subtract(r, &steps);
out:
    if (rc == -ENOMEM)
        nf_fail(rc, "out of memory for the times of %llu ops", (unsigned long long)asap.op_ns_room);
    nf_trial_deinit(&trial);
    free(op_ns);
    free(steps.sample);
    free(steps.starts);
    return rc;
}

void nf_residual_deinit(struct nf_residual *r)
{
    for (uint32_t i = 0; r->op_ns && i < r->n_classes; i++)
        free(r->op_ns[i]);
    free(r->op_ns);
    *r = (struct nf_residual){0};
}
