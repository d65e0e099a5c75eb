/* What the guest's tests ask the kernel itself to do with memory, without nearfar.
 *   memory spread MODE PAGES   pages bound by a policy of this number over nodes 0 and 1: prints how many are on each
 *   memory take NODE MIB SECONDS   takes and locks memory of a node, says so, and goes after a while
 *   memory fill NODE SECONDS   takes all that a node has, and for so long whatever is given back to it
 *   memory hold NODE MIB SECONDS   the same unlocked: the kernel may move it */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, PREFERRED = 1, BIND = 2 };

static char *mapped(size_t bytes, int mode, unsigned long nodes)
{
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    madvise(memory, bytes, MADV_NOHUGEPAGE);
    if (syscall(SYS_mbind, memory, bytes, mode, &nodes, 8 * sizeof nodes + 1, 0)) {
        printf("refused: %s\n", strerror(errno));
        exit(3);
    }
    return memory;
}

static int spread(int mode, size_t pages)
{
    char *memory = mapped(pages * PAGE, mode, 3);
    unsigned long on[2] = {0};

    for (size_t i = 0; i < pages; i++) {
        void *page = memory + i * PAGE;
        int node = -1;

        memory[i * PAGE] = 1;
        if (syscall(SYS_move_pages, 0, 1ul, &page, NULL, &node, 0) || node < 0 || node > 1) {
            fprintf(stderr, "page %zu is on node %d\n", i, node);
            return 1;
        }
        on[node]++;
    }
    printf("%lu %lu\n", on[0], on[1]);
    return 0;
}

/* Page by page, so that what is there already is pushed out rather than this refused. */
static int take(int node, size_t mib, unsigned seconds, int locked)
{
    size_t bytes = mib << 20;
    char *memory = mapped(bytes, locked ? BIND : PREFERRED, 1ul << node);

    for (size_t at = 0; at < bytes; at += PAGE)
        memory[at] = 1;
    if (locked && mlock(memory, bytes))
        perror("mlock");
    printf("taken\n");
    fflush(stdout);
    sleep(seconds);
    return 0;
}

static int node_of(void *page)
{
    int node = -1;

    return syscall(SYS_move_pages, 0, 1ul, &page, NULL, &node, 0) ? -1 : node;
}

/* Preferred, not bound: the page that finds no room lies elsewhere instead of getting somebody killed. */
static int fill(int node, unsigned seconds)
{
    const size_t bytes = 1 << 30;
    char *memory = mapped(bytes, PREFERRED, 1ul << node);
    time_t end = time(NULL) + seconds;
    int said = 0;

    for (size_t at = 0; at < bytes && time(NULL) < end;) {
        memory[at] = 1;
        if (node_of(memory + at) == node) {
            at += PAGE;
            continue;
        }
        madvise(memory + at, PAGE, MADV_DONTNEED);
        if (!said++) {
            printf("filled after %zu MiB\n", at >> 20);
            fflush(stdout);
        }
        usleep(2000);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "spread"))
        return spread(atoi(argv[2]), strtoul(argv[3], NULL, 10));
    if (argc == 5 && (!strcmp(argv[1], "take") || !strcmp(argv[1], "hold")))
        return take(atoi(argv[2]), strtoul(argv[3], NULL, 10), (unsigned)atoi(argv[4]), *argv[1] == 't');
    if (argc == 4 && !strcmp(argv[1], "fill"))
        return fill(atoi(argv[2]), (unsigned)atoi(argv[3]));
    return 2;
}
