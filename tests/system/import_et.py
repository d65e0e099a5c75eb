"""nearfar import pytorch-et as a person uses it; with recorded traces at hand, what is known of them."""
import gzip
import json
import os
import pathlib
import tarfile

from system import NEARFAR, SOURCE, WORK, check, finish, nearfar, refused, rows, skip, whole

USAGE, FAILED, CANNOT = 2, 1, 3
MM = 'aten::mm(Tensor self, Tensor mat2) -> Tensor'
ADD = 'aten::add_.Tensor(Tensor(a!) self, Tensor other, *, Scalar alpha=1) -> Tensor(a!)'


def tensor(number, elements=1 << 16):
    return [number, 1000 + number, 0, elements, 4, 'cpu']


def node(number, name, parent=0, schema='', inputs=(), outputs=(), scope=0):
    return {'id': number, 'name': name, 'parent': parent, 'rf_id': number, 'tid': 1, 'fw_tid': 0, 'seq_id': -1, 'scope': scope,
            'op_schema': schema, 'inputs': list(inputs), 'input_types': ['Tensor(float)'] * len(inputs), 'input_shapes': [],
            'outputs': list(outputs)}


def trace(steps=4, layers=6):
    """Weights 0.., activations 100.., gradients 200..: forward, backward, SGD."""
    nodes, number = [], 0
    def add(*arguments, **options):
        nonlocal number
        number += 1
        nodes.append(node(number, *arguments, **options))
        return number
    for _ in range(steps):
        for k in range(layers):
            add('aten::mm', schema=MM, inputs=[tensor(100 + k), tensor(k)], outputs=[tensor(101 + k)])
        for k in reversed(range(layers)):
            engine = add('autograd::engine::evaluate_function: MmBackward0')
            add('aten::mm', engine, MM, [tensor(100 + k), tensor(k)], [tensor(200 + k)])
        optimizer = add('Optimizer.step#SGD.step', scope=7)
        for k in range(layers):
            add('aten::add_', optimizer, ADD, [tensor(k), tensor(200 + k)], [tensor(k)])
    return {'schema': '1.0.1', 'pid': 1, 'nodes': nodes}


def kineto(document, us=40.0):
    return {'traceEvents': [{'ph': 'X', 'cat': 'cpu_op', 'name': n['name'], 'ts': n['id'], 'dur': us,
                             'args': {'Record function id': n['rf_id']}} for n in document['nodes']]}


small = trace()
(WORK / 'small.json').write_text(json.dumps(small))
if 'jansson' in nearfar('import', 'pytorch-et', 'small.json', '-o', 'probe.nf').stderr:
    skip('this build cannot read JSON')
(WORK / 'small.json.gz').write_bytes(gzip.compress((WORK / 'small.json').read_bytes()))
(WORK / 'cut.json.gz').write_bytes((WORK / 'small.json.gz').read_bytes()[:-40])
(WORK / 'cut.json').write_bytes((WORK / 'small.json').read_bytes()[:-40])
(WORK / 'kineto.json').write_text(json.dumps(kineto(small)))
(WORK / 'stranger.json').write_text(json.dumps({'traceEvents': [{'ph': 'X', 'cat': 'cpu_op', 'name': 'x', 'ts': 1, 'dur': 1}]}))
(WORK / 'empty.json').touch()
(WORK / 'folder.json').mkdir()
with tarfile.open(WORK / 'small.tar.gz', 'w:gz') as tar:
    tar.add(WORK / 'small.json', 'small.json')

# --- a newcomer's mistakes: one sentence, and no study ---
refused(nearfar('import'), USAGE, 'format')
refused(nearfar('import', 'nonsense', 'small.json', '-o', 'x.nf'), USAGE, 'pytorch-et')
refused(nearfar('import', 'pytorch-et', '-o', 'x.nf'), USAGE, 'file')
refused(nearfar('import', 'pytorch-et', 'small.json'), USAGE, '-o STUDY')
refused(nearfar('import', 'pytorch-et', 'small.json', 'small.json', '-o', 'x.nf'), USAGE, 'one file')
refused(nearfar('import', 'pytorch-et', 'missing.json', '-o', 'x.nf'), FAILED, 'missing.json', 'No such file')
refused(nearfar('import', 'pytorch-et', 'folder.json', '-o', 'x.nf'), FAILED, 'folder')
refused(nearfar('import', 'pytorch-et', 'empty.json', '-o', 'x.nf'), FAILED, 'byte 0', 'empty')
refused(nearfar('import', 'pytorch-et', 'cut.json', '-o', 'x.nf'), FAILED, f'byte {len((WORK / "cut.json").read_bytes())}', 'ends')
refused(nearfar('import', 'pytorch-et', 'cut.json.gz', '-o', 'x.nf'), FAILED, 'byte', 'cut off')
refused(nearfar('import', 'pytorch-et', 'small.tar.gz', '-o', 'x.nf'), FAILED, 'tar -xf')
refused(nearfar('import', 'pytorch-et', NEARFAR, '-o', 'x.nf'), FAILED, 'byte 0')
refused(nearfar('import', 'pytorch-et', 'kineto.json', '-o', 'x.nf'), FAILED, 'no PyTorch execution trace')
refused(nearfar('import', 'pytorch-et', 'small.json', '-o', 'x.nf', '--kineto', 'stranger.json'), FAILED, 'another run')
refused(nearfar('import', 'pytorch-et', 'small.json', '-o', 'x.nf', '--kineto', 'missing.json'), FAILED, 'missing.json')
refused(nearfar('import', 'pytorch-et', 'small.json', '-o', 'no/such/x.nf'), FAILED, 'no/such')
check(not (WORK / 'x.nf').exists(), 'a refused file leaves no study')
check('pytorch-et' in nearfar('doctor').stdout, 'doctor names the format')

# --- an import, shown and replayed ---
done = nearfar('import', 'pytorch-et', 'small.json.gz', '-o', 'a.nf')
check(done.returncode == 0 and not done.stdout and '4 steps, told apart by optimizer steps; 1 step class' in done.stderr,
      'the summary tells steps')
check('72 leaf operators that touch data, forward 24, backward 24, optimizer 24' in done.stderr, 'and operators by phase')
check('no slowdown can be computed' in done.stderr, 'and what it could not tell')
check(whole('a.nf') and rows('a.nf', 'SELECT lifetimes, phases, durations, status FROM capture') ==
      [('inferred', 'inferred', 'unknown', 'complete')], 'the study says how it knows')
check(json.loads(rows('a.nf', 'SELECT command FROM invocation')[0][0])[1:] == ['import', 'pytorch-et', 'small.json.gz', '-o', 'a.nf'],
      'the command is kept as it was typed')
check('lifetimes inferred, phases inferred, durations unknown' in nearfar('show', 'a.nf').stdout, 'and show repeats it')
roles = {r['role']: r for r in json.loads(nearfar('show', 'a.nf', 'roles', '--json').stdout)}
check(roles['parameter']['tensors'] == 6 and roles['gradient']['tensors'] == 6, 'parameters and gradients are told')
refused(nearfar('replay', 'a.nf', '--mode', 'full', '--dry-run'), USAGE, 'no op times', 'asap')
dry = nearfar('replay', 'a.nf', '--near', '40%', '--dry-run')
check(dry.returncode == 0 and 'captured cycle unknown' in dry.stdout and 'no slowdown' in dry.stderr, 'a dry run says what is unknown')
played = nearfar('replay', 'a.nf', '--near', '40%', '--policy', 'lru', '--blocks', '1', '--steps', '1', '--llc', '1MiB', '-q')
check(played.returncode == 0 and rows('a.nf', 'SELECT DISTINCT overlap FROM trial') == [(0,)], 'it is replayed asap')
check(nearfar('analyze', 'a.nf', '-o', 'report').returncode == 0, 'and analyzed')
report = (WORK / 'report/summary.md').read_text()
check('no slowdown of the job is stated' in report and not (WORK / 'report/policy-curve.gp').exists(), 'without a slowdown curve')

# --- with durations ---
done = nearfar('import', 'pytorch-et', 'small.json', '-o', 'a.nf', '--kineto', 'kineto.json')
check(done.returncode == 0 and 'durations: 72 operators by id, 0 by name and order, 0 unmatched' in done.stderr, 'durations are matched')
check(rows('a.nf', 'SELECT durations FROM capture ORDER BY id') == [('unknown',), ('imported',)], 'a second capture of the study')
dry = nearfar('replay', 'a.nf', '--mode', 'full', '--near', '40%', '--dry-run')
check(dry.returncode == 0 and 'captured cycle 720.00 us' in dry.stdout.replace('µ', 'u'), 'which can be paced')

# --- recorded traces ---
shared = pathlib.Path(os.environ.get('NEARFAR_SHARED', SOURCE.parent / 'shared')) / 'data'
# nodes, storage ids, leaf operators, what tells that the inference is right
known = {
    'pytorch-et-linear.json.gz': (931, 116, 218, {}),
    # GPT-2 large: 436 parameters, 774,030,080 floats; each has a gradient.
    'pytorch-et-gpt2.json.tar.gz': (27156, 3329, 4661, {'parameter': 774030080 * 4, 'gradient': 774030080 * 4}),
}
for name, (nodes, storages, leaves, bytes_of) in known.items():
    if not (shared / name).exists():
        print(f'not checked: no {name} here')
        continue
    file = shared / name
    if '.tar' in name:
        with tarfile.open(file) as tar:
            (WORK / 'recorded.json').write_bytes(tar.extractfile(tar.getmembers()[0]).read())
        file = WORK / 'recorded.json'
    done = nearfar('import', 'pytorch-et', file, '-o', name + '.nf')
    check(done.returncode == 0 and f': {nodes} nodes,' in done.stderr and f' {storages} storage ids,' in done.stderr and
          f' {leaves} leaf operators' in done.stderr, f'{name}: {nodes} nodes, {storages} storages, {leaves} leaf operators')
    check(whole(name + '.nf') and rows(name + '.nf', 'SELECT unattributed_visits FROM pass') == [(0,)], f'{name}: every visit has its tensor')
    roles = {r['role']: r for r in json.loads(nearfar('show', name + '.nf', 'roles', '--json').stdout)}
    for role, size in bytes_of.items():
        check(roles[role]['tensors'] == 436 and roles[role]['bytes'] == size, f'{name}: 436 of role {role}, {size} bytes')
finish()
