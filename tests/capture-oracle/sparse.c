/* Ops whose pages are known beforehand and are not whole tensors: strides of pages, pages picked by a generator, writes
 * before reads and reads before writes, two tensors that end within a page, threads. Annotated for nearfar.
 * usage: sparse STEPS; prints of the first step "op NAME" and lines "TENSOR PAGE r|w|rw" of each. */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "nearfar_annotate.h"

enum { PAGE = 4096, A_BYTES = 300 * PAGE + 100, B_BYTES = 257 * PAGE - 8, THREADS = 4 };

static volatile char *a, *b;
static bool says;

static void begin(const char *name)
{
    nf_annotate_op_begin(name);
    if (says)
        printf("op %s\n", name);
}

static void end(void)
{
    nf_annotate_visit((const void *)a, 0, A_BYTES, NF_ANNOTATE_UPDATE, NF_ANNOTATE_STREAM);
    nf_annotate_visit((const void *)b, 0, B_BYTES, NF_ANNOTATE_UPDATE, NF_ANNOTATE_STREAM);
    nf_annotate_op_end();
}

static void tell(char tensor, size_t page, const char *how)
{
    if (says)
        printf("%c %zu %s\n", tensor, page, how);
}

static void strided_reads(void)
{
    begin("sparse::strided_reads");
    for (size_t page = 1; page < 257; page += 3) {
        (void)b[page * PAGE];
        tell('b', page, "r");
    }
    end();
}

static void last_bytes(void)
{
    begin("sparse::last_bytes");
    a[A_BYTES - 1] = 1;
    tell('a', 300, "w");
    (void)b[B_BYTES - 1];
    tell('b', 256, "r");
    a[0] = 1;
    tell('a', 0, "w");
    end();
}

static void picked(void)
{
    uint32_t x = 12345;
    bool seen[300] = {0};

    begin("sparse::picked");
    for (int i = 0; i < 500; i++) {
        size_t page;

        x = x * 1664525 + 1013904223;
        page = (x >> 8) % 300;
        a[page * PAGE + x % PAGE] = (char)i;
        if (!seen[page])
            tell('a', page, "w");
        seen[page] = true;
    }
    end();
}

static void reads_then_writes(void)
{
    begin("sparse::reads_then_writes");
    for (size_t page = 0; page < 300; page += 7) {
        a[page * PAGE + 8]++;
        tell('a', page, "rw");
    }
    end();
}

static void writes_then_reads(void)
{
    begin("sparse::writes_then_reads");
    for (size_t page = 2; page < 257; page += 5) {
        b[page * PAGE + 100] = 1;
        (void)b[page * PAGE + 200];
        tell('b', page, "w"); /* open by then: the read is not seen */
    }
    end();
}

static void nothing(void)
{
    begin("sparse::nothing");
    end();
}

static void *part(void *argument)
{
    for (size_t page = (size_t)argument; page < 257; page += THREADS)
        b[page * PAGE] = 2;
    return NULL;
}

static void threads(void)
{
    pthread_t t[THREADS];

    begin("sparse::threads");
    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&t[i], NULL, part, (void *)i))
            exit(1);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    for (size_t page = 0; page < 257; page++)
        tell('b', page, "w");
    end();
}

int main(int argc, char **argv)
{
    int steps = argc > 1 ? atoi(argv[1]) : 2;

    nf_annotate_begin();
    a = nf_annotate_alloc(A_BYTES);
    b = nf_annotate_alloc(B_BYTES);
    if (!a || !b)
        return 1;
    nf_annotate_tensor((const void *)a, A_BYTES, "a", NF_ANNOTATE_PARAMETER, "uint8", NULL);
    nf_annotate_tensor((const void *)b, B_BYTES, "b", NF_ANNOTATE_INPUT, "uint8", NULL);
    for (size_t i = 0; i < A_BYTES; i++)
        a[i] = 0;
    for (size_t i = 0; i < B_BYTES; i++)
        b[i] = 0;
    nf_annotate_begin_training(1);
    for (int s = 0; s < steps; s++) {
        says = s == 0;
        nf_annotate_set_phase(NF_ANNOTATE_FORWARD);
        strided_reads();
        last_bytes();
        picked();
        reads_then_writes();
        nothing();
        writes_then_reads();
        threads();
        nf_annotate_step();
    }
    return 0;
}
