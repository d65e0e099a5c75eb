#include "replay/apart.h"

#include <errno.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/base/error.h"
#include "pool/guard.h"

/* Between both processes. */
struct shared {
    alignas(NF_LINE_BYTES) _Atomic uint32_t asked;
    alignas(NF_LINE_BYTES) bool done;
    int rc;
    char cause[768];
    struct nf_trial trial;
    double step_ns[];
};

struct apart {
    const struct nf_apart *a;
    struct shared *shared;
};

/* In the child, whose memory goes as it ends. */
static int run(void *context)
{
    struct apart *p = context;
    struct shared *s = p->shared;

    s->rc = p->a->run(p->a->context, &s->asked, &s->trial);
    snprintf(s->cause, sizeof s->cause, "%s", s->rc < 0 ? nf_error_text(s->rc) : "");
    for (uint64_t i = 0; s->trial.step_ns && i < s->trial.steps && i < p->a->steps; i++)
        s->step_ns[i] = s->trial.step_ns[i];
    fflush(NULL); /* what a tier or a policy writes down */
    s->done = true;
    return 0;
}

/* Whatever the policy wrote where it may not, this process can read it. */
static int take(struct shared *s, const struct nf_apart *a, struct nf_trial *out)
{
    if (!s->done)
        return nf_fail(-EPROTO, "policy %s is refused: it answered in the trial's place", a->outside->name);
    *out = s->trial;
    out->step_ns = NULL;
    out->message[sizeof out->message - 1] = out->cpus[sizeof out->cpus - 1] = out->interference[sizeof out->interference - 1] = '\0';
    s->cause[sizeof s->cause - 1] = '\0';
    if (out->steps > a->steps || (unsigned)out->status > NF_TRIAL_FAILED || (unsigned)out->store > NF_STORE_NON_TEMPORAL)
        return nf_fail(-EPROTO, "policy %s is refused: it wrote over what the trial had measured", a->outside->name);
    out->step_ns = malloc((out->steps + (size_t)1) * sizeof *out->step_ns);
    if (!out->step_ns)
        return nf_fail(-ENOMEM, "out of memory for %u steps", out->steps);
    memcpy(out->step_ns, s->step_ns, out->steps * sizeof *out->step_ns);
    return 0;
}

int nf_trial_apart(const struct nf_apart *a, struct nf_trial *out, int *refused)
{
    size_t size = sizeof(struct shared) + a->steps * sizeof(double);
    struct apart p = {.a = a};
    int rc;

    *out = (struct nf_trial){0};
    *refused = 0;
    p.shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p.shared == MAP_FAILED)
        return nf_fail(-ENOMEM, "out of memory for a trial of %llu steps", (unsigned long long)a->steps);
    fflush(NULL); /* or both would write it */
    rc = nf_guard_trial(a->outside, a->limit_s, &p.shared->asked, a->stop, run, &p);
    if (rc == NF_GUARD_E_STOPPED) {
        rc = NF_TRIAL_E_STOPPED;
    } else {
        *refused = rc ? rc : take(p.shared, a, out);
        rc = *refused ? 0 : p.shared->rc;
        if (rc < 0)
            nf_fail(rc, "%s", p.shared->cause);
    }
    munmap(p.shared, size);
    return rc;
}
