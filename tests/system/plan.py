"""`nearfar plan`: decisions of policies over a real step, the bounds below them, a tensor's course, and what is refused."""
import csv
import io
import json

from system import check, finish, job, nearfar, refused

USAGE, FAILED = 2, 1
done = nearfar('capture', '-q', '-o', 'gpt.nf', '--', *job(steps=3))
check(done.returncode == 0, f'captured {done.stderr[-200:] if done.returncode else ""!r}')


def plan(*arguments):
    result = nearfar('plan', 'gpt.nf', '--unfiltered', *arguments, '--json')
    check(result.returncode == 0, f'plan {" ".join(arguments)}: {result.stderr[-200:]!r}')
    return json.loads(result.stdout) if result.returncode == 0 else []


def reached_far(row):
    """In place or by a fetch: what the bounds bound."""
    return row['far_share'] + row['fetched_share']


names = ('all-near', 'all-far', 'near-first', 'lifetime-density', 'lru', 'g10', 'gap-greedy', 'gap-greedy:prefetch=no', 'gap-greedy:prefetch=no,parts=no',
         'regime-plan', 'regime-plan:parts=no')
rows = {r['policy']: r for r in plan('--near', '20%', *[a for name in names for a in ('--policy', name)])}
check(set(rows) == set(names), f'a row each: {sorted(rows)}')
check(rows['all-far']['far_share'] == 1 and rows['all-near']['far_share'] == 0, 'all or nothing')
check(rows['all-far']['moves'] == rows['lifetime-density']['moves'] == 0 < rows['lru']['moves'], 'who moves')
check(0 < rows['gap-greedy:prefetch=no']['far_share'] < rows['lifetime-density']['far_share'] < rows['near-first']['far_share'],
      'gaps, then lifetimes, then whatever comes first')
for name, r in rows.items():
    bound = r['bound_lp_share']
    check(bound is None or name == 'all-near' or r['far_share'] + r['fetched_share'] >= bound - 1e-6,
          f'{name}: far {r["far_share"]:.3f} + fetched {r["fetched_share"]:.3f}, bound {bound}')
    check(bound is None or r['bound_pfoo_share'] <= bound + 1e-9, f'{name}: PFOO-L {r["bound_pfoo_share"]:.3f} is the looser one')
bound = rows['gap-greedy']['bound_lp_share']
parts, whole = (reached_far(rows['gap-greedy:prefetch=no' + more]) for more in ('', ',parts=no'))
check(parts <= whole + 1e-6, f'parts of tensors are no loss: {parts:.4f}, whole ones {whole:.4f}')
if bound is not None:
    rounded = [reached_far(r) for r in plan('--near', '20%', '--policy', 'interval-lp', '--policy', 'interval-lp:parts=no')]
    check(bound <= rounded[0] + 1e-6 and rounded[0] <= rounded[1] + 1e-6, f'the program, rounded to pages and to tensors: {rounded}, bound {bound}')
static = rows['lifetime-density']['bound_static_share']
check(static is None or bound <= static <= rows['lifetime-density']['far_share'] + 1e-6, f'what never moves leaves at least {static}')
check(all(0 < r['belady_share'] < 1 for r in rows.values()), "Belady's rule has its column")
check(all(r['bound_whole_share'] is None for r in rows.values()), 'no bound for whole tensors unasked')
whole_rows = plan('--near', '20%', '--whole', '20', '--policy', 'gap-greedy:prefetch=no,parts=no', '--policy', 'lru')
least = whole_rows[0]['bound_whole_share']
check(least is None or bound - 1e-6 <= least <= whole + 1e-6, f'of whole tensors at least {least} goes far, of parts {bound}')
check(least == whole_rows[1]['bound_whole_share'], 'a bound does not depend on the policy')
more = plan('--near', '60%')[0]
check(more['policy'] == 'gap-greedy' and more['far_share'] <= rows['gap-greedy']['far_share'], 'more room, less far')
check(more == plan('--near', '60%')[0], 'the same twice')

text = nearfar('plan', 'gpt.nf', '--unfiltered')
check('modelled' in text.stdout and 'assumed' in text.stdout and 'saved' in text.stdout, 'people are told what is modelled and assumed')
result = nearfar('plan', 'gpt.nf', '--unfiltered', '--csv')
check(len(list(csv.DictReader(io.StringIO(result.stdout)))) == 1, 'as CSV')

# --- one tensor's course ---
tensors = json.loads(nearfar('show', 'gpt.nf', 'tensors', '--json').stdout)
course = []
for number in range(40):
    result = nearfar('plan', 'gpt.nf', '--unfiltered', '--near', '20%', '--explain', number, '--json')
    events = json.loads(result.stdout) if result.returncode == 0 else []
    if [e for e in events if e['event'] in ('comes near', 'goes far')]:
        course = events
        break
check(course and course[0]['event'] in ('is born', 'enters'), f'a course: {[e["event"] for e in course]}')
check([e['op'] for e in course] == sorted(e['op'] for e in course), 'in order')
check(any('worth place' in (e['reason'] or '') for e in course), f'with reasons: {[e["reason"] for e in course][:3]}')

# --- all moves ---
for name in 'gap-greedy', 'lru':
    moves = plan('--near', '20%', '--policy', name, '--moves')
    by = {what: sum(m['bytes'] for m in moves if m['event'] == what) for what in ('comes near', 'goes far')}
    row = rows[name]
    demand = by['comes near'] / row['fetched_share']
    check(len(moves) > 0 and {m['event'] for m in moves} == set(by) and abs(by['goes far'] / demand - row['written_back_share']) < 1e-3,
          f'{name}: {len(moves)} moves, {by} bytes, fetched {row["fetched_share"]:.3f}, written back {row["written_back_share"]:.3f}')
    of_one = [m for m in moves if m['tensor'] == moves[0]['tensor']]
    explained = plan('--near', '20%', '--policy', name, '--explain', str(moves[0]['tensor']))
    check(of_one == [e for e in explained if e['event'] in by], f'{name}: of one tensor those of its course: {len(of_one)}')

refused(nearfar('plan', 'gpt.nf', '--moves', '--explain', '3'), USAGE, '--moves')
refused(nearfar('plan', 'gpt.nf', '--policy', 'hemem'), USAGE, 'replay it')
refused(nearfar('plan', 'gpt.nf', '--policy', 'nothing'), USAGE, 'nothing')
refused(nearfar('plan', 'gpt.nf', '--near', '0%'), USAGE, 'near')
refused(nearfar('plan', 'gpt.nf', '--whole', '-1'), USAGE, 'seconds')
refused(nearfar('plan', 'gpt.nf', '--near', '10%,20%'), USAGE, '--near')
refused(nearfar('plan', 'gpt.nf', '--explain', '999999'), USAGE, '999999')
refused(nearfar('plan', 'gpt.nf', '--policy', 'gap-greedy:prefetch=maybe'), USAGE, 'prefetch')
refused(nearfar('plan', 'gpt.nf', '--policy', 'regime-plan:parts=some'), USAGE, 'parts')
refused(nearfar('plan', 'none.nf'), FAILED, 'none.nf')
finish()
