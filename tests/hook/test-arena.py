#!/usr/bin/env python3
"""The arena under a job of many threads: small and huge reserves, limited address space, huge pages, forks.

usage: test-arena.py PRELOAD ARENA-STRESS"""
import os
import re
import resource
import subprocess
import sys

PRELOAD, STRESS = map(os.path.abspath, sys.argv[1:3])
# The forks' handlers are there only in a captured job: a ring that cannot be opened makes it look like one.
JOB = {**os.environ, 'LD_PRELOAD': PRELOAD, 'NEARFAR_RING': '/nonexistent', 'NEARFAR_PASS': 'access'}


def run(options, expect, rounds=60, limit=None):
    def limits():
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    done = subprocess.run([STRESS, str(rounds), expect], capture_output=True, text=True, timeout=240,
                          env={**JOB, 'NEARFAR_ARENA': options} if options is not None else JOB, preexec_fn=limits if limit else None)
    assert done.returncode == 0, f'{options}: status {done.returncode}: {done.stdout} {done.stderr}'
    inside, all_ = map(int, re.match(r'(\d+) of (\d+)', done.stdout).groups())
    print(f'ok   {options}{f" ulimit -v {limit >> 10}" if limit else ""}: {done.stdout.strip()}', flush=True)
    return inside, all_


def main():
    inside, large = run('min=65536,granule=4096,every=1', 'arena')
    assert inside == large, 'with room for all, some large blocks lie elsewhere'
    inside, large = run('min=65536,granule=4096,every=1,reserve=33554432', 'arena')
    assert inside < large, 'a full arena took all'
    run('min=65536,granule=4096,every=16,reserve=35184372088832', 'arena') # 32 TiB
    run('min=65536,granule=4096,every=0', 'arena')
    run('min=65536,granule=4096,every=1,reserve=1000', 'heap')
    run('min=1,granule=4096,every=1', 'arena', rounds=20)
    run('garbage', 'arena', rounds=10)
    run(None, 'heap', rounds=10)
    for megabytes in 4096, 1024, 600:
        run('min=65536,granule=4096,every=1', 'arena', rounds=30, limit=megabytes << 20)


main()
