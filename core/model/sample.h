#pragma once
/* One sampled memory access, whatever hardware, kernel or file it came from, and what it was attributed to. */
#include <stdint.h>

enum { NF_SAMPLE_RW_UNKNOWN = 0xff };
#define NF_SAMPLE_NONE UINT32_MAX

struct nf_sample {
    uint64_t time_ns;  /* of the source's clock: CLOCK_MONOTONIC in a capture. 0 unknown */
    uint64_t address;  /* virtual; 0 unknown */
    uint64_t ip;       /* 0 unknown */
    uint64_t physical; /* 0 unknown */
    uint64_t data_src; /* the kernel's union perf_mem_data_src, as it came: newer kernels add bits. 0 unknown */
    uint64_t period;   /* events this sample stands for */
    uint64_t offset;   /* attributed: bytes from its tensor's start */
    uint32_t weight;   /* cycles from dispatch to data (PERF_SAMPLE_WEIGHT, var1_dw of WEIGHT_STRUCT). 0 unknown */
    uint16_t weight2, weight3; /* var2_w, var3_w of WEIGHT_STRUCT: instruction latency and what the CPU says */
    uint32_t pid, tid, cpu;    /* UINT32_MAX unknown */
    uint32_t step;   /* number in its pass; NF_SAMPLE_NONE: outside any */
    uint32_t op;     /* of the step; NF_SAMPLE_NONE: none */
    uint32_t tensor; /* lifetime number of the step's class; NF_SAMPLE_NONE: no tensor lived there */
    uint16_t event;  /* number of its event in its observation */
    uint8_t rw;      /* enum nf_rw, or NF_SAMPLE_RW_UNKNOWN */
    uint8_t kernel;  /* 1: taken in kernel mode */
};
