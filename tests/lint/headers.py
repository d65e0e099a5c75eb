"""Every header compiles alone and twice, under every compiler there is, and begins with #pragma once."""
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import harness

FLAGS = ['-std=gnu17', '-D_GNU_SOURCE', '-fsyntax-only', '-Wall', '-Wextra', '-Werror', '-Wno-unused-parameter', '-x', 'c']


def compile_alone(tree, compiler, path):
    # Through a file on stdin, because "#pragma once in main file" is a warning of its own.
    run = subprocess.run([compiler, *FLAGS, '-I', str(tree.root), '-'], input=f'#include "{path}"\n' * 2, text=True,
                         capture_output=True, check=False)
    if run.returncode == 0:
        return None
    first = next((line for line in run.stderr.splitlines() if 'error' in line), run.stderr.strip())
    return f'{path}:1: does not compile alone ({compiler}): {first}'


def check(tree):
    headers = [f for f in tree.files if f.endswith('.h')]
    for path in headers:
        code = re.sub(r'/\*.*?\*/|//[^\n]*', '', tree.text(path), flags=re.S).split('\n')
        if next((line for line in code if line.strip()), '').strip() != '#pragma once':
            yield f'{path}:1: #pragma once must come first'
    compilers = harness.which('gcc', 'clang')
    if not compilers:
        raise harness.Skip('neither gcc nor clang here')
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from filter(None, pool.map(lambda job: compile_alone(tree, *job),
                                         [(c, h) for c in compilers for h in headers]))


BROKEN = [
    {'core/base/a.h': 'int a(void);\n'},
    {'core/base/a.h': '#ifndef A_H\n#define A_H\nint a(void);\n#endif\n'},
    {'core/base/a.h': '#pragma once\nsize_t a(void);\n'},
    {'core/base/a.h': '#pragma once\n#include "core/base/gone.h"\n'},
    {'core/base/a.h': '#pragma once\nstatic int a(void) { return 1; }\n'},
]
GOOD = [{'core/base/a.h': '/* On a. */\n#pragma once\n#include <stddef.h>\nsize_t a(void);\n',
         'core/base/b.h': '#pragma once\n#include "core/base/a.h"\n'}]

if __name__ == '__main__':
    harness.main(__name__)
