"""Every published figure can be drawn again from what lies beside it, and its tables say what it shows.
usage: results.py NEARFAR SOURCE-FOLDER"""
import csv
import shutil
import subprocess

from system import SOURCE, WORK, check, finish, skip

if not shutil.which('gnuplot'):
    skip('no gnuplot')
version = subprocess.run(['gnuplot', '--version'], capture_output=True, text=True).stdout.strip()
studies = sorted(p.parent for p in (SOURCE / 'results').glob('*/README.md'))
check(studies, f'{len(studies)} published studies')
for study in studies:
    text = (study / 'README.md').read_text()
    check(all(f'## {part}' in text for part in ('Question', 'Recipe', 'Machine', 'Figures', 'Answer')), f'{study.name}: says what it asks and how')
    scripts = sorted(study.glob('*.gp'))
    drawn_with = (study / 'gnuplot-version').read_text().strip()
    for script in scripts:
        copy = WORK / study.name
        shutil.copytree(study, copy, dirs_exist_ok=True)
        figure = script.with_suffix('.svg').name
        (copy / figure).unlink()
        drawn = subprocess.run(['gnuplot', script.name], cwd=copy, capture_output=True, text=True)
        again = (copy / figure).read_bytes() if (copy / figure).exists() else b''
        # Another gnuplot places text differently; then only that it draws can be held.
        same = again == (study / figure).read_bytes() if version == drawn_with else again.endswith(b'</svg>\n\n') or b'</svg>' in again
        check(drawn.returncode == 0 and same, f'{study.name}/{figure} drawn again{" to the byte" if version == drawn_with else ""}')
    check(scripts, f'{study.name}: {len(scripts)} figures')
    points = list(csv.DictReader((study / 'curve.csv').open()))
    trials = list(csv.DictReader((study / 'trials.csv').open()))
    check(points and trials and all('evidence' in row for row in trials), f'{study.name}: {len(points)} points from {len(trials)} trials')
finish()
