#include "pool/pages.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/base/error.h"
#include "core/model/stream.h"

/* Pages in one call. The kernel drains the lists of all CPUs in each call that moves, which costs more than moving dozens
 * of pages; 16 MiB of pages amortize it, and their arrays (16 bytes a page) still fit a thread's stack. */
enum { BATCH = 4096 };
/* A page that somebody holds for a moment (write-back, another look at it) is tried again after 100 us. */
enum { TRIES = 10 };
/* A page under migration is nowhere until it has arrived, for microseconds; after 10 ms in all it is somewhere or was never written. */
enum { ARRIVAL_LOOKS = 100 };
static const struct timespec RETRY = {.tv_nsec = 100000};
#define MPOL_MF_MOVE_OWN 2 /* MPOL_MF_MOVE: pages that other processes map as well stay */

static long call_move_pages(unsigned long n, void **pages, const int *nodes, int *status)
{
    return syscall(SYS_move_pages, 0, n, pages, nodes, status, MPOL_MF_MOVE_OWN);
}

static long call_unbind(void *memory, size_t bytes)
{
    const int default_rule = 0; /* MPOL_DEFAULT */

    return syscall(SYS_mbind, memory, bytes, default_rule, NULL, 0, 0);
}

const struct nf_pages_system nf_pages_kernel = {call_move_pages, call_unbind};

static void list_pages(char *at, size_t n, void **pages)
{
    for (size_t i = 0; i < n; i++)
        pages[i] = at + i * NF_PAGE_BYTES;
}

/* A page that is being migrated is nowhere until it has arrived. */
static bool worth_another_try(int status)
{
    return status == -EBUSY || status == -EAGAIN || status == -ENOENT;
}

static int cannot(int status, const void *page, int node)
{
    int rc = status == -ENOMEM ? -ENOMEM : -EXDEV;

    if (status == -ENOMEM)
        return nf_fail(rc, "node %d has no free memory for another page", node);
    if (status == -EACCES)
        return nf_fail(rc, "page %p is shared with another process and cannot be moved", page);
    if (status == -ENOENT || status == -EFAULT)
        return nf_fail(rc, "page %p was never written, so there is nothing to move to node %d", page, node);
    return nf_fail(rc, "page %p did not move to node %d: %s", page, node, strerror(-status));
}

/* Pages of one batch that are not on the node yet; they are put first. Returns how many, or -errno (cause set). */
static long astray(const struct nf_pages_system *system, void **pages, size_t n, int node, int *status)
{
    size_t left = 0;

    if (system->move_pages(n, pages, NULL, status) < 0)
        return nf_fail(-errno, "cannot ask where pages are: %s", strerror(errno));
    for (size_t i = 0; i < n; i++) {
        if (status[i] == node)
            continue;
        pages[left] = pages[i];
        status[left++] = status[i];
    }
    return (long)left;
}

static int call_failed(int error, size_t n, const void *page, int node)
{
    if (error == ENOMEM)
        return cannot(-ENOMEM, page, node);
    return nf_fail(-error, "cannot move %zu pages to node %d: %s%s", n, node, strerror(error),
                   error == EPERM ? " (in a container: give it CAP_SYS_NICE)" : "");
}

/* Statuses tell what became of each page when its turn came; where it is now is asked for afterwards. */
static int move_batch(const struct nf_pages_system *system, void **pages, size_t n, int node, uint64_t *moved)
{
    int nodes[BATCH], status[BATCH], lasting = 0;
    long left = astray(system, pages, n, node, status), before;

    for (size_t i = 0; i < n; i++)
        nodes[i] = node;
    for (int tries = 0; left > 0 && tries < TRIES && !lasting; tries++) {
        if (tries)
            nanosleep(&RETRY, NULL);
        if (system->move_pages((unsigned long)left, pages, nodes, status) < 0 && !worth_another_try(-errno))
            return call_failed(errno, (size_t)left, pages[0], node);
        for (long i = 0; i < left && !lasting; i++)
            lasting = status[i] < 0 && !worth_another_try(status[i]) ? status[i] : 0;
        before = left;
        left = astray(system, pages, (size_t)left, node, status);
        *moved += left < 0 ? 0 : (uint64_t)(before - left);
    }
    if (left <= 0)
        return (int)left;
    return cannot(lasting ? lasting : status[0] < 0 ? status[0] : -EBUSY, pages[0], node);
}

int nf_pages_move(const struct nf_pages_system *system, void *memory, uint64_t bytes, int node, uint64_t *moved)
{
    void *pages[BATCH];
    uint64_t n = bytes / NF_PAGE_BYTES, sum = 0;
    int rc = 0;

    for (uint64_t done = 0; done < n && !rc;) {
        size_t batch = n - done < BATCH ? (size_t)(n - done) : BATCH;

        list_pages((char *)memory + done * NF_PAGE_BYTES, batch, pages);
        rc = move_batch(system, pages, batch, node, &sum);
        done += batch;
    }
    if (moved)
        *moved = sum;
    return rc;
}

/* Pages that were nowhere, asked for again until they have arrived. looks: so many looks were spent on this
 * call already. 0 or -errno (cause set). */
static int look_again(const struct nf_pages_system *system, void **pages, size_t n, int *node, int *looks)
{
    size_t away[BATCH], left = 0;
    void *page[BATCH];
    int status[BATCH];

    for (size_t i = 0; i < n; i++)
        if (node[i] == -ENOENT)
            away[left++] = i;
    for (; left && *looks < ARRIVAL_LOOKS; ++*looks) {
        size_t still = 0;

        nanosleep(&RETRY, NULL);
        for (size_t i = 0; i < left; i++)
            page[i] = pages[away[i]];
        if (system->move_pages(left, page, NULL, status) < 0)
            return nf_fail(-errno, "cannot ask where pages are: %s", strerror(errno));
        for (size_t i = 0; i < left; i++) {
            node[away[i]] = status[i];
            if (status[i] == -ENOENT)
                away[still++] = away[i];
        }
        left = still;
    }
    return 0;
}

int nf_pages_where(const struct nf_pages_system *system, const void *memory, uint64_t bytes, int *node)
{
    void *pages[BATCH];
    uint64_t n = bytes / NF_PAGE_BYTES;
    int looks = 0, rc = 0;

    for (uint64_t done = 0; done < n && !rc;) {
        size_t batch = n - done < BATCH ? (size_t)(n - done) : BATCH;

        list_pages((char *)memory + done * NF_PAGE_BYTES, batch, pages);
        if (system->move_pages(batch, pages, NULL, node + done) < 0)
            return nf_fail(-errno, "cannot ask where pages are: %s", strerror(errno));
        rc = look_again(system, pages, batch, node + done, &looks);
        done += batch;
    }
    return rc;
}
