#!/usr/bin/env python3
"""The exact source's engines on C jobs whose every access is known: equal to the byte and to the access.

usage: test-exact.py tsan|qemu RING-DUMP PRELOAD HOOKDIR TSAN-RUNTIME QEMU-PLUGIN SOURCE [TEST...]"""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from exact import Tools, differences, expected, say, touched  # noqa: E402

ENGINE, TOOLS = sys.argv[1], Tools(*sys.argv[2:8])
KERNELS, ATOMICS, WIDE, FORKS = 'examples/kernels.c', *(f'tests/hook/exact-{name}.c' for name in ('atomics', 'wide', 'forks'))
DISTINCT, ACCESSES, MOVED = 0, 1, 2


def same(found, wanted, what):
    assert found == wanted, f'{what}: expected {wanted}, found {found}'


def compare(program, *arguments, parts=(DISTINCT, ACCESSES, MOVED), only=None, **how):
    events, end, text = TOOLS.run(ENGINE, [program, *arguments], **how)
    found, wanted = touched(events)[0], expected(text)
    assert wanted, 'the job said nothing'
    found = found[:len(wanted)]
    if only:
        found, wanted = ([op for op in ops if op[0] in only] for ops in (found, wanted))
    wrong = differences(found, wanted, parts)
    assert not wrong, '\n  '.join([f'{len(wrong)} differences:'] + wrong[:20])
    same(end['lost'], 0, 'lost events')
    return events, end, text


# --- both engines ---

def test_kernels():
    for flags in (['-O1'], ['-O2']) + ((['-O3'], ['-O3', '-mavx2', '-mfma']) if ENGINE == 'tsan' else ()):
        program = TOOLS.build(KERNELS, *flags, tsan=ENGINE == 'tsan')
        events, _, _ = compare(program, 'all', '4096', '2', '--counts')
        between = touched([e for e in events[:max(i for i, e in enumerate(events) if e['kind'] == 'step')]])[1]
        same(between, {}, 'touched between ops')


def test_every_step_is_alike():
    program = TOOLS.build(KERNELS, '-O1', tsan=ENGINE == 'tsan')
    events, _, text = compare(program, 'train', '1024', '3', '--counts')
    ops, wanted = touched(events)[0], expected(text)
    same(len(ops), 3 * len(wanted), 'ops of three steps')
    for step in range(3):
        wrong = differences(ops[step * len(wanted):(step + 1) * len(wanted)], wanted)
        assert not wrong, wrong


def test_small_ring():
    """Far fewer slots than touches: the job waits, nothing is lost."""
    program = TOOLS.build(KERNELS, '-O1', tsan=ENGINE == 'tsan')
    events, _, _ = compare(program, 'all', '65536', '1', '--counts', slots=256)
    assert len(events) > 2000, len(events)


def test_other_passes_are_left_alone():
    program = TOOLS.build(KERNELS, '-O1', tsan=ENGINE == 'tsan')
    alone = subprocess.run([program, 'all', '1024'], capture_output=True, text=True, check=True).stdout
    for pass_kind in 'bare', 'timing':
        events, end, text = TOOLS.run(ENGINE, [program, 'all', '1024'], pass_kind=pass_kind)
        same([e for e in events if e['kind'] == 'touch'], [], f'touches in the {pass_kind} pass')
        same(text, alone, f"the job's words in the {pass_kind} pass")
    _, _, text = TOOLS.run(ENGINE, [program, 'all', '1024'])
    same(text, alone, "the job's words in the access pass")


def test_blocks_that_go_within_an_op():
    """Touches of a block stand before its FREE, so that a successor at its address does not inherit them."""
    program = TOOLS.build(ATOMICS, '-O1', tsan=ENGINE == 'tsan')
    _, _, text = compare(program, only={'scratch'}, parts=(DISTINCT,))
    assert 'scratch second' in text, 'the second block did not come where the first was'


def test_forks():
    """What a child does to its copy of the tensors is not the job's."""
    compare(TOOLS.build(FORKS, '-O1', tsan=ENGINE == 'tsan'))


def slow_dead_reader():
    """Nobody reads the ring: the job waits 20 seconds once, then runs on, and what is lost is counted."""
    program = TOOLS.build(KERNELS, '-O1', tsan=ENGINE == 'tsan')
    alone = subprocess.run([program, 'all', '16384', '2'], capture_output=True, text=True, check=True).stdout
    began = time.monotonic()
    _, end, text = TOOLS.run(ENGINE, [program, 'all', '16384', '2'], slots=256, deaf=True)
    same(text, alone, "the job's words")
    assert end['lost'] > 1000 and 20 <= time.monotonic() - began < 100, end


# --- engine tsan ---

def test_tsan_atomics():
    for level in '-O0', '-O1', '-O2', '-O3':
        compare(TOOLS.build(ATOMICS, level, tsan=True))


def test_tsan_without_the_runtime():
    """A job that was built without it runs, and nobody says it was watched."""
    events, end, _ = TOOLS.run('tsan', [TOOLS.build(KERNELS, '-O1'), 'copy', '1024'])
    same([e for e in events if e['kind'] == 'touch'], [], 'touches')
    same(end['watching'], 0, 'watching')
    same(TOOLS.run('tsan', [TOOLS.build(KERNELS, '-O1', tsan=True), 'copy', '1024'])[1]['watching'], 1, 'watching')


# --- engine qemu ---

def test_qemu_vectors():
    """Compiled for AVX2 accesses are fewer and wider, but touch and move the same; where the compiler keeps sums in
    registers they move less, and the bytes are the same."""
    program = TOOLS.build(KERNELS, '-O3', '-mavx2', '-mfma')
    streams = {'example::copy', 'example::triad', 'example::strided_sum', 'example::gather', 'example::stencil', 'example::sgd'}
    compare(program, 'all', '4096', '1', '--counts', parts=(DISTINCT, MOVED), only=streams)
    compare(program, 'all', '4096', '1', '--counts', parts=(DISTINCT,))


def test_qemu_wide():
    compare(TOOLS.build(WIDE, '-O1', '-mavx2', '-mfma'), parts=(DISTINCT, MOVED))


def test_qemu_threads():
    """Locked instructions of several threads, each a read and a write."""
    program = TOOLS.build(ATOMICS, '-O1')
    compare(program, only={'threads'})
    compare(program, parts=(DISTINCT,))


def main():
    why = TOOLS.has(ENGINE)
    if why:
        print(f'skipped: engine {ENGINE}: {why}')
        sys.exit(77)
    other = {'tsan': 'test_qemu_', 'qemu': 'test_tsan_'}[ENGINE]
    tests = sys.argv[8:] or [name for name in globals() if name.startswith('test_') and not name.startswith(other)]
    failed = 0
    for name in tests:
        try:
            globals()[name]()
            say(f'ok   {name}')
        except AssertionError as error:
            failed += 1
            say(f'FAIL {name}: {error}')
    TOOLS.done()
    sys.exit(1 if failed else 0)


main()
