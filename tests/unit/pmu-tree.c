#include "tests/unit/pmu-tree.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void must(int ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    abort();
}

void pmu_tree_new(struct pmu_tree *t)
{
    snprintf(t->root, sizeof t->root, "/tmp/nearfar-pmu-XXXXXX");
    must(mkdtemp(t->root) != NULL, t->root);
}

static int drop(const char *path, const struct stat *s, int kind, struct FTW *ftw)
{
    return remove(path);
}

void pmu_tree_delete(struct pmu_tree *t)
{
    nftw(t->root, drop, 16, FTW_DEPTH | FTW_PHYS);
}

void pmu_tree_put(const struct pmu_tree *t, const char *path, const char *text)
{
    char full[512];
    FILE *f;

    snprintf(full, sizeof full, "%s%s", t->root, path);
    for (char *p = full + strlen(t->root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(full, 0755);
        *p = '/';
    }
    f = fopen(full, "w");
    must(f != NULL, full);
    must(fputs(text, f) >= 0 && !fclose(f), full);
}

static void put_pmu(const struct pmu_tree *t, const char *pmu, const char *file, const char *text)
{
    char path[256];

    snprintf(path, sizeof path, "/sys/bus/event_source/devices/%s/%s", pmu, file);
    pmu_tree_put(t, path, text);
}

void pmu_tree_intel(const struct pmu_tree *t, const char *uarch, const char *pmu)
{
    static const char *const format[][2] = {
        {"event", "config:0-7\n"}, {"umask", "config:8-15\n"}, {"edge", "config:18\n"}, {"pc", "config:19\n"},
        {"inv", "config:23\n"}, {"cmask", "config:24-31\n"}, {"in_tx", "config:32\n"}, {"in_tx_cp", "config:33\n"},
        {"offcore_rsp", "config1:0-63\n"}, {"ldlat", "config1:0-15\n"}, {"frontend", "config1:0-23\n"},
    };
    int newest = !strcmp(uarch, "spr") || !strcmp(uarch, "gnr");

    put_pmu(t, pmu, "type", "4\n");
    for (size_t i = 0; i < sizeof format / sizeof *format; i++) {
        char file[64];

        snprintf(file, sizeof file, "format/%s", format[i][0]);
        put_pmu(t, pmu, file, format[i][1]);
    }
    put_pmu(t, pmu, "events/cpu-cycles", "event=0x3c\n");
    put_pmu(t, pmu, "events/mem-loads", "event=0xcd,umask=0x1,ldlat=3\n");
    put_pmu(t, pmu, "events/mem-stores", newest ? "event=0xcd,umask=0x2\n" : "event=0xd0,umask=0x82\n");
    if (!strcmp(uarch, "spr"))
        put_pmu(t, pmu, "events/mem-loads-aux", "event=0x03,umask=0x82\n");
}

void pmu_tree_ibs(const struct pmu_tree *t, int zen4, int swfilt)
{
    put_pmu(t, "ibs_op", "type", "11\n");
    put_pmu(t, "ibs_op", "format/cnt_ctl", "config:19\n");
    if (zen4)
        put_pmu(t, "ibs_op", "format/l3missonly", "config:16\n");
    if (zen4)
        put_pmu(t, "ibs_op", "caps/zen4_ibs_extensions", "1\n");
    if (swfilt)
        put_pmu(t, "ibs_op", "format/swfilt", "config2:0\n");
}

void pmu_tree_machine(const struct pmu_tree *t, const char *vendor, unsigned family, unsigned model, unsigned stepping,
                      int hypervisor, int paranoid, unsigned long long caps, const char *release)
{
    char text[1024];

    snprintf(text, sizeof text,
             "processor\t: 0\nvendor_id\t: %s\ncpu family\t: %u\nmodel\t\t: %u\nmodel name\t: A CPU of model 1 @ 2.00GHz\n"
             "stepping\t: %u\nflags\t\t: fpu vme%s tsc\n\nprocessor\t: 1\nvendor_id\t: Other\nmodel\t\t: 0\n",
             vendor, family, model, stepping, hypervisor ? " hypervisor" : "");
    pmu_tree_put(t, "/proc/cpuinfo", text);
    snprintf(text, sizeof text, "%d\n", paranoid);
    pmu_tree_put(t, "/proc/sys/kernel/perf_event_paranoid", text);
    snprintf(text, sizeof text, "Name:\tx\nCapInh:\t0000000000000000\nCapEff:\t%016llx\nCapBnd:\t000001ffffffffff\n", caps);
    pmu_tree_put(t, "/proc/self/status", text);
    pmu_tree_put(t, "/proc/sys/kernel/osrelease", release);
}
