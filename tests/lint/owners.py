"""The second law: every third-party header has one owner. A header that is neither in the system's list nor in the
table below has no owner yet, and that is a finding too."""
import re

import harness

# header -> files that may include it
OWNERS = [
    (r'sqlite3(ext)?\.h', r'core/store/[^/]+\.c'),
    (r'zstd(_errors)?\.h|zdict\.h', r'core/store/[^/]+\.c'),
    (r'perf/.*|internal/.*', r'capture/(perf|page-fault|pebs|ibs|watchpoint|ring)[^/]*\.c'),
    (r'perfmon/.*', r'capture/(event|encod)[^/]*\.c'),
    (r'numa(if)?\.h|daxctl/.*|cxl/.*|ndctl/.*', r'pool/tier-[^/]+\.c'),
    (r'coin/Clp_C_Interface\.h', r'pool/bound-lp\.c'),
    (r'coin/Cbc_C_Interface\.h', r'pool/bound-milp\.c'),
    (r'jansson\.h', r'capture/json\.c'),
    (r'zlib\.h', r'capture/gunzip\.c'),
    (r'cpucounters\.h|pcm/.*', r'replay/counters[^/]*\.c'),
    (r'Python\.h|torch/.*', r'capture/hook/[^/]+'),
]
SYSTEM = re.compile(
    r'(sys|linux|asm|asm-generic|bits|arpa|net|netinet)/.*|'
    r'(aio|assert|alloca|byteswap|complex|cpuid|ctype|dirent|dlfcn|elf|endian|err|errno|fcntl|fenv|float|fnmatch|ftw|'
    r'getopt|glob|grp|immintrin|inttypes|iso646|libgen|limits|link|locale|malloc|math|mqueue|netdb|nl_types|poll|'
    r'pthread|pwd|regex|sched|search|semaphore|setjmp|signal|spawn|stdalign|stdarg|stdatomic|stdbool|stddef|stdint|'
    r'stdio|stdlib|stdnoreturn|string|strings|syscall|sysexits|syslog|termios|threads|time|uchar|ucontext|unistd|'
    r'utime|wchar|wctype|wordexp|x86intrin|xmmintrin|emmintrin|arm_neon|arm_acle)\.h')
INCLUDE = re.compile(r'^\s*#\s*include(?:_next)?\s*<([^>]+)>')


def check(tree):
    for path in tree.under('core', 'capture', 'pool', 'replay', 'live', 'analyze', 'cmd', suffix=('.c', '.h', '.cc')):
        for number, line in tree.lines(path):
            match = INCLUDE.match(line)
            if not match or SYSTEM.fullmatch(match[1]):
                continue
            owner = next((owner for header, owner in OWNERS if re.fullmatch(header, match[1])), None)
            if owner is None:
                yield f'{path}:{number}: <{match[1]}> has no owner; name one in tests/lint/owners.py'
            elif not re.fullmatch(owner, path):
                yield f'{path}:{number}: <{match[1]}> belongs to {owner}'


BROKEN = [
    {'core/model/a.c': '#include <sqlite3.h>\n'},
    {'core/store/a.h': '#include <sqlite3.h>\n'},   # not even its own headers: it would leak to all who include them
    {'analyze/a.c': '#include <zstd.h>\n'},
    {'replay/a.c': '#include <numaif.h>\n'},
    {'pool/pool.c': '#include <numa.h>\n'},
    {'pool/pool.c': '# include <daxctl/libdaxctl.h>\n'},
    {'replay/a.c': '#include <perf/evlist.h>\n'},
    {'capture/session.c': '#include <perfmon/pfmlib.h>\n'},
    {'cmd/a.c': '#include <cmocka.h>\n'},
    {'cmd/a.c': '#include <json-c/json.h>\n'},
]
GOOD = [{'core/store/study.c': '#include <sqlite3.h>\n#include <zstd.h>\n#include <sys/stat.h>\n',
         'pool/tier-numa.c': '#include <numa.h>\n#include <numaif.h>\n',
         'capture/perf.c': '#include <perf/mmap.h>\n#include <linux/perf_event.h>\n',
         'tests/bench/a.c': '#include <sqlite3.h>\n'}]

if __name__ == '__main__':
    harness.main(__name__)
