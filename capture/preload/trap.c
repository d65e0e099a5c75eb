#include "capture/preload/trap.h"

#include <signal.h>
#include <stdlib.h>

static void ignore(int signal)
{
    (void)signal;
}

void nf_trap_guard(void)
{
    struct sigaction sa, now;

    /* A forced signal kills a process that only ignores it: SIG_IGN is no protection and is replaced as well. */
    if (!getenv(NF_TRAP_ENV) || sigaction(SIGTRAP, NULL, &now) ||
        (now.sa_flags & SA_SIGINFO ? 1 : now.sa_handler != SIG_DFL && now.sa_handler != SIG_IGN))
        return;
    sa = (struct sigaction){.sa_handler = ignore, .sa_flags = SA_RESTART};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGTRAP, &sa, NULL);
}
