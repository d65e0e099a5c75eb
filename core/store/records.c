#include "core/store/records.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "core/base/buf.h"
#include "core/base/prefetchers.h"
#include "core/base/error.h"
#include "core/base/spill.h"
#include "core/base/version.h"
#include "core/store/visit-codec.h"
#include "core/store/visit-rows.h"

/* The value after "key :" in a /proc file, or "unknown". */
static void proc_value(const char *path, const char *key, char *out, size_t size)
{
    char line[512];
    FILE *f = fopen(path, "re");

    snprintf(out, size, "unknown");
    if (!f)
        return;
    while (fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');

        if (strncmp(line, key, strlen(key)) || !colon)
            continue;
        colon += 1 + strspn(colon + 1, " \t");
        colon[strcspn(colon, "\n")] = '\0';
        snprintf(out, size, "%s", colon);
        break;
    }
    fclose(f);
}

static void sys_value(const char *path, char *out, size_t size)
{
    FILE *f = fopen(path, "re");

    snprintf(out, size, "unknown");
    if (!f)
        return;
    if (fgets(out, (int)size, f))
        out[strcspn(out, "\n")] = '\0';
    fclose(f);
}

static int count_nodes(void)
{
    char path[64];
    int n = 0;

    for (int i = 0; i < 1024; i++) {
        snprintf(path, sizeof path, "/sys/devices/system/node/node%d", i);
        n += !access(path, F_OK);
    }
    return n ? n : 1;
}

static void machine_facts(struct nf_buf *json)
{
    static const struct {
        const char *name, *path;
    } facts[] = {
        {"governor", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"},
        {"smt", "/sys/devices/system/cpu/smt/control"},
        {"transparent_hugepage", "/sys/kernel/mm/transparent_hugepage/enabled"},
        {"numa_balancing", "/proc/sys/kernel/numa_balancing"},
        {"perf_event_paranoid", "/proc/sys/kernel/perf_event_paranoid"},
        {"product", "/sys/class/dmi/id/product_name"},
    };
    char text[256], why[128];

    nf_buf_puts(json, "{");
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        sys_value(facts[i].path, text, sizeof text);
        nf_buf_printf(json, "%s\"%s\":", i ? "," : "", facts[i].name);
        nf_buf_json(json, text);
    }
    nf_prefetchers_read("", 0, text, sizeof text, why, sizeof why);
    nf_buf_puts(json, ",\"prefetchers\":");
    nf_buf_json(json, text);
    nf_buf_puts(json, "}");
}

int64_t nf_record_machine(struct nf_study *s)
{
    char cpu[256], hypervisor[64] = "none";
    struct nf_buf facts = {0};
    struct utsname u;
    struct nf_query *q;
    long long memory = (long long)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    long llc = sysconf(_SC_LEVEL3_CACHE_SIZE);
    int64_t id = 0;
    int rc;

    uname(&u);
    proc_value("/proc/cpuinfo", "model name", cpu, sizeof cpu);
    {
        char flags[8192];

        proc_value("/proc/cpuinfo", "flags", flags, sizeof flags);
        if (strstr(flags, " hypervisor"))
            sys_value("/sys/class/dmi/id/sys_vendor", hypervisor, sizeof hypervisor);
    }
    machine_facts(&facts);
    if (facts.failed)
        return nf_fail(-ENOMEM, "out of memory");
    rc = nf_study_query(s, "SELECT id FROM machine WHERE host = ?1 AND cpu = ?2 AND kernel = ?3 AND facts = ?4", &q);
    if (rc)
        goto out;
    nf_query_bind_text(q, 1, u.nodename);
    nf_query_bind_text(q, 2, cpu);
    nf_query_bind_text(q, 3, u.release);
    nf_query_bind_text(q, 4, facts.data);
    rc = nf_query_step(q);
    if (rc == 1)
        id = nf_query_i64(q, 0);
    nf_query_done(q);
    if (rc)
        goto out;
    rc = nf_study_query(s, "INSERT INTO machine(host, cpu, cpus, nodes, memory_bytes, llc_reported_bytes, kernel, "
                           "hypervisor, facts) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)", &q);
    if (rc)
        goto out;
    nf_query_bind_text(q, 1, u.nodename);
    nf_query_bind_text(q, 2, cpu);
    nf_query_bind_i64(q, 3, sysconf(_SC_NPROCESSORS_ONLN));
    nf_query_bind_i64(q, 4, count_nodes());
    nf_query_bind_i64(q, 5, memory);
    nf_query_bind_i64(q, 6, llc > 0 ? llc : 0);
    nf_query_bind_text(q, 7, u.release);
    nf_query_bind_text(q, 8, hypervisor);
    nf_query_bind_text(q, 9, facts.data);
    rc = nf_query_run(q);
    id = nf_study_last_id(s);
out:
    nf_buf_deinit(&facts);
    return rc < 0 ? rc : id;
}

int64_t nf_record_invocation(struct nf_study *s, int argc, char *const *argv)
{
    struct nf_buf command = {0};
    struct nf_query *q;
    int64_t machine, id = 0;
    time_t now = time(NULL);
    struct tm tm;
    char at[32];
    int rc;

    gmtime_r(&now, &tm);
    strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%SZ", &tm);
    nf_buf_puts(&command, "[");
    for (int i = 0; i < argc; i++) {
        nf_buf_puts(&command, i ? "," : "");
        nf_buf_json(&command, argv[i]);
    }
    nf_buf_puts(&command, "]");
    if (command.failed) {
        nf_buf_deinit(&command);
        return nf_fail(-ENOMEM, "out of memory");
    }
    rc = nf_study_begin(s);
    if (rc)
        goto out;
    machine = nf_record_machine(s);
    rc = machine < 0 ? (int)machine
                     : nf_study_query(s, "INSERT INTO invocation(machine_id, started_utc, tool_version, command) "
                                         "VALUES(?1, ?2, ?3, ?4)", &q);
    if (rc) {
        nf_study_rollback(s);
        goto out;
    }
    nf_query_bind_i64(q, 1, machine);
    nf_query_bind_text(q, 2, at);
    nf_query_bind_text(q, 3, nf_version());
    nf_query_bind_text(q, 4, command.data);
    rc = nf_query_run(q);
    id = nf_study_last_id(s);
    if (!rc)
        rc = nf_study_commit(s);
    else
        nf_study_rollback(s);
out:
    nf_buf_deinit(&command);
    return rc ? rc : id;
}

int nf_record_invocation_end(struct nf_study *s, int64_t id, const char *status, const char *message)
{
    struct nf_query *q;
    int rc = nf_study_query(s, "UPDATE invocation SET status = ?2, message = ?3 WHERE id = ?1", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, id);
    nf_query_bind_text(q, 2, status);
    nf_query_bind_text(q, 3, message);
    return nf_query_run(q);
}

uint64_t nf_record_llc(struct nf_study *s)
{
    enum { UNKNOWN_LLC_BYTES = 32 << 20 };
    struct nf_query *q;
    uint64_t bytes = 0;

    if (!nf_study_query(s, "SELECT coalesce((SELECT llc_effective_bytes FROM testbed ORDER BY id DESC LIMIT 1), "
                           "(SELECT llc_reported_bytes FROM machine ORDER BY id LIMIT 1), 0)", &q)) {
        if (nf_query_step(q) == 1)
            bytes = (uint64_t)nf_query_i64(q, 0);
        nf_query_done(q);
    }
    return bytes ? bytes : UNKNOWN_LLC_BYTES;
}

int64_t nf_record_capture_find(struct nf_study *s, int64_t wanted)
{
    struct nf_query *q;
    int64_t id = 0;
    int rc = nf_study_query(s, "SELECT max(capture_id) FROM step_class WHERE ?1 = 0 OR capture_id = ?1", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, wanted);
    rc = nf_query_step(q);
    if (rc == 1)
        id = nf_query_i64(q, 0);
    nf_query_done(q);
    if (rc < 0)
        return rc;
    if (id)
        return id;
    if (wanted)
        return nf_fail(-ENOENT, "%s holds no capture %lld with steps", nf_study_path(s), (long long)wanted);
    return nf_fail(-ENOENT, "%s holds no captured steps: capture a job that trains first", nf_study_path(s));
}

/* --- loading a stream --- */

static int count(struct nf_study *s, const char *sql, int64_t key, uint32_t *out)
{
    struct nf_query *q;
    int rc = nf_study_query(s, sql, &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, key);
    rc = nf_query_step(q);
    if (rc == 1) {
        int64_t n = nf_query_i64(q, 0);

        /* More than this is not a step a machine runs but a broken file. */
        if (n < 0 || n > INT32_MAX / 2)
            rc = nf_fail(-EBADMSG, "%s: an impossible count of %lld rows", nf_study_path(s), (long long)n);
        else
            *out = (uint32_t)n;
    }
    nf_query_done(q);
    return rc < 0 ? rc : 0;
}

/* A number of a row that must lie within [least, most]; marks the row as wrong otherwise. */
static int64_t within(const struct nf_query *q, int column, int64_t least, int64_t most, bool *wrong)
{
    int64_t v = nf_query_i64(q, column);

    if (v >= least && v <= most)
        return v;
    *wrong = true;
    return least;
}

static void *zeroed(size_t n, size_t size)
{
    return calloc(n ? n : 1, size);
}

static int load_names(struct nf_study *s, struct nf_stream *stream)
{
    struct nf_query *q;
    /* Names are never deleted, so their ids are dense; 0 is no name. */
    int rc = count(s, "SELECT count(*) + 1 FROM name WHERE ?1 = 0", 0, &stream->n_names);

    if (rc)
        return rc;
    stream->names = zeroed(stream->n_names, sizeof *stream->names);
    if (!stream->names)
        return -ENOMEM;
    rc = nf_study_query(s, "SELECT id, text FROM name", &q);
    if (rc)
        return rc;
    while ((rc = nf_query_step(q)) == 1) {
        int64_t id = nf_query_i64(q, 0);

        if (id < 1 || id >= stream->n_names || stream->names[id]) {
            rc = nf_fail(-EBADMSG, "names are not numbered densely");
            break;
        }
        stream->names[id] = strdup(nf_query_text(q, 1));
        if (!stream->names[id]) {
            rc = -ENOMEM;
            break;
        }
    }
    nf_query_done(q);
    for (uint32_t i = 0; !rc && i < stream->n_names; i++)
        if (!stream->names[i] && !(stream->names[i] = strdup("")))
            rc = -ENOMEM;
    return rc;
}

static int load_ops(struct nf_study *s, struct nf_step_class *c, double factor, double gap_ns)
{
    struct nf_query *q;
    uint32_t i = 0;
    int rc = count(s, "SELECT count(*) FROM op WHERE class_id = ?1", c->id, &c->n_ops);

    if (rc)
        return rc;
    c->ops = zeroed(c->n_ops, sizeof *c->ops);
    if (!c->ops)
        return -ENOMEM;
    rc = nf_study_query(s, "SELECT number, name_id, module_id, phase, microbatch, thread, regime, dur_p50_ns FROM op "
                           "WHERE class_id = ?1 ORDER BY number", &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, c->id);
    while ((rc = nf_query_step(q)) == 1) {
        struct nf_op *o = &c->ops[i];
        bool wrong = false;

        if (nf_query_i64(q, 0) != i || i >= c->n_ops) {
            rc = nf_fail(-EBADMSG, "ops of step class %lld are not numbered densely", (long long)c->id);
            break;
        }
        o->name = (uint32_t)within(q, 1, 0, UINT32_MAX, &wrong);
        o->module = (uint32_t)within(q, 2, 0, UINT32_MAX, &wrong);
        o->phase = (uint8_t)within(q, 3, 0, NF_PHASE_COUNT - 1, &wrong);
        o->microbatch = (uint16_t)within(q, 4, 0, UINT16_MAX, &wrong);
        o->thread = (uint8_t)within(q, 5, 0, UINT8_MAX, &wrong);
        o->regime = (nf_regime)nf_query_i64(q, 6);
        o->dur_ns = nf_query_f64(q, 7) * factor;
        o->gap_ns = gap_ns;
        if (wrong) {
            rc = nf_fail(-EBADMSG, "op %u of step class %lld has a number out of its range", i, (long long)c->id);
            break;
        }
        i++;
    }
    nf_query_done(q);
    return rc;
}

static int load_tensors(struct nf_study *s, struct nf_step_class *c)
{
    struct nf_query *q;
    uint32_t i = 0;
    int rc = count(s, "SELECT count(*) FROM lifetime WHERE class_id = ?1", c->id, &c->n_tensors);

    if (rc)
        return rc;
    c->tensors = zeroed(c->n_tensors, sizeof *c->tensors);
    if (!c->tensors)
        return -ENOMEM;
    rc = nf_study_query(
        s,
        "SELECT l.number, l.tensor_id, t.bytes, l.address, l.birth_op, l.death_op, ifnull(l.carry_in, -1), "
        "ifnull(l.carry_out, -1), t.name_id, t.module_id, t.tracked, t.birth_regime, ifnull((SELECT role FROM "
        "role_interval r WHERE r.class_id = l.class_id AND r.number = l.number ORDER BY to_op - from_op DESC, role "
        "LIMIT 1), 0) FROM lifetime l JOIN tensor t ON t.id = l.tensor_id WHERE l.class_id = ?1 ORDER BY l.number",
        &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, c->id);
    while ((rc = nf_query_step(q)) == 1) {
        struct nf_tensor *t = &c->tensors[i];
        bool wrong = false;

        if (nf_query_i64(q, 0) != i || i >= c->n_tensors) {
            rc = nf_fail(-EBADMSG, "tensors of step class %lld are not numbered densely", (long long)c->id);
            break;
        }
        t->id = nf_query_i64(q, 1);
        t->bytes = (uint64_t)within(q, 2, 0, INT64_MAX, &wrong);
        t->address = (uint64_t)within(q, 3, 0, INT64_MAX, &wrong);
        t->birth = (int32_t)within(q, 4, NF_OP_BEFORE, INT32_MAX, &wrong);
        t->death = (int32_t)within(q, 5, NF_OP_BEFORE, INT32_MAX, &wrong);
        t->carry_in = (int32_t)within(q, 6, NF_CARRY_NONE, INT32_MAX, &wrong);
        t->carry_out = (int32_t)within(q, 7, NF_CARRY_NONE, INT32_MAX, &wrong);
        t->name = (uint32_t)within(q, 8, 0, UINT32_MAX, &wrong);
        t->module = (uint32_t)within(q, 9, 0, UINT32_MAX, &wrong);
        t->tracked = nf_query_i64(q, 10) != 0;
        t->birth_regime = (nf_regime)nf_query_i64(q, 11);
        t->role = (uint8_t)within(q, 12, 0, NF_ROLE_COUNT - 1, &wrong);
        if (wrong) {
            rc = nf_fail(-EBADMSG, "tensor %u of step class %lld has a number out of its range", i, (long long)c->id);
            break;
        }
        i++;
    }
    nf_query_done(q);
    return rc;
}

static int load_visits(struct nf_study *s, struct nf_step_class *c)
{
    struct nf_query *q;
    /* A chunk that claims more than it can hold is refused later; here it must not ask for memory. */
    _Static_assert(NF_VISIT_CHUNK == 4096, "the largest chunk, as the query has it");
    int rc = count(s, "SELECT coalesce(sum(min(visits, 4096)), 0) FROM visit_chunk WHERE class_id = ?1", c->id,
                   &c->n_visits);

    if (rc)
        return rc;
    c->visits = nf_spill_alloc(c->n_visits, sizeof *c->visits);
    if (!c->visits)
        return -ENOMEM;
    rc = nf_study_query(s, "SELECT visits, raw_bytes, crc32, data, codec FROM visit_chunk WHERE class_id = ?1 ORDER BY "
                           "number",
                        &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, c->id);
    rc = nf_visit_rows_read(q, "visits", c, c->visits, c->n_visits);
    for (uint32_t i = 0; !rc && i < c->n_visits; i++) {
        struct nf_op *o = &c->ops[c->visits[i].op];

        if (!o->n_visits++)
            o->first_visit = i;
    }
    return rc;
}

/* What a class's own row says, beside what its other rows hold. */
struct class_row {
    int64_t ops, visits;
    double factor, gap_ns;
};

/* Rows lost from the end of a class leave the rest in order: only numbers kept elsewhere tell. */
static int check_class_row(struct nf_study *s, const struct nf_step_class *c, const struct class_row *row)
{
    uint32_t tensors;
    int rc;

    if (row->ops != c->n_ops || row->visits != c->n_visits)
        return nf_fail(-EBADMSG, "step class %lld should have %lld ops and %lld visits, but %u and %u are there",
                       (long long)c->id, (long long)row->ops, (long long)row->visits, c->n_ops, c->n_visits);
    rc = count(s, "SELECT coalesce(max(number), -1) + 1 FROM role_interval WHERE class_id = ?1", c->id, &tensors);
    if (!rc && tensors > c->n_tensors)
        rc = nf_fail(-EBADMSG, "step class %lld should have %u tensors, but %u are there", (long long)c->id, tensors,
                     c->n_tensors);
    return rc;
}

/* *rows: one per class, the caller's. */
static int load_classes(struct nf_study *s, int64_t capture, struct nf_stream *stream, struct class_row **rows)
{
    struct nf_query *q;
    uint32_t i = 0;
    int rc = count(s, "SELECT count(*) FROM step_class WHERE capture_id = ?1", capture, &stream->n_classes);

    if (rc)
        return rc;
    stream->classes = zeroed(stream->n_classes, sizeof *stream->classes);
    *rows = zeroed(stream->n_classes, sizeof **rows);
    if (!stream->classes || !*rows)
        return -ENOMEM;
    rc = nf_study_query(s, "SELECT id, number, hash, peak_live_bytes, bare_step_ns, correction_factor, "
                           "correction_gap_ns, ops, visits FROM step_class WHERE capture_id = ?1 ORDER BY number", &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, capture);
    while ((rc = nf_query_step(q)) == 1) {
        struct nf_step_class *c = &stream->classes[i];

        if (i >= stream->n_classes || nf_query_i64(q, 1) != i) {
            rc = nf_fail(-EBADMSG, "step classes are not numbered densely");
            break;
        }
        c->id = nf_query_i64(q, 0);
        c->hash = (uint64_t)nf_query_i64(q, 2);
        c->peak_live_bytes = (uint64_t)nf_query_i64(q, 3);
        c->bare_step_ns = nf_query_f64(q, 4);
        (*rows)[i].factor = nf_query_f64(q, 5);
        (*rows)[i].gap_ns = nf_query_f64(q, 6);
        (*rows)[i].ops = nf_query_i64(q, 7);
        (*rows)[i].visits = nf_query_i64(q, 8);
        i++;
    }
    nf_query_done(q);
    for (i = 0; !rc && i < stream->n_classes; i++) {
        rc = load_ops(s, &stream->classes[i], (*rows)[i].factor, (*rows)[i].gap_ns);
        if (!rc)
            rc = load_tensors(s, &stream->classes[i]);
        if (!rc)
            rc = load_visits(s, &stream->classes[i]);
    }
    return rc;
}

static int load_sequence(struct nf_study *s, int64_t capture, struct nf_stream *stream)
{
    struct nf_query *q;
    uint32_t i = 0;
    int rc = count(s, "SELECT count(*) FROM step s JOIN pass p ON p.id = s.pass_id JOIN step_class c ON c.id = "
                      "s.class_id WHERE p.capture_id = ?1 AND p.kind = 3", capture, &stream->n_sequence);

    if (rc)
        return rc;
    stream->sequence = zeroed(stream->n_sequence, sizeof *stream->sequence);
    if (!stream->sequence)
        return -ENOMEM;
    rc = nf_study_query(s, "SELECT c.number FROM step s JOIN pass p ON p.id = s.pass_id JOIN step_class c ON c.id = "
                           "s.class_id WHERE p.capture_id = ?1 AND p.kind = 3 ORDER BY s.pass_id, s.rank, s.number",
                        &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, capture);
    while ((rc = nf_query_step(q)) == 1 && i < stream->n_sequence) {
        uint64_t number = (uint64_t)nf_query_i64(q, 0);

        if (number >= stream->n_classes) {
            rc = nf_fail(-EBADMSG, "a step belongs to no step class");
            break;
        }
        stream->sequence[i++] = (uint32_t)number;
        stream->classes[number].n_steps++;
    }
    nf_query_done(q);
    return rc < 0 ? rc : 0;
}

static int load_stream(struct nf_study *s, int64_t capture, struct nf_stream *stream)
{
    struct class_row *rows = NULL;
    int rc = load_names(s, stream);

    if (!rc)
        rc = load_classes(s, capture, stream, &rows);
    if (!rc)
        rc = load_sequence(s, capture, stream);
    if (!rc)
        rc = count(s, "SELECT count(carry_slot) FROM tensor WHERE capture_id = ?1", capture, &stream->n_carry);
    if (!rc)
        rc = count(s, "SELECT threads FROM capture WHERE id = ?1", capture, &stream->threads);
    for (uint32_t i = 0; !rc && i < stream->n_classes; i++) {
        rc = nf_step_class_check(&stream->classes[i], stream);
        if (!rc)
            rc = check_class_row(s, &stream->classes[i], &rows[i]);
    }
    free(rows);
    return rc;
}

static int run_fixed(struct nf_study *s, const char *sql)
{
    struct nf_query *q;
    int rc = nf_study_query(s, sql, &q);

    return rc ? rc : nf_query_run(q);
}

int nf_record_stream_load(struct nf_study *s, int64_t capture, struct nf_stream **out)
{
    struct nf_stream *stream = calloc(1, sizeof *stream);
    int rc;

    *out = NULL;
    if (!stream)
        return nf_fail(-ENOMEM, "out of memory");
    /* One view of the file for all queries: a capture may be adding to it meanwhile. A savepoint, as the caller may be in
     * a transaction already. */
    rc = run_fixed(s, "SAVEPOINT stream_load");
    if (!rc) {
        rc = load_stream(s, capture, stream);
        if (run_fixed(s, "RELEASE stream_load") && !rc)
            rc = -EIO;
    }
    if (rc) {
        nf_stream_free(stream);
        return rc == -ENOMEM ? nf_fail(rc, "out of memory loading the stream") : rc;
    }
    *out = stream;
    return 0;
}
