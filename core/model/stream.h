#pragma once
/* A captured access stream in memory. Steps of the same structure share one step class; a job is a sequence of
 * step classes. Inside a class an op, tensor and visit is named by its index. */
#include <stdbool.h>
#include <stdint.h>

#include "core/model/regime.h"
#include "core/model/sizes.h"
#include "core/model/words.h"

/* One leaf operator call of a step class. */
struct nf_op {
    uint32_t name, module; /* indices into nf_stream.names */
    uint8_t phase;         /* enum nf_phase */
    uint8_t thread;        /* dense index of the calling thread */
    uint16_t microbatch;
    uint32_t first_visit, n_visits;
    nf_regime regime;
    double dur_ns; /* median, corrected to the bare step time; 0 when no timing pass ran */
    double gap_ns; /* corrected time between the previous op's end and this op's start */
};

/* One op touching one extent of one tensor. */
struct nf_visit {
    uint64_t offset; /* bytes from the tensor's start to the first touched byte */
    uint64_t bytes;  /* bytes touched, each counted once */
    uint64_t run;    /* contiguous bytes per run; == bytes when contiguous */
    uint64_t stride; /* distance between the starts of two runs; == run when contiguous */
    uint32_t op, tensor;
    uint16_t touches_q8; /* expected fetches of a line from beyond L2, × 256 */
    uint8_t rw;          /* enum nf_rw */
    uint8_t pattern;     /* enum nf_pattern */
    uint8_t parallelism; /* k: outstanding line fetches; 0 = unknown */
    uint8_t evidence;    /* enum nf_access_evidence */
    uint8_t reserved[2];
};
_Static_assert(sizeof(struct nf_visit) == 48, "the visit is copied by size");

/* Bytes from the first to one past the last touched byte. */
static inline uint64_t nf_visit_span(const struct nf_visit *v)
{
    uint64_t runs = v->run ? (v->bytes + v->run - 1) / v->run : 0;

    return runs ? (runs - 1) * v->stride + v->run : 0;
}

enum { NF_OP_BEFORE = -1 /* birth: carried into the step */, NF_OP_AFTER = INT32_MAX /* death: carried out */ };
enum { NF_CARRY_NONE = -1 };

/* One storage for one lifetime, as a step class sees it. */
struct nf_tensor {
    int64_t id;            /* row in the study */
    uint64_t bytes;        /* as allocated */
    uint64_t address;      /* captured virtual address, tells which lifetimes shared a slot */
    int32_t birth, death;  /* op indices, inclusive; NF_OP_BEFORE, NF_OP_AFTER when carried */
    int32_t carry_in;      /* carry slot it enters with, or NF_CARRY_NONE */
    int32_t carry_out;     /* carry slot it leaves with, or NF_CARRY_NONE */
    uint32_t name, module; /* indices into nf_stream.names */
    uint8_t role;          /* enum nf_role: of the longest role interval */
    bool tracked;          /* false: allocated but never an operand (library scratch) */
    nf_regime birth_regime;
};

struct nf_step_class {
    int64_t id; /* row in the study */
    uint64_t hash;
    struct nf_op *ops;
    struct nf_visit *visits; /* ordered by op; in a stream that is freed as a whole: of nf_spill_alloc */
    struct nf_tensor *tensors;
    uint32_t n_ops, n_visits, n_tensors;
    uint64_t peak_live_bytes; /* pages; see nf_step_class_peak */
    double bare_step_ns;      /* median of the bare pass; 0 when unknown */
    uint32_t n_steps;         /* steps of the access pass with this structure */
};

struct nf_stream {
    struct nf_step_class *classes;
    uint32_t n_classes;
    uint32_t *sequence; /* class of each captured step, in order */
    uint32_t n_sequence;
    uint32_t n_carry; /* carry slots: storages that outlive a step (parameters, gradients, ...) */
    char **names;
    uint32_t n_names;
    uint32_t threads; /* of the job */
};

/* Frees what the stream owns. NULL is fine; returns NULL. */
struct nf_stream *nf_stream_free(struct nf_stream *s);

/* A storage's bytes as a pool accounts for them: whole pages. */
static inline uint64_t nf_page_bytes(uint64_t bytes)
{
    return (bytes + NF_PAGE_BYTES - 1) & ~(uint64_t)(NF_PAGE_BYTES - 1);
}

/* What near holds at a share of peak live: whole pages, never more than the share. */
static inline uint64_t nf_near_bytes(double near_share, uint64_t peak_bytes)
{
    return (uint64_t)(near_share * (double)peak_bytes) & ~(uint64_t)(NF_PAGE_BYTES - 1);
}

/* The largest sum of live bytes of the class at any op, every storage rounded to pages. -ENOMEM possible. */
int nf_step_class_peak(const struct nf_step_class *c, uint64_t *bytes);

/* Checks every index and bound of a class (a study may come from anywhere). 0 or -EBADMSG (cause set). */
int nf_step_class_check(const struct nf_step_class *c, const struct nf_stream *s);

/* Frees the visits of a class of a loaded stream: what is known of its ops and tensors stays. */
void nf_step_class_forget_visits(struct nf_step_class *c);

/* The class with other visits (ordered by op, inside its tensors; taken over, freed with it): what another source saw of it.
 * Everything else is shared with c, which must live longer. 0 or -ENOMEM, and then visits are freed. */
int nf_step_class_seen_by(const struct nf_step_class *c, struct nf_visit *visits, uint32_t n, struct nf_step_class *out);
void nf_step_class_seen_deinit(struct nf_step_class *seen);

/* Index of the class that most steps of the second half of the capture belong to: the steady one. */
uint32_t nf_stream_steady_class(const struct nf_stream *s);
