#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "analyze/writer.h"
#include "capture/event-encoding.h"
#include "capture/import.h"
#include "capture/perf-probe.h"
#include "capture/source-exact.h"
#include "capture/source.h"
#include "cmd/command.h"
#include "core/base/error.h"
#include "pool/bound.h"
#include "pool/devices.h"
#include "pool/mover.h"
#include "pool/policy.h"
#include "pool/tier.h"
#include "replay/counters.h"

struct arguments {
    bool json, csv;
};

static const struct nf_option options[] = {
    {"json", 'j', NF_OPTION_FLAG, offsetof(struct arguments, json), NULL, "rows as JSON objects"},
    {"csv", 'c', NF_OPTION_FLAG, offsetof(struct arguments, csv), NULL, "rows as CSV"},
    {0},
};

static const struct nf_column columns[] = {
    {"kind", "kind", NF_COLUMN_TEXT},
    {"name", "name", NF_COLUMN_TEXT},
    {"usable", "usable", NF_COLUMN_TEXT},
    {"about", "what it is, or why not", NF_COLUMN_TEXT},
};

static void row(struct nf_table *t, const char *kind, const char *name, int rc, const char *about, const char *why)
{
    nf_table_text(t, kind);
    nf_table_text(t, name);
    nf_table_text(t, rc ? "no" : "yes");
    nf_table_text(t, rc ? why : about);
}

/* First line of a command's output; -ENOENT when it does not run. */
static int ask(const char *command, char *text, size_t size)
{
    FILE *p = popen(command, "re");
    int status;

    *text = '\0';
    if (!p)
        return -errno;
    if (fgets(text, (int)size, p))
        text[strcspn(text, "\n")] = '\0';
    status = pclose(p);
    return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -ENOENT;
}

static void dependencies(struct nf_table *t)
{
    struct nf_event_encoding event;
    char text[256] = "", pmus[256] = "";
    int rc;

    rc = nf_perf_probe(text, sizeof text);
    row(t, "dependency", "libperf", rc, text, text);
    rc = nf_event_encode("skx::MEM_TRANS_RETIRED:LOAD_LATENCY:ldlat=3:u:precise=2", &event);
    if (!rc) {
        nf_event_pmus(pmus, sizeof pmus);
        snprintf(text, sizeof text, "encodes hardware events; this CPU: %.180s", *pmus ? pmus : "none it knows");
    }
    row(t, "dependency", "libpfm4", rc, text, rc ? nf_error_text(rc) : "");
    rc = nf_devices_probe(text, sizeof text);
    row(t, "dependency", "CXL and devdax devices", rc, text, text);
    rc = nf_bound_lp_probe(text, sizeof text);
    row(t, "dependency", "COIN-OR CLP, bounds and policy interval-lp", rc, text, text);
    rc = nf_bound_milp_probe(text, sizeof text);
    row(t, "dependency", "COIN-OR CBC, plan --whole", rc, text, text);
    rc = nf_source_exact_probe("qemu", text, sizeof text);
    row(t, "dependency", "source exact, engine qemu", rc, text, text);
    rc = nf_source_exact_probe("tsan", text, sizeof text);
    row(t, "dependency", "source exact, engine tsan", rc, text, text);
    rc = ask("gnuplot --version 2>/dev/null", text, sizeof text);
    row(t, "dependency", "gnuplot", rc, text, "not found on PATH: reports come without figures (package gnuplot-nox)");
    rc = ask("python3 -c 'import torch; print(\"torch\", torch.__version__)' 2>/dev/null", text, sizeof text);
    if (rc)
        rc = ask("/usr/bin/python3 -c 'import torch; print(\"torch\", torch.__version__, \"for /usr/bin/python3\")' "
                 "2>/dev/null", text, sizeof text);
    row(t, "dependency", "PyTorch", rc, text, "python3 cannot import torch: no job to capture (package python3-torch)");
}

static void movers(struct nf_table *t)
{
    static const struct {
        int kind;
        const char *name, *about;
    } kinds[] = {
        {NF_MOVER_COPY, "copy", "copies storages to another tier, charged to both"},
        {NF_MOVER_MOVE_PAGES, "move_pages", "migrates pages between nodes in place; not validated on hardware"},
        {NF_MOVER_KERNEL, "kernel", "the kernel demotes and promotes, read back; not validated on hardware"},
    };
    char why[512];

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        int rc = nf_mover_probe_machine(kinds[i].kind, "", why, sizeof why);

        row(t, "mover", kinds[i].name, rc, kinds[i].about, why);
    }
}

static int run(const struct nf_command *self, int argc, char **argv)
{
    struct arguments a = {0};
    struct nf_table *t;
    char why[256];
    int first, n, code = NF_EXIT_OK, rc;

    if (nf_command_parse(self, argc, argv, &a, 1, &first, &n, &code))
        return code;
    if (n)
        return nf_command_usage(self, "doctor takes no operands");
    t = nf_table_new(columns, sizeof columns / sizeof *columns);
    if (!t)
        return nf_command_fail(-ENOMEM);
    dependencies(t);
    for (size_t i = 0; nf_sources[i]; i++) {
        rc = nf_sources[i]->probe(why, sizeof why);
        row(t, "capture source", nf_sources[i]->name, rc, nf_sources[i]->about, why);
    }
    for (size_t i = 0; nf_imports[i]; i++) {
        rc = nf_imports[i]->probe(why, sizeof why);
        row(t, "import format", nf_imports[i]->name, rc, nf_imports[i]->about, why);
    }
    for (size_t i = 0; nf_tier_providers[i]; i++) {
        rc = nf_tier_providers[i]->probe(why, sizeof why);
        row(t, "tier provider", nf_tier_providers[i]->name, rc, nf_tier_providers[i]->about, why);
    }
    movers(t);
    for (size_t i = 0; nf_counter_sources[i]; i++) {
        rc = nf_counter_sources[i]->probe("", why, sizeof why);
        row(t, "counter", nf_counter_sources[i]->name, rc, nf_counter_sources[i]->about, why);
    }
    for (size_t i = 0; nf_policies[i]; i++) {
        rc = nf_policies[i]->probe ? nf_policies[i]->probe(why, sizeof why) : 0;
        row(t, "policy", nf_policies[i]->name, rc, nf_policies[i]->about, why);
    }
    for (size_t i = 0; nf_writers[i]; i++) {
        rc = nf_writers[i]->probe ? nf_writers[i]->probe(why, sizeof why) : 0;
        row(t, "report writer", nf_writers[i]->name, rc, nf_writers[i]->about, why);
    }
    rc = nf_table_print(t, a.json ? NF_TABLE_JSON : a.csv ? NF_TABLE_CSV : NF_TABLE_TEXT, stdout);
    nf_table_free(t);
    return rc ? nf_command_fail(rc) : NF_EXIT_OK;
}

const struct nf_command nf_cmd_doctor = {
    .name = "doctor",
    .about = "say of every plug-in and dependency whether it works here, or why not",
    .usage = "doctor [--json | --csv]",
    .options = options,
    .examples = {"nearfar doctor", "nearfar doctor --json"},
    .run = run,
};
