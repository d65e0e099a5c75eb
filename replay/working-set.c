#include "replay/working-set.h"

#include <stdio.h>
#include <unistd.h>

#include "core/base/error.h"
#include "core/base/units.h"
#include "pool/sysfs.h"
#include "pool/tier-binding.h"
#include "replay/measure.h"
#include "replay/memory.h"

/* What all measurements before had: twice what any one core reached of the last-level caches of its time. */
static const uint64_t LEAST_BYTES = 256ull << 20;
enum { CACHE_TIMES = 4, CACHES_MAX = 16 };

struct nf_working_set nf_working_set(uint64_t reported_bytes, uint64_t available_bytes)
{
    struct nf_working_set s = {.bytes = LEAST_BYTES, .reported_bytes = reported_bytes};
    uint64_t wanted = CACHE_TIMES * reported_bytes, most = available_bytes / 2;

    if (wanted > most)
        wanted = most;
    if (wanted > s.bytes)
        s.bytes = (wanted + NF_CHASE_LOCAL_BYTES - 1) / NF_CHASE_LOCAL_BYTES * NF_CHASE_LOCAL_BYTES;
    s.cached = s.bytes < CACHE_TIMES * reported_bytes;
    return s;
}

struct nf_working_set nf_working_set_of(const struct nf_tier *tier, int cpu)
{
    uint64_t available = nf_memory_available(), on_node = tier->facts.node >= 0 ? nf_binding_available(tier->facts.node) : available;

    return nf_working_set(nf_working_set_reported("", cpu), on_node < available ? on_node : available);
}

uint64_t nf_working_set_reported(const char *root, int cpu)
{
    double level, last = 0;
    uint64_t bytes = 0, size;
    char text[64], sys[256];
    long otherwise;

    snprintf(sys, sizeof sys, "%s/sys", root);
    for (int i = 0; i < CACHES_MAX; i++) {
        if (!nf_sysfs_number(&level, sys, "devices/system/cpu/cpu%d/cache/index%d/level", cpu, i) || level < last ||
            !nf_sysfs_line(text, sizeof text, sys, "devices/system/cpu/cpu%d/cache/index%d/size", cpu, i) || nf_parse_bytes(text, &size))
            continue;
        bytes = level > last || size > bytes ? size : bytes;
        last = level;
    }
    nf_error_clear(); /* an odd size is none */
    otherwise = bytes ? 0 : sysconf(_SC_LEVEL3_CACHE_SIZE);
    return bytes ? bytes : otherwise > 0 ? (uint64_t)otherwise : 0;
}
