#!/usr/bin/env python3
"""A tiny GPT under the exact source's emulator: what each operator touches, to the byte, against what the framework says of
its operands. Every difference must be of a kind that is explained below; writes to operands must not differ at all. Then
the whole command: the emulated job ends with the very parameters of the job alone.

usage: test-exact-torch.py NEARFAR RING-DUMP PRELOAD HOOKDIR TSAN-RUNTIME QEMU-PLUGIN SOURCE"""
import os
import sqlite3
import subprocess
import sys
from collections import Counter, defaultdict

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from exact import Storages, Tools, say  # noqa: E402

NEARFAR, TOOLS = os.path.abspath(sys.argv[1]), Tools(*sys.argv[2:8])
READ, WRITE, UPDATE = range(3)
GATHER = 2
JOB = ['examples/finetune.py', '--steps', '2', '--batch', '2', '--seq', '16', '--layers', '1', '--width', '32', '--heads', '2',
       '--vocab', '64', '--threads', '1']
# The emulator has no AVX-512 and is no known model: without these, libraries choose other kernels in it than outside.
os.environ.update(OPENBLAS_CORETYPE='Haswell', ATEN_CPU_CAPABILITY='avx2', OPENBLAS_NUM_THREADS='1')

# The kinds of difference, and why each is none of the capture's mistakes.
KINDS = {
    'unread': 'an operand, or a part of one, that the operator has no use for',
    'rows': 'gathered rows: the framework knows how many and how long, not which; rows picked twice are read once',
    'read back': 'a result that its own operator reads: sums are built up in it',
    'internal': "a block that is no operand: a scalar made a tensor, the library's scratch, its own objects and code",
    'untracked': 'a block from before the hook began to follow them: objects of a library',
}
# Operators that read less than all of an operand.
UNREAD = {'aten::native_layer_norm_backward', 'aten::triu', 'aten::embedding', 'aten::nll_loss_forward'}


def union(extents):
    out = []
    for start, end in sorted(extents):
        if out and start <= out[-1][1]:
            out[-1][1] = max(end, out[-1][1])
        else:
            out.append([start, end])
    return out


def size(extents):
    return sum(end - start for start, end in extents)


def common(a, b):
    i = j = total = 0
    while i < len(a) and j < len(b):
        total += max(0, min(a[i][1], b[j][1]) - max(a[i][0], b[j][0]))
        if a[i][1] < b[j][1]:
            i += 1
        else:
            j += 1
    return total


def declared(visits, storages):
    """{storage: ([read extents], [written extents], is gathered)}."""
    out = defaultdict(lambda: [[], [], False])
    for v in visits:
        place = out[storages.at(v['address'])]
        run = v['b'] if 0 < v['b'] < v['a'] else v['a']
        stride = v['c'] if run < v['a'] and v['c'] > run else run
        at, left = v['address'], v['a']
        while left > 0:
            for rw in (READ, WRITE):
                if v['rw'] in (rw, UPDATE):
                    place[rw].append((at, at + min(run, left)))
            at, left = at + stride, left - run
        place[2] |= v['pattern'] == GATHER
    return out


def kind_of(op, storage, rw, is_operand, is_gathered, says, saw, written):
    """The kind of a difference; None when it must not be."""
    both = common(says, saw)
    if storage is None:
        return 'untracked'
    if not is_operand:
        return 'internal'
    if rw == WRITE:
        return None
    if is_gathered and size(saw) <= size(says):
        return 'rows'
    if not says:
        return 'read back' if common(saw, written) == size(saw) else None
    return 'unread' if both == size(saw) and op in UNREAD else None


def audit(events):
    storages, touches = Storages(), defaultdict(lambda: ([], []))
    equal, kinds, examples, wrong = Counter(), Counter(), {}, []
    for i, event in enumerate(events):
        storages.take(event)
        if event['kind'] == 'touch' and not event['owner']:
            storage = storages.at(event['address'])
            touches[storage][event['rw']].append((event['address'], event['address'] + event['a']))
        if event['kind'] != 'op':
            continue
        says_all = declared(events[i + 1:i + 1 + event['n']], storages)
        for storage in says_all.keys() | touches.keys():
            operand = storage in says_all
            reads, writes, gathered = says_all.get(storage, ([], [], False))
            for rw, says in ((READ, union(reads)), (WRITE, union(writes))):
                saw = union(touches[storage][rw]) if storage in touches else []
                if says == saw:
                    equal[rw] += bool(saw)
                    continue
                kind = kind_of(event['name'], storage, rw, operand, gathered, says, saw, union(writes))
                text = (f'{event["name"]} {("reads", "writes")[rw]} {storages.name(storage) or "a block"} of '
                        f'{storage[1] if storage else "?"} bytes: says {size(says)}, saw {size(saw)}')
                if kind is None:
                    wrong.append(text)
                else:
                    kinds[kind] += 1
                    examples.setdefault((kind, event['name'], rw), text)
        touches.clear()
    return equal, kinds, examples, wrong


def main():
    why = TOOLS.has('qemu')
    found = subprocess.run([os.path.join(TOOLS.source, 'tools/torch-python')], capture_output=True, text=True)
    if why or found.returncode:
        print(f'skipped: {why or "no Python here can import torch"}')
        sys.exit(77)
    python = os.path.realpath(found.stdout.strip())
    with open(python, 'rb') as program:
        if program.read(4) != b'\x7fELF':
            print(f'skipped: {python} is a script, which the emulator cannot run')
            sys.exit(77)
    command = [python, os.path.join(TOOLS.source, JOB[0]), *JOB[1:]]

    events, end, text = TOOLS.run('qemu', command, slots=1 << 18)
    alone = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    losses = [[line for line in t.splitlines() if line.startswith('step')] for t in (text, alone)]
    assert losses[0] == losses[1] and losses[0], losses
    assert end['lost'] == 0 and end['watching'] == 1, end
    equal, kinds, examples, wrong = audit(events)
    ops = sum(e['kind'] == 'op' for e in events)
    say(f'{ops} ops; {equal[READ]} reads and {equal[WRITE]} writes of operands equal to the byte')
    for kind, n in kinds.most_common():
        say(f'{n} {kind}: {KINDS[kind]}')
        for (k, _, _), example in sorted(examples.items()):
            if k == kind:
                say(f'    {example}')
    assert not wrong, 'unexplained:\n  ' + '\n  '.join(wrong[:20])
    assert ops > 500 and equal[READ] > 500 and equal[WRITE] > 500, 'too little was compared'
    assert {'unread', 'rows', 'read back', 'internal'} <= kinds.keys(), 'a difference that is known to be there was not seen'

    study = os.path.join(TOOLS.folder, 'tiny.nf')
    done = subprocess.run([NEARFAR, 'capture', '-q', '-o', study, '--source', 'exact', '--', *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with sqlite3.connect(f'file:{study}?mode=ro', uri=True) as db:
        hashes = {h for h, in db.execute('SELECT parameter_sha256 FROM pass')}
        totals = db.execute('SELECT samples, attributed, unattributed, lost FROM observation').fetchone()
    assert len(hashes) == 1 and len(hashes.copy().pop()) == 64, hashes
    assert totals[0] > 100000 and totals[3] == 0 and totals[2] * 100 < totals[0], totals
    say(f'whole capture: {totals[0]} accesses, {totals[2]} without tensor; parameters bit-equal in all passes')
    TOOLS.done()


try:
    main()
except AssertionError as error:
    say(f'FAIL {error}')
    sys.exit(1)
