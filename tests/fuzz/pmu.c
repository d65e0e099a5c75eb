/* What the kernel's files say of a PMU, the CPU and its memory, as somebody might have recorded or made them up. The first
 * byte chooses: event terms with their formats, /proc/cpuinfo, or the memory's block size. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture/pmu-machine.h"
#include "core/base/numa-of.h"
#include "core/base/pmu.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tree.h"

/* "terms\nformat of a\nformat of b\n": a and b may stand among the terms. */
static void terms(char *text)
{
    static const char *const files[] = {"/sys/bus/event_source/devices/cpu/format/a",
                                        "/sys/bus/event_source/devices/cpu/format/b"};
    struct nf_event_encoding e = {.type = 4}, again = {.type = 4};
    char *rest = text, *line = strsep(&rest, "\n");
    struct nf_pmu pmu;
    int rc;

    fuzz_tree_put("/sys/bus/event_source/devices/cpu/type", "4\n", 2);
    for (size_t i = 0; i < 2; i++) {
        char *format = strsep(&rest, "\n");

        fuzz_tree_put(files[i], format ? format : "", format ? strlen(format) : 0);
    }
    fuzz_tree_put("/sys/bus/event_source/devices/cpu/events/x", line, strlen(line));
    if (nf_pmu_open(fuzz_tree_root(), "cpu", &pmu))
        abort();
    rc = nf_pmu_terms(&pmu, line, &e);
    if (rc > 0 || (!rc && e.type != 4))
        abort();
    /* The same text as an event file says the same, unless it is too long for one. */
    if (!rc && strlen(line) < 200 && !strchr(line, '\n') && *line &&
        (nf_pmu_event(&pmu, "x", &again) || e.config != again.config || e.config1 != again.config1 ||
         e.config2 != again.config2))
        abort();
}

static void memory(const char *text, size_t size)
{
    struct nf_numa_of *n;
    char line[64], sys[72];

    snprintf(sys, sizeof sys, "%s/sys", fuzz_tree_root());
    fuzz_tree_put("/sys/devices/system/node/node0/memory7/state", "online\n", 7);
    fuzz_tree_put("/sys/devices/system/memory/block_size_bytes", text, size);
    if (nf_numa_of_new(sys, &n))
        return;
    nf_numa_of_text(n, line, sizeof line);
    if (nf_numa_of(n, UINT64_MAX) > 0 || nf_numa_of(n, 0) != NF_NUMA_NONE)
        abort();
    nf_numa_of_free(n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nf_pmu_machine m;
    char *text;

    text = size ? malloc(size) : NULL;
    if (!text)
        return 0;
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    switch (data[0] % 3) {
    case 0: terms(text); break;
    case 1:
        fuzz_tree_put("/proc/cpuinfo", text, size - 1);
        fuzz_tree_put("/proc/self/status", text, size - 1);
        fuzz_tree_put("/proc/sys/kernel/osrelease", text, size - 1);
        nf_pmu_machine_read(fuzz_tree_root(), &m);
        if (!memchr(m.vendor, '\0', sizeof m.vendor))
            abort();
        break;
    default: memory(text, size - 1);
    }
    free(text);
    return 0;
}
