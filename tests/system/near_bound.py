"""How near the planners come to the linear program's bound, in bytes used far or fetched, on jobs like the examples, whose tensors fill pages.
With checkpoints the bound is far below what a planner's stays can reach: it lets a tensor be near at its birth alone (doc/limits.md)."""
import json

from system import SOURCE, check, finish, nearfar, torch_python

ADAPTERS, CHECKPOINTS = ('--lora',), ('--checkpoint', 'nonreentrant')


def reached_far(study, *policies):
    """Shares by policy, and the bound; None where that is not known."""
    done = nearfar('plan', study, '--unfiltered', '--near', '20%', '--json', *[a for p in policies for a in ('--policy', p)])
    if not check(done.returncode == 0, f'{study}: planned {done.stderr[-200:]!r}'):
        return {}, None
    rows = json.loads(done.stdout)
    return {r['policy']: r['far_share'] + r['fetched_share'] for r in rows}, rows[0]['bound_lp_share']


for name, options in {'full': (), 'full-checkpoint': CHECKPOINTS, 'lora': ADAPTERS, 'lora-checkpoint': ADAPTERS + CHECKPOINTS}.items():
    study = name + '.nf'
    done = nearfar('capture', '-q', '--passes', 'access', '-o', study, '--', torch_python(), SOURCE / 'examples/finetune.py', '--layers', '4',
                   '--width', '64', '--heads', '2', '--seq', '64', '--batch', '4', '--deterministic', '--steps', '3', *options)
    if not check(done.returncode == 0, f'{name}: captured {done.stderr[-200:] if done.returncode else ""!r}'):
        continue
    far, bound = reached_far(study, 'lifetime-density', 'regime-plan', 'gap-greedy', 'lru')
    far |= reached_far(study, 'interval-lp')[0] if bound is not None else {}
    said = ', '.join(f'{policy} {share:.4f}' for policy, share in far.items())
    check(bound is None or max(far['gap-greedy'], far['interval-lp']) <= (1.2 if 'checkpoint' in name else 1.1) * bound, f'{name}: {said}, at least {bound}')
    check(far['gap-greedy'] < far['lru'] and far['regime-plan'] < far['lifetime-density'], f'{name}: gaps before LRU, regimes before lifetimes')
finish()
