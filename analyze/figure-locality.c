#include "analyze/figure-locality.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "analyze/writer.h"
#include "core/base/units.h"

/* Okabe and Ito's, which differ in grey as well. */
static const char *const colours[] = {"#000000", "#0072B2", "#56B4E9", "#E69F00",
                                      "#009E73", "#D55E00", "#CC79A7", "#8C6D1F"};
enum { COLOURS = sizeof colours / sizeof *colours };

static void begin(struct nf_canvas *c, const struct nf_locality_head *head, int width, int height)
{
    c->width = width;
    c->height = height;
    nf_canvas_head(c, head->title, head->evidence, head->step);
    nf_buf_printf(&c->script,
                  "set lmargin at screen 0.085\nset rmargin at screen 0.72\n"
                  "set tmargin at screen %.4f\nset bmargin at screen 0.13\n"
                  "set key at screen 0.73,graph 1 left top Left reverse samplen 1.6 spacing 1.3 font ',13'\n",
                  1 - 108.0 / height);
}

static void mark(struct nf_canvas *c, double bytes, double low, double high)
{
    char text[NF_UNITS_TEXT];

    if (!(bytes > 0) || log2(bytes) <= low || log2(bytes) >= high)
        return;
    nf_buf_printf(
        &c->script,
        "set arrow 1 from first %.6g,graph 0 to first %.6g,graph 1.02 nohead front linecolor rgb '#000000' "
        "linewidth 1.2 dashtype (6,4)\nset label 4 'effective LLC %s' at first %.6g,graph 1.04 center font ',12'\n",
        log2(bytes), log2(bytes), nf_format_bytes(text, bytes), log2(bytes));
}

struct line {
    const struct nf_mrc *curve;
    const char *colour; /* NULL: chosen by place */
    bool dashed;        /* an estimate */
    char name[128];
};
enum { LINES_MAX = 2 * NF_FIGURE_GROUPS };

static void put_lines(struct nf_canvas *c, const struct nf_locality_head *head, const struct line *lines, size_t n,
                      uint64_t reach_bytes, double mark_bytes)
{
    uint32_t block_bytes = lines[0].curve->block_bytes;
    double first = log2((double)nf_mrc_size(block_bytes, reach_bytes, 0)), last = log2((double)reach_bytes);
    uint64_t size;

    begin(c, head, 1100, 600);
    nf_buf_puts(&c->data, "# log2_cache_bytes");
    for (size_t i = 0; i < n; i++)
        nf_buf_printf(&c->data, " \"%s\"", lines[i].name);
    nf_buf_puts(&c->data, "\n");
    for (uint32_t at = 0; (size = nf_mrc_size(block_bytes, reach_bytes, at)); at++) {
        nf_buf_printf(&c->data, "%.6f", log2((double)size));
        for (size_t i = 0; i < n; i++)
            nf_buf_printf(&c->data, " %.6g", nf_mrc_ratio(lines[i].curve, size));
        nf_buf_puts(&c->data, "\n");
    }
    nf_canvas_byte_tics(c, 'x', (int)floor(first), (int)ceil(last), 10);
    nf_buf_printf(
        &c->script,
        "set xrange [%.6g:%.6g]\nset yrange [0:1]\nset xlabel 'cache size (fully associative LRU, %u-byte blocks)'\n"
        "set ylabel 'miss ratio (share of accessed bytes)'\n",
        floor(first), ceil(last), block_bytes);
    mark(c, mark_bytes, floor(first), ceil(last));
    nf_buf_puts(&c->script, "plot ");
    for (size_t i = 0; i < n; i++) {
        nf_buf_printf(&c->script, "%s'%s.dat' using 1:%zu with lines linewidth %s linecolor rgb '%s'%s title ",
                      i ? ", \\\n  " : "", c->name, i + 2, lines[i].dashed ? "1.4" : "2",
                      lines[i].colour ? lines[i].colour : colours[i % COLOURS],
                      lines[i].dashed ? " dashtype (8,5)" : "");
        nf_canvas_text(&c->script, lines[i].name, 40);
    }
    nf_buf_puts(&c->script, "\n");
}

void nf_figure_mrc(struct nf_canvas *c, const struct nf_locality_head *head, const struct nf_mrc_set *m,
                   const struct nf_tensor_groups *g, bool by_group, double mark_bytes)
{
    struct line lines[LINES_MAX];
    size_t n = 0;

    for (uint32_t at = g->first; by_group && at <= g->n && n + 2 <= LINES_MAX; at++) {
        const char *colour =
            at && g->roles[at - 1] >= 0 ? nf_canvas_role_colour((unsigned)g->roles[at - 1]) : "#555555";

        lines[n] = (struct line){&m->curves[NF_MRC_EXACT][at], colour, false, ""};
        snprintf(lines[n].name, sizeof lines[n].name, "%s", nf_tensor_groups_name(g, at));
        n++;
        lines[n++] = (struct line){&m->curves[NF_MRC_FUSED][at], colour, true, ""};
    }
    for (int i = 0; !by_group && i < NF_MRC_ESTIMATORS; i++, n++) {
        const struct nf_mrc *curve = &m->curves[i][g->first];
        struct nf_mrc_error error;

        lines[n] = (struct line){curve, NULL, i != NF_MRC_EXACT, ""};
        if (i == NF_MRC_EXACT || nf_mrc_compare(&m->curves[NF_MRC_EXACT][g->first], curve, &error))
            snprintf(lines[n].name, sizeof lines[n].name, "%s", curve->estimator);
        else
            snprintf(lines[n].name, sizeof lines[n].name, "%s, error %.4f", curve->estimator, error.mean);
    }
    put_lines(c, head, lines, n, m->reach, mark_bytes);
}

/* One group of the stack. */
struct layer {
    const char *name, *colour;
    const struct nf_histogram *distances; /* in blocks */
    const struct nf_histogram *times;     /* ns, or bytes of traffic */
};

/* Weight of octave b: values 2^b to 2^(b+1), what is below 2^low with the first. */
static double octave(const struct nf_histogram *h, int b, int low, double unit)
{
    double from = b == low ? 0 : exp2(b) / unit, to = exp2(b + 1) / unit;

    return nf_histogram_above(h, from) - nf_histogram_above(h, to);
}

static void octaves_of(const struct layer *layers, size_t n, bool times, double unit, int *low, int *high)
{
    double first = INFINITY, last = 0;

    for (size_t i = 0; i < n; i++) {
        const struct nf_histogram *h = times ? layers[i].times : layers[i].distances;

        for (uint32_t b = 0; b < NF_HISTOGRAM_BUCKETS; b++) {
            if (h->at[b] > 0) {
                first = fmin(first, fmax((double)nf_histogram_edge(b) * unit, 1));
                last = fmax(last, (double)nf_histogram_edge(b + 1) * unit);
            }
        }
    }
    *low = isfinite(first) ? (int)floor(log2(first)) : 0;
    *high = last > 0 ? (int)ceil(log2(last)) : *low + 1;
    /* What would be too low to see shares the first box. */
    for (double below = 0; *low + 1 < *high; ++*low) {
        double all = 0;

        below = 0;
        for (size_t i = 0; i < n; i++) {
            const struct nf_histogram *h = times ? layers[i].times : layers[i].distances;

            all += h->total - h->cold;
            below += h->total - h->cold - nf_histogram_above(h, exp2(*low + 1) / unit);
        }
        if (below > all / 500)
            break;
    }
}

/* One panel: its rows go into the data as an index of their own. */
static void put_panel(struct nf_canvas *c, const struct layer *layers, size_t n, bool times, double unit,
                      int low, int high, int index)
{
    for (int b = low; b < high; b++) {
        double sum = 0;

        nf_buf_printf(&c->data, "%.1f", b + 0.5);
        for (size_t i = 0; i < n; i++) {
            sum += octave(times ? layers[i].times : layers[i].distances, b, low, unit) / (1 << 20);
            nf_buf_printf(&c->data, " %.6g", sum);
        }
        nf_buf_puts(&c->data, "\n");
    }
    nf_buf_puts(&c->data, "\n\n");
    nf_buf_printf(&c->script, "set xrange [%d:%d]\nplot ", low, high);
    for (size_t i = n; i-- > 0;) {
        nf_buf_printf(&c->script, "%s'%s.dat' index %d using 1:%zu with boxes fillstyle solid noborder fillcolor rgb '%s' ",
                      i + 1 < n ? ", \\\n  " : "", c->name, index, i + 2,
                      layers[i].colour ? layers[i].colour : colours[i % COLOURS]);
        if (index) {
            nf_buf_puts(&c->script, "notitle");
        } else {
            nf_buf_puts(&c->script, "title ");
            nf_canvas_text(&c->script, layers[i].name, 28);
        }
    }
    nf_buf_puts(&c->script, "\n");
}

/* Powers of ten on an axis of log2 ns. */
static void time_tics(struct nf_canvas *c, int low, int high)
{
    static const char *const units[] = {"ns", "us", "ms", "s"};
    bool first = true;

    /* What is used again at once has its place with what is below 2 ns. */
    nf_buf_puts(&c->script, low ? "set xtics rotate by 0 (" : "set xtics rotate by 0 ('0' 0.5");
    first = low != 0;
    for (int power = 0; power * log2(10) <= high; power++) {
        if (power * log2(10) < low || (!power && !low))
            continue;
        nf_buf_printf(&c->script, "%s'%.0f %s' %.4f", first ? "" : ", ", pow(10, power < 9 ? power % 3 : power - 9),
                      units[power < 9 ? power / 3 : 3], power * log2(10));
        first = false;
    }
    nf_buf_puts(&c->script, ")\n");
}

void nf_figure_reuse(struct nf_canvas *c, const struct nf_locality_head *head, const struct nf_reuse_set *r,
                     const struct nf_tensor_groups *g, double mark_bytes)
{
    struct layer layers[NF_FIGURE_GROUPS];
    uint32_t block_bytes = r->block_bytes;
    bool timed = r->timed;
    size_t n = 0;
    int low, high;

    for (uint32_t at = g->first ? g->first : g->n ? 1 : 0; at <= g->n && n < NF_FIGURE_GROUPS; at++) {
        int role = at ? g->roles[at - 1] : -1;

        layers[n++] = (struct layer){nf_tensor_groups_name(g, at), role < 0 ? NULL : nf_canvas_role_colour((unsigned)role),
                                     &r->curves[at].distances, timed ? &r->ns[at] : &r->traffic[at]};
    }
    begin(c, head, 1240, 560);
    nf_buf_printf(&c->script,
                  "set multiplot\nset boxwidth 0.92\nset yrange [0:*]\nset ylabel 'accessed bytes per step (MiB)'\n"
                  "set lmargin at screen 0.07\nset rmargin at screen 0.43\n"
                  "set key at screen 0.855,graph 1 left top Left reverse samplen 1.2 spacing 1.3 font ',13'\n");
    octaves_of(layers, n, false, block_bytes, &low, &high);
    nf_buf_puts(&c->script, "set xlabel 'other bytes in between (LRU stack distance)'\n");
    nf_canvas_byte_tics(c, 'x', low, high, 5);
    mark(c, mark_bytes, low, high);
    put_panel(c, layers, n, false, block_bytes, low, high, 0);
    nf_buf_puts(&c->script, "unset label\nunset arrow\nunset ylabel\n"
                            "set lmargin at screen 0.48\nset rmargin at screen 0.84\n");
    octaves_of(layers, n, true, 1, &low, &high);
    if (timed) {
        nf_buf_puts(&c->script, "set xlabel 'time between the accesses (captured)'\n");
        time_tics(c, low, high);
    } else {
        nf_buf_puts(&c->script, "set xlabel 'traffic between the accesses (ops untimed)'\n");
        nf_canvas_byte_tics(c, 'x', low, high, 5);
    }
    put_panel(c, layers, n, true, 1, low, high, 1);
    nf_buf_puts(&c->script, "unset multiplot\n");
}

/* Row labels: a role at the first of its rows, where there is room for it. */
static void row_tics(struct nf_canvas *c, const struct nf_heat *heat, const struct nf_step_class *class)
{
    char text[NF_UNITS_TEXT];
    double room = heat->n_rows / 22.0, last = -INFINITY;

    nf_buf_puts(&c->script, "set ytics (");
    for (uint32_t i = 0, n = 0; i < heat->n_rows; i++) {
        const struct nf_heat_row *row = &heat->rows[i];
        bool starts = heat->kind == NF_HEAT_ADDRESSES
                          ? i % (heat->n_rows / 8 + 1) == 0
                          : i == 0 || row->tensor == UINT32_MAX ||
                                class->tensors[row->tensor].role != class->tensors[heat->rows[i - 1].tensor].role;

        if (!starts || i - last < room)
            continue;
        last = i;
        nf_buf_puts(&c->script, n++ ? ", " : "");
        if (heat->kind == NF_HEAT_ADDRESSES)
            nf_canvas_text(&c->script, nf_format_bytes(text, (double)i * (double)heat->rows[0].size), 40);
        else
            nf_canvas_text(&c->script,
                           row->tensor == UINT32_MAX ? "all others" : nf_role_name(class->tensors[row->tensor].role),
                           40);
        nf_buf_printf(&c->script, " %u", i);
    }
    nf_buf_puts(&c->script, ")\n");
}

void nf_figure_heat(struct nf_canvas *c, const struct nf_locality_head *head, const struct nf_heat *heat,
                    const struct nf_step_class *class)
{
    double width = heat->timed ? heat->column_width / 1e6 : heat->column_width;
    double least = heat->most;

    begin(c, head, 1160, 640);
    for (uint32_t row = 0; row < heat->n_rows; row++) {
        for (uint32_t column = 0; column < heat->n_columns; column++) {
            double bytes = heat->bytes[(size_t)row * heat->n_columns + column];

            if (bytes <= 0)
                continue;
            least = fmin(least, bytes);
            nf_buf_printf(&c->data, "%.6g %u %.6g %.6g %.6g\n", (column + 0.5) * width, row, width / 2, 0.5,
                          bytes / 1024);
        }
    }
    nf_buf_printf(
        &c->script,
        "set lmargin at screen 0.16\nset rmargin at screen 0.88\nunset key\nunset grid\n"
        "set xrange [0:%.6g]\nset yrange [%.1f:-0.5]\nset xlabel '%s'\nset ylabel '%s' offset -1,0\n"
        "set logscale cb\nset cbrange [%.6g:%.6g]\nset cblabel 'touched in a cell (KiB)'\nset format cb '%%g'\n"
        "set palette defined (0 '#fde9cf', 0.25 '#fdbb84', 0.5 '#ef6548', 0.75 '#b30000', 1 '#3b0010')\n",
        heat->n_columns * width, heat->n_rows - 0.5, heat->timed ? "captured time in the step (ms)" : "op of the step",
        heat->kind == NF_HEAT_TENSORS ? "" : "touched addresses, gaps left out", fmax(least, heat->most / 1e5) / 1024,
        heat->most / 1024);
    row_tics(c, heat, class);
    nf_buf_printf(&c->script,
                  "plot '%s.dat' using 1:2:3:4:5 with boxxyerror fillstyle solid noborder fillcolor palette notitle\n",
                  c->name);
}

static double llc_of(const struct nf_report *r)
{
    return isfinite(r->data.replay.llc_effective_bytes) ? r->data.replay.llc_effective_bytes : 0;
}

bool nf_figure_miss_ratio(const struct nf_report *r, struct nf_canvas *c)
{
    const struct nf_accesses *a = &r->accesses;
    char evidence[256];
    struct nf_locality_head head = {"Miss-ratio curve: exact, and its estimates (dashed)", evidence, a->step};

    if (!a->has_curves)
        return false;
    snprintf(evidence, sizeof evidence,
             "evidence: accesses %s; LRU over captured addresses, each block once per visit; samples simulated", a->evidence);
    nf_figure_mrc(c, &head, &a->mrc, &a->roles, false, llc_of(r));
    return true;
}

bool nf_figure_reuse_by_role(const struct nf_report *r, struct nf_canvas *c)
{
    const struct nf_accesses *a = &r->accesses;
    char evidence[256];
    struct nf_locality_head head = {"Reuse of accessed bytes by role: distance and time", evidence, a->step};

    if (!a->has_curves)
        return false;
    snprintf(evidence, sizeof evidence, "evidence: accesses %s; exact distances; %s", a->evidence,
             a->reuse.timed ? "op times measured in the timing pass, corrected to the bare step time" : "ops untimed");
    nf_figure_reuse(c, &head, &a->reuse, &a->roles, llc_of(r));
    return true;
}
