#pragma once
/* What a page fault costs on this machine. */

/* The faults are taken on so much memory: each is unmapped before its fault, with all others; more would take longer and say the same. */
enum { NF_FAULT_COST_BYTES = 1 << 20 };

/* Nanoseconds of a minor fault on memory that is there but not mapped, the middle of several hundred; a stand-in for a hint fault, which
 * walks the same path. Measured once per process. */
double nf_fault_cost_ns(void);
/* The same measured anew. 0 where no memory could be mapped. */
double nf_fault_cost_measure_ns(void);
