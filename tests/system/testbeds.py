"""A testbed that was measured in one study counts in another: copied once, with what it was measured from, and never to another
machine or other tiers."""
import ctypes
import os
import pathlib
import shutil
import sqlite3
import subprocess

from system import SOURCE, WORK, check, finish, nearfar, refused, rows, whole

QUICK = ['-q', '--policy', 'all-far', '--near', '50%', '--mode', 'asap', '--blocks', '1', '--steps', '1']
TABLES = 'testbed', 'tier', 'tier_sample', 'tier_figure', 'invocation', 'machine'


def counts(study):
    return {t: rows(study, f'SELECT count(*) FROM {t}')[0][0] for t in TABLES}


subprocess.run(['gcc', '-O1', '-I', SOURCE / 'capture/annotate', SOURCE / 'examples/kernels.c', '-o', WORK / 'kernels', '-ldl',
                '-lpthread'], check=True)
done = nearfar('capture', '-q', '-o', 'job.nf', '--', WORK / 'kernels', 'triad', 65536, 4)
check(done.returncode == 0, f'captured: {done.stderr[-300:]!r}')
for copy in 'first.nf', 'second.nf', 'third.nf':
    shutil.copy(WORK / 'job.nf', WORK / copy)
done = nearfar('replay', 'first.nf', *QUICK)
check(done.returncode == 0, f'measured here: {done.stderr[-300:]!r}')
with sqlite3.connect(WORK / 'first.nf') as db:
    # A figure among its rows, without the minute that measuring all of them takes.
    db.execute("INSERT INTO tier_figure(testbed_id, tier_number, what, value, unit, stable, traffic, threads, offered, traffic_bps, page, "
               "locality, working_set_bytes, llc_bytes, parallelism, cpu, governor, samples) VALUES(1, 0, 'fault', 1, 'ns', 1, '', 1, 0, 0, "
               "'4k', '', 4096, 4096, 0, -1, 'unknown', '[1,2,3,4,5,6,7]')")
    # And the k of every class of access, which replays there assume then.
    db.execute("INSERT INTO tier_figure(testbed_id, tier_number, what, value, unit, stable, traffic, threads, offered, traffic_bps, page, "
               "locality, working_set_bytes, llc_bytes, parallelism, cpu, governor, samples) SELECT 1, 0, 'k', 5, 'lines', 1, p.value || ' ' || "
               "a.value, 1, 0, 0, '4k', '', 4096, 4096, 0, -1, 'unknown', '[5,5,5,5,5,5,5]' FROM "
               "json_each('[\"stream\",\"strided\",\"gather\"]') p, json_each('[\"read\",\"write\",\"update\"]') a")
for again in range(2):
    done = nearfar('replay', 'second.nf', *QUICK, '--unfiltered', '--testbed', 'first.nf')
    check(done.returncode == 0, f'counted with there: {done.stderr[-300:]!r}')
one, two = counts('first.nf'), counts('second.nf')
check(all(two[t] == one[t] > 0 for t in TABLES[:4]) and two['machine'] == one['machine'], f'copied once, whole: {one}, {two}')
for table, columns in ('tier', 'number, name, spec, latency_ns, read_bps, stream_parallelism, evidence'), (
        'tier_sample', 'tier_number, what, run, value, unit'), ('testbed', 'llc_effective_bytes, conditions'), (
        'tier_figure', 'what, value, samples'):
    select = f'SELECT {columns} FROM {table} ORDER BY id'
    check(rows('first.nf', select) == rows('second.nf', select), f'{table}: the same')
used = rows('second.nf', 'SELECT DISTINCT testbed_id FROM replay')
check(used == [(1,)] and len(rows('second.nf', 'SELECT 1 FROM replay')) == 2, f'by both replays: {used}')
assumed = rows('second.nf', "SELECT DISTINCT r.k_testbed_id, t.class_k_share FROM trial t JOIN replay r ON r.id = t.replay_id WHERE t.policy = "
                            "'all-far'")
check(assumed == [(1, 1)] and rows('first.nf', 'SELECT DISTINCT class_k_share FROM trial') == [(0,)], f'its k by class, once it has one: {assumed}')
measured = rows('second.nf', 'SELECT i.command FROM testbed b JOIN invocation i ON i.id = b.invocation_id')
check('first.nf' in measured[0][0], f'who measured it: {measured}')
check(whole('second.nf') and nearfar('validate', 'second.nf').returncode == nearfar('validate', 'first.nf').returncode, 'as valid as there')

# What was measured on one CPU counts there: taken over without a word of a CPU, measured anew on another.
cpu = rows('first.nf', 'SELECT cpu FROM testbed')[0][0]
done = nearfar('replay', 'first.nf', *QUICK, '--reuse-testbed', '--llc', '1MiB')
check(rows('first.nf', 'SELECT DISTINCT cpus FROM trial') == [(str(cpu),)], f'on CPU {cpu}: {done.stderr[-300:]!r}')
others = sorted(os.sched_getaffinity(0) - {cpu})
if others:
    refused(nearfar('replay', 'second.nf', *QUICK, '--testbed', 'first.nf', '--cpu', others[0]), 2, f'--cpu {cpu}')
    before = counts('first.nf')['testbed']
    done = nearfar('replay', 'first.nf', *QUICK, '--reuse-testbed', '--llc', '1MiB', '--cpu', others[0])
    check(done.returncode == 0 and counts('first.nf')['testbed'] == before + 1 and
          rows('first.nf', 'SELECT cpu FROM testbed ORDER BY id DESC LIMIT 1') == [(others[0],)], f'and not on another: {done.stderr[-300:]!r}')

# Huge pages: what a tier says it has was seen to be there, or nothing is replayed. A process can be told to have none.
THP_DISABLE = 41  # prctl
usable = nearfar('doctor').stdout
if 'numa' in usable and '[never]' not in (pathlib.Path('/sys/kernel/mm/transparent_hugepage/enabled').read_text()):
    huge = [*QUICK, '--llc', '1MiB', '--tier', 'numa:page=thp', '--tier', 'emulated:page=thp']
    refused(nearfar('replay', 'third.nf', *huge, preexec_fn=lambda: ctypes.CDLL(None).prctl(THP_DISABLE, 1, 0, 0, 0)), 3,
            'could be on huge pages')
    shutil.copy(WORK / 'job.nf', WORK / 'huge.nf')
    done = nearfar('replay', 'huge.nf', *huge)
    check(done.returncode == 0 and rows('huge.nf', 'SELECT DISTINCT page, status FROM trial') == [('thp', 'ok')],
          f'where there are some: {done.stderr[-300:]!r}')

refused(nearfar('replay', 'third.nf', *QUICK, '--testbed', 'job.nf'), 1, 'holds no testbed')
refused(nearfar('replay', 'third.nf', *QUICK, '--testbed', 'first.nf', '--far-latency', '3'), 2, 'other tiers')
with sqlite3.connect(WORK / 'first.nf') as db:
    db.execute("UPDATE machine SET host = 'elsewhere'")
refused(nearfar('replay', 'third.nf', *QUICK, '--testbed', 'first.nf'), 2, 'another machine')
check(rows('third.nf', 'SELECT count(*) FROM replay') == [(0,)] and whole('third.nf'), 'nothing was replayed on it')
refused(nearfar('replay', 'third.nf', '--testbed', 'first.nf', '--dry-run'), 2, '--testbed')
finish()
