#pragma once
/* The cheapest clock there is, for billing short callbacks: the CPU's counter where it has one (10-20 ns a read),
 * else CLOCK_MONOTONIC (40 ns in a guest). Its unit is found by whoever uses it, against CLOCK_MONOTONIC over the
 * time in question. */
#include <stdint.h>

#if defined(__x86_64__)
#include <x86intrin.h>

static inline uint64_t nf_ticks(void)
{
    return __rdtsc();
}
#elif defined(__aarch64__)
static inline uint64_t nf_ticks(void)
{
    uint64_t t;

    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(t));
    return t;
}
#else
#include "core/base/log.h"

static inline uint64_t nf_ticks(void)
{
    return nf_now_ns();
}
#endif
