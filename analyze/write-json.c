/* provenance.json: where every number comes from, for programs. Unknown values are the string "unknown". */
#include <math.h>
#include <stdio.h>

#include "analyze/writer.h"
#include "core/base/buf.h"
#include "core/base/version.h"

/* Commas are put in front of every member but the first of its object or array. */
static void key(struct nf_buf *b, const char *name)
{
    char last = b->n ? b->data[b->n - 1] : '{';

    nf_buf_puts(b, last == '{' || last == '[' ? "\n" : ",\n");
    if (name) {
        nf_buf_json(b, name);
        nf_buf_puts(b, ": ");
    }
}

static void put_number(struct nf_buf *b, const char *name, double v)
{
    key(b, name);
    if (isfinite(v))
        nf_buf_printf(b, "%.17g", v);
    else
        nf_buf_puts(b, "\"unknown\"");
}

static void put_count(struct nf_buf *b, const char *name, int64_t v)
{
    key(b, name);
    nf_buf_printf(b, "%lld", (long long)v);
}

static void put_text(struct nf_buf *b, const char *name, const char *text)
{
    key(b, name);
    nf_buf_json(b, *text ? text : "unknown");
}

static void begin(struct nf_buf *b, const char *name, char bracket)
{
    key(b, name);
    nf_buf_add(b, &bracket, 1);
}

static void put_machines(struct nf_buf *b, const struct nf_dataset *d)
{
    begin(b, "machines", '[');
    for (size_t i = 0; i < d->machines.n; i++) {
        const struct nf_machine_row *m = &d->machines.v[i];

        begin(b, NULL, '{');
        put_count(b, "id", m->id);
        put_text(b, "host", m->host);
        put_text(b, "cpu", m->cpu);
        put_count(b, "cpus", m->cpus);
        put_count(b, "nodes", m->nodes);
        put_number(b, "memory_bytes", m->memory_bytes);
        put_number(b, "llc_reported_bytes", m->llc_reported_bytes);
        put_text(b, "kernel", m->kernel);
        put_text(b, "hypervisor", m->hypervisor);
        put_text(b, "facts", m->facts);
        nf_buf_puts(b, "}");
    }
    nf_buf_puts(b, "]");
    begin(b, "invocations", '[');
    for (size_t i = 0; i < d->invocations.n; i++) {
        const struct nf_invocation_row *v = &d->invocations.v[i];

        begin(b, NULL, '{');
        put_count(b, "id", v->id);
        put_count(b, "machine", v->machine_id);
        put_text(b, "for", v->purpose);
        put_text(b, "started_utc", v->started_utc);
        put_text(b, "nearfar_version", v->tool_version);
        put_text(b, "command", v->command);
        put_text(b, "status", v->status);
        key(b, "message");
        nf_buf_json(b, v->message);
        nf_buf_puts(b, "}");
    }
    nf_buf_puts(b, "]");
}

static void put_capture(struct nf_buf *b, const struct nf_report *r)
{
    const struct nf_dataset *d = &r->data;
    const struct nf_capture_row *c = &d->capture;
    char hash[20];

    begin(b, "capture", '{');
    put_count(b, "id", c->id);
    put_text(b, "job", c->job);
    put_count(b, "job_number", c->job_number);
    put_text(b, "framework", c->framework);
    put_text(b, "language", c->language);
    put_number(b, "threads", c->threads ? (double)c->threads : NAN);
    put_text(b, "status", c->status);
    key(b, "message");
    nf_buf_json(b, c->message);
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)c->class_hash);
    put_text(b, "step_class_hash", hash);
    put_count(b, "steps", c->class_steps);
    put_text(b, "lifetimes", c->lifetimes);
    put_text(b, "phases", c->phases);
    put_text(b, "durations", c->durations);
    put_number(b, "bare_step_ns", c->bare_step_ns);
    put_text(b, "accesses", r->answer.accesses);
    put_text(b, "profile", *r->usage_problem ? r->usage_problem : "known");
    begin(b, "passes", '[');
    for (size_t i = 0; i < d->passes.n; i++) {
        const struct nf_pass_row *p = &d->passes.v[i];

        begin(b, NULL, '{');
        put_text(b, "kind", nf_pass_kind_name(p->kind));
        put_text(b, "source", p->source);
        put_text(b, "accesses", nf_access_evidence_name(p->access_evidence));
        put_text(b, "status", p->status);
        put_number(b, "exit_status", p->exited ? (double)p->exit_status : NAN);
        put_number(b, "wall_ns", p->wall_ns);
        put_number(b, "cpu_ns", p->cpu_ns);
        put_number(b, "allocator_peak_bytes", p->allocator_peak_bytes);
        put_number(b, "tracked_peak_bytes", p->tracked_peak_bytes);
        put_number(b, "untracked_peak_bytes", p->untracked_peak_bytes);
        put_text(b, "parameter_sha256", p->parameter_sha256);
        put_count(b, "events", p->events);
        put_count(b, "lost_events", p->lost_events);
        put_count(b, "unattributed_visits", p->unattributed_visits);
        put_number(b, "unattributed_bytes", p->unattributed_bytes);
        put_count(b, "skipped_device_storages", p->skipped_device_storages);
        put_count(b, "other_processes", p->other_processes);
        put_count(b, "ops", p->ops);
        put_count(b, "steps", p->steps);
        put_count(b, "unmatched_steps", p->unmatched_steps);
        key(b, "notes");
        nf_buf_json(b, p->notes);
        nf_buf_puts(b, "}");
    }
    nf_buf_puts(b, "]}");
}

static void put_accesses(struct nf_buf *b, const struct nf_report *r)
{
    const struct nf_accesses *a = &r->accesses;

    begin(b, "observations", '[');
    for (size_t i = 0; i < r->data.sources.rows.n; i++) {
        const struct nf_source_row *s = &r->data.sources.rows.v[i];

        begin(b, NULL, '{');
        put_count(b, "id", s->id);
        put_text(b, "pass", nf_pass_kind_name(s->pass_kind));
        put_text(b, "source", s->source);
        key(b, "options");
        nf_buf_json(b, s->options);
        put_text(b, "evidence", nf_access_evidence_name(s->evidence));
        put_text(b, "validated", s->validated ? "yes" : "not validated on hardware");
        put_count(b, "resolution_bytes", s->resolution_bytes);
        put_count(b, "boundary_ops", s->boundary_ops);
        put_text(b, "rw", s->rw);
        put_count(b, "samples", s->samples);
        put_count(b, "attributed", s->attributed);
        put_count(b, "between_ops", s->between_ops);
        put_count(b, "unattributed", s->unattributed);
        put_count(b, "out_of_arena", s->out_of_arena);
        put_count(b, "other_process", s->other_process);
        put_count(b, "outside_steps", s->outside_steps);
        put_count(b, "lost", s->lost);
        put_count(b, "throttled", s->throttled);
        put_count(b, "undecoded", s->undecoded);
        put_count(b, "arena_bytes", s->arena_bytes);
        key(b, "events");
        nf_buf_json(b, s->events);
        key(b, "notes");
        nf_buf_json(b, s->notes);
        nf_buf_puts(b, "}");
    }
    nf_buf_puts(b, "]");
    begin(b, "audit", '{');
    put_text(b, "source", a->audited ? a->audit.source : "none");
    if (a->audited) {
        put_count(b, "observation", a->audit.observation.id);
        put_count(b, "declared_bytes", (int64_t)a->audit.declared);
        put_count(b, "seen_bytes", (int64_t)a->audit.seen);
        put_count(b, "agreed_bytes", (int64_t)a->audit.agreed);
        put_number(b, "agreement", nf_audit_view_agreement(&a->audit));
        put_count(b, "unwatched_bytes", (int64_t)a->audit.audit.unwatched_bytes);
        put_count(b, "steps", a->audit.steps);
        put_count(b, "equal_steps", a->audit.equal_steps);
    }
    nf_buf_puts(b, "}");
    begin(b, "reuse", '{');
    put_text(b, "problem", a->has_curves ? "none" : *a->curves_problem ? a->curves_problem : "the step cannot be read");
    if (a->has_curves) {
        put_count(b, "block_bytes", a->block_bytes);
        put_count(b, "block_accesses", (int64_t)a->block_accesses);
        put_text(b, "accesses", a->evidence);
    }
    nf_buf_puts(b, "}");
}

static void put_replay(struct nf_buf *b, const struct nf_dataset *d)
{
    const struct nf_replay_row *v = &d->replay;

    begin(b, "testbed", '{');
    put_count(b, "id", v->testbed_id);
    put_count(b, "machine", v->testbed_machine_id);
    put_number(b, "llc_effective_bytes", v->llc_effective_bytes);
    put_number(b, "page_bytes", v->page_bytes);
    put_text(b, "conditions", v->conditions);
    begin(b, "tiers", '[');
    for (size_t i = 0; i < d->tiers.n; i++) {
        const struct nf_tier_row *t = &d->tiers.v[i];

        begin(b, NULL, '{');
        put_count(b, "number", t->number);
        put_text(b, "name", t->name);
        put_text(b, "provider", t->provider);
        put_text(b, "spec", t->spec);
        put_number(b, "target_latency_ns", t->target_latency_ns);
        put_number(b, "target_read_bps", t->target_read_bps);
        put_number(b, "latency_ns", t->latency_ns);
        put_number(b, "read_bps", t->read_bps);
        put_number(b, "write_bps", t->write_bps);
        put_number(b, "stream_parallelism", t->stream_parallelism);
        put_number(b, "gather_parallelism", t->gather_parallelism);
        put_text(b, "evidence", nf_evidence_name(t->evidence));
        nf_buf_puts(b, "}");
    }
    nf_buf_puts(b, "]}");
    begin(b, "replay", '{');
    put_count(b, "id", v->id);
    put_count(b, "seed", v->seed);
    put_number(b, "scale", v->scale);
    put_number(b, "peak_live_bytes", v->peak_live_bytes);
    put_count(b, "planned_trials", v->planned_trials);
    put_count(b, "blocks", v->blocks);
    put_count(b, "threads", v->threads);
    put_number(b, "llc_filter_bytes", v->llc_filter_bytes);
    put_text(b, "status", v->status);
    key(b, "message");
    nf_buf_json(b, v->message);
    put_count(b, "trials", (int64_t)d->trials.n);
    begin(b, "left_out", '[');
    for (size_t i = 0; i < d->trials.n; i++) {
        if (!d->trials.v[i].left_out)
            continue;
        begin(b, NULL, '{');
        put_count(b, "trial", d->trials.v[i].id);
        put_text(b, "status", d->trials.v[i].status);
        put_text(b, "why", d->trials.v[i].left_out);
        nf_buf_puts(b, "}");
    }
    nf_buf_puts(b, "]}");
}

static int write_json(const struct nf_report *r, const char *directory)
{
    struct nf_buf b = {0};
    char reported_by[128];

    snprintf(reported_by, sizeof reported_by, "nearfar %s", nf_version());
    nf_buf_puts(&b, "{");
    put_text(&b, "study", r->data.study);
    put_text(&b, "reported_by", reported_by);
    put_text(&b, "evidence", r->answer.evidence);
    put_text(&b, "worth", *r->answer.worth ? r->answer.worth : "publishable number of blocks");
    put_capture(&b, r);
    put_accesses(&b, r);
    put_replay(&b, &r->data);
    put_machines(&b, &r->data);
    begin(&b, "figures", '[');
    for (size_t i = 0; i < r->n_figures; i++) {
        begin(&b, NULL, '{');
        put_text(&b, "name", r->figures[i].name);
        put_text(&b, "problem", *r->figures[i].problem ? r->figures[i].problem : "none");
        nf_buf_puts(&b, "}");
    }
    nf_buf_puts(&b, "]\n}\n");
    return nf_writer_file(directory, "provenance.json", &b);
}

const struct nf_writer_ops nf_writer_json = {
    .name = "json",
    .about = "provenance.json: commands, machines, tiers, passes, left-out trials",
    .files = (const char *const[]){"provenance.json", NULL},
    .write = write_json,
};
