/* A job without Python: threads allocate and free aligned blocks in every way while the ring is claimed in the middle
 * of it, then a forked child goes on alone. Prints what the ring has to agree with; exits 1 on a broken allocator. */
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, ROUNDS = 20000, BLOCKS = 64 };

static _Atomic unsigned claim_at; /* rounds until the claim */
static int (*hook_claim)(void);

static void fail(const char *what)
{
    fprintf(stderr, "alloc-stress: %s\n", what);
    _exit(1);
}

static void *get_block(unsigned how, size_t bytes)
{
    void *block = NULL;

    switch (how % 4) {
    case 0:
        if (posix_memalign(&block, 64, bytes) != 0)
            fail("posix_memalign");
        break;
    case 1: block = aligned_alloc(64, (bytes + 63) / 64 * 64); break;
    case 2: block = memalign(4096, bytes); break;
    default: block = malloc(bytes); break;
    }
    if (!block || malloc_usable_size(block) < bytes)
        fail("no block, or a small one");
    memset(block, 0x5a, bytes);
    return block;
}

static void *work(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    unsigned char *blocks[BLOCKS] = {0};
    size_t sizes[BLOCKS];

    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned i = (unsigned)rand_r(&seed) % BLOCKS;
        size_t bytes = 1 + (size_t)rand_r(&seed) % 9000;

        if (atomic_fetch_sub(&claim_at, 1) == 1)
            hook_claim();
        errno = 1234;
        if (blocks[i] && round % 3 == 0) {
            size_t kept = sizes[i] < bytes ? sizes[i] : bytes;

            blocks[i] = realloc(blocks[i], bytes);
            if (!blocks[i] || blocks[i][0] != 0x5a || blocks[i][kept - 1] != 0x5a)
                fail("realloc lost the content");
            memset(blocks[i], 0x5a, bytes);
            sizes[i] = bytes;
            continue;
        }
        free(blocks[i]);
        blocks[i] = get_block((unsigned)rand_r(&seed), bytes);
        sizes[i] = bytes;
        if (errno != 1234)
            fail("errno changed");
    }
    for (unsigned i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    return NULL;
}

int main(void)
{
    int (*hook_track)(void);
    void (*hook_close)(void);
    pthread_t threads[THREADS];
    int status;

    *(void **)&hook_track = dlsym(RTLD_DEFAULT, "nf_hook_track");
    *(void **)&hook_claim = dlsym(RTLD_DEFAULT, "nf_hook_claim");
    *(void **)&hook_close = dlsym(RTLD_DEFAULT, "nf_hook_close");
    if (!hook_track || !hook_claim || !hook_close || hook_track() != 0)
        fail("the library is not preloaded");
    claim_at = THREADS * ROUNDS / 2;
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, work, (void *)(i + 1));
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < 20; i++) {
        pid_t child = fork();

        if (child == 0) {
            work((void *)(uintptr_t)99);
            _exit(hook_claim() == 0 ? 2 : 0);
        }
        if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
            fail("a forked child failed, or claimed the ring");
    }
    hook_close();
    return 0;
}
