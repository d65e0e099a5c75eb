#include "core/store/watches.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/array.h"
#include "core/base/error.h"
#include "core/model/words.h"
#include "core/store/samples.h"

int nf_watch_insert(struct nf_study *s, int64_t observation, const struct nf_watch_row *row)
{
    struct nf_query *q;
    int rc = nf_study_query(s, "INSERT INTO watch(observation_id, number, address, from_ns, to_ns, hits, reads, writes, "
                               "threads, ended, hit_ns) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, observation);
    nf_query_bind_i64(q, 2, row->number);
    nf_query_bind_i64(q, 3, (int64_t)row->address);
    nf_query_bind_i64(q, 4, (int64_t)row->from_ns);
    nf_query_bind_i64(q, 5, (int64_t)row->to_ns);
    nf_query_bind_i64(q, 6, (int64_t)row->hits);
    nf_query_bind_i64(q, 7, (int64_t)row->reads);
    nf_query_bind_i64(q, 8, (int64_t)row->writes);
    nf_query_bind_i64(q, 9, row->threads);
    nf_query_bind_i64(q, 10, row->ended);
    nf_query_bind_i64(q, 11, row->hit_ns);
    return nf_query_run(q);
}

int nf_watch_part_insert(struct nf_study *s, int64_t observation, const struct nf_watch_part_row *row)
{
    struct nf_query *q;
    int rc = nf_study_query(s, "INSERT INTO watch_part(observation_id, number, step, class_id, tensor, offset, step_from_ns, "
                               "step_to_ns, life_from_ns, life_to_ns, from_ns, to_ns, reads, writes) VALUES(?1, ?2, ?3, ?4, "
                               "?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)", &q);

    if (rc)
        return rc;
    nf_query_bind_i64(q, 1, observation);
    nf_query_bind_i64(q, 2, row->number);
    nf_query_bind_i64(q, 3, row->step);
    nf_query_bind_i64(q, 4, row->class_id);
    nf_query_bind_i64(q, 5, row->tensor);
    nf_query_bind_i64(q, 6, (int64_t)row->offset);
    nf_query_bind_i64(q, 7, (int64_t)row->step_from_ns);
    nf_query_bind_i64(q, 8, (int64_t)row->step_to_ns);
    nf_query_bind_i64(q, 9, (int64_t)row->life_from_ns);
    nf_query_bind_i64(q, 10, (int64_t)row->life_to_ns);
    nf_query_bind_i64(q, 11, (int64_t)row->from_ns);
    nf_query_bind_i64(q, 12, (int64_t)row->to_ns);
    nf_query_bind_i64(q, 13, (int64_t)row->reads);
    nf_query_bind_i64(q, 14, (int64_t)row->writes);
    return nf_query_run(q);
}

/* --- reading --- */

struct hit {
    uint64_t address, time_ns;
    bool write;
};

struct parts {
    NF_ARRAY(struct hit) hits; /* by address, then time */
    NF_ARRAY(struct nf_watch_part) list;
    NF_ARRAY(struct nf_watch_access) accesses;
    struct nf_watched_tensor now;
};

static int by_place(const void *a, const void *b)
{
    const struct hit *x = a, *y = b;

    if (x->address != y->address)
        return x->address > y->address ? 1 : -1;
    return (x->time_ns > y->time_ns) - (x->time_ns < y->time_ns);
}

static int load_hits(struct parts *p, struct nf_study *s, int64_t observation)
{
    struct nf_sample_reader *r;
    const struct nf_sample *samples;
    size_t n;
    int rc = nf_sample_reader_new(s, observation, &r);

    if (rc)
        return rc;
    while ((rc = nf_sample_reader_next(r, &samples, &n)) == 1) {
        if (nf_array_reserve(&p->hits, p->hits.n + n)) {
            rc = nf_fail(-ENOMEM, "out of memory");
            break;
        }
        for (size_t i = 0; i < n; i++)
            p->hits.v[p->hits.n++] = (struct hit){samples[i].address, samples[i].time_ns, samples[i].rw != NF_RW_READ};
    }
    nf_sample_reader_free(r);
    if (p->hits.n)
        qsort(p->hits.v, p->hits.n, sizeof *p->hits.v, by_place);
    return rc;
}

/* Index of the first hit of the word that is not older. */
static size_t first_hit(const struct parts *p, uint64_t address, uint64_t time_ns)
{
    const struct hit key = {address, time_ns, false};
    size_t low = 0, high = p->hits.n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (by_place(&p->hits.v[mid], &key) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* A watch's accesses come once, however many steps it reached into. */
static int add_accesses(struct parts *p, const struct nf_watch_part *part)
{
    for (size_t i = first_hit(p, part->address, part->watch_from_ns);
         i < p->hits.n && p->hits.v[i].address == part->address && p->hits.v[i].time_ns <= part->watch_to_ns; i++)
        if (nf_array_push(&p->accesses, (struct nf_watch_access){p->hits.v[i].time_ns, part->watch, p->hits.v[i].write}))
            return -ENOMEM;
    return 0;
}

static int hand_over(struct parts *p, int (*tensor)(void *, const struct nf_watched_tensor *), void *context)
{
    int rc = 0;

    if (p->list.n) {
        p->now.parts = p->list.v;
        p->now.n_parts = p->list.n;
        p->now.accesses = p->accesses.v;
        p->now.n_accesses = p->accesses.n;
        rc = tensor(context, &p->now);
    }
    p->list.n = p->accesses.n = 0;
    return rc;
}

static int add_part(struct parts *p, const struct nf_query *q)
{
    struct nf_watch_part part = {
        .watch = (uint32_t)nf_query_i64(q, 2),
        .address = (uint64_t)nf_query_i64(q, 3),
        .watch_from_ns = (uint64_t)nf_query_i64(q, 4),
        .watch_to_ns = (uint64_t)nf_query_i64(q, 5),
        .cut = nf_query_i64(q, 6) == NF_WATCH_END_BUDGET,
        .from_ns = (uint64_t)nf_query_i64(q, 7),
        .to_ns = (uint64_t)nf_query_i64(q, 8),
        .life_from_ns = (uint64_t)nf_query_i64(q, 9),
        .life_to_ns = (uint64_t)nf_query_i64(q, 10),
    };

    if (nf_query_i64(q, 2) < 0 || nf_query_i64(q, 2) > UINT32_MAX || nf_query_i64(q, 4) < 0 || nf_query_i64(q, 9) < 0 ||
        nf_query_i64(q, 10) < nf_query_i64(q, 9) || nf_query_i64(q, 11) < 0 || nf_query_i64(q, 11) > UINT32_MAX ||
        part.from_ns < part.watch_from_ns || part.to_ns > part.watch_to_ns || part.to_ns < part.from_ns)
        return nf_fail(-EBADMSG, "watch %lld says contradictory times", (long long)nf_query_i64(q, 2));
    p->now.hit_ns = (uint64_t)nf_query_i64(q, 11);
    if ((!p->list.n || p->list.v[p->list.n - 1].watch != part.watch) && add_accesses(p, &part))
        return -ENOMEM;
    return nf_array_push(&p->list, part);
}

int nf_watched_tensors(struct nf_study *s, int64_t observation,
                       int (*tensor)(void *context, const struct nf_watched_tensor *t), void *context)
{
    struct parts p = {0};
    struct nf_query *q = NULL;
    int rc = load_hits(&p, s, observation), more = 0;

    if (!rc)
        rc = nf_study_query(s, "SELECT p.class_id, p.tensor, p.number, w.address, w.from_ns, w.to_ns, w.ended, p.from_ns, "
                               "p.to_ns, p.life_from_ns, p.life_to_ns, w.hit_ns FROM watch_part p JOIN watch w ON "
                               "w.observation_id = p.observation_id AND w.number = p.number WHERE p.observation_id = ?1 "
                               "ORDER BY p.class_id, p.tensor, p.number, p.step", &q);
    if (!rc)
        nf_query_bind_i64(q, 1, observation);
    while (!rc && (more = nf_query_step(q)) == 1) {
        int64_t class_id = nf_query_i64(q, 0);
        uint32_t number = (uint32_t)nf_query_i64(q, 1);

        if (class_id != p.now.class_id || number != p.now.tensor)
            rc = hand_over(&p, tensor, context);
        p.now.class_id = class_id;
        p.now.tensor = number;
        if (!rc)
            rc = add_part(&p, q);
    }
    nf_query_done(q);
    if (!rc)
        rc = more < 0 ? more : hand_over(&p, tensor, context);
    nf_array_free(&p.hits);
    nf_array_free(&p.list);
    nf_array_free(&p.accesses);
    return rc == -ENOMEM ? nf_fail(rc, "out of memory") : rc;
}
