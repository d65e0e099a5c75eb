"""A job captured with a source that sees everything: its report says what was seen, in the numbers that show prints."""
import csv
import json

from system import WORK, check, finish, job, nearfar, rows, skip

doctor = {row['name']: row for row in json.loads(nearfar('doctor', '--json').stdout) if row['kind'] == 'capture source'}
if doctor['page-fault']['usable'] != 'yes':
    skip('source page-fault does not work here: ' + doctor['page-fault']['what it is, or why not'])


def report(study, *arguments):
    result = nearfar('analyze', study, '-o', f'{study}.d', *arguments)
    check(result.returncode == 0, f'{study}: reported: {result.stderr[-300:]!r}')
    return WORK / f'{study}.d'


def table(folder, name):
    with open(folder / name, newline='') as file:
        return list(csv.DictReader(file))


def number(text):
    """As JSON has it."""
    try:
        return float(text)
    except ValueError:
        return None if text == 'unknown' else text


def numbers(objects):
    return [[number(v) if isinstance(v, str) else v if v is None else float(v) for v in o.values()] for o in objects]


def shown(study, view):
    result = nearfar('show', study, view, '--json')
    check(result.returncode == 0, f'show {view}: {result.stderr[-200:]!r}')
    return json.loads(result.stdout)


captured = nearfar('capture', '-q', '-o', 'a.nf', '--source', 'page-fault', '--passes', 'access,timing', '--',
                   *job('--width', '256', '--seq', '64', '--batch', '4'))
check(captured.returncode == 0, f'captured: {captured.stderr[-300:]!r}')
replayed = nearfar('replay', 'a.nf', '--near', '50%', '--policy', 'lru', '--blocks', '1', '--mode', 'asap', '--steps', '1')
check(replayed.returncode == 0, f'replayed: {replayed.stderr[-300:]!r}')
folder = report('a.nf')
summary = (folder / 'summary.md').read_text()
chapter = summary[summary.find('## What the accesses are known from'):summary.find('## Machine and tiers')]
facts = json.loads((folder / 'provenance.json').read_text())

# --- the audit ---
ops = shown('a.nf', 'audit')
check(ops and numbers(ops) == numbers(table(folder, 'audit-ops.csv')), f'audit-ops.csv has the {len(ops)} rows of show audit')
tensors = shown('a.nf', 'audit-tensors')
check(tensors and numbers(tensors) == numbers(table(folder, 'audit-tensors.csv')), f'audit-tensors.csv has the {len(tensors)} rows of show')
declared, seen, agreed = (sum(t[k] for t in tensors) for k in ('declared_bytes', 'seen_bytes', 'agreed_bytes'))
audit = facts['audit']
check((audit['declared_bytes'], audit['seen_bytes'], audit['agreed_bytes']) == (declared, seen, agreed) and
      abs(audit['agreement'] - agreed / (declared + seen - agreed)) < 1e-12,
      f'provenance.json: {agreed} of {declared} declared and {seen} seen bytes')
by_kind = {row['kind']: row for row in table(folder, 'audit.csv')}
for kind, row in by_kind.items():
    check(int(row['bytes']) == sum(o['bytes'] for o in ops if o['kind'] == kind) and row['explained'] and row['example'],
          f'{kind}: {row["bytes"]} bytes, for example {row["example"]}: {row["explained"]}')
    check(f'| {kind} |' in chapter, f'{kind} stands in the report')
check(set(by_kind) == {o['kind'] for o in ops}, 'every kind is there')
check(f'agree on {100 * audit["agreement"]:.4g} %' in chapter, 'the agreement is said in words')
check(audit['agreement'] > 0.9, f'a plain job and the page tables agree: {audit["agreement"]}')

# --- the sources ---
source, = shown('a.nf', 'sources')
check(numbers([source]) == numbers(table(folder, 'sources.csv')), 'sources.csv has the row of show sources')
observation, = facts['observations']
check(all(observation[k] == source[k] for k in ('source', 'evidence', 'samples', 'attributed', 'between_ops', 'unattributed',
                                                'out_of_arena', 'other_process', 'outside_steps', 'throttled', 'undecoded')),
      'provenance.json lists the observation')
check(f'| {source["samples"]} | {source["attributed"]} |' in chapter, 'so does the report')
lost = rows('a.nf', 'SELECT lost * 1.0 / (lost + samples) FROM observation')[0][0]
check((lost > 0.01) == ('Read this first' in summary), f'{100 * lost:.2f} % lost: said first when it is more than 1 %')

# --- reuse ---
visited = sum(o['bytes'] for o in shown('a.nf', 'ops'))
whole = [r for r in table(folder, 'reuse-summary.csv') if r['group'] == 'all'][0]
check(abs(float(whole['bytes']) - visited) < 1e-6 * visited, f'reuse of {visited} bytes')
block = facts['reuse']['block_bytes']
curve = json.loads(nearfar('show', 'a.nf', '--mrc', '--by', 'role', '--block', block, '--json').stdout)
wanted = [[number(v) for k, v in row.items() if k != 'time_ns'] for row in csv.DictReader((folder / 'mrc.csv').open())]
check(wanted == numbers([{k: v for k, v in r.items() if k != 'time_ns'} for r in curve]), f'mrc.csv has the {len(curve)} rows of show --mrc')

# --- a capture by the framework alone ---
captured = nearfar('capture', '-q', '-o', 'b.nf', '--passes', 'access,timing', '--', *job())
check(captured.returncode == 0, f'captured: {captured.stderr[-300:]!r}')
check(nearfar('replay', 'b.nf', '--near', '50%', '--policy', 'lru', '--blocks', '1', '--mode', 'asap', '--steps', '1').returncode == 0, 'replayed')
folder = report('b.nf')
check("Accesses rest on the framework's word; capture with --source page-fault to check them." in (folder / 'summary.md').read_text() and
      not (folder / 'audit.csv').exists(), "the framework's word is named as such")
finish()
