"""What would make a replay's figures wrong is refused, each in a sentence with the command that mends it, on machines nobody here
has; what would only make them noisy is said. --despite goes on, and every trial and `nearfar validate` say so."""
import json
import os
import subprocess

from machine import unpack
from system import NEARFAR, SOURCE, WORK, check, finish, nearfar, refused, rows  # noqa: F401

CANNOT, USAGE, FAILED = 3, 2, 1
TREES = SOURCE / 'tests/machines/spoilers'

kernels = WORK / 'kernels'
subprocess.run(['gcc', '-O1', '-I', SOURCE / 'capture/annotate', SOURCE / 'examples/kernels.c', '-o', kernels, '-ldl', '-lpthread'],
               check=True)
done = nearfar('capture', '-q', '-o', 'job.nf', '--', kernels, 'triad', 4096, 8)
check(done.returncode == 0, f'captured {done.stderr[-200:] if done.returncode else ""!r}')
OPTIONS = ['--policy', 'interleave', '--near', '50%', '--mode', 'asap', '--llc', '64KiB', '--cpu', 0, '--threads', 1]
HUGE = ['--tier', 'numa:page=thp', '--tier', 'emulated:page=thp']
for source in TREES.glob('*.tree'):
    unpack(source, WORK / source.stem)


def dry(tree, *more):
    return nearfar('replay', 'job.nf', *OPTIONS, '--dry-run', '--root', WORK / tree, *more)


# tree, more options, the names that are refused, what each sentence holds
for tree, more, names, sentences in (
        ('quiet', [], [], []),
        ('quiet', HUGE, [], []),
        ('one-node', [], [], []),
        ('page-cache', [], [], []),
        ('busy', [], [], []),
        ('powersave', [], [], []),
        *([('powersave', ['--cpu', 1], ['governor'], ['the frequency of CPU 1 follows demand (governor powersave)', 'mend: cpupower '
                                                      'frequency-set -g performance'])] if {0, 1} <= os.sched_getaffinity(0) else []),
        ('no-huge-pages', [], [], []),
        ('balancing', [], ['numa-balancing'], ['NUMA balancing moves and unmaps pages; mend: sysctl kernel.numa_balancing=0']),
        ('demotion', [], ['demotion'], ['demotes pages', 'mend: echo false > /sys/kernel/mm/numa/demotion_enabled']),
        ('full-node', [], ['node-memory'], ['node 0 would hold', 'mend: ps -eo pid= --sort=-rss | head -n 8 | xargs -I{} migratepages {} 0 1']),
        ('full-node', ['--tier', 'numa:node=1', '--tier', 'emulated:node=1'], [], []),
        ('no-huge-pages', HUGE, ['thp'], ['would have 4 KiB; mend: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled']),
        ('loaded', [], ['load'], ['the load average is 40.00 on 4 CPUs; mend: until awk \'{exit $1 > 0.5}\' /proc/loadavg; do sleep 5; done']),
        ('all-at-once', HUGE, ['thp', 'numa-balancing', 'demotion', 'node-memory', 'load'], [])):
    result = dry(tree, *more)
    what = f'{tree} {" ".join(map(str, more))}'
    check(result.returncode == (CANNOT if names else 0), f'{what}: exit {result.returncode}: {result.stderr[-300:]!r}')
    check(('--despite ' + ','.join(names) + ' ' in result.stderr) == bool(names), f'{what}: how to go on')
    check(all(s in result.stderr for s in sentences), f'{what}: in words: {result.stderr!r}')
    check(result.stderr.count('; mend: ') == len(names), f'{what}: one sentence each')
    if names:
        result = dry(tree, *more, '--despite', ','.join(names))
        check(result.returncode == 0 and result.stderr.count('going on although') == len(names), f'{what}: despite all: {result.stderr!r}')
    if len(names) > 1:
        result = dry(tree, *more, '--despite', ','.join(names[1:]))
        check(result.returncode == CANNOT and f'--despite {names[0]} ' in result.stderr, f'{what}: all but one: {result.stderr!r}')

refused(nearfar('replay', 'job.nf', '--despite', 'rain'), USAGE, "'rain'", 'numa-balancing')
refused(nearfar('replay', 'job.nf', '--root', WORK / 'quiet'), USAGE, '--dry-run')

# A word that nothing here answers to is no blemish; one that a trial went on with is.
done = nearfar('replay', '-q', 'job.nf', *OPTIONS, '--blocks', 1, '--despite', 'numa-balancing')
check(done.returncode == 0, f'replayed: {done.stderr[-300:]!r}')
check(rows('job.nf', "SELECT count(*) FROM trial WHERE despite = ''") != [(0,)], 'nothing to go on despite')


def breaches():
    return [r['found'] for r in json.loads(nearfar('validate', 'job.nf', '--json').stdout) if r['rule'] == 'not-despite']


check(not breaches(), f'nor to publish: {breaches()}')
finish()
