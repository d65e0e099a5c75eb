/* Memory controllers' PMUs as somebody may have recorded or made them up. The first byte chooses: '0' a list of CPUs, anything else
 * a tree as tests/machines has them, in which events of every kind of controller are looked for. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "pool/sysfs.h"
#include "replay/counters-pmu.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tree.h"

enum { NUMBERS = 64, CPUS_MAX = 4096 };

static void list(const char *text)
{
    int out[NUMBERS + 1], n;

    out[NUMBERS] = -7;
    n = nf_counter_list(text, out, NUMBERS);
    if (n > NUMBERS || out[NUMBERS] != -7)
        abort();
    /* Another reader of such lists finds each of them there. */
    for (int i = 0; i < n; i++)
        if (out[i] < 0 || out[i] >= CPUS_MAX || !nf_sysfs_list_holds(text, out[i]))
            abort();
}

static void events(enum nf_counter_kind kind)
{
    struct nf_counter_event *e;
    size_t n;
    int rc = nf_counter_events(fuzz_tree_root(), kind, &e, &n);

    if (rc > 0 || (rc ? e || n : !n))
        abort();
    for (size_t i = 0; i < n; i++)
        if (!*e[i].pmu || e[i].cpu < 0 || e[i].cpu >= CPUS_MAX || !(e[i].bytes > 0 && e[i].bytes <= CPUS_MAX && isfinite(e[i].bytes)))
            abort();
    free(e);
    nf_error_clear();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = size ? malloc(size) : NULL;

    if (!text)
        return 0;
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    if (data[0] == '0') {
        list(text);
    } else {
        fuzz_tree_unpack(text);
        events(NF_COUNTER_IMC);
        events(NF_COUNTER_CXL);
        events(NF_COUNTER_UMC);
        fuzz_tree_clear();
    }
    free(text);
    return 0;
}
