#pragma once
/* The shared ring between the job and the tool: fixed 64-byte events in a memory file that the tool creates and
 * the job maps. Writers are the threads of the one captured process; they take a spin lock for the few stores a
 * batch needs, so that an op and its visits stand together. There is one reader, which takes no lock. A writer never
 * waits for the reader, except under the exact source: a batch that finds no room is counted in `lost` and dropped. This
 * header is all that the job's side (capture/hook) and the tool's side share. */
#include <stdatomic.h>
#include <stdint.h>

enum { NF_RING_VERSION = 2, NF_RING_TEXT = 32 };
#define NF_RING_MAGIC 0x4e46524e47303031ull /* "NFRNG001" */
/* Environment of the job: path of the ring (/proc/<tool>/fd/N), "bare" | "timing" | "access". */
#define NF_RING_ENV "NEARFAR_RING"
#define NF_PASS_ENV "NEARFAR_PASS"

enum nf_event_kind {
    NF_EVENT_ALLOC = 1,  /* address, a = bytes */
    NF_EVENT_FREE = 2,   /* address */
    NF_EVENT_TEXT = 3,   /* id = text number (> 0), name = total length, module = byte offset of this piece; text[] */
    NF_EVENT_TENSOR = 4, /* address of the storage, a = storage bytes, id = dtype text, name = name text,
                            module = module text, b = role (enum nf_role) announced by the framework or 0,
                            c = shape text, n = device text or 0 for the CPU */
    NF_EVENT_OP = 5,     /* id = op name text, module, phase, microbatch; a = start ns, b = duration ns;
                            n = NF_EVENT_VISITs that follow directly */
    NF_EVENT_VISIT = 6,  /* address of the first byte, a = bytes, b = run, c = stride, rw, pattern;
                            what the job states of it, 0 unknown: n = touches × 256, id = parallelism */
    NF_EVENT_STEP = 7,   /* optimizer.step ended: a = ns since the previous mark, b = allocator hash, c = when:
                            the event may be written later, when its writer loses the core */
    NF_EVENT_MARK = 8,   /* id = enum nf_mark, address/a as the mark says */
    NF_EVENT_CHECKPOINT = 9, /* address of a tensor given to torch.utils.checkpoint */
    NF_EVENT_SAVED = 10,     /* address of a tensor autograd saved (confirmation only) */
    NF_EVENT_TOUCH = 11,     /* what the op that follows touched, seen exactly: address, a = bytes from first to last of one
                                run without holes, b = accesses, c = bytes accessed; rw read or write;
                                id = enum nf_touch_owner (capture/exact/exact.h): 1: not the op's, but touched before it */
};

enum nf_mark {
    NF_MARK_TRAINING_BEGINS = 1, /* first module call or backward; a = ns */
    NF_MARK_BACKWARD_BEGINS = 2,
    NF_MARK_BACKWARD_ENDS = 3,
    NF_MARK_SKIPPED_DEVICE = 4,  /* a = storages on devices that are not captured yet */
    NF_MARK_PARAMETER_HASH = 5,  /* the 32 bytes of the SHA-256 in address, a, b, c (big-endian words) */
    NF_MARK_RUNTIME = 6,         /* name = text of torch version, module = text of python version, a = threads;
                                    b = 1: the texts are a framework and a language as they stand */
    NF_MARK_UNSUPPORTED = 7,     /* name = text of the reason: what the hook met and cannot see */
    NF_MARK_RANK = 8,            /* a = rank, b = world size */
    NF_MARK_CARRIED = 9,         /* what is allocated now was there before the first op: the first step carries it in */
};

struct nf_event {
    uint64_t time_ns; /* CLOCK_MONOTONIC when it was written */
    uint8_t kind, phase, rw, pattern;
    uint16_t microbatch, n;
    uint32_t thread, id, name, module; /* kernel thread id; text numbers, 0 = none */
    union {
        struct {
            uint64_t address, a, b, c;
        };
        char text[NF_RING_TEXT];
    };
};
_Static_assert(sizeof(struct nf_event) == 64, "one cache line");

struct nf_ring_header {
    uint64_t magic;
    uint32_t version, slots; /* slots: a power of two */
    char pad0[48];
    _Atomic uint64_t head;        /* events written; slot = head % slots; released after the slots are filled */
    _Atomic uint32_t writer_lock; /* 0 free, 1 held */
    char pad1[52];
    _Atomic uint64_t tail; /* events read */
    char pad2[56];
    _Atomic uint64_t lost;
    _Atomic uint32_t owner;       /* pid of the captured process; 0 until the hook claims the ring */
    _Atomic uint32_t others;      /* processes that found it claimed */
    /* Allocator counters, kept by the preload in every pass. */
    _Atomic uint64_t live_bytes, peak_bytes, allocations;
    _Atomic uint64_t allocation_hash; /* over the sizes of storages of 4 KiB and more since the last step */
    _Atomic uint32_t closed;          /* the hook's exit handler ran */
    _Atomic uint32_t arena_reads_bytes; /* how finely page faults show reads; 4096, 65536 (fault-around) or 2097152 */
    _Atomic uint32_t exact_watching;    /* 1: an engine of the exact source watches the arena */
    uint32_t reserved[1];
    /* Where tensors live when the arena is on (capture/preload/arena.h); base is stored last, 0 before. */
    _Atomic uint64_t arena_base, arena_bytes;
    _Atomic uint64_t boundaries; /* times its page table was emptied */
    uint64_t op_boundaries;      /* ops whose beginning a job said that is asked to (core/base/job-placer.h) */
    char pad3[32];
};
_Static_assert(sizeof(struct nf_ring_header) % 64 == 0, "slots start on a cache line");
