#include "replay/memory.h"

#include <stdio.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/model/stream.h"

static const double SLACK_SHARE = 0.25;
static const uint64_t SLACK_BYTES = 16ull << 20;

uint64_t nf_memory_with_slack(uint64_t bytes)
{
    return nf_page_bytes(bytes + (uint64_t)(SLACK_SHARE * (double)bytes) + SLACK_BYTES);
}

uint64_t nf_memory_available(void)
{
    struct nf_buf text = {0};
    unsigned long long kib = 0;
    const char *line = NULL;

    if (!nf_buf_read_file(&text, "/proc/meminfo", 1 << 20) && text.data)
        line = strstr(text.data, "MemAvailable:");
    if (line)
        sscanf(line, "MemAvailable: %llu", &kib);
    nf_buf_deinit(&text);
    return kib ? kib * 1024 : UINT64_MAX;
}
