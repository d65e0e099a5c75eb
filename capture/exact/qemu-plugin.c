/* Engine qemu: a plugin of the user-mode emulator that sees every access of prebuilt code. The job's preloaded library
 * announces where the tensors live and when ops end, by a system call that only we understand (capture/exact/exact.h).
 * Guest addresses are those of the ring's other events; nothing here looks at guest memory.
 *
 * Until the announcement no instruction is instrumented, so that loading the program and its libraries costs a plain
 * emulation. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include "capture/exact/qemu-api.h"
#include "capture/exact/shadow.h"
#include "capture/preload/writer.h"

#define NF_EXPORT __attribute__((visibility("default")))

enum { BATCH = 64 };

NF_EXPORT int qemu_plugin_version = QEMU_API_VERSION;
NF_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int argc, char **argv);

static struct nf_shadow shadow;
static struct nf_ring_header *ring;
static bool instrumenting;
static bool shared; /* the guest has had a second thread */

/* Bits 16 and 17 of the word that describes an access: read, written. One that does both (a locked instruction) is
 * reported once; the interface has no question for it. */
static unsigned directions(qemu_plugin_meminfo_t info)
{
    unsigned rw = info >> 16 & QEMU_MEM_BOTH;

    if (rw == QEMU_MEM_BOTH)
        return rw;
    return qemu_plugin_mem_is_store(info) ? QEMU_MEM_WRITE : QEMU_MEM_READ;
}

static inline bool is_watched(uint64_t address)
{
    return address - shadow.base < shadow.bytes;
}

static inline void count(qemu_plugin_meminfo_t info, uint64_t address, unsigned bytes)
{
    unsigned rw = directions(info);

    if (rw & QEMU_MEM_READ)
        nf_shadow_touch(&shadow, address, bytes, 0, shared);
    if (rw & QEMU_MEM_WRITE)
        nf_shadow_touch(&shadow, address, bytes, 1, shared);
}

static void on_access(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *context)
{
    (void)vcpu;
    (void)context;
    if (is_watched(address))
        count(info, address, 1u << qemu_plugin_mem_size_shift(info));
}

/* --- instructions that the emulator gives more bytes than the machine does --- */

/* One execution of such an instruction: the first address it asked for. */
static __thread struct {
    uint64_t first;
    bool started;
} wide __attribute__((tls_model("initial-exec")));

static void on_wide(unsigned vcpu, void *context)
{
    (void)vcpu;
    (void)context;
    wide.started = false;
}

/* context: how many bytes the machine reads. */
static void on_wide_access(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *context)
{
    uint64_t limit = (uint64_t)(uintptr_t)context, bytes = 1u << qemu_plugin_mem_size_shift(info), at;

    (void)vcpu;
    if (!wide.started) {
        wide.started = true;
        wide.first = address;
    }
    at = address - wide.first;
    if (at < limit && is_watched(address))
        count(info, address, (unsigned)(bytes < limit - at ? bytes : limit - at));
}

struct vex {
    unsigned map, prefix; /* 1: 0F, 2: 0F38, 3: 0F3A; 0: none, 1: 66, 2: F3, 3: F2 */
    bool wide, is_256;    /* W, L */
    uint8_t opcode;
};

static bool decode_vex(const uint8_t *p, size_t n, struct vex *out)
{
    if (n >= 3 && p[0] == 0xc5)
        *out = (struct vex){1, p[1] & 3, false, p[1] >> 2 & 1, p[2]};
    else if (n >= 4 && p[0] == 0xc4)
        *out = (struct vex){p[1] & 31, p[2] & 3, p[2] >> 7, p[2] >> 2 & 1, p[3]};
    else
        return false;
    return true;
}

/* The bytes of memory that an instruction reads, where QEMU 7.2 reads more (found by comparing 650 forms with the sizes
 * of the disassembler): scalar FMA, the conversion of 32-bit integers to doubles, shifts of 256 bits by a count in memory.
 * 0: nothing to correct. Where a newer emulator reads the right number, this changes nothing. */
static unsigned true_bytes(const uint8_t *p, size_t n)
{
    struct vex v;

    while (n && (*p == 0x64 || *p == 0x65 || *p == 0x67 || *p == 0x2e || *p == 0x36 || *p == 0x3e || *p == 0x26))
        p++, n--;
    if (decode_vex(p, n, &v)) {
        unsigned low = v.opcode & 15, high = v.opcode >> 4;

        if (v.map == 2 && v.prefix == 1 && (high == 0x9 || high == 0xa || high == 0xb) && low >= 9 && low & 1)
            return v.wide ? 8 : 4;
        if (v.map == 1 && v.prefix == 2 && v.opcode == 0xe6)
            return v.is_256 ? 16 : 8;
        if (v.map == 1 && v.prefix == 1 && v.is_256 && high >= 0xd && (low == 1 || low == 2 || (low == 3 && high != 0xe)))
            return 16;
        return 0;
    }
    if (n >= 4 && p[0] == 0xf3) {
        size_t rex = (p[1] & 0xf0) == 0x40;

        if (n >= 3 + rex && p[1 + rex] == 0x0f && p[2 + rex] == 0xe6)
            return 8;
    }
    return 0;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    size_t n = qemu_plugin_tb_n_insns(tb);

    (void)id;
    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        unsigned limit = true_bytes(qemu_plugin_insn_data(insn), qemu_plugin_insn_size(insn));

        if (limit)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_wide, QEMU_NO_REGISTERS, NULL);
        qemu_plugin_register_vcpu_mem_cb(insn, limit ? on_wide_access : on_access, QEMU_NO_REGISTERS, QEMU_MEM_BOTH,
                                         (void *)(uintptr_t)limit);
    }
}

/* The thread that makes another is in a system call then, so no access is under way. */
static void on_vcpu(qemu_plugin_id_t id, unsigned vcpu)
{
    (void)id;
    if (vcpu > 0)
        shared = true;
}

static void write_touches(void *context, const struct nf_event *events, uint32_t n)
{
    (void)context;
    for (uint32_t at = 0, step; at < n; at += step) {
        step = n - at < BATCH ? n - at : BATCH;
        if (!nf_writer_begin(step, NF_WRITER_ORDINARY))
            continue;
        for (uint32_t i = 0; i < step; i++) {
            struct nf_event *event = nf_writer_slot(i), filled = *event;

            *event = events[at + i];
            event->time_ns = filled.time_ns;
            event->thread = filled.thread;
        }
        nf_writer_commit();
    }
}

static void watch(qemu_plugin_id_t id, uint64_t base, uint64_t bytes);

static void on_syscall(qemu_plugin_id_t id, unsigned vcpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
                       uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)vcpu, (void)a6, (void)a7, (void)a8;
    if (number != SYS_prctl || a1 != NF_EXACT_PRCTL)
        return;
    switch (a2) {
    case NF_EXACT_WATCH: watch(id, a3, a4); break;
    case NF_EXACT_FLUSH:
        nf_shadow_flush(&shadow, a3, a4, a5 == NF_TOUCH_OF_OP ? NF_TOUCH_OF_OP : NF_TOUCH_OUTSIDE, write_touches, NULL);
        break;
    case NF_EXACT_DISCARD: nf_shadow_discard(&shadow); break;
    default: break;
    }
}

static void listen(qemu_plugin_id_t id)
{
    qemu_plugin_register_vcpu_init_cb(id, on_vcpu);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    if (instrumenting)
        qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
}

static void watch(qemu_plugin_id_t id, uint64_t base, uint64_t bytes)
{
    const char *path = getenv(NF_RING_ENV);

    if (shadow.bytes)
        return;
    ring = path ? nf_writer_map(path) : NULL;
    if (!ring || nf_shadow_init(&shadow, base, bytes)) {
        fprintf(stderr, "nearfar: engine qemu: %s\n", ring ? "no memory to watch the tensors" : "cannot map the event ring");
        return;
    }
    nf_writer_be_patient();
    instrumenting = true;
    qemu_plugin_reset(id, listen); /* forgets the code translated so far */
    atomic_store(&ring->exact_watching, 1);
}

NF_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int argc, char **argv)
{
    (void)info, (void)argc, (void)argv;
    listen(id);
    return 0;
}
