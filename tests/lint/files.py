"""What may stand in a file: no source over 900 lines, no HAVE_ conditionals at call sites (a missing library is an
x-fallback.c beside x.c, chosen by meson), no path or package host of somebody's machine, Python that compiles."""
import re

import harness

MAX_LINES = 900
SOURCE = ('.c', '.h', '.py', '.sql', '.sh', '.md', '.build')
BINARY = ('.png', '.pdf', '.nf', '.gz', '.xz', '.zst', '.jpg', '.bin')
HAVE = re.compile(r'^\s*#\s*(?:if|ifdef|ifndef|elif)\b.*\bHAVE_\w+')
# Written so that the patterns do not match themselves.
MACHINE = re.compile(r'(?<![\w.~$}>*-])/(?:work|home|root|Users)/\w')
HOSTS = re.compile(r'pypi[.]org|pythonhosted[.]org|npmjs[.](?:org|com)|crates[.]io|(?:deb|security|ftp)[.]debian[.]org|'
                   r'archive[.]ubuntu[.]com|proxy[.]golang[.]org|anaconda[.](?:org|com)|download[.]pytorch[.]org')


def check(tree):
    for path in tree.files:
        if path.endswith(BINARY):
            continue
        text = tree.text(path)
        if path.endswith('.py'):
            try:
                compile(text, path, 'exec')
            except SyntaxError as e:
                yield f'{path}:{e.lineno}: {e.msg}'
        lines = text.splitlines()
        if path.endswith(SOURCE) and len(lines) > MAX_LINES:
            yield f'{path}:{MAX_LINES}: {len(lines)} lines; is there a second noun in it?'
        for number, line in enumerate(lines, 1):
            if path.endswith(('.c', '.h')) and '-fallback.' not in path and HAVE.match(line):
                yield f'{path}:{number}: a missing library is an x-fallback.c beside x.c: {line.strip()}'
            if match := MACHINE.search(line):
                yield f'{path}:{number}: a path of one machine: {line[match.start():match.start() + 40]}'
            if match := HOSTS.search(line):
                yield f'{path}:{number}: a package host: {match[0]}'


BROKEN = [
    {'core/base/a.c': 'int a;\n' * (MAX_LINES + 1)},
    {'pool/a.c': '#ifdef HAVE_NUMA\n#endif\n'},
    {'pool/a.c': '#if defined(HAVE_NUMA)\n#endif\n'},
    {'README.md': 'see ' + '/home' + '/me/thing\n'},
    {'tools/x': 'cd ' + '/work' + '/main\n'},
    {'tools/x': 'pip install -i https://pypi' + '.org/simple\n'},
    {'examples/a.py': 'def f(:\n'},
]
GOOD = [{'pool/tier-numa-fallback.c': '#ifdef HAVE_NUMA\n#endif\n',
         'doc/a.md': 'the home' + '/work' + '/ folder, a' + '/work' + '/b, ~' + '/work' + '/x\n'}]

if __name__ == '__main__':
    harness.main(__name__)
