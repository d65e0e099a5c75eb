#include "pool/belady.h"

#include <math.h>
#include <stdlib.h>

/* The step is played so often, and the middle one counts: what goes round its end is near from the step before, and given up or not
 * in the one after. */
enum { STEPS = 3, COUNTED = 1 };

/* A stay that was begun and not given up. */
struct held {
    uint64_t end; /* the op after its last, counted from the first step on */
    uint32_t stay;
    bool counts;
};

/* Those that are held, the latest end on top; what ended lies below and is forgotten when all has. */
struct heap {
    struct held *v;
    size_t n;
};

static void push(struct heap *h, struct held x)
{
    size_t at = h->n++;

    while (at && h->v[(at - 1) / 2].end < x.end) {
        h->v[at] = h->v[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    h->v[at] = x;
}

static struct held pop(struct heap *h)
{
    struct held top = h->v[0], x = h->v[--h->n];
    size_t at = 0, child;

    while ((child = 2 * at + 1) < h->n) {
        child += child + 1 < h->n && h->v[child + 1].end > h->v[child].end;
        if (h->v[child].end <= x.end)
            break;
        h->v[at] = h->v[child];
        at = child;
    }
    h->v[at] = x;
    return top;
}

struct state {
    const struct nf_stays *s;
    uint32_t *order, *first; /* stays by first op; n_ops + 1: those of op o are order[first[o]] to order[first[o + 1] - 1] */
    uint64_t *ending;        /* by op of all steps and one more: pages that are free from then on */
    struct heap heap;
    uint64_t capacity, load;
    double saved;
};

static void begin_stays(struct state *st, uint32_t step, uint32_t op)
{
    const struct nf_stays *s = st->s;
    uint64_t now = (uint64_t)step * s->n_ops + op;

    st->load -= st->ending[now];
    if (!st->load)
        st->heap.n = 0;
    for (uint32_t i = st->first[op]; i < st->first[op + 1]; i++) {
        const struct nf_stay *stay = &s->v[st->order[i]];
        struct held h = {.end = now + nf_stay_length(stay, s->n_ops), .stay = st->order[i], .counts = step == COUNTED};

        push(&st->heap, h);
        st->ending[h.end] += stay->pages;
        st->load += stay->pages;
        st->saved += h.counts ? (double)stay->bytes : 0;
    }
    while (st->load > st->capacity) { /* so the latest has not ended */
        struct held h = pop(&st->heap);
        const struct nf_stay *stay = &s->v[h.stay];

        st->ending[h.end] -= stay->pages;
        st->load -= stay->pages;
        st->saved -= h.counts ? (double)stay->bytes : 0;
    }
}

static void sort_by_first(struct state *st)
{
    const struct nf_stays *s = st->s;

    for (uint32_t i = 0; i < s->n; i++)
        st->first[s->v[i].first + 1]++;
    for (uint32_t o = 0; o < s->n_ops; o++)
        st->first[o + 1] += st->first[o];
    for (uint32_t i = s->n; i-- > 0;)
        st->order[--st->first[s->v[i].first + 1]] = i;
    for (uint32_t o = 0; o < s->n_ops; o++) /* each now begins where the one before did */
        st->first[o] = st->first[o + 1];
    st->first[s->n_ops] = s->n;
}

double nf_belady_saved(const struct nf_stays *s, uint64_t capacity_pages)
{
    struct state st = {
        .s = s,
        .order = calloc(s->n + (size_t)1, sizeof *st.order),
        .first = calloc(s->n_ops + (size_t)2, sizeof *st.first),
        .ending = calloc((STEPS + (size_t)1) * s->n_ops + 1, sizeof *st.ending),
        .heap.v = malloc((STEPS * (size_t)s->n + 1) * sizeof *st.heap.v),
        .capacity = capacity_pages,
    };
    bool ok = st.order && st.first && st.ending && st.heap.v;

    if (ok && s->n_ops)
        sort_by_first(&st);
    for (uint32_t step = 0; ok && step < STEPS; step++)
        for (uint32_t op = 0; op < s->n_ops; op++)
            begin_stays(&st, step, op);
    free(st.order);
    free(st.first);
    free(st.ending);
    free(st.heap.v);
    return ok ? st.saved : NAN;
}
