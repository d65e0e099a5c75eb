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
};

static double run(void *state, unsigned contender)
{
    const struct state *s = state;
    uint64_t begun = nf_now_ns();

    if (contender)
        memcpy(s->to, s->from, s->bytes);
    else
        nf_copy_pages(s->to, s->from, s->bytes);
    bench_keep((uint64_t)s->to[s->bytes - 1]);
    return (double)s->bytes / (double)(nf_now_ns() - begun);
}

int bench_copy(struct bench *b)
{
    const struct bench_row row = {.name = "migration copy", .unit = "GB/s", .contender = {"ours", "memcpy (glibc)"},
                                  .run = run, .ratio_least = 0.95};
    struct state s = {.bytes = b->smoke ? 1 << 20 : 256 << 20};
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
    munmap(both, 2 * s.bytes);
    return rc;
}
