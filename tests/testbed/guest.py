"""Boots a stock Debian kernel under QEMU with memory tiers that this machine lacks, runs a script of the just-built nearfar in
it, and brings results back. Emulated in software: what it shows is that things work, never how fast they are.

    guest = Guest('AB', '6.12', build_folder)      # raises Missing, with the reason, where there is no such guest
    result = guest.run('nearfar tiers --json >$OUT/tiers.json', files=[...])
    result.status, result.out / 'tiers.json', result.console
"""
import fcntl
import lzma
import os
import pathlib
import shutil
import stat
import struct
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = ROOT / '.deps/guest'
TOOLS = ['/usr/bin/cxl', '/usr/bin/ndctl', '/usr/bin/daxctl', '/usr/bin/numactl', '/usr/bin/kmod']
HOME = 'home'  # of the guest's script
# The emulator's CPUs run in parallel and now and then see half of an instruction that the kernel is patching (its static
# branches): the kernel then dies of an invalid opcode. No program of the guest can cause that, so it is booted again.
ASKED_S = 60  # of a boot, from nothing to the results; more is said, and is no failure: it is the host that is slow
PANIC, TRIES = 'Kernel panic - not syncing', 3
MODULES = ['virtio_pci', '9pnet_virtio', '9p', 'cxl_acpi', 'cxl_pci', 'cxl_mem', 'cxl_port', 'cxl_pmem', 'nfit', 'nd_pmem',
           'dax_pmem', 'device_dax', 'kmem', 'dax_hmem', 'dax_cxl', 'zram', 'ext4', 'crc32c_generic']


class Missing(Exception):
    """Why no guest can be booted here."""


class Archive:
    """A cpio archive in the format of the kernel's initial file system, uncompressed: unpacking it emulated costs seconds."""

    def __init__(self):
        self.data, self.names, self.inode = bytearray(), set(), 0

    def _entry(self, name, mode, content=b'', device=(0, 0)):
        self.inode += 1
        fields = (self.inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name) + 1, 0)
        self.data += b'070701' + b''.join(b'%08X' % f for f in fields) + name.encode() + b'\0'
        self.data += b'\0' * (-len(self.data) % 4) + content
        self.data += b'\0' * (-len(self.data) % 4)

    def folder(self, path):
        path = path.strip('/')
        if path and path not in self.names:
            self.folder(path.rpartition('/')[0])
            self.names.add(path)
            self._entry(path, stat.S_IFDIR | 0o755)

    def file(self, path, content, mode=0o644):
        path = path.strip('/')
        if path in self.names:
            return
        self.folder(path.rpartition('/')[0])
        self.names.add(path)
        self._entry(path, stat.S_IFREG | mode, content)

    def link(self, path, target):
        self.folder(path.strip('/').rpartition('/')[0])
        self._entry(path.strip('/'), stat.S_IFLNK | 0o777, target.encode())

    def console(self):
        self.folder('dev')
        self._entry('dev/console', stat.S_IFCHR | 0o600, device=(5, 1))

    def program(self, source, path=None):
        """A program with the libraries it needs, where its loader looks for them."""
        self.file(path or str(source), pathlib.Path(source).read_bytes(), 0o755)
        listed = subprocess.run(['ldd', source], capture_output=True, text=True).stdout
        for line in listed.splitlines():
            library = next((w for w in line.split() if w.startswith('/')), None)
            if library:
                self.file(library, pathlib.Path(library).read_bytes(), 0o755)

    def bytes(self):
        self._entry('TRAILER!!!', 0)
        return bytes(self.data) + b'\0' * (-len(self.data) % 512)


def kernel(version):
    """Folder of an unpacked kernel package, its release."""
    found = subprocess.run([ROOT / 'tools/guest-kernel', version], capture_output=True, text=True)
    if found.returncode:
        raise Missing(found.stderr.strip() or f'no kernel {version}')
    folder = pathlib.Path(found.stdout.strip())
    return folder, os.listdir(folder / 'lib/modules')[0]


def base_archive(version):
    """What every guest of this kernel has, made once, by one of the tests that run at the same time."""
    with open(CACHE / 'lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return locked_base_archive(version)


def locked_base_archive(version):
    folder, release = kernel(version)
    sources = [HERE / 'init', HERE / 'guest.py', *map(pathlib.Path, TOOLS)]
    cached = CACHE / f'base-{release}.cpio'
    if cached.exists() and all(cached.stat().st_mtime > s.stat().st_mtime for s in sources):
        return folder / f'boot/vmlinuz-{release}', cached
    tree = folder / f'lib/modules/{release}'
    if not (tree / 'modules.dep.bin').exists():
        subprocess.run(['/sbin/depmod', '-b', folder, release], check=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        small = pathlib.Path(scratch) / f'lib/modules/{release}'
        for name in MODULES:
            # A package's modprobe.d may replace what loading a module does: none of it counts here.
            listed = subprocess.run(['/sbin/modprobe', '-C', '/dev/null', '-d', folder, '-S', release, '--show-depends', name],
                                    capture_output=True, text=True).stdout
            for module in (pathlib.Path(line.split()[1]) for line in listed.splitlines() if line.startswith('insmod')):
                into = small / str(module).partition(f'/lib/modules/{release}/')[2].removesuffix('.xz')
                into.parent.mkdir(parents=True, exist_ok=True)
                content = module.read_bytes()
                into.write_bytes(lzma.decompress(content) if module.suffix == '.xz' else content)
        for name in 'modules.builtin', 'modules.builtin.modinfo', 'modules.order':
            shutil.copy(tree / name, small / name)
        subprocess.run(['/sbin/depmod', '-b', scratch, release], check=True)
        archive = Archive()
        for path in sorted(small.rglob('*')):
            if path.is_file():
                archive.file(str(path.relative_to(scratch)), path.read_bytes())
    for path in 'proc', 'sys', 'tmp', 'host', 'run', HOME, 'usr/sbin', 'etc':
        archive.folder(path)
    archive.console()
    busybox = '/bin/busybox'
    archive.file('bin/busybox', pathlib.Path(busybox).read_bytes(), 0o755)
    for applet in subprocess.run([busybox, '--list'], capture_output=True, text=True, check=True).stdout.split():
        if applet not in ('busybox', 'modprobe'):
            archive.link(f'bin/{applet}', 'busybox')
    for tool in TOOLS:
        archive.program(tool)
    archive.link('bin/modprobe', '/usr/bin/kmod')
    configuration = pathlib.Path('/usr/share/daxctl/daxctl.conf')
    if configuration.exists():
        archive.file(str(configuration), configuration.read_bytes())
    archive.file('init', (HERE / 'init').read_bytes(), 0o755)
    part = cached.with_suffix('.part')
    part.write_bytes(archive.bytes())
    part.rename(cached)
    return folder / f'boot/vmlinuz-{release}', cached


def near_node():
    return ['-object', 'memory-backend-ram,id=m0,size=2G', '-numa', 'node,nodeid=0,memdev=m0,cpus=0-1,initiator=0',
            *rated(0, *NEAR)]


def rated(node, latency_ns, bandwidth):
    common = f'hmat-lb,initiator=0,target={node},hierarchy=memory,data-type='
    return ['-numa', f'{common}access-latency,latency={latency_ns}', '-numa', f'{common}access-bandwidth,bandwidth={bandwidth}G']


NEAR, FAR = (80, 100), (250, 30)  # ns, GB/s: what the firmware tables tell the guest
FAR_DISTANCE = 28
FAR_BYTES = 1 << 30
CXL_BYTES = 1 << 30

def far_node(size=FAR_BYTES):
    return ['-object', f'memory-backend-ram,id=m1,size={size}', '-numa', 'node,nodeid=1,memdev=m1,initiator=0',
            '-numa', f'dist,src=0,dst=1,val={FAR_DISTANCE}', '-numa', f'dist,src=1,dst=0,val={FAR_DISTANCE}', *rated(1, *FAR)]
# Two root ports: with a single one the kernel decodes in a way that this emulator does not model, and writes are lost.
cxl_device = ['-device', 'pxb-cxl,bus_nr=12,bus=pcie.0,id=cxl.1', '-device', 'cxl-rp,port=0,bus=cxl.1,id=rp0,chassis=0,slot=2',
              '-device', 'cxl-rp,port=1,bus=cxl.1,id=rp1,chassis=0,slot=3', '-M', 'cxl-fmw.0.targets.0=cxl.1,cxl-fmw.0.size=4G',
              '-object', f'memory-backend-ram,id=cm0,share=on,size={CXL_BYTES}', '-object',
              'memory-backend-ram,id=lsa0,share=on,size=256K', '-device', 'cxl-type3,bus=rp0,memdev=cm0,lsa=lsa0,id=t3']
TOPOLOGIES = {
    # Two nodes, the second without CPUs and slower by the firmware's word.
    'A': lambda: ['-M', 'q35,hmat=on', '-m', '3G', *near_node(), *far_node()],
    # The same, the second one so small that it is soon full.
    'S': lambda: ['-M', 'q35,hmat=on', '-m', '2432M', *near_node(), *far_node('384M')],
    # A CXL type-3 device behind a fixed memory window: region, devdax, node.
    'B': lambda: ['-M', 'q35,cxl=on', '-m', '2G,slots=4,maxmem=8G', '-object', 'memory-backend-ram,id=m0,size=2G', '-numa',
                  'node,nodeid=0,memdev=m0,cpus=0-1', *cxl_device],
    # Both: three nodes once the CXL memory is onlined.
    'AB': lambda: ['-M', 'q35,cxl=on,hmat=on', '-m', '3G,slots=4,maxmem=8G', *near_node(), *far_node(), *cxl_device],
    # A devdax on a persistent memory device with a target node of its own: real /dev/dax at the speed of memory.
    'C': lambda: ['-M', 'q35,nvdimm=on,hmat=on', '-m', '2G,slots=4,maxmem=8G', *near_node(), '-numa',
                  'node,nodeid=1,initiator=0', *rated(1, 300, 30), '-object', f'memory-backend-ram,id=nv0,share=on,size={CXL_BYTES}',
                  '-device', 'nvdimm,id=nvd0,memdev=nv0,node=1'],
}


class Result:
    def __init__(self, status, out, console, seconds):
        self.status, self.out, self.console, self.seconds = status, out, console, seconds

    def text(self, name):
        path = self.out / name
        return path.read_text() if path.exists() else ''


class Guest:
    def __init__(self, topology, version, build):
        self.topology, self.version, self.build = topology, version, pathlib.Path(build).resolve()
        if not shutil.which('qemu-system-x86_64'):
            raise Missing('no qemu-system-x86_64 here (package qemu-system-x86)')
        absent = [t for t in [*TOOLS, '/bin/busybox', '/sbin/depmod'] if not os.path.exists(t)]
        if absent:
            raise Missing(f'the guest needs {", ".join(absent)} (packages ndctl, daxctl, numactl, kmod, busybox-static)')
        CACHE.mkdir(parents=True, exist_ok=True)
        self.kernel, self.base = base_archive(version)

    def run(self, script, files=(), timeout_s=120, work=None):
        """Runs a shell script as root in the guest, where $OUT comes back; files lie in its home. status: the script's, 124
        when it took too long, 99 when the guest did not get that far."""
        work = pathlib.Path(work or tempfile.mkdtemp(prefix='nearfar-guest-'))
        share = work / 'share'
        (share / 'out').mkdir(parents=True, exist_ok=True)
        (share / 'job').write_text(script)
        archive = Archive()
        archive.program(self.build / 'nearfar', '/usr/bin/nearfar')
        for path in [*(self.build / 'capture/preload').glob('*.so'), *(self.build / 'live/preload').glob('*.so'), *(self.build / 'capture/hook').glob('*.py')]:
            archive.program(path, f'/usr/lib/nearfar/{path.parent.name}/{path.name}')
        for path in map(pathlib.Path, files):
            if path.is_file() and os.access(path, os.X_OK) and path.read_bytes()[:4] == b'\x7fELF':
                archive.program(path, f'{HOME}/{path.name}')
            else:
                archive.file(f'{HOME}/{path.name}', path.read_bytes(), path.stat().st_mode & 0o777)
        initrd = work / 'initrd'
        initrd.write_bytes(self.base.read_bytes() + archive.bytes())
        words = ['console=ttyS0', 'panic=1', 'quiet', 'edd=off', f'topo={self.topology}']
        if self.version == '6.12':
            words.append('pcie_ports=compat')  # else its CXL driver waits for an interrupt that the emulator does not offer
        # A hypervisor bit makes newer kernels refuse to commit a region; fast string instructions become one emulated access
        # per byte on CXL memory, and only both off together boot.
        command = ['qemu-system-x86_64', *TOPOLOGIES[self.topology](), '-accel', 'tcg,thread=multi', '-cpu',
                   'max,-hypervisor,-erms,-fsrm', '-smp', '2', '-fsdev', f'local,id=h,path={share},security_model=none', '-device',
                   'virtio-9p-pci,fsdev=h,mount_tag=host,bus=pcie.0', '-device', 'isa-debug-exit,iobase=0xf4,iosize=1',
                   '-nographic', '-nodefaults', '-no-reboot', '-serial', f'file:{work / "console"}', '-kernel', self.kernel,
                   '-initrd', initrd, '-append', ' '.join(words)]
        began = time.monotonic()
        for tries_left in reversed(range(TRIES)):
            result = self._boot(command, work, share, timeout_s, began)
            if not tries_left or PANIC not in result.console:
                break
            print(f'the guest\'s kernel panicked after {result.seconds:.1f} s, {tries_left} tries left')
            shutil.rmtree(share / 'out')
            (share / 'out').mkdir()
        initrd.unlink()
        # tools/test-summary adds these up.
        print(f'guest {self.topology} {self.version}: {result.seconds:.1f} s for {ASKED_S} asked'
              f'{", MISSED" if result.seconds > ASKED_S else ""}', flush=True)
        return result

    @staticmethod
    def _boot(command, work, share, timeout_s, began):
        try:
            code = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=timeout_s)
            status = (code.returncode - 1) // 2 if code.returncode % 2 else 99
            complaint = code.stderr if status == 99 else ''
        except subprocess.TimeoutExpired:
            status, complaint = 124, f'the guest was stopped after {timeout_s} s'
        console = work / 'console'
        text = console.read_text(errors='replace').replace('\r', '') if console.exists() else ''
        return Result(status, share / 'out', text + complaint, time.monotonic() - began)
