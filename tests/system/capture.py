"""A real PyTorch job through `nearfar capture`: unchanged by it, and known by it."""
import csv
import io
import json
import os
import subprocess

from system import WORK, check, finish, job, nearfar, rows

plain = subprocess.run(job(), capture_output=True, text=True)
captured = nearfar('capture', '-o', 'a.nf', '--', *job())
check(captured.returncode == 0, f'capture ends well: {captured.stderr[-300:]!r}')


def untimed(text):
    """The job prints its own speed, which is no one's to keep."""
    return [line for line in text.splitlines() if not line.startswith('done')]


check(untimed(captured.stdout) == untimed(plain.stdout) and untimed(plain.stdout), 'the job prints what it prints alone')
passes = rows('a.nf', 'SELECT kind, status, exit_status, steps, lost_events, parameter_sha256, allocator_peak_bytes, '
                      'tracked_peak_bytes, unattributed_visits FROM pass ORDER BY kind')
check([p[0] for p in passes] == [1, 2, 3] and all(p[1:4] == ('complete', 0, 3) for p in passes), 'three complete passes of 3 steps')
check(len({p[5] for p in passes}) == 1 and len(passes[0][5]) == 64, f'one SHA-256 of the final parameters: {passes[0][5][:16]}')
check(all(p[4] == 0 for p in passes), 'no event lost')
check(passes[2][8] == 0, 'every visit belongs to a known storage')
bare_peak, tracked_peak = passes[0][6], passes[2][7]
check(abs(tracked_peak / bare_peak - 1) <= 0.01, f'tracked peak {tracked_peak} within 1 % of the allocator\'s {bare_peak}')
check(rows('a.nf', 'SELECT min(timed) FROM op WHERE class_id = (SELECT max(id) FROM step_class)')[0][0] > 0, 'ops are timed')
check(rows('a.nf', 'SELECT count(*) FROM op WHERE dur_p10_ns > dur_p50_ns OR dur_p50_ns > dur_p90_ns')[0][0] == 0,
      'durations are distributions in order')
phases = {p for p, in rows('a.nf', 'SELECT DISTINCT phase FROM op')}
check({1, 2, 4} <= phases and 3 not in phases, 'forward, backward, optimizer; nothing recomputed')
roles = {r for r, in rows('a.nf', 'SELECT DISTINCT role FROM role_interval')}
check({1, 2, 3, 4, 5, 6, 8, 9} <= roles and 7 not in roles, f'parameters, frozen, gradients, state, input, saved, temporaries: {sorted(roles)}')

for kind in 'reentrant', 'nonreentrant':
    result = nearfar('capture', '-q', '-o', f'{kind}.nf', '--', *job('--checkpoint', kind, '--microbatches', '2'))
    check(result.returncode == 0, f'{kind} checkpointing: capture ends well {result.stderr[-200:] if result.returncode else ""!r}')
    recomputed = rows(f'{kind}.nf', 'SELECT count(*) FROM op WHERE phase = 3')[0][0]
    kept = rows(f'{kind}.nf', 'SELECT count(*) FROM role_interval WHERE role = 7')[0][0]
    check(recomputed > 0 and kept > 0, f'{kind}: {recomputed} recomputed ops, {kept} checkpoints')
    check(len({s for s, in rows(f'{kind}.nf', 'SELECT parameter_sha256 FROM pass')}) == 1, f'{kind}: the same parameters in every pass')

for view in 'classes passes steps roles regimes tensors ops gaps'.split():
    text, as_json, as_csv = (nearfar('show', 'a.nf', view, '--llc', '4K', *o) for o in ((), ('--json',), ('--csv',)))
    objects = json.loads(as_json.stdout)
    lines = list(csv.reader(io.StringIO(as_csv.stdout)))
    check(text.returncode == 0 and text.stdout and len(objects) == len(lines) - 1 and objects and
          list(objects[0]) == lines[0] and all(len(line) == len(lines[0]) for line in lines),
          f'show {view}: {len(objects)} rows, the same in JSON and CSV')
visits = json.loads(nearfar('sql', 'a.nf', '--json', 'SELECT sum(bytes) AS b, count(*) AS n FROM visits(2)').stdout)[0]
stored = rows('a.nf', 'SELECT visited_bytes, visits FROM step_class WHERE id = 2')[0]
check((visits['b'], visits['n']) == stored, f'visits() has the {stored[1]} visits and {stored[0]} bytes of the class')
joined = nearfar('sql', 'a.nf', '--csv', "SELECT count(*) FROM visits v JOIN op o ON o.class_id = v.class_id AND o.number = v.op "
                 "WHERE v.class_id = 2 AND v.rw = 'read'")
check(joined.returncode == 0 and int(joined.stdout.split()[1]) > 0, 'visits() joins')

(WORK / 'site').mkdir()
(WORK / 'site/sitecustomize.py').write_text('print("the user was here")\n')
result = nearfar('capture', '-o', 'site.nf', '--passes', 'bare', '--', *job(), env={**os.environ, 'PYTHONPATH': str(WORK / 'site')})
check('the user was here' in result.stdout, "the user's own sitecustomize runs")
finish()
