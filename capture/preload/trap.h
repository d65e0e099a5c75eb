#pragma once
/* A hardware breakpoint of the tool's may leave a SIGTRAP behind when it is moved at the moment it fires. The job must not
 * die of it: while such a source is active it gets a handler that does nothing, unless it has one of its own. */

#define NF_TRAP_ENV "NEARFAR_TRAP" /* set: install it */

void nf_trap_guard(void);
