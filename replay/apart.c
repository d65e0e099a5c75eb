#include "replay/apart.h"

#include <errno.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/base/error.h"
#include "pool/guard.h"
#include "replay/plausible.h"

/* Between both processes. */
struct shared {
    alignas(NF_LINE_BYTES) _Atomic uint32_t asked;
    alignas(NF_LINE_BYTES) uint32_t done; /* DONE, or not yet */
    int rc;
    char cause[768];
    struct nf_trial trial;
    double step_ns[];
};

enum { DONE = 1 };

struct apart {
    const struct nf_apart *a;
    struct shared *shared;
};

static uint64_t steps_of(const struct nf_apart *a)
{
    return (uint64_t)nf_engine_cycle_steps(a->config) * a->config->cycles;
}

/* In the child, whose memory goes as it ends. */
static int run(void *context)
{
    struct apart *p = context;
    struct shared *s = p->shared;

    s->rc = p->a->run(p->a->context, &s->asked, &s->trial);
    snprintf(s->cause, sizeof s->cause, "%s", s->rc < 0 ? nf_error_text(s->rc) : "");
    for (uint64_t i = 0; s->trial.step_ns && i < s->trial.steps && i < steps_of(p->a); i++)
        s->step_ns[i] = s->trial.step_ns[i];
    fflush(NULL); /* what a tier or a policy writes down */
    s->done = DONE;
    return 0;
}

/* Whatever the policy wrote where it may not, this process can read what it takes: 0, or why it takes nothing. */
static int take(const struct shared *s, const struct nf_apart *a, struct nf_trial *out)
{
    const char *wrong;

    if (s->done != DONE)
        return nf_fail(-EPROTO, "policy %s is refused: it answered in the trial's place", a->outside->name);
    if (s->rc)
        return nf_fail(s->rc < 0 ? s->rc : -EPROTO, "its trial failed under policy %s: %.*s", a->outside->name, (int)sizeof s->cause, s->cause);
    *out = s->trial;
    out->step_ns = malloc((steps_of(a) + 1) * sizeof *out->step_ns);
    if (!out->step_ns)
        return nf_fail(-ENOMEM, "out of memory for %llu steps", (unsigned long long)steps_of(a));
    memcpy(out->step_ns, s->step_ns, steps_of(a) * sizeof *out->step_ns);
    wrong = nf_trial_implausible(out, a->config);
    if (!wrong)
        return 0;
    nf_trial_deinit(out);
    return nf_fail(-EPROTO, "policy %s is refused: it wrote over what the trial had measured (%s)", a->outside->name, wrong);
}

int nf_trial_apart(const struct nf_apart *a, struct nf_trial *out, int *refused)
{
    size_t size = sizeof(struct shared) + steps_of(a) * sizeof(double);
    struct apart p = {.a = a};
    int rc;

    *out = (struct nf_trial){0};
    *refused = 0;
    p.shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p.shared == MAP_FAILED)
        return nf_fail(-ENOMEM, "out of memory for a trial of %llu steps", (unsigned long long)steps_of(a));
    fflush(NULL); /* or both would write it */
    rc = nf_guard_trial(a->outside, a->limit_s, &p.shared->asked, a->stop, run, &p);
    if (rc != NF_GUARD_E_STOPPED)
        *refused = rc ? rc : take(p.shared, a, out);
    munmap(p.shared, size);
    return rc == NF_GUARD_E_STOPPED ? NF_TRIAL_E_STOPPED : 0;
}
