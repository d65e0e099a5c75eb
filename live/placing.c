/* A run under a plan: the file that the job's placer maps, and what it counted there. */
#include "live/plan-file.h"
#include "live/plan.h"

int nf_live_placing_init(struct nf_live_placing *p, const struct nf_live_plan *plan, const char *library_folder)
{
    return nf_live_preloaded_init(&p->preloaded, library_folder, "libnearfar-placer.so", NF_PLAN_ENV, plan->data, plan->size);
}

void nf_live_placing_deinit(struct nf_live_placing *p)
{
    nf_live_preloaded_deinit(&p->preloaded);
}

int nf_live_placing_enter(const struct nf_live_placing *p)
{
    return nf_live_preloaded_enter(&p->preloaded);
}

void nf_live_placing_read(const struct nf_live_placing *p, struct nf_live_placed *out)
{
    struct nf_plan_file *f = p->preloaded.file;

    *out = (struct nf_live_placed){
        .placed = atomic_load(&f->placed),
        .placed_bytes = atomic_load(&f->placed_bytes),
        .unplaced = atomic_load(&f->unplaced),
        .unplaced_bytes = atomic_load(&f->unplaced_bytes),
        .spilled_bytes = atomic_load(&f->spilled_bytes),
        .refused = atomic_load(&f->refused),
        .near_peak_bytes = atomic_load(&f->near_peak_bytes),
        .unbound_bytes = atomic_load(&f->unbound_bytes),
        .early_placed = atomic_load(&f->early_placed),
        .early = atomic_load(&f->early),
        .jobs = atomic_load(&f->jobs),
        .steady_steps = atomic_load(&f->steady_steps),
        .due_moves = atomic_load(&f->due_moves),
        .asked_moves = atomic_load(&f->asked_moves),
        .asked_bytes = atomic_load(&f->asked_bytes),
        .absent_moves = atomic_load(&f->absent_moves),
        .cancelled_bytes = atomic_load(&f->cancelled_bytes),
        .right_pages = atomic_load(&f->right_pages),
        .wrong_pages = atomic_load(&f->wrong_pages),
        .deviation_name = atomic_load(&f->deviation_name),
        .deviation_count = atomic_load(&f->deviation_count),
        .deviation = atomic_load(&f->deviation),
        .deviation_step = atomic_load(&f->deviation_step),
        .deviation_op = atomic_load(&f->deviation_op),
        .followed_steps = atomic_load(&f->followed_steps),
    };
}
