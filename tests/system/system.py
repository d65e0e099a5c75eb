"""What the system tests share: a workplace, the program, a tiny real job. usage: TEST.py NEARFAR SOURCE-FOLDER [ARGS]"""
import atexit
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile

NEARFAR, SOURCE = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
WORK = pathlib.Path(tempfile.mkdtemp(prefix='nearfar-system-'))
atexit.register(shutil.rmtree, WORK, ignore_errors=True)
os.environ.update(OPENBLAS_NUM_THREADS='1', OMP_NUM_THREADS='1')
failures = 0


def check(truth, what):
    global failures
    print(('ok      ' if truth else 'NOT OK  ') + what, flush=True)
    failures += not truth
    return bool(truth)


def finish():
    sys.exit(1 if failures else 0)


def skip(reason):
    print('skipped: ' + reason)
    sys.exit(77)


def torch_python():
    """The interpreter that can import torch, or an end of the test."""
    found = subprocess.run([SOURCE / 'tools/torch-python'], capture_output=True, text=True)
    if found.returncode:
        skip('no Python here can import torch')
    return found.stdout.strip()


def job(*arguments, steps=3):
    return [torch_python(), str(SOURCE / 'examples/finetune.py'), '--lora', '--layers', '2', '--width', '32', '--heads', '2',
            '--seq', '16', '--batch', '2', '--deterministic', '--steps', str(steps), *arguments]


# What these tests ask of a replay is no time: they go on beside whatever else runs here.
DESPITE = ['--despite', 'load']


def nearfar(*arguments, **options):
    options.setdefault('timeout', 300)
    if arguments[:1] == ('replay',) and not {'--despite', '--resume', '--again', '--dry-run', '--root', '--help'} & set(map(str, arguments)):
        arguments = ['replay', *DESPITE, *arguments[1:]]
    return subprocess.run([NEARFAR, *map(str, arguments)], capture_output=True, text=True, cwd=WORK, **options)


def rows(study, sql):
    with sqlite3.connect(f'file:{WORK / study}?mode=ro', uri=True) as db:
        return db.execute(sql).fetchall()


def whole(study):
    """The file is a sound database."""
    return rows(study, 'PRAGMA integrity_check') == [('ok',)]


def refused(result, code, *words):
    """Ended with the code, said why in lines that start with the program's name, and printed no data."""
    said = [line for line in result.stderr.splitlines() if line.startswith('nearfar')]
    cause = ' '.join(said)
    return check(result.returncode == code and said and all(word in cause for word in words) and
                 'Traceback' not in cause,
                 f'{" ".join(map(str, result.args[1:]))[:90]}: exit {result.returncode} (wanted {code}): '
                 f'{said[-1] if said else result.stderr[-200:]!r}')
