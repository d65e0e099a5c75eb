#pragma once
/* Capture sources: where the knowledge of accesses comes from. The framework says which op used which tensor; the others
 * say what the hardware or the MMU saw of it. Several may take part in one capture.
 *
 * A source is a table of functions. What it needs inside the job it injects by environment; what it reads from the kernel
 * it opens on the job's process before that has run anything (attach), and hands on as samples (drain). It decides
 * nothing about tensors: attribution by (address, time) is the session's. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/option.h"
#include "core/model/sample.h"
#include "core/model/words.h"

struct nf_storage_map;

enum { NF_SOURCE_ABI = 3, NF_SOURCE_EVENTS_MAX = 16, NF_SOURCE_NOTES = 256 };

/* What the samples' event numbers mean: a row of sample_event. */
struct nf_source_event {
    char name[64], meaning[96];
    uint32_t type; /* perf_event_attr */
    uint64_t config, config1, config2, period;
    uint8_t precise, rw; /* rw: enum nf_rw or NF_SAMPLE_RW_UNKNOWN */
};

/* What a source says of itself once it is open: a row of observation. */
struct nf_source_facts {
    uint32_t resolution_bytes; /* the smallest extent it tells from its neighbour */
    uint32_t boundary_ops;     /* 0: does not work by op boundaries */
    const char *rw;            /* "observed", "inferred", "unknown": how it tells reads from writes */
    bool sees_all;             /* every touch at its resolution (page-fault, exact); false: a sample of them */
    bool validated;            /* tried on the hardware it needs; false is printed wherever its numbers are */
    struct nf_source_event events[NF_SOURCE_EVENTS_MAX];
    unsigned n_events;
    uint32_t hit_ns;             /* what seeing one access costs the job, where it was measured; 0: unknown */
    char notes[NF_SOURCE_NOTES]; /* what it cannot see here, for the study */
};

/* Event numbers with which a source says what it watches, amid its samples: from this time on it sees every access to the
 * 8-byte word at `address`; and up to this time it did. Neither is an access. weight: number of the watch, counted from 0;
 * ENDED also has why in weight2 and in weight3 how many threads were watched. */
enum { NF_SOURCE_WATCH_ARMED = 0xfff0, NF_SOURCE_WATCH_ENDED = 0xfff1 };

struct nf_source_totals {
    uint64_t lost, throttled, undecoded;
};

typedef int nf_sample_sink(void *context, const struct nf_sample *samples, size_t n); /* 0 or an error, forwarded */

struct nf_source; /* one source in one pass; each implementation has its own */

struct nf_source_ops {
    unsigned abi; /* NF_SOURCE_ABI */
    const char *name, *about;
    enum nf_access_evidence evidence;
    const struct nf_option *options; /* NULL: none. Parsed from "NAME:key=value,..." into options_size zeroed bytes */
    size_t options_size;
    /* Required. 0, or -errno with why it cannot work here and what would mend it. */
    int (*probe)(char *why, size_t size);
    /* Required. Environment changes for the job in the passes that need the source; see nf_job_options.environment.
     * Writes at most max pointers to static or thread-lifetime text. Returns how many. */
    size_t (*environment)(const void *options, enum nf_pass_kind pass, const char *ring_path, const char **out, size_t max);
    /* Optional: the command that runs argv in this pass in its stead, as a new NULL-terminated array whose texts belong to
     * argv or live as long as the thread does; the caller frees the array. 0, -EINVAL when this command cannot be run so,
     * -errno (cause set). */
    int (*command)(const void *options, enum nf_pass_kind pass, char *const *argv, char ***out);

    /* The rest: all, or none for a source that only writes into the ring. Called for the access pass alone. */
    /* Checks the options and makes the source; facts are filled. 0, -EINVAL for options, -errno (cause set). */
    int (*open)(const void *options, struct nf_source **out, struct nf_source_facts *facts);
    /* The job's process exists and has not executed the job's program yet. 0 or -errno (cause set). */
    int (*attach)(struct nf_source *s, pid_t pid);
    /* Hands on what has come since, in any order. *complete_ns: nothing older than this is still to come.
     * 0, -errno (cause set), or what the sink returned. */
    int (*drain)(struct nf_source *s, nf_sample_sink *sink, void *context, uint64_t *complete_ns);
    /* Optional: called some hundred times a second with the process that is captured (it may be a descendant of the one
     * given to attach; 0 until it is known) and the storages that were alive when its last event was read.
     * 0 or -errno (cause set). */
    int (*tick)(struct nf_source *s, pid_t owner, const struct nf_storage_map *live);
    /* Final after a drain of a job that has ended; before, what is on its way may be among the lost. */
    void (*totals)(const struct nf_source *s, struct nf_source_totals *out);
    struct nf_source *(*close)(struct nf_source *s); /* NULL is fine; returns NULL */
};

extern const struct nf_source_ops *const nf_sources[]; /* NULL-terminated */
/* NULL with the cause set to the list of names when there is none of that name. */
const struct nf_source_ops *nf_source_find(const char *name);

/* "NAME" or "NAME:key=value,...": the source and its options (calloc'ed, the caller frees; NULL when it has none).
 * 0, -EINVAL (cause set), -ENOMEM. */
int nf_source_parse(const char *spec, const struct nf_source_ops **out, void **options);
