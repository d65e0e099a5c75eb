#!/usr/bin/env python3
"""What the page-fault source costs: CPU time of the example job's access pass against the plain job, alternately, in each
way to look; and what the tool itself keeps in memory, for a short job and one four times as long. In every round all passes
must end with the same parameters.
Usage: page_fault.py FOLDER [--rounds N] [--smoke] [--nearfar PROGRAM]; raw runs go to FOLDER/page-fault.csv."""
import csv
import os
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import hook  # noqa: E402
from hook import ROOT, cpu_seconds, line  # noqa: E402

# Name, source, target of CPU time against the plain job.
WAYS = [('every=1', 'page-fault', 3.5), ('every=16', 'page-fault:every=16', 2.0), ('page=2MiB', 'page-fault:page=2MiB', None),
        ('by=software', 'page-fault:by=software', None)]
MEMORY_MAX_MIB = 256


def peak_kib(process):
    """The largest resident memory of a process until it ends. Looks often: it is gone with the process."""
    peak = 0
    while process.poll() is None:
        try:
            with open(f'/proc/{process.pid}/status', encoding='utf-8') as status:
                for text in status:
                    if text.startswith('VmHWM:'):
                        peak = int(text.split()[1])
        except (FileNotFoundError, ProcessLookupError):
            pass
        time.sleep(0.02)
    return peak


def capture(study, source, passes, job):
    """(the tool's peak resident MiB, the access pass as a row, the parameters of all passes, a step's ns by pass)."""
    study.unlink(missing_ok=True)
    command = [hook.NEARFAR, 'capture', '-q', '-o', study, '--passes', passes, '--source', source, '--', *job]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        peak = peak_kib(process)
        said = process.stderr.read()
    if process.returncode:
        sys.exit(f'page_fault: {source}: the capture ended with {process.returncode}: {said}')
    row = hook.sql(study, 'SELECT p.cpu_ns, p.ops, p.steps, p.lost_events, o.samples, o.lost FROM pass p JOIN observation o '
                          'ON o.pass_id = p.id WHERE p.kind = 3')[0]
    hashes = {r['h'] for r in hook.sql(study, 'SELECT DISTINCT parameter_sha256 AS h FROM pass')}
    step = {kind: statistics.median(int(r['dur_ns']) for r in hook.sql(study, 'SELECT dur_ns FROM step JOIN pass ON '
            f'pass.id = pass_id WHERE kind = {kind} AND number > 0')) for kind in ([1] if 'bare' in passes else []) + [3]}
    return peak / 1024, row, hashes, step


def main():
    given, python = hook.begin()
    rounds = 1 if given.smoke else given.rounds
    steps = 2 if given.smoke else 6
    size = ['--layers', '1', '--width', '64', '--seq', '32', '--batch', '2'] if given.smoke else []
    job, longer = ([python, ROOT / 'examples' / 'finetune.py', *size, '--steps', str(n)] for n in (steps, 4 * steps))
    study = given.folder / 'page-fault.nf'

    ratios, steps_of = {name: [] for name, _, _ in WAYS}, {name: [] for name, _, _ in WAYS}
    memory, raw = {'short': [], 'long': []}, []
    for number in range(0 if not given.smoke else 1, rounds + 1):
        print(f'page-fault: round {number} of {rounds}', file=sys.stderr)
        plain, equal, bare = cpu_seconds(job), set(), 0
        for name, source, _ in WAYS:
            if given.smoke and name == 'page=2MiB':
                continue # needs unfragmented memory, which a test cannot ask for
            peak, row, hashes, step = capture(study, source, 'bare,access' if name == 'every=1' else 'access', job)
            equal |= hashes
            bare = step.get(1, bare)
            if int(row['lost']) or int(row['lost_events']):
                print(f"page-fault: {name}: {row['lost']} faults, {row['lost_events']} events lost, round {number}", file=sys.stderr)
            cpu = int(row['cpu_ns']) / 1e9
            raw.append([number, name, plain, cpu, row['samples'], row['lost'], row['ops'], row['steps'], f'{peak:.1f}',
                        bare, step[3]])
            if number: # in round 0 files and page cache warm up
                ratios[name].append(cpu / plain)
                steps_of[name].append(step[3] / bare)
                if name == 'every=1':
                    memory['short'].append(peak)
        if len(equal) != 1 or 'unknown' in equal:
            sys.exit(f'page_fault: the passes of round {number} end with different parameters: {equal}')
        if number in (1, rounds): # memory does not vary like time does
            memory['long'].append(capture(study, 'page-fault', 'access', longer)[0])
    with open(given.folder / 'page-fault.csv', 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['round', 'way', 'plain_cpu_s', 'captured_cpu_s', 'faults', 'lost', 'ops', 'steps', 'tool_peak_mib',
                         'bare_step_ns', 'access_step_ns'])
        writer.writerows(raw)
    for name, _, target in WAYS:
        if ratios[name]:
            line(f'page-fault {name}: CPU / plain job', ratios[name], 'x', target)
            line(f'page-fault {name}: step / bare', steps_of[name], 'x')
    line(f'page-fault: tool\'s peak, {steps} steps', memory['short'], 'MiB', MEMORY_MAX_MIB)
    line(f'page-fault: tool\'s peak, {4 * steps} steps', memory['long'], 'MiB', MEMORY_MAX_MIB)


if __name__ == '__main__':
    main()
