"""Under the page-fault source a job is what it was: its system calls, its forks and threads, its final parameters. Part
slow: every way to train, each with every way to look. usage: faults.py NEARFAR SOURCE [PART...]"""
import os
import subprocess
import sys

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
