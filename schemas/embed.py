"""Turns numbered .sql files into a C table: version, text."""
import pathlib
import sys

out, *files = sys.argv[1:]
lines = ['/* Generated from schemas. */', '#include "core/store/migration.h"', '',
         'const struct nf_migration nf_migrations[] = {']
for expected, file in enumerate(sorted(files, key=lambda f: pathlib.Path(f).name), 1):
    number = int(pathlib.Path(file).name.split('-')[0])
    if number != expected:
        sys.exit(f'{file}: migration {expected} is missing')
    body = ''.join(f'        "{line}\\n"\n' for line in
                   (l.replace('\\', '\\\\').replace('"', '\\"') for l in pathlib.Path(file).read_text().splitlines()))
    lines.append(f'    {{{number},\n{body}    }},')
lines += ['};', f'const unsigned nf_migration_count = {len(files)};', '']
pathlib.Path(out).write_text('\n'.join(lines))
