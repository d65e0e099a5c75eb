"""`nearfar capture --source exact` on C jobs: both engines, all passes, and what it says when it cannot."""
import json
import os
import subprocess

from system import NEARFAR, SOURCE, WORK, check, finish, nearfar, rows, skip

EXACT = NEARFAR.parent / 'capture/exact'


def build(*flags, link=()):
    program = WORK / f'kernels{len(list(WORK.iterdir()))}'
    include = f'-I{SOURCE}/capture/annotate'
    for command in (['gcc', include, *flags, '-c', f'{SOURCE}/examples/kernels.c', '-o', f'{program}.o'],
                    ['gcc', f'{program}.o', *link, '-o', program]):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode:
            return None
    return program


plain = build('-O1')
if not plain:
    skip('no gcc to build the job with')
doctor = {row['name']: row for row in json.loads(nearfar('doctor', '--json').stdout)}
tsan = build('-O1', '-fsanitize=thread', '-fno-builtin-memcpy', '-fno-builtin-memset',
             link=(EXACT / 'libnearfar-tsan.a', '-Wl,--wrap=memcpy,--wrap=memset'))
check((doctor['source exact, engine tsan']['usable'] == 'yes') == bool(tsan), 'doctor knows whether engine tsan works')
have_qemu = doctor['source exact, engine qemu']['usable'] == 'yes'
check(have_qemu or 'qemu' in doctor['source exact, engine qemu']['what it is, or why not'], 'doctor says why engine qemu does not work')

counts = subprocess.run([plain, 'all', '4096', '1', '--counts'], capture_output=True, text=True).stdout
wanted = [line.split() for line in counts.splitlines() if line.startswith('example::')]
accesses = sum(int(words[4]) for words in wanted)
alone = subprocess.run([plain, 'all', '4096', '3'], capture_output=True, text=True).stdout

for engine, program in ('tsan', tsan), ('qemu', plain if have_qemu else None):
    if not program:
        continue
    result = nearfar('capture', '-o', f'{engine}.nf', '--source', f'exact:engine={engine}', '--', program, 'all', '4096', '3')
    check(result.returncode == 0, f'{engine}: capture ends well: {result.stderr[-300:]!r}')
    check(result.stdout == alone, f'{engine}: the job prints what it prints alone')
    passes = rows(f'{engine}.nf', 'SELECT kind, status, steps, ops, lost_events FROM pass ORDER BY kind')
    check([p[:3] for p in passes] == [(k, 'complete', 3) for k in (1, 2, 3)], f'{engine}: three passes of three steps')
    check(passes[2][4] == 0, f'{engine}: no event lost')
    (evidence, resolution, rw, samples, attributed, between, unattributed, outside, lost), = rows(
        f'{engine}.nf', 'SELECT evidence, resolution_bytes, rw, samples, attributed, between_ops, unattributed, outside_steps, '
                        'lost FROM observation')
    check((evidence, resolution, rw) == (6, 1, 'observed'), f'{engine}: exact, to the byte, reads told from writes')
    check(attributed == 3 * accesses, f'{engine}: {attributed} accesses in the steps, as computed: {3 * accesses}')
    check((between, unattributed, lost) == (0, 0, 0), f'{engine}: none between ops, without tensor or lost')
    check(outside == 2 * 4096 == samples - attributed, f'{engine}: the checksum after the last step is outside of the steps')
    sightings = rows(f'{engine}.nf', 'SELECT sum(steps), sum(equal_steps), count(*) FROM sighting')[0]
    check(sightings[:2] == (3, 3), f'{engine}: every step was seen alike')
    check(rows(f'{engine}.nf', 'SELECT framework, language FROM capture') == [('annotated', 'C')], f'{engine}: an annotated C job')

if have_qemu and tsan:
    same = [rows(f'{e}.nf', 'SELECT sightings, hash FROM sighting') for e in ('tsan', 'qemu')]
    check(same[0] == same[1] and same[0], f'both engines saw the same extents of the same tensors: {same}')

result = nearfar('capture', '-o', 'bad.nf', '--source', 'exact:engine=valgrind', '--', plain, 'copy')
check(result.returncode in (1, 2) and 'bare pass' not in result.stderr and "engine is 'qemu' or 'tsan'" in result.stderr, f'an unknown engine is refused: {result.stderr[-200:]!r}')
if tsan:
    result = nearfar('capture', '-o', 'none.nf', '--source', 'exact:engine=tsan', '--', plain, 'copy', '1024')
    check(result.returncode == 3 and 'nothing watched' in result.stderr, f'a job without the runtime: {result.stderr[-200:]!r}')
if have_qemu:
    script = WORK / 'script.sh'
    script.write_text(f'#!/bin/sh\nexec {plain} copy 1024\n')
    script.chmod(0o755)
    result = nearfar('capture', '-o', 'script.nf', '--source', 'exact', '--', script)
    check(result.returncode == 3 and 'is no x86-64 program' in result.stderr and 'bare pass' not in result.stderr, f'a script is refused: {result.returncode} {result.stderr[-250:]!r}')
    result = nearfar('capture', '-o', 'gone.nf', '--source', 'exact', '--passes', 'access', '--', 'no-such-program')
    check(result.returncode == 4 and 'no-such-program' in result.stderr, f'a program that is not there: {result.stderr[-200:]!r}')
    empty = {**os.environ, 'PATH': str(WORK)}
    result = nearfar('capture', '-o', 'no.nf', '--source', 'exact', '--', plain, 'copy', env=empty)
    check(result.returncode == 3 and 'qemu-user' in result.stderr, f'without the emulator: {result.stderr[-200:]!r}')
finish()
