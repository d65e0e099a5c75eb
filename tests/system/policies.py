"""Every policy that is listed replays a real training job: its trials end well, prove their placement, and do what their legend says."""
import json

from system import check, finish, job, nearfar, rows

listed = {row['name']: row for row in json.loads(nearfar('policies', '--json').stdout)}
# What samples, or acts in seconds, is given a job of a few milliseconds to see.
OPTIONS = {'hemem': 'page=4K,period=8,speed=100', 'colloid': 'page=4K,period=8,speed=100', 'memtis': 'page=4K,period=4,speed=1000',
           'tpp': 'speed=1000', 'nbt': 'speed=1000', 'trace': 'inner=lru,file=trace.txt'}
usable = [name for name, row in listed.items() if row['usable'] == 'yes']
check(len(usable) >= 25, f'{len(usable)} policies are usable here')
for name in set(listed) - set(usable):
    check(len(listed[name]['about']) > 20, f'{name} is not, and says why: {listed[name]["about"]}')

done = nearfar('capture', '-q', '-o', 'job.nf', '--', *job('--width', '64', steps=4))
check(done.returncode == 0, f'captured {done.stderr[-200:] if done.returncode else ""!r}')
wishes = [f'--policy={name}' + (f':{OPTIONS[name]}' if name in OPTIONS else '') for name in usable]
result = nearfar('replay', '-q', 'job.nf', *wishes, '--policy', 'best-interleave:ratios=10:30', '--near', '30%', '--mode', 'none',
                 '--blocks', '1', '--steps', '4', '--llc', '64KiB')
check(result.returncode == 0 and ' 0 failed' in result.stderr, f'replayed: {result.stderr.strip()[-200:]!r}')

trials = {}
for policy, options, semantics, status, message, moves, moved, stall, fault, proofs in rows(
        'job.nf', 'SELECT policy, policy_options, semantics, status, message, moves, moved_bytes, stall_ns, fault_ns, proofs FROM trial'):
    trials[policy] = moved
    check(status in ('ok', 'unsteady') and proofs > 0, f'{policy} {options}: {status} {message}')
    check(semantics == listed[policy]['semantics'], f'{policy}: its legend is what was listed')
    if 'no migration' in semantics:
        check(moves == 0 and moved == 0, f'{policy} moves nothing')
    elif 'kernel' not in semantics:
        check(moves > 0 and moved > 0, f'{policy} moves: {moves} moves, {moved} bytes')
    check((fault > 0) == ('by page' in semantics and 'samples' in semantics and policy != 'trace' and moves > 0) and fault <= stall,
          f'{policy}: {fault} ns of {stall} ns stood still for faults')
check(set(trials) == set(usable), f'all were replayed: {set(usable) ^ set(trials)}')
check(trials['lru-drop'] <= trials['lru'], f'what is clean is not copied back: {trials["lru-drop"]} of {trials["lru"]} bytes')
check(rows('job.nf', "SELECT count(DISTINCT policy_options) FROM trial WHERE policy = 'interleave'")[0][0] == 3, 'a sweep is one trial per ratio')

result = nearfar('analyze', 'job.nf', '-o', 'report')
check(result.returncode == 0, f'reported {result.stderr[-200:]!r}')
finish()
