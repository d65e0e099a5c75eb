"""Steps of the same structure are stored once: long jobs make small studies, variable lengths a few step classes."""
from system import WORK, check, finish, job, nearfar, rows

for steps in 10, 100:
    result = nearfar('capture', '-q', '-o', f'{steps}.nf', '--', *job(steps=steps))
    check(result.returncode == 0 and rows(f'{steps}.nf', 'SELECT steps FROM pass') == [(steps,)] * 3, f'{steps} steps captured')
few, many = ((WORK / f'{steps}.nf').stat().st_size for steps in (10, 100))
check(abs(many / few - 1) < 0.20, f'10 steps: {few} bytes, 100 steps: {many} bytes, {many / few - 1:+.1%}')
stored, size = rows('100.nf', 'SELECT sum(visits), sum(length(data)) FROM visit_chunk')[0]
check(size <= 8 * stored, f'{stored} visits in {size} bytes: {size / stored:.2f} bytes each')

result = nearfar('capture', '-q', '-o', 'vary.nf', '--passes', 'access,timing', '--', *job('--vary-seq', steps=24))
classes = rows('vary.nf', 'SELECT s.class_id FROM step s JOIN pass p ON p.id = s.pass_id WHERE p.kind = 3 ORDER BY s.number')
steady = {c for c, in classes[12:]}
check(result.returncode == 0 and len(classes) == 24 and len(steady) == 3, f'three lengths, {len(steady)} classes when steady')
check(len({c for c, in classes}) <= 9, f'{len({c for c, in classes})} classes in all, transients included')
check(len({rows('vary.nf', f'SELECT visited_bytes FROM step_class WHERE id = {c}')[0] for c in steady}) == 3, 'of three sizes')
unmatched = rows('vary.nf', 'SELECT unmatched_steps FROM pass WHERE kind = 2')[0][0]
check(unmatched == 0, 'every timed step found its class')
finish()
