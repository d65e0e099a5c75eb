"""Policy recompute, replayed for real: storages that are cheap to make again are not held in between, their ops run again before the next
use, what they touch is reissued and their time is spent; what cannot be made to recompute refuses."""
import csv
import json
import shutil
import sqlite3
import statistics

from system import WORK, check, finish, job, nearfar, refused, rows

FAILED, USAGE, CANNOT = 1, 2, 3

done = nearfar('capture', '-q', '-o', 'job.nf', '--', *job('--width', '96', '--seq', '64', '--batch', '4', steps=5))
check(done.returncode == 0, f'captured {done.stderr[-200:] if done.returncode else ""!r}')
shutil.copy(WORK / 'job.nf', WORK / 'base.nf')


def replay(study, *policies, far='0.01', near='20%', blocks=1, steps=3, more=()):
    # A far tier as slow as a disk: whatever can be made again is worth it.
    wishes = [f'--policy={p}' for p in policies]
    result = nearfar('replay', '-q', study, *wishes, '--near', near, '--mode', 'none', '--blocks', blocks, '--steps', steps, '--llc', '64KiB',
                     '--far-bandwidth', far, '--seed', '3', *more)
    check(result.returncode == 0 and ' 0 failed' in result.stderr, f'replayed {study}: {result.stderr.strip()[-200:]!r}')


COLUMNS = ('recomputed', 'recomputed_ops', 'unheld_bytes', 'unheld_byte_ns', 'reissued_bytes', 'recompute_ns', 'recompute_captured_ns',
           'variant_peak_bytes', 'wall_ns', 'steps', 'compute_ns', 'moves')


def trial(study, where):
    found = rows(study, f'SELECT {", ".join(COLUMNS)}, (SELECT sum(read_bytes) FROM trial_tier WHERE trial_id = t.id), '
                        f'(SELECT sum(write_bytes) FROM trial_tier WHERE trial_id = t.id) FROM trial t WHERE {where}')
    check(len(found) == 1, f'one trial where {where}')
    return dict(zip(COLUMNS + ('read_bytes', 'write_bytes'), found[0]))


replay('job.nf', 'lifetime-density', 'recompute', 'recompute:depth=1', 'recompute:exposed=0', 'recompute:depth=12,rng')
plain = trial('job.nf', "policy = 'lifetime-density'")
check(plain['recomputed'] == plain['recompute_ns'] == plain['variant_peak_bytes'] == 0, 'nothing is made again by a policy that does not ask for it')
again = trial('job.nf', "policy = 'recompute' AND policy_options = ''")
check(again['recomputed'] > 0 and again['recomputed_ops'] >= again['recomputed'] and again['moves'] == 0,
      f'{again["recomputed"]} gaps are not held, by {again["recomputed_ops"]} ops')
check(again['unheld_bytes'] > 0 and again['unheld_byte_ns'] > 0, f'{again["unheld_bytes"]} bytes not held')
check(again['variant_peak_bytes'] <= rows('job.nf', 'SELECT peak_live_bytes FROM replay')[0][0], 'peak live is no larger')
issued = lambda t: t['read_bytes'] + t['write_bytes']  # noqa: E731
more = (issued(again) - issued(plain)) / again['steps']
check(again['reissued_bytes'] <= more * 1.001 and more > 0, f'the operands are visited again: {more:.0f} bytes a step more, {again["reissued_bytes"]} at least')
check(again['recompute_ns'] > 0.5 * again['steps'] * again['recompute_captured_ns'] > 0,
      f'the compute time is spent: {again["recompute_ns"]} ns in {again["steps"]} steps, {again["recompute_captured_ns"]:.0f} a step when captured')


def more_compute():
    """Of pairs, the middle one: what other processes take makes a wait longer, on either side."""
    shutil.copy(WORK / 'base.nf', WORK / 'pairs.nf')
    replay('pairs.nf', 'lifetime-density', 'recompute', blocks=9, steps=1)
    return statistics.median(t for t, in rows('pairs.nf', "SELECT a.compute_ns - p.compute_ns FROM trial a JOIN trial p USING (block) WHERE "
                                                          "a.policy = 'recompute' AND p.policy = 'lifetime-density'"))


gained = [more_compute()]
if gained[0] <= 0:
    gained.append(more_compute())
check(gained[-1] > 0, f'more compute in the middle of 9 pairs: {gained} ns')
one = trial('job.nf', "policy_options = 'depth=1'")
check(one['recomputed'] == one['recomputed_ops'] <= again['recomputed_ops'], f'depth=1: {one["recomputed"]} gaps by as many ops')
never = trial('job.nf', "policy_options = 'exposed=0'")
check(never['recomputed'] == 0 and issued(never) == issued(plain), 'where a far transfer costs nothing, nothing is made again')

# The rest by gaps: what is not held is the same, and less of the rest is left to far.
shutil.copy(WORK / 'base.nf', WORK / 'gaps.nf')
replay('gaps.nf', 'recompute', 'gap-recompute')
gaps, plan_of = trial('gaps.nf', "policy = 'gap-recompute'"), trial('gaps.nf', "policy = 'recompute'")
check((gaps['recomputed'], gaps['unheld_bytes']) == (plan_of['recomputed'], plan_of['unheld_bytes']) and gaps['recomputed'] > 0 and gaps['moves'] > 0,
      f'gap-recompute: {gaps["recomputed"]} gaps, {gaps["unheld_bytes"]} bytes not held, {gaps["moves"]} moves')
far = {r['policy']: r['far_share'] + r['fetched_share'] for r in json.loads(nearfar(
    'plan', 'gaps.nf', '--policy', 'recompute', '--policy', 'gap-recompute:prefetch=no', '--near', '20%', '--llc', '64KiB', '--json').stdout or '[]')}
check(len(far) == 2 and far['gap-recompute:prefetch=no'] < far['recompute'], f'far and fetched: {far}')

# Where far is as fast as near, making again is not worth it for an op that costs more than its bytes.
shutil.copy(WORK / 'base.nf', WORK / 'fast.nf')
replay('fast.nf', 'recompute', far='1')
fast = trial('fast.nf', "policy = 'recompute'")
check(fast['recomputed'] < again['recomputed'], f'fewer on a fast far tier: {fast["recomputed"]} for {again["recomputed"]}')

plan = nearfar('plan', 'job.nf', '--policy', 'lifetime-density', '--policy', 'recompute', '--near', '20%', '--llc', '64KiB', '--json')
planned = {r['policy']: r for r in json.loads(plan.stdout)} if plan.returncode == 0 else {}
check(planned and planned['recompute']['recomputed'] == again['recomputed'] and planned['recompute']['unheld_bytes'] == again['unheld_bytes'] and
      abs(planned['recompute']['recompute_ns'] - again['recompute_captured_ns']) < 1 and planned['lifetime-density']['recomputed'] == 0,
      f'nearfar plan says what is made again, as it was replayed: {planned.get("recompute")} {plan.stderr[-160:]!r}')
plan = nearfar('plan', 'job.nf', '--policy', 'recompute', '--near', '20%', '--llc', '64KiB', '--moves', '--json')
made = [m for m in json.loads(plan.stdout) if m['event'] == 'is made again' and 'would take' in m['reason']] if plan.returncode == 0 else []
check(len(made) == again['recomputed'] > 0 and all(m['phase'] == 'recompute' for m in made), f'and which: {len(made)} of them')

# --- one tensor's course: its later lives are followed, its ops are the captured ones ---


def course(policy, number):
    result = nearfar('plan', 'job.nf', '--policy', policy, '--near', '20%', '--llc', '64KiB', '--explain', number, '--json')
    return json.loads(result.stdout) if result.returncode == 0 else [{'event': f'exit {result.returncode}', 'op': -1}]


def uses(events):
    return [(e['op'], e['name']) for e in events if e['event'] == 'is used' and e['phase'] != 'recompute']


numbers = sorted(t['number'] for t in json.loads(nearfar('show', 'job.nf', 'tensors', '--json').stdout) if t['role'] == 'saved activation')
found = {}
for number in numbers:
    events = course('recompute', number)
    words = [e['event'] for e in events]
    plain_uses = uses(course('lifetime-density', number))
    check(uses(events) == plain_uses and plain_uses, f'tensor {number} is used by the captured ops, however it comes to be there: {words}')
    for e in events:
        if e['event'] == 'is made again' and 'take' in (e['reason'] or ''):
            check(e['phase'] == 'recompute' and words.index('is used') < words.index('is made again') and 'is used' in words[words.index(e['event']):],
                  f'{words}')
            found[number] = words
    if len(found) >= 3:
        break
check(len(found) >= 3, f'what is made again is shown: {found}')
again_course = course('gap-recompute', max(found or [0]))
check(any(e['event'] == 'is made again' for e in again_course) and uses(again_course), f'by gap-recompute, too: {[e["event"] for e in again_course]}')

# --- the report ---

result = nearfar('analyze', 'job.nf', '-o', 'report')
check(result.returncode == 0, f'reported {result.stderr[-200:]!r}')
with (WORK / 'report/recompute.csv').open() as f:
    curve = list(csv.DictReader(f))
check(len(curve) == 20 and all(r['evidence'] == 'modelled' for r in curve) and all(
    abs(float(r['near_byte_time']) + float(r['far_byte_time']) + float(r['again_byte_time']) - 1) < 1e-6 for r in curve), 'the curve\'s shares are of one whole')
check(float(curve[-1]['both']) == float(curve[-1]['offload']) == 1 and max(float(r['again_byte_time']) for r in curve) > 0, 'all near costs nothing')
with (WORK / 'report/crossover.csv').open() as f:
    cells = {(float(r['far_bytes_per_s']), float(r['compute_rate'])): float(r['again_share']) for r in csv.DictReader(f)}
across, up = sorted({k[0] for k in cells}), sorted({k[1] for k in cells})
check(all(cells[a, y] >= cells[b, y] for y in up for a, b in zip(across, across[1:])) and
      all(cells[x, a] <= cells[x, b] for x in across for a, b in zip(up, up[1:])), 'the map: faster far memory speaks for it, faster compute against')
check(cells[across[0], up[-1]] == 1 and cells[across[-1], up[0]] < 0.5, 'and it crosses over')
check((WORK / 'report/recompute.svg').exists() and (WORK / 'report/crossover.svg').exists() and 'modelled' in (WORK / 'report/crossover.svg').read_text(), 'both are drawn')

# --- what refuses ---

for options, why in ('depth=0', 'a chain has 1 to 64 ops'), ('depth=65', '1 to 64'), ('exposed=2', 'between 0 and 1'):
    shutil.copy(WORK / 'base.nf', WORK / 'bad.nf')
    result = nearfar('replay', '-q', 'bad.nf', f'--policy=recompute:{options}', '--near', '20%', '--mode', 'none', '--blocks', '1', '--llc', '64KiB')
    check(result.returncode == FAILED and why in result.stderr, f'{options}: {result.returncode} {result.stderr.strip()[-200:]!r}')
shutil.copy(WORK / 'base.nf', WORK / 'batches.nf')
refused(nearfar('replay', '-q', 'batches.nf', '--policy', 'recompute', '--near', '20%', '--mode', 'none', '--blocks', '1', '--llc', '64KiB',
                '--batch-bytes', '64KiB'), CANNOT, 'recompute', '--batch-bytes')
refused(nearfar('run', 'job.nf', '--policy', 'recompute', '--near', '20%', '--', 'true'), USAGE, 'runs operators again', 'replay')
# Without op times nobody knows what making again costs.
shutil.copy(WORK / 'base.nf', WORK / 'untimed.nf')
with sqlite3.connect(WORK / 'untimed.nf') as db:
    db.execute('UPDATE step_class SET correction_factor = 0, correction_gap_ns = 0')
result = nearfar('replay', '-q', 'untimed.nf', '--policy=recompute', '--near', '20%', '--blocks', '1', '--steps', '1', '--llc', '64KiB', '--far-bandwidth', '0.01')
check(result.returncode == 0 and rows('untimed.nf', "SELECT sum(recomputed) FROM trial WHERE policy = 'recompute'") == [(0,)],
      f'no times, nothing made again {result.stderr.strip()[-160:]!r}')
finish()
