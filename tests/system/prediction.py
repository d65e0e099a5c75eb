"""A replay keeps what the model of `nearfar plan` says of each of its policies, and the bounds; the report sets both beside what was
replayed, and no trial leaves less to far than the bound."""
import csv
import json

from system import WORK, check, finish, job, nearfar, rows

LLC = '64KiB'
done = nearfar('capture', '-q', '-o', 'job.nf', '--', *job('--width', '64', '--seq', '32', steps=3))
check(done.returncode == 0, f'captured {done.stderr[-200:] if done.returncode else ""!r}')
POLICIES = 'lru', 'lifetime-density', 'gap-greedy', 'all-far', 'recompute', 'hemem'


def replay(*more):
    return nearfar('replay', '-q', 'job.nf', *(f'--policy={p}' for p in POLICIES), '--near', '20%,60%', '--mode', 'full', '--blocks', '2',
                   '--steps', '1', '--llc', LLC, *more)


done = replay()
check(done.returncode == 0 and ' 0 failed' in done.stderr, f'replayed: {done.stderr.strip()[-200:]!r}')
kept = {(p, s): (step, far, fetched, why) for p, s, step, far, fetched, why in rows(
    'job.nf', 'SELECT policy, near_share, step_ns, far_bytes, fetched_bytes, why FROM prediction')}
check(sorted(kept) == sorted({(p, s) for p, s in rows('job.nf', 'SELECT DISTINCT policy, near_share FROM trial')}),
      f'one prediction for each policy and share: {len(kept)}')
for share in 0.2, 0.6:
    plan = nearfar('plan', 'job.nf', *(f'--policy={p}' for p in POLICIES[:3]), '--near', share, '--llc', LLC, '--json')
    check(plan.returncode == 0, f'planned: {plan.stderr.strip()[-200:]!r}')
    for r in json.loads(plan.stdout or '[]'):
        step, far, fetched, _ = kept[r['policy'], share]
        check(abs(step - r['predicted_ns']) <= 1e-6 * step,
              f'{r["policy"]} at {share}: {step:.0f} ns, nearfar plan says {r["predicted_ns"]:.0f}')
why = kept['hemem', 0.2]
check(why[0] is None and 'depends on the time' in why[3], f'what is decided by time is not predicted: {why}')

# --- bounds: below everything that was replayed ---
least = dict(rows('job.nf', 'SELECT near_share, lp_bytes FROM far_bound'))
check(0.2 in least and least[0.2] > least[0.6] > 0, f'bounds: {least}')
for policy, share, demand in rows('job.nf', 'SELECT policy, near_share, (SELECT sum(CASE WHEN tier_number = 0 THEN moved_in_bytes ELSE charged_bytes END)'
                                            ' FROM trial_tier WHERE trial_id = t.id) / steps FROM trial t WHERE near_share IN (0.2, 0.6) AND '
                                            "policy != 'recompute'"):
    check(demand >= least[share], f'{policy} at {share}: {demand} bytes charged or fetched, at least {least[share]:.0f}')

# --- the report ---
done = nearfar('analyze', 'job.nf', '-o', 'report')
check(done.returncode == 0, f'reported {done.stderr[-200:]!r}')
with open(WORK / 'report/prediction.csv') as f:
    table = {(r['policy'], r['near_share']): r for r in csv.DictReader(f)}
row = table['lru', '0.2']
replayed = sorted(t for t, in rows('job.nf', "SELECT wall_ns / steps FROM trial WHERE policy = 'lru' AND near_share = 0.2"))
check(abs(float(row['replayed_ns']) - sum(replayed) / 2) < 2 and row['trials'] == '2' and row['evidence'] == 'modelled' and
      abs(float(row['ratio']) - kept['lru', 0.2][0] / (sum(replayed) / 2)) < 1e-6, f'beside the replayed: {row}')
check(all(float(r['over_bound']) >= 0.999 for (p, s), r in table.items() if s in ('0.2', '0.6') and p not in ('hemem', 'recompute')),
      f'nothing predicted is below the bound: {[r["over_bound"] for r in table.values()]}')
check('least (LP, modelled)' in (WORK / 'report/far-demand.gp').read_text(), 'the bound stands in the far-demand figure')

# --- what the model is not of ---
done = nearfar('replay', '-q', 'job.nf', '--policy=lru', '--near', '20%', '--sequence', '--mode', 'full', '--blocks', '1', '--steps', '1', '--llc', LLC)
check(done.returncode == 0 and rows('job.nf', 'SELECT count(*) FROM prediction') == [(len(kept),)] and 'nothing is predicted' in done.stderr,
      f'all captured steps: nothing is predicted, and the replay goes on: {done.stderr.strip()[-160:]!r}')
finish()
