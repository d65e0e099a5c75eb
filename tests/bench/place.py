#!/usr/bin/env python3
"""What placing costs the job: its step under a plan that has everything near against the job alone, and with a policy that moves, whose
operators say where they begin, also that alone. Paired within each repetition, in random order.
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
# One that only places, and one that moves: it asks at every operator whether something is to be moved.
POLICIES = ('all-near', 'lru')


def say(message):
    print(f'place: {message}', file=sys.stderr)


def run(study, policy, rounds, job):
    """step times in ns by (repetition, kind), the boundaries of each repetition."""
    before = hook.sql(study, 'SELECT coalesce(max(id), 0) AS id FROM live_run')[0]['id']
    done = subprocess.run([hook.NEARFAR, 'run', study, '--policy', policy, '--near', '100%', '--repetitions', str(rounds), '--', *job],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    sys.stderr.write(done.stderr)
    if done.returncode:
        sys.exit(f'place: {policy}: the run ended with {done.returncode}')
    rows = hook.sql(study, f'SELECT repetition, kind, step_ns, boundaries, steps, deviation FROM live_run WHERE id > {before}')
    if any(row['deviation'] for row in rows):
        sys.exit(f"place: {policy}: the job is not the one that was planned: {rows}")
    return ({(int(row['repetition']), row['kind']): json.loads(row['step_ns']) for row in rows},
            {int(row['repetition']): int(row['boundaries']) / int(row['steps']) for row in rows if row['kind'] == 'boundaries'})


def main():
    given, python = hook.begin()
    size = ['--layers', '1', '--width', '64', '--seq', '32', '--batch', '2'] if given.smoke else []
    job = [python, ROOT / 'examples' / 'finetune.py', '--lora', *size, '--deterministic', '--steps', '4' if given.smoke else '15']
    study = given.folder / 'place.nf'
    study.unlink(missing_ok=True)
    say('capturing the job')
    subprocess.run([hook.NEARFAR, 'capture', '-q', '-o', study, '--', *job], check=True, stdout=subprocess.DEVNULL)

    # In the first repetition files and page cache warm up; it does not count.
    first, rounds = (0, 1) if given.smoke else (1, given.rounds + 1)
    ratios, per_boundary, raw = {}, [], []
    for policy in POLICIES:
        steps, boundaries = run(study, policy, rounds, job)
        raw += [[policy, r, kind, i, ns] for (r, kind), all_ns in steps.items() for i, ns in enumerate(all_ns)]
        # A job's first step builds the optimizer's state.
        step = {key: statistics.median(ns[1:]) for key, ns in steps.items()}
        for (r, kind), ns in step.items():
            if r >= first and kind != 'alone':
                ratios.setdefault((policy, kind), []).append(ns / step[r, 'alone'])
            if r >= first and kind == 'boundaries':
                per_boundary.append((ns - step[r, 'alone']) / 1e3 / boundaries[r])
    with open(given.folder / 'place.csv', 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['policy', 'repetition', 'kind', 'step', 'step_ns'])
        writer.writerows(raw)
    line('place: all near / the job alone', ratios['all-near', 'policy'], 'x', RATIO_MAX)
    line('place: saying operators / alone', ratios['lru', 'boundaries'], 'x')
    line('place: a plan that may move / alone', ratios['lru', 'policy'], 'x')
    line('place: cost of saying an operator', per_boundary, 'us')


if __name__ == '__main__':
    main()
