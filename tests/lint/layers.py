"""The first law of the architecture: folders are layers, and includes only point downwards.

core/base <- core/model <- core/store <- {capture | pool <- {replay | live} | analyze} <- cmd"""
import re

import harness

CORE = ('core/base', 'core/model', 'core/store')
# pool is a library of its own, useful without studies: it does not see core/store.
MAY_INCLUDE = {
    'core/base': ('core/base',),
    'core/model': ('core/base', 'core/model'),
    'core/store': CORE,
    'capture': CORE + ('capture',),
    'pool': ('core/base', 'core/model', 'pool'),
    'replay': CORE + ('pool', 'replay'),
    'live': CORE + ('pool', 'live'),
    'analyze': CORE + ('analyze',),
    'cmd': CORE + ('capture', 'pool', 'replay', 'live', 'analyze', 'cmd'),
}
# core/model is pure: no I/O, no clock, no logging.
IMPURE = re.compile(r'#\s*include\s*["<](core/base/log\.h|time\.h|sys/time\.h|unistd\.h|fcntl\.h|sys/mman\.h|pthread\.h)[">]')
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')


def layer_of(path):
    parts = path.split('/')
    return '/'.join(parts[:2]) if parts[0] == 'core' else parts[0]


def check(tree):
    for path in tree.under('core', 'capture', 'pool', 'replay', 'live', 'analyze', 'cmd', suffix=('.c', '.h', '.cc')):
        layer = layer_of(path)
        if layer not in MAY_INCLUDE:
            yield f'{path}:1: {layer} is no layer; there are: {", ".join(MAY_INCLUDE)}'
            continue
        for number, line in tree.lines(path):
            if layer == 'core/model' and IMPURE.search(line):
                yield f'{path}:{number}: core/model is pure (no I/O, clock, logging): {line.strip()}'
            if not (match := INCLUDE.match(line)):
                continue
            target = match[1]
            if layer_of(target) not in MAY_INCLUDE or '/' not in target:
                yield f'{path}:{number}: include from the root: "{target}"'
            elif layer_of(target) not in MAY_INCLUDE[layer]:
                yield f'{path}:{number}: {layer} must not include {layer_of(target)}: "{target}"'


BROKEN = [
    {'core/base/a.c': '#include "core/model/stream.h"\n'},
    {'core/model/a.c': '#include "core/store/study.h"\n'},
    {'core/model/a.c': '#include "core/base/log.h"\n'},
    {'core/model/a.c': '#include <time.h>\n'},
    {'core/store/a.h': '#  include "capture/ring.h"\n'},
    {'capture/a.c': '#include "replay/kernel.h"\n'},
    {'replay/a.c': '#include "analyze/report.h"\n'},
    {'analyze/a.c': '#include "pool/pool.h"\n'},
    {'pool/a.c': '#include "replay/engine.h"\n'},
    {'pool/a.c': '#include "core/store/study.h"\n'},
    {'replay/a.c': '#include "cmd/cmd.h"\n'},
    {'live/a.c': '#include "replay/engine.h"\n'},
    {'replay/a.c': '#include "live/binding.h"\n'},
    {'capture/a.c': '#include "ring.h"\n'},
    {'capture/a.c': '#include "../core/base/log.h"\n'},
    {'core/utils/a.c': 'int x;\n'},
]
GOOD = [{'replay/a.c': '#include "pool/pool.h"\n#include "core/store/study.h"\n#include <time.h>\n',
         'cmd/b.c': '#include "analyze/report.h"\n', 'tests/unit/c.c': '#include "anything.h"\n'}]

if __name__ == '__main__':
    harness.main(__name__)
