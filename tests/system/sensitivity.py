"""`nearfar replay --sensitivity`: each factor once, paired within the block, labelled, in a table of its own and in no curve."""
import csv
import subprocess

from system import SOURCE, WORK, check, finish, nearfar, refused, rows

USAGE = 2
kernels = WORK / 'kernels'
subprocess.run(['gcc', '-O1', '-I', SOURCE / 'capture/annotate', SOURCE / 'examples/kernels.c', '-o', kernels, '-ldl', '-lpthread'],
               check=True)
done = nearfar('capture', '-q', '-o', 'job.nf', '--', kernels, 'all', 65536, 6)
check(done.returncode == 0, f'captured {done.stderr[-200:] if done.returncode else ""!r}')
common = ['replay', 'job.nf', '-q', '--policy', 'interleave,lru', '--near', '50%', '--mode', 'asap', '--blocks', '3', '--steps', '1', '--llc',
          '64KiB', '--sensitivity']
done = nearfar(*common)
check(done.returncode == 0, f'replayed {done.stderr[-300:] if done.returncode else ""!r}')
seen = {}
for variant, policy, n, scale, store in rows('job.nf', 'SELECT variant, policy, count(*), min(parallelism_scale), min(store) FROM trial GROUP BY '
                                             'variant, policy'):
    seen.setdefault(variant, {})[policy] = n, scale, store
wanted = {'': (1, 'regular'), 'k/2': (0.5, 'regular'), '2k': (2, 'regular'), 'unfiltered': (1, 'regular'), 'non-temporal': (1, 'non-temporal')}
check(wanted.keys() <= seen.keys() <= wanted.keys() | {'thp'}, f'the factors: {sorted(seen)}')
for variant, (scale, store) in wanted.items():
    check(seen.get(variant) == {policy: (3, scale, store) for policy in ('all-near', 'interleave', 'lru')}, f'{variant or "plain"}: {seen.get(variant)}')
done = nearfar('analyze', 'job.nf', '-o', 'report')
check(done.returncode == 0, f'analyzed {done.stderr[-200:] if done.returncode else ""!r}')
with open(WORK / 'report/sensitivity.csv') as f:
    table = list(csv.DictReader(f))
check({r['factor'] for r in table} == seen.keys() - {''} and all(r['pairs'] == '3' for r in table), f'a row per factor and policy: {len(table)}')
check(all(r['evidence'] == 'injected-delay' for r in table), 'labelled')
with open(WORK / 'report/curve.csv') as f:
    check(all(float(r['parallelism_scale']) == 1 for r in csv.DictReader(f)), 'in no curve')
refused(nearfar(*common, '--parallelism', '0.5'), USAGE, '--sensitivity')
refused(nearfar(*common, '--unfiltered'), USAGE, '--sensitivity')
finish()
