/* Instructions of which an emulator might take too much or too little memory for what the machine does, each at the end of
 * a tensor: scalar FMA, conversions, shifts by a count in memory, gathers, masked stores, string instructions, locked and
 * non-temporal ones. Prints what each op touches as examples/kernels.c does. Build with -O1 -mavx2 -mfma. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nearfar_annotate.h"

enum { BYTES = 4096 };

static unsigned char *data, *next;

static void end(const char *op, size_t read, size_t read_bytes, size_t written, size_t write_bytes)
{
    nf_annotate_op_end();
    if (read)
        printf("%s data read %zu 0 %zu\n", op, read, read_bytes);
    if (written)
        printf("%s data write %zu 0 %zu\n", op, written, write_bytes);
}

/* One instruction whose memory operand is the last `bytes` bytes of the tensor; the first two registers are free. */
#define READS(op, bytes, instruction)                                                                    \
    do {                                                                                                 \
        nf_annotate_op_begin(op);                                                                        \
        __asm__ volatile(instruction : : "r"(data + BYTES - bytes) : "xmm0", "xmm1", "rax", "memory");   \
        end(op, bytes, bytes, 0, 0);                                                                     \
    } while (0)
#define WRITES(op, bytes, instruction)                                                                   \
    do {                                                                                                 \
        nf_annotate_op_begin(op);                                                                        \
        __asm__ volatile(instruction : : "r"(data + BYTES - bytes) : "xmm0", "xmm1", "rax", "memory");   \
        end(op, 0, 0, bytes, bytes);                                                                     \
    } while (0)

static void gathers(void)
{
    static const int32_t index[8] = {0, 3, 9, 27, 81, 243, 729, 1023}, mask[8] = {-1, 0, -1, 0, -1, 0, -1, 0};

    nf_annotate_op_begin("gather");
    __asm__ volatile("vmovdqu %0, %%ymm0\n\tvpcmpeqd %%ymm2, %%ymm2, %%ymm2\n\tvgatherdps %%ymm2, (%1, %%ymm0, 4), %%ymm1"
                     : : "m"(index), "r"(data) : "xmm0", "xmm1", "xmm2", "memory");
    end("gather", 32, 32, 0, 0);
    nf_annotate_op_begin("masked_gather");
    __asm__ volatile("vmovdqu %0, %%ymm0\n\tvmovdqu %2, %%ymm2\n\tvgatherdps %%ymm2, (%1, %%ymm0, 4), %%ymm1"
                     : : "m"(index), "r"(data), "m"(mask) : "xmm0", "xmm1", "xmm2", "memory");
    end("masked_gather", 16, 16, 0, 0);
    nf_annotate_op_begin("masked_store");
    __asm__ volatile("vmovdqu %1, %%ymm2\n\tvmaskmovps %%ymm1, %%ymm2, (%0)"
                     : : "r"(data + BYTES - 32), "m"(mask) : "xmm1", "xmm2", "memory");
    end("masked_store", 0, 0, 16, 16);
}

static void strings(void)
{
    unsigned char *to = data + 1001, *from = data + 17;
    size_t n = 333;

    nf_annotate_op_begin("rep_movsb");
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
    end("rep_movsb", 333, 333, 333, 333);
    to = data + 2001;
    n = 40;
    nf_annotate_op_begin("rep_stosq");
    __asm__ volatile("rep stosq" : "+D"(to), "+c"(n) : "a"(0) : "memory");
    end("rep_stosq", 0, 0, 320, 320);
}

int main(void)
{
    nf_annotate_begin();
    data = nf_annotate_alloc(BYTES);
    next = nf_annotate_alloc(BYTES); /* lies behind it: what reads too far reads this */
    if (!data || !next)
        return 1;
    memset(data, 0, BYTES);
    memset(next, 0, BYTES);
    nf_annotate_tensor(data, BYTES, "data", NF_ANNOTATE_PARAMETER, "uint8", NULL);
    nf_annotate_tensor(next, BYTES, "next", NF_ANNOTATE_PARAMETER, "uint8", NULL);
    nf_annotate_begin_training(1);
    for (unsigned round = 0; round < 3; round++) {
        READS("fma_float", 4, "vfmadd213ss (%0), %%xmm0, %%xmm1");
        READS("fma_double", 8, "vfnmsub231sd (%0), %%xmm0, %%xmm1");
        READS("fma_vector", 32, "vfmadd231ps (%0), %%ymm0, %%ymm1");
        READS("int_to_double", 8, "cvtdq2pd (%0), %%xmm1");
        READS("int_to_double_4", 16, "vcvtdq2pd (%0), %%ymm1");
        READS("shift", 16, "vpslld (%0), %%ymm0, %%ymm1");
        READS("shift_right", 16, "vpsraw (%0), %%ymm0, %%ymm1");
        READS("average", 32, "vpavgw (%0), %%ymm0, %%ymm1"); /* the shifts' neighbour */
        READS("broadcast", 4, "vbroadcastss (%0), %%ymm1");
        READS("extend", 8, "vpmovzxbd (%0), %%ymm1");
        READS("add", 4, "vaddss (%0), %%xmm0, %%xmm1");
        READS("load", 32, "vmovups (%0), %%ymm1");
        READS("insert", 1, "vpinsrb $3, (%0), %%xmm0, %%xmm1");
        WRITES("stream", 32, "vmovntps %%ymm1, (%0)");
        WRITES("extract", 4, "vextractps $1, %%xmm1, (%0)");
        WRITES("half", 16, "vextractf128 $1, %%ymm1, (%0)");
        nf_annotate_op_begin("locked");
        __asm__ volatile("lock addq $1, (%0)" : : "r"(data + BYTES - 8) : "memory", "cc");
        end("locked", 8, 8, 8, 8);
        gathers();
        strings();
    }
    nf_annotate_step();
    return 0;
}
