/* Execution traces and Kineto files: whatever bytes they hold, what is accepted is a plan whose every touch lies inside its
 * lifetime. Input: a byte that says which ('k': Kineto, else a trace), then the file, plain or gzipped. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "capture/kineto.h"
#include "core/model/words.h"
#include "tests/fuzz/fuzz.h"

static const char run[] =
    "{\"schema\":\"1.0.1\",\"nodes\":[{\"id\":1,\"name\":\"aten::relu\",\"rf_id\":5,\"op_schema\":\"aten::relu(Tensor a) -> "
    "Tensor\",\"inputs\":[[1,2,0,4,4,\"cpu\"]],\"outputs\":[[3,4,0,4,4,\"cpu\"]]}]}";

static int put_file(const void *data, size_t n, char *path, size_t size)
{
    int fd = memfd_create("input", MFD_CLOEXEC);

    if (fd < 0)
        return -1;
    if (write(fd, data, n) != (ssize_t)n) {
        close(fd);
        return -1;
    }
    snprintf(path, size, "/proc/self/fd/%d", fd);
    return fd;
}

static void check(const struct nf_et_plan *p)
{
    for (size_t i = 0; i < p->execs.n; i++) {
        const struct nf_et_exec *e = &p->execs.v[i];
        const struct nf_et_node *n = &p->trace->nodes.v[e->node];

        if (e->phase >= NF_PHASE_COUNT || e->step >= p->n_steps || (i && e->step < p->execs.v[i - 1].step))
            abort();
        for (uint32_t o = n->first_operand; o < n->first_operand + n->n_operands; o++) {
            const struct nf_et_operand *x = &p->trace->operands.v[o];
            const struct nf_et_lifetime *l;
            struct nf_et_touch v;

            if (x->lifetime == NF_ET_NONE)
                continue;
            v = nf_et_plan_touch(x);
            l = &p->lifetimes.v[x->lifetime];
            if (x->rw >= NF_RW_COUNT || x->pattern >= NF_PATTERN_COUNT || l->first > i || l->last < i || !v.bytes || !v.run ||
                v.run > v.bytes || v.stride < v.run || v.offset > l->bytes || v.bytes > l->bytes - v.offset ||
                (v.bytes / v.run - 1) * v.stride + v.run > l->bytes - v.offset)
                abort();
        }
    }
}

static void try_trace(const char *trace, const char *kineto)
{
    struct nf_et_trace t;
    struct nf_et_plan p = {0};
    struct nf_kineto k = {0};

    if (!nf_et_trace_init(&t, trace) && !nf_et_plan_init(&p, &t)) {
        check(&p);
        if (kineto && !nf_kineto_init(&k, kineto, &p) &&
            k.totals.by_id + k.totals.by_order + k.totals.unmatched != p.execs.n)
            abort();
    }
    nf_kineto_deinit(&k);
    nf_et_plan_deinit(&p);
    nf_et_trace_deinit(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64], other[64];
    int fd, second;

    if (size < 1)
        return 0;
    fd = put_file(data + 1, size - 1, path, sizeof path);
    if (fd < 0)
        return 0;
    if (*data == 'k') {
        second = put_file(run, sizeof run - 1, other, sizeof other);
        if (second >= 0) {
            try_trace(other, path);
            close(second);
        }
    } else {
        try_trace(path, NULL);
    }
    close(fd);
    return 0;
}
