#include "tests/unit/live-bed.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <cmocka.h>

bool bed_ended_well(pid_t child)
{
    int status;

    return waitpid(child, &status, 0) == child && WIFEXITED(status) && !WEXITSTATUS(status);
}

void bed_apart(void (*test)(void))
{
    pid_t child = fork();

    if (!child) {
        test();
        _exit(0);
    }
    assert_true(bed_ended_well(child));
}

const struct nf_job_placer *bed_load(const struct nf_live_preloaded *p)
{
    void *library;

    MUST(!setenv(p->variable, p->path, 1));
    library = dlopen(p->library, RTLD_NOW | RTLD_LOCAL);
    MUST(library);
    return dlsym(library, "nf_job_placer_library");
}
