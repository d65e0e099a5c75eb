/* The arena of the preload library from inside: its blocks and holes, what boundaries drop, what forks keep. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "capture/preload/arena.c"
#include "core/base/rng.h"

enum { BLOCKS = 300, RESERVE = 64 << 20 };

static struct nf_ring_header header;

static int setup(void **state)
{
    char text[100];

    snprintf(text, sizeof text, "min=4096,granule=4096,every=1,reserve=%d", RESERVE);
    return setenv(NF_ARENA_ENV, text, 1);
}

/* Holes are sorted, apart from each other and below the top; with the blocks they are all there is below it. */
static void is_sound(void)
{
    size_t in_blocks = 0, in_holes = 0, end = 0;

    for (size_t i = 0; i < n_holes; i++) {
        assert_true(holes[i].n > 0);
        assert_true(i == 0 ? true : holes[i].start > end);
        end = holes[i].start + holes[i].n;
        in_holes += holes[i].n;
    }
    assert_true(!n_holes || end < top);
    for (size_t g = 0; g < top; g++) {
        in_blocks += block_granules[g];
        for (size_t i = 1; i < block_granules[g]; i++)
            assert_int_equal(block_granules[g + i], 0);
    }
    assert_int_equal(in_blocks + in_holes, top);
}

static void small_or_odd_blocks_are_the_heaps(void **state)
{
    assert_null(nf_arena_alloc(64, 4095));
    assert_null(nf_arena_alloc(8192, 65536));
    assert_null(nf_arena_alloc(64, SIZE_MAX));
    assert_null(nf_arena_alloc(64, (size_t)RESERVE + 1));
    assert_false(nf_arena_owns(NULL));
    assert_false(nf_arena_owns(&header));
    assert_int_equal(nf_arena_size(), RESERVE);
    assert_false(nf_arena_owns((char *)nf_arena_base() - 1));
    assert_true(nf_arena_owns((char *)nf_arena_base()));
    assert_false(nf_arena_owns((char *)nf_arena_base() + RESERVE));
}

static void neighbours_join(void **state)
{
    char *block[5], *again;

    for (int i = 0; i < 5; i++) {
        block[i] = nf_arena_alloc(64, 5000);
        assert_non_null(block[i]);
        assert_int_equal(nf_arena_usable(block[i]), 8192);
        assert_true(!i || block[i] == block[i - 1] + 8192);
    }
    nf_arena_free(block[1]);
    nf_arena_free(block[3]);
    assert_int_equal(n_holes, 2);
    is_sound();
    nf_arena_free(block[2]);
    assert_int_equal(n_holes, 1);
    again = nf_arena_alloc(64, 6 * 4096);
    assert_ptr_equal(again, block[1]);
    assert_int_equal(n_holes, 0);
    nf_arena_free(again);
    nf_arena_free(again); /* twice is the job's mistake, not the arena's */
    is_sound();
    nf_arena_free(block[4]);
    assert_int_equal(top, 2);
    nf_arena_free(block[0]);
    assert_int_equal(top, 0);
}

static void a_full_arena_gives_none(void **state)
{
    void *all = nf_arena_alloc(64, RESERVE), *rest;

    assert_non_null(all);
    assert_null(nf_arena_alloc(64, 4096));
    nf_arena_free(all);
    all = nf_arena_alloc(64, RESERVE - 8192);
    rest = nf_arena_alloc(64, 4097);
    assert_non_null(rest);
    assert_null(nf_arena_alloc(64, 4096));
    nf_arena_free(all);
    assert_ptr_equal(nf_arena_alloc(64, 4096), all);
    is_sound();
    nf_arena_free(all);
    nf_arena_free(rest);
    assert_int_equal(top, 0);
}

static void at_random(void **state)
{
    struct nf_rng r = {7};
    struct {
        char *at;
        size_t n;
        char value;
    } block[BLOCKS] = {0};

    for (int round = 0; round < 20000; round++) {
        size_t i = nf_rng_below(&r, BLOCKS);

        if (block[i].at) {
            assert_int_equal(block[i].at[0], block[i].value);
            assert_int_equal(block[i].at[block[i].n - 1], block[i].value);
            nf_arena_free(block[i].at);
            block[i].at = NULL;
        } else {
            block[i].n = 4096 + nf_rng_below(&r, nf_rng_below(&r, 10) ? 60000 : 2000000);
            block[i].at = nf_arena_alloc(64, block[i].n);
            block[i].value = (char)round;
            if (block[i].at)
                block[i].at[0] = block[i].at[block[i].n - 1] = (char)round;
        }
        if (round % 500 == 0)
            is_sound();
        if (round % 50 == 0)
            nf_arena_boundary();
    }
    for (int i = 0; i < BLOCKS; i++)
        if (block[i].at)
            nf_arena_free(block[i].at);
    assert_int_equal(top, 0);
    assert_int_equal(n_holes, 0);
}

/* How many pages of a block the page table has. */
static size_t mapped(const char *block, size_t bytes)
{
    uint64_t entry;
    size_t n = 0;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    for (size_t at = 0; at < bytes; at += PAGE_BYTES)
        if (pread(fd, &entry, sizeof entry, (off_t)((uintptr_t)(block + at) / PAGE_BYTES * 8)) == 8)
            n += entry >> 63;
    close(fd);
    return n;
}

static void boundaries_drop_and_keep(void **state)
{
    char *first, *second;

    nf_arena_attach(&header);
    first = nf_arena_alloc(64, 20 * PAGE_BYTES);
    memset(first, 5, 20 * PAGE_BYTES);
    assert_int_equal(mapped(first, 20 * PAGE_BYTES), 20);
    nf_arena_boundary();
    assert_int_equal(mapped(first, 20 * PAGE_BYTES), 0);
    for (size_t i = 0; i < 20; i++)
        assert_int_equal(first[i * PAGE_BYTES], 5);
    /* One at the top that comes and goes within an op must not be mapped in the next. */
    second = nf_arena_alloc(64, 30 * PAGE_BYTES);
    memset(second, 6, 30 * PAGE_BYTES);
    nf_arena_free(second);
    nf_arena_boundary();
    assert_int_equal(mapped(second, 30 * PAGE_BYTES), 0);
    second = nf_arena_alloc(64, 30 * PAGE_BYTES);
    nf_arena_boundary();
    memset(second, 6, 30 * PAGE_BYTES);
    nf_arena_free(second);
    nf_arena_boundary();
    assert_int_equal(mapped(second, 30 * PAGE_BYTES), 0);
    /* What the job locked in memory is dropped too, where the kernel can (Linux 5.18). */
    if (!mlock(first, PAGE_BYTES)) {
        nf_arena_boundary();
        print_message("locked: %zu pages mapped after a boundary\n", mapped(first, 20 * PAGE_BYTES));
        munlock(first, PAGE_BYTES);
    }
    assert_true(header.boundaries > 3);
    assert_int_equal(header.arena_base, nf_arena_base());
    assert_int_equal(header.arena_bytes, RESERVE);
    nf_arena_free(first);
    nf_arena_attach(NULL);
}

static void forked(bool may_train, const char *block, size_t bytes, char value)
{
    pid_t pid;
    int status;

    nf_arena_fork_prepare();
    pid = fork();
    if (!pid) {
        char *mine;
        int wrong = 0;

        nf_arena_fork_child(may_train);
        for (size_t i = 0; i < bytes; i += 64)
            wrong |= block[i] != value;
        memset((char *)(uintptr_t)block, 99, bytes);
        mine = nf_arena_alloc(64, 1 << 20);
        wrong |= !mine;
        if (mine)
            memset(mine, 1, 1 << 20);
        header = (struct nf_ring_header){0};
        nf_arena_attach(&header);
        nf_arena_boundary();
        /* The one that may train watches on, the other never does. */
        wrong |= (mapped(block, bytes) == 0) != may_train;
        wrong |= block[bytes - 1] != 99;
        _exit(wrong);
    }
    nf_arena_fork_parent();
    memset((char *)(uintptr_t)block, 50, bytes);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    for (size_t i = 0; i < bytes; i += 64)
        assert_int_equal(block[i], 50);
}

static void forks_keep_their_moment(void **state)
{
    size_t bytes = 9 << 20;
    char *hole = nf_arena_alloc(64, 3 << 20), *block = nf_arena_alloc(64, bytes);

    nf_arena_free(hole);
    for (int i = 0; i < 6; i++) {
        memset(block, i, bytes);
        forked(i % 2, block, bytes, (char)i);
    }
    /* The job closed what it didn't open. */
    memset(block, 7, bytes);
    close(memory_fd);
    forked(false, block, bytes, 7);
    forked(true, block, bytes, 50);
    nf_arena_free(block);
    is_sound();
}

enum { WORDS = 4 << 20 };
static _Atomic bool enough;

/* Counts through all words, over and over, in order: at any moment they hold two numbers at most, the larger one first. */
static void *count(void *block)
{
    volatile uint32_t *v = block;

    for (uint32_t k = 1; !enough; k++)
        for (size_t i = 0; i < WORDS; i++)
            v[i] = k;
    return NULL;
}

static int moments(const uint32_t *v)
{
    size_t changes = 0;

    for (size_t i = 1; i < WORDS; i++)
        changes += v[i] != v[i - 1];
    return changes > 1 || v[0] - v[WORDS - 1] > 1;
}

static void other_threads_are_held_back(void **state)
{
    uint32_t *block = nf_arena_alloc(64, WORDS * sizeof *block);
    pthread_t writer;
    uint32_t before;
    int status;

    if (!freezes) {
        print_message("an ordinary user's userfaultfd holds back no writes of the kernel's: not used\n");
        skip();
    }
    memset(block, 0, WORDS * sizeof *block);
    assert_int_equal(pthread_create(&writer, NULL, count, block), 0);
    for (int i = 0; i < 6; i++) {
        pid_t pid;

        usleep(10000);
        nf_arena_fork_prepare();
        pid = fork();
        if (!pid) {
            nf_arena_fork_child(i % 2);
            _exit(moments(block));
        }
        nf_arena_fork_parent();
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
    before = ((volatile uint32_t *)block)[0];
    for (int i = 0; i < 1000 && ((volatile uint32_t *)block)[0] == before; i++)
        usleep(10000);
    assert_true(((volatile uint32_t *)block)[0] != before); /* it goes on */
    enough = true;
    pthread_join(writer, NULL);
    nf_arena_free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_or_odd_blocks_are_the_heaps), cmocka_unit_test(neighbours_join),
        cmocka_unit_test(a_full_arena_gives_none), cmocka_unit_test(at_random), cmocka_unit_test(boundaries_drop_and_keep),
        cmocka_unit_test(other_threads_are_held_back), cmocka_unit_test(forks_keep_their_moment),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
