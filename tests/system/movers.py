"""Moves beside the ops and cold trials, from the command line to the report; movers that this machine cannot do are refused."""
import shutil
import subprocess

from system import NEARFAR, SOURCE, WORK, check, finish, nearfar, refused, rows

CANNOT = 3
PLUGINS = NEARFAR.parent / 'tests/conformance'

kernels = WORK / 'kernels'
subprocess.run(['gcc', '-O1', '-I', SOURCE / 'capture/annotate', SOURCE / 'examples/kernels.c', '-o', kernels, '-ldl', '-lpthread'],
               check=True)
done = nearfar('capture', '-q', '-o', 'job.nf', '--', kernels, 'triad', 65536, 8)
check(done.returncode == 0, f'captured {done.stderr[-200:] if done.returncode else ""!r}')
OPTIONS = ['--policy', f'promote,{PLUGINS}/policy-copies.so', '--near', '40%', '--mode', 'asap,full', '--blocks', '2', '--steps', '4',
           '--llc', '64KiB', '--cold']

dry = nearfar('replay', 'job.nf', *OPTIONS, '--dry-run').stdout
check('mover: its own thread, on CPU' in dry and 'cold: every trial also' in dry and 'trials: 24 ' in dry,
      f'a dry run tells of both: {dry!r}')
done = nearfar('replay', '-q', 'job.nf', *OPTIONS)
check(done.returncode == 0, f'replayed {done.stderr[-300:] if done.returncode else ""!r}')
trials = rows('job.nf', 'SELECT policy, cold, status, warmup_steps, steps, moves, moved_bytes, helper_cpu, helper_shares, cpus, wait_ns, '
              '(SELECT sum(moves_charged_bytes) FROM trial_tier WHERE trial_id = trial.id), semantics, message FROM trial')
check(len(trials) == 24 and {t[2] for t in trials} == {'ok'}, f'{len(trials)} trials: {({t[2] for t in trials})}')
for policy, cold, _, warmup, steps, moves, moved, helper, shares, cpus, waited, charged, semantics, message in trials:
    ok = (warmup, steps) == (0, 1) if cold else warmup >= 2 and steps == 4
    if policy == 'all-near':
        ok = ok and helper == -1 and not shares and waited == 0
    else:
        ok = ok and helper >= 0 and 'by a helper' in semantics and (shares or str(helper) not in cpus.split(','))
    if policy == 'shuttle' and not cold:
        ok = ok and moves > 4 and charged > moved / 2
    if not ok:
        check(False, f'{policy}, cold {cold}: {warmup} + {steps} steps, {moves} moves of {moved}, charged {charged}, on CPU {helper} of {cpus}')
check(True, 'each trial says how it moved, and cold ones warmed nothing up')

done = nearfar('analyze', 'job.nf', '-o', 'report')
check(done.returncode == 0, f'analyzed {done.stderr[-300:] if done.returncode else ""!r}')
cold = (WORK / 'report/cold.csv').read_text().splitlines()
check(len(cold) == 1 + 6 and all(line.endswith(',2') for line in cold[1:]), f'cold against warm, policy by policy: {cold}')
ran = (WORK / 'report/trials-ran.csv').read_text().splitlines()
check(len(ran) == 1 + 4 and sum(',cold,' in line for line in ran) == 2, f'cold trials have rows of their own: {ran}')
counted = (WORK / 'report/trials.csv').read_text().splitlines()
check(len(counted) == 1 + 12, f'and are in no curve: {len(counted) - 1} trials are')

shutil.copy(WORK / 'job.nf', WORK / 'refused.nf')
for name in 'migrates', 'kernel':
    refused(nearfar('replay', '-q', 'refused.nf', '--policy', f'{PLUGINS}/policy-{name}.so', '--near', '40%', '--llc', '64KiB',
                    '--reuse-testbed'), CANNOT, 'emulated', 'node')
    refused(nearfar('replay', 'refused.nf', '--policy', f'{PLUGINS}/policy-{name}.so', '--near', '40%', '--llc', '64KiB', '--dry-run'),
            CANNOT, 'emulated', 'node')
finish()
