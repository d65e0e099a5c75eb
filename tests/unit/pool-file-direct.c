/* What a mapped file is taken for: memory of its device, or the page cache in front of it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pool/file-direct.h"

/* A file as the kernel shows it. */
static struct {
    int attributes_error, map_error;
    uint64_t attributes;
    unsigned mapped;
} shown;

static int show_attributes(int fd, uint64_t *attributes)
{
    *attributes = shown.attributes;
    errno = shown.attributes_error;
    return errno ? -1 : 0;
}

static int show_map(int fd)
{
    shown.mapped++;
    errno = shown.map_error;
    return errno ? -1 : 0;
}

static void direct_is_what_both_say(void **state)
{
    static const struct nf_file_system_calls calls = {show_attributes, show_map};
    static const struct {
        uint64_t attributes;
        int attributes_error, map_error;
        bool direct;
    } cases[] = {
        {STATX_ATTR_DAX, 0, 0, true},
        {STATX_ATTR_DAX | STATX_ATTR_APPEND, 0, 0, true},
        {0, 0, EOPNOTSUPP, false},                                   /* the page cache */
        {STATX_ATTR_APPEND, 0, 0, false},                            /* a kernel that ignores what it does not know */
        {STATX_ATTR_DAX, 0, EOPNOTSUPP, false},                      /* virtio-pmem */
        {STATX_ATTR_DAX, 0, EINVAL, false},                          /* a kernel without synchronous mappings */
        {STATX_ATTR_DAX, ENOSYS, 0, false},                          /* a sandbox without statx */
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        shown.attributes = cases[i].attributes;
        shown.attributes_error = cases[i].attributes_error;
        shown.map_error = cases[i].map_error;
        if (nf_file_is_direct(&calls, 3) != cases[i].direct)
            fail_msg("case %zu", i);
    }
    assert_int_equal(shown.mapped, 4); /* what the file system denies is not tried */
}

static void evidence_is_no_better_than_the_machine(void **state)
{
    assert_int_equal(nf_file_evidence(true, false), NF_EVIDENCE_MEASURED_DEVICE);
    assert_int_equal(nf_file_evidence(false, false), NF_EVIDENCE_MEASURED_PROXY);
    assert_int_equal(nf_file_evidence(true, true), NF_EVIDENCE_EMULATED_MACHINE);
    assert_int_equal(nf_file_evidence(false, true), NF_EVIDENCE_EMULATED_MACHINE);
}

/* The kernel itself, on files that are the page cache's. */
static void memory_of_the_page_cache_is_not_direct(void **state)
{
    char path[] = "/dev/shm/nearfar-direct-XXXXXX";
    int fd = mkstemp(path);
    uint64_t attributes;

    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(nf_file_kernel.attributes(fd, &attributes), 0);
    assert_int_equal(attributes & STATX_ATTR_DAX, 0);
    assert_true(nf_file_kernel.map_sync(fd) < 0);
    assert_false(nf_file_is_direct(&nf_file_kernel, fd));
    close(fd);
    assert_true(nf_file_kernel.attributes(fd, &attributes) < 0);
    assert_false(nf_file_is_direct(&nf_file_kernel, fd));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(direct_is_what_both_say),
        cmocka_unit_test(evidence_is_no_better_than_the_machine),
        cmocka_unit_test(memory_of_the_page_cache_is_not_direct),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
