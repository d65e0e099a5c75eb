#pragma once
/* What a page fault costs on this machine. */

/* Nanoseconds of a minor fault on memory that is there but not mapped, the middle of several hundred; a stand-in for a hint fault, which
 * walks the same path. Measured once per process. */
double nf_fault_cost_ns(void);
