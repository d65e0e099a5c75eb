"""`nearfar replay --again`: a replay that is captured itself does what its capture says, on the C kernels and on a small torch
job, whoever watches; the row it leaves, and what it refuses."""
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time

from system import NEARFAR, SOURCE, WORK, check, finish, nearfar, refused, rows, whole

FAILED, USAGE, CANNOT = 1, 2, 3
COLUMNS = ('SELECT source, tensors, same_extents, lost_bytes, stray_bytes, rw_bytes, captured_bytes, replayed_bytes, resolution_bytes, '
           'scale, steps, equal_steps, lost_samples, unattributed, reuse_distance_emd, reuse_distance_most, worst FROM recapture '
           'ORDER BY id')

usable = {row['name']: row['usable'] == 'yes' for row in json.loads(nearfar('doctor', '--json').stdout)}
sources = ['framework'] + [name for name, what in (('page-fault', 'page-fault'), ('exact', 'source exact, engine qemu'))
                           if usable.get(what)]
print('sources here:', *sources)

kernels = WORK / 'kernels'
subprocess.run(['gcc', '-O1', '-I', SOURCE / 'capture/annotate', SOURCE / 'examples/kernels.c', '-o', kernels, '-ldl', '-lpthread'],
               check=True)
JOBS = {'kernels': [kernels, 'all', 65536, 6]}
found = subprocess.run([SOURCE / 'tools/torch-python'], capture_output=True, text=True)
if found.returncode == 0:
    JOBS['gpt'] = [found.stdout.strip(), SOURCE / 'examples/finetune.py', '--layers', 2, '--width', 32, '--heads', 2, '--seq', 16,
                   '--batch', 2, '--deterministic', '--steps', 3]

for name, command in JOBS.items():
    study = f'{name}.nf'
    done = nearfar('capture', '-q', '-o', study, '--', *command)
    check(done.returncode == 0, f'{name}: captured {done.stderr[-200:] if done.returncode else ""!r}')
    steady = rows(study, 'SELECT class_id FROM step WHERE class_id NOTNULL ORDER BY number DESC LIMIT 1')[0][0]
    visited = int(nearfar('sql', study, '--csv', f'SELECT count(DISTINCT tensor) FROM visits({steady})').stdout.split()[-1])
    for source in sources:
        result = nearfar('replay', study, '--again', source)
        row = rows(study, COLUMNS)[-1]
        check(result.returncode == 0, f'{name}, {source}: exit {result.returncode} {result.stderr[-300:] if result.returncode else ""!r}')
        check(row[0] == source and row[1] == row[2] == visited, f'{name}, {source}: {row[2]} of {visited} tensors are equal')
        check(row[3:6] == (0, 0, 0) and row[6] == row[7] > 0, f'{name}, {source}: nothing lost or stray of {row[6]} bytes')
        check(row[10] == row[11] > 0 and row[12:14] == (0, 0) and row[16] == '', f'{name}, {source}: {row[10]} steps, all alike')
        check(row[8] == (4096 if source == 'page-fault' else 1) and 0 <= row[14] <= row[15],
              f'{name}, {source}: at {row[8]} bytes, reuse {row[14]:.3f} octaves apart, {row[15]:.3f} at most')
        table = [line.split() for line in result.stdout.splitlines()]
        check(table and table[-1][:4] == ['all', str(visited), str(visited), '0'], f'{name}, {source}: the table says so: {table[-1:]}')
    check(whole(study), f'{name}: the study is whole')

# --- under policies that move: wherever storages are, the same extents in the same order ---
for name in JOBS:
    study = f'{name}.nf'
    whole_near = rows(study, COLUMNS)[0]
    for policy, near in (('near-first', '40%'), ('lru', '40%'), ('all-far', '40%')):
        result = nearfar('replay', study, '--again', 'framework', '--policy', policy, '--near', near)
        row = rows(study, COLUMNS)[-1]
        placed = rows(study, 'SELECT policy, near_share, moves FROM recapture ORDER BY id DESC LIMIT 1')[0]
        check(result.returncode == 0 and row[1:4] == (whole_near[1], whole_near[1], 0) and row[4] == 0 and row[6] == row[7] == whole_near[6],
              f'{name}, {policy}: {row[2]} of {row[1]} tensors are equal {result.stderr[-300:] if result.returncode else ""!r}')
        check(placed[:2] == (policy, 0.4) and (placed[2] > 0) == (policy == 'lru'), f'{name}, {policy}: {placed[2]} moves')
        # Storages are known by the addresses that they have with everything near: reuse does not change either.
        check(row[14:16] == whole_near[14:16], f'{name}, {policy}: reuse {row[14]:.3f} octaves apart, everything near {whole_near[14]:.3f}')
result = nearfar('replay', 'kernels.nf', '--again', 'framework', '--policy', 'lru', '--near', '40%', env={**os.environ, 'NEARFAR_AGAIN_DROP': '4096'})
row = rows('kernels.nf', COLUMNS)[-1]
check(result.returncode == FAILED and row[2] < row[1] and row[3] > 0, f'an erring replay under lru: {row[1] - row[2]} of {row[1]} tensors differ')
with sqlite3.connect(WORK / 'kernels.nf') as db:
    db.execute('DELETE FROM recapture WHERE id = (SELECT max(id) FROM recapture)')
refused(nearfar('replay', 'kernels.nf', '--again', 'exact', '--policy', 'lru', '--near', '40%'), USAGE, 'wants framework')
refused(nearfar('replay', 'kernels.nf', '--again', 'framework', '--policy', 'hemem', '--near', '40%'), USAGE, 'hemem samples')
refused(nearfar('replay', 'kernels.nf', '--again', 'framework', '--policy', 'interleave', '--near', '40%'), FAILED, 'splits a storage')
refused(nearfar('replay', 'kernels.nf', '--again', 'framework', '--policy', 'lru'), USAGE, '--near')
refused(nearfar('replay', 'kernels.nf', '--again', 'framework', '--policy', 'lru', '--near', '20%,40%'), USAGE, 'one share')

# --- scaled; several sources at once; as many threads as there are ---
result = nearfar('replay', 'kernels.nf', '--again', 'framework', '--again', sources[-1], '--scale', '0.25', '--threads', '2', '-q')
scaled = rows('kernels.nf', COLUMNS)[-2:]
full = rows('kernels.nf', COLUMNS)[0]
check(result.returncode == 0 and [r[0] for r in scaled] == ['framework', sources[-1]], f'two sources, scaled: {result.stderr[-300:]!r}')
check(all(r[1] == r[2] and r[9] == 0.25 and not r[3] + r[4] for r in scaled) and 0.2 < scaled[0][6] / full[6] < 0.3,
      f'a quarter of the bytes: {scaled[0][6]} of {full[6]}')


# --- refusals ---
# --- a replay that leaves 4 KiB of each long visit out is found out, whoever watches ---
for source in sources:
    before = rows('kernels.nf', 'SELECT count(*) FROM recapture')[0][0]
    result = nearfar('replay', 'kernels.nf', '--again', source, env={**os.environ, 'NEARFAR_AGAIN_DROP': '4096'})
    row = rows('kernels.nf', COLUMNS)[before]
    check(result.returncode == FAILED and 'disagree' in result.stderr, f'{source}: an erring replay: exit {result.returncode}')
    check(row[2] < row[1] and row[3] > 0 and row[3] % 4096 == 0 and row[4] == 0, f'{source}: {row[1] - row[2]} of {row[1]} tensors, {row[3]} bytes lost')
    check(row[16].startswith('tensor ') and row[16] in result.stderr.replace('nearfar:   ', ''), f'{source}: the worst is named: {row[16]}')
    check(rows('kernels.nf', 'SELECT status FROM invocation ORDER BY id DESC LIMIT 1') == [('failed',)], f'{source}: recorded as failed')
lost = {row[3] for row in rows('kernels.nf', COLUMNS) if row[3]}
check(len(lost) == 1, f'all saw the same bytes missing: {lost}')
result = nearfar('validate', 'kernels.nf')
check('recapture' in result.stdout, 'validate says so')

# --- too large for this machine; interrupted ---
shutil.copy(WORK / 'kernels.nf', WORK / 'huge.nf')
with sqlite3.connect(WORK / 'huge.nf') as db:
    db.execute('UPDATE tensor SET bytes = 1 << 45 WHERE carry_slot NOTNULL AND id = (SELECT max(id) FROM tensor WHERE carry_slot NOTNULL)')
refused(nearfar('replay', 'huge.nf', '--again', 'framework'), CANNOT, 'watch it smaller', '--scale')

process = subprocess.Popen([NEARFAR, 'replay', 'kernels.nf', *['--again', 'framework'] * 30], cwd=WORK, stderr=subprocess.PIPE,
                           stdout=subprocess.DEVNULL, text=True)
time.sleep(0.7)
process.send_signal(signal.SIGINT)
said = process.communicate(timeout=60)[1]
check(process.returncode == FAILED and 'interrupted' in said.splitlines()[-1] and 'disagree' not in said,
      f'an interrupt ends it: {process.returncode} {said.splitlines()[-1:]}')
check(whole('kernels.nf') and rows('kernels.nf', 'SELECT count(*) FROM recapture WHERE same_extents < tensors') == [(len(sources),)],
      'and the study is whole')
leftovers = [p for p in os.listdir(os.environ.get('TMPDIR', '/tmp')) if p.startswith('nearfar-again-')]
check(not leftovers, f'no folder is left behind: {leftovers}')
refused(nearfar('replay', 'kernels.nf', '--again', 'nothing'), USAGE, 'nothing')
refused(nearfar('replay', 'kernels.nf', '--again', 'watchpoint'), USAGE, 'sees a sample')
refused(nearfar('replay', 'kernels.nf', '--again', 'page-fault:every=2'), USAGE, 'every op')
refused(nearfar('replay', 'kernels.nf', '--again', 'framework', '--cold'), USAGE, 'times nothing')
refused(nearfar('replay', 'kernels.nf', '--again', 'framework', '--capture', '9'), FAILED, 'capture 9')
refused(nearfar('again-job', 'kernels.nf'), FAILED, 'replay --again')
check(rows('kernels.nf', "SELECT count(*) FROM invocation WHERE status = 'running'") == [(0,)], 'every command said how it ended')
finish()
