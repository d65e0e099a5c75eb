"""The documents say what is there: a manual page with every option for each command, links that resolve, and every table,
column and number of the study explained in doc/format.md."""
import re
import sqlite3

import harness

LINK = re.compile(r'!?\[[^\]]*\]\(([^)\s]+)\)')
# {"name", 'x', NF_OPTION_KIND, ...} and {.name = "name", ..., .kind = NF_OPTION_KIND}
OPTION = re.compile(r'\{\s*(?:\.name\s*=\s*)?"([a-z][a-z0-9-]*)"[^{}]*?\bNF_OPTION_(?:FLAG|STRING|LIST|U64|F64|BYTES)', re.S)


def check_pages(tree):
    for path in tree.under('cmd', suffix=('.c',)):
        match = re.fullmatch(r'cmd/cmd-([a-z-]+)\.c', path)
        if not match:
            continue
        page = f'doc/man/nearfar-{match[1]}.1'
        if page not in tree.files:
            yield f'{path}:1: has no manual page {page}'
            continue
        explained = set(re.findall(r'^\.It .*?Fl -([a-z][a-z0-9-]*)', tree.text(page).replace('\\-', '-'), re.M))
        options = set(OPTION.findall(tree.text(path)))
        yield from (f'{page}:1: does not explain --{o} of {path}' for o in sorted(options - explained))
        yield from (f'{page}:1: explains --{o}, which {path} does not have' for o in sorted(explained - options))
    commands = {f[len('doc/man/nearfar-'):-2] for f in tree.files if re.fullmatch(r'doc/man/nearfar-[a-z-]+\.1', f)}
    if any(f.startswith('cmd/cmd-') for f in tree.files):
        for command in sorted(commands):
            if f'cmd/cmd-{command}.c' not in tree.files:
                yield f'doc/man/nearfar-{command}.1:1: no such command'


def check_links(tree):
    for path in tree.files:
        if not path.endswith('.md'):
            continue
        folder = (tree.root / path).parent
        for number, line in tree.lines(path):
            for target in LINK.findall(line):
                file = target.split('#')[0]
                if '://' not in target and file and not (folder / file).exists():
                    yield f'{path}:{number}: link to nothing: {target}'


def check_format(tree):
    migrations = sorted(f for f in tree.files if re.fullmatch(r'schemas/\d{4}-.*\.sql', f))
    if not migrations:
        return
    if 'doc/format.md' not in tree.files:
        yield 'doc/format.md:1: missing: it explains the tables of schemas/'
        return
    if sqlite3.sqlite_version_info < (3, 37):
        raise harness.Skip(f'sqlite {sqlite3.sqlite_version} of this Python knows no STRICT tables')
    database = sqlite3.connect(':memory:')
    for file in migrations:
        database.executescript(tree.text(file))
    real = {t: [c[1] for c in database.execute('SELECT * FROM pragma_table_info(?)', (t,))]
            for (t,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    told, table = {}, None
    for _, line in tree.lines('doc/format.md'):
        if match := re.match(r'### `(\w+)`', line):
            table = told.setdefault(match[1], [])
        elif line.startswith('#'):
            table = None
        elif table is not None and (match := re.match(r'\| ((?:`\w+`(?:, )?)+) \|', line)):
            table += re.findall(r'`(\w+)`', match[1])
    for table in sorted(real.keys() | told.keys()):
        if table not in told:
            yield f'doc/format.md:1: does not explain table {table}'
        elif table not in real:
            yield f'doc/format.md:1: explains table {table}, which does not exist'
        else:
            for column in [c for c in real[table] if c not in told[table]]:
                yield f'doc/format.md:1: does not explain column {table}.{column}'
            for column in [c for c in told[table] if c not in real[table]]:
                yield f'doc/format.md:1: explains column {table}.{column}, which does not exist'


# vocabulary in doc/format.md -> prefix of its enumerators in core/model/words.h
VOCABULARIES = {'role': 'ROLE', 'phase': 'PHASE', 'rw': 'RW', 'pattern': 'PATTERN', 'evidence': 'EVIDENCE',
                'access evidence': 'ACCESS', 'pass kind': 'PASS', 'overlap': 'OVERLAP'}


def check_vocabularies(tree):
    if not {'doc/format.md', 'core/model/words.h'} <= set(tree.files):
        return
    header = tree.text('core/model/words.h')
    for number, line in tree.lines('doc/format.md'):
        if not (match := re.match(r'\| ([a-z ]+) \| (\d .*) \|', line)) or match[1] not in VOCABULARIES:
            continue
        told = [int(n) for n in re.findall(r'(?:^|, )(\d+) ', match[2])]
        real = sorted(int(n) for n in re.findall(rf'NF_{VOCABULARIES[match[1]]}_\w+ = (\d+)', header))
        if told != real:
            yield f'doc/format.md:{number}: {match[1]} has the numbers {real}, not {told}'


def check(tree):
    yield from check_pages(tree)
    yield from check_vocabularies(tree)
    yield from check_links(tree)
    yield from check_format(tree)


TABLE = {'schemas/0001-initial.sql': 'CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT) STRICT;\n'}
COMMAND = {'cmd/cmd-show.c': 'static const struct nf_option o[] = {{"json", 0, NF_OPTION_FLAG, 0, NULL, "as JSON"}, {NULL}};\n'}
WORDS = {'core/model/words.h': 'enum nf_rw { NF_RW_READ = 0, NF_RW_WRITE = 1, NF_RW_COUNT };\n'}
BROKEN = [
    {**WORDS, 'doc/format.md': '| rw | 0 read, 2 write |\n'},
    COMMAND,
    {**COMMAND, 'doc/man/nearfar-show.1': '.It Fl \\-csv\n'},
    {**COMMAND, 'doc/man/nearfar-show.1': '.It Fl \\-json\n.It Fl c , Fl \\-csv\n'},
    {**COMMAND, 'doc/man/nearfar-show.1': '.It Fl \\-json\n', 'doc/man/nearfar-gone.1': '.It Fl x\n'},
    {'README.md': 'see [this](doc/gone.md)\n'},
    {'README.md': '![curve](doc/gone.svg)\n'},
    TABLE,
    {**TABLE, 'doc/format.md': '### `t`\n| `id`, `a` | x |\n'},
    {**TABLE, 'doc/format.md': '### `t`\n| `id`, `a`, `b`, `c` | x |\n'},
    {**TABLE, 'doc/format.md': '### `t`\n| `id`, `a`, `b` | x |\n### `u`\n'},
]
GOOD = [{**TABLE, **COMMAND, **WORDS, 'doc/format.md': '| rw | 0 read, 1 write |\n### `t`\n| `id`, `a` | x |\n| `b` | y |\n',
         'doc/man/nearfar-show.1': '.It Fl \\-json\n', 'README.md': '[f](doc/format.md#t) [w](https://example.org)\n'}]

if __name__ == '__main__':
    harness.main(__name__)
