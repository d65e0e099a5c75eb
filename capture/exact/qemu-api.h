#pragma once
/* The part of QEMU's plugin interface, version 1, that the engine uses. Distributions do not package
 * qemu-plugin.h; these are the documented entry points, found in the emulator at run time. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QEMU_API_VERSION = 1, QEMU_MEM_READ = 1, QEMU_MEM_WRITE = 2, QEMU_MEM_BOTH = 3, QEMU_NO_REGISTERS = 0 };

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info_t;

typedef void qemu_plugin_simple_cb_t(qemu_plugin_id_t id);
typedef void qemu_plugin_vcpu_simple_cb_t(qemu_plugin_id_t id, unsigned vcpu);
typedef void qemu_plugin_vcpu_tb_trans_cb_t(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
typedef void qemu_plugin_vcpu_udata_cb_t(unsigned vcpu, void *context);
typedef void qemu_plugin_vcpu_mem_cb_t(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *context);
typedef void qemu_plugin_vcpu_syscall_cb_t(qemu_plugin_id_t id, unsigned vcpu, int64_t number, uint64_t a1, uint64_t a2,
                                           uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8);

extern void qemu_plugin_reset(qemu_plugin_id_t id, qemu_plugin_simple_cb_t *then);
extern void qemu_plugin_register_vcpu_init_cb(qemu_plugin_id_t id, qemu_plugin_vcpu_simple_cb_t *cb);
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, qemu_plugin_vcpu_tb_trans_cb_t *cb);
extern void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id, qemu_plugin_vcpu_syscall_cb_t *cb);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, qemu_plugin_vcpu_udata_cb_t *cb,
                                                   int registers, void *context);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, qemu_plugin_vcpu_mem_cb_t *cb, int registers,
                                             int rw, void *context);
extern unsigned qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t info);
extern bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t info);
extern void qemu_plugin_outs(const char *text);
