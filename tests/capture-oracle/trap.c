/* An independent witness of what a job touches, preloaded in nearfar's place: blocks live in memory of its own that is
 * closed (PROT_NONE) at every op boundary, and a handler of SIGSEGV opens page by page what the job touches, first for
 * reading, then for writing. It offers the entries that annotated programs look for in the preloaded library, so that their
 * ops are its boundaries too; others call oracle_boundary().
 *
 * Environment: ORACLE_OUT the file to write at exit, ORACLE_MIN the least bytes of a block that is watched.
 * Of each op the file has a line "op NUMBER NAME", then lines "SERIAL BYTES PAGE r|w|rw" in the order of first touch; SERIAL
 * counts blocks from 0 in the order of their allocation. System calls into closed pages fail: jobs must not make them. */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "capture/preload/hook.h"

#define EXPORT __attribute__((visibility("default")))

enum { PAGE = 4096, BLOCKS = 1 << 16, PAGES = 1 << 20, TOUCHES = 1 << 22, OPS = 1 << 16, NAME = 48 };
enum { READ = 1, WRITTEN = 2, ERROR_WRITE = 2 };

struct block {
    size_t first_page, bytes;
};
struct touch {
    uint32_t op, page, block;
};

void oracle_boundary(const char *name);

static char *base;
static size_t top, min_bytes = 65536; /* pages handed out */
static uint32_t n_blocks, n_touches, n_ops, n_open;
static struct block *blocks;
static struct touch *touches;
static uint8_t *how;    /* of each touch: READ | WRITTEN */
static uint32_t *owner; /* page -> block */
static uint32_t *state; /* page -> 1 + its touch in this op, 0: closed */
static uint32_t *opened;
static char (*names)[NAME];
static char texts[256][NAME];

static void *map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED)
        abort();
    return p;
}

/* Threads of a job fault at the same time: an entry of 'opened' that two wrote at once left a page open for ever. */
static atomic_flag busy = ATOMIC_FLAG_INIT;

static void on_fault(int signal_number, siginfo_t *info, void *context)
{
    const ucontext_t *u = context;
    size_t page = ((uintptr_t)info->si_addr - (uintptr_t)base) / PAGE;
    int write = (u->uc_mcontext.gregs[REG_ERR] & ERROR_WRITE) != 0;
    struct touch *t;

    while (atomic_flag_test_and_set_explicit(&busy, memory_order_acquire))
        ;
    if ((uintptr_t)info->si_addr < (uintptr_t)base || page >= top || n_touches == TOUCHES) {
        signal(signal_number, SIG_DFL); /* not ours: it happens again, and ends the job */
        goto done;
    }
    if (!state[page]) {
        t = &touches[n_touches++];
        *t = (struct touch){n_ops, (uint32_t)page, owner[page]};
        state[page] = n_touches;
        opened[n_open++] = (uint32_t)page;
    }
    how[state[page] - 1] |= (uint8_t)(write ? WRITTEN : READ);
    /* A page that another thread has opened for writing meanwhile stays so. */
    if (mprotect(base + page * PAGE, PAGE, how[state[page] - 1] & WRITTEN ? PROT_READ | PROT_WRITE : PROT_READ))
        abort();
done:
    atomic_flag_clear_explicit(&busy, memory_order_release);
}

__attribute__((constructor)) static void set_up(void)
{
    const char *least = getenv("ORACLE_MIN");
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};

    if (base)
        return;
    if (least)
        min_bytes = strtoull(least, NULL, 10);
    blocks = map(BLOCKS * sizeof *blocks);
    touches = map(TOUCHES * sizeof *touches);
    how = map(TOUCHES);
    owner = map(PAGES * sizeof *owner);
    state = map(PAGES * sizeof *state);
    opened = map(PAGES * sizeof *opened);
    names = map(OPS * sizeof *names);
    base = mmap(NULL, (size_t)PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    sigaction(SIGSEGV, &action, NULL);
}

/* What was touched since the last boundary belongs to this op. */
EXPORT void oracle_boundary(const char *name)
{
    if (n_ops < OPS)
        snprintf(names[n_ops], NAME, "%s", name);
    n_ops++;
    mprotect(base, top * PAGE, PROT_NONE);
    for (uint32_t i = 0; i < n_open; i++)
        state[opened[i]] = 0;
    n_open = 0;
}

__attribute__((destructor)) static void tell(void)
{
    const char *path = getenv("ORACLE_OUT");
    FILE *f = path ? fopen(path, "we") : NULL;
    uint32_t at = 0;

    if (!f || n_ops > OPS)
        return;
    for (uint32_t op = 0; op < n_ops; op++) {
        fprintf(f, "op %u %s\n", op, names[op]);
        for (; at < n_touches && touches[at].op == op; at++) {
            const struct block *b = &blocks[touches[at].block];

            fprintf(f, "%u %zu %zu %s%s\n", touches[at].block, b->bytes, touches[at].page - b->first_page,
                    how[at] & READ ? "r" : "", how[at] & WRITTEN ? "w" : "");
        }
    }
    fclose(f);
}

static void *take(size_t bytes)
{
    size_t pages = (bytes + PAGE - 1) / PAGE, start = top;

    set_up();
    if (bytes < min_bytes || n_blocks == BLOCKS || pages > PAGES - top)
        return NULL;
    top += pages;
    for (size_t i = 0; i < pages; i++)
        owner[start + i] = n_blocks;
    blocks[n_blocks++] = (struct block){start, bytes};
    return base + start * PAGE;
}

static int owns(const void *block)
{
    return base && (const char *)block >= base && (const char *)block < base + (size_t)PAGES * PAGE;
}

EXPORT int posix_memalign(void **block, size_t alignment, size_t bytes)
{
    static int (*next)(void **, size_t, size_t);
    void *own = alignment >= 64 && alignment <= PAGE ? take(bytes) : NULL;

    if (own) {
        *block = own;
        return 0;
    }
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "posix_memalign");
    return next(block, alignment, bytes);
}

EXPORT void free(void *block)
{
    static void (*next)(void *);
    static int resolving;

    if (owns(block)) {
        uint32_t number = owner[((uintptr_t)block - (uintptr_t)base) / PAGE];

        madvise(block, (blocks[number].bytes + PAGE - 1) / PAGE * PAGE, MADV_DONTNEED);
        return;
    }
    if (!next) {
        if (resolving)
            return;
        resolving = 1;
        *(void **)&next = dlsym(RTLD_NEXT, "free");
    }
    next(block);
}

/* --- the entries of nearfar's library, as capture/annotate/nearfar_annotate.h calls them --- */

EXPORT int nf_hook_track(void)
{
    return 0;
}

EXPORT int nf_hook_claim(void)
{
    return 0;
}

EXPORT int nf_hook_emit(const void *events, uint32_t n)
{
    return 0;
}

EXPORT int nf_hook_op(const uint64_t *words, uint32_t n)
{
    oracle_boundary(texts[words[0] & 255]); /* the name's number is in the low half */
    return 0;
}

EXPORT void nf_hook_foreign(uint64_t address)
{
}

EXPORT int nf_hook_text(uint32_t id, const char *text, uint32_t length)
{
    snprintf(texts[id & 255], NAME, "%.*s", (int)length, text);
    return 0;
}

EXPORT int nf_hook_mark(uint32_t mark, uint32_t name, uint32_t module, uint64_t a)
{
    if (mark == 1)
        oracle_boundary("training");
    return 0;
}

EXPORT int nf_hook_step(void)
{
    oracle_boundary("step");
    return 0;
}

EXPORT void nf_hook_close(void)
{
}
