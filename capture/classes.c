#include "capture/classes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/rng.h"
#include "core/model/regime.h"
#include "core/model/stats.h"
#include "core/store/visit-rows.h"

/* Durations kept per op and class: enough for p90, bounded for endless jobs. Later ones replace earlier ones at
 * random (reservoir sampling, Vitter 1985). */
enum { SAMPLES_MAX = 256 };

struct step_class {
    int64_t id;
    uint64_t hash, op_hash, allocation_hash;
    uint32_t n_ops;
    uint32_t timed;       /* steps seen by the timing pass */
    float *samples;       /* SAMPLES_MAX × n_ops, microsecond resolution would do: ns in a float */
    double *sum_ns;       /* per op, over all timed steps */
    float *max_ns;
    NF_ARRAY(double) timing_step_ns;
};

struct bare_step {
    uint32_t number;
    uint64_t allocation_hash;
    double dur_ns;
};

struct nf_classes {
    struct nf_study *study;
    int64_t capture_id;
    uint16_t job_number;
    NF_ARRAY(struct step_class) classes;
    NF_ARRAY(struct bare_step) bare;
    NF_ARRAY(int64_t) order; /* class of each step of the access pass */
    NF_ARRAY(char *) groups; /* layer group number - 1 -> its module path */
    NF_ARRAY(int64_t) carried; /* carry slot -> tensor row, 0 unknown */
    NF_ARRAY(int64_t) names;   /* job's text number -> name row, 0 unknown */
    NF_ARRAY(nf_regime) regimes; /* already named in the study */
    struct nf_visit_codec *codec;
    struct nf_rng rng;
};

struct nf_classes *nf_classes_new(struct nf_study *study, int64_t capture_id, uint16_t job_number)
{
    struct nf_classes *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->study = study;
    c->capture_id = capture_id;
    c->job_number = job_number;
    c->rng.state = (uint64_t)capture_id;
    c->codec = nf_visit_codec_new();
    return c->codec ? c : nf_classes_free(c);
}

struct nf_classes *nf_classes_free(struct nf_classes *c)
{
    if (!c)
        return NULL;
    for (size_t i = 0; i < c->classes.n; i++) {
        free(c->classes.v[i].samples);
        free(c->classes.v[i].sum_ns);
        free(c->classes.v[i].max_ns);
        nf_array_free(&c->classes.v[i].timing_step_ns);
    }
    for (size_t i = 0; i < c->groups.n; i++)
        free(c->groups.v[i]);
    nf_array_free(&c->classes);
    nf_array_free(&c->bare);
    nf_array_free(&c->order);
    nf_array_free(&c->groups);
    nf_array_free(&c->carried);
    nf_array_free(&c->names);
    nf_array_free(&c->regimes);
    nf_visit_codec_free(c->codec);
    free(c);
    return NULL;
}

uint32_t nf_classes_count(const struct nf_classes *c)
{
    return (uint32_t)c->classes.n;
}

/* Name row of a text of the job. */
static int64_t name_id(struct nf_classes *c, const struct nf_reduce *r, uint32_t text)
{
    int64_t id;

    /* A number whose text never came (its event was lost, or the ring is broken) is no name. */
    if (!*nf_reduce_text(r, text))
        text = 0;
    while (c->names.n <= text)
        if (nf_array_push(&c->names, 0))
            return nf_fail(-ENOMEM, "out of memory");
    if (c->names.v[text])
        return c->names.v[text];
    id = nf_study_name(c->study, nf_reduce_text(r, text));
    if (id > 0)
        c->names.v[text] = id;
    return id;
}

/* The layer group of a module path: up to and with its first numeric component ("blocks.3.attn" -> "blocks.3"), else its
 * first component. Writes its number (0: none) to *group. 0 or -ENOMEM. */
static int layer_group(struct nf_classes *c, const char *path, uint16_t *group)
{
    const char *p = path;
    size_t n = strcspn(path, ".");
    char *copy;

    *group = 0;
    if (!*path)
        return 0;
    while (*p) {
        size_t part = strcspn(p, ".");

        if (part && strspn(p, "0123456789") == part) {
            n = (size_t)(p - path) + part;
            break;
        }
        p += part + (p[part] == '.');
    }
    for (size_t i = 0; i < c->groups.n; i++) {
        if (strlen(c->groups.v[i]) == n && !memcmp(c->groups.v[i], path, n)) {
            *group = (uint16_t)(i + 1);
            return 0;
        }
    }
    /* 12 bits: the rest shares the last group. */
    if (c->groups.n >= NF_REGIME_LAYER_GROUP_MAX) {
        *group = NF_REGIME_LAYER_GROUP_MAX;
        return 0;
    }
    copy = strndup(path, n);
    if (!copy || nf_array_push(&c->groups, copy)) {
        free(copy);
        return nf_fail(-ENOMEM, "out of memory");
    }
    *group = (uint16_t)c->groups.n;
    return 0;
}

/* 0: the only microbatch of its step; else 1 first, 2 inner, 3 last. */
static uint8_t microbatch_class(uint16_t microbatch, uint16_t last)
{
    if (!last)
        return 0;
    return microbatch == 0 ? 1 : microbatch >= last ? 3 : 2;
}

static int regime_of(struct nf_classes *c, const struct nf_reduce *r, uint32_t module, uint8_t phase,
                     uint16_t microbatch, uint16_t last_microbatch, uint32_t class_number, nf_regime *out)
{
    static const char *const microbatch_names[] = {"", ", first microbatch", ", inner microbatch", ", last microbatch"};
    struct nf_regime_parts parts = {.job = c->job_number, .phase = phase};
    const char *group = "no layer";
    struct nf_query *q;
    char name[256];
    int64_t id;
    int rc;

    rc = layer_group(c, nf_reduce_text(r, module), &parts.layer_group);
    if (rc)
        return rc;
    parts.step_class = (uint8_t)(class_number < UINT8_MAX ? class_number : UINT8_MAX);
    parts.microbatch_class = microbatch_class(microbatch, last_microbatch);
    *out = nf_regime_pack(&parts);
    for (size_t i = c->regimes.n; i-- > 0;)
        if (c->regimes.v[i] == *out)
            return 0;
    if (parts.layer_group)
        group = c->groups.v[parts.layer_group - 1];
    snprintf(name, sizeof name, "%s, %.160s, step class %u%s", nf_phase_name(phase), group, parts.step_class,
             microbatch_names[parts.microbatch_class]);
    id = nf_study_name(c->study, name);
    if (id < 0)
        return (int)id;
    rc = nf_study_query(c->study, "INSERT OR IGNORE INTO regime(capture_id, id, name_id) VALUES(?1, ?2, ?3)", &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, c->capture_id);
    nf_query_bind_i64(q, 2, (int64_t)*out);
    nf_query_bind_i64(q, 3, id);
    rc = nf_query_run(q);
    return rc ? rc : nf_array_push(&c->regimes, *out);
}

static int write_ops(struct nf_classes *c, const struct nf_reduce *r, const struct nf_step *step, int64_t id,
                     uint32_t number, nf_regime *regimes)
{
    uint16_t last_microbatch = 0;
    struct nf_query *q;
    int rc = 0;

    for (uint32_t i = 0; i < step->n_ops; i++)
        if (step->ops[i].phase != NF_PHASE_OPTIMIZER && step->ops[i].phase != NF_PHASE_OTHER &&
            step->ops[i].microbatch > last_microbatch)
            last_microbatch = step->ops[i].microbatch;
    for (uint32_t i = 0; !rc && i < step->n_ops; i++) {
        const struct nf_step_op *o = &step->ops[i];
        int64_t name = name_id(c, r, o->name), module = name_id(c, r, o->module);

        if (name < 0 || module < 0)
            return (int)(name < 0 ? name : module);
        rc = regime_of(c, r, o->module, o->phase, o->microbatch, last_microbatch, number, &regimes[i]);
        if (!rc)
            rc = nf_study_query(c->study, "INSERT INTO op(class_id, number, name_id, module_id, phase, microbatch, "
                                          "thread, regime) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)", &q);
        if (rc)
            return rc;
        nf_query_bind_i64(q, 1, id);
        nf_query_bind_i64(q, 2, i);
        nf_query_bind_i64(q, 3, name);
        nf_query_bind_i64(q, 4, module);
        nf_query_bind_i64(q, 5, o->phase);
        nf_query_bind_i64(q, 6, o->microbatch);
        nf_query_bind_i64(q, 7, o->thread);
        nf_query_bind_i64(q, 8, (int64_t)regimes[i]);
        rc = nf_query_run(q);
    }
    return rc;
}

/* The tensor row of one lifetime: that of its carry slot when it outlives a step, else a new one of the class. */
static int64_t tensor_row(struct nf_classes *c, const struct nf_reduce *r, const struct nf_step_tensor *t,
                          int64_t class_id, int64_t rank, nf_regime birth_regime)
{
    int32_t slot = t->carry_in >= 0 ? t->carry_in : t->carry_out;
    int64_t dtype = name_id(c, r, t->dtype), shape = name_id(c, r, t->shape);
    int64_t name = name_id(c, r, t->name), module = name_id(c, r, t->module);
    struct nf_query *q;
    int rc;

    if (dtype < 0 || shape < 0 || name < 0 || module < 0)
        return -ENOMEM;
    if (slot >= 0) {
        while (c->carried.n <= (size_t)slot)
            if (nf_array_push(&c->carried, 0))
                return nf_fail(-ENOMEM, "out of memory");
        if (c->carried.v[slot]) {
            /* A slot first met as plain memory may by now be known as an operand with a name. */
            rc = nf_study_query(c->study, "UPDATE tensor SET tracked = max(tracked, ?2), name_id = ?3, module_id = ?4, "
                                          "dtype_id = ?5, shape_id = ?6 WHERE id = ?1", &q);
            if (rc)
                return rc;
            nf_query_bind_i64(q, 1, c->carried.v[slot]);
            nf_query_bind_i64(q, 2, t->tracked);
            nf_query_bind_i64(q, 3, name);
            nf_query_bind_i64(q, 4, module);
            nf_query_bind_i64(q, 5, dtype);
            nf_query_bind_i64(q, 6, shape);
            rc = nf_query_run(q);
            return rc ? rc : c->carried.v[slot];
        }
    }
    rc = nf_study_query(c->study, "INSERT INTO tensor(capture_id, class_id, carry_slot, bytes, dtype_id, shape_id, "
                                  "name_id, module_id, rank, birth_regime, tracked, device) "
                                  "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)", &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, c->capture_id);
    if (slot < 0)
        nf_query_bind_i64(q, 2, class_id);
    else
        nf_query_bind_i64(q, 3, slot);
    nf_query_bind_i64(q, 4, (int64_t)t->bytes);
    nf_query_bind_i64(q, 5, dtype);
    nf_query_bind_i64(q, 6, shape);
    nf_query_bind_i64(q, 7, name);
    nf_query_bind_i64(q, 8, module);
    nf_query_bind_i64(q, 9, rank);
    nf_query_bind_i64(q, 10, (int64_t)birth_regime);
    nf_query_bind_i64(q, 11, t->tracked);
    nf_query_bind_text(q, 12, t->device ? nf_reduce_text(r, t->device) : "cpu");
    rc = nf_query_run(q);
    if (rc)
        return rc;
    if (slot >= 0)
        c->carried.v[slot] = nf_study_last_id(c->study);
    return nf_study_last_id(c->study);
}

static int write_tensors(struct nf_classes *c, const struct nf_reduce *r, const struct nf_step *step, int64_t id,
                         int64_t rank, const nf_regime *regimes)
{
    struct nf_query *q;
    int rc = 0;

    for (uint32_t i = 0; !rc && i < step->n_tensors; i++) {
        const struct nf_step_tensor *t = &step->tensors[i];
        nf_regime birth = t->birth >= 0 && t->birth < (int32_t)step->n_ops ? regimes[t->birth] : 0;
        int64_t tensor = tensor_row(c, r, t, id, rank, birth);

        if (tensor < 0)
            return (int)tensor;
        rc = nf_study_query(c->study, "INSERT INTO lifetime(class_id, number, tensor_id, birth_op, death_op, carry_in, "
                                      "carry_out, address) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)", &q);
        if (rc)
            return rc;
        nf_query_bind_i64(q, 1, id);
        nf_query_bind_i64(q, 2, i);
        nf_query_bind_i64(q, 3, tensor);
        nf_query_bind_i64(q, 4, t->birth);
        nf_query_bind_i64(q, 5, t->death);
        if (t->carry_in >= 0)
            nf_query_bind_i64(q, 6, t->carry_in);
        if (t->carry_out >= 0)
            nf_query_bind_i64(q, 7, t->carry_out);
        nf_query_bind_i64(q, 8, (int64_t)t->address);
        rc = nf_query_run(q);
    }
    for (uint32_t i = 0; !rc && i < step->n_roles; i++) {
        const struct nf_step_role *role = &step->roles[i];
        int64_t name = name_id(c, r, role->name);

        if (name < 0)
            return (int)name;
        rc = nf_study_query(c->study, "INSERT OR IGNORE INTO role_interval(class_id, number, role, from_op, to_op, "
                                      "name_id) VALUES(?1, ?2, ?3, ?4, ?5, ?6)", &q);
        if (rc)
            return rc;
        nf_query_bind_i64(q, 1, id);
        nf_query_bind_i64(q, 2, role->tensor);
        nf_query_bind_i64(q, 3, role->role);
        nf_query_bind_i64(q, 4, role->from_op);
        nf_query_bind_i64(q, 5, role->to_op);
        nf_query_bind_i64(q, 6, name);
        rc = nf_query_run(q);
    }
    return rc;
}

static int write_visits(struct nf_classes *c, const struct nf_step *step, int64_t id)
{
    uint64_t *sizes = malloc((step->n_tensors + 1) * sizeof *sizes);
    int rc;

    if (!sizes)
        return nf_fail(-ENOMEM, "out of memory");
    for (uint32_t i = 0; i < step->n_tensors; i++)
        sizes[i] = step->tensors[i].bytes;
    rc = nf_visit_rows_write(c->study, "INSERT INTO visit_chunk(class_id, number, first_op, last_op, visits, codec, crc32, "
                                       "raw_bytes, data) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                             &id, 1, c->codec, step->visits, step->n_visits, sizes, step->n_tensors);
    free(sizes);
    return rc;
}

static int peak_of(const struct nf_step *step, uint64_t *peak)
{
    struct nf_step_class view = {.n_ops = step->n_ops, .n_tensors = step->n_tensors};
    int rc;

    view.tensors = calloc(step->n_tensors + 1, sizeof *view.tensors);
    if (!view.tensors)
        return nf_fail(-ENOMEM, "out of memory");
    for (uint32_t i = 0; i < step->n_tensors; i++) {
        view.tensors[i].bytes = step->tensors[i].bytes;
        view.tensors[i].birth = step->tensors[i].birth;
        view.tensors[i].death = step->tensors[i].death;
    }
    rc = nf_step_class_peak(&view, peak);
    free(view.tensors);
    return rc;
}

static int write_class(struct nf_classes *c, const struct nf_reduce *r, const struct nf_step *step, int64_t rank,
                       struct step_class *out)
{
    uint32_t number = (uint32_t)c->classes.n;
    uint64_t visited = 0, peak;
    nf_regime *regimes;
    struct nf_query *q;
    int rc = peak_of(step, &peak);

    if (rc)
        return rc;
    for (uint32_t i = 0; i < step->n_visits; i++)
        visited += step->visits[i].bytes;
    rc = nf_study_query(c->study, "INSERT INTO step_class(capture_id, number, hash, op_hash, allocation_hash, rank, ops, "
                                  "visits, visited_bytes, peak_live_bytes) "
                                  "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)", &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, c->capture_id);
    nf_query_bind_i64(q, 2, number);
    nf_query_bind_i64(q, 3, (int64_t)step->hash);
    nf_query_bind_i64(q, 4, (int64_t)step->op_hash);
    nf_query_bind_i64(q, 5, (int64_t)step->allocation_hash);
    nf_query_bind_i64(q, 6, rank);
    nf_query_bind_i64(q, 7, step->n_ops);
    nf_query_bind_i64(q, 8, step->n_visits);
    nf_query_bind_i64(q, 9, (int64_t)visited);
    nf_query_bind_i64(q, 10, (int64_t)peak);
    rc = nf_query_run(q);
    if (rc)
        return rc;
    out->id = nf_study_last_id(c->study);
    out->hash = step->hash;
    out->op_hash = step->op_hash;
    out->allocation_hash = step->allocation_hash;
    out->n_ops = step->n_ops;
    regimes = calloc(step->n_ops + 1, sizeof *regimes);
    if (!regimes)
        return nf_fail(-ENOMEM, "out of memory");
    rc = write_ops(c, r, step, out->id, number, regimes);
    if (!rc)
        rc = write_tensors(c, r, step, out->id, rank, regimes);
    if (!rc)
        rc = write_visits(c, step, out->id);
    free(regimes);
    return rc;
}

int64_t nf_classes_put(struct nf_classes *c, const struct nf_reduce *r, const struct nf_step *step, int64_t rank)
{
    struct step_class fresh = {0};
    int rc;

    for (size_t i = 0; !fresh.id && i < c->classes.n; i++)
        if (c->classes.v[i].hash == step->hash && c->classes.v[i].n_ops == step->n_ops)
            fresh.id = c->classes.v[i].id;
    if (!fresh.id) {
        rc = write_class(c, r, step, rank, &fresh);
        if (!rc && nf_array_push(&c->classes, fresh))
            rc = nf_fail(-ENOMEM, "out of memory");
        if (rc)
            return rc;
    }
    return nf_array_push(&c->order, fresh.id) ? nf_fail(-ENOMEM, "out of memory") : fresh.id;
}

static int add_durations(struct nf_classes *c, struct step_class *k, const struct nf_step *step)
{
    uint32_t at = k->timed;

    if (!k->samples) {
        k->samples = calloc((size_t)SAMPLES_MAX * (k->n_ops + 1), sizeof *k->samples);
        k->sum_ns = calloc(k->n_ops + 1, sizeof *k->sum_ns);
        k->max_ns = calloc(k->n_ops + 1, sizeof *k->max_ns);
        if (!k->samples || !k->sum_ns || !k->max_ns)
            return nf_fail(-ENOMEM, "out of memory");
    }
    if (at >= SAMPLES_MAX)
        at = (uint32_t)nf_rng_below(&c->rng, at + 1);
    for (uint32_t i = 0; i < k->n_ops; i++) {
        float ns = (float)step->ops[i].dur_ns;

        k->sum_ns[i] += (double)step->ops[i].dur_ns;
        if (ns > k->max_ns[i])
            k->max_ns[i] = ns;
        if (at < SAMPLES_MAX)
            k->samples[(size_t)at * k->n_ops + i] = ns;
    }
    k->timed++;
    return nf_array_push(&k->timing_step_ns, (double)step->dur_ns) ? nf_fail(-ENOMEM, "out of memory") : 0;
}

/* Classes of the same ops and sizes differ only in what they carry in, so a timed step is a sample of each of them; its
 * own is the one its number had in the access pass, when that is among them. */
int64_t nf_classes_time(struct nf_classes *c, const struct nf_step *step)
{
    int64_t own = 0, wanted = step->number < c->order.n ? c->order.v[step->number] : 0;

    for (size_t i = 0; i < c->classes.n; i++) {
        struct step_class *k = &c->classes.v[i];

        if (k->op_hash == step->op_hash && k->n_ops == step->n_ops) {
            int rc = add_durations(c, k, step);

            if (rc)
                return rc;
            if (!own || k->id == wanted)
                own = k->id;
        }
    }
    return own;
}

int nf_classes_bare(struct nf_classes *c, uint32_t number, uint64_t allocation_hash, uint64_t dur_ns)
{
    struct bare_step b = {number, allocation_hash, (double)dur_ns};

    return nf_array_push(&c->bare, b) ? nf_fail(-ENOMEM, "out of memory") : 0;
}

static int write_durations(struct nf_classes *c, const struct step_class *k, double *ops_ns)
{
    uint32_t kept = k->timed < SAMPLES_MAX ? k->timed : SAMPLES_MAX;
    double column[SAMPLES_MAX];
    struct nf_query *q;
    int rc = 0;

    *ops_ns = 0;
    for (uint32_t i = 0; !rc && i < k->n_ops; i++) {
        double p50;

        for (uint32_t s = 0; s < kept; s++)
            column[s] = (double)k->samples[(size_t)s * k->n_ops + i];
        p50 = nf_quantile(column, kept, 0.5);
        *ops_ns += p50;
        rc = nf_study_query(c->study, "UPDATE op SET timed = ?3, dur_mean_ns = ?4, dur_p10_ns = ?5, dur_p50_ns = ?6, "
                                      "dur_p90_ns = ?7, dur_max_ns = ?8 WHERE class_id = ?1 AND number = ?2", &q);
        if (rc)
            return rc;
        nf_query_bind_i64(q, 1, k->id);
        nf_query_bind_i64(q, 2, i);
        nf_query_bind_i64(q, 3, k->timed);
        nf_query_bind_f64(q, 4, k->sum_ns[i] / k->timed);
        nf_query_bind_f64(q, 5, nf_quantile(column, kept, 0.1));
        nf_query_bind_f64(q, 6, p50);
        nf_query_bind_f64(q, 7, nf_quantile(column, kept, 0.9));
        nf_query_bind_f64(q, 8, (double)k->max_ns[i]);
        rc = nf_query_run(q);
    }
    return rc;
}

/* Bare step times of a class: those with its storage sizes. */
static double bare_median(const struct nf_classes *c, const struct step_class *k)
{
    double *v = malloc((c->bare.n + 1) * sizeof *v), median = 0;
    size_t n = 0;

    if (!v)
        return 0;
    for (size_t i = 0; i < c->bare.n; i++)
        if (c->bare.v[i].allocation_hash == k->allocation_hash)
            v[n++] = c->bare.v[i].dur_ns;
    if (n)
        median = nf_quantile(v, n, 0.5);
    free(v);
    return median;
}

static int write_correction(struct nf_classes *c, const struct step_class *k)
{
    double ops_ns = 0, bare_ns = bare_median(c, k), step_ns = 0, factor = 0, gap_ns = 0;
    struct nf_query *q;
    int rc = 0;

    if (k->timed) {
        rc = write_durations(c, k, &ops_ns);
        if (rc)
            return rc;
        step_ns = nf_median(k->timing_step_ns.v, k->timing_step_ns.n);
        factor = 1;
        /* The bare step is the truth. What its time leaves beside the ops is the framework's own work, spread evenly;
         * where the ops alone exceed it, the clock's cost is in them and they shrink. */
        if (bare_ns > ops_ns)
            gap_ns = k->n_ops ? (bare_ns - ops_ns) / k->n_ops : 0;
        else if (bare_ns > 0)
            factor = bare_ns / ops_ns;
    }
    rc = nf_study_query(c->study, "UPDATE step_class SET bare_step_ns = ?2, timing_step_ns = ?3, timing_ops_ns = ?4, "
                                  "correction_factor = ?5, correction_gap_ns = ?6 WHERE id = ?1", &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, k->id);
    nf_query_bind_f64(q, 2, bare_ns);
    nf_query_bind_f64(q, 3, step_ns);
    nf_query_bind_f64(q, 4, ops_ns);
    nf_query_bind_f64(q, 5, factor);
    nf_query_bind_f64(q, 6, gap_ns);
    return nf_query_run(q);
}

int nf_classes_write_times(struct nf_classes *c, int64_t bare_pass_id)
{
    struct nf_query *q;
    int rc = 0;

    for (size_t i = 0; !rc && i < c->classes.n; i++)
        rc = write_correction(c, &c->classes.v[i]);
    for (size_t i = 0; !rc && i < c->bare.n; i++) {
        uint32_t number = c->bare.v[i].number;

        /* Of several classes with the same storage sizes it is the one its number had in the access pass. */
        rc = nf_study_query(c->study, "UPDATE step SET class_id = (SELECT id FROM step_class WHERE capture_id = ?1 AND "
                                      "allocation_hash = ?2 ORDER BY id <> ?5, id LIMIT 1) WHERE pass_id = ?3 AND number "
                                      "= ?4", &q);
        if (rc)
            return rc;
        nf_query_bind_i64(q, 5, number < c->order.n ? c->order.v[number] : 0);
        nf_query_bind_i64(q, 1, c->capture_id);
        nf_query_bind_i64(q, 2, (int64_t)c->bare.v[i].allocation_hash);
        nf_query_bind_i64(q, 3, bare_pass_id);
        nf_query_bind_i64(q, 4, number);
        rc = nf_query_run(q);
    }
    return rc;
}
