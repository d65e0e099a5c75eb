#pragma once
/* perf.data files: what `perf record` writes, to a file or to a pipe. Read in order through a buffer of fixed size, whatever
 * the file's; compressed records are unpacked on the way. */
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "capture/perf-record.h"

enum { NF_PERF_EVENTS_MAX = 256 };

struct nf_perf_event {
    struct perf_event_attr attr;
    struct nf_record_layout layout;
    char name[128]; /* as perf wrote it; "" unknown */
};

/* What the header's features said; texts are "" and numbers 0 where they are absent. */
struct nf_perf_facts {
    bool pipe;
    char host[128], release[128], version[128], arch[64], cpu[160], cpu_id[128];
    char *command; /* JSON array; NULL absent */
    uint32_t cpus;
    uint64_t clock_resolution_ns; /* recorded with -k: of that clock */
    uint32_t memory_nodes;        /* of MEM_TOPOLOGY */
    uint64_t memory_block_bytes;
    uint32_t ibs_op_type, ibs_fetch_type, spe_type; /* PMU types; 0 absent */
};

struct nf_perf_totals {
    uint64_t records, samples, lost, lost_samples, throttled, undecoded, mappings, data_mappings;
    uint64_t compressed; /* records that held others */
    uint64_t aux_bytes;  /* of AUX data passed over */
    uint64_t unknown;    /* records of types this program does not know */
    uint64_t strangers;  /* samples of an event the header does not list */
};

struct nf_perf_data;

struct nf_perf_reader {
    /* A decoded sample; s->event is the index of its event. 0 or an error, forwarded. */
    int (*sample)(void *context, struct nf_sample *s);
    /* Everything recorded before the round before this one has been handed on. Optional. */
    int (*round)(void *context);
    /* A mapping of a process: [address, address + bytes) of a file or of nothing; executable or data. Optional. */
    int (*mapping)(void *context, uint32_t pid, uint64_t address, uint64_t bytes, bool data, const char *name);
    void *context;
};

/* Opens and reads the header. 0; -errno; -EBADMSG for what is not such a file, is of another endianness or broken (cause
 * set, with the byte offset). */
int nf_perf_data_open(const char *path, struct nf_perf_data **out);
/* Reads all records, from the first, as often as wanted: facts and events of a pipe's file are whole after the first time.
 * 0; -EBADMSG with the offset for a record that does not fit the file or its type; what a callback returned. */
int nf_perf_data_read(struct nf_perf_data *d, const struct nf_perf_reader *r);
const struct nf_perf_facts *nf_perf_data_facts(const struct nf_perf_data *d);
const struct nf_perf_totals *nf_perf_data_totals(const struct nf_perf_data *d); /* of the last read */
size_t nf_perf_data_events(const struct nf_perf_data *d);
const struct nf_perf_event *nf_perf_data_event(const struct nf_perf_data *d, size_t i);
struct nf_perf_data *nf_perf_data_close(struct nf_perf_data *d); /* NULL is fine; returns NULL */
