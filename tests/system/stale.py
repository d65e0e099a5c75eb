"""A stale profile: policies that plan on the profile of another capture (other seed, batch, length, other job) do worse or not, and never
break."""
import csv
import json
import shutil

from system import WORK, check, finish, job, nearfar, refused, rows

USAGE, FAILED = 2, 1
SIZE = ('--width', '64')


def capture(study, *arguments):
    done = nearfar('capture', '-q', '-o', study, '--', *job(*SIZE, *arguments, steps=4))
    check(done.returncode == 0, f'captured {study} {done.stderr[-200:] if done.returncode else ""!r}')


capture('b.nf')
others = {'seed.nf': ('--seed', '7'), 'batch.nf': ('--batch', '4'), 'length.nf': ('--seq', '32'), 'layers.nf': ('--layers', '1')}
for study, arguments in others.items():
    capture(study, *arguments)

listed = {row['name']: row for row in json.loads(nearfar('policies', '--json').stdout) if row['usable'] == 'yes'}
again = 'recompute', 'gap-recompute'  # they decide on the stream itself
planners = sorted(name for name, row in listed.items() if 'sees profile' in row['semantics'] and name not in again)
check(len(planners) >= 7, f'planners: {planners}')
shares = {}
for study in others:
    name = study[:-3]
    shutil.copy(WORK / 'b.nf', WORK / f'on-{study}')
    wishes = [f'--policy={p}' for p in planners + ['near-first', *again] if p != 'trace']
    result = nearfar('replay', '-q', f'on-{study}', *wishes, '--profile-from', study, '--near', '25%', '--mode', 'none', '--blocks', '2',
                     '--steps', '2', '--llc', '64KiB')
    check(result.returncode == 0 and ' 0 failed' in result.stderr, f'{name}: {result.stderr.strip()[-200:]!r}')
    stale = rows(f'on-{study}', "SELECT DISTINCT policy FROM trial WHERE variant = 'stale-profile' AND status != 'failed'")
    check({p for p, in stale} == set(planners) - {'trace'}, f'{name}: each planner planned on it, and nobody else')
    found = rows(f'on-{study}', "SELECT DISTINCT profile_from, profile_matched FROM trial WHERE variant = 'stale-profile'")
    check(len(found) == 1 and found[0][0] == f'{study}, capture 1', f'{name}: the trials say where their profile came from: {found}')
    check(rows(f'on-{study}', "SELECT DISTINCT profile_from, profile_matched FROM trial WHERE variant = ''") == [('', 1.0)], f'{name}: the others have their own')
    shares[name] = found[0][1]
check(shares['seed'] == 1, f'the same job with another seed has the same tensors: {shares}')
check(0.9 < shares['batch'] <= 1 and 0.9 < shares['length'] <= 1, 'another batch or length has tensors of the same names')
check(0 < shares['layers'] < 1, 'half the layers: part of them')

result = nearfar('analyze', 'on-layers.nf', '-o', 'report')
check(result.returncode == 0, f'reported {result.stderr[-200:]!r}')
table = list(csv.DictReader((WORK / 'report/stale.csv').open()))
check(len(table) == len(set(planners) - {'trace'}) and all(float(r['low']) <= float(r['slowdown']) <= float(r['high']) and r['pairs'] == '2' and
      abs(float(r['matched_share']) - shares['layers']) < 1e-6 for r in table), f'a row per policy, with its interval: {table[:1]}')
curve = list(csv.DictReader((WORK / 'report/curve.csv').open()))
points = [(r['policy'], r['near_share']) for r in curve]
check(len(points) == len(set(points)), 'no stale trial in a curve')

refused(nearfar('replay', '-q', 'b.nf', '--profile-from', 'absent.nf', '--near', '25%', '--llc', '64KiB'), FAILED, 'absent.nf')
finish()
