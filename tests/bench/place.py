#!/usr/bin/env python3
"""What placing costs the job: its step under a plan that has everything near against the job alone, and with a policy that may move at
each block that comes or goes; the same for a job of small operators, which feels it most. Paired within each repetition, in random order.
Usage: place.py FOLDER [--rounds N] [--smoke] [--nearfar PROGRAM]; every step goes to FOLDER/place.csv."""
import csv
import json
import os
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import hook  # noqa: E402
from hook import ROOT, line  # noqa: E402

RATIO_MAX = 1.05
# One that only places, and one that moves.
POLICIES = ('all-near', 'lru')
SMALL = ['--layers', '2', '--width', '64', '--heads', '2', '--seq', '32', '--batch', '2']


def say(message):
    print(f'place: {message}', file=sys.stderr)


def run(study, policy, rounds, job):
    """Step times in ns by (repetition, kind)."""
    before = hook.sql(study, 'SELECT coalesce(max(id), 0) AS id FROM live_run')[0]['id']
    done = subprocess.run([hook.NEARFAR, 'run', study, '--policy', policy, '--near', '100%', '--repetitions', str(rounds), '--', *job],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    sys.stderr.write(done.stderr)
    if done.returncode:
        sys.exit(f'place: {policy}: the run ended with {done.returncode}')
    rows = hook.sql(study, f'SELECT repetition, kind, step_ns, deviation FROM live_run WHERE id > {before}')
    if any(row['deviation'] for row in rows):
        sys.exit(f"place: {policy}: the job is not the one that was planned: {rows}")
    return {(int(row['repetition']), row['kind']): json.loads(row['step_ns']) for row in rows}


def measure(study, job, rounds, first):
    """Ratios to the job alone by policy, and every step."""
    study.unlink(missing_ok=True)
    say(f'capturing {study.stem}')
    subprocess.run([hook.NEARFAR, 'capture', '-q', '-o', study, '--', *job], check=True, stdout=subprocess.DEVNULL)
    ratios, raw = {}, []
    for policy in POLICIES:
        steps = run(study, policy, rounds, job)
        raw += [[study.stem, policy, r, kind, i, ns] for (r, kind), all_ns in steps.items() for i, ns in enumerate(all_ns)]
        # A job's first step builds the optimizer's state.
        step = {key: statistics.median(ns[1:]) for key, ns in steps.items()}
        ratios[policy] = [ns / step[r, 'alone'] for (r, kind), ns in step.items() if r >= first and kind == 'policy']
    return ratios, raw


def main():
    given, python = hook.begin()
    smoke = ['--layers', '1', '--width', '64', '--seq', '32', '--batch', '2'] if given.smoke else []
    jobs = {'place': (smoke, '4' if given.smoke else '15'), 'place-small': (SMALL, '4' if given.smoke else '100')}
    # In the first repetition files and page cache warm up; it does not count.
    first, rounds = (0, 1) if given.smoke else (1, given.rounds + 1)
    ratios, raw = {}, []
    for name, (size, steps) in jobs.items():
        job = [python, ROOT / 'examples' / 'finetune.py', '--lora', *size, '--deterministic', '--steps', steps]
        ratios[name], rows = measure(given.folder / f'{name}.nf', job, rounds, first)
        raw += rows
    with open(given.folder / 'place.csv', 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['job', 'policy', 'repetition', 'kind', 'step', 'step_ns'])
        writer.writerows(raw)
    for name, what in (('place', 'place'), ('place-small', 'place, small ops')):
        line(f'{what}: all near / alone', ratios[name]['all-near'], 'x', RATIO_MAX)
        line(f'{what}: may move / alone', ratios[name]['lru'], 'x', RATIO_MAX)


if __name__ == '__main__':
    main()
