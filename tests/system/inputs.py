"""Bad input of every kind gets one clear sentence and the right exit code, and nothing committed is lost."""
import fcntl
import json
import os
import pathlib
import signal
import sqlite3
import subprocess
import time

from system import NEARFAR, WORK, check, finish, job, nearfar, refused, rows, torch_python, whole

USAGE, FAILED, JOB = 2, 1, 4
COMMANDS = 'capture import show sql tiers replay run analyze policies doctor'.split()

# --- help and usage ---
for name in COMMANDS:
    result = nearfar(name, '--help')
    check(result.returncode == 0 and not result.stderr and result.stdout.count(f'  nearfar {name}') == 2, f'{name} --help has two examples')
    refused(nearfar(name, '--no-such-option'), USAGE, '--no-such-option')
check(nearfar('--help').returncode == 0 and all(f'  {c} ' in nearfar('--help').stdout for c in COMMANDS), '--help lists the commands')
refused(nearfar('nonsense'), USAGE, 'nonsense')
check(nearfar().returncode == USAGE, 'no command: usage')
check(len(json.loads(nearfar('doctor', '--json').stdout)) > 10, 'doctor --json parses')
policies = {row['name']: row for row in json.loads(nearfar('policies', '--json').stdout)}
check('SOSP 2021' in policies['hemem']['source'] and 'samples accesses' in policies['hemem']['semantics'], 'policies --json says whose rule')
check(all(f'\n{name} ' in '\n' + nearfar('policies').stdout for name in policies), 'policies lists what --json does')
check('read-hot=N' in nearfar('policies', 'hemem').stdout, 'policies NAME explains options')
refused(nearfar('policies', 'nonsense'), USAGE, 'all-near', 'nonsense')
check(json.loads(nearfar('tiers', '--json').stdout)[0]['kind'] == 'node', 'tiers --json parses')

# --- files that are no studies ---
(WORK / 'text.nf').write_text('this is no study\n' * 100)
(WORK / 'empty.nf').touch()
sqlite3.connect(WORK / 'other.nf').executescript('CREATE TABLE t(x);')
(WORK / 'folder.nf').mkdir()
for file in 'text.nf empty.nf other.nf folder.nf'.split():
    for command in ('show', file), ('replay', file), ('analyze', file, '-o', 'r'), ('sql', file, 'SELECT 1'), ('run', file, '--', 'true'):
        refused(nearfar(*command), FAILED, file, 'not a')
    if file != 'empty.nf':   # an empty file is what mktemp leaves: capture may fill it
        refused(nearfar('capture', '-o', file, '--', 'true'), FAILED, file, 'not a')
check((WORK / 'text.nf').read_text() == 'this is no study\n' * 100, 'a stranger\'s file is left as it was')
refused(nearfar('show', 'missing.nf'), FAILED, 'missing.nf')
refused(nearfar('capture', '-o', 'no/such/folder.nf', '--', 'true'), FAILED, 'folder')

# --- jobs that cannot be captured ---
python = torch_python()
# What cannot be is refused before anything is written.
for options, code, word in ((('--cpu', '99999'), USAGE, 'CPU'), (('--passes', 'bare', '--source', 'page-fault'), USAGE, 'access'),
                            (('--source', 'page-fault:page=8KiB'), USAGE, '4KiB'), (('--source', 'watch'), USAGE, 'page-fault'),
                            (('--source', 'page-fault', '--source', 'exact'), USAGE, 'capture once with each')):
    refused(nearfar('capture', '-o', 'none.nf', *options, '--', 'true'), code, word)
    check(not (WORK / 'none.nf').exists(), f'{options}: no study is left')
refused(nearfar('capture', '-o', 'j.nf', '--', './no-such-job'), JOB, 'no-such-job')
refused(nearfar('capture', '-o', 'j.nf', '--', 'true'), FAILED, 'PyTorch')
refused(nearfar('capture', '-o', 'j.nf', '--', python, '-c', 'raise SystemExit(7)'), JOB, '7')
refused(nearfar('capture', '-o', 'j.nf', '--', python, '-S', '-c', 'import no_torch_here'), JOB, 'exit status 1')
refused(nearfar('capture', '-o', 'j.nf', '--', 'sh', '-c', 'kill -9 $$'), JOB, 'signal 9')
refused(nearfar('capture', '-o', 'j.nf', '-s', 'nonsense', '--', 'true'), USAGE, 'framework')
refused(nearfar('show', 'j.nf'), FAILED, 'no captured steps')
(WORK / 'crash.py').write_text(f'''
import os, runpy, sys, torch
seen = [0]
step = torch.optim.AdamW.step
def crashing(self, *a, **k):
    seen[0] += 1
    if seen[0] == 4 and os.environ.get("NEARFAR_PASS") == "access":
        os.kill(os.getpid(), 11)
    return step(self, *a, **k)
torch.optim.AdamW.step = crashing
sys.argv = {job(steps=6)[1:]!r}
runpy.run_path(sys.argv[0], run_name="__main__")
''')
refused(nearfar('capture', '-o', 'crash.nf', '--', python, 'crash.py'), JOB, 'signal 11', 'access')
check(whole('crash.nf') and rows('crash.nf', 'SELECT count(*) FROM step s JOIN pass p ON p.id = s.pass_id WHERE p.kind = 3') == [(3,)]
      and rows('crash.nf', 'SELECT status FROM capture') == [('partial',)], 'the three steps before the crash are kept')
shown = nearfar('show', 'crash.nf')
check(shown.returncode == 0 and 'missing or incomplete passes: access, timing' in shown.stdout, 'show says what is missing')

# --- a good study, bad requests ---
assert nearfar('capture', '-q', '-o', 'a.nf', '--', *job()).returncode == 0
refused(nearfar('replay', 'a.nf', '--policy', 'best-interleave:ratios=20'), USAGE, 'two ratios')
refused(nearfar('replay', 'a.nf', '--policy', 'best-interleave:ratios=20:200'), USAGE, '200')
refused(nearfar('replay', 'a.nf', '--policy', 'best-interleave:20'), USAGE, 'ratios=')
refused(nearfar('replay', 'a.nf', '--policy', 'nonsense'), USAGE, 'all-near', 'lifetime-density')
for share in '0%', '101%', '-5%', 'much', '10%..', '', '20%,,x':
    refused(nearfar('replay', 'a.nf', '--near', share), USAGE, '--near')
for option in ('--mode', 'fast'), ('--blocks', '0'), ('--steps', 'x'), ('--scale', '2'), ('--llc', '1Q'), ('--parallelism', '0'):
    refused(nearfar('replay', 'a.nf', *option), USAGE, option[0])
refused(nearfar('show', 'a.nf', '--class', '99', 'ops'), FAILED, '99')
refused(nearfar('show', 'a.nf', '--capture', '9'), FAILED, '9')
check(nearfar('show', 'a.nf', 'nonsense').returncode == USAGE, 'unknown view: usage')
refused(nearfar('analyze', 'a.nf', '-o', 'r'), FAILED, 'no trials')
refused(nearfar('replay', 'a.nf', '--tier', 'null', '--tier', 'emulated:latency-ns=1', '--near', '50%'), 2, 'reach')
refused(nearfar('replay', 'a.nf', '--tier', 'null', '--tier', 'emulated', '--far-latency', '3', '--near', '50%'), 2, 'say it in the tier')
for sql in 'DELETE FROM op', 'SELECT 1; SELECT 2', 'DROP TABLE op':
    refused(nearfar('sql', 'a.nf', sql), USAGE, 'SELECT')
refused(nearfar('sql', 'a.nf', 'SELECT nonsense'), FAILED, 'nonsense')
with open('/dev/full', 'w') as full:
    result = subprocess.run([NEARFAR, 'show', 'a.nf', 'ops'], stdout=full, stderr=subprocess.PIPE, text=True, cwd=WORK)
check(result.returncode == 1 and 'cannot write' in result.stderr or 'No space' in result.stderr, 'stdout on a full disk is noticed')

# --- a newer schema, a study in use ---
newer = WORK / 'newer.nf'
newer.write_bytes((WORK / 'a.nf').read_bytes())
sqlite3.connect(newer).executescript('PRAGMA user_version = 99;')
for command in ('show', 'newer.nf'), ('replay', 'newer.nf'), ('capture', '-o', 'newer.nf', '--', 'true'):
    refused(nearfar(*command), FAILED, '99', 'newer')
with open(WORK / 'a.nf', 'rb+') as held:
    fcntl.flock(held, fcntl.LOCK_EX)
    for command in ('replay', 'a.nf'), ('capture', '-o', 'a.nf', '--', 'true'), ('run', 'a.nf', '--', 'true'):
        refused(nearfar(*command), FAILED, 'being written', str(os.getpid()))
    check(nearfar('show', 'a.nf').returncode == 0, 'a study being written can be read')

# --- damage ---
torn = bytearray((WORK / 'a.nf').read_bytes())
torn[4096 * 3:4096 * 12] = os.urandom(4096 * 9)
(WORK / 'torn.nf').write_bytes(torn)
result = nearfar('replay', 'torn.nf', '--near', '50%', '--blocks', '1')
check(result.returncode == FAILED and 'Traceback' not in result.stderr and result.stderr.startswith('nearfar'),
      f'a damaged study is refused: {result.stderr.splitlines()[-1]!r}')

# --- interrupted by the person ---
for command, kept in (('capture', '-q', '-o', 'int.nf', '--', *job(steps=2000)), 'step'), (('replay', 'a.nf', '--blocks', '50'), 'trial'):
    study = 'int.nf' if command[0] == 'capture' else 'a.nf'
    process = subprocess.Popen([NEARFAR, *command], cwd=WORK, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.time() + 60
    while time.time() < deadline:
        try:
            if rows(study, f'SELECT count(*) FROM {kept}')[0][0] > 2:
                break
        except sqlite3.Error:
            pass
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    table = 'capture' if command[0] == 'capture' else 'replay'
    check(process.returncode == (JOB if command[0] == 'capture' else FAILED) and whole(study) and
          rows(study, f'SELECT status FROM {table} ORDER BY id DESC LIMIT 1') == [('partial',)],
          f'{command[0]} interrupted: exit {process.returncode}, {rows(study, f"SELECT count(*) FROM {kept}")[0][0]} {kept}s kept')

# A launcher's job too, also when the launcher does not pass the signal on.
marker = WORK / 'launched'
launcher = f'sh -c "echo \\$\\$ >{marker}; while :; do sleep 0.05; done" & trap "" TERM; wait; while :; do sleep 1; done'
process = subprocess.Popen([NEARFAR, 'capture', '-q', '-o', 'launcher.nf', '--', 'sh', '-c', launcher], cwd=WORK,
                           stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
deadline = time.time() + 30
while time.time() < deadline and not (marker.exists() and marker.read_text().strip()):
    time.sleep(0.05)
launched = marker.read_text().strip() if marker.exists() else ''
check(launched, 'the launcher started a process')
process.send_signal(signal.SIGINT)
process.communicate(timeout=60)
gone = launched and (not pathlib.Path(f'/proc/{launched}').exists()
                     or ') Z ' in pathlib.Path(f'/proc/{launched}/stat').read_text())
check(gone, 'what a launcher started ends with it when the capture is interrupted')

# --- disks ---
if os.geteuid() == 0 and subprocess.run(['unshare', '-m', 'true'], capture_output=True).returncode == 0:
    def on_small_disk(command, size='700k', after='true'):
        (WORK / 'disk').mkdir(exist_ok=True)
        script = f'mount -t tmpfs -o size={size} none {WORK}/disk && cp {WORK}/a.nf {WORK}/disk/ && {after} && "$@"; rc=$?; ' \
                 f'cp {WORK}/disk/*.nf {WORK}/; exit $rc'
        return subprocess.run(['unshare', '-m', 'sh', '-c', script, 'sh', *command], cwd=WORK, capture_output=True, text=True)

    size = (WORK / 'a.nf').stat().st_size
    refused(on_small_disk([NEARFAR, 'capture', '-q', '-o', 'disk/new.nf', '--', *job()], f'{size + 200000}'), FAILED, 'no space')
    check(whole('new.nf'), 'the study on the full disk is sound')
    # A replay's rows are small: leave the disk no more room than one of its transactions needs.
    refused(on_small_disk([NEARFAR, 'replay', 'disk/a.nf', '--blocks', '2', '--near', '50%'], f'{size + 100000}',
                          f'(head -c 10000000 /dev/zero > {WORK}/disk/filler; true)'), FAILED, 'no space')
    check(whole('a.nf') and rows('a.nf', 'SELECT count(*) FROM capture') == [(1,)], 'what was committed is still there')
    for command in ('replay', 'disk/a.nf', '--blocks', '1'), ('capture', '-o', 'disk/a.nf', '--', 'true'):
        refused(on_small_disk([NEARFAR, *command], '64m', f'mount -o remount,ro {WORK}/disk'), FAILED, 'read-only')
else:
    print('skipped: full and read-only disks need root and mount namespaces')
finish()
