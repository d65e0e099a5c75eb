"""nearfar on memory that this machine lacks: a Linux guest with a slower NUMA node, a CXL device, a devdax. Functional truth
only: the guest's times are the emulator's. usage: testbed.py NEARFAR SOURCE PART"""
import json
import pathlib
import re
import sqlite3
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'system'))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import guest as testbed  # noqa: E402
from guest import Guest, Missing  # noqa: E402
from machine import unpack  # noqa: E402
from system import NEARFAR, SOURCE, WORK, check, finish, nearfar, skip  # noqa: E402

EMULATED = 3  # core/model/words.h: evidence 'emulated-machine'


def boot(topology, version, script, files=(), timeout_s=170):
    """The script's result; it has to end well."""
    try:
        machine = Guest(topology, version, NEARFAR.parent)
    except Missing as missing:
        skip(str(missing))
    result = machine.run('set -x\n' + script, files, timeout_s, WORK / f'{topology}-{version}')
    if not check(result.status == 0, f'{topology} {version}: the guest\'s job ends well: {result.status}, {result.seconds:.1f} s'):
        print(result.console[-6000:])
        finish()
    return result


def captured(size=65536, steps=6):
    """A captured stream small enough for a guest."""
    kernels = WORK / 'kernels'
    subprocess.run(['gcc', '-O1', '-I', SOURCE / 'capture/annotate', SOURCE / 'examples/kernels.c', '-o', kernels, '-ldl',
                    '-lpthread'], check=True)
    done = nearfar('capture', '-q', '-o', 'job.nf', '--', kernels, 'triad', size, steps)
    check(done.returncode == 0, f'captured: {done.stderr[-300:]!r}')
    return WORK / 'job.nf', kernels


def built(name):
    """A helper of these tests, compiled."""
    program = WORK / name
    subprocess.run(['gcc', '-O1', SOURCE / f'tests/testbed/{name}.c', '-o', program], check=True)
    return program


def nodes(result, name):
    return {row['node']: row for row in json.loads(result.text(name)) if row['kind'] == 'node'}


def rows(result, name, sql):
    with sqlite3.connect(f'file:{result.out / name}?mode=ro', uri=True) as db:
        return db.execute(sql).fetchall()


def check_two_nodes(found):
    check(set(found) >= {0, 1}, f'the nodes that the emulator was told of: {sorted(found)}')
    for node, (latency, bandwidth), distance in (0, testbed.NEAR, 10), (1, testbed.FAR, testbed.FAR_DISTANCE):
        row = found[node]
        check(row['rated_read_latency_ns'] == latency, f'node {node}: rated latency {row["rated_read_latency_ns"]} for {latency} ns')
        check(abs(row['rated_read_bytes_per_s'] / (bandwidth * 2**30) - 1) < 0.08,
              f'node {node}: rated bandwidth {row["rated_read_bytes_per_s"]:.4g} for {bandwidth} GiB/s')
        check(row['rated_write_latency_ns'] == latency and row['rated_write_bytes_per_s'] == row['rated_read_bytes_per_s'],
              f'node {node}: the same for writes: {row["rated_write_latency_ns"]}, {row["rated_write_bytes_per_s"]}')
        # What a kernel gives every node until somebody says otherwise (6.12; by the rated bandwidth since 6.16).
        check(row['weight'] == 1, f'node {node}: interleave weight {row["weight"]}')
        check(row['distance'] == distance, f'node {node}: distance {row["distance"]} for {distance}')
    check(found[1]['kernel_tier'] > found[0]['kernel_tier'], f'kernel tiers {found[0]["kernel_tier"]}, {found[1]["kernel_tier"]}')
    # The kernel keeps some of it for itself.
    check(0.9 * testbed.FAR_BYTES < found[1]['bytes'] <= testbed.FAR_BYTES, f'node 1: {found[1]["bytes"]} bytes')


def check_replay(result, far):
    """Three policies on real nodes: every trial good, nothing far that a policy kept near, labelled as what it is."""
    trials = rows(result, 'job.nf', 'SELECT policy, status, message, evidence, proofs, page_faults FROM trial')
    check(len(trials) >= 4 and {t[1] for t in trials} == {'ok'}, f'{len(trials)} trials on node {far}: {[t[:3] for t in trials]}')
    check({t[3] for t in trials} == {EMULATED}, f'evidence of every trial: {({t[3] for t in trials})}')
    traffic = dict(rows(result, 'job.nf', "SELECT t.policy, sum(CASE WHEN tt.tier_number THEN tt.read_bytes + tt.write_bytes ELSE "
                        "0 END) * 1.0 / sum(tt.read_bytes + tt.write_bytes) FROM trial t JOIN trial_tier tt ON tt.trial_id = t.id "
                        'GROUP BY 1'))
    check(traffic['all-near'] == 0 and traffic['all-far'] == 1, f'share of bytes far: {traffic}')
    check(0.3 < traffic['interleave'] < 0.7, f'interleave at 50 % puts about half far: {traffic["interleave"]:.2f}')


def check_injected(result):
    """Delay injected into an emulator's memory, as a replay does unasked: still an emulator's time, and on no curve."""
    trials = rows(result, 'injected.nf', 'SELECT policy, status, evidence FROM trial')
    check({t[1:] for t in trials} == {('ok', EMULATED)} and {t[0] for t in trials} == {'all-near', 'all-far'}, f'injected: {trials}')
    tiers = rows(result, 'injected.nf', 'SELECT name, provider, evidence FROM tier ORDER BY number')
    check([t[0] for t in tiers] == ['near', 'far'] and tiers[1][1] == 'emulated' and {t[2] for t in tiers} == {EMULATED}, f'on {tiers}')
    done = nearfar('analyze', result.out / 'injected.nf', '-o', 'injected')
    drawn = [p.name for p in (WORK / 'injected').glob('policy-curve*')]
    check(not drawn and (done.returncode or 'barred from curves' in ''.join(p.read_text() for p in (WORK / 'injected').glob('*.html'))),
          f'its report draws no curve: {done.returncode}, {drawn}, {done.stderr[-300:]!r}')


def slower():
    """A node without CPUs, slower by the firmware's word: found, bound, proved, replayed on."""
    study, _ = captured()
    result = boot('A', '6.12', '''
nearfar tiers --json >$OUT/tiers.json || exit 1
cp job.nf /tmp/job.nf && cd /tmp
nearfar replay -q job.nf --tier numa:node=0 --tier numa:node=1 --policy all-far,interleave,lru --near 50% --mode asap --blocks 1 --steps 2
rc=$?
cp job.nf $OUT/
cp ~/job.nf injected.nf
nearfar replay -q injected.nf --llc 1M --far-latency 1 --far-bandwidth 1 --policy all-far --near 50% --mode asap --blocks 1 --steps 2 || exit 1
cp injected.nf $OUT/
echo 1 >/proc/sys/kernel/numa_balancing
cp ~/job.nf refused.nf
nearfar replay -q refused.nf --tier numa:node=0 --tier numa:node=1 --policy all-far --mode asap --blocks 1 --steps 2 2>$OUT/refused
echo $? >>$OUT/refused
exit $rc''', [study])
    check_two_nodes(nodes(result, 'tiers.json'))
    check_replay(result, 1)
    check_injected(result)
    said = result.text('refused')
    check('mend: sysctl kernel.numa_balancing=0' in said and said.split()[-1] == '3', f'a kernel that moves pages is refused: {said!r}')


def proof():
    """Pages moved behind the replay's back fail the trial, in words, and the study stays whole."""
    study, _ = captured(steps=6)
    result = boot('A', '6.12', '''
cp job.nf /tmp/job.nf && cd /tmp
tiers="--tier numa:node=0 --tier numa:node=1 --policy all-near --near 100% --mode asap --blocks 1"
nearfar replay -q job.nf $tiers --steps 2 || exit 1
nearfar replay -q job.nf $tiers --reuse-testbed --steps 3000 &
pid=$!
n=0
while [ $n -lt 400 ]; do
    if [ -d /proc/$pid ]; then ~/migratepages $pid 0 1; else break; fi
    sleep 0.1; n=$((n + 1))
done
wait $pid
echo $? >$OUT/rc
cp job.nf $OUT/''', [study, '/usr/bin/migratepages'])
    # Whichever comes first: the calibration that every trial needs, which ends the replay, or a trial.
    said = [message for message, in rows(result, 'job.nf', "SELECT message FROM trial WHERE status = 'failed'")]
    said += [line for line in result.console.splitlines() if line.startswith('nearfar: the all-near calibration failed')]
    if not check(said and all('node' in message for message in said) and result.text('rc').strip() != '0',
                 f'moved pages fail the trial: {said[:2]}'):
        print('exit status', result.text('rc'), result.console[-6000:])
    check(rows(result, 'job.nf', 'PRAGMA integrity_check') == [('ok',)], 'the study is whole')


# Data written to a tier and read back, its placement proved: the suite of all providers, on this one.
CONFORMANCE = NEARFAR.parent / 'tests/conformance/conformance-tier'


def check_conformance(result, name, output=None):
    """Every test of the provider that this memory has options for ran and passed."""
    text = result.text(output or name)
    for test in 'declares itself', 'memory', 'charge', 'refuses unknown options':
        check(f'[       OK ] {name}: {test}' in text, f'{name}: {test}: {text[-400:] if "FAILED" in text else "passed"}')


def cxl():
    """A CXL device becomes a region, a devdax and a node; data comes back from both; the node is replayed on and is measurably
    slower."""
    if not CONFORMANCE.exists():
        skip('the suite of providers was not built (package libcmocka-dev)')
    study, _ = captured()
    result = boot('AB', '6.12', '''
nearfar tiers --json >$OUT/before.json || exit 1
nearfar tiers --tree
~/conformance-tier 'dax: *' >$OUT/dax 2>&1 || { cat $OUT/dax; exit 1; }
dax_to_ram || exit 1
nearfar tiers --json >$OUT/tiers.json || exit 1
nearfar tiers --tree
sh ~/record >$OUT/machine.tree || exit 1
~/conformance-tier 'numa: *' numa:node=$FAR >$OUT/numa 2>&1 || { cat $OUT/numa; exit 1; }
~/conformance-tier 'numa: *' numa:node=$FAR,page=thp >$OUT/huge 2>&1 || { cat $OUT/huge; exit 1; }
cp job.nf /tmp/job.nf && cd /tmp
nearfar replay -q job.nf --tier numa:node=0 --tier numa:node=$FAR --policy all-far,interleave,lru,$HOME/policy-migrates.so --near 50% --mode asap --blocks 3 --steps 2
rc=$?
cp job.nf $OUT/
exit $rc''', [study, CONFORMANCE, pathlib.Path(__file__).parent / 'record', NEARFAR.parent / 'tests/conformance/policy-migrates.so'])
    check_conformance(result, 'dax')
    check_conformance(result, 'numa')
    check_conformance(result, 'numa', 'huge')
    for moves, least, proofs, pages_by in rows(result, 'job.nf', 'SELECT moves, (SELECT min(moved_in_bytes) FROM trial_tier WHERE trial_id = '
                                               "trial.id), proofs, pages_by FROM trial WHERE policy = 'shuttle'"):
        check(moves > 0 and least > 0 and proofs >= 2 and pages_by == 'pool',
              f'pages migrated between DRAM and the CXL node, both ways, proved {proofs} times: {moves} moves, {least} bytes at least each way')
    before, found = (json.loads(result.text(name)) for name in ('before.json', 'tiers.json'))
    # The machine as it was recorded there and read here is the one that was read there.
    recorded = nearfar('tiers', '--json', '--root', unpack(result.out / 'machine.tree', WORK / 'recorded'))
    check(recorded.returncode == 0 and json.loads(recorded.stdout) == found, f'a recorded tree is read as the machine itself: {recorded.stdout[-600:]}')
    memdev = [d for d in before if d['kind'] == 'cxl memdev']
    check([(d['name'], d['bytes']) for d in memdev] == [('mem0', testbed.CXL_BYTES)], f'the memory device: {memdev}')
    dax = [d for d in before if d['kind'] == 'devdax']
    check([(d['name'], d['node']) for d in dax] == [('dax0.0', 2)] and 0 <= testbed.CXL_BYTES - dax[0]['bytes'] <= 4 << 20,
          f'its devdax, and the node it would be: {dax}')
    by_name = {d['name']: d for d in before}
    chain = ['dax0.0']
    while by_name[chain[-1]]['on']:
        chain.append(by_name[chain[-1]]['on'].split()[0])
    check('decoder0.0' in by_name['region0']['on'].split(), f'and the window it lies in: {by_name["region0"]["on"]}')
    check(chain[:2] == ['dax0.0', 'region0'] and chain[2].startswith('decoder') and chain[3:] == ['mem0'],
          f'what the devdax stands on: {chain}')
    check(all(by_name[name]['node'] == 2 for name in chain), f'which node it backs: {[by_name[n]["node"] for n in chain]}')
    check(by_name['region0']['bytes'] == testbed.CXL_BYTES and 'committed' in by_name['region0']['detail'],
          f'the region: {by_name["region0"]}')
    check_two_nodes(nodes(result, 'tiers.json'))
    onlined = [d for d in found if d['kind'] == 'system-ram']
    check([(d['name'], d['node']) for d in onlined] == [('dax0.0', 2)], f'onlined: {onlined}')
    # Memory comes in blocks of 128 MiB.
    check(nodes(result, 'tiers.json')[2]['bytes'] == 896 << 20, f'node 2: {nodes(result, "tiers.json")[2]}')
    check_replay(result, 2)
    (near, near_bps), (far, far_bps) = rows(result, 'job.nf', 'SELECT latency_ns, read_bps FROM tier ORDER BY number')
    check(far > 1.2 * near and near_bps > 10 * far_bps, f'the CXL node is slower: {near:.0f} and {far:.0f} ns, '
          f'{near_bps / 1e6:.0f} and {far_bps / 1e6:.0f} MB/s')
    # The least disturbed block of each: the emulator shares the host's CPUs with whatever else runs there.
    steps = dict(rows(result, 'job.nf', 'SELECT policy, min(wall_ns) FROM trial GROUP BY policy'))
    check(steps['all-far'] > steps['interleave'] > steps['all-near'], f'and so is the replay on it: {steps}')


def full():
    """A tier that fills up ends the trial with a clear error, and the study stays whole. A devdax at the speed of memory."""
    study, _ = captured(size=4 << 20, steps=3)
    result = boot('C', '6.1', '''
nearfar tiers --json >$OUT/tiers.json || exit 1
mkdir /tmp/small && mount -t tmpfs -o size=280m small /tmp/small
used() { df -k /tmp/small | awk 'END { print $3 }'; }
# Once the tier was measured, somebody else takes what is left.
(until [ "$(used)" -gt 200000 ]; do sleep 0.1; done; while [ "$(used)" -gt 200000 ]; do sleep 0.05; done
 dd if=/dev/zero of=/tmp/small/others bs=1M 2>/dev/null) &
cp job.nf /tmp/job.nf && cd /tmp
nearfar replay -q job.nf --tier numa:node=0 --tier file:path=/tmp/small --policy all-far --near 50% --mode asap --blocks 3 --steps 2
cp job.nf $OUT/''', [study])
    dax = [d for d in json.loads(result.text('tiers.json')) if d['kind'] == 'devdax']
    check([(d['name'], d['node']) for d in dax] == [('dax0.0', 1)], f'the devdax and its target node: {dax}')
    trials = rows(result, 'job.nf', 'SELECT policy, status, message FROM trial')
    check(trials and all(message.startswith("tier 'far': /tmp/small cannot hold") for policy, status, message in trials
                         if policy == 'all-far' and status == 'failed'), f'what a failed trial says: {trials}')
    check({status for policy, status, _ in trials if policy == 'all-far'} == {'failed'} and
          {status for policy, status, _ in trials if policy == 'all-near'} == {'ok'}, 'trials that need no far memory go on')
    check(rows(result, 'job.nf', 'SELECT count(*) FROM tier') == [(2,)], 'the tiers had been measured')
    check(rows(result, 'job.nf', 'PRAGMA integrity_check') == [('ok',)], 'the study is whole')


def filled():
    """A real node that somebody else fills up in the middle of a replay, between trials and while a mover puts pages there beside the ops,
    ends the trials that need it with a clear error; the others go on, and the study stays whole."""
    study, _ = captured(size=1048576, steps=4)
    result = boot('S', '6.12', '''
set +x
cp job.nf /tmp/job.nf && cd /tmp
tiers="--tier numa:node=0 --tier numa:node=1 --near 60% --mode asap --llc 1M"
nearfar replay -q job.nf $tiers --policy all-far --blocks 1 --steps 3 || exit 1
nearfar replay -q job.nf $tiers --policy all-far --reuse-testbed --blocks 2 --steps 60 &
pid=$!
# It stands still, with nothing of its own on the second node, until that is full.
near() { grep -q "bind:0 anon=[0-9][0-9][0-9][0-9]" /proc/$pid/numa_maps && ! grep -q "bind:1" /proc/$pid/numa_maps; }
until [ ! -d /proc/$pid ]; do
    if near; then kill -STOP $pid; near && break; kill -CONT $pid; fi
    sleep 0.02
done
fill() {
    ~/memory fill 1 600 >/tmp/filler &
    filler=$!
    until [ -s /tmp/filler ]; do sleep 0.1; done
    cat /tmp/filler
    kill -CONT $1
    wait $pid
    echo $? >>$OUT/rc
    kill $filler
    rm /tmp/filler
}
fill $pid
nearfar replay -q job.nf $tiers --policy ~/policy-migrates-beside.so --reuse-testbed --blocks 1 --steps 200 &
pid=$!
# The child that plays a policy from outside stands still with pages of near memory that a mover took to the second node.
until [ ! -d /proc/$pid ]; do
    child=$(cat /proc/$pid/task/$pid/children)
    child=${child%% *}
    [ -n "$child" ] && grep -q "bind:0 anon=.* N1=[0-9][0-9]" /proc/$child/numa_maps && kill -STOP $child && break
    sleep 0.02
done
fill $child
cp job.nf $OUT/''', [study, built('memory'), NEARFAR.parent / 'tests/conformance/policy-migrates-beside.so'], timeout_s=300)
    trials = rows(result, 'job.nf', 'SELECT replay_id, policy, status, message FROM trial ORDER BY id')
    first, last, beside = sorted({t[0] for t in trials})
    check({t[2] for t in trials if t[0] == first} == {'ok'}, f'while there is room: {[t for t in trials if t[0] == first]}')
    far = [t for t in trials if t[0] == last and t[1] == 'all-far']
    check(len(far) == 2 and far[-1][2] == 'failed' and all(t[2] == 'ok' or 'wanted on node 1, which has' in t[3] for t in far),
          f'once there is none: {far}')
    check([t[2] for t in trials if t[0] == last and t[1] == 'all-near'] == ['ok', 'ok'] and result.text('rc').split() == ['1', '1'],
          f'what needs no far memory goes on, and the end tells: {result.text("rc").split()}')
    moved = [t[2:] for t in trials if t[0] == beside and t[1] == 'shuttle']
    check(len(moved) == 1 and moved[0][0] == 'failed' and "tier 'far' is full: node 1 has no free memory for another page" in moved[0][1],
          f'while pages move there: {moved}')
    check('filled after' in result.console and rows(result, 'job.nf', 'PRAGMA integrity_check') == [('ok',)], 'the study is whole')


MAKE_EXT4 = pathlib.Path('/usr/sbin/mke2fs')


def block():
    """Provider file on block devices, persistent memory and compressed memory, and on a file system on persistent memory: what is written
    comes back, and what is mapped directly is told from the page cache."""
    if not CONFORMANCE.exists():
        skip('the suite of providers was not built (package libcmocka-dev)')
    if not MAKE_EXT4.exists():
        skip(f'no {MAKE_EXT4} (package e2fsprogs)')
    result = boot('C', '6.12', '''
ndctl create-namespace -f -e namespace0.0 -m fsdax >/tmp/ndctl 2>&1 && await /dev/pmem0 || { cat /tmp/ndctl; exit 1; }
modprobe zram && echo 256M >/sys/block/zram0/disksize || exit 1
for device in pmem0 zram0; do
    ~/conformance-tier 'file: *' file:path=/dev/$device,erase=yes >$OUT/$device 2>&1 || { cat $OUT/$device; exit 1; }
done
cat /sys/block/zram0/mm_stat >$OUT/stat
~/mke2fs -q -t ext4 -b 4096 -O ^has_journal /dev/pmem0 && modprobe crc32c_generic && modprobe ext4 && mkdir /tmp/fs || exit 1
for dax in always never; do
    mount -t ext4 -o dax=$dax /dev/pmem0 /tmp/fs || { dmesg | tail -5; exit 1; }
    ~/conformance-tier 'file: *' file:path=/tmp/fs >$OUT/$dax 2>&1 || { cat $OUT/$dax; exit 1; }
    ~/conformance-tier test_file_direct file:path=/tmp/fs >>$OUT/$dax 2>&1 || { cat $OUT/$dax; exit 1; }
    umount /tmp/fs || exit 1
done''', [CONFORMANCE, MAKE_EXT4])
    for device in 'pmem0', 'zram0', 'always', 'never':
        check_conformance(result, 'file', device)
    for dax, memory in ('always', 'memory of the device'), ('never', 'the page cache'):
        check(f'file:path=/tmp/fs: {memory}' in result.text(dax), f'ext4 mounted with dax={dax} is {memory}: {result.text(dax)[-300:]}')
    check(int(result.text('stat').split()[0]) > 0, f'and it was there: {result.text("stat")}')


def figures():
    """Every figure of two nodes, the kernel's page migration between them included, each way and proved."""
    result = boot('A', '6.12', '''
nearfar tiers --measure --json >$OUT/measured.json || exit 1
nearfar tiers --figures --json --tier numa:node=0 --tier numa:node=1,page=thp -o /tmp/testbed.nf >$OUT/figures.json || exit 1
cp /tmp/testbed.nf $OUT/''', timeout_s=400)
    found = json.loads(result.text('figures.json'))
    for what in 'copy', 'migrate':
        between = [f['tier'] for f in found if f['what'] == what]
        check(between == ['near to far', 'far to near'], f'{what}: {between}')
    unasked = [(m['name'], m['provider'], m['placement'], m['evidence']) for m in json.loads(result.text('measured.json'))]
    check(unasked == [(name, f'numa:node={node}', 'proved', 'emulated-machine') for node, name in enumerate(('near', 'far'))],
          f'unasked, the nodes that there are are measured: {unasked}')
    moved = {f['tier']: f['page'] for f in found if f['what'] == 'migrate'}
    check(moved == {'near to far': '4k', 'far to near': '2m'}, f'of the pages that there are: {moved}')
    check({f['page'] for f in found if f['what'] == 'latency'} == {'4k', '2m'}, 'latency on pages of both sizes')
    kept = rows(result, 'testbed.nf', 'SELECT count(*), min(json_array_length(samples)) FROM tier_figure')
    check(kept[0][0] == len(found) and kept[0][1] >= 7, f'all of them kept with their samples: {kept}')
    evidence = rows(result, 'testbed.nf', 'SELECT DISTINCT evidence FROM tier')
    check(evidence == [(EMULATED,)], f'labelled as an emulated machine\'s: {evidence}')


def live():
    """The job itself bound to each tier, and its replay: they agree in which order, the emulator's times being no others'."""
    study, kernels = captured()
    result = boot('AB', '6.12', '''
dax_to_ram || exit 1
cp job.nf /tmp/job.nf && cd /tmp
tiers="--tier numa:node=0 --tier numa:node=$FAR"
for rule in near far interleave weighted preferred-many first-touch; do
    nearfar run job.nf --bind $rule $tiers --repetitions 1 -- ~/kernels triad 65536 200 || exit 1
done
for plan in all-near:100% interleave:50% all-far:50%; do
    nearfar run job.nf --policy ${plan%:*} --near ${plan#*:} $tiers --repetitions 1 -- ~/kernels triad 65536 60 || exit 1
done
nearfar replay -q job.nf $tiers --policy all-far,interleave --near 50% --mode asap --blocks 1 --steps 4
rc=$?
cp job.nf $OUT/
exit $rc''', [study, kernels])
    medians, placed = {}, {}
    for kind, binding, evidence, message, steps, policy, followed, unknown in rows(
            result, 'job.nf', 'SELECT kind, binding, evidence, message, step_ns, policy, placed, unplaced FROM live_run'):
        steps = sorted(json.loads(steps)[1:])
        if kind == 'policy':
            placed[policy] = steps[len(steps) // 2]
            check(evidence == EMULATED and followed + unknown == 0 and ' blocks of the time before them placed' in message, f'placed by {policy}: {message}, evidence {evidence}')
            continue
        medians[binding.partition(':')[0] or kind] = steps[len(steps) // 2]
        check(evidence == EMULATED and (kind == 'alone' or '100.0 %' in message), f'{binding}: {message}, evidence {evidence}')
    replayed = dict(rows(result, 'job.nf', 'SELECT policy, wall_ns FROM trial'))
    check(medians['near'] < medians['interleave'] < medians['far'], f'bound jobs: {medians}')
    check(replayed['all-near'] < replayed['interleave'] < replayed['all-far'], f'replayed in the same order: {replayed}')
    check(placed['all-near'] < placed['interleave'] < placed['all-far'], f'placed by a plan, too: {placed}')
    check('weighted' in medians and medians['weighted'] < medians['far'], 'weighted interleave where the kernel has it')
    check(max(medians[rule] for rule in ('preferred-many', 'first-touch')) < medians['interleave'],
          'the nearest node that has room, and that of the CPU, are near')
    by = set(rows(result, 'job.nf', 'SELECT kind, pages_by FROM live_run'))
    check(by == {('alone', 'kernel'), ('bind', 'kernel'), ('policy', 'plan')}, f'who chose the pages: {sorted(by)}')
    check(rows(result, 'job.nf', 'SELECT DISTINCT pages_by FROM trial') == [('pool',)], 'and in the replay')
    old = boot('A', '6.1', '''
for rule in weighted far; do
    nearfar run ~/job.nf --bind $rule --repetitions 1 -- ~/kernels triad 65536 200
    echo $rule $? >>$OUT/codes
done''', [study, kernels])
    check(old.text('codes').split() == ['weighted', '3', 'far', '0'] and 'no weighted interleave' in old.console,
          f'an older kernel refuses weighted interleave and knows the other rules: {old.text("codes").split()}')


def moves():
    """A job whose storages move between DRAM and CXL memory when its operators begin, inline and by a thread: at the end of a step
    each page of the plan is where it should be, although the kernel makes huge pages, of several storages each, wherever it may."""
    kernels = captured()[1]
    done = nearfar('capture', '-q', '-o', 'train.nf', '--', kernels, 'train', 16384, 6)
    check(done.returncode == 0, f'captured: {done.stderr[-300:]!r}')
    result = boot('AB', '6.12', '''
dax_to_ram || exit 1
echo always >/sys/kernel/mm/transparent_hugepage/enabled
cp train.nf /tmp/job.nf && cd /tmp
for policy in lru ~/policy-migrates-beside.so; do
    nearfar run job.nf --policy $policy --near 50% --tier numa:node=0 --tier numa:node=$FAR --repetitions 1 -- ~/kernels train 16384 6 || exit 1
done
cp job.nf $OUT/''', [WORK / 'train.nf', kernels, NEARFAR.parent / 'tests/conformance/policy-migrates-beside.so'])
    for policy, asked, due, absent, moved, right, wrong, steps, evidence, deviation in rows(
            result, 'job.nf', 'SELECT policy, moves, due_moves, absent_moves, moved_bytes, right_pages, wrong_pages, followed_steps, evidence, '
            "deviation FROM live_run WHERE kind = 'policy'"):
        check(asked == due > 0 and moved > 0 and not absent and steps == 5 and not deviation,
              f'{policy}: {asked} of {due} moves asked for, {moved} bytes, in {steps} steps, {deviation!r}')
        check(right >= 4 * 16384 * 4 / 4096 and wrong == 0, f'{policy}: {right} pages on the node of their tier, {wrong} not')
        check(evidence == EMULATED, f'{policy}: evidence {evidence}')


def movers():
    """Storages that change their node and keep their address, inline and beside the ops, each proved; the kernel's own tiering
    refused with the reason until it is on, then its pages read back."""
    study, _ = captured()
    plugins = [NEARFAR.parent / f'tests/conformance/policy-{name}.so' for name in ('migrates', 'migrates-beside', 'kernel')]
    result = boot('A', '6.12', '''
cp job.nf /tmp/job.nf && cd /tmp
tiers="--tier numa:node=0 --tier numa:node=1 --near 50% --mode asap --blocks 1 --steps 3"
nearfar doctor >$OUT/doctor
nearfar replay -q job.nf $tiers --policy ~/policy-migrates.so || exit 1
nearfar replay -q job.nf $tiers --reuse-testbed --policy ~/policy-migrates-beside.so --cold || exit 1
nearfar replay -q job.nf --tier numa:node=0 --tier numa:node=0 --policy ~/policy-migrates.so
echo same $? >>$OUT/codes
echo 0 >/sys/kernel/mm/numa/demotion_enabled
nearfar replay -q job.nf $tiers --reuse-testbed --policy ~/policy-kernel.so
echo off $? >>$OUT/codes
echo 1 >/sys/kernel/mm/numa/demotion_enabled
echo 2 >/proc/sys/kernel/numa_balancing
nearfar replay -q job.nf $tiers --reuse-testbed --policy ~/policy-kernel.so --near 100%
echo on $? >>$OUT/codes
cp job.nf $OUT/''', [study, *plugins])
    trials = rows(result, 'job.nf', "SELECT replay_id, status, message, cold, moves, moved_bytes, proofs, moved_pages, helper_cpu, "
                  "(SELECT sum(moved_in_bytes) FROM trial_tier WHERE trial_id = trial.id) FROM trial WHERE policy = 'shuttle'")
    check({t[1] for t in trials} == {'ok'}, f'every trial is good: {[t[:3] for t in trials]}')
    by_replay = {replay: [t for t in trials if t[0] == replay] for replay in {t[0] for t in trials}}
    replays = sorted(by_replay)
    check(len(replays) == 3, f'two movers and the kernel: {len(replays)} replays')
    for name, replay in zip(('inline', 'beside the ops'), replays):
        for _, _, _, cold, moves, moved, proofs, strangers, helper, moved_in in by_replay[replay]:
            check(moves > 0 and moved_in == moved and proofs >= 2,
                  f'migrated {name}: {moves} moves, {moved} bytes, {moved_in} arrived, {proofs} proofs, cold {cold}')
            check(strangers < moved / 4096 / 2 + 64, f'what the policy asked for is no interference: {strangers} pages')
            check((helper >= 0) == (name != 'inline'), f'the thread of the mover {name}: {helper}')
    by = dict(rows(result, 'job.nf', f'SELECT semantics LIKE \'%kernel%\', pages_by FROM trial WHERE replay_id = {replays[2]}'))
    check(by == {0: 'pool', 1: 'kernel'}, f'who chose the pages of the last: {by}')
    check(all(t[7] == 0 for t in by_replay[replays[2]]), f'nor is what the kernel was left to do: {by_replay[replays[2]]}')
    check(result.text('codes').split() == ['same', '3', 'off', '3', 'on', '0'], f'exit codes: {result.text("codes").split()}')
    check('both on node 0' in result.console and 'demotion is off' in result.console, 'refusals say why')
    check('migrates pages between nodes in place' in result.text('doctor'), 'doctor knows the mover')


WEIGHTED, PREFERRED_MANY = 6, 5  # of the kernel's memory policies


def interleave():
    """Weighted interleave by a kernel that has it, and on one that has not by the pool and by what is preloaded into a job, put as many
    pages on each node."""
    weights, pages, size = (5, 3), 1032, 1 << 18  # what the job holds: whole rounds of 8, so that where one starts is the same
    study, kernels = captured(size=size, steps=4)
    # A huge page is dealt as one: whether a block holds one depends on where it came to lie.
    script = f'''
echo never >/sys/kernel/mm/transparent_hugepage/enabled
kernel=/sys/kernel/mm/mempolicy/weighted_interleave
[ ! -e $kernel ] || {{ echo {weights[0]} >$kernel/node0; echo {weights[1]} >$kernel/node1; }}
~/memory spread {WEIGHTED} {pages} >$OUT/kernel
~/memory spread {PREFERRED_MANY} {pages} >$OUT/preferred
cp job.nf /tmp/job.nf && cd /tmp
nearfar replay -q job.nf --tier numa:node=0 --tier numa:node=1 --policy weighted:weights={weights[0]}:{weights[1]} --near 100% --mode asap --blocks 1 --steps 2 || exit 1
for rule in weighted weighted:weights={weights[0]}:{weights[1]}; do
    nearfar run job.nf --bind $rule --tier numa:node=0 --tier numa:node=1 --repetitions 1 -- ~/kernels triad {size} 8
    echo $? >>$OUT/codes
done
cp job.nf $OUT/'''
    counts, ran = {}, {}
    for version in '6.12', '6.1':
        result = boot('A', version, script, [study, kernels, built('memory')])
        emulated = rows(result, 'job.nf', "SELECT t.status, t.proofs, tt.peak_bytes / 4096 FROM trial t JOIN trial_tier tt ON "
                        "tt.trial_id = t.id WHERE t.policy LIKE 'weighted%' ORDER BY t.id, tt.tier_number")
        check(emulated and all(status == 'ok' and proofs >= 2 for status, proofs, _ in emulated), f'{version}: proved: {emulated}')
        counts[version] = [n for _, _, n in emulated][:2], result.text('kernel').strip()
        check(result.text('preferred').split() == [str(pages), '0'], f'{version}: preferred-many takes the nearest that has '
              f'room: {result.text("preferred").strip()}')
        ran[version] = {by: message for by, message in rows(result, 'job.nf', "SELECT pages_by, message FROM live_run WHERE kind = 'bind'")}
        check(result.text('codes').split() == ['0' if version == '6.12' else '3', '0'], f'{version}: a job bound: {result.text("codes").split()}')
    expected = [pages * w // sum(weights) for w in weights]
    check(counts['6.12'] == (expected, ' '.join(map(str, expected))), f'6.12: the pool and the kernel: {counts["6.12"]}')
    check(counts['6.1'] == (expected, 'refused: Invalid argument'), f'6.1: the pool, the kernel having none: {counts["6.1"]}')
    check(list(ran['6.1']) == ['spread'] and set(ran['6.12']) == {'kernel', 'spread'}, f'who chose the pages of the job: {ran}')
    for version in ran:
        dealt = [tuple(map(int, found)) for found in re.findall(r'(\d+) \+ (\d+) pages on node', ran[version]['spread'])]
        check([blocks for blocks, _ in dealt] == expected, f'{version}: pages of the job\'s blocks: {ran[version]["spread"]}')
        share = sum(dealt[0]) / sum(map(sum, dealt))
        check(abs(share - weights[0] / sum(weights)) < 0.02, f'{version}: of all it has {share:.3f} near')
    share = float(re.search(r'([\d.]+) % on node 0', ran['6.12']['kernel']).group(1)) / 100
    check(abs(share - weights[0] / sum(weights)) < 0.02, f'6.12: as by the kernel: {ran["6.12"]["kernel"]}')


def gone():
    """A tier that disappears mid-trial, a devdax unbound and a node offlined, ends the trial with a clear error; the study stays
    whole, and the replay ends by itself."""
    study, _ = captured()
    result = boot('C', '6.1', '''
cp job.nf /tmp/job.nf && cd /tmp
how="--mode asap --blocks 1 --near 50% --policy all-far"
nearfar replay -q job.nf --tier numa:node=0 --tier dax $how --steps 1 || exit 1
nearfar replay -q job.nf --tier numa:node=0 --tier dax $how --reuse-testbed --steps 5000 &
pid=$!
until grep -q dax0.0 /proc/$pid/maps || [ ! -d /proc/$pid ]; do sleep 0.05; done
echo dax0.0 >/sys/bus/dax/drivers/device_dax/unbind
wait $pid
echo dax $? >>$OUT/codes
echo dax0.0 >/sys/bus/dax/drivers/device_dax/bind
dax_to_ram || exit 1
nearfar replay -q job.nf --tier numa:node=0 --tier numa:node=$FAR $how --steps 1 || exit 1
nearfar replay -q job.nf --tier numa:node=0 --tier numa:node=$FAR $how --reuse-testbed --steps 5000 &
pid=$!
until grep -q "bind:$FAR anon.*N$FAR=[0-9][0-9]" /proc/$pid/numa_maps || [ ! -d /proc/$pid ]; do sleep 0.05; done
for block in /sys/devices/system/node/node$FAR/memory*; do echo offline >$block/state; done
wait $pid
echo node $? >>$OUT/codes
cp job.nf $OUT/''', [study])
    codes = result.text('codes').split()
    check(codes[0::2] == ['dax', 'node'] and all(code in ('1', '3') for code in codes[1::2]), f'ended by itself, in failure: {codes}')
    said = [message for message, in rows(result, 'job.nf', "SELECT message FROM trial WHERE status = 'failed' ORDER BY id")]
    said += [line for line in result.console.splitlines() if line.startswith('nearfar: ') and 'failed' in line]
    for what in 'dax0.0 disappeared while it was in use', 'not on node 1':
        check(any(what in message for message in said), f'says: {what}')
    if len(codes) < 4 or not all(any(what in m for m in said) for what in ('disappeared', 'not on node 1')):
        print(said, result.console[-5000:])
    check(rows(result, 'job.nf', 'PRAGMA integrity_check') == [('ok',)], 'the study is whole')
    check(len(rows(result, 'job.nf', "SELECT 1 FROM trial WHERE status = 'ok'")) >= 4, 'with the trials before it')


# Reclaim asked of a control group demotes its pages; a process that stands still meanwhile has none in use. The kernel's scanner is
# told to look often, so that seconds are enough.
TIERING = '''
set +x
mkdir -p /tmp/cg && mount -t cgroup2 none /tmp/cg && echo +memory >/tmp/cg/cgroup.subtree_control || exit 1
mkdir /tmp/cg/replay /tmp/cg/other && mount -t debugfs none /sys/kernel/debug || exit 1
scanner=/sys/kernel/debug/sched/numa_balancing
echo 10 >$scanner/scan_delay_ms && echo 100 >$scanner/scan_period_min_ms && echo 100 >$scanner/scan_period_max_ms || exit 1
echo 1 >/sys/kernel/mm/numa/demotion_enabled
echo 2 >/proc/sys/kernel/numa_balancing
within() { sh -c 'echo $$ >/tmp/cg/replay/cgroup.procs; exec "$@"' - "$@"; }
counted() { awk "/^$1/ { sum += \\$2 } END { print sum + 0 }" /proc/vmstat; }
# Once memory with this rule is near, whole huge pages of addresses long, that of a trial, and still is after a while: demotes all that the
# replay has. It fails when the replay has ended.
near() { grep -q "^[0-9a-f]*[02468ace]00000 $1 anon=[0-9][0-9][0-9][0-9] .*N0=[0-9][0-9][0-9]" /proc/$pid/numa_maps; }
demote() {
    pid=
    while [ -d /proc/$job ] && [ -z "$pid" ]; do pid=$(head -n 1 /tmp/cg/replay/cgroup.procs); done
    while :; do
        until near $1; do [ -d /proc/$pid ] || return 1; sleep 0.02; done
        sleep $2
        kill -STOP $pid
        near $1 && break
        kill -CONT $pid
    done
    n=0
    while [ $n -lt 12 ]; do echo 16M >/tmp/cg/replay/memory.reclaim; n=$((n + 1)); done
    kill -CONT $pid
} 2>/dev/null
cp job.nf /tmp/job.nf && cd /tmp
tiers="--tier numa:node=0 --tier numa:node=1 --near 100% --mode asap --blocks 1 --llc 1M"
within nearfar replay -q job.nf $tiers --policy kernel --steps 1200 &
job=$!
# In the warm-up, perhaps; then again once its pages were promoted, in a step that is over and was read back.
demote default 0.7 && demote default 0.7 && demote default 0.7
wait $job || exit 1
echo $(counted pgdemote_) $(counted pgpromote_success) >$OUT/kernel

despite="--despite numa-balancing,demotion --reuse-testbed --policy all-far --steps 300"
~/memory hold 0 256 600 &
holder=$!
echo $holder >/tmp/cg/other/cgroup.procs
nearfar replay -q job.nf $tiers $despite &
job=$!
while [ -d /proc/$job ]; do echo 256K >/tmp/cg/other/memory.reclaim; sleep 0.05; done 2>/dev/null
wait $job
echo beside $? >>$OUT/codes
kill $holder

within nearfar replay -q job.nf $tiers $despite &
job=$!
while demote bind:0 0; do :; done
wait $job
echo bound $? >>$OUT/codes
cp job.nf $OUT/'''


def tiering():
    """The kernel's own demotion and promotion: a policy where asked for, its pages read back at every step; interference where not;
    and the end of a replay whose bound pages it takes."""
    study, _ = captured(size=262144, steps=4)
    result = boot('A', '6.12', TIERING, [study, built('memory')], timeout_s=400)
    demoted, promoted = map(int, result.text('kernel').split())
    replays = [replay for replay, in rows(result, 'job.nf', 'SELECT DISTINCT replay_id FROM trial ORDER BY 1')]
    trials = rows(result, 'job.nf', 'SELECT t.policy, t.status, t.steps, t.proofs, t.moved_pages, t.interference, tt.moved_out_bytes / 4096, '
                  'tt.moved_in_bytes / 4096 FROM trial t JOIN trial_tier tt ON tt.trial_id = t.id AND tt.tier_number = 0 '
                  f'WHERE t.replay_id IN ({replays[0]}, {replays[1]}) ORDER BY t.id')
    check({t[1] for t in trials} == {'ok'} and {t[0] for t in trials} == {'kernel', 'all-near', 'all-far'}, f'trials: {trials}')
    policy = [t for t in trials if t[0] == 'kernel']
    for _, _, steps, proofs, unasked, said, out, back in policy:
        check(proofs == steps + 1 and 100 < out <= demoted and 100 < back <= promoted,
              f'read back {proofs} times: {out} pages demoted, {back} promoted, of {demoted} and {promoted} that the kernel counts')
        check(unasked == 0 and 'unasked' not in said, f'which is no interference: {said!r}')
    for name, _, _, _, unasked, said, out, back in trials[-2:]:
        check(unasked > 64 and f'the kernel moved {unasked} pages unasked' in said and out == back == 0,
              f'{name}: pages of others, demoted beside it: {said!r}')
    check(result.text('codes').split() == ['beside', '0', 'bound', '1'], f'exit codes: {result.text("codes").split()}')
    ended = [line for line in result.console.splitlines() if line.startswith('nearfar: ') and 'is on node 1, not on node 0' in line]
    check(ended or 'is on node 1, not on node 0' in str(rows(result, 'job.nf', "SELECT message FROM trial WHERE status = 'failed'")),
          f'its bound pages demoted: {ended}')
    check(len(policy) == 1 and rows(result, 'job.nf', 'PRAGMA integrity_check') == [('ok',)], 'the study is whole')


PARTS = {'tiering': tiering, 'gone': gone, 'interleave': interleave, 'movers': movers, 'moves': moves, 'live': live, 'full': full, 'filled': filled, 'block': block, 'figures': figures, 'cxl': cxl, 'slower': slower, 'proof': proof}
if __name__ == '__main__':
    PARTS[sys.argv[3]]()
    finish()
