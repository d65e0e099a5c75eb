/* Figures of the capture: who holds memory through the step, and how far apart uses lie. */
#include <math.h>
#include <stdlib.h>

#include "analyze/figure.h"
#include "analyze/print.h"
#include "analyze/writer.h"

/* Bottom of the stack first: what lives longest. Okabe and Ito's colours for the eight roles that matter most, greys
 * and darker relatives of them for the rest. */
static const struct {
    unsigned role;
    const char *colour;
} order[] = {
    {NF_ROLE_PARAMETER, "#0072B2"},    {NF_ROLE_FROZEN, "#56B4E9"},        {NF_ROLE_OPTIMIZER, "#E69F00"},
    {NF_ROLE_GRADIENT, "#D55E00"},     {NF_ROLE_CHECKPOINT, "#CC79A7"},    {NF_ROLE_SAVED, "#009E73"},
    {NF_ROLE_FORWARD_TEMP, "#F0E442"}, {NF_ROLE_BACKWARD_TEMP, "#000000"}, {NF_ROLE_OPTIMIZER_TEMP, "#8C6D1F"},
    {NF_ROLE_INPUT, "#882255"},        {NF_ROLE_COLLECTIVE, "#44AA99"},    {NF_ROLE_SCRATCH, "#999999"},
    {NF_ROLE_UNKNOWN, "#cccccc"},
};
enum { ROLES = sizeof order / sizeof *order };
_Static_assert((int)ROLES == (int)NF_ROLE_COUNT, "every role has a colour");

const char *nf_canvas_role_colour(unsigned role)
{
    for (int i = 0; i < ROLES; i++) {
        if (order[i].role == role)
            return order[i].colour;
    }
    return "#cccccc";
}

void nf_canvas_byte_tics(struct nf_canvas *c, char axis, int low, int high, int most)
{
    static const char *const prefix[] = {"", "K", "M", "G", "T"};

    nf_buf_printf(&c->script, "set %ctics rotate by 0 (", axis);
    for (int b = low, step = (high - 1 - low) / most + 1; b <= high; b += step)
        nf_buf_printf(&c->script, "%s'%d %s%s' %d", b == low ? "" : ", ", 1 << b % 10, prefix[b / 10 < 4 ? b / 10 : 4],
                      b < 10 ? "B" : "iB", b);
    nf_buf_puts(&c->script, ")\n");
}

static double unit_of(double most, const char **name)
{
    *name = most >= 1 << 30 ? "GiB" : most >= 1 << 20 ? "MiB" : "KiB";
    return most >= 1 << 30 ? 1 << 30 : most >= 1 << 20 ? 1 << 20 : 1024;
}

static void head(const struct nf_report *r, struct nf_canvas *c, const char *title)
{
    struct nf_buf evidence = {0}, step = {0};

    nf_buf_printf(&evidence, "evidence: accesses %s; %s", r->answer.accesses,
                  r->usage.step_ns > 0 ? "op times measured in the timing pass, corrected to the bare step"
                                       : "ops untimed");
    nf_buf_printf(&step, "steady step: %u ops, %u tensors, peak live ", r->usage.n_ops, r->usage.n_tensors);
    nf_print_bytes(&step, (double)r->usage.peak_live_bytes);
    nf_canvas_head(c, title, evidence.data ? evidence.data : "evidence: unknown", step.data ? step.data : "");
    nf_buf_deinit(&evidence);
    nf_buf_deinit(&step);
    nf_buf_printf(&c->script,
                  "set lmargin at screen 0.085\nset rmargin at screen 0.755\n"
                  "set tmargin at screen %.4f\nset bmargin at screen 0.145\n"
                  "set key at screen 0.767,graph 1 left top Left reverse samplen 1.2 spacing 1.25 font ',13'\n",
                  1 - 108.0 / c->height);
}

/* Where an op lies on the x axis. */
static double place_of(const struct nf_usage *u, uint32_t op, bool timed)
{
    double at = 0;

    if (!timed)
        return op;
    for (uint32_t s = 0; s < u->samples && u->op[s] <= op; s++)
        at = u->ms[s];
    return at;
}

/* Names the longest stretches of a phase first, and leaves out those whose name would lie on another's. */
static void mark_phases(const struct nf_usage *u, struct nf_canvas *c, bool timed)
{
    double end = timed ? u->step_ns / 1e6 : u->n_ops, room = end * 0.1, marked[NF_USAGE_PHASES];
    bool done[NF_USAGE_PHASES] = {false};
    unsigned n = 0;

    for (uint32_t round = 0; round < u->n_phases; round++) {
        double longest = -1, at = 0;
        uint32_t best = 0;
        bool clear = true;

        for (uint32_t i = 0; i < u->n_phases; i++) {
            double from = place_of(u, u->phase_op[i], timed);
            double to = i + 1 < u->n_phases ? place_of(u, u->phase_op[i + 1], timed) : end;

            if (!done[i] && to - from > longest) {
                longest = to - from;
                best = i;
                at = from;
            }
        }
        done[best] = true;
        for (unsigned i = 0; i < n; i++)
            clear = clear && fabs(at - marked[i]) >= room;
        if (!clear)
            continue;
        marked[n++] = at;
        nf_buf_printf(&c->script,
                      "set arrow %u from first %.6g,graph 0 to first %.6g,graph 1.02 nohead front linecolor rgb "
                      "'#444444' dashtype (2,4)\n"
                      "set label %u '%s' at first %.6g,graph 1.035 %s font ',12' textcolor rgb '#444444'\n",
                      n, at, at, n + 10, nf_phase_name(u->phase[best]), at, at > end - room ? "right" : "left");
    }
}

/* Stacked areas or boxes are drawn from the tallest sum down, so that the legend reads like the stack. */
static void put_stack(struct nf_canvas *c, int x, const int *columns, const char *how)
{
    bool first = true;

    nf_buf_puts(&c->script, "plot ");
    for (int i = ROLES; i-- > 0;) {
        if (columns[i] < 0)
            continue;
        nf_buf_printf(&c->script, "%s'%s.dat' using %d:%d with %s fillcolor rgb '%s' title '%s'",
                      first ? "" : ", \\\n  ", c->name, x, columns[i], how, order[i].colour,
                      nf_role_name(order[i].role));
        first = false;
    }
    nf_buf_puts(&c->script, "\n");
}

bool nf_figure_live_bytes(const struct nf_report *r, struct nf_canvas *c)
{
    const struct nf_usage *u = &r->usage;
    bool timed = u->step_ns > 0;
    int columns[ROLES], next = 3;
    const char *unit_name;
    double unit = unit_of((double)u->peak_live_bytes, &unit_name);

    if (*r->usage_problem || !u->samples || !u->peak_live_bytes)
        return false;
    nf_buf_puts(&c->data, "# sums from the bottom of the stack up\n# op ms");
    for (int i = 0; i < ROLES; i++) {
        columns[i] = u->roles[order[i].role].peak_bytes ? next++ : -1;
        if (columns[i] >= 0)
            nf_buf_printf(&c->data, " '%s_%s'", nf_role_name(order[i].role), unit_name);
    }
    nf_buf_puts(&c->data, "\n");
    for (uint32_t s = 0; s <= u->samples; s++) {
        uint32_t of = s < u->samples ? s : s - 1; /* the last one lasts until the end of the step */
        double sum = 0;

        nf_buf_printf(&c->data, "%u %.6g", s < u->samples ? u->op[s] : u->n_ops,
                      s < u->samples ? u->ms[s] : u->step_ns / 1e6);
        for (int i = 0; i < ROLES; i++) {
            sum += (double)u->roles[order[i].role].live[of] / unit;
            if (columns[i] >= 0)
                nf_buf_printf(&c->data, " %.6g", sum);
        }
        nf_buf_puts(&c->data, "\n");
    }
    head(r, c, "Live bytes through the step, by role");
    nf_buf_printf(&c->script, "set xlabel '%s'\nset ylabel 'live (%s)'\nset yrange [0:*]\n",
                  timed ? "captured time in the step (ms)" : "op of the step", unit_name);
    nf_buf_printf(&c->script, "set xrange [0:%.6g]\n", timed ? u->step_ns / 1e6 : (double)u->n_ops);
    mark_phases(u, c, timed);
    put_stack(c, timed ? 2 : 1, columns, "filledcurves x1 fillstyle solid noborder");
    return true;
}

bool nf_figure_gaps(const struct nf_report *r, struct nf_canvas *c)
{
    const struct nf_usage *u = &r->usage;
    int columns[ROLES], next = 2, low = NF_USAGE_GAP_BINS, high = -1;
    double most = 0, unit, llc = r->data.replay.llc_effective_bytes;
    const char *unit_name;

    if (*r->usage_problem)
        return false;
    for (int b = 0; b < NF_USAGE_GAP_BINS; b++) {
        double sum = 0;

        for (int i = 0; i < NF_ROLE_COUNT; i++)
            sum += (double)u->roles[i].gap_histogram[b];
        most = fmax(most, sum);
        if (sum > 0) {
            low = low < b ? low : b;
            high = b;
        }
    }
    if (high < 0)
        return false;
    unit = unit_of(most, &unit_name);
    nf_buf_puts(&c->data, "# sums from the bottom of the stack up\n# log2_gap_bytes");
    for (int i = 0; i < ROLES; i++) {
        columns[i] = -1;
        for (int b = low; b <= high && columns[i] < 0; b++) {
            if (u->roles[order[i].role].gap_histogram[b])
                columns[i] = next++;
        }
        if (columns[i] >= 0)
            nf_buf_printf(&c->data, " '%s_%s'", nf_role_name(order[i].role), unit_name);
    }
    nf_buf_puts(&c->data, "\n");
    for (int b = low; b <= high; b++) {
        double sum = 0;

        nf_buf_printf(&c->data, "%.1f", b + 0.5);
        for (int i = 0; i < ROLES; i++) {
            sum += (double)u->roles[order[i].role].gap_histogram[b] / unit;
            if (columns[i] >= 0)
                nf_buf_printf(&c->data, " %.6g", sum);
        }
        nf_buf_puts(&c->data, "\n");
    }
    head(r, c, "Distance between uses of a tensor");
    nf_buf_printf(&c->script,
                  "set xlabel 'other traffic between two uses (bytes)'\n"
                  "set ylabel 'tensors used again after it (%s)'\nset yrange [0:*]\n"
                  "set boxwidth 0.92\nset xrange [%d:%d]\n",
                  unit_name, low, high + 1);
    nf_canvas_byte_tics(c, 'x', low, high + 1, 10);
    if (isfinite(llc) && log2(llc) > low && log2(llc) < high + 1) {
        struct nf_buf mark = {0};

        nf_buf_puts(&mark, "effective LLC ");
        nf_print_bytes(&mark, llc);
        nf_buf_printf(
            &c->script,
            "set arrow 1 from first %.6g,graph 0 to first %.6g,graph 1.02 nohead front linecolor rgb '#000000' "
            "linewidth 1.5 dashtype (6,4)\nset label 4 ",
            log2(llc), log2(llc));
        nf_canvas_text(&c->script, mark.data ? mark.data : "effective LLC", 60);
        nf_buf_printf(&c->script, " at first %.6g,graph 1.035 center font ',12'\n", log2(llc));
        nf_buf_deinit(&mark);
    }
    put_stack(c, 1, columns, "boxes fillstyle solid noborder");
    return true;
}
