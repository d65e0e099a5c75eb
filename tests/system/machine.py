"""Machines that are not here: trees of sysfs and procfs kept as one text file each below tests/machines.

A file's lines: '[folder]' for those after it, 'name = content' (a \\n in it is a line's end), 'name -> target' a symbolic link."""


def unpack(source, into):
    folder = into
    for line in source.read_text().splitlines():
        if line.startswith('['):
            folder = into / line.strip('[]')
            folder.mkdir(parents=True, exist_ok=True)
        elif ' -> ' in line:
            name, _, target = line.partition(' -> ')
            (folder / name).symlink_to(target)
        elif ' = ' in line and not line.startswith('#'):
            name, _, content = line.partition(' = ')
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content.replace('\\n', '\n').rstrip('\n') + '\n')
    return into
