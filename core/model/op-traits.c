#include "core/model/op-traits.h"

#include <stddef.h>
#include <string.h>

/* By the part behind "::", a trailing '_' and leading "_foreach_" or '_' taken off. Sources: PyTorch's native_functions.yaml (tags
 * nondeterministic_seeded, mutating schemas) and the documentation of torch.use_deterministic_algorithms. */
static const char *const RANDOM[] = {
    "dropout", "native_dropout", "fused_dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout", "bernoulli", "cauchy",
    "exponential", "geometric", "log_normal", "multinomial", "normal", "normal_functional", "poisson", "rand", "rand_like", "randint",
    "randint_like", "randn", "randn_like", "random", "randperm", "rrelu", "rrelu_with_noise", "uniform", "standard_gamma",
    "sample_dirichlet", "binomial", "fractional_max_pool2d", "fractional_max_pool3d", "scaled_dot_product_flash_attention",
    "scaled_dot_product_efficient_attention", "scaled_dot_product_cudnn_attention", "flash_attention_forward",
    "efficient_attention_forward", NULL,
};
/* Running statistics, or generators of state, that the name does not show as mutated. */
static const char *const STATEFUL[] = {
    "batch_norm", "native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm", "instance_norm", "batch_norm_impl_index",
    "native_batch_norm_legit", "fused_adam", "fused_adamw", "fused_sgd", "amp_update_scale", NULL,
};
static const char *const UNORDERED[] = {
    "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "resize", "index_add", "scatter_add", "scatter_reduce",
    "index_put", "put", "histc", "bincount", "kthvalue", "median", "embedding_dense_backward", "embedding_bag",
    "adaptive_avg_pool2d_backward", "adaptive_max_pool2d_backward", "upsample_bilinear2d_backward", "upsample_linear1d_backward",
    "upsample_bicubic2d_backward", "grid_sampler_2d_backward", "reflection_pad1d_backward", "ctc_loss", "ctc_loss_backward",
    "segment_reduce", "cumsum", NULL,
};
static const char *const COLLECTIVE[] = {
    "allreduce", "all_reduce", "allgather", "all_gather", "reduce_scatter", "all_to_all", "alltoall", "broadcast_coalesced", "barrier",
    "send", "recv", "gather_tensor", "wait_tensor", NULL,
};

static bool is_one_of(const char *const *names, const char *text, size_t n)
{
    for (; *names; names++)
        if (strlen(*names) == n && !strncmp(*names, text, n))
            return true;
    return false;
}

unsigned nf_op_traits(const char *name)
{
    const char *colons = strstr(name, "::"), *at = colons ? colons + 2 : name;
    size_t n, space = colons ? (size_t)(colons - name) : 0;
    unsigned traits = 0;

    if ((space == 4 && !strncmp(name, "c10d", 4)) || (space == 16 && !strncmp(name, "_c10d_functional", 16)))
        return NF_OP_COLLECTIVE;
    if (space != 4 || strncmp(name, "aten", 4))
        traits |= NF_OP_UNKNOWN;
    n = strcspn(at, "."); /* an overload's name */
    /* add_, but not __and__ nor _foreach_add; __iand__ is in place, too. */
    if (n > 2 && at[n - 1] == '_' && at[n - 2] != '_')
        traits |= NF_OP_IN_PLACE;
    if (n > 5 && !strncmp(at, "__i", 3) && !strncmp(at + n - 2, "__", 2))
        traits |= NF_OP_IN_PLACE;
    if (n > 9 && !strncmp(at, "_foreach_", 9)) {
        at += 9;
        n -= 9;
    }
    while (n && *at == '_') {
        at++;
        n--;
    }
    while (n && at[n - 1] == '_')
        n--;
    if (is_one_of(RANDOM, at, n))
        traits |= NF_OP_RANDOM;
    if (is_one_of(STATEFUL, at, n))
        traits |= NF_OP_IN_PLACE | NF_OP_UNKNOWN;
    if (is_one_of(UNORDERED, at, n))
        traits |= NF_OP_UNORDERED;
    if (is_one_of(COLLECTIVE, at, n))
        traits |= NF_OP_COLLECTIVE;
    return traits;
}

bool nf_op_repeatable(const char *name, bool random)
{
    unsigned hinders = NF_OP_UNKNOWN | NF_OP_COLLECTIVE | NF_OP_UNORDERED | (random ? 0 : NF_OP_RANDOM);

    return !(nf_op_traits(name) & hinders);
}
