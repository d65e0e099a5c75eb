"""Data goes to stdout, everything else to stderr in single lines, and a stream that cannot be written is noticed."""
import json
import shlex
import sqlite3
import subprocess

from system import NEARFAR, WORK, check, finish, job, nearfar, rows, whole

COMMANDS = 'capture import show sql tiers replay run analyze policies doctor'.split()

INPUTS = 'demo.nf trace.json.gz trace.json perf.data'.split()

# The options in the examples exist: on a file that is missing they fail on the file, not on themselves.
for name in COMMANDS:
    text = nearfar(name, '--help').stdout
    examples = [line.strip() for line in text.split('examples:\n')[1].splitlines()]
    for example in examples:
        words = shlex.split(example)
        check(words[:2] == ['nearfar', name], f'{example!r} is one of {name}')
        if name in ('tiers', 'doctor'):   # these need no study: enough that their options parse
            result = nearfar(name, *words[2:], 'operand')
            check(result.returncode == 2 and 'operands' in result.stderr, f'its options exist: {result.stderr.strip()!r}')
            continue
        if name == 'policies':   # operands are names, and the examples' exist
            check(nearfar(*words[1:]).returncode == 0, f'{example!r} works')
            continue
        words = [f'no-folder/{word}' if word in INPUTS else word for word in words]
        result = nearfar(*words[1:])
        check(result.returncode == 1 and 'no-folder' in result.stderr, f'its options exist: {result.stderr.strip()!r}')

# Every complaint is one line.
for wrong in ('show',), ('show', 'x.nf', 'nonsense'), ('replay', 'x.nf', '--policy', 'nonsense'), ('tiers', 'x'), ('capture',), \
        ('sql', 'x.nf', 'SELECT 1'), ('run', 'x.nf'), ('analyze', 'x.nf'), ('nonsense',), ('show', '--limit'):
    result = nearfar(*wrong)
    check(result.returncode in (1, 2) and not result.stdout and result.stderr.startswith('nearfar') and
          result.stderr.count('\n') == 1, f'{" ".join(wrong)}: one line, {result.stderr.strip()!r}')

assert nearfar('capture', '-q', '-o', 'a.nf', '--', *job()).returncode == 0


def shell(script):
    return subprocess.run(['bash', '-c', script, 'bash', NEARFAR], cwd=WORK, capture_output=True, text=True)


whole_size = len(nearfar('show', 'a.nf', 'tensors', '--limit', '9999').stdout)
check(whole_size > 8192, 'a table larger than what stdio buffers')
for arguments in 'show a.nf tensors --limit 9999', 'show a.nf classes', 'doctor', 'sql a.nf "SELECT * FROM visits"', '--help':
    for target in '> /dev/full', '>&-':
        result = shell(f'"$1" {arguments} {target}')
        said = [line for line in result.stderr.splitlines() if 'cannot write the output' in line]
        check(result.returncode == 1 and len(said) == 1, f'{arguments} {target}: exit {result.returncode}, {said}')
    result = shell(f'"$1" {arguments} | true; exit ${{PIPESTATUS[0]}}')
    check(result.returncode == 0 and 'cannot write' not in result.stderr, f'{arguments} | true: a reader that leaves is no failure')
# With stdout closed the next file opened would take its number, and what is printed would land in the study.
before = rows('a.nf', 'SELECT count(*) FROM op')
for arguments in 'capture -q -o a.nf -- true', 'replay a.nf --near 50% --policy lru --blocks 1 --mode asap':
    shell(f'"$1" {arguments} >&- 2>&- <&-')
    check(whole('a.nf') and rows('a.nf', 'SELECT count(*) FROM op') == before, f'{arguments} without standard streams: the study is sound')

measured = nearfar('tiers', '--measure', '--json')
check(measured.returncode == 0 and [t['tier'] for t in json.loads(measured.stdout)] == [0, 1] and
      all(t['latency_ns'] > 0 and t['read_bytes_per_s'] > 0 and t['evidence'] != 'unknown' for t in json.loads(measured.stdout)),
      f'tiers --measure --json: {measured.stdout.strip()[:160]}')

# A program that was killed is named as killed, one that runs as running.
killed = WORK / 'killed.nf'
killed.write_bytes((WORK / 'a.nf').read_bytes())
with sqlite3.connect(killed) as db:
    db.execute("UPDATE capture SET status = 'running', message = ''")
    db.execute("UPDATE pass SET status = 'running' WHERE kind = 2")
    db.execute("UPDATE replay SET status = 'running'")
shown = nearfar('show', 'killed.nf').stdout
check('partial: killed before its end, in the timing pass' in shown, f'a killed capture: {shown.splitlines()[0]!r}')
check('replay 1  2 of 2 trials, partial: killed before its end' in shown, 'a killed replay')
check('capture 2 holds no steps' in shown, 'a capture that came to nothing is named')
holder = subprocess.Popen(['flock', killed, 'sh', '-c', 'echo held; read line'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
holder.stdout.readline()
check('running in process' in nearfar('show', 'killed.nf').stdout, 'one that a process is writing runs')
holder.communicate('\n')
finish()
