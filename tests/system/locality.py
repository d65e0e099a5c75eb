"""show --reuse, --mrc and --heat on a real job: the numbers agree with each other and with the study, programs can read them,
pictures are drawn whole or not at all, and misuse gets one sentence."""
import csv
import io
import json
import os
import shutil

from system import WORK, check, finish, job, nearfar, refused, rows

USAGE, FAILED = 2, 1
captured = nearfar('capture', '-o', 'j.nf', '--passes', 'access,timing', '--', *job())
check(captured.returncode == 0, f'captured: {captured.stderr[-200:]!r}')


def table(*arguments):
    result = nearfar('show', 'j.nf', *arguments, '--json')
    check(result.returncode == 0, f'show {" ".join(arguments)} --json: {result.stderr!r}')
    return json.loads(result.stdout)


visited = json.loads(nearfar('show', 'j.nf', 'ops', '--json').stdout)
visited = sum(op['bytes'] for op in visited)

# --- --mrc ---
curve = table('--mrc')
exact = [r for r in curve if r['estimator'] == 'exact']
check(len(exact) > 50 and all(a['cache_bytes'] < b['cache_bytes'] and a['miss_ratio'] >= b['miss_ratio'] - 1e-12
                              for a, b in zip(exact, exact[1:])), 'the exact curve falls from size to size')
check(exact[-1]['miss_ratio'] == 0, 'a step that repeats misses nothing in a cache that holds it')
check({r['estimator'] for r in curve} == {'exact', 'SHARDS 0.1', 'SHARDS 0.01', 'SHARDS s_max=8192', 'AET', 'visit-fused P=10007'},
      'every estimator names itself')
check(all(r['evidence'] == ('simulated samples of framework' if 'fused' in r['estimator'] else 'framework') for r in curve),
      'every row says how it is known')
errors = {r['estimator']: r['mean_error'] for r in curve}
check(errors['exact'] == 0 and all(e is None or 0 <= e < 1 for e in errors.values()), f'errors: {errors}')
check(table('--mrc', '--period', '1')[-1]['mean_error'] < 1e-12, 'a sample of everything is exact')
by_role = [r for r in table('--mrc', '--by', 'role') if r['estimator'] == 'exact']
check([r['miss_ratio'] for r in by_role if r['group'] == 'all'] == [r['miss_ratio'] for r in exact], '--by role leaves the whole alone')
as_csv = list(csv.DictReader(io.StringIO(nearfar('show', 'j.nf', '--mrc', '--csv').stdout)))
check([float(r['miss_ratio']) for r in as_csv if r['estimator'] == 'exact'] == [r['miss_ratio'] for r in exact], 'CSV says the same')
text = nearfar('show', 'j.nf', '--mrc')
check(text.returncode == 0 and 'evidence: accesses framework' in text.stdout and 'mean error' in text.stdout, 'for people')

# --- --reuse ---
reuse = table('--reuse')
for measure in 'distance_bytes', 'traffic_bytes', 'time_ns':
    whole = sum(r['bytes'] for r in reuse if r['group'] == 'all' and r['measure'] == measure)
    roles = sum(r['bytes'] for r in reuse if r['group'] != 'all' and r['measure'] == measure)
    check(abs(whole - visited) < 1e-6 * visited and abs(roles - visited) < 1e-6 * visited,
          f'{measure}: {whole:.0f} bytes, of roles {roles:.0f}, of ops {visited}')
check('share within' in nearfar('show', 'j.nf', '--reuse', '--tensor', '0').stdout, 'one tensor, for people')

# --- --heat ---
for by in 'tensor', 'address':
    cells = table('--heat', '--by', by)
    touched = sum(r['bytes'] for r in cells)
    check(abs(touched - visited) < 1e-6 * visited, f'--heat --by {by}: {touched:.0f} bytes of {visited}')
check('through the step' in nearfar('show', 'j.nf', '--heat', '--limit', '5').stdout, 'heat, for people')

# --- pictures ---
if shutil.which('gnuplot'):
    for view, ending, magic in ('--mrc', 'svg', b'<?xml'), ('--reuse', 'png', b'\x89PNG'), ('--heat', 'pdf', b'%PDF'):
        result = nearfar('show', 'j.nf', view, '--plot', f'p.{ending}')
        check(result.returncode == 0 and (WORK / f'p.{ending}').read_bytes().startswith(magic), f'{view} draws {ending}')
    check(not list(WORK.glob('nearfar-*')), 'nothing temporary is left')
    refused(nearfar('show', 'j.nf', '--heat', '--plot', 'no/such.svg'), FAILED, 'no/such.svg')
(WORK / 'bin').mkdir()
refused(nearfar('show', 'j.nf', '--heat', '--plot', 'q.svg', env={**os.environ, 'PATH': str(WORK / 'bin')}), FAILED, 'gnuplot')
check(not (WORK / 'q.svg').exists(), 'no half picture')

# --- misuse ---
for arguments, code, word in ((['--mrc', '--heat'], USAGE, 'only one'), (['roles', '--mrc'], USAGE, 'in place of'),
                              (['--by', 'role'], USAGE, 'belong'), (['--mrc', '--plot', 'x.gif'], USAGE, '.svg'),
                              (['--mrc', '--block', '48'], USAGE, 'power of two'), (['--mrc', '--tensor', '9999999'], USAGE, 'tensor'),
                              (['--mrc', '--by', 'address'], USAGE, '--by'), (['--heat', '--by', 'role'], USAGE, '--by'),
                              (['--mrc', '--period', '0'], USAGE, '--period'), (['--reuse', '--by', 'x'], USAGE, '--by')):
    refused(nearfar('show', 'j.nf', *arguments), code, word)
check(rows('j.nf', 'SELECT count(*) FROM step_class')[0][0] > 0, 'the study is as it was')
finish()
