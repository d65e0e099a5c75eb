"""A capture or a replay killed at any moment leaves a sound study with everything that was committed.
usage: kill.py NEARFAR SOURCE-FOLDER [KILLS-OF-EACH]"""
import json
import random
import signal
import sqlite3
import subprocess
import sys
import time

from system import NEARFAR, WORK, check, finish, job, nearfar, rows, whole

KILLS = int(sys.argv[3]) if len(sys.argv) > 3 else 3
draw = random.Random(20)


def killed_after(command, seconds, study='', rows_wanted=0, table='step'):
    """Kills the command so many seconds after it committed so many rows of its table."""
    process = subprocess.Popen([NEARFAR, *command], cwd=WORK, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while rows_wanted and count(study, table) < rows_wanted and process.poll() is None:
        time.sleep(0.01)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    return process.wait()


def count(study, table):
    try:
        return rows(study, f'SELECT count(*) FROM {table}')[0][0]
    except sqlite3.Error:
        return 0


started = time.time()
assert nearfar('capture', '-q', '-o', 'good.nf', '--', *job(steps=20)).returncode == 0
whole_capture = time.time() - started
before = count('good.nf', 'step')
check(before == 60, 'a whole capture has 60 steps')
states = {}
for i in range(KILLS):
    study = f'c{i}.nf'
    # Every other one by the clock alone, which also meets the moments before the first commit and between passes.
    if i % 2:
        killed_after(('capture', '-q', '-o', study, '--', *job(steps=20)), draw.uniform(0.0, 0.5 * whole_capture))
    else:
        killed_after(('capture', '-q', '-o', study, '--', *job(steps=20)), draw.uniform(0.0, 0.05), study, draw.randrange(1, 60))
    if not (WORK / study).exists():
        states['nothing yet'] = states.get('nothing yet', 0) + 1
        continue
    # The program first: it is its reader that must cope with the unfinished transaction.
    shown = nearfar('show', study)
    sound = (WORK / study).stat().st_size == 0 or whole(study)
    steps = count(study, 'step')
    # What was committed is what a second look finds, and the next capture goes on in the same file.
    honest = shown.returncode == 0 if count(study, 'step_class') else \
        'no captured steps' in shown.stderr or 'not a study yet' in shown.stderr
    if shown.returncode == 0 and steps < 60:
        honest = honest and ('running' in shown.stdout or 'partial' in shown.stdout)
    states[steps] = states.get(steps, 0) + 1
    if not check(sound and honest, f'capture killed with {steps} steps committed'):
        print(shown.stdout[-500:], shown.stderr[-500:])
# A machine without a source has nothing of it to lose.
usable = {r['name'] for r in json.loads(nearfar('doctor', '--json').stdout) if r['kind'] == 'capture source' and r['usable'] == 'yes'}
# What a source saw up to then is there with its counts and its arena, without which small tensors would count as unseen.
for source in 'page-fault', 'watchpoint:rate=50':
    study = source.partition(':')[0] + '.nf'
    if source.partition(':')[0] not in usable:
        print(f'{source}: not usable here, nothing to kill')
        continue
    killed_after(('capture', '-q', '-o', study, '--passes', 'access', '--source', source, '--', *job(steps=2000)), 1.0, study, 20)
    check(nearfar('show', study).returncode == 0, f'{study}: show works after the kill')
    seen = rows(study, 'SELECT samples, attributed, unattributed + out_of_arena + other_process + outside_steps, arena_bytes '
                       'FROM observation')[0]
    kept = count(study, 'sighting' if study == 'page-fault.nf' else 'sample_chunk')
    check(whole(study) and seen[0] > 0 and seen[0] == seen[1] + seen[2] and seen[1] > 0 and kept > 0,
          f'{study}: the counts of what was committed add up: {seen}, {kept} rows')
    if study == 'page-fault.nf':
        audit = nearfar('show', study, 'audit', '--json')
        found = {row['kind'] for row in json.loads(audit.stdout)}
        check(seen[3] > 0 and 'untouched' not in found, f'and the audit knows what was not watched: {sorted(found)}')
again = nearfar('capture', '-q', '-o', 'c0.nf', '--passes', 'access', '--', *job())
check(again.returncode == 0 and rows('c0.nf', "SELECT count(*) FROM capture WHERE status = 'running'") == [(0,)],
      f'a killed study takes the next capture, and says of the earlier one that it is partial {again.stderr[-200:] if again.returncode else ""}')
print('capture was killed with so many steps committed:', states)

trials = 0
for i in range(KILLS):
    # The first ones by what they committed, which takes as long as the tiers' measurement; the others by the clock.
    if i > 1:
        killed_after(('replay', 'good.nf', '--blocks', '3', '--near', '30%,60%'), draw.uniform(0.0, 8.0))
    else:
        killed_after(('replay', 'good.nf', '--blocks', '3', '--near', '30%,60%'), draw.uniform(0.0, 2.0), 'good.nf', trials + 1, 'trial')
    check(nearfar('show', 'good.nf').returncode == 0, 'show works after the kill')
    now = count('good.nf', 'trial')
    check(whole('good.nf') and now >= trials and count('good.nf', 'step') == before, f'replay killed with {now - trials} trials committed')
    trials = now
check(trials > 0, f'{trials} trials survived {KILLS} kills')
shown = nearfar('show', 'good.nf', 'trials', '--json')
check(len(json.loads(shown.stdout)) == trials, 'show lists every one')
last = nearfar('replay', 'good.nf', '--blocks', '1', '--near', '50%', '--policy', 'all-near,near-first', '--mode', 'full')
check(last.returncode == 0 and rows('good.nf', "SELECT count(*) FROM replay WHERE status = 'running'") == [(0,)],
      f'the next replay works, and says of the killed ones that they are partial {last.stderr[-200:] if last.returncode else ""}')
check(nearfar('analyze', 'good.nf', '-o', 'report').returncode == 0, 'and a report can be written')
finish()
