#pragma once
/* A PyTorch execution trace in memory: its nodes, and the tensors their operators were given and returned.
 *
 * Written by ExecutionGraphObserver and ExecutionTraceObserver (torch/csrc/profiler/standalone). Schema 1.0 has the node's
 * fields side by side ("parent", "inputs", "input_shapes", ...); 1.0.2 and 1.1 have "ctrl_deps", "inputs": {"values",
 * "shapes", "types", and from 1.1.1 on "strides"}, and the rest as a list "attrs" of {"name", "type", "value"}. The layout
 * is told by what a node has, not by the version. A tensor is [tensor id, storage id, offset, elements, bytes of one,
 * device]. A storage's id stands for the pointer to its data: whatever lives there next has it too. */
#include <stdbool.h>
#include <stdint.h>

#include "capture/texts.h"
#include "core/base/array.h"

enum { NF_ET_NODES_MAX = 4 << 20, NF_ET_OPERANDS_MAX = 16 << 20, NF_ET_TEXT_BYTES_MAX = 256 << 20 };
/* Of one storage: beyond all memory, and what sums of do not overflow. */
#define NF_ET_EXTENT_MAX (1ull << 46)

struct nf_et_operand {
    uint64_t tensor;         /* id */
    uint64_t offset, bytes;  /* of the first byte in its storage; distinct bytes */
    uint64_t span;           /* from the first to the last byte; bytes where strides are unknown */
    uint32_t slot;           /* dense number of the storage id */
    uint32_t dtype, shape, device; /* text numbers */
    uint32_t run;            /* bytes that lie together where strides are known and it is no dense view; else 0 */
    uint32_t element;        /* bytes */
    uint16_t argument;       /* place among the inputs or outputs */
    bool is_output, has_strides;
    /* For et-plan: */
    uint8_t rw, pattern;
    uint32_t lifetime;
};

struct nf_et_node {
    uint64_t id, parent, rf_id, byte; /* byte: where it stands in the file */
    int64_t seq_id;
    uint32_t name, schema; /* text numbers */
    uint32_t tid, fw_tid;
    uint32_t first_operand, n_operands; /* operators only: inputs in order, then outputs */
    uint8_t scope, thread; /* thread: dense number of its tid, the last for all further ones */
    bool is_operator, is_kernel; /* kernel: without schema, from a compiler's backend */
};

struct nf_et_trace {
    char schema[64];
    struct nf_texts texts;
    NF_ARRAY(struct nf_et_node) nodes; /* by id */
    NF_ARRAY(struct nf_et_operand) operands;
    struct nf_id_map storages; /* id -> slot */
    uint32_t n_slots, n_threads;
    uint64_t file_bytes;       /* decompressed */
    uint64_t unread_operands;  /* said to be tensors, but not in the layout of one */
};

/* 0 or -errno; -EBADMSG for files that are broken or no execution traces (cause set: one sentence with file and byte).
 * Deinit in any case. */
int nf_et_trace_init(struct nf_et_trace *t, const char *path);
void nf_et_trace_deinit(struct nf_et_trace *t);
