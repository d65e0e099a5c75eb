#pragma once
/* What a report is about, as plain structs read from the study: one replay, its capture, the machines, the live runs.
 * Texts are cleaned once here (control characters become spaces, broken UTF-8 U+FFFD), so that every writer may print
 * them. Unknown numbers are NAN. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "analyze/sources.h"
#include "core/base/array.h"
#include "core/store/study.h"

struct nf_machine_row {
    int64_t id;
    const char *host, *cpu, *kernel, *hypervisor, *facts;
    int64_t cpus, nodes;
    double memory_bytes, llc_reported_bytes;
};

struct nf_invocation_row {
    int64_t id, machine_id;
    const char *started_utc, *tool_version, *command, *status, *message;
    const char *purpose; /* "capture", "testbed", "replay", "live run" or "replay captured again": what of this report it wrote */
};

struct nf_capture_row {
    int64_t id, invocation_id, job_number, threads;
    const char *job, *framework, *language, *status, *message;
    const char *lifetimes, *phases, *durations; /* how they are known; durations "unknown": no slowdown can be stated */
    bool has_durations;
    double bare_step_ns, peak_live_bytes; /* of the step class most steps belong to */
    uint64_t class_hash;                  /* of the same */
    int64_t class_steps;
};

struct nf_pass_row {
    int64_t id, exit_status, steps, ops, events, lost_events, unattributed_visits, other_processes, unmatched_steps;
    int64_t skipped_device_storages;
    bool exited; /* exit_status is known */
    unsigned kind, access_evidence;
    const char *source, *status, *parameter_sha256, *notes;
    double wall_ns, cpu_ns, allocator_peak_bytes, tracked_peak_bytes, untracked_peak_bytes, unattributed_bytes;
};

struct nf_tier_row {
    int64_t number;
    const char *name, *provider, *spec;
    /* 0 targets: nothing is injected. */
    double target_latency_ns, target_read_bps, latency_ns, read_bps, write_bps, stream_parallelism, gather_parallelism;
    unsigned evidence;
};

struct nf_trial_row {
    int64_t id, block, position, steps, warmup_steps, moves;
    const char *policy, *options, *semantics, *status, *message;
    const char *pages_by; /* who chose each page's node: "pool", "kernel", "unknown" */
    double near_share, near_bytes, parallelism_scale;
    unsigned overlap, evidence;
    bool hog, saturated;
    bool k_repeated; /* usable trials of the same were made at half and at twice the assumed parallelism */
    double memory_ns, injected_ns, compute_ns, stall_ns, fault_ns; /* NAN in older trials */
    double wall_ns, policy_ns, move_ns, stolen_ns, late_ns, floored_share, assumed_k_share, class_k_share, moved_bytes;
    /* Sums over all far tiers and the measured steps, fetched: into near; NAN when the trial has no tier rows; charged: also where no
     * tier is emulated. */
    double far_read_bytes, far_write_bytes, far_charged_bytes, fetched_bytes, near_peak_bytes, far_latency_ns, far_bps;
    /* By hardware counters: near, and the sum of all far tiers, which is known where each one's is; NAN: not counted. */
    double near_counter_read_bytes, near_counter_write_bytes, far_counter_read_bytes, far_counter_write_bytes;
    const char *uncounted; /* "near: why; far: why"; "" : all were */
    const char *left_out;  /* why it is in no curve; NULL when it is */
};

/* The least that any policy leaves to far with so much near, used there or fetched, by the interval linear program; modelled. */
struct nf_far_bound_row {
    double near_share, lp_bytes;
};

struct nf_live_row {
    int64_t id, invocation_id, machine_id, repetition, exit_status, steps;
    const char *kind, *binding, *policy, *options; /* binding: also the nodes a plan places on */
    double near_share; /* of a policy's; of a rule that fills near first: seen there */
    double step_ns; /* median of its steps but the first; NAN unknown */
    unsigned evidence;
};

struct nf_replay_row {
    int64_t id, invocation_id, testbed_id, testbed_machine_id, testbed_invocation_id, seed, planned_trials, blocks;
    int64_t threads;
    double scale, peak_live_bytes, llc_filter_bytes, llc_effective_bytes, page_bytes;
    const char *status, *message, *conditions;
};

struct nf_dataset {
    const char *study; /* base name of its path */
    struct nf_replay_row replay;
    struct nf_capture_row capture;
    NF_ARRAY(struct nf_machine_row) machines;
    NF_ARRAY(struct nf_invocation_row) invocations;
    NF_ARRAY(struct nf_pass_row) passes;
    struct nf_sources sources; /* what took part beside the framework */
    NF_ARRAY(struct nf_tier_row) tiers;
    NF_ARRAY(struct nf_trial_row) trials;
    NF_ARRAY(struct nf_live_row) live_runs;
    NF_ARRAY(struct nf_far_bound_row) bounds; /* by near share */
    int64_t replays; /* in the study that have trials */
    NF_ARRAY(char *) texts;
    bool failed; /* a text could not be kept */
};

/* The given replay, or with 0 the latest that has trials (of the given capture, 0: of any).
 * 0, -ENOENT (cause set) when there is none or it has no trials, -errno. Deinit in every case. */
int nf_dataset_init(struct nf_dataset *d, struct nf_study *study, int64_t replay, int64_t capture);
void nf_dataset_deinit(struct nf_dataset *d);
