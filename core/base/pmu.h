#pragma once
/* A PMU as the kernel describes it under /sys/bus/event_source/devices: its type, which bits of perf_event_attr each term
 * means (format/), and its named events (events/). Everything below a root, so that tests read recorded trees. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NF_PMU_PATH = 512 };

/* An event as perf_event_open wants it. */
struct nf_event_encoding {
    uint32_t type;            /* perf_event_attr.type */
    uint64_t config, config1, config2; /* as the kernel wants them */
    unsigned precise;         /* perf_event_attr.precise_ip */
};

struct nf_pmu {
    char name[64];            /* "cpu", "cpu_core", "ibs_op" */
    char folder[NF_PMU_PATH]; /* of the PMU */
    uint32_t type;            /* perf_event_attr.type */
};

/* root: "" for this machine. 0, -ENOENT when there is no such PMU, -EBADMSG for files that are no PMU's (cause set). */
int nf_pmu_open(const char *root, const char *name, struct nf_pmu *out);
bool nf_pmu_has(const struct nf_pmu *pmu, const char *file); /* "events/mem-loads-aux", "format/swfilt" */
/* Text of a file, without its newline. 0, -ENOENT, or -EBADMSG when it is longer than size (cause set). */
int nf_pmu_read(const struct nf_pmu *pmu, const char *file, char *text, size_t size);
/* "event=0xcd,umask=0x1,ldlat=3" to the attr's fields, through format/: each value is spread over the bits that its term
 * names, a term without a value is 1, "config=0x1cd" and its like are whole fields. Adds to *out, which holds what was
 * there before; a term that is given again replaces its bits.
 * 0, -ENOENT for a term the PMU does not have, -ERANGE for a value with more bits, -EBADMSG (cause set). */
int nf_pmu_terms(const struct nf_pmu *pmu, const char *terms, struct nf_event_encoding *out);
/* The same for an event file, with the PMU's type. 0, -ENOENT without such a file, and as nf_pmu_terms. */
int nf_pmu_event(const struct nf_pmu *pmu, const char *event, struct nf_event_encoding *out);

/* The text of root + path. 0, -errno, or -EBADMSG when it does not fit. No cause is set. Also for /proc. */
int nf_root_read(const char *root, const char *path, char *text, size_t size);
