/* Many threads allocate, grow, shrink and free around the size from which blocks live in the arena, while one of them forks;
 * every block's contents are checked. Run under the preload library with NEARFAR_ARENA, on a small arena that overflows into
 * the heap. usage: arena-stress ROUNDS [EXPECT]   EXPECT: "arena" or "heap", where large blocks must have been */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, SLOTS = 64, LARGE = 65536 };

struct slot {
    unsigned char *at;
    size_t bytes;
    unsigned char value;
};

static int rounds;
static _Atomic size_t in_file, large; /* large blocks that lay in a mapping of the arena's file; all large blocks */
static uintptr_t arena_from, arena_to;

static void die(const char *what)
{
    fprintf(stderr, "arena-stress: %s\n", what);
    _exit(1);
}

static uint32_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*state >> 33);
}

static void check(const struct slot *s)
{
    for (size_t i = 0; i < s->bytes; i += s->bytes > 4096 ? 509 : 1)
        if (s->at[i] != s->value)
            die("a block changed");
    if (s->bytes && s->at[s->bytes - 1] != s->value)
        die("a block's end changed");
    if (malloc_usable_size(s->at) < s->bytes)
        die("malloc_usable_size is too small");
}

static size_t some_size(uint64_t *r)
{
    switch (next(r) % 8) {
    case 0: return 1 + next(r) % 300;
    case 1: return LARGE - 2 + next(r) % 5;
    case 2: return (1 + next(r) % 40) * 4096 - next(r) % 2;
    case 3: return 1 + next(r) % (3 << 20);
    default: return 1 + next(r) % (200 << 10);
    }
}

static void take(struct slot *s, uint64_t *r)
{
    size_t alignment = 64u << next(r) % 4, bytes = some_size(r);
    void *block = NULL;

    switch (next(r) % 4) {
    case 0: block = aligned_alloc(alignment, (bytes = (bytes + alignment - 1) / alignment * alignment)); break;
    case 1: block = memalign(alignment, bytes); break;
    case 2: block = malloc(bytes); alignment = 16; break;
    default: errno = posix_memalign(&block, alignment, bytes); break;
    }
    if (!block)
        die("no memory");
    if ((uintptr_t)block % alignment)
        die("a block lies wrong");
    if (bytes >= LARGE && alignment >= 64) {
        large++;
        in_file += (uintptr_t)block >= arena_from && (uintptr_t)block < arena_to;
    }
    *s = (struct slot){block, bytes, (unsigned char)next(r)};
    memset(block, s->value, bytes);
}

static void resize(struct slot *s, uint64_t *r)
{
    size_t bytes = some_size(r), kept = bytes < s->bytes ? bytes : s->bytes;
    unsigned char *moved = next(r) % 2 ? realloc(s->at, bytes) : reallocarray(s->at, bytes, 1);

    if (!moved)
        die("no memory to grow");
    for (size_t i = 0; i < kept; i += 31)
        if (moved[i] != s->value)
            die("a block changed on its way");
    s->at = moved;
    s->bytes = bytes;
    memset(moved, s->value, bytes);
}

static void churn(struct slot *slots, uint64_t *r, int n)
{
    for (int i = 0; i < n; i++) {
        struct slot *s = &slots[next(r) % SLOTS];

        if (!s->at) {
            take(s, r);
            continue;
        }
        check(s);
        if (next(r) % 3) {
            free(s->at);
            *s = (struct slot){0};
        } else {
            resize(s, r);
        }
    }
}

static void *run(void *number)
{
    struct slot slots[SLOTS] = {{0}};
    uint64_t r = 77 + (uintptr_t)number;

    for (int i = 0; i < rounds; i++) {
        churn(slots, &r, 50);
        if ((uintptr_t)number == 0 && i % 20 == 10) {
            pid_t pid = fork();
            int status;

            if (!pid) {
                for (int k = 0; k < SLOTS; k++)
                    if (slots[k].at)
                        check(&slots[k]);
                churn(slots, &r, 300);
                _exit(0);
            }
            if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
                die("a child failed");
        }
    }
    for (int k = 0; k < SLOTS; k++) {
        if (slots[k].at)
            check(&slots[k]);
        free(slots[k].at);
    }
    return NULL;
}

static void find_arena(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long from, to;
    char text[512];

    while (maps && fgets(text, sizeof text, maps))
        if (strstr(text, "nearfar-arena") && sscanf(text, "%lx-%lx", &from, &to) == 2) {
            arena_from = arena_from ? arena_from : from;
            arena_to = to;
        }
    if (maps)
        fclose(maps);
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    volatile size_t half = SIZE_MAX / 2; /* volatile: compilers refuse what is checked here */
    void *first;

    rounds = argc > 1 ? atoi(argv[1]) : 100;
    if (posix_memalign(&first, 64, LARGE))
        return 1;
    find_arena();
    free(first);
    errno = 0;
    if (reallocarray(NULL, half, 3) || errno != ENOMEM)
        die("reallocarray overflows");
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, run, (void *)i))
            die("no thread");
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("%zu of %zu large blocks in the arena\n", in_file, large);
    if (argc > 2)
        return strcmp(argv[2], "arena") ? in_file != 0 : !in_file || !large;
    return 0;
}
