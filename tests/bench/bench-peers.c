/* The replay's access kernels beside programs that others wrote for the same: multiload (multichase) and Spatter, in one
 * run, turn by turn, on as much memory. Both are found on PATH or where NEARFAR_MULTILOAD and NEARFAR_SPATTER say; rows of
 * an absent one are left out, with the reason. glibc's memset and memcpy are always there. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/log.h"
#include "pool/copy.h"
#include "replay/visit-walk.h"
#include "tests/bench/bench.h"
#include "tests/bench/peer.h"

enum { LINE = 64, WORD = 8, BLOCK = 65536, PEER_ROUNDS = 9 };

enum what { READ, WRITE, COPY, STREAM_COPY, STRIDED, GATHER, SCATTER };

struct state {
    enum what what;
    const char *program; /* NULL: glibc */
    char *memory, *other;
    size_t bytes;
    struct nf_rows rows; /* the order within a block of BLOCK bytes */
};

/* Half a second of it; GB/s of bytes read and written. Its first sample is the least disturbed one of so short a run. */
static double run_multiload(const struct state *s)
{
    static const char *const loads[] = {[READ] = "stream-sum", [WRITE] = "memset-libc", [COPY] = "memcpy-libc", [STREAM_COPY] = "stream-copy"};
    char command[4608];

    snprintf(command, sizeof command, "%s -l %s -t 1 -n 1 -m %zu -H -X 2>/dev/null", s->program, loads[s->what], s->bytes);
    return bench_peer_field("peers", command, " \t,", 7) * 1048576 / 1e9;
}

/* One word of every line: at a constant stride, or by a list of the words of a block in the order of ours. Bytes count as
 * Spatter counts them: words. */
static double run_spatter(const struct state *s)
{
    static char command[BLOCK];
    size_t at = (size_t)snprintf(command, sizeof command, "%s -b serial -k %s -d %d -l %zu -r 3 -p ", s->program,
                                 s->what == SCATTER ? "scatter" : "gather", s->what == STRIDED ? LINE : BLOCK / WORD,
                                 s->bytes / (s->what == STRIDED ? LINE * WORD : BLOCK));

    if (s->what == STRIDED)
        at += (size_t)snprintf(command + at, sizeof command - at, "UNIFORM:8:8");
    for (uint64_t i = 0; s->what != STRIDED && i < BLOCK / LINE; i++)
        at += (size_t)snprintf(command + at, sizeof command - at, "%s%llu", i ? "," : "",
                               (unsigned long long)nf_rows_at(&s->rows, i) * LINE / WORD);
    snprintf(command + at, sizeof command - at, " 2>/dev/null");
    return bench_peer_field("peers", command, " \t", 3) / 1e3;
}

/* The best of a few, as the peers take the best of theirs. */
static double run_here(const struct state *s, bool glibc)
{
    const struct nf_kernels *kernels = nf_kernels_best();
    struct nf_script_visit v = {.bytes = s->bytes / LINE * WORD, .run = WORD, .stride = LINE, .total = s->bytes / LINE * WORD,
                                .grain = WORD, .pattern = s->what == STRIDED ? NF_PATTERN_STRIDED : NF_PATTERN_GATHER,
                                .rw = s->what == SCATTER ? NF_RW_WRITE : NF_RW_READ};
    double best = 0;

    if (s->what != STRIDED) {
        v.rows = s->rows;
        v.bytes = v.total = BLOCK / LINE * WORD;
    }
    for (unsigned i = 0; i < 3; i++) {
        uint64_t begun = nf_now_ns();
        double bytes = (double)s->bytes, speed;

        switch (s->what) {
        case READ: kernels->touch[NF_RW_READ](s->memory, s->bytes, s->bytes, 1); break;
        case WRITE:
            if (glibc)
                memset(s->memory, 3, s->bytes);
            else
                kernels->stream_out(s->memory, s->bytes, s->bytes, 1);
            break;
        case COPY:
        case STREAM_COPY:
            if (glibc)
                memcpy(s->memory, s->other, s->bytes);
            else
                nf_copy_pages(s->memory, s->other, s->bytes);
            bytes *= 2;
            break;
        default:
            for (size_t at = 0; at < s->bytes; at += s->what == STRIDED ? s->bytes : BLOCK) {
                struct nf_pool_storage storage = {.piece = {{s->memory + at, s->bytes - at}}, .bytes = s->bytes - at};

                nf_visit_walk(kernels, &v, &storage, 0, true, 0, v.bytes);
            }
            bytes /= LINE / WORD;
        }
        bench_keep((uint64_t)s->memory[s->bytes / 2]);
        speed = bytes / (double)(nf_now_ns() - begun);
        best = speed > best ? speed : best;
    }
    return best;
}

static double run(void *state, unsigned contender)
{
    const struct state *s = state;

    if (!contender || !s->program)
        return run_here(s, contender);
    return s->what >= STRIDED ? run_spatter(s) : run_multiload(s);
}

int bench_peers(struct bench *b)
{
    char multiload_path[4096], spatter_path[4096];
    const char *multiload = b->smoke ? NULL : bench_peer_find("peers", "multiload", "NEARFAR_MULTILOAD", multiload_path, sizeof multiload_path);
    const char *spatter = b->smoke ? NULL : bench_peer_find("peers", "spatter", "NEARFAR_SPATTER", spatter_path, sizeof spatter_path);
    const struct {
        const char *name, *peer, *program;
        enum what what;
        double least; /* of the peer's speed, that is asked for */
    } rows[] = {
        {"sequential read", "multiload stream-sum", multiload, READ, 0.95},
        {"sequential write, non-temporal", "glibc memset", NULL, WRITE, 0.95},
        {"sequential write, non-temporal", "multiload memset-libc", multiload, WRITE, 0.95},
        {"copy, bytes read and written", "glibc memcpy", NULL, COPY, 0.95},
        {"copy, bytes read and written", "multiload memcpy-libc", multiload, COPY, 0.95},
        {"copy, bytes read and written", "multiload stream-copy", multiload, STREAM_COPY, 0.95},
        {"strided: a word of each line", "Spatter UNIFORM:8:8", spatter, STRIDED, 1},
        {"gather: lines of 64 KiB, shuffled", "Spatter, the same list", spatter, GATHER, 1},
        {"scatter: lines of 64 KiB, shuffled", "Spatter, the same list", spatter, SCATTER, 1},
    };
    struct state s = {.bytes = b->smoke ? 1 << 20 : 256 << 20};
    unsigned rounds = b->rounds;
    int rc = 0;

    s.memory = mmap(NULL, s.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    s.other = mmap(NULL, s.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (s.memory == MAP_FAILED || s.other == MAP_FAILED) {
        perror("mmap");
        return -1;
    }
    /* As the peers have it. */
    madvise(s.memory, s.bytes, MADV_HUGEPAGE);
    madvise(s.other, s.bytes, MADV_HUGEPAGE);
    memset(s.memory, 1, s.bytes);
    memset(s.other, 2, s.bytes);
    nf_copy_choose();
    nf_rows_init(&s.rows, BLOCK / LINE, 11);
    b->rounds = b->rounds < PEER_ROUNDS ? b->rounds : PEER_ROUNDS;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && !rc; i++) {
        const struct bench_row row = {.name = rows[i].name, .unit = "GB/s", .contender = {"ours", rows[i].peer}, .run = run,
                                      .ratio_least = rows[i].least};

        if (!rows[i].program && strncmp(rows[i].peer, "glibc", 5) != 0)
            continue;
        s.what = rows[i].what;
        s.program = rows[i].program;
        rc = bench_row(b, &row, &s);
    }
    b->rounds = rounds;
    munmap(s.memory, s.bytes);
    munmap(s.other, s.bytes);
    return rc;
}
