/* C kernels whose every access is known beforehand, annotated for nearfar: what a capture source sees of them can be
 * compared with what there was to see.
 *
 *     gcc -O2 -Icapture/annotate examples/kernels.c -o kernels
 *     nearfar capture -o study.nf -- ./kernels all 4096 3
 *
 * usage: kernels KERNEL [SIZE [STEPS [--counts]]]
 *   KERNEL   copy, triad, strided, gather, stencil, matmul, train, or all
 *   SIZE     elements of a vector, a power of four and at least 1024; a matrix is sqrt(SIZE) wide
 *   --counts prints what each op of a step touches: op, tensor, read or write, distinct bytes, accesses, bytes moved; as
 *            the source says it, before any compiler merges accesses into wider or fewer ones */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nearfar_annotate.h"

enum { STRIDE = 24, TILE = 16, ROW = 32 };

struct tensor {
    const char *name;
    float *data;
    size_t n;
};

static bool counts;
static const char *running;

static struct tensor make(const char *name, size_t n, enum nf_annotate_role role)
{
    struct tensor t = {name, nf_annotate_alloc(n * sizeof(float)), n};
    char shape[32];

    if (!t.data) {
        fprintf(stderr, "kernels: no memory for %s\n", name);
        exit(1);
    }
    snprintf(shape, sizeof shape, "%zu", n);
    nf_annotate_tensor(t.data, n * sizeof(float), name, role, "float32", shape);
    for (size_t i = 0; i < n; i++)
        t.data[i] = (float)(i % 97) / 97.0f;
    return t;
}

static void begin(const char *op)
{
    running = op;
    nf_annotate_op_begin(op);
}

static void end(void)
{
    nf_annotate_op_end();
}

/* The running op touches `distinct` elements of a tensor, in `accesses` accesses of one element. */
static void use(const struct tensor *t, enum nf_annotate_rw rw, enum nf_annotate_pattern pattern, size_t from,
                size_t distinct, size_t stride, size_t accesses)
{
    const size_t element = sizeof *t->data;

    if (stride > 1)
        nf_annotate_visit_runs(t->data, from * element, distinct * element, element, stride * element, rw, pattern);
    else
        nf_annotate_visit(t->data, from * element, distinct * element, rw, pattern);
    if (!counts)
        return;
    for (unsigned write = 0; write < 2; write++)
        if (rw == NF_ANNOTATE_UPDATE || (rw == NF_ANNOTATE_WRITE) == (write == 1))
            printf("%s %s %s %zu %zu %zu\n", running, t->name, write ? "write" : "read", distinct * element, accesses,
                   accesses * element);
}

/* --- the kernels; not inlined, so that each is compiled as it stands --- */

__attribute__((noinline)) static void copy(float *to, const float *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = from[i] * 0.5f;
}

__attribute__((noinline)) static void triad(float *to, const float *a, const float *b, float scale, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = a[i] + scale * b[i];
}

__attribute__((noinline)) static void strided_sum(float *to, const float *from, size_t n, size_t stride)
{
    float sum = 0.0f;

    for (size_t i = 0; i < n; i += stride)
        sum += from[i];
    *to = sum;
}

__attribute__((noinline)) static void gather(float *to, const float *table, const float *index, size_t rows)
{
    for (size_t i = 0; i < rows; i++) {
        const float *row = table + (size_t)index[i] * ROW;

        for (size_t j = 0; j < ROW; j++)
            to[i * ROW + j] = row[j];
    }
}

__attribute__((noinline)) static void stencil(float *to, const float *from, size_t n)
{
    for (size_t i = 1; i + 1 < n; i++)
        to[i] = from[i - 1] + from[i] + from[i + 1];
}

/* c += a b in tiles, m wide. */
__attribute__((noinline)) static void matmul(float *c, const float *a, const float *b, size_t m)
{
    for (size_t k0 = 0; k0 < m; k0 += TILE)
        for (size_t j0 = 0; j0 < m; j0 += TILE)
            for (size_t i = 0; i < m; i++)
                for (size_t k = k0; k < k0 + TILE; k++) {
                    float x = a[i * m + k];

                    for (size_t j = j0; j < j0 + TILE; j++)
                        c[i * m + j] += x * b[k * m + j];
                }
}

/* c += aT b, the gradient of a weight. */
__attribute__((noinline)) static void matmul_transposed(float *c, const float *a, const float *b, size_t m)
{
    for (size_t k = 0; k < m; k++)
        for (size_t i = 0; i < m; i++) {
            float x = a[k * m + i];

            for (size_t j = 0; j < m; j++)
                c[i * m + j] += x * b[k * m + j];
        }
}

__attribute__((noinline)) static void zero(float *to, size_t n)
{
    for (volatile size_t i = 0; i < n; i++) /* volatile: not to become a call of memset */
        to[i] = 0.0f;
}

/* --- the steps --- */

static struct tensor a, b, c, index_of_row, table;
static size_t n, m;

static void step_copy(void)
{
    begin("example::copy");
    copy(b.data, a.data, n);
    use(&a, NF_ANNOTATE_READ, NF_ANNOTATE_STREAM, 0, n, 1, n);
    use(&b, NF_ANNOTATE_WRITE, NF_ANNOTATE_STREAM, 0, n, 1, n);
    end();
}

static void step_triad(void)
{
    begin("example::triad");
    triad(c.data, a.data, b.data, 3.0f, n);
    use(&a, NF_ANNOTATE_READ, NF_ANNOTATE_STREAM, 0, n, 1, n);
    use(&b, NF_ANNOTATE_READ, NF_ANNOTATE_STREAM, 0, n, 1, n);
    use(&c, NF_ANNOTATE_WRITE, NF_ANNOTATE_STREAM, 0, n, 1, n);
    end();
}

static void step_strided(void)
{
    size_t reads = (n + STRIDE - 1) / STRIDE;

    begin("example::strided_sum");
    strided_sum(c.data, a.data, n, STRIDE);
    use(&a, NF_ANNOTATE_READ, NF_ANNOTATE_STRIDED, 0, reads, STRIDE, reads);
    use(&c, NF_ANNOTATE_WRITE, NF_ANNOTATE_STREAM, 0, 1, 1, 1);
    end();
}

/* Every second row of the table, each twice. */
static void step_gather(void)
{
    size_t rows = n / ROW;

    begin("example::gather");
    gather(c.data, table.data, index_of_row.data, rows);
    use(&index_of_row, NF_ANNOTATE_READ, NF_ANNOTATE_STREAM, 0, rows, 1, rows);
    nf_annotate_visit_runs(table.data, 0, n / 2 * sizeof(float), ROW * sizeof(float), 2 * ROW * sizeof(float),
                           NF_ANNOTATE_READ, NF_ANNOTATE_GATHER);
    if (counts)
        printf("%s table read %zu %zu %zu\n", running, n / 2 * sizeof(float), n, n * sizeof(float));
    use(&c, NF_ANNOTATE_WRITE, NF_ANNOTATE_STREAM, 0, n, 1, n);
    end();
}

static void step_stencil(void)
{
    begin("example::stencil");
    stencil(b.data, a.data, n);
    use(&a, NF_ANNOTATE_READ, NF_ANNOTATE_STREAM, 0, n, 1, 3 * (n - 2));
    use(&b, NF_ANNOTATE_WRITE, NF_ANNOTATE_STREAM, 1, n - 2, 1, n - 2);
    end();
}

static void step_matmul(void)
{
    begin("example::matmul");
    matmul(c.data, a.data, b.data, m);
    use(&a, NF_ANNOTATE_READ, NF_ANNOTATE_BLOCKED, 0, n, 1, n * (m / TILE));
    use(&b, NF_ANNOTATE_READ, NF_ANNOTATE_BLOCKED, 0, n, 1, n * m);
    use(&c, NF_ANNOTATE_UPDATE, NF_ANNOTATE_BLOCKED, 0, n, 1, n * m);
    end();
}

/* y = x w, dw = xT y as if y were its own gradient, w -= rate dw; y is a new tensor in every step. */
static void step_train(void)
{
    struct tensor y;

    nf_annotate_set_module("linear");
    nf_annotate_set_phase(NF_ANNOTATE_FORWARD);
    y = (struct tensor){"y", nf_annotate_alloc(n * sizeof(float)), n};
    if (!y.data)
        exit(1);
    nf_annotate_tensor(y.data, n * sizeof(float), "y", NF_ANNOTATE_OTHER_ROLE, "float32", NULL);
    begin("example::zero");
    zero(y.data, n);
    use(&y, NF_ANNOTATE_WRITE, NF_ANNOTATE_STREAM, 0, n, 1, n);
    end();
    begin("example::linear");
    matmul(y.data, a.data, b.data, m);
    use(&a, NF_ANNOTATE_READ, NF_ANNOTATE_BLOCKED, 0, n, 1, n * (m / TILE));
    use(&b, NF_ANNOTATE_READ, NF_ANNOTATE_BLOCKED, 0, n, 1, n * m);
    use(&y, NF_ANNOTATE_UPDATE, NF_ANNOTATE_BLOCKED, 0, n, 1, n * m);
    end();
    nf_annotate_set_phase(NF_ANNOTATE_BACKWARD);
    begin("example::zero");
    zero(c.data, n);
    use(&c, NF_ANNOTATE_WRITE, NF_ANNOTATE_STREAM, 0, n, 1, n);
    end();
    begin("example::linear_backward");
    matmul_transposed(c.data, a.data, y.data, m);
    use(&a, NF_ANNOTATE_READ, NF_ANNOTATE_BLOCKED, 0, n, 1, n);
    use(&y, NF_ANNOTATE_READ, NF_ANNOTATE_BLOCKED, 0, n, 1, n * m);
    use(&c, NF_ANNOTATE_UPDATE, NF_ANNOTATE_BLOCKED, 0, n, 1, n * m);
    end();
    nf_annotate_free(y.data);
    nf_annotate_set_phase(NF_ANNOTATE_OPTIMIZER);
    nf_annotate_set_module("");
    begin("example::sgd");
    triad(b.data, b.data, c.data, -1e-6f, n);
    use(&b, NF_ANNOTATE_UPDATE, NF_ANNOTATE_STREAM, 0, n, 1, n);
    use(&c, NF_ANNOTATE_READ, NF_ANNOTATE_STREAM, 0, n, 1, n);
    end();
}

static const struct {
    const char *name;
    void (*step)(void);
} kernels[] = {{"copy", step_copy},       {"triad", step_triad},   {"strided", step_strided}, {"gather", step_gather},
               {"stencil", step_stencil}, {"matmul", step_matmul}, {"train", step_train}};
enum { KERNELS = sizeof kernels / sizeof *kernels };

int main(int argc, char **argv)
{
    unsigned long steps = argc > 3 ? strtoul(argv[3], NULL, 10) : 3;
    bool known = false;
    double sum = 0;

    n = argc > 2 ? strtoul(argv[2], NULL, 10) : 1 << 14;
    for (m = 32; m * m < n; m *= 2)
        ;
    for (int k = 0; argc > 1 && k < KERNELS; k++)
        known |= !strcmp(argv[1], "all") || !strcmp(argv[1], kernels[k].name);
    if (!known || m * m != n || !steps) {
        fprintf(stderr, "usage: kernels KERNEL [SIZE [STEPS [--counts]]]; SIZE is 4^k, 1024 or more; kernels: all");
        for (int k = 0; k < KERNELS; k++)
            fprintf(stderr, ", %s", kernels[k].name);
        fputc('\n', stderr);
        return 2;
    }
    nf_annotate_begin();
    a = make("a", n, NF_ANNOTATE_INPUT);
    b = make("b", n, NF_ANNOTATE_PARAMETER);
    c = make("c", n, NF_ANNOTATE_GRADIENT);
    table = make("table", n, NF_ANNOTATE_FROZEN);
    index_of_row = make("index", n / ROW, NF_ANNOTATE_INPUT);
    for (size_t i = 0; i < n / ROW; i++)
        index_of_row.data[i] = (float)(2 * i % (n / ROW));
    nf_annotate_begin_training(1);
    for (unsigned long s = 0; s < steps; s++) {
        counts = s == 0 && argc > 4 && !strcmp(argv[4], "--counts");
        for (int k = 0; k < KERNELS; k++) {
            if (strcmp(argv[1], "all") && strcmp(argv[1], kernels[k].name))
                continue;
            nf_annotate_set_phase(NF_ANNOTATE_FORWARD);
            kernels[k].step();
        }
        nf_annotate_step();
    }
    for (size_t i = 0; i < n; i++)
        sum += (double)b.data[i] + (double)c.data[i];
    printf("checksum %.17g\n", sum);
    nf_annotate_free(a.data);
    nf_annotate_free(b.data);
    nf_annotate_free(c.data);
    nf_annotate_free(table.data);
    nf_annotate_free(index_of_row.data);
    return 0;
}
