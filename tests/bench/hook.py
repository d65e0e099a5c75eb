#!/usr/bin/env python3
"""What observation costs the job: the example job plain and under capture, alternately. Prints CPU time of the whole job
against the plain run, and the access pass's step time against the bare pass of the same capture, with the cost of an op.
Usage: hook.py FOLDER [--rounds N] [--smoke]; raw runs go to FOLDER/hook.csv."""
import argparse
import csv
import io
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
NEARFAR = ROOT / 'build' / 'nearfar'
RATIO_MAX = 1.3


def sql(study, query):
    text = subprocess.run([NEARFAR, 'sql', '--csv', study, query], check=True, capture_output=True, text=True).stdout
    return list(csv.DictReader(io.StringIO(text)))


def cpu_seconds(command):
    """User + system time of a command and its children."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f'hook: {command} ended with {process.returncode}')
    return usage.ru_utime + usage.ru_stime


def spread(values):
    low, high = (min(values), max(values)) if len(values) < 10 else statistics.quantiles(values, n=10)[::8]
    return f'[{low:.4g} .. {high:.4g}]'


def line(name, values, unit, target=None):
    middle = statistics.median(values)
    verdict = '' if target is None else f'  target <= {target}: {"met" if middle <= target else "MISSED"}'
    print(f'{name:<40} {middle:9.4g} {unit:<9} {spread(values)}{verdict}')


def begin():
    """What was asked for, and an interpreter that can import torch; without one a benchmark is skipped."""
    global NEARFAR
    parser = argparse.ArgumentParser()
    parser.add_argument('folder', type=pathlib.Path)
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--smoke', action='store_true')
    parser.add_argument('--nearfar', type=pathlib.Path, default=NEARFAR)
    given = parser.parse_args()
    NEARFAR = given.nearfar.resolve()
    given.folder.mkdir(parents=True, exist_ok=True)
    python = subprocess.run([ROOT / 'tools' / 'torch-python'], capture_output=True, text=True, check=False)
    if python.returncode:
        print(python.stderr.strip())
        sys.exit(77)
    return given, python.stdout.strip()


def main():
    given, python = begin()
    rounds = 1 if given.smoke else given.rounds
    # Enough steps that the job is training, not importing torch.
    job = [python, ROOT / 'examples' / 'finetune.py', '--lora', '--steps', '3' if given.smoke else '15']
    study = given.folder / 'hook.nf'

    cpu, steps, per_op, raw = [], [], [], []
    for number in range(rounds + 1):
        print(f'hook: round {number} of {rounds}', file=sys.stderr)
        plain = cpu_seconds(job)
        study.unlink(missing_ok=True)
        subprocess.run([NEARFAR, 'capture', '-o', study, '--passes', 'bare,access', '--', *job], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        access = sql(study, 'SELECT id, cpu_ns, ops, steps, lost_events FROM pass WHERE kind = 3')[0]
        if int(access['lost_events']):
            print(f"hook: {access['lost_events']} events lost, round {number} undercounts", file=sys.stderr)
        step = {kind: statistics.median(int(row['dur_ns']) for row in sql(study, 'SELECT dur_ns FROM step JOIN pass ON '
                f'pass.id = pass_id WHERE kind = {kind} AND number > 0')) for kind in (1, 3)}
        if number == 0:   # files and page cache warm up; does not count
            continue
        captured = int(access['cpu_ns']) / 1e9
        cpu.append(captured / plain)
        steps.append(step[3] / step[1])
        per_op.append((step[3] - step[1]) / 1e3 / (int(access['ops']) / int(access['steps'])))
        raw.append([number, plain, captured, step[1], step[3], access['ops'], access['steps']])
    with open(given.folder / 'hook.csv', 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['round', 'plain_cpu_s', 'captured_cpu_s', 'bare_step_ns', 'access_step_ns', 'ops', 'steps'])
        writer.writerows(raw)
    line('hook: CPU of the job / plain job', cpu, 'x', RATIO_MAX)
    line('hook: step under access / bare', steps, 'x')
    line('hook: cost of an op', per_op, 'us')


if __name__ == '__main__':
    main()
