"""What `nearfar tiers` finds on machines nobody here has: sysfs trees kept as one text file each in tests/machines, unpacked
below a folder that --root names; the table, the tree and the JSON beside what is expected of them.

With WRITE=1 in the environment what is printed becomes what is expected: look at the difference before committing it."""
import json
import os

from machine import unpack
from system import SOURCE, WORK, check, finish, nearfar, refused

MACHINES = SOURCE / 'tests/machines'


def golden(name, text):
    path = MACHINES / name
    if os.environ.get('WRITE') == '1':
        path.write_text(text)
    expected = path.read_text() if path.exists() else ''
    if not check(text == expected, f'{name} is as expected'):
        print(f'--- found\n{text}--- expected\n{expected}')


for source in sorted(MACHINES.glob('*.tree')):
    root = unpack(source, WORK / source.stem)
    results = {form: nearfar('tiers', '--root', root, *([form] if form else [])) for form in ('', '--tree', '--json', '--csv')}
    check(all(r.returncode == 0 for r in results.values()), f'{source.stem}: read: {[r.stderr for r in results.values()]}')
    golden(source.stem + '.txt', results[''].stdout + '\n' + results['--tree'].stdout)
    rows = json.loads(results['--json'].stdout)
    check(len(rows) == len(results['--csv'].stdout.splitlines()) - 1, f'{source.stem}: {len(rows)} rows in every form')
    by_name = {row['name']: row for row in rows}
    if source.stem == 'two-sockets-cxl':
        chain, at = [], 'node2'
        while at:
            chain.append(at)
            at = by_name[at]['on'].partition(' ')[0]
        check(chain == ['node2', 'dax0.0', 'region0', 'decoder3.0', 'mem0'], f'from the node to the device: {chain}')
        check([by_name[m]['node'] for m in ('mem0', 'mem1', 'mem2')] == [2, 2, None], 'which device backs which node')

refused(nearfar('tiers', '--root', WORK / 'nowhere'), 1, 'no memory')
refused(nearfar('tiers', '--root', WORK, '--measure'), 2, 'cannot be measured')
refused(nearfar('tiers', '--tree', '--json'), 2, '--tree')
here = nearfar('tiers', '--json')
check(here.returncode == 0 and any(row['kind'] == 'node' for row in json.loads(here.stdout)), 'this machine has nodes')
finish()
