#include "pool/node-order.h"

#include "pool/nodes.h"

int nf_node_order(const char *root, int local, int *nodes, int max)
{
    struct nf_node all[NF_NODES_MAX];
    int n = nf_nodes_list(root, all, NF_NODES_MAX), kept = 0;

    if (n < 0)
        return n;
    if (max > 0)
        nodes[kept++] = local;
    for (int with_cpus = 0; with_cpus < 2; with_cpus++) {
        for (int i = 0; i < n && kept < max; i++) {
            if (all[i].number != local && all[i].has_cpu == (with_cpus == 1))
                nodes[kept++] = all[i].number;
        }
    }
    return kept;
}
