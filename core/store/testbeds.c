#include "core/store/testbeds.h"

#include <errno.h>
#include <stdbool.h>

#include "core/base/error.h"

/* A row's columns from `first` on become parameters 1, ...; ids of the other study, before it, are not taken over. */
static void take_over(const struct nf_query *row, int first, struct nf_query *into)
{
    for (int i = first; i < nf_query_columns(row); i++) {
        if (nf_query_is_null(row, i))
            nf_query_bind_null(into, i - first + 1);
        else if (nf_query_is_number(row, i))
            nf_query_bind_f64(into, i - first + 1, nf_query_f64(row, i)); /* exact: bytes and nanoseconds below 2^53 */
        else
            nf_query_bind_text(into, i - first + 1, nf_query_text(row, i));
    }
}

/* The row that `find` (bound as `add` is) knows in `to`, or that is added. > 0 or -errno (cause set). */
static int64_t find_or_add(struct nf_query *row, int first, int64_t last, struct nf_study *to, const char *find, const char *add)
{
    const char *const both[] = {find, add};
    int at = nf_query_columns(row) - first + 1;

    for (int i = 0; i < 2; i++) {
        struct nf_query *q;
        int64_t id;
        int rc = nf_study_query(to, both[i], &q);

        if (rc)
            return rc;
        take_over(row, first, q);
        nf_query_bind_i64(q, at, last);
        if (i) {
            rc = nf_query_run(q);
            return rc ? rc : nf_study_last_id(to);
        }
        rc = nf_query_step(q);
        id = rc == 1 ? nf_query_i64(q, 0) : 0;
        nf_query_done(q);
        if (rc)
            return rc < 0 ? rc : id;
    }
    return -EIO;
}

/* Rows of the testbed `id` become rows of `as`. 0 or -errno (cause set). */
static int copy_rows(struct nf_study *from, int64_t id, const char *select, struct nf_study *to, int64_t as, const char *insert)
{
    struct nf_query *row, *q;
    int rc = nf_study_query(from, select, &row);

    if (rc)
        return rc;
    nf_query_bind_i64(row, 1, id);
    while ((rc = nf_query_step(row)) == 1) {
        rc = nf_study_query(to, insert, &q);
        if (rc)
            break;
        take_over(row, 0, q);
        nf_query_bind_i64(q, nf_query_columns(row) + 1, as);
        rc = nf_query_run(q);
        if (rc)
            break;
    }
    nf_query_done(row);
    return rc;
}

static int copy_parts(struct nf_study *from, int64_t id, struct nf_study *to, int64_t as)
{
    int rc = copy_rows(from, id,
                       "SELECT number, name, provider, spec, target_latency_ns, target_read_bps, latency_ns, read_bps, write_bps, "
                       "stream_parallelism, gather_parallelism, evidence, node, proved FROM tier WHERE testbed_id = ?1 ORDER BY number",
                       to, as,
                       "INSERT INTO tier(number, name, provider, spec, target_latency_ns, target_read_bps, latency_ns, read_bps, "
                       "write_bps, stream_parallelism, gather_parallelism, evidence, node, proved, testbed_id) "
                       "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)");

    if (!rc)
        rc = copy_rows(from, id,
                       "SELECT tier_number, what, working_set_bytes, parallelism, run, value, unit FROM tier_sample "
                       "WHERE testbed_id = ?1 ORDER BY id",
                       to, as,
                       "INSERT INTO tier_sample(tier_number, what, working_set_bytes, parallelism, run, value, unit, testbed_id) "
                       "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
    if (!rc)
        rc = copy_rows(from, id,
                       "SELECT tier_number, to_tier, what, value, unit, stable, traffic, threads, offered, traffic_bps, page, locality, "
                       "working_set_bytes, llc_bytes, parallelism, cpu, governor, samples, traffic_cpus FROM tier_figure WHERE testbed_id = ?1 "
                       "ORDER BY id",
                       to, as,
                       "INSERT INTO tier_figure(tier_number, to_tier, what, value, unit, stable, traffic, threads, offered, traffic_bps, "
                       "page, locality, working_set_bytes, llc_bytes, parallelism, cpu, governor, samples, traffic_cpus, testbed_id) "
                       "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)");
    return rc;
}

/* Machine, invocation and testbed of the row; *as: the testbed; *found: it was there. 0 or -errno (cause set). */
static int copy_head(struct nf_query *row, struct nf_study *from, struct nf_study *to, int64_t *machine, int64_t *as, bool *found)
{
    enum { TESTBED_COLUMNS = 5 };
    struct nf_query *q;
    int64_t invocation;
    int rc;

    /* Of the machine: as nf_record_machine tells machines apart. */
    rc = nf_study_query(from,
                        "SELECT m.host, m.cpu, m.kernel, m.facts, m.cpus, m.nodes, m.memory_bytes, m.llc_reported_bytes, m.hypervisor "
                        "FROM machine m JOIN testbed b ON b.machine_id = m.id WHERE b.id = ?1",
                        &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, nf_query_i64(row, 0));
    rc = nf_query_step(q);
    if (rc == 1)
        *machine = find_or_add(q, 0, 0, to,
                               "SELECT id FROM machine WHERE host = ?1 AND cpu = ?2 AND kernel = ?3 AND facts = ?4 AND ?5 >= 0 AND "
                               "?6 >= 0 AND ?7 >= 0 AND ?8 >= 0 AND ?9 <> '' AND ?10 = 0",
                               "INSERT INTO machine(host, cpu, kernel, facts, cpus, nodes, memory_bytes, llc_reported_bytes, hypervisor) "
                               "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 WHERE ?10 = 0");
    nf_query_done(q);
    if (rc != 1 || *machine < 0)
        return rc < 0 ? rc : rc ? (int)*machine : nf_fail(-EBADMSG, "its testbed has no machine");
    rc = nf_study_query(from, "SELECT i.started_utc, i.tool_version, i.command, i.status, i.message FROM invocation i JOIN testbed b "
                              "ON b.invocation_id = i.id WHERE b.id = ?1", &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, nf_query_i64(row, 0));
    rc = nf_query_step(q);
    invocation = rc == 1 ? find_or_add(q, 0, *machine, to,
                                       "SELECT id FROM invocation WHERE started_utc = ?1 AND tool_version = ?2 AND command = ?3 AND "
                                       "status = ?4 AND message = ?5 AND machine_id = ?6",
                                       "INSERT INTO invocation(started_utc, tool_version, command, status, message, machine_id) "
                                       "VALUES(?1, ?2, ?3, ?4, ?5, ?6)")
                         : 0;
    nf_query_done(q);
    if (rc != 1 || invocation < 0)
        return rc < 0 ? rc : rc ? (int)invocation : nf_fail(-EBADMSG, "nothing measured its testbed");
    rc = nf_study_query(to, "SELECT id FROM testbed WHERE invocation_id = ?1 AND machine_id = ?2", &q);
    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, invocation);
    nf_query_bind_i64(q, 2, *machine);
    rc = nf_query_step(q);
    *found = rc == 1;
    *as = *found ? nf_query_i64(q, 0) : 0;
    nf_query_done(q);
    if (rc)
        return rc < 0 ? rc : 0;
    rc = nf_study_query(to, "INSERT INTO testbed(llc_effective_bytes, page_bytes, conditions, cpu, invocation_id, machine_id) "
                            "VALUES(?1, ?2, ?3, ?4, ?5, ?6)", &q);
    if (rc)
        return rc;
    take_over(row, 1, q);
    nf_query_bind_i64(q, TESTBED_COLUMNS, invocation);
    nf_query_bind_i64(q, TESTBED_COLUMNS + 1, *machine);
    rc = nf_query_run(q);
    *as = nf_study_last_id(to);
    return rc;
}

int64_t nf_record_testbed_copy(struct nf_study *from, struct nf_study *to, int64_t *machine)
{
    struct nf_query *row;
    bool found = false;
    int64_t as = 0, id;
    int rc = nf_study_query(from, "SELECT id, llc_effective_bytes, page_bytes, conditions, cpu FROM testbed ORDER BY id DESC LIMIT 1", &row);

    if (rc)
        return rc;
    rc = nf_query_step(row);
    if (rc != 1) {
        nf_query_done(row);
        return rc < 0 ? rc : nf_fail(-ENOENT, "%s holds no testbed: nearfar tiers --measure -o makes one", nf_study_path(from));
    }
    id = nf_query_i64(row, 0);
    rc = nf_study_begin(to);
    if (!rc) {
        rc = copy_head(row, from, to, machine, &as, &found);
        if (!rc && !found)
            rc = copy_parts(from, id, to, as);
        if (rc)
            nf_study_rollback(to);
        else
            rc = nf_study_commit(to);
    }
    nf_query_done(row);
    return rc ? rc : as;
}

int nf_record_testbed_cpu(struct nf_study *s, int64_t id)
{
    struct nf_query *q;
    int cpu = -1;

    if (nf_study_query(s, "SELECT cpu FROM testbed WHERE ?1 = 0 OR id = ?1 ORDER BY id DESC LIMIT 1", &q))
        return -1;
    nf_query_bind_i64(q, 1, id);
    if (nf_query_step(q) == 1)
        cpu = (int)nf_query_i64(q, 0);
    nf_query_done(q);
    return cpu;
}
