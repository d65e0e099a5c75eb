"""The rules of disclosure: a study that keeps them all passes; each of them fails when what it asks for is broken."""
import json
import shutil
import sqlite3
import subprocess

from system import SOURCE, WORK, check, finish, nearfar, refused

FAILED = 1

kernels = WORK / 'kernels'
subprocess.run(['gcc', '-O1', '-I', SOURCE / 'capture/annotate', SOURCE / 'examples/kernels.c', '-o', kernels, '-ldl', '-lpthread'],
               check=True)
for _ in range(3):
    done = nearfar('capture', '-q', '-o', 'good.nf', '--', kernels, 'triad', 4096, 8)
    check(done.returncode == 0, f'captured {done.stderr[-200:] if done.returncode else ""!r}')
done = nearfar('replay', '-q', 'good.nf', '--policy', 'interleave', '--near', '50%', '--mode', 'asap', '--llc', '64KiB', '--blocks', '10',
               '--sensitivity')
check(done.returncode == 0, f'replayed {done.stderr[-200:] if done.returncode else ""!r}')
done = nearfar('replay', '-q', 'good.nf', '--again', 'framework')
check(done.returncode == 0, f'captured again {done.stderr[-200:] if done.returncode else ""!r}')
done = nearfar('run', 'good.nf', '--bind', 'near', '--repetitions', '1', '--', kernels, 'triad', 4096, 8)
check(done.returncode in (0, 3), f'run: {done.stderr[-200:]!r}')


def change(study, script):
    with sqlite3.connect(WORK / study) as db:
        db.executescript(script)


# What this machine, or the size of a test, cannot give: a small job, a CPU that others want and none for a hog, no second node, a build
# from a tree that somebody works on.
change('good.nf', '''
UPDATE trial SET interference = '', despite = '', status = 'ok', page_faults = 0, floored_share = 0, saturated = 0, assumed_k_share = 1;
UPDATE testbed SET llc_effective_bytes = 1024;
UPDATE replay SET peak_live_bytes = 1000000;
UPDATE trial_tier SET peak_bytes = min(peak_bytes, (SELECT near_bytes FROM trial WHERE id = trial_id)) WHERE tier_number = 0;
UPDATE invocation SET tool_version = '0.1.0+123456789abc';
CREATE TEMP TABLE beside AS SELECT * FROM trial WHERE policy = 'all-near' AND variant = '' AND block = 0;
UPDATE beside SET id = (SELECT max(id) + 1 FROM trial), hog = 1;
INSERT INTO trial SELECT * FROM beside;
DELETE FROM live_run;
INSERT INTO live_run(invocation_id, capture_id, repetition, kind, exit_status, steps, step_ns, evidence)
    SELECT 1, c.id, r.value, k.value, 0, 1, '[1]', 1 FROM capture c, json_each('[0,1,2]') r, json_each('["alone","hog"]') k;''')


def broken(study):
    result = nearfar('validate', study, '--json')
    rows = json.loads(result.stdout)
    check((result.returncode == FAILED) == bool(rows), f'{study}: exit {result.returncode} with {len(rows)} breaches')
    return {r['rule'] for r in rows}, rows


good = broken('good.nf')
check(not good[0], f'a study that keeps every rule: {good[1]}')
text = nearfar('validate', 'good.nf')
check(text.returncode == 0 and not text.stdout and 'can be published' in text.stderr, f'said so: {text.stderr.strip()!r}')

BREAK = {
    'capture': 'DELETE FROM capture',
    'capture-complete': "UPDATE capture SET status = 'partial', message = 'stopped' WHERE id = 1",
    'capture-lost': 'UPDATE pass SET lost_events = 1 + events / 50 WHERE id = 1',
    'capture-attributed': 'UPDATE pass SET unattributed_visits = 3 WHERE id = 1',
    'parameters': "UPDATE pass SET parameter_sha256 = hex(zeroblob(31)) || printf('%02d', id)",
    'machine': "UPDATE machine SET cpu = ''",
    'provenance': "UPDATE invocation SET tool_version = '' WHERE id = 1",
    'replay': 'DELETE FROM replay',
    'replay-complete': "UPDATE replay SET status = 'partial' WHERE id = 1",
    'blocks': ["DELETE FROM trial WHERE policy = 'interleave' AND variant = '' AND block > 3",
               # None is good: nothing to count, and all the more a breach.
               "UPDATE trial SET status = 'unsteady' WHERE policy = 'interleave' AND variant = ''"],
    # Nine of ten, whatever else ran in the tenth block.
    'blocks-for-comparison': ["DELETE FROM trial WHERE policy = 'interleave' AND variant = '' AND block = 9",
                              "DELETE FROM trial WHERE policy = 'all-near' AND variant = '' AND block = 9",
                              """UPDATE trial SET cold = 1 WHERE policy = 'interleave' AND variant = '' AND block = 9""",
                              """UPDATE trial SET background = 'read:50%@far' WHERE policy = 'interleave' AND variant = '' AND block = 9"""],
    'captures': 'DELETE FROM capture WHERE id = 3',
    'warm-up': 'UPDATE trial SET warmup_steps = 0 WHERE id = 1',
    'trials-good': "INSERT INTO trial SELECT * FROM (SELECT * FROM trial WHERE id = 1) WHERE 0; UPDATE trial SET status = 'unsteady' "
                   "WHERE id = (SELECT max(id) FROM trial WHERE hog = 0)",
    'step-times': 'UPDATE trial SET wall_ns = 2 * wall_ns WHERE id = 1',
    'near-capacity': "UPDATE trial_tier SET peak_bytes = 10000000 WHERE tier_number = 0 AND trial_id = (SELECT min(id) FROM trial "
                     "WHERE policy = 'interleave')",
    'evidence': 'UPDATE tier SET evidence = 0 WHERE number = 1',
    'no-emulated-machine': 'UPDATE trial SET evidence = 3 WHERE replay_id = 1',
    'tiers-measured': 'UPDATE tier SET latency_ns = 0 WHERE number = 0',
    'tier-samples': "DELETE FROM tier_sample WHERE what = 'chase' AND tier_number = 1",
    'environment': ["UPDATE trial SET after = '{}' WHERE id = 1", "UPDATE trial SET before = json_remove(before, '$.microcode') WHERE id = 1"],
    'environment-steady': ["UPDATE trial SET before = json_set(before, '$.thp', 'never') WHERE id = 1",
                           "UPDATE trial SET after = json_set(after, '$.demotion', 'changed') WHERE id = 1"],
    'undisturbed': "UPDATE trial SET interference = 'preempted for 9 % of the time' WHERE replay_id = 1 AND block < 2",
    'not-despite': "UPDATE trial SET despite = 'load' WHERE id = 1",
    'placement-proved': 'UPDATE trial SET proofs = 0 WHERE id = 1',
    'no-page-faults': 'UPDATE trial SET page_faults = 4 WHERE id = 1',
    'footprint': 'UPDATE replay SET peak_live_bytes = 4000 WHERE id = 1',
    'deadlines': "UPDATE trial SET saturated = 1 WHERE policy = 'all-near'",
    'floored': 'UPDATE trial SET floored_share = 0.2 WHERE replay_id = 1',
    # Also where all-near alone is repeated, or this policy elsewhere.
    'sensitivity': ["DELETE FROM trial WHERE variant = '2k'", "DELETE FROM trial WHERE variant = 'k/2' AND policy = 'interleave'",
                    "UPDATE trial SET near_share = 0.4 WHERE variant = '2k' AND policy = 'interleave'"],
    'unfiltered': ["DELETE FROM trial WHERE variant = 'unfiltered'", "DELETE FROM trial WHERE variant = 'unfiltered' AND policy = 'interleave'"],
    'store-kind': ["DELETE FROM trial WHERE variant = 'non-temporal'",
                   "DELETE FROM trial WHERE variant = 'non-temporal' AND policy = 'interleave'"],
    'fidelity': ["UPDATE live_run SET kind = 'alone'",
                 'UPDATE trial SET hog = 0, cold = 1 WHERE hog',  # nothing replayed beside one
                 "UPDATE live_run SET kind = 'bind', binding = 'near: node 0' WHERE kind = 'hog'",
                 # Bound for real, replayed on an injected tier.
                 "UPDATE live_run SET kind = 'bind', binding = 'interleave: node 0,1' WHERE kind = 'hog'",
                 "UPDATE live_run SET kind = 'policy', policy = 'interleave', near_share = 0.5, evidence = 6 WHERE kind = 'hog'",
                 """INSERT INTO machine SELECT 9, 'other', cpu, cpus, nodes, memory_bytes, llc_reported_bytes, kernel, hypervisor, facts
                    FROM machine LIMIT 1; UPDATE testbed SET machine_id = 9"""],
    'live-repetitions': "DELETE FROM live_run WHERE kind = 'hog' AND repetition = 2",
    'recaptured': 'DELETE FROM recapture',
    'revision': ["UPDATE invocation SET tool_version = '0.1.0' WHERE id = 1",
                 "UPDATE invocation SET tool_version = '0.1.0+unknown' WHERE id = 1",
                 "UPDATE invocation SET tool_version = '0.1.0+123456789abc-changed' WHERE id = 1"],
    'full-size': 'UPDATE replay SET scale = 0.5',
    'recapture': "INSERT INTO recapture(invocation_id, capture_id, class_id, source, tensors, same_extents, captured_bytes, "
                 "replayed_bytes, resolution_bytes, reuse_distance_emd) SELECT 1, capture_id, min(id), 'exact', 3, 2, 9, 9, 1, 0 FROM "
                 "step_class WHERE capture_id = 1",
    'live-runs': 'UPDATE live_run SET exit_status = 9 WHERE id = (SELECT min(id) FROM live_run)',
    'live-parameters': "UPDATE pass SET parameter_sha256 = 'a'; UPDATE live_run SET parameter_sha256 = 'b'",
    'counters': 'UPDATE trial_tier SET counter_read_bytes = 4 * (read_bytes + write_bytes) + 1 WHERE trial_id = 1 AND tier_number = 0',
}
# A broken row of one kind may break what depends on it, too.
ALSO = {'capture': {'captures', 'capture-complete', 'fidelity', 'recaptured', 'sensitivity', 'unfiltered', 'store-kind'},
        'replay': {'replay-complete', 'sensitivity', 'unfiltered', 'store-kind', 'fidelity', 'recaptured'},
        'blocks': {'blocks-for-comparison', 'trials-good'}, 'trials-good': {'blocks', 'blocks-for-comparison'},
        'captures': {'fidelity', 'recaptured', 'sensitivity', 'unfiltered', 'store-kind'}, 'parameters': {'live-parameters'},
        'live-runs': {'live-repetitions'}, 'provenance': {'revision'}, 'no-emulated-machine': set()}
rules = {r['rule'] for r in json.loads(nearfar('validate', '--rules', '--json').stdout)}
check(rules == BREAK.keys(), f'a way to break every rule: {sorted(rules ^ BREAK.keys())}')
for rule, scripts in BREAK.items():
    for script in [scripts] if isinstance(scripts, str) else scripts:
        shutil.copy(WORK / 'good.nf', WORK / 'bad.nf')
        change('bad.nf', script)
        found, _ = broken('bad.nf')
        check(rule in found, f'{rule} is found broken by {script}')
        check(found <= {rule} | ALSO.get(rule, set()), f'{rule}: and nothing that is whole: {sorted(found)}')
# Bound to the nodes that were replayed on: as good as a hog; to others: not.
REAL = """UPDATE tier SET provider = 'numa', spec = 'numa:page=4k,node=' || number || ',x=1', target_latency_ns = 0, target_read_bps = 0;
UPDATE live_run SET kind = 'bind', binding = 'interleave: node 0,{}' WHERE kind = 'hog'"""
for node, kept in (1, True), (2, False):
    shutil.copy(WORK / 'good.nf', WORK / 'bad.nf')
    change('bad.nf', REAL.format(node))
    found, _ = broken('bad.nf')
    check(('fidelity' in found) != kept, f'bound to nodes 0 and {node}, replayed on 0 and 1: {sorted(found)}')
text = nearfar('validate', 'bad.nf')
check('to mend it:' in text.stdout and text.returncode == FAILED, 'for people: what to do about it')
refused(nearfar('validate', 'nothing.nf'), FAILED, 'no study')

finish()
