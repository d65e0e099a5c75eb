#include "replay/flush.h"

const char *nf_flush_name(void)
{
    return "";
}

double nf_flush_run(char *memory, uint64_t bytes, unsigned run)
{
    return 0;
}

double nf_flush_fence_run(char *memory, uint64_t bytes, unsigned run)
{
    return 0;
}
