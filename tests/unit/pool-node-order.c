/* Which nodes of a machine are its tiers, and in which order. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pool/node-order.h"
#include "tests/unit/pmu-tree.h"

static struct pmu_tree tree;

static void put(int node, const char *file, const char *text)
{
    char path[128];

    snprintf(path, sizeof path, "/devices/system/node/node%d/%s", node, file);
    pmu_tree_put(&tree, path, text);
}

static int make_machine(void **state)
{
    static const char *const cpus[] = {"0-3\n", "4-7\n", "\n", "\n", "8-11\n", "\n"};

    pmu_tree_new(&tree);
    for (int node = 0; node < 6; node++) {
        char text[64];

        snprintf(text, sizeof text, "Node %d MemTotal: %d kB\n", node, node == 3 ? 0 : 1 << 20); /* the fourth is offline */
        put(node, "meminfo", text);
        put(node, "cpulist", cpus[node]);
    }
    return 0;
}

static int remove_machine(void **state)
{
    pmu_tree_delete(&tree);
    return 0;
}

static void memory_alone_comes_before_other_sockets(void **state)
{
    static const int from_first[] = {0, 2, 5, 1, 4}, from_last[] = {4, 2, 5, 0, 1};
    int nodes[8];

    assert_int_equal(nf_node_order(tree.root, 0, nodes, 8), 5);
    assert_memory_equal(nodes, from_first, sizeof from_first);
    assert_int_equal(nf_node_order(tree.root, 4, nodes, 8), 5);
    assert_memory_equal(nodes, from_last, sizeof from_last);
    assert_int_equal(nf_node_order(tree.root, 0, nodes, 2), 2);
    assert_int_equal(nodes[1], 2);
    assert_int_equal(nf_node_order("/nowhere", 0, nodes, 8), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_alone_comes_before_other_sockets),
    };

    return cmocka_run_group_tests(tests, make_machine, remove_machine);
}
