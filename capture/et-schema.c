#include "capture/et-schema.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

/* Calls that touch no data although their schema doesn't say so, or that tell about a tensor without reading it. */
static const char *const silent[] = {
    "_unsafe_view", "unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk", "transpose_", "t_", "squeeze_", "unsqueeze_",
    "as_strided_", "swapaxes_", "swapdims_", "detach_", "set_", "rename_", "requires_grad_", "retain_grad", "set_data",
    "is_same_size", "sym_size", "sym_stride", "sym_numel", "sym_storage_offset", "size", "stride", "numel", "dim",
    "storage_offset", "is_contiguous", "_version", "result_type", "can_cast", "is_floating_point", "is_complex", "is_pinned",
    "record_stream", "lift_fresh", "_has_compatible_shallow_copy_type", "output_nr", "is_leaf", "_nested_tensor_size",
    "resize_", "resize_as_", "_resize_output_", NULL,
};
static const char *const allocates[] = {
    "empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided",
    "_empty_affine_quantized", "_efficientzerotensor", NULL,
};
static const char *const resizes[] = {"resize_", "resize_as_", "_resize_output_", NULL};
/* In-place calls that overwrite without reading. */
static const char *const overwrites[] = {
    "zero_", "fill_", "copy_", "normal_", "uniform_", "random_", "bernoulli_", "exponential_", "log_normal_", "cauchy_",
    "geometric_", "_foreach_zero_", "_foreach_copy_", NULL,
};
/* Operands of which only shape and type are looked at. */
static const struct arguments {
    const char *name;
    uint64_t arguments;
} shape_only[] = {
    {"zeros_like", 1}, {"ones_like", 1}, {"full_like", 1}, {"rand_like", 1}, {"randn_like", 1}, {"randint_like", 1},
    {"new_zeros", 1}, {"new_ones", 1}, {"new_full", 1}, {"expand_as", 2}, {"view_as", 2}, {"reshape_as", 2},
    {"type_as", 2}, {"nll_loss_backward", 2}, {"nll_loss2d_backward", 2}, {"max_pool2d_with_indices_backward", 2},
    {NULL, 0},
}, blocked[] = {
    {"mm", 3}, {"bmm", 3}, {"mv", 1}, {"addmm", 6}, {"baddbmm", 6}, {"addbmm", 6}, {"addmv", 2}, {"addmm_", 6},
    {"baddbmm_", 6}, {"_addmm_activation", 6}, {"linear", 3}, {"mkldnn_linear", 3}, {"convolution", 3},
    {"_convolution", 3}, {"convolution_overrideable", 3}, {"mkldnn_convolution", 3}, {"cudnn_convolution", 3},
    {"convolution_backward", 7}, {"_slow_conv2d_forward", 3}, {"thnn_conv2d", 3},
    {"_scaled_dot_product_flash_attention", 7}, {"_scaled_dot_product_efficient_attention", 7},
    {"_scaled_dot_product_flash_attention_for_cpu", 7}, {"_scaled_dot_product_attention_math", 7},
    {"_scaled_dot_product_flash_attention_backward", 15}, {NULL, 0},
};
static const struct pick {
    const char *name;
    int by;
    bool elements;
} picks[] = {
    {"embedding", 1, false}, {"_embedding_bag", 1, false}, {"index", 1, false}, {"index_put_", 1, false},
    {"_index_put_impl_", 1, false}, {"index_select", 2, false}, {"index_add_", 2, false}, {"index_copy_", 2, false},
    {"index_fill_", 2, false}, {"gather", 2, true}, {"take", 1, true}, {"put_", 1, true}, {"scatter_", 2, true},
    {"scatter_add_", 2, true}, {"scatter_reduce_", 2, true}, {"nll_loss_forward", 1, true},
    {"nll_loss2d_forward", 1, true}, {NULL, -1, false},
};

static bool is_in(const char *const *list, const char *name, size_t n)
{
    for (; *list; list++)
        if (strlen(*list) == n && !memcmp(*list, name, n))
            return true;
    return false;
}

static uint64_t arguments_of(const struct arguments *list, const char *name, size_t n)
{
    for (; list->name; list++)
        if (strlen(list->name) == n && !memcmp(list->name, name, n))
            return list->arguments;
    return 0;
}

/* One argument's text, "Tensor(a!)? self=None", of the schema. */
static void parse_argument(const char *text, size_t n, unsigned number, bool keyword_only, struct nf_et_schema *out)
{
    const char *mark = memchr(text, '!', n), *equals = memchr(text, '=', n), *name;
    size_t end = equals ? (size_t)(equals - text) : n;

    if (number >= NF_ET_ARGUMENTS || !mark || (equals && mark > equals))
        return;
    out->mutated |= 1ull << number;
    while (end && isspace((unsigned char)text[end - 1]))
        end--;
    name = text + end;
    while (name > text && (isalnum((unsigned char)name[-1]) || name[-1] == '_'))
        name--;
    /* The results of an out= variant: "out", "out0", "grad_input", ... behind the star. */
    if (keyword_only && strncmp(name, "self", 4))
        out->overwritten |= 1ull << number;
}

static void parse_arguments(const char *schema, struct nf_et_schema *out)
{
    const char *at = strchr(schema, '('), *from;
    unsigned number = 0;
    bool keyword_only = false;
    int depth = 0;

    if (!at)
        return;
    for (from = ++at; *at; at++) {
        if (*at == '(' || *at == '[')
            depth++;
        else if ((*at == ')' || *at == ']') && depth)
            depth--;
        else if ((*at == ',' || *at == ')') && !depth) {
            while (from < at && isspace((unsigned char)*from))
                from++;
            if (at - from == 1 && *from == '*')
                keyword_only = true;
            else if (at > from)
                parse_argument(from, (size_t)(at - from), number++, keyword_only, out);
            if (*at == ')')
                return;
            from = at + 1;
        }
    }
}

void nf_et_schema_parse(const char *name, const char *schema, struct nf_et_schema *out)
{
    const char *base = name, *p;
    size_t n;

    while ((p = strstr(base, "::")))
        base = p + 2;
    n = strcspn(base, ".");
    *out = (struct nf_et_schema){.picked_by = -1};
    if (*schema)
        parse_arguments(schema, out);
    else if (n > 1 && base[n - 1] == '_' && base[n - 2] != '_')
        out->mutated = 1;
    if (is_in(overwrites, base, n))
        out->overwritten |= out->mutated & 1;
    out->allocates = is_in(allocates, base, n);
    out->silent = out->allocates || is_in(silent, base, n);
    out->resizes = is_in(resizes, base, n);
    out->shape_only = arguments_of(shape_only, base, n);
    out->blocked = arguments_of(blocked, base, n);
    for (const struct pick *k = picks; k->name; k++)
        if (strlen(k->name) == n && !memcmp(k->name, base, n)) {
            out->picked_by = k->by;
            out->picks_elements = k->elements;
        }
}
