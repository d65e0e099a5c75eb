#!/usr/bin/env python3
"""The page-fault source against trapping with SIGSEGV, page for page: the same jobs under both, and where they are known
beforehand, against the pages each op touches; and against the exact source, rounded out to pages.

usage: test-oracle.py NEARFAR ORACLE SOURCE TSAN-RUNTIME [TEST...]"""
import csv
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict

NEARFAR, ORACLE, SOURCE, TSAN = map(os.path.abspath, sys.argv[1:5])
HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = tempfile.mkdtemp(prefix='nearfar-oracle-')
PAGE = 4096
HOW = {'read': 'r', 'write': 'w', 'update': 'rw'}
os.environ.update(OPENBLAS_NUM_THREADS='1', OMP_NUM_THREADS='1')
TSAN_FLAGS = ['-fsanitize=thread', '-fno-builtin-memcpy', '-fno-builtin-memmove', '-fno-builtin-memset']


def same(found, wanted, what):
    assert found == wanted, f'{what}: expected {wanted!r}, found {found!r}'


def build(source, *flags, tsan=False):
    program = os.path.join(FOLDER, f'p{len(os.listdir(FOLDER))}')
    source = os.path.join(SOURCE, source)
    include = '-I' + os.path.join(SOURCE, 'capture/annotate')
    compile_ = ['gcc', '-pthread', include, *flags, *(TSAN_FLAGS if tsan else []), '-c', source, '-o', program + '.o']
    link = ['gcc', '-pthread', program + '.o', *([TSAN, '-Wl,--wrap=memcpy,--wrap=memmove,--wrap=memset'] if tsan else []),
            '-latomic', '-o', program]
    for command in compile_, link:
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return program


def sql(study, query):
    text = subprocess.run([NEARFAR, 'sql', '--csv', study, query], check=True, capture_output=True, text=True).stdout
    return list(csv.DictReader(io.StringIO(text)))


# --- the two sides: [(op name, {block: (bytes, {page: 'r' | 'w' | 'rw'})})] of one step ---

def oracle(command, step, least):
    """The ops of a step as the oracle saw them. What is touched after the last op of a step opens the next one."""
    out = os.path.join(FOLDER, 'oracle.txt')
    done = subprocess.run(command, capture_output=True, text=True,
                          env={**os.environ, 'LD_PRELOAD': ORACLE, 'ORACLE_OUT': out, 'ORACLE_MIN': str(least),
                               'NEARFAR_RING': 'none', 'NEARFAR_PASS': 'access'})
    assert done.returncode == 0, done.stderr
    ops, now = [[]], None
    with open(out, encoding='utf-8') as lines:
        for line in lines:
            words = line.split()
            if words[0] == 'op':
                now = {}
                if words[2] == 'step':
                    ops.append([])
                elif words[2] != 'training':
                    ops[-1].append((words[2], now))
            else:
                now.setdefault(int(words[0]), (int(words[1]), {}))[1][int(words[2])] = words[3]
    return ops[step], done.stdout


class Seen:
    """The ops of the class of a step as a source saw them in the first step of that class."""

    def __init__(self, command, step, source='page-fault', options=''):
        self.ops, self.tensors, self.observation, self.sighting, self.step, self.text = captured(command, step, source, options)

    def named(self):
        return [(op, {self.tensors[t][0]: seen for t, seen in touched.items()}) for op, touched in self.ops]


def captured(command, step, source, options):
    study = os.path.join(FOLDER, 'study.nf')
    if os.path.exists(study):
        os.unlink(study)
    done = subprocess.run([NEARFAR, 'capture', '-o', study, '--passes', 'bare,access', '--source', source + options,
                           '--', *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    hashes = sql(study, 'SELECT DISTINCT parameter_sha256 AS h FROM pass')
    same(len(hashes), 1, 'parameters of the passes')
    observation = sql(study, 'SELECT * FROM observation')[0]
    same((observation['lost'], observation['undecoded']), ('0', '0'), 'lost, undecoded')
    steps = 'step JOIN pass p ON p.id = pass_id WHERE p.kind = 3'
    class_id = sql(study, f'SELECT class_id FROM {steps} AND step.number = {step}')[0]['class_id']
    first = int(sql(study, f'SELECT min(step.number) AS n FROM {steps} AND class_id = {class_id}')[0]['n'])
    sighting = sql(study, f'SELECT * FROM sighting WHERE class_id = {class_id}')[0]
    names = [row['text'] for row in sql(study, 'SELECT text FROM op JOIN name ON name.id = name_id WHERE '
                                               f'class_id = {class_id} ORDER BY op.number')]
    tensors = {int(row['number']): (row['name'], int(row['bytes'])) for row in sql(
        study, 'SELECT l.number, n.text AS name, t.bytes FROM lifetime l JOIN tensor t ON t.id = l.tensor_id JOIN name n ON '
               f'n.id = t.name_id WHERE l.class_id = {class_id}')}
    ops = [(name, {}) for name in names]
    for row in sql(study, f"SELECT * FROM sightings({observation['id']}, {class_id})"):
        tensor, offset, size = int(row['tensor']), int(row['offset']), int(row['bytes'])
        pages = ops[int(row['op'])][1].setdefault(tensor, (tensors[tensor][1], {}))[1]
        for page in range(offset // PAGE, -(-(offset + size) // PAGE)):
            pages[page] = ''.join(sorted(set(pages.get(page, '') + HOW[row['rw']])))
    return ops, tensors, observation, sighting, first, done.stdout


def compare(found, wanted):
    """Op by op and page by page, and one block of the one side is one tensor of the other throughout."""
    same([op for op, _ in found], [op for op, _ in wanted], 'ops')
    pairs, pages = {}, 0
    for number, ((op, f), (_, w)) in enumerate(zip(found, wanted)):
        left = {block: seen for block, seen in w.items() if seen[1]}
        assert len(f) == len(left), f'op {number} {op}: blocks {describe(f)}, expected {describe(left)}'
        # Known pairs first: then only what is new has to be found by what was touched of it.
        for tensor, seen in sorted(f.items(), key=lambda item: item[0] not in pairs):
            block = pairs.get(tensor, next((b for b, s in left.items() if s == seen and b not in pairs.values()), None))
            assert block in left and left[block] == seen, \
                f'op {number} {op}: tensor {tensor}: {describe({tensor: seen})}, expected one of {describe(left)}'
            pairs[tensor] = block
            pages += len(seen[1])
            del left[block]
    return pages, len(pairs)


def describe(blocks):
    return {b: (size, len(pages), sorted(set(pages.values())), list(pages.items())[:4]) for b, (size, pages) in blocks.items()}


# --- C ---

def known_pages(n):
    """Of each op of examples/kernels.c at n elements a vector."""
    size = {'a': 4 * n, 'b': 4 * n, 'c': 4 * n, 'table': 4 * n, 'index': n // 8, 'y': 4 * n}

    def whole(**how):
        return {name: (size[name], {page: h for page in range(-(-size[name] // PAGE))}) for name, h in how.items()}

    first = {'c': (size['c'], {0: 'w'})}
    return [('example::copy', whole(a='r', b='w')), ('example::triad', whole(a='r', b='r', c='w')),
            ('example::strided_sum', {**whole(a='r'), **first}), ('example::gather', whole(index='r', table='r', c='w')),
            ('example::stencil', whole(a='r', b='w')), ('example::matmul', whole(a='r', b='r', c='rw')),
            ('example::zero', whole(y='w')), ('example::linear', whole(a='r', b='r', y='rw')),
            ('example::zero', whole(c='w')), ('example::linear_backward', whole(a='r', y='r', c='rw')),
            ('example::sgd', whole(b='rw', c='r'))]


def test_kernels():
    command = [build('examples/kernels.c', '-O2'), 'all', '65536', '3']
    for step in 0, 2:
        seen = Seen(command, step, options=':min=4096')
        trapped, text = oracle(command, seen.step, 4096)
        pages, blocks = compare(seen.ops, trapped)
        same(seen.named(), known_pages(65536), f'pages of step {seen.step}')
        same(seen.text, text, 'what the job prints')
        same(seen.sighting['steps'], seen.sighting['equal_steps'], 'steps alike')
        print(f'    step {seen.step}: {pages} pages of {blocks} tensors in {len(seen.ops)} ops')


def expected_pages(text):
    ops = []
    for line in text.splitlines():
        words = line.split()
        if words[0] == 'op':
            ops.append((words[1], {}))
        else:
            size = {'a': 300 * PAGE + 100, 'b': 257 * PAGE - 8}[words[0]]
            ops[-1][1].setdefault(words[0], (size, {}))[1][int(words[1])] = words[2]
    return ops


def test_sparse():
    """In all the steps of the class, one after the other, the very pages that the job says it touches."""
    command = [build('tests/capture-oracle/sparse.c', '-O2'), '4']
    seen = Seen(command, 1, options=':min=4096')
    trapped, text = oracle(command, seen.step, 4096)
    compare(seen.ops, trapped)
    same(seen.named(), expected_pages(text), 'pages')
    same(seen.sighting['steps'], seen.sighting['equal_steps'], 'steps alike')
    assert int(seen.sighting['steps']) >= 3, seen.sighting


def without_how(ops):
    return [(op, {name: (size, set(pages)) for name, (size, pages) in touched.items()}) for op, touched in ops]


def test_software_events():
    """Reads and writes are inferred from the op's operands, the pages are the same."""
    command = [build('tests/capture-oracle/sparse.c', '-O2'), '2']
    seen = Seen(command, 1, options=':min=4096,by=software')
    same(seen.observation['rw'], 'inferred', 'rw')
    same(without_how(seen.named()), without_how(expected_pages(oracle(command, 1, 4096)[1])), 'pages')


def test_exact_engine():
    """What instrumented code says of its accesses, rounded out to pages, is what faults."""
    command = [build('examples/kernels.c', '-O1', tsan=True), 'all', '16384', '2']
    exact, faults = Seen(command, 1, 'exact', ':engine=tsan').named(), Seen(command, 1, options=':min=1024').named()
    same(without_how(exact), without_how(faults), 'pages')
    # A page that was written first is open: that it is read as well is seen by the exact source alone.
    for (op, e), (_, f) in zip(exact, faults):
        for name, (_, pages) in f.items():
            for page, how in pages.items():
                accessed = e[name][1][page]
                assert how == accessed or (how, accessed) == ('w', 'rw'), (op, name, page, how, accessed)


# --- PyTorch ---

def test_torch():
    found = subprocess.run([os.path.join(SOURCE, 'tools/torch-python')], capture_output=True, text=True)
    if found.returncode:
        print('skipped  test_torch: no Python here can import torch')
        return
    command = [found.stdout.strip(), os.path.join(HERE, 'job.py'), '4']
    for step in 0, 3:
        seen = Seen(command, step)
        trapped, text = oracle(command, seen.step, 65536)
        same(seen.text, text, 'what the job prints')
        names = {op for op, _ in seen.ops}
        merged, waiting = [], {}
        while trapped[0][0] != seen.ops[0][0]: # before the first module is called, nothing is captured
            assert step == 0, trapped[0]
            del trapped[0]
        for op, touched in trapped:
            # Views and the like are no ops of the capture: what they touch is the next one's.
            for block, (size, pages) in touched.items():
                mine = waiting.setdefault(block, (size, {}))[1]
                for page, how in pages.items():
                    mine[page] = ''.join(sorted(set(mine.get(page, '') + how)))
            if op in names:
                merged.append((op, waiting))
                waiting = {}
        pages, blocks = compare(seen.ops, merged)
        assert pages > 3000 and blocks > 40, (pages, blocks)
        print(f'    step {seen.step}: {pages} pages of {blocks} tensors in {len(seen.ops)} ops')


def main():
    study = os.path.join(FOLDER, 'probe.nf')
    probe = subprocess.run([NEARFAR, 'capture', '-o', study, '--passes', 'access', '--source', 'page-fault:by=tracepoint',
                            '--', build('tests/capture-oracle/sparse.c'), '1'], capture_output=True, text=True)
    if probe.returncode == 3:
        # Root without a mounted tracefs: mounted for this test alone, in a mount namespace of its own.
        if os.geteuid() == 0 and shutil.which('unshare') and 'NEARFAR_ORACLE_MOUNTED' not in os.environ:
            os.execvpe('unshare', ['unshare', '-m', 'sh', '-c', 'mount -t tracefs nodev /sys/kernel/tracing; exec "$@"', 'sh',
                                   sys.executable, '-B', *sys.argv], {**os.environ, 'NEARFAR_ORACLE_MOUNTED': '1'})
        print('skipped: ' + probe.stderr.strip())
        sys.exit(77)
    failed = 0
    for name in sys.argv[5:] or [name for name in globals() if name.startswith('test_')]:
        try:
            globals()[name]()
            print(f'ok   {name}', flush=True)
        except AssertionError as error:
            failed += 1
            print(f'FAIL {name}: {str(error)[:3000]}', flush=True)
    shutil.rmtree(FOLDER, ignore_errors=True)
    sys.exit(1 if failed else 0)


main()
