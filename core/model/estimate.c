#include "core/model/estimate.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "core/base/array.h"
#include "core/model/stream.h"

/* Regularised lower incomplete gamma function P(a, x), a > 0: series below a + 1, Lentz's continued fraction above
 * (Abramowitz and Stegun 6.5.29, 6.5.31). */
static double gamma_p(double a, double x)
{
    double front, sum, term, b, c, d;

    if (x <= 0)
        return 0;
    front = exp(-x + a * log(x) - lgamma(a));
    if (x < a + 1) {
        sum = term = 1 / a;
        for (double k = 1; term > sum * 1e-15; k++)
            sum += term *= x / (a + k);
        return sum * front;
    }
    b = x + 1 - a;
    c = 1e300;
    d = sum = 1 / b;
    for (double k = 1; k < 1e7; k++) {
        double an = -k * (k - a), step;

        b += 2;
        d = 1 / (an * d + b);
        c = b + an / c;
        step = c * d;
        sum *= step;
        if (fabs(step - 1) < 1e-15)
            break;
    }
    return 1 - sum * front;
}

/* x with P(a, x) = p. */
static double gamma_quantile(double a, double p)
{
    double spread = 12 * sqrt(a) + 30, low = fmax(a - spread, 0), high = a + spread;

    for (int i = 0; i < 200 && high - low > 1e-12 * high; i++) {
        double middle = (low + high) / 2;

        if (gamma_p(a, middle) < p)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}

double nf_count_correction(uint64_t delivered, uint64_t lost, double running_share)
{
    double factor = delivered ? 1 + (double)lost / (double)delivered : 1;

    return running_share > 0 && running_share < 1 ? factor / running_share : factor;
}

void nf_count_estimate(const struct nf_count *c, uint64_t period, double correction, double level,
                       struct nf_count_estimate *out)
{
    double n = 0, each = (double)period, tail = (1 - level) / 2;

    if (c->samples) {
        n = c->periods * c->periods / c->squares;
        each = c->squares / c->periods;
    }
    each *= correction;
    *out = (struct nf_count_estimate){
        .value = c->samples >= NF_COUNT_POINT_SAMPLES ? n * each : NAN,
        .low = n > 0 ? gamma_quantile(n, tail) * each : 0,
        .high = gamma_quantile(n + 1, 1 - tail) * each,
    };
}

double nf_detection(double bytes, double period)
{
    return period > 0 ? -expm1(-bytes / (NF_LINE_BYTES * period)) : NAN;
}

bool nf_detectable(double bytes, double period)
{
    return nf_detection(bytes, period) >= 0.95;
}

double nf_stride_confidence(uint32_t differences)
{
    double zeta = 1;

    if (differences < 2)
        return 0;
    /* The terms above N together: Euler-Maclaurin's first one. */
    for (int i = 2; i <= 1000; i++)
        zeta += pow(i, -(double)differences);
    zeta += pow(1000.5, 1 - (double)differences) / ((double)differences - 1);
    return 1 / zeta;
}

static int compare(const void *a, const void *b)
{
    const struct nf_sample *x = *(const struct nf_sample *const *)a, *y = *(const struct nf_sample *const *)b;

    if (x->op != y->op)
        return x->op < y->op ? -1 : 1;
    if (x->tensor != y->tensor)
        return x->tensor < y->tensor ? -1 : 1;
    if (x->ip != y->ip)
        return x->ip < y->ip ? -1 : 1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

int nf_strides(const struct nf_sample *samples, size_t n, struct nf_stride **out, size_t *n_out)
{
    const struct nf_sample **sorted = malloc((n + 1) * sizeof(*sorted));
    NF_ARRAY(struct nf_stride) strides = {0};
    size_t m = 0;

    *out = NULL;
    *n_out = 0;
    if (!sorted)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        if (samples[i].op != NF_SAMPLE_NONE && samples[i].tensor != NF_SAMPLE_NONE)
            sorted[m++] = &samples[i];
    }
    qsort(sorted, m, sizeof(*sorted), compare);
    for (size_t i = 0, end; i < m; i = end) {
        struct nf_stride s = {.ip = sorted[i]->ip, .tensor = sorted[i]->tensor, .op = sorted[i]->op};

        for (end = i + 1;
             end < m && sorted[end]->op == s.op && sorted[end]->tensor == s.tensor && sorted[end]->ip == s.ip; end++) {
            uint64_t difference = sorted[end]->offset - sorted[end - 1]->offset;

            s.bytes = gcd(s.bytes, difference);
            s.differences += difference > 0;
        }
        s.confidence = nf_stride_confidence(s.differences);
        if (nf_array_push(&strides, s)) {
            nf_array_free(&strides);
            free(sorted);
            return -ENOMEM;
        }
    }
    free(sorted);
    *out = strides.v;
    *n_out = strides.n;
    return 0;
}

double nf_parallelism(double latency_cycles, double elapsed_cycles)
{
    return elapsed_cycles > 0 ? latency_cycles / elapsed_cycles : NAN;
}
