"""Policies from outside: what is installed is enough to build one; a good one works in replay, plan and run; one that lies, crashes,
loops, exceeds a capacity or was built for something else is reported by name in one sentence, and the study stays whole."""
import json
import os
import pathlib
import shutil
import subprocess

from system import NEARFAR, SOURCE, WORK, check, finish, nearfar, refused, rows, skip, whole

FAILED, USAGE = 1, 2
meson = shutil.which('meson')
if not meson or not shutil.which('pkg-config') or not shutil.which('make'):
    skip('meson, pkg-config and make are wanted')

# --- installed, and built from that alone ---
done = subprocess.run([meson, 'install', '-C', NEARFAR.parent, '--no-rebuild', '--quiet', '--destdir', WORK / 'root'], capture_output=True, text=True)
check(done.returncode == 0, f'installed {done.stderr[-300:] if done.returncode else ""!r}')
pc = next((WORK / 'root').rglob('nearfar-policy.pc'))
installed = pathlib.Path(next(str(p) for p in (WORK / 'root').rglob('nearfar') if p.is_file() and os.access(p, os.X_OK)))
check(any((WORK / 'root').rglob('nearfar-policy.7')), 'with its manual page')
environment = {**os.environ, 'PKG_CONFIG_PATH': str(pc.parent), 'PKG_CONFIG_SYSROOT_DIR': str(WORK / 'root')}
environment.pop('PKG_CONFIG_LIBDIR', None)
FLAGS = subprocess.run(['pkg-config', '--cflags', 'nearfar-policy'], env=environment, capture_output=True, text=True, check=True).stdout.split()
check(str(WORK / 'root') in FLAGS[0] and str(SOURCE) not in ' '.join(FLAGS), f'the headers are the installed ones: {FLAGS}')
shutil.copytree(SOURCE / 'examples/policy', WORK / 'example')
done = subprocess.run(['make', '-s', '-C', WORK / 'example'], env=environment, capture_output=True, text=True)
check(done.returncode == 0 and not done.stderr, f'the example builds, without a word: {done.stderr[-300:]!r}')
example = './example/traffic-first.so'

KINDS = ('good', 'liar', 'crasher', 'looper', 'greedy', 'quitter', 'positive', 'old', 'short', 'lacks', 'hides', 'built-in', 'sleeper', 'forger', 'scribbler')
LATER_WORDS = {'crasher': lambda doing: f'crashed while it was {doing} (Segmentation fault)', 'looper': lambda doing: f'still {doing} after 2 s',
               'quitter': lambda doing: f'ended its process while it was {doing} (exit status 7)'}
LATER = tuple(LATER_WORDS)
for name in (*KINDS, *(f'later-{name}' for name in LATER)):
    number, later = KINDS.index(name.removeprefix('later-')), int(name.startswith('later-'))
    subprocess.run(['gcc', '-std=gnu17', '-Wall', '-Wextra', '-Werror', '-fPIC', '-shared', *FLAGS, f'-DHOW={number}', f'-DNAME="{name}"',
                    f'-DLATER={later}', SOURCE / 'tests/system/outside.c', '-o', WORK / f'{name}.so'], check=True)

kernels = WORK / 'kernels'
subprocess.run(['gcc', '-O1', '-I', SOURCE / 'capture/annotate', SOURCE / 'examples/kernels.c', '-o', kernels, '-ldl', '-lpthread'], check=True)
done = nearfar('capture', '-q', '-o', 'job.nf', '--', kernels, 'all', 65536, 6)
check(done.returncode == 0, f'captured {done.stderr[-200:] if done.returncode else ""!r}')
REPLAY = ('replay', '-q', 'job.nf', '--near', '40%', '--mode', 'asap', '--blocks', '1', '--steps', '2', '--llc', '64KiB', '--despite', 'load')

# --- good ones ---
done = subprocess.run([installed, 'policies', example], cwd=WORK, capture_output=True, text=True)
check(done.returncode == 0 and 'share' in done.stdout, f'the installed program shows it: {done.stdout[-200:]!r} {done.stderr[-200:]!r}')
done = nearfar('plan', 'job.nf', '--policy', f'{example}:share=0.9', '--policy', './good.so', '--policy', 'near-first', '--near', '40%', '--unfiltered', '--json')
planned = {r['policy']: r for r in json.loads(done.stdout)} if done.returncode == 0 else {}
check(len(planned) == 3 and planned['./good.so']['far_share'] == planned['near-first']['far_share'] and
      0 < planned[f'{example}:share=0.9']['far_share'] < 1, f'planned {done.stderr[-300:]!r} {planned}')
near = rows('job.nf', 'SELECT max(rowid) FROM tensor')[0][0]
reasons = ''
for tensor in range(near + 1):
    done = nearfar('plan', 'job.nf', '--policy', example, '--near', '40%', '--unfiltered', '--explain', tensor, '--csv')
    reasons = done.stdout if done.returncode == 0 else reasons
    if 'promised near' in reasons:
        break
check('rank' in reasons and 'promised near' in reasons, f'and gives its own reasons: {reasons[:300]!r}')

told = WORK / 'told'
done = nearfar(*REPLAY, '--policy', f'{example},./good.so', env={**os.environ, 'TOLD': str(told)})
check(done.returncode == 0, f'replayed {done.stderr[-300:] if done.returncode else ""!r}')
check({r for r in rows('job.nf', 'SELECT policy, status FROM trial')} >= {('traffic-first', 'ok'), ('good', 'ok')}, 'as any other policy')
calls = [list(map(int, line.split())) for line in told.read_text().splitlines()]
check(len(calls) == 3 and len({call[0] for call in calls}) == 3, f'rehearsed, in the trial and for what is predicted, each in a process of its own: {calls}')
check(len({call[1] for call in calls}) == 1 and calls[0][1] not in {call[0] for call in calls}, f'and never in the program itself: {calls}')
for _, _, plans, ops, regimes, pressures, ticks in calls:
    check(plans >= 1 and ops > 0 and regimes > 0 and pressures > 0 and ticks >= 3, f'{plans} plans, {ops} ops, {regimes} regimes, {pressures} pressures, {ticks} ticks')
JOB = ('--', kernels, 'all', 65536, 6)
EXPLAIN = ('plan', 'job.nf', '--near', '40%', '--unfiltered', '--explain', tensor)
RUN = ('run', 'job.nf', '--near', '40%', '--repetitions', 1)
for command, job in ((EXPLAIN, ()), (RUN, JOB)):
    told.unlink(missing_ok=True)
    done = nearfar(*command, '--policy', './good.so', *job, env={**os.environ, 'TOLD': str(told)})
    calls = [list(map(int, line.split())) for line in told.read_text().splitlines()] if told.exists() else []
    check(done.returncode == 0 and len(calls) == 1 and calls[0][1] != os.getpid(), f'{command[0]}: asked once, and not in the program itself: {calls} {done.stderr[-200:]!r}')
done = nearfar('run', 'job.nf', '--policy', example, '--near', '50%', '--repetitions', 1, *JOB)
check(done.returncode == 0 and ('policy', 'traffic-first') in rows('job.nf', 'SELECT kind, policy FROM live_run'), f'run {done.stderr[-300:] if done.returncode else ""!r}')
refused(nearfar('plan', 'job.nf', '--policy', f'{example}:share=2', '--near', '40%'), USAGE, 'traffic-first', 'share is above 0')

# --- those that are not let in: everywhere, before anything is done ---
(WORK / 'text.so').write_text('not an object\n')
for name, code in ('empty', 'int nothing;'), ('aborts', 'void abort(void); __attribute__((constructor)) static void at_once(void) { abort(); }'):
    subprocess.run(['gcc', '-shared', '-fPIC', '-x', 'c', '-', '-o', WORK / f'{name}.so'], input=code, text=True, check=True)
before = rows('job.nf', 'SELECT count(*) FROM trial')
for name, words in (('old', ('version 1', 'version 2')), ('short', ('short', 'bytes')), ('lacks', ('lacks', 'on_free')), ('hides', ('hides', 'plan')),
                    ('built-in', ('all-near', 'built-in')), ('text', ('text.so',)), ('empty', ('empty.so', 'nf_policy_plugin')), ('aborts', ('aborts.so is refused', 'crashed while it was being loaded (Aborted)')), ('gone', ('gone.so',))):
    for command in (('plan', 'job.nf', '--near', '40%'), REPLAY, ('policies',), ('run', 'job.nf', '--near', '40%', '--', kernels)):
        policy = (f'./{name}.so',) if command[0] == 'policies' else ('--policy', f'./{name}.so')
        at = command.index('--') if '--' in command else len(command)
        result = nearfar(*command[:at], *policy, *command[at:])
        said = [line for line in result.stderr.splitlines() if 'load average' not in line and 'usage' not in line.lower()]
        check(result.returncode == USAGE and all(w in result.stderr for w in (f'./{name}.so', *words)), f'{name} in {command[0]}: {said}')
check(rows('job.nf', 'SELECT count(*) FROM trial') == before, 'and nothing was replayed')

# --- those that err: by name, in one sentence, and everything else goes on ---
ERRS = (('liar', 'nothing migrates'), ('crasher', 'crashed while it was planning (Segmentation fault)'), ('looper', 'still planning after 0.5 s'),
        ('sleeper', 'still planning after 0.5 s'), ('greedy', 'free'), ('quitter', 'exit status 7'), ('positive', 'returns 2'),
        ('forger', 'it answered in '))
for name, words in ERRS:
    limit = '0.5' if 'planning after' in words else '60'
    for command, job in (('plan', 'job.nf', '--near', '40%'), ()), (EXPLAIN, ()), (RUN, JOB):
        result = nearfar(*command, '--policy-limit', limit, '--policy', f'./{name}.so', *job)
        said = [line for line in result.stderr.splitlines() if 'load average' not in line]
        check(result.returncode == FAILED and len(said) == 1 and f'policy {name} ' in said[0] and words in said[0], f'{name} in {command[0]}: {result.returncode} {said}')
names = ','.join(f'./{name}.so' for name, _ in ERRS)
done = nearfar(*REPLAY, '--blocks', '2', '--policy', f'{names},./good.so,interleave', '--policy-limit', '3')
trials = rows('job.nf', 'SELECT policy, status, message FROM trial WHERE replay_id = (SELECT max(id) FROM replay)')
check(done.returncode == FAILED and len(trials) == 22 and '16 of 22 trials failed, the first: ' in done.stderr, f'{len(trials)} trials {done.stderr[-300:]!r}')
for name, words in ERRS:
    mine = [(status, message) for policy, status, message in trials if policy == name]
    check(len(mine) == 2 and all(s == 'failed' and f'policy {name} ' in m and words.replace('0.5', '3') in m for s, m in mine), f'{name} in replay: {mine}')
check({(p, s) for p, s, _ in trials if p not in dict(ERRS)} == {('all-near', 'ok'), ('good', 'ok'), ('interleave', 'ok')}, 'the others were replayed')
traced = [word for name in ('crasher', 'looper', 'quitter', 'good') for word in ('--policy', f'trace:inner=./{name}.so,file={name}.trace')]
done = nearfar(*REPLAY, *traced, '--policy-limit', '1')
trials = dict(rows('job.nf', 'SELECT policy_options, message FROM trial WHERE replay_id = (SELECT max(id) FROM replay) AND policy = \'trace\''))
check(done.returncode == FAILED and len(trials) == 4, f'{trials} {done.stderr[-300:]!r}')
for options, message in trials.items():
    name = options.split('.so')[0].split('/')[-1]
    words = 'still planning after 1 s' if name == 'looper' else dict(ERRS).get(name)
    check(f'policy {name} is refused' in message and words in message if words else not message, f'{options}: {message}')
check('close' in (WORK / 'good.trace').read_text(), 'what is traced is guarded as well, and a good one is traced to its end')
refused(nearfar(*REPLAY, '--policy', 'trace:inner=./gone.so'), USAGE, 'gone.so')
later = ','.join(f'./later-{name}.so' for name in LATER)
done = nearfar(*REPLAY, '--blocks', '2', '--policy', f'{later},./scribbler.so,./good.so,interleave', '--policy-limit', '2')
trials = rows('job.nf', 'SELECT policy, status, message FROM trial WHERE replay_id = (SELECT max(id) FROM replay)')
check(done.returncode == FAILED and len(trials) == 14 and '8 of 14 trials failed' in done.stderr, f'{len(trials)} trials {done.stderr[-300:]!r}')
for name in LATER:
    words = LATER_WORDS[name]('deciding')
    mine = [(status, message) for policy, status, message in trials if policy == f'later-{name}']
    check(len(mine) == 2 and mine[0][0] == 'failed' and f'policy later-{name} is refused' in mine[0][1] and words in mine[0][1],
          f'{name} keeps the rules until its trial: {mine}')
    told = rows('job.nf', f"SELECT why FROM prediction WHERE replay_id = (SELECT max(id) FROM replay) AND policy = 'later-{name}'")
    check(len(told) == 1 and f'policy later-{name} ' in told[0][0], f'and is not predicted either: {told}')
mine = {message for policy, status, message in trials if policy == 'scribbler' and status == 'failed'}
check(len(mine) == 1 and all('policy scribbler is refused: it wrote over what the trial had measured' in message for message in mine), f'what cannot have been measured is not kept: {mine}')
check({(p, s) for p, s, _ in trials if not p.startswith('later') and p != 'scribbler'} == {('all-near', 'ok'), ('good', 'ok'), ('interleave', 'ok')}, 'the others were replayed')

# --- those that keep the rules the first time that they are asked: plan and run ask once, and where they err is known by name ---
for name, words in LATER_WORDS.items():
    for command, job in (EXPLAIN, ()), (RUN, JOB):
        (WORK / f'later-{name}.mark').unlink(missing_ok=True)
        first, second = (nearfar(*command, '--policy-limit', 2, '--policy', f'./later-{name}.so', *job) for _ in range(2))
        said = [line for line in second.stderr.splitlines() if 'load average' not in line]
        check(first.returncode == 0, f'{name} in {command[0]}, asked for the first time: {first.returncode} {first.stderr[-200:]!r}')
        check(second.returncode == FAILED and len(said) == 1 and f'policy later-{name} is refused' in said[0] and words('planning') in said[0],
              f'and for the second time: {second.returncode} {said}')
ran = rows('job.nf', "SELECT policy, count(*) FROM live_run WHERE policy LIKE 'later-%' GROUP BY policy ORDER BY policy")
check(ran == [(f'later-{name}', 1) for name in sorted(LATER)], f'whose runs are those of the first time: {ran}')
check(whole('job.nf') and rows('job.nf', 'SELECT status FROM replay') and nearfar('analyze', 'job.nf', '-o', 'report').returncode == 0,
      'the study is whole, and reported')
for limit in '0', '-1', 'nan', '1e9':
    refused(nearfar('plan', 'job.nf', '--policy-limit', limit), USAGE, '--policy-limit')
finish()
