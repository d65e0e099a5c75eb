"""Under the page-fault source a job is what it was: its system calls, its forks and threads, its final parameters. Part
slow: every way to train, each with every way to look. usage: faults.py NEARFAR SOURCE [PART...]"""
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict

from system import SOURCE, WORK, check, finish, job, nearfar, rows, skip, torch_python

JOBS = SOURCE / 'tests/system/fault_jobs.py'


def capture(study, command, source='page-fault', passes='bare,access', **options):
    """Both passes end well, nothing is lost, and the parameters are the same."""
    done = nearfar('capture', '-q', '-o', study, '--passes', passes, '--source', source, '--', *command, **options)
    if not check(done.returncode == 0, f'{study}: capture ends well: {done.stderr[-400:] if done.returncode else ""}'):
        return None
    hashes = {h for h, in rows(study, 'SELECT parameter_sha256 FROM pass')}
    check(len(hashes) == 1 and len(min(hashes)) == 64, f'{study}: the same parameters in both passes {sorted(hashes)}')
    seen = dict(zip(('attributed', 'unattributed', 'between', 'lost', 'undecoded', 'other', 'kernel'), rows(
        study, 'SELECT attributed, unattributed, between_ops, lost, undecoded, other_process, notes FROM observation')[0]))
    check(seen['lost'] == 0 and seen['undecoded'] == 0 and seen['attributed'] > 10000, f'{study}: nothing lost: {seen}')
    return seen


def this_job(*arguments):
    return [torch_python(), str(JOBS), *map(str, arguments)]


def system_calls():
    capture('system-calls.nf', this_job('system_calls'))
    # A write of the kernel into a tensor, and a read: of whole tensors, seen as such where tracepoints tell them apart.
    seen = capture('kernel.nf', this_job('kernel_touches', WORK / 'k'))
    if seen and 'not seen' not in seen['kernel'] and rows('kernel.nf', 'SELECT rw FROM observation')[0][0] == 'observed':
        for how in 'read', 'write':
            found = nearfar('sql', '--csv', 'kernel.nf', 'SELECT count(*) FROM (SELECT sum(s.bytes) AS n FROM sightings s JOIN '
                            'lifetime l ON l.class_id = s.class_id AND l.number = s.tensor JOIN tensor t ON t.id = l.tensor_id '
                            f"WHERE t.bytes = 262144 AND s.between_ops AND s.rw = '{how}' GROUP BY s.class_id, s.op, s.tensor) "
                            'WHERE n = 262144')
            check(int(found.stdout.split()[1]) >= 1, f'the kernel\'s {how}s of a tensor are seen: {found.stdout.split()}')


def forks():
    verdict = WORK / 'verdict'
    capture('forks.nf', this_job('forks', verdict))
    check(verdict.read_text() == 'right', 'a child that outlives its parent keeps its own values')


def workers():
    capture('workers.nf', this_job('workers'))


def launcher():
    if not capture('launcher.nf', this_job('launcher')):
        return
    declared, seen = (nearfar('sql', '--csv', 'launcher.nf', f'SELECT sum(v.bytes) FROM {table} v JOIN lifetime l ON l.class_id = '
                              'v.class_id AND l.number = v.tensor JOIN tensor t ON t.id = l.tensor_id WHERE t.bytes >= 65536').stdout
                      for table in ('visits', 'sightings'))
    declared, seen = (float(text.split()[1]) for text in (declared, seen))
    check(0.8 < seen / declared < 1.2, f'a child that trains is watched: {seen / declared:.3f} of what is declared')


def limits():
    """ulimit -v: enough for the job means enough for the capture, and a fork has its copy or refuses."""
    for megabytes in 1500, 3000:
        command = ['prlimit', f'--as={megabytes << 20}', *this_job('limited')]
        if subprocess.run(command, capture_output=True).returncode:
            continue
        capture(f'limit-{megabytes}.nf', command)
        check(rows(f'limit-{megabytes}.nf', 'SELECT arena_bytes FROM observation')[0][0] < megabytes << 19,
              'the arena leaves half of the address space')


def as_anyone():
    """An ordinary user: no tracepoints, no faults of the kernel's, a small ring."""
    if os.geteuid() or not os.path.exists('/usr/bin/setpriv'):
        skip('needs root, to become another user')
    folder = WORK / 'anyone'
    folder.mkdir()
    os.chmod(WORK, 0o755)
    os.chown(folder, 65534, 65534)
    level = int(open('/proc/sys/kernel/perf_event_paranoid', encoding='utf-8').read())
    for lock in 'unlimited', '64':
        study = f'anyone/{lock}.nf'
        shell = f'ulimit -l {lock}; exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all "$@"'
        command = ['bash', '-c', shell, 'x', os.path.abspath(sys.argv[1]), 'capture', '-q', '-o', str(WORK / study), '--passes',
                   'bare,access', '--source', 'page-fault', '--', *job(steps=6)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env={**os.environ, 'HOME': str(folder)})
        if level > 2:
            check(done.returncode == 3 and 'perf_event_paranoid' in done.stderr, f'refused at level {level}: {done.stderr[-300:]}')
            continue
        if not check(done.returncode == 0, f'captured by anyone, ulimit -l {lock}: {done.stderr[-300:] if done.returncode else ""}'):
            continue
        check(len({h for h, in rows(study, 'SELECT parameter_sha256 FROM pass')}) == 1, 'the same parameters')
        rw, notes, samples, lost = rows(study, 'SELECT rw, notes, samples, lost FROM observation')[0]
        check(rw == 'inferred' and (level <= 1 or 'not seen' in notes), f'what it cannot see is noted: {notes!r}')
        check(samples > 1000, f'{samples} faults, {lost} lost and counted')


def steady(study):
    """The class that most steps have."""
    return rows(study, 'SELECT class_id FROM step s JOIN pass p ON p.id = s.pass_id WHERE p.kind = 3 GROUP BY class_id ORDER BY '
                       'count(*) DESC LIMIT 1')[0][0]


def numbers(study, query):
    return [tuple(map(int, line.split(','))) for line in nearfar('sql', '--csv', study, query).stdout.splitlines()[1:]]


def pages(study):
    """{(op, tensor): pages of 4 KiB} of the steady class. A tensor is named by how it is used, so that it has one name in
    all studies of the job."""
    class_id, uses, out = steady(study), defaultdict(list), defaultdict(set)
    for op, tensor, offset, size, write in numbers(study, f"SELECT op, tensor, offset, bytes, rw <> 'read' FROM visits({class_id})"):
        uses[tensor].append((op, offset, size, write))
    for op, tensor, offset, size in numbers(study, f'SELECT op, tensor, offset, bytes FROM sightings(1, {class_id})'):
        out[op, tuple(uses[tensor])] |= set(range(offset // 4096, -(-(offset + size) // 4096)))
    return out, Counter(tuple(used) for used in uses.values())


def places(study):
    """The first page of each tensor, named as in pages()."""
    class_id, uses = steady(study), defaultdict(list)
    for op, tensor, offset, size, write in numbers(study, f"SELECT op, tensor, offset, bytes, rw <> 'read' FROM visits({class_id})"):
        uses[tensor].append((op, offset, size, write))
    return {tuple(uses[tensor]): address // 4096 for tensor, address in
            numbers(study, f'SELECT number, address FROM lifetime WHERE class_id = {class_id}')}


def kinds(study):
    by_kind = Counter()
    for row in json.loads(nearfar('show', study, 'audit', '--json').stdout):
        by_kind[row['kind']] += row['bytes']
    return by_kind


def looks():
    """Coarser looks against the finest, on the same job: huge pages cover what small ones show, rarer boundaries show a part,
    and of what they miss an earlier op is said to have touched it."""
    gpt = [torch_python(), str(SOURCE / 'examples/finetune.py'), '--layers', '2', '--width', '128', '--seq', '64', '--batch', '4',
           '--heads', '4', '--deterministic', '--steps', '4']
    for name, source in (('fine', 'page-fault'), ('rare', 'page-fault:every=16'), ('huge', 'page-fault:page=2MiB,min=65536')):
        done = nearfar('capture', '-q', '-o', f'{name}.nf', '--passes', 'access', '--source', source, '--', *gpt)
        if name == 'huge' and done.returncode == 3:
            print(f'skipped {source}: {done.stderr.strip()}')
            continue
        check(done.returncode == 0, f'{source}: {done.stderr[-300:] if done.returncode else ""}')
    studies = [name for name in ('fine', 'rare', 'huge') if os.path.exists(WORK / f'{name}.nf') and
               rows(f'{name}.nf', 'SELECT count(*) FROM sighting')[0][0]]
    seen, used = ({name: pages(f'{name}.nf')[i] for name in studies} for i in (0, 1))
    check(all(u == used['fine'] for u in used.values()), 'the same tensors under every look')
    total = {name: sum(map(len, found.values())) for name, found in seen.items()}
    fine, by_kind = seen['fine'], kinds('fine.nf')
    declared = sum(by_kind[k] for k in ('agree', 'part', 'untouched', 'seen earlier'))
    check(set(by_kind) <= {'agree', 'part', 'gathered rows', 'scratch', 'between ops', 'untouched'},
          f'the audit of a tiny GPT knows only what is explained: {dict(by_kind)}')
    check(by_kind['agree'] >= 0.99 * declared, f"{by_kind['agree'] / declared:.4f} of what is declared was touched")

    rare, rare_kinds = seen['rare'], kinds('rare.nf')
    # Rows of a gather are data: each capture keeps the first step of the class, which is the same one.
    extra = {where for where, p in rare.items() if not p <= fine.get(where, set())}
    check(not extra, f"every=16 shows a part: {total['rare']} of {total['fine']} pages; more at ops {sorted(op for op, _ in extra)[:9]}")
    check(0 < total['rare'] < total['fine'], 'and not all')
    mapped, missing = set(), Counter()
    place = places('rare.nf')
    for (op, used), wanted in sorted(fine.items()):
        if op // 16 != min((o for o, _ in mapped), default=op) // 16:
            mapped.clear()
        mine = {(op // 16 * 16, place[used] + page) for page in wanted}
        missing[op] += len({page for _, page in mine - mapped} - {place[used] + p for p in rare.get((op, used), ())})
        mapped |= {(op // 16 * 16, place[used] + p) for p in rare.get((op, used), ())}
    check(not +missing, f'what it misses was touched since the last boundary: {+missing}')
    check(rare_kinds['untouched'] + rare_kinds['part'] <= by_kind['untouched'] + by_kind['part'] and rare_kinds['seen earlier'] > 0,
          f'and the audit says so: {dict(rare_kinds)}')
    check(rare_kinds['agree'] + rare_kinds['seen earlier'] >= by_kind['agree'], 'nothing that agreed is left over')

    if 'huge' in seen:
        left = {where for where, p in fine.items() if not p <= seen['huge'].get(where, set())}
        check(not left, f"huge pages cover the small: {total['huge']} and {total['fine']} pages; not at ops {sorted(op for op, _ in left)[:9]}")


def refusals():
    for source, code, word in (('page-fault:page=3', (1, 2), 'page is 4KiB or 2MiB'), ('page-fault:min=1', (1, 2), 'min'),
                               ('page-fault:by=magic', (1, 2), 'by is'), ('page-fault:evry=2', (2,), 'evry')):
        done = nearfar('capture', '-q', '-o', 'refused.nf', '--source', source, '--', '/bin/true')
        check(done.returncode in code and word in done.stderr, f'{source}: exit {done.returncode}: {done.stderr.strip()}')


def slow():
    """All ways to train, and all ways to look."""
    big = [torch_python(), str(SOURCE / 'examples/finetune.py'), '--layers', '2', '--width', '128', '--seq', '64', '--batch', '4',
           '--heads', '4', '--deterministic', '--steps', '3']
    ways = {'full': [], 'lora': ['--lora'], 'reentrant': ['--checkpoint', 'reentrant'],
            'nonreentrant': ['--checkpoint', 'nonreentrant'], 'microbatches': ['--microbatches', '2']}
    looks = ['page-fault', 'page-fault:every=16', 'page-fault:page=2MiB,min=65536', 'page-fault:by=software',
             'page-fault:by=tracepoint']
    for way, arguments in ways.items():
        sums = set()
        for look in looks:
            study = f'{way}-{len(sums)}-{looks.index(look)}.nf'
            done = nearfar('capture', '-q', '-o', study, '--passes', 'bare,access', '--source', look, '--', *big, *arguments)
            if done.returncode == 3:
                print(f'skipped {look}: {done.stderr.strip()}')
                continue
            check(done.returncode == 0, f'{way}, {look}: {done.stderr[-300:] if done.returncode else ""}')
            sums |= {h for h, in rows(study, 'SELECT parameter_sha256 FROM pass')}
            samples, lost = rows(study, 'SELECT samples, lost FROM observation')[0]
            check(samples > 100 and lost == 0, f'{way}, {look}: {samples} faults, {lost} lost')
        check(len(sums) == 1 and len(min(sums)) == 64, f'{way}: parameters bit-equal under every look: {sorted(sums)}')


for part in sys.argv[3:] or ('refusals', 'system_calls', 'launcher'):
    globals()[part]()
finish()
