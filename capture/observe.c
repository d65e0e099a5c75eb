#include "capture/observe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture/merge.h"
#include "capture/sighting-rows.h"
#include "capture/watches.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/store/samples.h"

enum { BATCH = 4096, ENVIRONMENT_MAX = 16 };
/* How often sources hear which storages live. */
#define TICK_NS 10000000ull

struct taking_part {
    const struct nf_source_ops *ops;
    void *options;
    const char *spec; /* borrowed */
    struct nf_source *source; /* NULL: not in this pass, or one that only writes into the ring */
    struct nf_source_facts facts;
    struct nf_observation row;        /* id 0: none (the framework, or another pass) */
    struct nf_sample_writer *writer;  /* of a source that does not see all */
    unsigned number;                  /* at the reducer */
};

struct nf_observe {
    struct taking_part *sources;
    size_t n;
    struct nf_study *study;
    struct nf_sighting_rows *rows;
    struct nf_watches *watches;  /* of the source that says what it watches; NULL: none does */
    uint64_t event_ns;           /* when what is being reduced happened */
    bool merging; /* some source delivers samples in this pass */
    struct nf_merge *merge;
    struct nf_merge_listener listener; /* for the watches */
    const struct nf_storage_map *live;
    uint64_t ticked_ns;
    /* While draining. */
    size_t draining;
    const struct nf_ring_header *header;
};

static int add_source(struct nf_observe *o, const char *spec)
{
    struct taking_part *t = &o->sources[o->n];
    char why[256] = "";
    int rc = nf_source_parse(spec, &t->ops, &t->options);

    if (rc)
        return rc;
    for (size_t i = 0; i < o->n; i++) {
        if (o->sources[i].ops == t->ops) {
            free(t->options);
            t->options = NULL;
            return i ? nf_fail(-EINVAL, "source %s is named twice", t->ops->name) : 0; /* the framework may be named */
        }
    }
    o->n++;
    t->spec = spec;
    if (t->ops->probe(why, sizeof why))
        return nf_fail(NF_OBSERVE_E_UNAVAILABLE, "source %s: %s", t->ops->name, why);
    if (!t->ops->open)
        return 0;
    /* Bad options are found before the job runs for the first time. */
    rc = t->ops->open(t->options, &t->source, &t->facts);
    if (!rc)
        t->source = t->ops->close(t->source);
    return rc == -EINVAL || rc == -ENOMEM || !rc ? rc : NF_OBSERVE_E_UNAVAILABLE;
}

/* Two sources that both want to place the tensors cannot take part in one capture. */
static int check_environment(const struct nf_observe *o)
{
    const char *changes[ENVIRONMENT_MAX];
    size_t n = nf_observe_environment(o, NF_PASS_ACCESS, "", changes, ENVIRONMENT_MAX);

    for (size_t i = 0; i < n; i++) {
        size_t name = (size_t)(strchr(changes[i], '=') - changes[i]) + 1;

        for (size_t k = 0; k < i; k++)
            if (changes[i][name - 2] != '+' && !strncmp(changes[i], changes[k], name) && strcmp(changes[i], changes[k]))
                return nf_fail(-EINVAL, "these sources cannot take part in one capture (both set %.*s for the job); capture "
                               "once with each", (int)name - 1, changes[i]);
    }
    return 0;
}

int nf_observe_new(const char *const *specs, size_t n, struct nf_observe **out)
{
    struct nf_observe *o = calloc(1, sizeof *o);
    int rc;

    *out = NULL;
    if (o)
        o->sources = calloc(n + 1, sizeof *o->sources);
    if (!o || !o->sources) {
        free(o);
        return -ENOMEM;
    }
    rc = add_source(o, "framework");
    for (size_t i = 0; i < n && !rc; i++)
        rc = add_source(o, specs[i]);
    if (!rc && o->n > NF_SIGHTING_SOURCES_MAX)
        rc = nf_fail(-EINVAL, "at most %d sources take part in a capture", NF_SIGHTING_SOURCES_MAX);
    if (!rc)
        rc = check_environment(o);
    if (rc)
        nf_observe_free(o);
    else
        *out = o;
    return rc;
}

static void close_sources(struct nf_observe *o)
{
    for (size_t i = 0; i < o->n; i++) {
        o->sources[i].writer = nf_sample_writer_free(o->sources[i].writer);
        if (o->sources[i].ops->close)
            o->sources[i].source = o->sources[i].ops->close(o->sources[i].source);
    }
    o->watches = nf_watches_free(o->watches);
}

struct nf_observe *nf_observe_free(struct nf_observe *o)
{
    if (!o)
        return NULL;
    close_sources(o);
    for (size_t i = 0; i < o->n; i++)
        free(o->sources[i].options);
    nf_sighting_rows_free(o->rows);
    nf_watches_free(o->watches);
    nf_merge_free(o->merge);
    free(o->sources);
    free(o);
    return NULL;
}

size_t nf_observe_environment(const struct nf_observe *o, enum nf_pass_kind kind, const char *ring_path, const char **out,
                              size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < o->n; i++)
        n += o->sources[i].ops->environment(o->sources[i].options, kind, ring_path, out + n, max - n);
    return n;
}

int nf_observe_command(const struct nf_observe *o, enum nf_pass_kind kind, char *const *argv, char ***out)
{
    *out = NULL;
    for (size_t i = 0; i < o->n; i++)
        if (o->sources[i].ops->command)
            return o->sources[i].ops->command(o->sources[i].options, kind, argv, out);
    return 0;
}

bool nf_observe_wants_engine(const struct nf_observe *o)
{
    for (size_t i = 0; i < o->n; i++)
        if (o->sources[i].ops->open && !o->sources[i].ops->drain)
            return true;
    return false;
}

static int insert_observation(struct nf_observe *o, struct taking_part *t, int64_t pass_id)
{
    const char *colon = strchr(t->spec, ':');
    int rc;

    t->row = (struct nf_observation){
        .pass_id = pass_id,
        .source = t->ops->name,
        .options = colon ? colon + 1 : "",
        .rw = t->facts.rw,
        .notes = t->facts.notes,
        .evidence = (uint8_t)t->ops->evidence,
        .validated = t->facts.validated,
        .resolution_bytes = t->facts.resolution_bytes,
        .boundary_ops = t->facts.boundary_ops,
    };
    rc = nf_observation_insert(o->study, &t->row);
    for (unsigned i = 0; i < t->facts.n_events && !rc; i++) {
        const struct nf_source_event *e = &t->facts.events[i];
        const struct nf_sample_event event = {e->name, e->meaning, e->type, e->config, e->config1, e->config2, e->period,
                                              e->precise, e->rw};

        rc = nf_observation_event(o->study, t->row.id, (uint16_t)i, &event);
    }
    if (!rc && !t->facts.sees_all) {
        t->writer = nf_sample_writer_new(o->study, t->row.id);
        rc = t->writer ? 0 : nf_fail(-ENOMEM, "out of memory");
    }
    return rc;
}

/* What the watchpoint source says of its watches goes to them; only its hits are samples. */
static int hear_sample(void *context, unsigned source, const struct nf_sample *s, bool *keep)
{
    struct nf_observe *o = context;

    for (size_t i = 0; i < o->n; i++)
        if (o->sources[i].row.id && o->sources[i].number == source && o->sources[i].facts.hit_ns) {
            *keep = !nf_watches_is_marker(s);
            return nf_watches_sample(o->watches, s, o->live);
        }
    return 0;
}

static int before_event(void *context, const struct nf_event *e)
{
    struct nf_observe *o = context;

    o->event_ns = e->kind == NF_EVENT_STEP && e->c ? e->c : e->time_ns;
    return 0;
}

static int after_event(void *context, const struct nf_event *e)
{
    struct nf_observe *o = context;

    return nf_watches_event(o->watches, e, o->live);
}

static int begin_source(struct nf_observe *o, struct taking_part *t, int64_t pass_id, struct nf_reduce *reduce)
{
    struct nf_sighting_source is;
    int rc = t->ops->open(t->options, &t->source, &t->facts);

    if (rc)
        return rc;
    is = (struct nf_sighting_source){
        .sees_all = t->facts.sees_all,
        .rw_observed = !strcmp(t->facts.rw, "observed"),
        .in_ring = !t->ops->drain,
        .resolution_bytes = t->facts.resolution_bytes,
        .evidence = (uint8_t)t->ops->evidence,
    };
    rc = nf_reduce_add_source(reduce, &is);
    if (rc < 0)
        return rc;
    t->number = (unsigned)rc;
    o->merging |= t->ops->drain != NULL;
    rc = insert_observation(o, t, pass_id);
    if (rc || !t->facts.hit_ns)
        return rc;
    o->watches = nf_watches_new(o->study, t->row.id, t->facts.hit_ns);
    nf_merge_listen(o->merge, &o->listener);
    return o->watches ? 0 : nf_fail(-ENOMEM, "out of memory");
}

int nf_observe_begin(struct nf_observe *o, struct nf_study *study, int64_t pass_id, struct nf_reduce *reduce)
{
    int rc = 0;

    o->study = study;
    o->merging = false;
    nf_merge_free(o->merge);
    o->merge = nf_merge_new();
    o->listener = (struct nf_merge_listener){hear_sample, before_event, after_event, o};
    nf_sighting_rows_free(o->rows);
    o->rows = nf_sighting_rows_new(study);
    if (!o->rows || !o->merge)
        return nf_fail(-ENOMEM, "out of memory");
    for (size_t i = 0; i < o->n && !rc; i++)
        if (o->sources[i].ops->open)
            rc = begin_source(o, &o->sources[i], pass_id, reduce);
    return rc;
}

int nf_observe_attach(void *context, pid_t pid)
{
    struct nf_observe *o = context;
    int rc = 0;

    for (size_t i = 0; i < o->n && !rc; i++)
        if (o->sources[i].source && o->sources[i].ops->attach)
            rc = o->sources[i].ops->attach(o->sources[i].source, pid);
    return rc;
}

/* --- one order of time --- */

static int on_samples(void *context, const struct nf_sample *samples, size_t n)
{
    struct nf_observe *o = context;
    struct taking_part *t = &o->sources[o->draining];
    uint32_t owner = atomic_load(&o->header->owner);
    uint64_t base = atomic_load(&o->header->arena_base), bytes = atomic_load(&o->header->arena_bytes);

    for (size_t i = 0; i < n; i++) {
        const struct nf_sample *s = &samples[i];

        t->row.samples += !nf_watches_is_marker(s);
        if (!owner)
            t->row.outside_steps++;
        else if (s->pid != owner)
            t->row.other_process++;
        else if (t->facts.boundary_ops && s->address - base >= bytes)
            t->row.out_of_arena++;
        else if (nf_merge_sample(o->merge, t->number, t->facts.sees_all, s))
            return nf_fail(-ENOMEM, "out of memory for samples");
    }
    return 0;
}

static int drain_sources(struct nf_observe *o, struct nf_reduce *reduce, uint64_t *complete_ns)
{
    uint64_t now_ns = nf_now_ns();
    bool tick = now_ns - o->ticked_ns >= TICK_NS;
    int rc = 0;

    *complete_ns = UINT64_MAX;
    for (size_t i = 0; i < o->n && !rc; i++) {
        struct taking_part *t = &o->sources[i];
        uint64_t until_ns = UINT64_MAX;

        if (!t->source || !t->ops->drain)
            continue;
        o->draining = i;
        if (tick && t->ops->tick)
            rc = t->ops->tick(t->source, (pid_t)atomic_load(&o->header->owner), nf_reduce_live(reduce));
        if (!rc)
            rc = t->ops->drain(t->source, on_samples, o, &until_ns);
        if (until_ns < *complete_ns)
            *complete_ns = until_ns;
    }
    if (tick)
        o->ticked_ns = now_ns;
    return rc;
}

int nf_observe_drain(struct nf_observe *o, struct nf_ring *ring, struct nf_reduce *reduce, bool ended)
{
    static struct nf_event batch[BATCH];
    uint32_t n = nf_ring_read(ring, batch, BATCH);
    uint64_t complete_ns;
    int rc = 0;

    if (!o->merging) {
        for (uint32_t i = 0; i < n && !rc; i++)
            rc = nf_reduce_event(reduce, &batch[i]);
        return rc == -ENOMEM ? nf_fail(rc, "out of memory") : rc ? rc : n > 0;
    }
    o->header = ring->header;
    if (nf_merge_events(o->merge, batch, n))
        return nf_fail(-ENOMEM, "out of memory for events");
    /* After the ring was read: what the job said by then, its faults are there. */
    rc = drain_sources(o, reduce, &complete_ns);
    if (rc)
        return rc;
    o->live = nf_reduce_live(reduce);
    rc = nf_merge_run(o->merge, reduce, ended && !n ? UINT64_MAX : complete_ns);
    return rc == -ENOMEM ? nf_fail(rc, "out of memory") : rc ? rc : n > 0;
}

int nf_observe_step(struct nf_observe *o, const struct nf_step *step, int64_t class_id)
{
    int rc = 0;

    for (size_t i = 0; i < o->n && !rc; i++) {
        const struct taking_part *t = &o->sources[i];
        const struct nf_seen *seen = &step->seen[t->number];

        if (!t->row.id || t->number >= step->n_seen || class_id <= 0)
            continue;
        if (t->facts.sees_all)
            rc = nf_sighting_rows_put(o->rows, t->row.id, class_id, step, seen);
        else
            rc = nf_sample_writer_add(t->writer, seen->samples, seen->n_samples);
    }
    if (!rc && o->watches)
        rc = nf_watches_step(o->watches, step, class_id > 0 ? class_id : 0, o->event_ns);
    return rc;
}

static int flush_samples(struct nf_observe *o)
{
    int rc = 0;

    for (size_t i = 0; i < o->n && !rc; i++)
        if (o->sources[i].writer)
            rc = nf_sample_writer_flush(o->sources[i].writer);
    return rc;
}

/* Before the source's end its losses are not asked for: that takes what its rings still hold. */
/* The job could not have its reads seen page by page: that belongs to what the study says of them. */
static void add_coarse_reads(struct taking_part *t, uint32_t reads_bytes)
{
    size_t n = strlen(t->facts.notes);

    if (reads_bytes > t->facts.resolution_bytes && !strstr(t->facts.notes, "reads are seen"))
        snprintf(t->facts.notes + n, sizeof t->facts.notes - n, "%sreads are seen at %u KiB: the kernel refused userfaultfd",
                 n ? "; " : "", reads_bytes >> 10);
}

static int update_observation(struct nf_observe *o, struct taking_part *t, const struct nf_reduce *reduce, bool ended)
{
    const struct nf_sighting_totals *seen = nf_reduce_sighted(reduce, t->number);
    struct nf_source_totals totals = {0};
    struct nf_observation *row = &t->row;

    if (ended && t->source && t->ops->totals)
        t->ops->totals(t->source, &totals);
    if (!t->ops->drain)
        row->samples = seen->samples;
    row->attributed = seen->attributed;
    row->between_ops = seen->between_ops;
    row->unattributed = seen->unattributed;
    row->outside_steps = row->samples - row->attributed - row->unattributed - row->out_of_arena - row->other_process;
    row->lost = totals.lost;
    row->throttled = totals.throttled;
    row->undecoded = totals.undecoded;
    if (t->facts.boundary_ops && o->header) {
        row->arena_base = atomic_load(&o->header->arena_base);
        row->arena_bytes = atomic_load(&o->header->arena_bytes);
        add_coarse_reads(t, atomic_load(&o->header->arena_reads_bytes));
    }
    return nf_observation_update(o->study, row);
}

int nf_observe_commit(struct nf_observe *o, const struct nf_reduce *reduce)
{
    int rc = flush_samples(o);

    for (size_t i = 0; i < o->n && !rc; i++)
        if (o->sources[i].row.id)
            rc = update_observation(o, &o->sources[i], reduce, false);
    return rc;
}

int nf_observe_end(struct nf_observe *o, const struct nf_reduce *reduce)
{
    int rc = flush_samples(o);

    for (size_t i = 0; i < o->n && !rc; i++) {
        if (o->sources[i].row.id)
            rc = update_observation(o, &o->sources[i], reduce, true);
        o->sources[i].row.id = 0;
    }
    if (!rc && o->watches)
        rc = nf_watches_end(o->watches);
    close_sources(o);
    return rc;
}
