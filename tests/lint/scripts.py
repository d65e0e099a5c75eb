"""Shell scripts pass shellcheck, manual pages pass mandoc's lint. Exit 77 where neither tool is installed."""
import re
import subprocess

import harness


def check(tree):
    tools = harness.which('shellcheck', 'mandoc')
    if not tools:
        raise harness.Skip('neither shellcheck nor mandoc here')
    for path in tree.files:
        if path.endswith(('.py', '.c', '.h', '.md', '.sql')):
            continue
        if 'shellcheck' in tools and re.match(r'#!.*\b(?:ba|da)?sh\b', tree.text(path)[:80]):
            command = ['shellcheck', '-x', '-f', 'gcc', path]
        elif 'mandoc' in tools and re.fullmatch(r'doc/man/.*\.[1-8]', path):
            command = ['mandoc', '-Tlint', '-Wwarning', path]
        else:
            continue
        run = subprocess.run(command, cwd=tree.root, capture_output=True, text=True, check=False)
        yield from (run.stdout + run.stderr).splitlines()


BROKEN = [{'tools/x': '#!/bin/sh\nrm -rf $1/bin\n', 'doc/man/x.1': '.Sh NAME\n.Nm x\n.Bogus\n'}]
GOOD = [{'tools/x': '#!/bin/sh\necho "$1"\n', 'tools/y.py': '#!/usr/bin/env python3\nx = $1\n'}]

if __name__ == '__main__':
    harness.main(__name__)
