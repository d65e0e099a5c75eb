"""What every lint rule shares: the tree it looks at, and the self-test that proves it can fail.

A rule module has check(tree), which yields "path:line: what is wrong", and BROKEN, a list of small trees
{path: content} that check must object to. GOOD, optional, is a list of trees that it must leave alone.
Run `rule.py ROOT` for the tree, `rule.py --self-test` for the rule itself. Exit 77: cannot run here."""
import os
import pathlib
import subprocess
import sys
import tempfile


class Skip(Exception):
    """The rule cannot run on this machine; the text says why."""


class Tree:
    def __init__(self, root):
        self.root = pathlib.Path(root)
        try:
            listing = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard', '-z'], cwd=self.root, check=True,
                                     capture_output=True, text=True).stdout.split('\0')
            inside = subprocess.run(['git', 'rev-parse', '--show-prefix'], cwd=self.root, check=True,
                                    capture_output=True, text=True).stdout.strip()
            if inside:  # a tree inside somebody else's repository: its ignore rules are not ours
                raise OSError
        except (OSError, subprocess.CalledProcessError):  # unpacked from an archive
            listing = [str(p.relative_to(self.root)) for p in self.root.rglob('*')
                       if not p.relative_to(self.root).parts[0].startswith(('.', 'build', 'out'))]
        self.files = sorted(f for f in set(listing) if f and (self.root / f).is_file())

    def under(self, *folders, suffix=('.c', '.h')):
        return [f for f in self.files if f.split('/')[0] in folders and f.endswith(suffix)]

    def text(self, path):
        return (self.root / path).read_text(encoding='utf-8', errors='replace')

    def lines(self, path):
        return enumerate(self.text(path).splitlines(), 1)


def findings(rule, content):
    with tempfile.TemporaryDirectory() as folder:
        for path, text in content.items():
            file = pathlib.Path(folder, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding='utf-8')
        return list(rule.check(Tree(folder)))


def self_test(rule):
    wrong = 0
    for content in rule.BROKEN:
        if not findings(rule, content):
            wrong += 1
            print(f'not detected: {content}')
    for content in getattr(rule, 'GOOD', []):
        for finding in findings(rule, content):
            wrong += 1
            print(f'detected without reason: {finding} in {content}')
    print(f'{len(rule.BROKEN)} violations tried, {wrong} wrong')
    return wrong == 0


def main(name):
    rule = sys.modules[name]
    try:
        if sys.argv[1:] == ['--self-test']:
            sys.exit(0 if self_test(rule) else 1)
        found = list(rule.check(Tree(sys.argv[1])))
    except Skip as why:
        print(why)
        sys.exit(77)
    print(*found, f'{len(found)} findings', sep='\n')
    sys.exit(1 if found else 0)


def which(*names):
    return [n for n in names if any(os.access(os.path.join(d, n), os.X_OK) for d in os.get_exec_path())]
