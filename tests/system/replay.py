"""A replay's record: taken up again after a kill or an interrupt it is the replay it would have been; it ends when enough is
known; each trial says what the machine was and what came between."""
import json
import random
import shutil
import signal
import subprocess
import time

from system import DESPITE, NEARFAR, SOURCE, WORK, check, finish, nearfar, refused, rows, whole

FAILED, USAGE = 1, 2

kernels = WORK / 'kernels'
subprocess.run(['gcc', '-O1', '-I', SOURCE / 'capture/annotate', SOURCE / 'examples/kernels.c', '-o', kernels, '-ldl', '-lpthread'],
               check=True)
done = nearfar('capture', '-q', '-o', 'job.nf', '--', kernels, 'triad', 65536, 12)
check(done.returncode == 0, f'captured {done.stderr[-200:] if done.returncode else ""!r}')
OPTIONS = ['--policy', 'near-first,interleave', '--near', '25%,50%', '--mode', 'asap,full', '--blocks', '4', '--steps', '20', '--seed',
           '7', '--llc', '64KiB']
PLACES = ('SELECT block, position, policy, policy_options, near_share, overlap, hog FROM trial WHERE replay_id = '
          '(SELECT max(id) FROM replay) ORDER BY 1, 2')


def status(study):
    return rows(study, 'SELECT status, resumed FROM replay ORDER BY id DESC LIMIT 1')[0]


def trials(study):
    try:
        return rows(study, 'SELECT count(*) FROM trial')[0][0]
    except Exception:  # noqa: BLE001: the writer holds it just now
        return 0


# --- the machine, around every trial ---

shutil.copy(WORK / 'job.nf', WORK / 'whole.nf')
result = nearfar('replay', '-q', 'whole.nf', *OPTIONS)
check(result.returncode == 0, f'a replay that nothing stops {result.stderr[-300:] if result.returncode else ""!r}')
want = rows('whole.nf', PLACES)
check(len(want) == 4 * 10 and len(set(want)) == len(want), f'{len(want)} trials')
shown = json.loads(nearfar('show', 'whole.nf', 'counters', '--json').stdout)
check(len(shown) == 2 * len(want) and all((row['counter_read_bytes'] is None) == bool(row['uncounted']) for row in shown),
      f'{len(shown)} rows of counted bytes, or why there are none: {shown[0]["uncounted"]!r}')
check(sum(row['read_bytes'] + row['write_bytes'] for row in shown) > 0 and {row['tier'] for row in shown} == {'near', 'far'}, 'beside the replay\'s own')
for before, after, proofs, moved, page, threads in rows('whole.nf', 'SELECT before, after, proofs, moved_pages, page, threads FROM trial'):
    before, after = json.loads(before), json.loads(after)
    if not (before.keys() == after.keys() and {'governor', 'thp', 'numa_balancing', 'demotion', 'load', 'kernel', 'microcode',
                                               'prefetchers', 'no_turbo'} <= before.keys() and all(map(str, before.values()))):
        check(False, f'environment: {before}')
    if not (proofs == 21 and moved >= -1 and page == '4k' and threads >= 1):
        check(False, f'proofs {proofs}, moved {moved}, page {page}, threads {threads}')
check(True, 'every trial says the state before and after, and proved its placement at each of 20 checkpoints and the end')
deadlines = rows('whole.nf', 'SELECT overlap, min(deadlines), max(late_p50_ns <= late_p99_ns AND late_p99_ns <= late_max_ns), '
                 'min(scheduled_ns) FROM trial GROUP BY 1 ORDER BY 1')
check(deadlines[0][:2] == (0, 0) and deadlines[1][1] > 0 and deadlines[1][2] == 1 and deadlines[1][3] > 0,
      f'lateness where there are deadlines: {deadlines}')

parts = rows('whole.nf', 'SELECT overlap, policy, wall_ns, memory_ns, injected_ns, compute_ns, stall_ns, policy_ns FROM trial')
check(all(min(p[2:]) >= 0 and p[3] > 0 and sum(p[3:]) <= p[2] for p in parts), 'every trial accounts for its time, and for no more than it took')
check(all(p[5] == 0 for p in parts if p[0] == 0) and all(p[4] == 0 for p in parts if p[1] == 'all-near'),
      'asap waits for no compute, and near for no tier')

# --- taken up again ---

random.seed(int.from_bytes(b'resume', 'big'))
for name, how in ('killed', signal.SIGKILL), ('stopped', signal.SIGINT):
    study = f'{name}.nf'
    shutil.copy(WORK / 'job.nf', WORK / study)
    arguments, stops = [*DESPITE, *OPTIONS], 0
    for attempt in range(40):
        process = subprocess.Popen([NEARFAR, 'replay', '-q', study, *arguments], cwd=WORK, stderr=subprocess.PIPE, text=True)
        goal, deadline = trials(study) + random.randint(3, 14), time.time() + 60
        while process.poll() is None and trials(study) < goal and time.time() < deadline:
            time.sleep(0.01)
        if process.poll() is None:
            process.send_signal(how)
            stops += 1
        said = process.communicate(timeout=120)[1]
        if rows(study, 'SELECT count(*) FROM replay')[0][0]:
            arguments = ['--resume']
        if process.returncode == 0:
            break
        if how == signal.SIGINT and process.returncode != FAILED:
            check(False, f'an interrupted replay ends with {process.returncode}: {said[-300:]}')
        if how == signal.SIGINT and stops == 1:
            check('--resume' in said, f'and says how to go on: {said.splitlines()[-1]!r}')
    check(stops >= 2, f'{name} {stops} times')
    check(rows(study, PLACES) == want, f'{name}: the same trials at the same places, each once')
    check(status(study) == ('complete', stops) and whole(study), f'{name}: {status(study)}')
    check(rows(study, 'SELECT count(*) FROM replay') == rows(study, 'SELECT count(*) FROM testbed') == [(1,)],
          f'{name}: one replay, on one testbed')

refused(nearfar('replay', 'whole.nf', '--resume'), FAILED, 'whole')
refused(nearfar('replay', 'job.nf', '--resume'), FAILED, 'no replay')
result = nearfar('replay', 'whole.nf', '--resume', '--blocks', '9')
check(result.returncode == USAGE and 'only --quiet' in result.stderr, f'--resume with options: {result.stderr.strip()!r}')

# --- the job itself runs on the CPUs of its replay ---

(WORK / 'job.sh').write_text(f'grep Cpus_allowed_list /proc/self/status >>{WORK}/allowed\nexec {kernels} triad 65536 12\n')
result = nearfar('run', 'whole.nf', '--hog', '--repetitions', '1', '--', 'sh', WORK / 'job.sh')
allowed = {line.split()[-1] for line in (WORK / 'allowed').read_text().splitlines()}
ran = {row[0] for row in rows('whole.nf', 'SELECT cpus FROM live_run')}
measured_on = {str(row[0]) for row in rows('whole.nf', 'SELECT cpu FROM testbed')}
check(result.returncode == 0 and allowed == ran == measured_on, f'one thread on the CPU {measured_on} of its tiers: allowed {allowed}, kept {ran}')

# --- several policies in one list ---

shutil.copy(WORK / 'job.nf', WORK / 'list.nf')
result = nearfar('replay', '-q', 'list.nf', '--policy', 'interleave:ratio=25,near-first,gap-greedy:slack=1,prefetch=no,lru', '--near', '50%',
                 '--mode', 'asap', '--steps', '2', '--llc', '64KiB', '--blocks', '1')
listed = rows('list.nf', 'SELECT policy, policy_options FROM trial ORDER BY policy')
check(result.returncode == 0 and listed == [('all-near', ''), ('gap-greedy', 'slack=1,prefetch=no'), ('interleave', 'ratio=25'), ('lru', ''),
                                            ('near-first', '')], f'a comma ends options where no key=value follows: {listed}')

# --- enough is known ---

for width, reached in ('100000%', True), ('0.0001%', False):
    shutil.copy(WORK / 'job.nf', WORK / 'until.nf')
    result = nearfar('replay', '-q', 'until.nf', '--policy', 'interleave', '--near', '50%', '--mode', 'asap', '--steps', '400', '--llc',
                     '64KiB', '--blocks', '6', '--until', width)
    blocks = rows('until.nf', 'SELECT count(DISTINCT block), (SELECT until_width FROM replay) FROM trial')[0]
    check(result.returncode == 0 and blocks[0] == (5 if reached else 6) and blocks[1] > 0,
          f'--until {width}: {blocks[0]} blocks; {[l for l in result.stderr.splitlines() if "interval" in l]}')
    check(('not reached' in result.stderr) != reached, 'and it says whether that was reached')
for wrong in ['--until', '0'], ['--until', 'inf'], ['--until', 'x'], ['--until', '2%', '--blocks', '4']:
    result = nearfar('replay', 'job.nf', *wrong)
    check(result.returncode == USAGE and '--until' in result.stderr, f'{wrong}: {result.stderr.strip()!r}')

# --- a policy that errs ---

shutil.copy(WORK / 'job.nf', WORK / 'erring.nf')
result = nearfar('replay', '-q', 'erring.nf', '--policy', f'{NEARFAR.parent}/tests/conformance/policy-illegal.so,interleave', '--near', '40%',
                 '--mode', 'asap', '--llc', '64KiB', '--blocks', '2')
trials_of = dict(rows('erring.nf', "SELECT policy, group_concat(status, ' ') FROM trial GROUP BY policy"))
check(trials_of.get('illegal') == 'failed failed' and 'failed' not in trials_of['interleave'] + trials_of['all-near'],
      f'its trials fail and the others go on: {trials_of}')
check(result.returncode == FAILED and '2 of 6 trials failed, the first: illegal at 40 % near, overlap asap, block ' in result.stderr and
      'which has ' in result.stderr, f'the exit status says so, and a sentence: {result.returncode} {result.stderr.strip()!r}')
check(status('erring.nf')[0] == 'complete', 'the replay itself is whole')

finish()
