"""What `nearfar tiers --measure` says of this machine's own memory and of an emulated tier: every figure with its conditions,
kept in a testbed file, and a picture of the loaded-latency curves."""
import collections
import json
import os
import pathlib
import re
import shutil
import time

from system import WORK, check, finish, nearfar, refused, rows, whole

drawn = ['--plot', 'curves.svg'] if shutil.which('gnuplot') else []
began = time.monotonic()
done = nearfar('tiers', '--figures', '--json', '-o', 'testbed.nf', *drawn)
if not check(done.returncode == 0, f'measured: {done.stderr[-300:]}'):
    finish()
check(time.monotonic() - began < 120, f'two tiers in {time.monotonic() - began:.0f} s')
MIXES = {'read', 'write', 'mixed', 'mostly-read', 'stream-out'}
figures = json.loads(done.stdout)
of = {what: [f for f in figures if f['what'] == what] for what in ('latency', 'bandwidth', 'loaded', 'copy', 'fault')}
check({f['locality'] for f in of['latency']} == {'tlb-local', 'random'} and len(of['latency']) >= 12,
      f'{len(of["latency"])} latencies by page, locality and working set')
check({f['traffic'] for f in of['bandwidth']} == MIXES, f'{len(of["bandwidth"])} bandwidths')
check({f['tier'] for f in of['copy']} == {'near to far', 'far to near'}, 'copies both ways')
if len(os.sched_getaffinity(0)) > 1:
    check({f['traffic'] for f in of['loaded']} == MIXES | {''}, f'{len(of["loaded"])} points of loaded latency')
    if drawn:
        # Of each mix a colour: its points on each tier with the idle one, and one in the key. Around unstable ones a red ring.
        shown = collections.Counter(re.findall(r"<use [^>]*transform='translate[^>]*color='rgb\(([\d, ]+)\)'", (WORK / 'curves.svg').read_text()))
        rings = shown.pop('208,   0,   0', 0)
        of_mix = {mix: [f for f in of['loaded'] if f['traffic'] in (mix, '')] for mix in MIXES}
        check(sorted(shown.values()) == sorted(len(found) + 1 for found in of_mix.values()), f'their picture: points by colour {dict(shown)}')
        unstable = sum(f['stable'] == 'unstable' for found in of_mix.values() for f in found)
        check(rings == unstable + 1, f'and {rings} rings for {unstable} unstable points and the key')
check(len(of['fault']) == 1 and 50 < of['fault'][0]['ns'] < 1e6, f'a page fault: {[f["ns"] for f in of["fault"]]} ns')
beyond = max(f['working_set_bytes'] for f in of['latency'])
reported = [p for p in pathlib.Path(f'/sys/devices/system/cpu/cpu{figures[0]["cpu"]}/cache').glob('index*/size')]
reported = max((int(p.read_text().strip().removesuffix('K')) << 10 for p in reported), default=0)
check(beyond >= max(256 << 20, 4 * reported) or 'may be the cache' in done.stderr, f'{beyond} bytes are beyond a cache of {reported}')
largest = {f['tier']: f['ns'] for f in of['latency'] if f['page'] == '4k' and f['locality'] == 'tlb-local' and
           f['working_set_bytes'] == beyond}
check(largest['far'] > 1.3 * largest['near'], f'the emulated tier is slower, by about twice: {largest}')
caches = [f['ns'] for f in of['latency'] if f['tier'] == 'near' and f['working_set_bytes'] == 512 << 10]
check(max(caches) < largest['near'], f'what fits the caches is faster: {caches}')
pages = {f['page'] for f in of['latency'] if f['tier'] == 'near'}
for what, kinds in ('llc', pages), ('k', {f'{p} {rw}' for p in ('stream', 'strided', 'gather') for rw in ('read', 'write', 'update')}):
    found = [f for f in figures if f['what'] == what]
    check({f['page' if what == 'llc' else 'traffic'] for f in found} == kinds and {f['tier'] for f in found} == {'near'},
          f'{what} of what injects nothing: {[f["traffic"] or f["page"] for f in found]}')
check(all(256 << 10 <= f['bytes'] <= beyond for f in figures if f['what'] == 'llc'), 'caches of a plausible size')
k = {f['traffic']: f['k'] for f in figures if f['what'] == 'k'}
check(1 < k['gather read'] < k['stream read'] < 1000, f'several lines are under way, of a stream more: {k}')
flush, fence = ([f['ns'] for f in figures if f['what'] == what] for what in ('flush', 'fence'))
check(len(flush) == len(fence) and all(0 < a < b for a, b in zip(flush, fence)), f'waiting for each flush costs more: {flush}, {fence}')
allowed = os.sched_getaffinity(0)
check({f['cpu'] for f in figures} <= allowed and len({f['cpu'] for f in figures}) == 1, f'all of one CPU, although none was named: {figures[0]}')
check(all(f['governor'] and f['llc_bytes'] > 0 and (f['parallelism'] == 1) == (f['what'] in ('latency', 'loaded', 'llc')) for f in figures),
      'printed with governor, cache and chains')
seen = {f['page']: f['bytes'] for f in figures if f['what'] == 'llc'}
wrong = [f for f in figures if f['tier'] in ('near', 'far') and f['llc_bytes'] != seen[f['page']]]
check(not wrong, f'each beside the cache as its own pages show it: {seen}, {wrong[:2]}')
busy = [f for f in figures if f['what'] in ('bandwidth', 'loaded') and f['threads']]
wide = max(f['threads'] for f in of['bandwidth'])
check(wide == len(allowed) or len(list(pathlib.Path('/sys/devices/system/node').glob('node[0-9]*'))) > 1, f'bandwidth of as many threads as there are CPUs here, on one node: {wide}')
check(all(f['traffic_cpus'] for f in busy) and {f['traffic_cpus'] for f in busy if f['threads'] == 1 and f['what'] == 'bandwidth'} ==
      {str(figures[0]['cpu'])}, f'where traffic ran: {sorted({f["traffic_cpus"] for f in busy})}')
kept = rows('testbed.nf', 'SELECT what, samples, stable, working_set_bytes, llc_bytes, page, cpu, governor FROM tier_figure')
check(len(kept) == len(figures) and whole('testbed.nf'), f'{len(kept)} figures kept')
for what, samples, stable, working_set, llc, page, cpu, governor in kept:
    n = len(json.loads(samples))
    if not (7 <= n <= 50 and (stable or n == (9 if what == 'llc' else 50)) and working_set and llc and page and cpu in allowed and governor):
        check(False, f'a figure has its conditions and samples: {(n, stable, working_set, llc, page, cpu, governor)}')
conditions = json.loads(rows('testbed.nf', 'SELECT conditions FROM testbed')[0][0])
check(conditions['prefetchers'].startswith('off-mask') or (conditions['prefetchers'] == 'unknown' and conditions['prefetchers_why']),
      f'prefetchers, or why they are unknown: {conditions}')
refused(nearfar('tiers', '--plot', 'curves.gif'), 2, '.svg')
for far in '--far-latency', '--far-bandwidth':
    refused(nearfar('tiers', '--measure', '--tier', 'numa', '--tier', 'emulated', far, '1.5'), 2, 'say it in the tier')
refused(nearfar('tiers', '--measure', '--cpu', 'first'), 2, 'number of a CPU')
refused(nearfar('tiers', '--measure', '--cpu', max(allowed) + 1000), 2, 'may not run on CPU')
refused(nearfar('tiers', '--plot', 'curves.svg', '--cpu', min(allowed), '--cpu', max(allowed)), 2, 'what one CPU measured')
# Each of several CPUs in turn, its near memory its own node's.
tier = 'numa' if figures[0]['placement'] == 'proved' else 'null'
done = nearfar('tiers', '--measure', '--json', '--tier', tier, *(w for cpu in sorted(allowed)[:2] for w in ('--cpu', cpu)))
measured = json.loads(done.stdout) if check(done.returncode == 0, f'from several CPUs: {done.stderr[-300:]}') else []
check([m['cpu'] for m in measured] == sorted(allowed)[:2] and all(m['latency_ns'] > 0 and m['placement'] == figures[0]['placement'] for m in measured),
      f'a line each, placement proved: {measured}')
finish()
