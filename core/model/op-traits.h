#pragma once
/* What is known of an operator by its name: whether running it a second time on the same operands gives the same result and
 * changes nothing else. Names are PyTorch's ("aten::add"); of others nothing is known, so they count as not repeatable. */
#include <stdbool.h>

enum {
    NF_OP_UNKNOWN = 1,      /* not an operator of the framework: no promise */
    NF_OP_RANDOM = 2,       /* draws random numbers: the generator's state would have to be kept as well */
    NF_OP_IN_PLACE = 4,     /* changes an operand, or state beside its operands */
    NF_OP_COLLECTIVE = 8,   /* every rank would have to run it again at the same point */
    NF_OP_UNORDERED = 16,   /* sums in no fixed order on some devices, or leaves memory uninitialised: not bit for bit the same */
};

/* The bits above that hold for an operator of this name. */
unsigned nf_op_traits(const char *name);
/* Whether it may be run again; random: the state of the random generator is kept and put back, so that drawing is no hindrance. In
 * place is judged by what the op was seen to write (core/model/recompute.h), as a name says it of outputs, too. */
bool nf_op_repeatable(const char *name, bool random);
