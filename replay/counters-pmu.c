#include "replay/counters-pmu.h"

#include <errno.h>
#include <glob.h>
#include <linux/perf_event.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/base/array.h"
#include "core/base/error.h"
#include "replay/counters.h"

enum { CPUS_MAX = 64, EVENTS_MAX = 4 };
/* A CAS or a CXL data message moves a cache line. */
static const double LINE_BYTES = 64;

/* Names are the kernel's: uncore_snbep.c (imc), cxl_pmu.c, and AMD's event list for amd_umc, which has formats only. */
static const struct {
    const char *prefix, *what;
    const char *read[EVENTS_MAX], *write[EVENTS_MAX]; /* event files, or terms where there is a '='; what is there counts */
} kinds[] = {
    [NF_COUNTER_IMC] = {"uncore_imc_", "memory controller of an Intel server CPU",
                        {"cas_count_read", "cas_count_read_sch0", "cas_count_read_sch1"},
                        {"cas_count_write", "cas_count_write_sch0", "cas_count_write_sch1"}},
    [NF_COUNTER_CXL] = {"cxl_pmu_mem", "CXL memory device", {"m2s_req_memrd", "m2s_req_memrddata"}, {"m2s_rwd_memwr"}},
    [NF_COUNTER_UMC] = {"amd_umc_", "memory controller of an AMD CPU",
                        {"event=0x0a,rdwrmask=0x1"}, {"event=0x0a,rdwrmask=0x2"}},
};

typedef NF_ARRAY(struct nf_counter_event) events;

/* "6.103515625e-5" and "MiB" are a line of 64 bytes. */
static int bytes_of(const struct nf_pmu *pmu, const char *event, double *bytes)
{
    char file[96], text[64], unit[32] = "";
    char *end;

    *bytes = LINE_BYTES;
    snprintf(file, sizeof file, "events/%s.scale", event);
    if (strchr(event, '=') || !nf_pmu_has(pmu, file))
        return 0;
    if (nf_pmu_read(pmu, file, text, sizeof text))
        return -EBADMSG;
    *bytes = strtod(text, &end);
    snprintf(file, sizeof file, "events/%s.unit", event);
    if (nf_pmu_has(pmu, file) && nf_pmu_read(pmu, file, unit, sizeof unit))
        return -EBADMSG;
    if (!strcmp(unit, "MiB"))
        *bytes *= 1 << 20;
    if (end == text || *end || !(*bytes > 0 && *bytes <= 4096))
        return nf_fail(-EBADMSG, "PMU %s: %s counts in '%.20s' of '%.20s', which is no number of bytes", pmu->name, event, text,
                       unit);
    return 0;
}

static int add_events(events *list, const struct nf_pmu *pmu, const char *const *names, struct nf_counter_event base,
                      size_t *found)
{
    for (int i = 0; i < EVENTS_MAX && names[i]; i++) {
        char file[96];
        int rc;

        snprintf(file, sizeof file, "events/%s", names[i]);
        if (strchr(names[i], '=')) {
            base.encoding = (struct nf_event_encoding){.type = pmu->type};
            rc = nf_pmu_terms(pmu, names[i], &base.encoding);
        } else if (!nf_pmu_has(pmu, file)) {
            continue;
        } else {
            rc = nf_pmu_event(pmu, names[i], &base.encoding);
        }
        if (!rc)
            rc = bytes_of(pmu, names[i], &base.bytes);
        if (rc)
            return rc;
        if (nf_array_push(list, base))
            return nf_fail(-ENOMEM, "out of memory for counters");
        ++*found;
    }
    return 0;
}

static int add_pmu(events *list, const char *root, enum nf_counter_kind kind, const char *name)
{
    struct nf_counter_event e = {.cpu = 0};
    size_t reads = 0, writes = 0;
    int cpus[CPUS_MAX], n;
    struct nf_pmu pmu;
    char text[256];
    int rc = nf_pmu_open(root, name, &pmu);

    if (!rc)
        rc = nf_pmu_read(&pmu, "cpumask", text, sizeof text);
    if (rc)
        return rc;
    n = nf_counter_list(text, cpus, CPUS_MAX);
    if (n <= 0)
        return nf_fail(-EBADMSG, "PMU %s: cpumask says '%.40s', which names no CPU", name, text);
    snprintf(e.pmu, sizeof e.pmu, "%s", name);
    for (int i = 0; i < n && !rc; i++) {
        e.cpu = cpus[i];
        if (kind == NF_COUNTER_CXL) {
            char mem[64];

            snprintf(mem, sizeof mem, "%s", name + strlen("cxl_pmu_"));
            mem[strcspn(mem, ".")] = '\0';
            e.nodes = nf_counter_nodes_of_memdev(root, mem);
        } else {
            e.nodes = nf_counter_nodes_of_cpu(root, e.cpu);
        }
        e.write = false;
        rc = add_events(list, &pmu, kinds[kind].read, e, &reads);
        e.write = true;
        if (!rc)
            rc = add_events(list, &pmu, kinds[kind].write, e, &writes);
    }
    if (!rc && (!reads || !writes))
        rc = nf_fail(-ENOENT, "PMU %s has no %s event '%s': this kernel does not name it", name, reads ? "write" : "read",
                     reads ? kinds[kind].write[0] : kinds[kind].read[0]);
    return rc;
}

int nf_counter_events(const char *root, enum nf_counter_kind kind, struct nf_counter_event **out, size_t *n)
{
    char pattern[NF_PMU_PATH];
    events list = {0};
    size_t pmus = 0;
    glob_t g;
    int rc = 0;

    *out = NULL;
    *n = 0;
    snprintf(pattern, sizeof pattern, "%s/sys/bus/event_source/devices/%s*", root, kinds[kind].prefix);
    if (!glob(pattern, 0, NULL, &g)) {
        for (size_t i = 0; i < g.gl_pathc && !rc; i++) {
            const char *name = strrchr(g.gl_pathv[i], '/') + 1, *rest = name + strlen(kinds[kind].prefix);

            /* uncore_imc_free_running_0 and its like count other things. */
            if (*rest < '0' || *rest > '9')
                continue;
            pmus++;
            rc = add_pmu(&list, root, kind, name);
        }
        globfree(&g);
    }
    if (!rc && !pmus)
        rc = nf_fail(-ENOENT, "this machine shows no %s (%s*)", kinds[kind].what, kinds[kind].prefix);
    if (rc) {
        nf_array_free(&list);
        return rc;
    }
    *out = list.v;
    *n = list.n;
    return 0;
}

/* --- opening --- */

struct pmus {
    struct nf_counter_event *events;
    int *fds;
    size_t n;
};

static int open_event(const struct nf_counter_event *e)
{
    struct perf_event_attr attr = {
        .size = sizeof attr,
        .type = e->encoding.type,
        .config = e->encoding.config,
        .config1 = e->encoding.config1,
        .config2 = e->encoding.config2,
        .read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING,
    };
    int fd = (int)syscall(SYS_perf_event_open, &attr, -1, e->cpu, -1, PERF_FLAG_FD_CLOEXEC);

    if (fd >= 0)
        return fd;
    return nf_fail(-errno, "PMU %s on CPU %d: %s%s", e->pmu, e->cpu, strerror(errno),
                   errno == EACCES || errno == EPERM ? " (counting a whole socket wants root or kernel.perf_event_paranoid=0)" :
                                                       "");
}

static void pmus_close(void *state)
{
    struct pmus *p = state;

    for (size_t i = 0; p->fds && i < p->n; i++)
        if (p->fds[i] >= 0)
            close(p->fds[i]);
    free(p->fds);
    free(p->events);
    free(p);
}

static int pmus_open(const char *root, enum nf_counter_kind kind, void **state)
{
    struct pmus *p = calloc(1, sizeof *p);
    int rc = p ? nf_counter_events(root, kind, &p->events, &p->n) : nf_fail(-ENOMEM, "out of memory for counters");

    if (!rc) {
        p->fds = calloc(p->n + 1, sizeof *p->fds);
        rc = p->fds ? 0 : nf_fail(-ENOMEM, "out of memory for counters");
    }
    for (size_t i = 0; !rc && i < p->n; i++)
        p->fds[i] = -1;
    for (size_t i = 0; !rc && i < p->n; i++) {
        p->fds[i] = open_event(&p->events[i]);
        rc = p->fds[i] < 0 ? p->fds[i] : 0;
    }
    if (rc && p)
        pmus_close(p);
    *state = rc ? NULL : p;
    return rc;
}

/* Events of the same nodes are one place. A count that shared its register with another event's would be an estimate: it is
 * refused. */
static int pmus_read(void *state, struct nf_counter_traffic *out)
{
    const struct pmus *p = state;
    int n = 0;

    for (size_t i = 0; i < p->n; i++) {
        const struct nf_counter_event *e = &p->events[i];
        uint64_t v[3];
        uint64_t bytes;
        int k = 0;

        if (read(p->fds[i], v, sizeof v) != (ssize_t)sizeof v)
            return nf_fail(-EIO, "PMU %s cannot be read", e->pmu);
        if (v[1] != v[2])
            return nf_fail(-EBUSY, "PMU %s is shared with somebody else's events", e->pmu);
        while (k < n && out[k].nodes != e->nodes)
            k++;
        if (k == NF_COUNTER_PLACES)
            return nf_fail(-E2BIG, "more than %d memories are counted", NF_COUNTER_PLACES);
        if (k == n)
            out[n++] = (struct nf_counter_traffic){.nodes = e->nodes, .has_read = true, .has_write = true};
        bytes = (uint64_t)llround((double)v[0] * e->bytes);
        *(e->write ? &out[k].write_bytes : &out[k].read_bytes) += bytes;
    }
    return n;
}

static int pmus_probe(const char *root, enum nf_counter_kind kind, char *why, size_t size)
{
    struct nf_counter_event *e;
    void *state;
    size_t n;
    int rc = nf_counter_events(root, kind, &e, &n);

    free(e);
    if (!rc && !*root) {
        rc = pmus_open(root, kind, &state);
        if (!rc)
            pmus_close(state);
    }
    if (rc)
        snprintf(why, size, "%s", nf_error_text(rc));
    nf_error_clear();
    return rc;
}

#define SOURCE(symbol, kind)                                                                                           \
    static int symbol##_probe(const char *root, char *why, size_t size)                                                \
    {                                                                                                                  \
        return pmus_probe(root, kind, why, size);                                                                      \
    }                                                                                                                  \
    static int symbol##_open(const char *root, void **state)                                                           \
    {                                                                                                                  \
        return pmus_open(root, kind, state);                                                                           \
    }

SOURCE(imc, NF_COUNTER_IMC)
SOURCE(cxl, NF_COUNTER_CXL)
SOURCE(umc, NF_COUNTER_UMC)

const struct nf_counter_ops nf_counter_imc = {
    .name = "imc",
    .about = "Intel memory controllers' CAS commands, through perf; not validated on hardware",
    .probe = imc_probe, .open = imc_open, .read = pmus_read, .close = pmus_close,
};
const struct nf_counter_ops nf_counter_cxl = {
    .name = "cxl_pmu",
    .about = "CXL memory devices' own requests, through perf; not validated on hardware",
    .probe = cxl_probe, .open = cxl_open, .read = pmus_read, .close = pmus_close,
};
const struct nf_counter_ops nf_counter_umc = {
    .name = "amd_umc",
    .about = "AMD memory controllers' CAS commands, through perf; not validated on hardware",
    .probe = umc_probe, .open = umc_open, .read = pmus_read, .close = pmus_close,
};
