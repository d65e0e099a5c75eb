"""Source watchpoint on jobs whose every access is known beforehand, and on a real PyTorch job: counts, budget, survival."""
import json
import resource
import subprocess
import sys

from system import NEARFAR, SOURCE, WORK, check, finish, job, nearfar, rows, skip

doctor = {r['name']: r for r in json.loads(nearfar('doctor', '--json').stdout) if r['kind'] == 'capture source'}
if doctor['watchpoint']['usable'] != 'yes':
    refused = nearfar('capture', '-o', 'x.nf', '--source', 'watchpoint', '--', 'true')
    check(refused.returncode == 3 and 'watchpoint' in refused.stderr, f'a machine that cannot says so: {refused.stderr!r}')
    if not check(doctor['watchpoint']['about'], 'doctor says why'):
        finish()
    skip(doctor['watchpoint']['about'])

# --- options ---

for options, word in (('words=3', 'words'), ('rate=0.01', 'rate'), ('rate=nan', 'rate'), ('budget=80%', 'budget'),
                      ('budget=x', 'budget'), ('draw=luck', 'draw'), ('nothing=1', 'nothing')):
    wrong = nearfar('capture', '-o', 'x.nf', '--source', f'watchpoint:{options}', '--', 'true')
    check(wrong.returncode == 2 and word in wrong.stderr, f'{options} is refused: {wrong.stderr.strip()[-120:]!r}')

# --- closed forms: one access per element and access of it in the source, two elements to a word ---

kernels = WORK / 'kernels'
subprocess.run(['gcc', '-O1', '-fno-tree-vectorize', '-I', SOURCE / 'capture/annotate', SOURCE / 'examples/kernels.c', '-o',
                kernels, '-ldl', '-lpthread'], check=True)


def capture(study, source, command, **options):
    done = nearfar('capture', '-q', '-o', study, '--passes', 'access', *[a for s in source for a in ('--source', s)], '--',
                   *command, **options)
    check(done.returncode == 0, f'{study}: the job ends well {done.stderr[-300:] if done.returncode else ""!r}')
    return done


def watched(study, source, command):
    """A job may be over before a busy machine has given the tool a CPU: then nothing was watched, and it is run again."""
    for _ in range(6):
        (WORK / study).unlink(missing_ok=True)
        done = capture(study, source, command)
        if rows(study, 'SELECT sum(hits) FROM watch')[0][0]:
            break
    return done


def whole_steps(study):
    """(name, reads, writes) -> in how many steps a watch saw from the beginning to the end."""
    return {(name, reads, writes): n for name, reads, writes, n in rows(study, '''
        SELECT n.text, p.reads, p.writes, count(*) FROM watch_part p
        JOIN lifetime l ON l.class_id = p.class_id AND l.number = p.tensor JOIN tensor t ON t.id = l.tensor_id
        JOIN name n ON n.id = t.name_id
        WHERE p.from_ns = p.step_from_ns AND p.to_ns = p.step_to_ns GROUP BY 1, 2, 3''')}


def check_exact(study, want):
    seen = whole_steps(study)
    for name, (reads, writes) in want.items():
        right = seen.get((name, reads, writes), 0)
        wrong = {k: n for k, n in seen.items() if k[0] == name and k[1:] != (reads, writes)}
        check(not wrong, f'{study}: {name} has {reads} reads and {writes} writes of a word in each of {right} whole steps; '
              f'otherwise: {wrong}')
    return sum(seen.get((name, *counts), 0) for name, counts in want.items() if any(counts))


# SIZE 4^k, m = sqrt(SIZE), tiles of 16: a word of a is read 2 m / 16 times, ...
FORMS = {
    'copy': (65536, 60000, {'a': (2, 0), 'b': (0, 2), 'c': (0, 0), 'table': (0, 0)}),
    'triad': (65536, 60000, {'a': (2, 0), 'b': (2, 0), 'c': (0, 2)}),
    'matmul': (1024, 60000, {'a': (4, 0), 'b': (64, 0), 'c': (64, 64)}),
}
exact = 0
for kernel, (size, steps, want) in FORMS.items():
    watched(f'{kernel}.nf', ['watchpoint:rate=10,budget=20%'], [kernels, kernel, size, steps])
    exact += check_exact(f'{kernel}.nf', want)
    observed = rows(f'{kernel}.nf', 'SELECT evidence, validated, rw, resolution_bytes, lost, undecoded, samples, attributed + '
                    'unattributed + out_of_arena + other_process + outside_steps FROM observation')[0]
    check(observed[:6] == (4, 1, 'observed', 8, 0, 0), f'{kernel}: reads and writes observed, nothing lost: {observed}')
    check(observed[6] == observed[7], f'{kernel}: every hit has its place: {observed[6:]}')
    hits, stored, attributed = rows(f'{kernel}.nf', 'SELECT (SELECT sum(hits) FROM watch), (SELECT sum(samples) FROM '
                                    'sample_chunk), attributed FROM observation')[0]
    check(0 < (hits or 0) <= observed[6] and stored == attributed, f'{kernel}: {hits} hits of watches among {observed[6]} samples; '
          f'{stored} of {attributed} stored')
    check(rows(f'{kernel}.nf', 'SELECT count(*) FROM watch a JOIN watch b ON a.address = b.address AND a.number < b.number '
               'AND a.from_ns < b.to_ns AND b.from_ns < a.to_ns')[0][0] == 0, f'{kernel}: no word is watched twice at a time')
check(exact > 300, f'{exact} whole steps of words that are accessed, every one of them exact')

# --- the estimate of a steady kernel ---

view = {r['name']: r for r in json.loads(nearfar('show', 'copy.nf', 'watches', '--json').stdout)}
for name, reads, writes in ('a', 2, 0), ('b', 0, 2):
    if not check(name in view, f'show watches knows {name}'):
        continue
    v = view[name]
    for what, truth in ('reads', reads), ('writes', writes):
        figure, low, high = v[f'{what}_per_step'], v[f'{what}_low'], v[f'{what}_high']
        check(figure is not None and abs(figure - truth) <= 0.4,
              f'{name}: {figure} {what} a step and word, [{low}, {high}], for {truth}')

# --- threads: one that lives on is watched as well; where one begins a watch ends; one that would die is not risked ---

threads = WORK / 'threads'
subprocess.run(['gcc', '-O1', '-I', SOURCE / 'capture/annotate', SOURCE / 'tests/system/watched-threads.c', '-o', threads,
                '-ldl', '-lpthread'], check=True)
watched('pool.nf', ['watchpoint:rate=20,budget=30%'], [threads, 'pool', 4000])
in_pool = check_exact('pool.nf', {'to': (1, 1)})
check(in_pool > 20 and rows('pool.nf', 'SELECT min(threads), max(threads) FROM watch WHERE ended < 3') == [(2, 2)],
      f'{in_pool} exact steps of two threads')
tids = json.loads(nearfar('sql', 'pool.nf', 'SELECT rw, count(DISTINCT tid) AS n, min(tid) AS tid FROM samples(1) GROUP BY '
                          'rw', '--json').stdout)
check([t['n'] for t in tids] == [1, 1] and tids[0]['tid'] != tids[1]['tid'], f'one thread reads, the other writes: {tids}')
watched('fresh.nf', ['watchpoint:rate=20,budget=30%'], [threads, 'fresh', 100000])
check(check_exact('fresh.nf', {'to': (1, 1)}) > 20, 'steps are exact where threads come and go')
check(rows('fresh.nf', 'SELECT count(*) FROM watch_part WHERE step % 1024 = 1023 AND from_ns = step_from_ns AND to_ns = step_to_ns')
      == [(0,)], 'no step in which a thread begins is seen whole')
check(rows('fresh.nf', 'SELECT count(*) FROM watch WHERE ended = 3')[0][0] > 0, 'watches end where a thread begins')
blocked = capture('blocked.nf', ['watchpoint:rate=20,budget=30%'], [threads, 'blocked', 8000])
check(rows('blocked.nf', 'SELECT count(*) FROM watch')[0][0] == 0, 'a thread that blocks SIGTRAP: nothing is watched')

# --- the budget ---


def cpu_s(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([str(c) for c in command], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def access_cpu(study):
    return rows(study, 'SELECT cpu_ns FROM pass WHERE kind = 3')[0][0]


# Every word is hit all the time: the budget is all that holds the source back.
busy = [kernels, 'matmul', 4096, 9000]
pairs = []
for i in range(5):
    watched(f'busy{i}.nf', ['watchpoint'], busy)
    capture(f'calm{i}.nf', ['framework'], busy)
    spent = rows(f'busy{i}.nf', 'SELECT sum(hits * hit_ns) FROM watch')[0][0]
    pairs.append((access_cpu(f'busy{i}.nf') / access_cpu(f'calm{i}.nf') - 1, spent / access_cpu(f'busy{i}.nf')))
pairs.sort()
print(f'        watched to unwatched, CPU time: {[f"{p[0]:+.3f}" for p in pairs]}; by its own account {pairs[2][1]:.3f}')
check(max(p[1] for p in pairs) <= 0.055, f'by its own account within the budget of 5 %: {max(p[1] for p in pairs):.3f}')
# Timing on a shared machine: what the test can promise is that it is no multiple of the budget.
check(pairs[0][0] <= 0.10, f'measured, the least of five: {pairs[0][0]:+.3f}')

# --- a real job: the same parameters, nothing lost, alive; beside page faults too ---

sha = set()
for i, source in enumerate((['framework'], ['watchpoint:rate=50'], ['watchpoint:rate=100,budget=20%,draw=tensors,seed=7'],
                            ['watchpoint:rate=50', 'page-fault'])):
    done = capture(f'torch{i}.nf', source, job(steps=6))
    status = rows(f'torch{i}.nf', 'SELECT status, exit_status, parameter_sha256, lost_events FROM pass')[0]
    sha.add(status[2])
    check(status[:2] == ('complete', 0) and status[3] == 0, f'torch under {source}: {status[:2]}, {status[3]} lost')
    if i:
        watches, hits, lost = rows(f'torch{i}.nf', 'SELECT count(*), sum(hits), (SELECT sum(lost + undecoded) FROM '
                                   'observation) FROM watch')[0]
        check(watches > 0 and lost == 0, f'torch under {source}: {watches} watches, {hits} hits, {lost} lost')
check(len(sha) == 1 and 'unknown' not in sha, f'parameters equal, bit for bit: {[s[:12] for s in sha]}')
combined = dict(rows('torch3.nf', 'SELECT source, samples FROM observation'))
check(set(combined) == {'watchpoint', 'page-fault'} and combined['page-fault'] > 0, f'both sources at work: {combined}')
arena = nearfar('show', 'torch3.nf', 'watches', '--json')
check(arena.returncode == 0 and json.loads(arena.stdout) is not None, 'show watches of both')

finish()
