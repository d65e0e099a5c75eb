#include "core/model/words.h"

#define NAME(table, i) ((i) < sizeof table / sizeof *table && table[i] ? table[i] : "invalid")

const char *nf_role_name(unsigned role)
{
    static const char *const names[NF_ROLE_COUNT] = {
        "unknown",    "parameter",         "frozen parameter",   "gradient",          "optimizer state",
        "input",      "saved activation",  "checkpoint",         "forward temporary", "backward temporary",
        "collective", "library scratch",   "optimizer temporary"};
    return NAME(names, role);
}

const char *nf_phase_name(unsigned phase)
{
    static const char *const names[NF_PHASE_COUNT] = {"other", "forward", "backward", "recompute", "optimizer"};
    return NAME(names, phase);
}

const char *nf_rw_name(unsigned rw)
{
    static const char *const names[NF_RW_COUNT] = {"read", "write", "update"};
    return NAME(names, rw);
}

const char *nf_pattern_name(unsigned pattern)
{
    static const char *const names[NF_PATTERN_COUNT] = {"stream", "strided", "gather", "blocked"};
    return NAME(names, pattern);
}

const char *nf_evidence_name(unsigned evidence)
{
    static const char *const names[NF_EVIDENCE_COUNT] = {"unknown",        "measured-device", "measured-proxy",
                                                         "emulated-machine", "injected-delay", "modelled",
                                                         "assumed"};
    return NAME(names, evidence);
}

enum nf_evidence nf_evidence_weakest(const enum nf_evidence *evidence, size_t n)
{
    /* Of a stranger's number nothing is known. */
    static const unsigned char weakness[NF_EVIDENCE_COUNT] = {
        [NF_EVIDENCE_MEASURED_DEVICE] = 0, [NF_EVIDENCE_MEASURED_PROXY] = 1,  [NF_EVIDENCE_INJECTED_DELAY] = 2, [NF_EVIDENCE_MODELLED] = 3,
        [NF_EVIDENCE_ASSUMED] = 4,         [NF_EVIDENCE_UNKNOWN] = 5,         [NF_EVIDENCE_EMULATED_MACHINE] = 6};
    enum nf_evidence weakest = n ? NF_EVIDENCE_MEASURED_DEVICE : NF_EVIDENCE_UNKNOWN;

    for (size_t i = 0; i < n; i++) {
        enum nf_evidence e = evidence[i] < NF_EVIDENCE_COUNT ? evidence[i] : NF_EVIDENCE_UNKNOWN;

        weakest = weakness[e] > weakness[weakest] ? e : weakest;
    }
    return weakest;
}

const char *nf_access_evidence_name(unsigned evidence)
{
    static const char *const names[NF_ACCESS_COUNT] = {"unknown",    "framework",  "pebs", "ibs",
                                                       "watchpoint", "page-fault", "exact"};
    return NAME(names, evidence);
}

const char *nf_pass_kind_name(unsigned kind)
{
    static const char *const names[NF_PASS_COUNT] = {NULL, "bare", "timing", "access"};
    return NAME(names, kind);
}

const char *nf_overlap_name(unsigned overlap)
{
    static const char *const names[NF_OVERLAP_COUNT] = {"asap", "overlap=full", "overlap=none"};
    return NAME(names, overlap);
}
