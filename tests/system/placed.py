"""`nearfar run --policy`: a real job placed by a plan computes bit for bit what it computes alone; every block of its steady steps
follows the plan; near holds no more than it may; other jobs are refused."""
import os
import re
import shutil
import subprocess

from system import NEARFAR, SOURCE, WORK, check, finish, job, nearfar, refused, rows, whole

FAILED, USAGE, JOB = 1, 2, 4
COLUMNS = 'SELECT kind, policy, placed, unplaced, near_peak_bytes, near_bytes, parameter_sha256, evidence FROM live_run ORDER BY id'

kernels = WORK / 'kernels'
subprocess.run(['gcc', '-O1', '-I', SOURCE / 'capture/annotate', SOURCE / 'examples/kernels.c', '-o', kernels, '-ldl', '-lpthread'],
               check=True)


def placed(study, policy, near, command, runs=1):
    before = len(rows(study, COLUMNS))
    result = nearfar('run', study, '--policy', policy, '--near', near, '--repetitions', runs, '--', *command)
    return result, rows(study, COLUMNS)[before:]


# --- a C job, and one of the operators a training job has ---
done = nearfar('capture', '-q', '-o', 'kernels.nf', '--', kernels, 'all', 65536, 6)
check(done.returncode == 0, f'kernels: captured {done.stderr[-200:] if done.returncode else ""!r}')
result, runs = placed('kernels.nf', 'near-first', '50%', [kernels, 'all', 65536, 6])
check(result.returncode == 0 and {r[0] for r in runs} == {'alone', 'policy'}, f'kernels: {result.stderr[-300:]!r}')

torch = job(steps=4)
done = nearfar('capture', '-q', '-o', 'gpt.nf', '--', *torch)
check(done.returncode == 0, f'gpt: captured {done.stderr[-200:] if done.returncode else ""!r}')
for policy, near in (('near-first', '20%'), ('first-touch', '30%'), ('interleave', '20%'), ('lifetime-density', '20%'),
                     ('all-near', '100%'), ('all-far', '20%')):
    result, runs = placed('gpt.nf', policy, near, torch)
    alone, under = ([r for r in runs if r[0] == kind] for kind in ('alone', 'policy'))
    if not check(result.returncode == 0 and len(alone) == len(under) == 1, f'{policy}: {result.stderr[-300:]!r}'):
        continue
    _, name, n, unknown, peak, limit, parameters, evidence = under[0]
    check(name == policy and n > 100 and unknown == 0, f'{policy}: {n} blocks by plan, {unknown} not')
    check(peak <= limit and (peak > limit / 2) == (policy != 'all-far'), f'{policy}: near holds {peak} of {limit} bytes')
    check(len(parameters) == 64 and parameters == alone[0][6], f'{policy}: parameters {parameters[:12]}, alone {alone[0][6][:12]}')
    check('bit for bit' in result.stderr, f'{policy}: and says so')

# --- policies that move: every planned move is asked for, and the job computes what it computes alone. A torch job says no operators:
# its blocks tell where it is; the job in C says them ---
MOVED = ('SELECT kind, moves, due_moves, absent_moves, boundaries, followed_steps, deviation, parameter_sha256, near_peak_bytes, near_bytes, '
         'early_moves, early_ops, early_ops_max, early_ns, early_ns_max FROM live_run ORDER BY id')


def moved(study, policy, near, command):
    before = len(rows(study, MOVED))
    result = nearfar('run', study, '--policy', policy, '--near', near, '--repetitions', 1, '--', *command)
    return result, {r[0]: r[1:] for r in rows(study, MOVED)[before:]}


# The last moves by a thread beside the operators.
beside = NEARFAR.parent / 'tests/conformance/policy-migrates-beside.so'
for policy, must_move in (('lru', True), ('gap-greedy', False), ('regime-plan', False), (beside, True)):
    result, runs = moved('gpt.nf', policy, '30%', torch)
    if not check(result.returncode == 0 and set(runs) == {'alone', 'policy'}, f'{policy}: {result.stderr[-300:]!r}'):
        continue
    asked, due, absent, said, steps, deviation, parameters, peak, limit, early, median_ops, most_ops, median_ns, most_ns = runs['policy']
    check(steps >= 2 and not deviation and absent == 0 and asked == due and (asked > 0 or not must_move),
          f'{policy}: {asked} of {due} moves asked for in {steps} steps, {absent} without storage, {deviation!r}')
    check(said == 0, f'{policy}: {said} operators said')
    # Most operators allocate what they return; those of the optimizer work in place.
    check(median_ops == median_ns == 0 and (early > 0) == (most_ops > 0) == (most_ns > 0) and 0 <= early * steps < due / 2 + 1,
          f'{policy}: {early} moves before their operator in a step, at most {most_ops} operators and {most_ns / 1e3:.0f} us')
    check('by blocks that come and go' in result.stderr or not due, f'{policy}: and says so')
    check(parameters == runs['alone'][6] and len(parameters) == 64, f'{policy}: parameters {parameters[:12]}')
    check(peak <= limit, f'{policy}: near holds {peak} of {limit} bytes')

# It leaves its parameters behind, as a job in C has no other way to say them.
source = (SOURCE / 'examples/kernels.c').read_text()
at = source.index('    printf("checksum')
(WORK / 'train.c').write_text(source[:at] + '    FILE *left = fopen(getenv("LEFT"), "ab");\n    fwrite(b.data, sizeof(float), n, left);\n    fclose(left);\n' +
                              source[at:])
os.environ['LEFT'] = str(WORK / 'left')
subprocess.run(['gcc', '-O1', '-I', SOURCE / 'capture/annotate', WORK / 'train.c', '-o', WORK / 'train', '-ldl', '-lpthread'], check=True)
train = [WORK / 'train', 'train', 65536, 6]
done = nearfar('capture', '-q', '-o', 'train.nf', '--', *train)
check(done.returncode == 0, f'train: captured {done.stderr[-200:] if done.returncode else ""!r}')
(WORK / 'left').unlink()
result, runs = moved('train.nf', 'lru', '50%', train)
left = (WORK / 'left').read_bytes()
check(len(left) == 2 * 65536 * 4 and left == 2 * left[:65536 * 4], 'train: the same parameters alone and under the plan')
asked, due, absent, said, steps, deviation, *_, early, _, _, _, most_ns = runs.get('policy', (0,) * 14)
ops = rows('train.nf', 'SELECT ops FROM pass WHERE kind = 3')[0][0]
check(said == ops > 0 and early == most_ns == 0, f'train: {said} operators said, {ops} captured, {early} moves early')
check(result.returncode == 0 and asked == due > 0 and not absent and steps >= 4 and not deviation,
      f'train: {asked} of {due} moves in {steps} steps, {deviation!r} {result.stderr[-200:] if result.returncode else ""}')

# --- a job that goes another way is left alone from there on, and its record says where ---
other = WORK / 'other.c'
begins = source.index('begin("', source.index('void step_train'))
name = source[begins + 7:source.index('"', begins + 7)]
other.write_text(source[:begins] + 'begin("another::op' + source[begins + 7 + len(name):])
subprocess.run(['gcc', '-O1', '-I', SOURCE / 'capture/annotate', other, '-o', WORK / 'other', '-ldl', '-lpthread'], check=True)
result, runs = moved('train.nf', 'lru', '50%', [WORK / 'other', *train[1:]])
deviation = runs.get('policy', ('',) * 6)[5]
check(result.returncode == 0 and name in deviation and 'the capture does not know' in deviation and deviation in result.stderr,
      f'another operator: {deviation!r}')
check(runs['policy'][4] == 0, 'and no step was followed')

# --- so is one whose blocks come otherwise ---
more = WORK / 'more.py'
text = (SOURCE / 'examples/finetune.py').read_text()
at = text.index('\n', text.index('.backward()'))
indent = re.search(r'\n( *)[^\n]*\.backward\(\)', text)[1]
more.write_text(text[:at] + f'\n{indent}kept = [torch.ones(1025) for _ in range(40 if step == 3 else 0)]' + text[at:])
result, runs = moved('gpt.nf', 'lru', '30%', [torch[0], more, *torch[2:]])
deviation = runs.get('policy', ('',) * 6)[5]
check('allocations and frees had come otherwise' in deviation and deviation in result.stderr and runs['policy'][4] == 1,
      f'forty blocks more: {deviation!r} {result.stderr[-300:] if not deviation else ""}')
due = runs.get('policy', (0,) * 2)[1]
check(0 < due < rows('gpt.nf', "SELECT max(due_moves) FROM live_run WHERE policy = 'lru'")[0][0], f'forty blocks more: {due} moves until then')

check(whole('gpt.nf'), 'the study is whole')

# --- what is not the job that was captured, or cannot be told to one ---
refused(nearfar('run', 'gpt.nf', '--policy', 'hemem', '--near', '20%', '--', *torch), USAGE, 'depends on')
refused(nearfar('run', 'gpt.nf', '--policy', 'recompute', '--near', '20%', '--', *torch), USAGE, 'operators again')
refused(nearfar('run', 'gpt.nf', '--policy', 'nothing', '--near', '20%', '--', *torch), USAGE, 'nothing')
refused(nearfar('run', 'gpt.nf', '--policy', 'near-first', '--near', '20%,40%', '--', *torch), USAGE, '--near')
refused(nearfar('run', 'gpt.nf', '--near', '20%', '--', *torch), USAGE, '--policy')
refused(nearfar('run', 'gpt.nf', '--policy', 'near-first', '--bind', 'near', '--', *torch), USAGE, 'not both')
refused(nearfar('run', 'gpt.nf', '--policy', 'all-near', '--near', '20%', '--', *torch), FAILED, 'all-near')
before = len(rows('gpt.nf', COLUMNS))
refused(nearfar('run', 'gpt.nf', '--policy', 'near-first', '--near', '20%', '--repetitions', 1, '--', *job('--batch', '3', steps=4)), FAILED,
        'not the job that was captured')
refused(nearfar('run', 'gpt.nf', '--policy', 'near-first', '--near', '20%', '--repetitions', 1, '--', *job(steps=1)), FAILED, 'steady')
refused(nearfar('run', 'gpt.nf', '--policy', 'near-first', '--near', '20%', '--repetitions', 1, '--', 'sh', '-c', 'exit 3'), JOB)
check(not [r for r in rows('gpt.nf', COLUMNS)[before:] if r[0] == 'policy'], 'nothing of those is stored as a placed run')

# --- a job that goes wrong under the plan is found out by what it computed ---
wrong = WORK / 'wrong.py'
shutil.copy(SOURCE / 'examples/finetune.py', wrong)
text = wrong.read_text()
wrong.write_text(text.replace('import torch\n', 'import os\nimport torch\n', 1).replace(
    'random.seed(', 'random.seed((1 if "NEARFAR_PLAN" in os.environ else 0) + ').replace(
    'manual_seed(', 'manual_seed((1 if "NEARFAR_PLAN" in os.environ else 0) + '))
check(wrong.read_text().count('NEARFAR_PLAN') >= 1, 'a job that starts from other numbers under a plan')
first = set()
for seed in range(1, 9):
    done = nearfar('run', 'gpt.nf', '--policy', 'near-first', '--near', '20%', '--repetitions', 1, '--seed', seed, '--', torch[0], wrong, *torch[2:])
    refused(done, FAILED, 'parameters differ')
    first.add(re.search('run 1, (alone|policy)', done.stderr)[1])
    if len(first) == 2:
        break
check(first == {'alone', 'policy'}, f'whichever of the two ran first: {sorted(first)}')

finish()
