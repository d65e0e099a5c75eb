#include "tests/bench/bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/model/stats.h"

enum { ROUNDS = 11, ROUNDS_MAX = 64 };

static const struct group {
    const char *name;
    int (*run)(struct bench *b);
} groups[] = {
    {"codec", bench_codec},
    {"samples", bench_samples},
    {"flood", bench_flood},
    {"reuse", bench_reuse},
    {"mrc", bench_mrc},
    {"cache", bench_cache},
    {"kernel", bench_kernel},
    {"copy", bench_copy},
    {"peers", bench_peers},
    {"tiers", bench_tiers},
    {"pool", bench_pool},
    {"plan", bench_plan},
    {"delay", bench_delay},
    {"replay", bench_replay},
};
enum { N_GROUPS = sizeof groups / sizeof *groups };

/* The quartiles. */
static void quartiles(const double *values, unsigned n, double out[3])
{
    static const double at[3] = {0.25, 0.5, 0.75};
    double sorted[ROUNDS_MAX];

    memcpy(sorted, values, n * sizeof *values);
    for (unsigned i = 0; i < 3; i++)
        out[i] = nf_quantile(sorted, n, at[i]);
}

double bench_median(const double *values, unsigned n)
{
    double sorted[4096];

    memcpy(sorted, values, n * sizeof *values);
    return nf_quantile(sorted, n, 0.5);
}

int bench_row(struct bench *b, const struct bench_row *row, void *state)
{
    double value[BENCH_CONTENDERS_MAX][ROUNDS_MAX], also[BENCH_CONTENDERS_MAX][ROUNDS_MAX], ratio[ROUNDS_MAX], q[3];
    struct nf_rng rng = {.state = nf_hash_bytes(row->name, strlen(row->name))};
    unsigned n = 0;

    while (n < BENCH_CONTENDERS_MAX && row->contender[n])
        n++;
    /* Round 0 warms caches, files and the branch predictor, and does not count. */
    for (unsigned round = 0; round <= b->rounds; round++) {
        unsigned order[BENCH_CONTENDERS_MAX];

        for (unsigned i = 0; i < n; i++) {
            unsigned j = (unsigned)nf_rng_below(&rng, i + 1);

            order[i] = order[j];
            order[j] = i;
        }
        for (unsigned i = 0; i < n; i++) {
            double v = row->run(state, order[i]);

            if (v < 0) {
                printf("%-34s %s failed\n", row->name, row->contender[order[i]]);
                return -1;
            }
            if (round == 0)
                continue;
            value[order[i]][round - 1] = v;
            fprintf(b->raw, "\"%s\",\"%s\",%u,%.9g,%s\n", row->name, row->contender[order[i]], round, v, row->unit);
            if (!row->also)
                continue;
            also[order[i]][round - 1] = row->also(state);
            fprintf(b->raw, "\"%s, %s\",\"%s\",%u,%.9g,%s\n", row->name, row->also_as, row->contender[order[i]], round,
                    also[order[i]][round - 1], row->unit);
        }
    }
    quartiles(value[0], b->rounds, q);
    printf("%-34s %9.4g %-9s [%.4g .. %.4g]", row->name, q[1], row->unit, q[0], q[2]);
    if (row->target > 0) {
        double target = row->target, limit[3];
        bool met;

        if (row->up_to_peer && n > 1) {
            quartiles(value[1], b->rounds, limit);
            target = limit[1] < target ? limit[1] : target;
        }
        met = row->lower_is_better ? q[1] <= target : q[1] >= target;
        printf("  target %s %.4g%s: %s", row->lower_is_better ? "<=" : ">=", target,
               target < row->target ? ", all this machine has" : "", met ? "met" : "MISSED");
        b->missed += !met;
    }
    printf("\n");
    if (row->also) {
        quartiles(also[0], b->rounds, q);
        printf("  %-32s %9.4g %-9s [%.4g .. %.4g]\n", row->also_as, q[1], row->unit, q[0], q[2]);
    }
    for (unsigned c = 1; c < n; c++) {
        double r[3];

        for (unsigned i = 0; i < b->rounds; i++)
            ratio[i] = value[0][i] / value[c][i];
        quartiles(value[c], b->rounds, q);
        quartiles(ratio, b->rounds, r);
        printf("  %6.3g x %-25s %9.4g %-9s [%.4g .. %.4g]  ratio [%.3g .. %.3g]\n", r[1], row->contender[c], q[1],
               row->unit, q[0], q[2], r[0], r[2]);
        if (c == 1 && (row->ratio_least > 0 || row->ratio_most > 0)) {
            bool met = r[1] >= row->ratio_least && (!(row->ratio_most > 0) || r[1] <= row->ratio_most);

            if (row->ratio_most > 0 && row->ratio_least > 0)
                printf("  %-8s target %g to %g x: %s\n", "", row->ratio_least, row->ratio_most, met ? "met" : "MISSED");
            else if (row->ratio_most > 0)
                printf("  %-8s target <= %g x: %s\n", "", row->ratio_most, met ? "met" : "MISSED");
            else
                printf("  %-8s target >= %g x: %s\n", "", row->ratio_least, met ? "met" : "MISSED");
            b->missed += !met;
        }
    }
    fflush(stdout);
    return 0;
}

void bench_fact(struct bench *b, const char *name, double value, const char *unit, double limit, const char *peer,
                double peer_value)
{
    bool met = value <= limit;

    printf("%-34s %9.4g %-9s", name, value, unit);
    if (limit > 0) {
        printf("  target <= %g: %s", limit, met ? "met" : "MISSED");
        b->missed += !met;
    }
    printf("\n  %6.3g x %-25s %9.4g %s\n", value / peer_value, peer, peer_value, unit);
    fprintf(b->raw, "\"%s\",ours,1,%.9g,%s\n\"%s\",\"%s\",1,%.9g,%s\n", name, value, unit, name, peer, peer_value, unit);
}

/* Into the file, and its quartiles onto the line that stays open. */
static void say_values(struct bench *b, const char *name, const char *unit, const double *values, unsigned n, double q[3])
{
    for (unsigned i = 0; i < n; i++)
        fprintf(b->raw, "\"%s\",ours,%u,%.9g,%s\n", name, i + 1, values[i], unit);
    quartiles(values, n, q);
    printf("%-34s %9.4g %-9s [%.4g .. %.4g]", name, q[1], unit, q[0], q[2]);
}

void bench_values(struct bench *b, const char *name, const char *unit, const double *values, unsigned n)
{
    double q[3];

    say_values(b, name, unit, values, n, q);
    printf("\n");
}

void bench_at_most(struct bench *b, const char *name, const char *unit, const double *values, unsigned n, double limit)
{
    double q[3];

    say_values(b, name, unit, values, n, q);
    printf("  target <= %g: %s\n", limit, q[1] <= limit ? "met" : "MISSED");
    b->missed += q[1] > limit;
}

void bench_within(struct bench *b, const char *name, const char *unit, const double *values, unsigned n, double target,
                  double tolerance)
{
    double q[3];
    bool met;

    say_values(b, name, unit, values, n, q);
    met = q[1] >= target * (1 - tolerance) && q[1] <= target * (1 + tolerance);
    b->missed += !met;
    printf("  target %g +- %g %%: %s\n", target, 100 * tolerance, met ? "met" : "MISSED");
}

static int usage(void)
{
    fprintf(stderr, "usage: nearfar-bench [--smoke] [--rounds N] FOLDER [GROUP...]   groups:");
    for (unsigned i = 0; i < N_GROUPS; i++)
        fprintf(stderr, " %s", groups[i].name);
    fprintf(stderr, "\n");
    return 2;
}

static bool wanted(const char *name, int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        if (!strcmp(argv[i], name))
            return true;
    return argc == 0;
}

int main(int argc, char **argv)
{
    struct bench b = {.rounds = ROUNDS};
    char path[4096];
    int failed = 0;

    for (argc--, argv++; argc && argv[0][0] == '-'; argc--, argv++) {
        if (!strcmp(argv[0], "--smoke")) {
            b.smoke = true;
            b.rounds = 1;
        } else if (!strcmp(argv[0], "--rounds") && argc > 1) {
            b.rounds = (unsigned)strtoul(argv[1], NULL, 10);
            argc--, argv++;
        } else {
            return usage();
        }
    }
    if (!argc || b.rounds < 1 || b.rounds > ROUNDS_MAX)
        return usage();
    b.folder = argv[0];
    if (mkdir(b.folder, 0755) && errno != EEXIST) {
        perror(b.folder);
        return 1;
    }
    for (unsigned i = 0; i < N_GROUPS; i++) {
        int rc;

        if (!wanted(groups[i].name, argc - 1, argv + 1))
            continue;
        snprintf(path, sizeof path, "%s/%s.csv", b.folder, groups[i].name);
        b.raw = fopen(path, "we");
        if (!b.raw) {
            perror(path);
            return 1;
        }
        fprintf(b.raw, "row,contender,round,value,unit\n");
        rc = groups[i].run(&b);
        if (fclose(b.raw) || (rc && rc != 77)) {
            printf("%s: failed\n", groups[i].name);
            failed++;
        }
    }
    if (b.missed && !b.smoke)
        printf("%u targets missed\n", b.missed);
    return failed ? 1 : 0;
}
