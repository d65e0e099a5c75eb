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
    golden(source.stem + '.json', results['--json'].stdout)
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
        check([by_name[f'decoder0.{n}']['node'] for n in range(2)] == [2, None], 'and which window it is reached through')
    if source.stem == 'twelve-ways':
        lost = [row['name'] for row in rows if row['name'].startswith(('mem', 'decoder')) and row['node'] != 1]
        check(not lost, f'all that the node is interleaved over, and all that leads there, is known to: {lost}')
        check([[by_name[name][f'rated_{what}'] for what in ('read_latency_ns', 'write_latency_ns', 'read_bytes_per_s', 'write_bytes_per_s')]
               for name in ('region0', 'dax0.0')] == [[310, 330, 336000 * 2**20, 288000 * 2**20]] * 2,
              f'what the region is rated at, and the devdax on it: {by_name["dax0.0"]}')
        check(all('QoS class 7' in by_name[name]['detail'] for name in ('mem0', 'mem11', 'decoder0.0')), 'the class of devices and window')
    if source.stem == 'firmware-cxl':
        check([by_name[name]['node'] for name in ('mem0', 'decoder2.0', 'region0', 'decoder0.0', 'mem1', 'region1')] == [1] * 4 + [None] * 2 and
              by_name['node1']['on'] == 'region0', 'memory that the firmware onlined is its node\'s, by its address')

# More devices than anybody has had, more nodes than are kept, a list longer than what it is kept in.
many = WORK / 'many'
for n in range(300):
    (many / f'sys/bus/cxl/devices/mem{n}').mkdir(parents=True)
for n in range(66):
    node = many / f'sys/devices/system/node/node{n}'
    node.mkdir(parents=True)
    (node / 'meminfo').write_text(f'Node {n} MemTotal: 1024 kB\n')
    (node / 'cpulist').write_text(','.join(map(str, range(n, 66 * 100, 66))) + '\n')
result = nearfar('tiers', '--json', '--root', many)
rows = json.loads(result.stdout)
check(sum(row['kind'] == 'cxl memdev' for row in rows) == 300, 'of 300 devices none is lost')
check(sum(row['kind'] == 'node' for row in rows) == 64 and 'more than 64 NUMA nodes: node 64 and those after it are left out' in
      result.stderr, f'of 66 nodes two are, which is said: {result.stderr!r}')
check('...' in rows[0]['detail'], f'a list that is cut says so: {rows[0]["detail"][-20:]!r}')

refused(nearfar('tiers', '--root', WORK / 'nowhere'), 1, 'no memory')
refused(nearfar('tiers', '--root', WORK, '--measure'), 2, 'cannot be measured')
refused(nearfar('tiers', '--tree', '--json'), 2, '--tree')
here = nearfar('tiers', '--json')
check(here.returncode == 0 and any(row['kind'] == 'node' for row in json.loads(here.stdout)), 'this machine has nodes')
finish()
