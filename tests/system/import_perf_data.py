"""nearfar import perf-data against perf script: the same samples with the same fields, row by row, on files recorded here in
every form perf writes, and on the recorded ones of NEARFAR_SHARED; and files cut off or damaged at many places."""
import csv
import json
import os
import pathlib
import random
import re
import shutil
import struct
import subprocess

from system import SOURCE, WORK, check, finish, nearfar, refused, skip

if not shutil.which('perf'):
    skip('perf is not installed (Debian: linux-perf)')
FIELDS = 'pid tid cpu time event ip addr period weight data_src phys_addr'.split()
LEVELS = {'LFB/MAB': 'fill buffer', 'L1': 'L1', 'L2': 'L2', 'L3': 'LLC', 'Local RAM': 'DRAM', 'RAM': 'DRAM', 'N/A': ''}
UNSIGNED = (1 << 64) - 1


def script(file, fields):
    """perf script's rows as tuples in the order of FIELDS, None for what was not asked for."""
    said = subprocess.run(['perf', 'script', '-i', file, '--ns', '-F', ','.join(fields)], capture_output=True, text=True)
    parts = {
        'pid': r'\s*(?P<pid>\d+)/', 'tid': r'(?P<tid>\d+)', 'cpu': r'\s+\[(?P<cpu>\d+)\]', 'time': r'\s+(?P<s>\d+)\.(?P<ns>\d+):',
        'period': r'\s+(?P<period>\d+)', 'event': r'\s+(?P<event>\S+):(?=\s)', 'addr': r'\s+(?P<addr>[0-9a-f]+)',
        'data_src': r'\s+(?P<data_src>[0-9a-f]+) \|OP (?P<op>[^|]*)\|LVL (?P<level>[^|]*)\|.*?(?:\|BLK\s+\S+(?: or \S+)*)?',
        'weight': r'\s+(?P<weight>\d+)(?=\s)', 'ip': r'\s+(?P<ip>[0-9a-f]+)', 'phys_addr': r'\s+(?P<phys_addr>[0-9a-f]+)'}
    order = 'pid tid cpu time period event addr data_src weight ip phys_addr'.split()
    line = re.compile(''.join(parts[f] for f in order if f in fields) + r'.*')
    out = []
    for text in said.stdout.splitlines():
        m = line.fullmatch(text)
        if not m:
            check(False, f'perf script line not understood: {text!r}')
            return None
        g = m.groupdict()
        out.append((int(g['pid']), int(g['tid']), int(g['cpu']) if 'cpu' in fields else None, int(g['s'] + g['ns']),
                    g['event'], int(g['ip'], 16), int(g['addr'], 16) if 'addr' in fields else None, int(g['period']),
                    int(g['weight']) if 'weight' in fields else None,
                    int(g['data_src'], 16) if 'data_src' in fields else None,
                    int(g['phys_addr'], 16) if 'phys_addr' in fields else None, g.get('level')))
    return out


def ours(study, fields):
    # Through a file: the answers of long recordings do not fit a pipe's reader that also waits.
    said = nearfar('sql', study, 'SELECT pid, tid, cpu, time_ns, name, ip, address, s.period, weight, data_src, physical FROM samples s '
                   'JOIN sample_event e ON e.observation_id = s.observation_id AND e.number = s.event', '--json')
    out = []
    for row in json.loads(said.stdout):
        v = list(row.values())
        for i, name in ((5, 'ip'), (6, 'addr'), (9, 'data_src'), (10, 'phys_addr'), (8, 'weight')):
            v[i] = (v[i] or 0) & UNSIGNED if name in fields or name == 'ip' else None
        v[2] = v[2] if 'cpu' in fields else None
        out.append(tuple(v))
    return out


def words_agree(study, expected):
    shown = json.loads(nearfar('show', study, 'samples', '--json').stdout)
    ours_ = sorted((r['time_ns'], r['level'] or '') for r in shown)
    for (_, text), row in zip(ours_, sorted(expected, key=lambda r: r[3])):
        levels = {LEVELS.get(w.strip().removesuffix(' hit').strip(), '?') for w in row[-1].split(' or ')}
        if not (levels == {''} and not any(v and v in text for v in LEVELS.values())) and not any(v and f', {v}' in text for v in levels):
            return False
    return True


def compare(name, file, fields, count=None, leader=None):
    study = WORK / f'{name}.nf'
    done = nearfar('import', 'perf-data', file, '-o', study)
    if not check(done.returncode == 0, f'{name}: imported: {done.stderr[-300:] if done.returncode else ""}'):
        return study
    expected, found = script(file, fields), ours(study, fields)
    if expected is None:
        return study
    if leader:
        # perf script shows the counters a sample of a group carries as further samples; we keep what was sampled.
        expected = [r for r in expected if r[4] == leader]
    plain = sorted(r[:-1] for r in expected)
    check(len(found) > 0 and plain == sorted(found), f'{name}: {len(found)} samples, each as perf script has it'
          + ('' if plain == sorted(found) else f': {len(plain)} there; first difference '
             f'{next(((a, b) for a, b in zip(plain, sorted(found)) if a != b), None)}'))
    check(all(a[3] <= b[3] for a, b in zip(found, found[1:])), f'{name}: in the order of their time')
    if 'data_src' in fields:
        check(words_agree(study, expected), f'{name}: levels in the same words')
    if count is not None:
        check(len(found) == count, f'{name}: {count} samples, as is known')
    return study


def record(name, *options, pipe=False):
    file = WORK / f'{name}.data'
    job = ['sh', '-c', 'ls -R /usr/include/linux >/dev/null; grep -c . /etc/services']
    with open(file, 'wb') as out:
        done = subprocess.run(['perf', 'record', '-q', '-o', '-' if pipe else file, *options, '--', *job],
                              stdout=out if pipe else subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=WORK)
    if done.returncode or file.stat().st_size < 1000:
        return None, done.stderr.strip()
    return file, ''


# --- recorded here: every form of file, every part of a sample that software events can have ---
base = 'pid tid time event ip addr period'.split()
faults = ['-e', 'page-faults', '-c', '1', '-d']
first, why = record('plain', *faults)
if not first:
    skip(f'perf cannot record here: {why[-200:]}')
compare('plain', first, base)
for name, options, fields in (
        ('everything', [*faults, '--sample-cpu', '-W', '--phys-data', '--data-page-size'], [*base, 'cpu', 'weight', 'phys_addr']),
        ('data-source', [*faults, '--data', '--sample-cpu', '-W', '--phys-data', '--transaction'],
         [*base, 'cpu', 'weight', 'phys_addr']),
        ('callchains', ['-g', *faults], None),
        ('registers', ['--intr-regs=ax,bx,cx,ip', '--user-regs=ax,sp', *faults], base),
        ('stacks', ['--call-graph=dwarf,1024', *faults], None),
        ('two-events', ['-e', 'page-faults,minor-faults', '-c', '1', '-d', '--sample-cpu'], [*base, 'cpu']),
        ('a-group', ['-e', '{page-faults,minor-faults}:S', '-c', '1', '-d'], base),
        ('packed', ['-z', *faults], base),
        ('packed-stacks', ['-z', '--call-graph=dwarf,8192', *faults], None)):
    file, why = record(name, *options)
    if not file:
        print(f'        {name}: perf cannot record it here: {why[-120:]}')
        continue
    if fields:
        compare(name, file, fields, leader='page-faults' if name == 'a-group' else None)
        continue
    # perf script prints a chain as lines of its own, and no ip beside it: count, and compare what is on the lines.
    study = WORK / f'{name}.nf'
    done = nearfar('import', 'perf-data', file, '-o', study)
    lines = subprocess.run(['perf', 'script', '-i', file, '--ns', '-G', '-F', 'pid,tid,time,period,addr'], capture_output=True, text=True)
    expected = sorted((int(p), int(t), int(s + ns), int(n), int(a, 16)) for p, t, s, ns, n, a in re.findall(
        r'^\s*(\d+)/(\d+)\s+(\d+)\.(\d+):\s+(\d+)\s+([0-9a-f]+)', lines.stdout, re.M))
    found = sorted((r[0], r[1], r[3], r[7], r[6]) for r in ours(study, base)) if done.returncode == 0 else done.stderr
    check(expected and expected == found, f'{name}: {len(expected)} samples, each as perf script has it')
piped, why = record('piped', *faults, pipe=True)
if check(piped, f'perf records to a pipe {why}'):
    compare('piped', piped, base)

study = WORK / 'plain.nf'
shown = nearfar('show', study, 'sources')
check(shown.returncode == 0 and 'page-fault' in shown.stdout and 'page-faults' in shown.stdout, 'show sources')
check(nearfar('show', study).stdout == shown.stdout, 'a study of samples alone opens with its sources')
capture = json.loads(nearfar('sql', study, "SELECT job, framework, status, lifetimes, phases, durations FROM capture", '--json').stdout)[0]
check('ls -R' in ' '.join(json.loads(capture.pop('job'))), 'the job is the recorded command')
check(list(capture.values()) == ['perf.data', 'complete', 'inferred', 'inferred', 'unknown'], f'the capture: {capture}')
events = json.loads(nearfar('sql', WORK / 'two-events.nf', 'SELECT name, config, period FROM sample_event', '--json').stdout)
check([tuple(e.values()) for e in events] == [('page-faults', 2, 1), ('minor-faults', 5, 1)], f'two events: {events}')
again = nearfar('import', 'perf-data', first, '-o', study)
check(again.returncode == 0 and '2' in nearfar('sql', study, 'SELECT count(*) FROM capture').stdout, 'a second import is added')

# --- cut off and damaged ---
whole = first.read_bytes()
data_end = int.from_bytes(whole[40:48], 'little') + int.from_bytes(whole[48:56], 'little')
cut = WORK / 'cut.data'
bad = 0
draw = random.Random(1)
places = [0, 1, 7, 8, 15, 16, 50, 103, 104, 200, data_end - 1, data_end, data_end + 5, len(whole) - 1]
places += [draw.randrange(len(whole)) for _ in range(40)]
for at in places:
    cut.write_bytes(whole[:at])
    done = nearfar('import', 'perf-data', cut, '-o', WORK / 'cut.nf')
    if done.returncode != 1 or 'byte' not in done.stderr or done.stderr.count('\n') != 1 or (WORK / 'cut.nf').exists():
        bad += 1
        print(f'        cut at {at}: exit {done.returncode}: {done.stderr!r}')
check(not bad, f'cut off at {len(places)} places: one sentence with the byte, exit 1, no study')
packed = (WORK / 'packed.data').read_bytes() if (WORK / 'packed.data').exists() else whole
piped_bytes = piped.read_bytes() if piped else whole
wrong = 0
for turn in range(150):
    data = bytearray([whole, packed, piped_bytes][turn % 3])
    for _ in range(1 + turn % 3):
        data[draw.randrange(len(data))] = draw.randrange(256)
    cut.write_bytes(data)
    done = nearfar('import', 'perf-data', cut, '-o', WORK / f'damaged.nf', timeout=60)
    if done.returncode not in (0, 1) or (done.returncode and (not done.stderr.startswith('nearfar: ') or done.stderr.count('\n') != 1)):
        wrong += 1
        print(f'        damaged {turn}: exit {done.returncode}: {done.stderr[-200:]!r}')
check(not wrong, '150 damaged files: imported, or refused in one sentence')
cut.write_bytes(b'2ELIFREP' + whole[8:])
refused(nearfar('import', 'perf-data', cut, '-o', 'x.nf'), 1, 'big-endian', 'byte 0')
cut.write_bytes(b'this is no perf.data at all, but long enough to be one' * 9)
refused(nearfar('import', 'perf-data', cut, '-o', 'x.nf'), 1, 'not a perf.data file', 'byte 0')
refused(nearfar('import', 'perf-data', 'missing.data', '-o', 'x.nf'), 1, 'missing.data')
refused(nearfar('import', 'perf-data', WORK, '-o', 'x.nf'), 1, 'folder')
refused(nearfar('import', 'perf-data', '/dev/null', '-o', 'x.nf'), 1, 'not a regular file')

# --- recorded by others on hardware that is not here ---
shared = pathlib.Path(os.environ.get('NEARFAR_SHARED', SOURCE.parent / 'shared')) / 'data'
file = shared / 'pebs-weight-struct.perf.data'
if file.exists():
    study = compare('pebs-weight-struct', file, [*base, 'cpu', 'weight', 'data_src'], 14)
    done = nearfar('import', 'perf-data', file, '-o', study)
    check('not validated on hardware' in done.stderr and '12964' in done.stderr, 'says that PEBS is not validated')
    row = json.loads(nearfar('sql', study, 'SELECT evidence, validated, rw, unattributed FROM observation WHERE id = 1', '--json').stdout)[0]
    check(list(row.values()) == [2, 0, 'observed', 14], f'evidence pebs: {row}')
    row = json.loads(nearfar('sql', study, 'SELECT config, config1, precise, rw, period FROM sample_event LIMIT 1', '--json').stdout)[0]
    check(list(row.values()) == [0x1cd, 64, 2, 0, 10009], f'its event: {row}')
    study = compare('pebs-all-loads', shared / 'pebs-all-loads-known-count.perf.data', 'pid tid time event ip period'.split(), 10014)
    total = json.loads(nearfar('sql', study, 'SELECT sum(period) AS n FROM samples(1)', '--json').stdout)[0]['n']
    check(abs(total / 140e6 - 1) < 0.002, f'{total} loads counted, the program made 140 M')
else:
    print(f'        {shared}: not there; recorded files were not checked')

# AMD IBS: no perf.data of it is at hand, but its registers, op by op. What the kernel makes of them (arch/x86/events/amd/ibs.c:
# an address only where the registers call it valid, loads before stores, L1 unless it missed, then L2 unless that missed) is
# written as perf would write it.
if (shared / 'amd-ibs-op-1k.csv').exists():
    ops = list(csv.DictReader(open(shared / 'amd-ibs-op-1k.csv')))
    sample_type = 1 | 2 | 4 | 8 | 1 << 7 | 1 << 14 | 1 << 15 | 1 << 19   # IP TID TIME ADDR CPU WEIGHT DATA_SRC PHYS_ADDR
    attr = struct.pack('<IIQQQQQ', 11, 128, 0, 10400 * 16, sample_type, 0, 1 << 18) + bytes(80)
    records = b''
    for o in ops:
        load, store, missed, l2_missed = (o[k] == '1' for k in ('IbsLdOp', 'IbsStOp', 'IbsDcMiss', 'IbsL2Miss'))
        op = 2 if load else 4 if store else 1
        level = 1 if op == 1 else 2 | 8 if not missed else 2 | 0x20 if not l2_missed else 1
        number = 0xf if level == 1 else 1 if level & 8 else 2
        address = int(o['IbsDcLinAd'], 16) if o['IbsDcLinAddrValid'] == '1' else 0
        physical = int(o['IbsDcPhysAd'], 16) if o['IbsDcPhyAddrValid'] == '1' else 0
        records += struct.pack('<IHHQIIQQIIQQQ', 9, 1 if o['Kern_mode'] == '1' else 2, 72, int(o['IbsOpRip'], 16), int(o['PID']),
                               int(o['TID']), int(o['TSC']) // 3, address, int(o['CPU_Number']), 0,
                               int(o['IbsDcMissLat']) if load else 0, op | level << 5 | number << 33, physical)

    def text(t):
        return struct.pack('<I', 64) + t.encode().ljust(64, b'\0')

    features = {8: text('AMD EPYC'), 9: text('AuthenticAMD,25,1,1'), 16: struct.pack('<II', 1, 11) + text('ibs_op')}
    data_at = 104 + 144
    at = data_at + len(records) + 16 * len(features)
    table, blob = b'', b''
    for number in sorted(features):
        table += struct.pack('<QQ', at + len(blob), len(features[number]))
        blob += features[number]
    head = b'PERFILE2' + struct.pack('<QQQQQQQQ', 104, 144, 104, 144, data_at, len(records), 0, 0)
    head += sum(1 << n for n in features).to_bytes(32, 'little')
    ibs = WORK / 'ibs.data'
    ibs.write_bytes(head + attr + struct.pack('<QQ', 0, 0) + records + table + blob)
    study = WORK / 'ibs.nf'
    done = nearfar('import', 'perf-data', ibs, '-o', study)
    check(done.returncode == 0 and 'evidence ibs, not validated on hardware' in done.stderr, f'ibs: {done.stderr!r}')
    row = json.loads(nearfar('sql', study, 'SELECT count(*), count(address), count(physical) FROM samples(1)', '--json').stdout)[0]
    check(list(row.values()) == [999, 175, 181], f'ibs: 999 ops, 175 with a valid address: {row}')
    shown = json.loads(nearfar('show', study, 'samples', '--json').stdout)
    check(sum(r['level'] in ('load, L2', 'store, L2') for r in shown) == 11, 'ibs: 11 data-cache misses')
    check(sum(r['rw'] == 'read' for r in shown) == sum(o['IbsLdOp'] == '1' for o in ops), 'ibs: loads are reads')
    said = subprocess.run(['perf', 'script', '-i', ibs, '--ns', '-F', 'pid,tid,cpu,time,addr,data_src'], capture_output=True, text=True)
    theirs = sorted((int(s_ + n), int(a, 16), int(d, 16)) for s_, n, a, d in
                    re.findall(r'(\d+)\.(\d+):\s+([0-9a-f]+)\s+([0-9a-f]+) \|OP', said.stdout))
    mine = json.loads(nearfar('sql', study, 'SELECT time_ns, ifnull(address, 0), data_src FROM samples(1)', '--json').stdout)
    check(len(theirs) == 999 and theirs == sorted(tuple(v if v >= 0 else v + (1 << 64) for v in r.values()) for r in mine),
          f'ibs: as perf script has it ({len(theirs)} there)')
finish()
