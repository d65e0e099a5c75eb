#pragma once
/* The closed vocabularies of a study: numbers are written to files and never change meaning;
 * new ones are appended. */
#include <stddef.h>
#include <stdint.h>

enum nf_role {
    NF_ROLE_UNKNOWN = 0,
    NF_ROLE_PARAMETER = 1,
    NF_ROLE_FROZEN = 2, /* parameter without gradient */
    NF_ROLE_GRADIENT = 3,
    NF_ROLE_OPTIMIZER = 4, /* optimizer state */
    NF_ROLE_INPUT = 5,
    NF_ROLE_SAVED = 6,      /* allocated in forward (or recompute), visited in backward */
    NF_ROLE_CHECKPOINT = 7, /* saved input of a recomputed segment */
    NF_ROLE_FORWARD_TEMP = 8,
    NF_ROLE_BACKWARD_TEMP = 9,
    NF_ROLE_COLLECTIVE = 10,
    NF_ROLE_SCRATCH = 11, /* allocated by a library, never seen as an operand */
    NF_ROLE_OPTIMIZER_TEMP = 12,
    NF_ROLE_COUNT
};

enum nf_phase {
    NF_PHASE_OTHER = 0,
    NF_PHASE_FORWARD = 1,
    NF_PHASE_BACKWARD = 2,
    NF_PHASE_RECOMPUTE = 3,
    NF_PHASE_OPTIMIZER = 4,
    NF_PHASE_COUNT
};

enum nf_rw { NF_RW_READ = 0, NF_RW_WRITE = 1, NF_RW_UPDATE = 2, NF_RW_COUNT };

enum nf_pattern {
    NF_PATTERN_STREAM = 0,  /* one contiguous run */
    NF_PATTERN_STRIDED = 1, /* runs at a constant stride */
    NF_PATTERN_GATHER = 2,  /* rows chosen by an index */
    NF_PATTERN_BLOCKED = 3, /* operand of a matrix product */
    NF_PATTERN_COUNT
};

/* How a tier's or a time's number came to be. */
enum nf_evidence {
    NF_EVIDENCE_UNKNOWN = 0,
    NF_EVIDENCE_MEASURED_DEVICE = 1,
    NF_EVIDENCE_MEASURED_PROXY = 2,
    NF_EVIDENCE_EMULATED_MACHINE = 3, /* functional only, barred from curves */
    NF_EVIDENCE_INJECTED_DELAY = 4,
    NF_EVIDENCE_MODELLED = 5,
    NF_EVIDENCE_ASSUMED = 6,
    NF_EVIDENCE_COUNT
};

/* What a number is that rests on n of them: the weakest, in the order measured-device, measured-proxy, injected-delay, modelled, assumed,
 * unknown, emulated-machine. That one is last because it bars from curves whatever else is known. n = 0: unknown. */
enum nf_evidence nf_evidence_weakest(const enum nf_evidence *evidence, size_t n);

/* How an access is known. */
enum nf_access_evidence {
    NF_ACCESS_UNKNOWN = 0,
    NF_ACCESS_FRAMEWORK = 1,
    NF_ACCESS_PEBS = 2,
    NF_ACCESS_IBS = 3,
    NF_ACCESS_WATCHPOINT = 4,
    NF_ACCESS_PAGE_FAULT = 5,
    NF_ACCESS_EXACT = 6,
    NF_ACCESS_COUNT
};

enum nf_pass_kind { NF_PASS_BARE = 1, NF_PASS_TIMING = 2, NF_PASS_ACCESS = 3, NF_PASS_COUNT };

/* How a replay spends the captured compute time (design, section 6). */
enum nf_overlap { NF_OVERLAP_ASAP = 0, NF_OVERLAP_FULL = 1, NF_OVERLAP_NONE = 2, NF_OVERLAP_COUNT };

/* The word for a number; "invalid" outside its range. Static storage. */
const char *nf_role_name(unsigned role);
const char *nf_phase_name(unsigned phase);
const char *nf_rw_name(unsigned rw);
const char *nf_pattern_name(unsigned pattern);
const char *nf_evidence_name(unsigned evidence);
const char *nf_access_evidence_name(unsigned evidence);
const char *nf_pass_kind_name(unsigned kind);
const char *nf_overlap_name(unsigned overlap);
