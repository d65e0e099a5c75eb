/* Where a process's memory is: lines of numa_maps as kernels write them, hostile ones, and this process itself. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/error.h"
#include "live/binding.h"
#include "live/residence.h"

static void adds_anonymous_pages_by_node(void **state)
{
    struct nf_residence r = {0};

    nf_residence_add_line(&r, "7f0000000000 bind:1 anon=3 dirty=3 N0=1 N1=2 kernelpagesize_kB=4\n");
    nf_residence_add_line(&r, "7f0000200000 default anon=1 dirty=1 N1=1 kernelpagesize_kB=2048\n");
    /* Shared text is where whoever read it first put it. */
    nf_residence_add_line(&r, "55fe92542000 default file=/usr/bin/cat mapped=2 N0=2 kernelpagesize_kB=4\n");
    nf_residence_add_line(&r, "7f0000300000 default\n");
    assert_int_equal(r.bytes[0], 4096);
    assert_int_equal(r.bytes[1], 2 * 4096 + (2 << 20));
    assert_int_equal(r.total, 3 * 4096 + (2 << 20));
    assert_float_equal(nf_residence_share(&r, (int[]){1}, 1), 1 - 4096.0 / (double)r.total, 1e-12);
    assert_float_equal(nf_residence_share(&r, (int[]){0, 1}, 2), 1, 0);
}

static void survives_what_no_kernel_writes(void **state)
{
    static const char *const lines[] = {"", "\n", " anon=", " anon=x N", " anon=1 N=1", " anon=1 N9999999999=1",
                                        " anon=1 N64=1", " anon=1 N0=99999999999999999999 kernelpagesize_kB=1048576",
                                        " anon=1 N-1=5", " anon=1 N0", " anon=1 N0=", "kernelpagesize_kB= anon= N0=1"};
    struct nf_residence r = {0};

    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        nf_residence_add_line(&r, lines[i]);
    assert_int_equal(r.total, 0);
    assert_float_equal(nf_residence_share(&r, (int[]){0}, 1), 1, 0);
}

static void sees_this_process(void **state)
{
    const size_t bytes = 32 << 20;
    struct nf_residence before, after;
    char *memory;

    if (access("/proc/self/numa_maps", R_OK))
        skip();
    assert_int_equal(nf_residence_of(getpid(), &before), 0);
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    memset(memory, 1, bytes);
    assert_int_equal(nf_residence_of(getpid(), &after), 0);
    assert_true(after.total >= before.total + bytes);
    munmap(memory, bytes);
    assert_true(nf_residence_of(-1, &after) < 0);
}

/* What a watch saw of a child that ran so long in this program, then, where told to, as another one. */
static uint64_t watched(bool becomes_another)
{
    pid_t pid = fork();
    struct nf_residence_watch *w;
    struct nf_residence r;

    if (!pid) {
        usleep(400000);
        if (becomes_another)
            execlp("sleep", "sleep", "10", (char *)NULL);
        pause();
        _exit(1);
    }
    assert_true(pid > 0);
    w = nf_residence_watch_start(pid);
    assert_non_null(w);
    for (int i = 0; i < (becomes_another ? 20 : 3); i++) {
        char name[32] = "", path[48];
        FILE *f;

        usleep(300000);
        snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
        f = fopen(path, "re");
        assert_non_null(f);
        assert_non_null(fgets(name, sizeof name, f));
        fclose(f);
        if (becomes_another && !strcmp(name, "sleep\n")) {
            usleep(600000); /* twice the watch's pause and more */
            break;
        }
    }
    assert_null(nf_residence_watch_stop(w, &r));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return r.total;
}

static void watches_the_job_not_its_fork(void **state)
{
    struct nf_residence r;

    if (access("/proc/self/numa_maps", R_OK))
        skip();
    assert_int_equal(watched(false), 0);
    assert_true(watched(true) > 0);
    assert_null(nf_residence_watch_stop(NULL, &r));
    assert_int_equal(r.total, 0);
}

/* A rule that cannot be is refused in words; near can be wherever nodes can be bound. */
static void refuses_in_words(void **state)
{
    static const char *const one[] = {"numa:node=0"}, *const emulated[] = {"numa:node=0", "far=emulated:latency-x=3"};
    static const char *const nowhere[] = {"numa:node=0", "numa:node=63"};
    struct nf_live_binding b;
    char why[128];

    assert_int_equal(nf_live_binding_init(&b, "sideways", NULL, 0), -EINVAL);
    if (nf_binding_probe(why, sizeof why))
        skip();
    assert_int_equal(nf_live_binding_init(&b, "near", one, 1), 0);
    assert_string_equal(b.text, "near: node 0");
    assert_int_equal(nf_live_binding_init(&b, "far", one, 1), -ENODEV);
    assert_non_null(strstr(nf_error_text(0), "nothing is far"));
    assert_int_equal(nf_live_binding_init(&b, "far", emulated, 2), -ENODEV);
    assert_non_null(strstr(nf_error_text(0), "NUMA nodes only"));
    assert_int_equal(nf_live_binding_init(&b, "interleave", nowhere, 2), -ENODEV);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adds_anonymous_pages_by_node),
        cmocka_unit_test(survives_what_no_kernel_writes),
        cmocka_unit_test(sees_this_process),
        cmocka_unit_test(watches_the_job_not_its_fork),
        cmocka_unit_test(refuses_in_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
