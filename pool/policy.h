#pragma once
/* Placement policies: where they are found, and what is checked of them. What a policy is: pool/nearfar_policy.h. */
#include "core/base/option.h"
#include "core/model/profile.h"
#include "core/model/recompute.h"
#include "pool/nearfar_policy.h"
#include "pool/tier.h"

/* "in-place, insert near, no migration; sees profile" into text. Returns text. */
char *nf_policy_semantics_text(const struct nf_policy_semantics *s, char *text, size_t size);

extern const struct nf_policy_ops *const nf_policies[]; /* NULL-terminated */
/* A built-in, or for a name with a '/' the shared object at that path, which exports
 * `const struct nf_policy_ops nf_policy_plugin` and stays loaded. NULL, with the cause set (to the list of names when
 * there is none of that name). */
const struct nf_policy_ops *nf_policy_find(const char *name);
/* Whether it came from a shared object. */
bool nf_policy_is_outside(const struct nf_policy_ops *ops);
/* Fills optional members. 0 or -EINVAL (cause set) when a required one, the interface's version or size is wrong, or its capabilities
 * are not what it has. */
int nf_policy_check(const struct nf_policy_ops *ops, struct nf_policy_ops *filled);
/* The options struct of a policy from "key=value,..." (NULL: none given); *options may become NULL when it takes none.
 * 0, -EINVAL (cause set), -ENOMEM. Caller frees with free(). */
int nf_policy_configure(const struct nf_policy_ops *ops, const char *text, void **options);
/* What a policy with these semantics may not see of a tensor or an environment is blanked. */
void nf_policy_hide_tensor(const struct nf_policy_semantics *s, struct nf_policy_tensor *t);
void nf_policy_hide_env(const struct nf_policy_semantics *s, struct nf_policy_env *env);

/* --- policy-trace.c --- */

/* The policy from outside that decides under these options: ops itself, or what `trace` wraps. NULL: only built-in ones do. 0, -EINVAL
 * (the options, or there is no such policy), -ENOMEM, with the cause set. */
int nf_policy_find_outside(const struct nf_policy_ops *ops, const char *options, const struct nf_policy_ops **out);

/* --- profile-reader.c --- */

/* The profile of a step class as load_profile reads it. 0 or -ENOMEM (cause set). */
int nf_policy_reader_init(struct nf_policy_reader *r, const struct nf_policy_semantics *s, const struct nf_profile *profiles, uint32_t n,
                          uint32_t step_class, uint32_t steady);
