#include "capture/event-encoding.h"

#include <errno.h>

#include "core/base/error.h"

int nf_event_encode(const char *name, struct nf_event_encoding *out)
{
    return nf_fail(-ENOSYS, "built without libpfm4 (package libpfm4-dev)");
}

int nf_event_pmus(char *text, size_t size)
{
    return nf_fail(-ENOSYS, "built without libpfm4 (package libpfm4-dev)");
}
