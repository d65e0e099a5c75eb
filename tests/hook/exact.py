"""What the tests of the exact source share: compile a C job, run it under an engine with a ring, and tell what was touched
per op and tensor."""
import json
import os
import shutil
import subprocess
import tempfile
from collections import defaultdict

TSAN_FLAGS = ['-fsanitize=thread', '-fno-builtin-memcpy', '-fno-builtin-memmove', '-fno-builtin-memset']
TSAN_LINK = ['-Wl,--wrap=memcpy,--wrap=memmove,--wrap=memset']
PAGE = 4096


class Tools:
    def __init__(self, ring_dump, preload, hook, runtime, plugin, source):
        self.ring_dump, self.preload, self.hook = map(os.path.abspath, (ring_dump, preload, hook))
        self.runtime, self.plugin, self.source = map(os.path.abspath, (runtime, plugin, source))
        self.folder = tempfile.mkdtemp(prefix='nearfar-exact-')

    def done(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def has(self, engine):
        """None, or why the engine does not work here."""
        if engine == 'qemu':
            command = ['qemu-x86_64', '-cpu', 'max', '-plugin', self.plugin, '/bin/true']
        else:
            command = ['gcc', '-fsanitize=thread', '-x', 'c', '-c', '-o', os.devnull, os.devnull]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            return f'there is no {command[0]}'
        return None if done.returncode == 0 else (done.stderr.strip() or 'exit status %d' % done.returncode)

    def build(self, source, *flags, tsan=False):
        """The path of the program."""
        program = os.path.join(self.folder, f'p{len(os.listdir(self.folder))}')
        source = os.path.join(self.source, source)
        include = '-I' + os.path.join(self.source, 'capture/annotate')
        compile_ = ['gcc', '-pthread', '-mcx16', include, *flags, *(TSAN_FLAGS if tsan else []), '-c', source, '-o', program + '.o']
        link = ['gcc', '-pthread', program + '.o', *([self.runtime] + TSAN_LINK if tsan else []), '-latomic', '-o', program]
        for command in compile_, link:
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        return program

    def run(self, engine, command, slots=1 << 16, pass_kind='access', deaf=False):
        """(events, end of the ring, what the job printed). engine None: the job runs under no engine."""
        environment = {**os.environ, 'OPENBLAS_NUM_THREADS': '1', 'OMP_NUM_THREADS': '1'}
        if engine:
            environment.update(NEARFAR_EXACT=engine, NEARFAR_ARENA='min=1,every=0,reserve=1073741824')
        if engine == 'qemu':
            script = 'preload=$LD_PRELOAD; unset LD_PRELOAD; exec qemu-x86_64 -E "LD_PRELOAD=$preload" "$@"'
            command = ['/bin/sh', '-c', script, 'qemu', '-cpu', 'max', '-plugin', self.plugin, *command]
        done = subprocess.run([self.ring_dump, str(slots), pass_kind, self.preload, self.hook, *['--deaf'] * deaf, '--', *command],
                              capture_output=True, text=True, timeout=400, env=environment)
        assert done.returncode == 0, done.stderr
        *events, end = map(json.loads, done.stdout.splitlines())
        assert end['exit'] == 0, (end, done.stderr)
        return events, end, done.stderr


def say(text):
    print(text, flush=True)


def expected(text):
    """What a job printed of its ops: [(op, {(tensor, 'read' | 'write'): (distinct bytes, accesses, bytes moved)})]."""
    ops = []
    for line in text.splitlines():
        words = line.split()
        if len(words) != 6 or words[2] not in ('read', 'write'):
            continue
        op, place, counts = words[0], (words[1], words[2]), tuple(map(int, words[3:]))
        if not ops or ops[-1][0] != op or place in ops[-1][1]:
            ops.append((op, {}))
        ops[-1][1][place] = counts
    return ops


class Storages:
    """Which storage lives where, in the order of the events."""

    def __init__(self):
        self.live, self.names, self.serial = {}, {}, 0

    def take(self, event):
        if event['kind'] == 'alloc':
            self.serial += 1
            self.live[event['address']] = (event['a'], self.serial)
        elif event['kind'] == 'free':
            self.live.pop(event['address'], None)
        elif event['kind'] == 'tensor' and event['address'] in self.live and event['name']:
            self.names[self.live[event['address']][1]] = event['name']

    def at(self, address):
        """(address, bytes, serial) of the storage; blocks of the arena begin on pages and own them whole."""
        for page in range(address // PAGE * PAGE, 0, -PAGE):
            if page in self.live:
                size, serial = self.live[page]
                return (page, size, serial) if address < page + max(PAGE, -(-size // PAGE) * PAGE) else None
            if address - page > 1 << 30:
                break
        return None

    def name(self, storage):
        return self.names.get(storage[2], '') if storage else '?'


def touched(events):
    """[(op, {(tensor, 'read' | 'write'): (distinct bytes, accesses, bytes moved)})], and the same outside of ops."""
    storages, ops = Storages(), []
    now, outside = defaultdict(lambda: [0, 0, 0]), defaultdict(lambda: [0, 0, 0])
    for event in events:
        storages.take(event)
        if event['kind'] == 'touch':
            sums = (outside if event['owner'] else now)[storages.name(storages.at(event['address'])), ('read', 'write')[event['rw']]]
            for i, key in enumerate('abc'):
                sums[i] += event[key]
        elif event['kind'] == 'op':
            ops.append((event['name'], {place: tuple(sums) for place, sums in now.items()}))
            now.clear()
    return ops, {place: tuple(sums) for place, sums in outside.items()}


def differences(found, wanted, parts=(0, 1, 2)):
    """Readable; empty when all ops agree in the given parts of (distinct bytes, accesses, bytes moved)."""
    out = []
    if [op for op, _ in found] != [op for op, _ in wanted]:
        out.append(f'ops {[op for op, _ in found]} instead of {[op for op, _ in wanted]}')
    for (op, f), (_, w) in zip(found, wanted):
        for place in sorted(set(f) | set(w)):
            a, b = ([x[i] for i in parts] if x else None for x in (f.get(place), w.get(place)))
            if a != b:
                out.append(f'{op} {" ".join(place)}: found {a}, expected {b}')
    return out
