/* The copy behind every migration, against glibc's memcpy, over buffers far larger than a cache. ./bench sets mbw's
 * memcpy of the same size beside both. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/base/log.h"
#include "pool/copy.h"
#include "tests/bench/bench.h"

struct state {
    char *from, *to;
    size_t bytes;
    int way; /* -1: the chosen one */
};

static double run(void *state, unsigned contender)
{
    const struct state *s = state;
    uint64_t begun = nf_now_ns();

    if (contender)
        memcpy(s->to, s->from, s->bytes);
    else if (s->way < 0)
        nf_copy_pages(s->to, s->from, s->bytes);
    else
        nf_copy_pages_by((enum nf_copy_way)s->way, s->to, s->from, s->bytes);
    bench_keep((uint64_t)s->to[s->bytes - 1]);
    return (double)s->bytes / (double)(nf_now_ns() - begun);
}

/* The ways among which the chosen one is the fastest. */
static int bench_ways(struct bench *b, struct state *s)
{
    static const char *const names[NF_COPY_WAYS] = {
        [NF_COPY_ORDERED] = "  pages in order", [NF_COPY_ORDERED_AVX2] = "  pages in order, AVX2",
        [NF_COPY_ASIDE] = "  pages side by side", [NF_COPY_ASIDE_AVX512] = "  pages side by side, AVX-512"};
    int rc = 0;

    for (s->way = 0; s->way < NF_COPY_WAYS && !rc; s->way++) {
        const struct bench_row row = {.name = names[s->way], .unit = "GB/s", .contender = {"ours", "memcpy (glibc)"}, .run = run};

        if (nf_copy_way_works((enum nf_copy_way)s->way))
            rc = bench_row(b, &row, s);
    }
    return rc;
}

int bench_copy(struct bench *b)
{
    const struct bench_row row = {.name = "migration copy", .unit = "GB/s", .contender = {"ours", "memcpy (glibc)"},
                                  .run = run, .ratio_least = 0.95};
    struct state s = {.way = -1, .bytes = b->smoke ? 1 << 20 : 256 << 20};
    char *both = mmap(NULL, 2 * s.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int rc;

    if (both == MAP_FAILED) {
        perror("mmap");
        return -1;
    }
    madvise(both, 2 * s.bytes, MADV_HUGEPAGE);
    memset(both, 1, 2 * s.bytes);
    nf_copy_choose();
    s.from = both;
    s.to = both + s.bytes;
    rc = bench_row(b, &row, &s);
    if (!rc)
        rc = bench_ways(b, &s);
    munmap(both, 2 * s.bytes);
    return rc;
}
