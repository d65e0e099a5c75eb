#include "capture/import-perf-data.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "capture/perf-data.h"
#include "capture/sample-order.h"
#include "core/base/array.h"
#include "core/base/buf.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/store/records.h"
#include "core/store/samples.h"

/* Samples put in order at a time: 25 MB. Mappings kept for the summary: 6 MB. */
enum { ORDER_MAX = 1 << 17, MAPPINGS_MAX = 1 << 16, COMMIT_EVERY = 1 << 20, TOP = 5, CACHE_LINE = 64, PAGE = 4096 };

struct mapping {
    uint64_t address, bytes, hits;
    uint32_t pid;
    char name[60];
};

/* The events of one kind of evidence, which make one observation. */
struct group {
    struct nf_observation o;
    struct nf_sample_writer *writer;
    uint16_t n_events;
    bool tells_rw; /* every sample's */
    uint64_t addressed, physical;
    char notes[512];
};

struct nf_import {
    const char *path;
    struct nf_perf_data *d;
    struct nf_perf_totals totals;
    uint8_t evidence[NF_PERF_EVENTS_MAX], rw[NF_PERF_EVENTS_MAX];
    uint16_t number[NF_PERF_EVENTS_MAX]; /* in its observation */
    uint64_t seen[NF_PERF_EVENTS_MAX];
    struct group groups[NF_ACCESS_COUNT];
    struct nf_sample_order *order;
    NF_ARRAY(struct mapping) mappings;
    bool mappings_cut;
    struct nf_study *study;
    uint64_t stored, addressed, mapped, late;
};

static int probe(char *why, size_t size)
{
    return 0;
}

/* --- what the events are --- */

static bool made_by(const struct nf_perf_facts *f, const char *id, const char *name)
{
    return strstr(f->cpu_id, id) || strstr(f->cpu, name);
}

/* Intel's codes of memory events, which are the same on all server cores since Haswell. */
static const struct {
    uint64_t config;
    uint8_t rw;
    const char *meaning;
} intel_events[] = {
    {0x1cd, NF_RW_READ, "loads slower than the threshold, with their latency and level"},
    {0x2cd, NF_RW_WRITE, "stores, with their latency and level"},
    {0x81d0, NF_RW_READ, "all loads"},
    {0x82d0, NF_RW_WRITE, "all stores"},
    {0x20d1, NF_RW_READ, "loads that missed L3"},
    {0x1d3, NF_RW_READ, "loads from local DRAM"},
    {0x2d3, NF_RW_READ, "loads from remote DRAM"},
    {0x80d1, NF_RW_READ, "loads from local PMEM or CXL memory"},
    {0x10d3, NF_RW_READ, "loads from remote PMEM or CXL memory"},
};

static void describe(const struct nf_perf_event *e, const struct nf_perf_facts *f, uint8_t *evidence, uint8_t *rw,
                     const char **meaning)
{
    const struct perf_event_attr *a = &e->attr;
    bool core = a->type == PERF_TYPE_RAW || a->type == PERF_TYPE_HARDWARE || a->type == PERF_TYPE_HW_CACHE;

    *evidence = NF_ACCESS_UNKNOWN;
    *rw = NF_SAMPLE_RW_UNKNOWN;
    *meaning = "";
    if (a->type == PERF_TYPE_SOFTWARE &&
        (a->config == PERF_COUNT_SW_PAGE_FAULTS || a->config == PERF_COUNT_SW_PAGE_FAULTS_MIN ||
         a->config == PERF_COUNT_SW_PAGE_FAULTS_MAJ)) {
        *evidence = NF_ACCESS_PAGE_FAULT;
        *meaning = "page faults of the job as it ran: first touches of pages, not all touches";
    } else if (a->type == PERF_TYPE_BREAKPOINT) {
        *evidence = NF_ACCESS_WATCHPOINT;
        *rw = a->bp_type == 2 ? NF_RW_WRITE : NF_SAMPLE_RW_UNKNOWN; /* HW_BREAKPOINT_W; R fires for writes as well on x86 */
        *meaning = "touches of one watched word";
    } else if ((f->ibs_op_type && a->type == f->ibs_op_type) || (f->ibs_fetch_type && a->type == f->ibs_fetch_type) ||
               (core && a->precise_ip && made_by(f, "AuthenticAMD", "AMD"))) {
        *evidence = NF_ACCESS_IBS;
        *meaning = a->type == f->ibs_fetch_type ? "instruction fetches" : "micro-operations, memory accesses among them";
    } else if (core && a->precise_ip && made_by(f, "GenuineIntel", "Intel")) {
        *evidence = NF_ACCESS_PEBS;
    } else if (f->spe_type && a->type == f->spe_type) {
        *meaning = "Arm SPE: its records are in AUX data, which is not read";
    }
    for (size_t i = 0; a->type == PERF_TYPE_RAW && *evidence != NF_ACCESS_IBS &&
                       i < sizeof intel_events / sizeof *intel_events; i++) {
        if ((a->config & 0xffff) != intel_events[i].config || !a->precise_ip)
            continue;
        /* A file piped through others may have lost what CPU it was; these codes with PEBS' precision are Intel's. */
        *evidence = *f->cpu || *f->cpu_id ? *evidence : NF_ACCESS_PEBS;
        if (*evidence == NF_ACCESS_PEBS) {
            *rw = intel_events[i].rw;
            *meaning = intel_events[i].meaning;
        }
    }
}

/* perf's name, or what the kernel was asked for. */
static const char *name_of(const struct nf_perf_event *e, char *room, size_t size)
{
    if (*e->name)
        return e->name;
    snprintf(room, size, "type %u config %#llx", e->attr.type, (unsigned long long)e->attr.config);
    return room;
}

/* A dummy event only carries the records of mappings. */
static bool is_dummy(const struct nf_perf_event *e)
{
    return e->attr.type == PERF_TYPE_SOFTWARE && e->attr.config == PERF_COUNT_SW_DUMMY;
}

/* --- first reading: check, count --- */

static int count_sample(void *context, struct nf_sample *s)
{
    struct nf_import *im = context;

    im->seen[s->event]++;
    return 0;
}

static int keep_mapping(void *context, uint32_t pid, uint64_t address, uint64_t bytes, bool data, const char *name)
{
    struct nf_import *im = context;
    struct mapping m = {.address = address, .bytes = bytes, .pid = pid};
    const char *from = name;

    if (im->mappings.n == MAPPINGS_MAX) {
        im->mappings_cut = true;
        return 0;
    }
    /* Of a long path its end tells more; cut where a character begins. */
    if (strlen(name) >= sizeof m.name)
        from = name + strlen(name) - sizeof m.name + 1;
    while ((*from & 0xc0) == 0x80)
        from++;
    strcpy(m.name, from);
    return nf_array_push(&im->mappings, m) ? nf_fail(-ENOMEM, "out of memory") : 0;
}

static int by_place(const void *a, const void *b)
{
    const struct mapping *x = a, *y = b;

    return x->pid != y->pid ? (x->pid > y->pid) - (x->pid < y->pid) : (x->address > y->address) - (x->address < y->address);
}

static struct nf_import *close_file(struct nf_import *im)
{
    if (!im)
        return NULL;
    for (size_t i = 0; i < NF_ACCESS_COUNT; i++)
        nf_sample_writer_free(im->groups[i].writer);
    nf_sample_order_free(im->order);
    nf_array_free(&im->mappings);
    nf_perf_data_close(im->d);
    free(im);
    return NULL;
}

static int open_file(const char *path, const struct nf_import_options *options, struct nf_import **out)
{
    struct nf_import *im = calloc(1, sizeof *im);
    struct nf_perf_reader reader = {.sample = count_sample, .mapping = keep_mapping, .context = im};
    int rc;

    *out = im;
    if (!im)
        return nf_fail(-ENOMEM, "out of memory");
    im->path = path;
    rc = nf_perf_data_open(path, &im->d);
    if (!rc)
        rc = nf_perf_data_read(im->d, &reader);
    if (rc)
        return rc;
    im->totals = *nf_perf_data_totals(im->d);
    if (im->totals.samples == im->totals.strangers)
        return nf_fail(-EBADMSG, "%s holds no samples among its %" PRIu64 " records%s", path, im->totals.records,
                       im->totals.aux_bytes ? ": what was recorded is in AUX data, which is not read" : "");
    if (im->mappings.n)
        qsort(im->mappings.v, im->mappings.n, sizeof *im->mappings.v, by_place);
    return 0;
}

/* --- second reading: store --- */

/* The mapping of the sample's process that begins last before the address, and holds it. */
static struct mapping *mapping_of(struct nf_import *im, const struct nf_sample *s)
{
    size_t low = 0, high = im->mappings.n;
    struct mapping *m;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        m = &im->mappings.v[mid];
        if (m->pid < s->pid || (m->pid == s->pid && m->address <= s->address))
            low = mid + 1;
        else
            high = mid;
    }
    m = low ? &im->mappings.v[low - 1] : NULL;
    return m && m->pid == s->pid && s->address - m->address < m->bytes ? m : NULL;
}

static int commit(struct nf_import *im)
{
    int rc = 0;

    for (size_t i = 0; i < NF_ACCESS_COUNT && !rc; i++)
        if (im->groups[i].writer)
            rc = nf_sample_writer_flush(im->groups[i].writer);
    if (!rc)
        rc = nf_study_commit(im->study);
    return rc ? rc : nf_study_begin(im->study);
}

static int store_sample(void *context, const struct nf_sample *in)
{
    struct nf_import *im = context;
    struct group *g = &im->groups[im->evidence[in->event]];
    struct nf_sample s = *in;
    struct mapping *m;
    int rc;

    s.rw = s.rw == NF_SAMPLE_RW_UNKNOWN ? im->rw[in->event] : s.rw;
    /* A fixed period stands in the attributes, not in each sample. */
    if (!s.period && !nf_perf_data_event(im->d, in->event)->attr.freq)
        s.period = nf_perf_data_event(im->d, in->event)->attr.sample_period;
    s.event = im->number[in->event];
    g->o.samples++;
    g->o.unattributed++;
    g->tells_rw &= s.rw != NF_SAMPLE_RW_UNKNOWN;
    g->physical += s.physical != 0;
    if (s.address) {
        g->addressed++;
        im->addressed++;
        m = mapping_of(im, &s);
        if (m) {
            m->hits++;
            im->mapped++;
        }
    }
    rc = nf_sample_writer_add(g->writer, &s, 1);
    im->stored++;
    if (!rc && im->stored % COMMIT_EVERY == 0) {
        nf_progress("importing: %" PRIu64 " of %" PRIu64 " samples", im->stored, im->totals.samples);
        rc = commit(im);
    }
    return rc;
}

static int order_sample(void *context, struct nf_sample *s)
{
    return nf_sample_order_add(((struct nf_import *)context)->order, s);
}

static int order_round(void *context)
{
    return nf_sample_order_round(((struct nf_import *)context)->order);
}

static int run_bound(struct nf_study *s, const char *sql, int64_t id, const char *a, const char *b)
{
    struct nf_query *q;
    int rc = nf_study_query(s, sql, &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, id);
    nf_query_bind_text(q, 2, a);
    if (b)
        nf_query_bind_text(q, 3, b);
    return nf_query_run(q);
}

static void recorded_on(const struct nf_import *im, char *out, size_t size)
{
    const struct nf_perf_facts *f = nf_perf_data_facts(im->d);
    char cpus[32] = "an unknown number of";

    if (f->cpus)
        snprintf(cpus, sizeof cpus, "%" PRIu32, f->cpus);
    snprintf(out, size, "recorded on %s (%s, %s CPUs, Linux %s) by perf %s%s", *f->host ? f->host : "an unknown host",
             *f->cpu ? f->cpu : *f->cpu_id ? f->cpu_id : "unknown CPU", cpus, *f->release ? f->release : "unknown",
             *f->version ? f->version : "unknown", f->pipe ? " to a pipe" : "");
}

/* Capture, pass, observations and their events. */
static int insert_rows(struct nf_import *im, int64_t invocation, int64_t *capture, int64_t *pass)
{
    const struct nf_perf_facts *f = nf_perf_data_facts(im->d);
    char text[1024];
    int rc;

    rc = run_bound(im->study, "INSERT INTO capture(invocation_id, job, job_number, framework, lifetimes, phases, durations) "
                              "VALUES(?1, ?2, (SELECT 1 + coalesce(max(id), 0) FROM capture) & 65535, ?3, 'inferred', "
                              "'inferred', 'unknown')", invocation, f->command ? f->command : "[]", "perf.data");
    if (rc)
        return rc;
    *capture = nf_study_last_id(im->study);
    recorded_on(im, text, sizeof text);
    rc = run_bound(im->study, "INSERT INTO pass(capture_id, kind, source, access_evidence, notes) VALUES(?1, 3, 'perf-data', "
                              "0, ?2)", *capture, text, NULL);
    *pass = nf_study_last_id(im->study);
    for (size_t i = 0; i < nf_perf_data_events(im->d) && !rc; i++) {
        const struct nf_perf_event *e = nf_perf_data_event(im->d, i);
        const struct perf_event_attr *a = &e->attr;
        char room[64];
        struct nf_sample_event row = {.name = name_of(e, room, sizeof room), .type = a->type, .config = a->config,
                                      .config1 = a->config1, .config2 = a->config2,
                                      .period = a->freq ? 0 : a->sample_period, .precise = a->precise_ip};
        struct group *g;

        describe(e, f, &im->evidence[i], &im->rw[i], &row.meaning);
        row.rw = im->rw[i];
        g = &im->groups[im->evidence[i]];
        if (!im->seen[i] && is_dummy(e))
            continue;
        if (!g->writer) {
            g->o = (struct nf_observation){
                .pass_id = *pass, .source = "perf-data", .rw = "unknown", .evidence = im->evidence[i],
                .options = im->path, .validated = im->evidence[i] == NF_ACCESS_PAGE_FAULT,
                .resolution_bytes = im->evidence[i] == NF_ACCESS_PAGE_FAULT ? PAGE : CACHE_LINE};
            g->tells_rw = true;
            rc = nf_observation_insert(im->study, &g->o);
            g->writer = rc ? NULL : nf_sample_writer_new(im->study, g->o.id);
            if (!rc && !g->writer)
                rc = nf_fail(-ENOMEM, "out of memory");
        }
        im->number[i] = g->n_events;
        if (!rc)
            rc = nf_observation_event(im->study, g->o.id, g->n_events++, &row);
    }
    return rc;
}

/* The observation that takes what is counted for the file as a whole: the one with the most samples. */
static struct group *largest(struct nf_import *im)
{
    struct group *most = NULL;

    for (size_t i = 0; i < NF_ACCESS_COUNT; i++)
        if (im->groups[i].writer && (!most || im->groups[i].o.samples > most->o.samples))
            most = &im->groups[i];
    return most;
}

static int finish(struct nf_import *im, int64_t capture, int64_t pass)
{
    struct group *whole = largest(im);
    int rc = 0;

    whole->o.lost = im->totals.lost + im->totals.lost_samples;
    whole->o.throttled = im->totals.throttled;
    for (size_t i = 0; i < NF_ACCESS_COUNT && !rc; i++) {
        struct group *g = &im->groups[i];

        if (!g->writer)
            continue;
        snprintf(g->notes, sizeof g->notes,
                 "a perf.data file knows no tensors, ops and steps: its addresses are kept, attributed to nothing; %" PRIu64 " of "
                 "%" PRIu64 " samples have an address, %" PRIu64 " a physical one%s", g->addressed, g->o.samples, g->physical,
                 im->late && g == whole ? "; some are not in the order of their time" : "");
        g->o.notes = g->notes;
        g->o.rw = g->tells_rw && g->o.samples ? "observed" : "unknown";
        rc = nf_sample_writer_flush(g->writer);
        if (!rc)
            rc = nf_observation_update(im->study, &g->o);
        if (!rc)
            rc = run_bound(im->study, "UPDATE observation SET rw = ?2 WHERE id = ?1", g->o.id, g->o.rw, NULL);
    }
    if (!rc)
        rc = run_bound(im->study, "UPDATE pass SET status = 'complete', access_evidence = CAST(?2 AS INTEGER) WHERE id = ?1",
                       pass, (const char[]){(char)('0' + whole->o.evidence), '\0'}, NULL);
    return rc ? rc : run_bound(im->study, "UPDATE capture SET status = ?2 WHERE id = ?1", capture, "complete", NULL);
}

static int store(struct nf_import *im, struct nf_study *study, int64_t invocation, int64_t *capture)
{
    struct nf_perf_reader reader = {.sample = order_sample, .round = order_round, .context = im};
    int64_t pass = 0;
    int rc;

    im->study = study;
    im->order = nf_sample_order_new(ORDER_MAX, store_sample, im);
    if (!im->order)
        return nf_fail(-ENOMEM, "out of memory");
    rc = nf_study_begin(study);
    if (rc)
        return rc;
    rc = insert_rows(im, invocation, capture, &pass);
    if (!rc)
        rc = nf_perf_data_read(im->d, &reader);
    if (!rc)
        rc = nf_sample_order_end(im->order);
    im->late = nf_sample_order_late(im->order);
    if (!rc)
        rc = finish(im, *capture, pass);
    if (!rc)
        rc = nf_study_commit(study);
    if (rc)
        nf_study_rollback(study);
    return rc;
}

/* --- the summary --- */

static int by_hits(const void *a, const void *b)
{
    const struct mapping *x = a, *y = b;

    return (x->hits < y->hits) - (x->hits > y->hits);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct mapping *)a)->name, ((const struct mapping *)b)->name);
}

static void print_mappings(struct nf_import *im, FILE *to)
{
    struct mapping *m = im->mappings.v;
    size_t n = 0;

    if (!im->addressed)
        return;
    fprintf(to, "  %" PRIu64 " of %" PRIu64 " addresses lie in mappings the file tells of%s", im->mapped, im->addressed,
            im->mappings_cut ? " (of its first 65536)" : "");
    if (im->mappings.n)
        qsort(m, im->mappings.n, sizeof *m, by_name);
    for (size_t i = 0; i < im->mappings.n; i++) {
        if (n && !strcmp(m[n - 1].name, m[i].name))
            m[n - 1].hits += m[i].hits;
        else
            m[n++] = m[i];
    }
    if (n)
        qsort(m, n, sizeof *m, by_hits);
    im->mappings.n = n;
    for (size_t i = 0; i < n && i < TOP && m[i].hits; i++)
        fprintf(to, "%s%" PRIu64 " in %s", i ? ", " : ": ", m[i].hits, *m[i].name ? m[i].name : "a nameless one");
    fprintf(to, "\n");
}

static void summarize(const struct nf_import *im, FILE *to)
{
    const struct nf_perf_totals *t = &im->totals;
    uint64_t lost = t->lost + t->lost_samples;
    char text[1024];

    if (lost && lost * 99 > t->samples)
        fprintf(to, "  %.1f %% of the samples were lost in recording\n", 100.0 * (double)lost / (double)(lost + t->samples));
    recorded_on(im, text, sizeof text);
    fprintf(to, "  %s\n", text);
    for (size_t i = 0; i < nf_perf_data_events(im->d); i++) {
        const struct nf_perf_event *e = nf_perf_data_event(im->d, i);
        char room[64];

        if (im->seen[i] || !is_dummy(e))
            fprintf(to, "  %" PRIu64 " samples of %s (evidence %s%s)\n", im->seen[i], name_of(e, room, sizeof room),
                    nf_access_evidence_name(im->evidence[i]),
                    im->groups[im->evidence[i]].o.validated ? "" : ", not validated on hardware");
    }
    fprintf(to, "  lost %" PRIu64 ", throttled %" PRIu64 ", of events the header does not list %" PRIu64 "; %" PRIu64
                " records of %" PRIu64 " are of unknown types\n", lost, t->throttled, t->strangers, t->unknown, t->records);
    if (t->aux_bytes)
        fprintf(to, "  %" PRIu64 " bytes of AUX data were passed over\n", t->aux_bytes);
    print_mappings((struct nf_import *)im, to);
    fprintf(to, "  tensors, ops and steps: a perf.data file knows none\n");
}

const struct nf_import_ops nf_import_perf_data = {
    .name = "perf-data",
    .about = "samples that perf record wrote",
    .probe = probe,
    .open = open_file,
    .store = store,
    .summarize = summarize,
    .close = close_file,
};
