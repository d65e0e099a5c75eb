"""Jobs for faults.py: each trains a little, and does what a memory that is emptied and shared could break. What is wrong
ends them with an assertion. usage: fault_jobs.py JOB [ARGS]"""
import ctypes
import mmap
import multiprocessing
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time

import numpy
import torch

torch.manual_seed(0)
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
BIG = 4 << 20  # elements: 16 MiB
RNG = numpy.random.default_rng(7)


def model():
    return torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.GELU(), torch.nn.Linear(512, 256))


def train(net, optimizer, steps=1):
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        x = torch.randn(128, 256)
        (net(x) - x).pow(2).mean().backward()
        optimizer.step()


def started():
    net = model()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    train(net, optimizer)
    return net, optimizer


def in_child(work):
    """The pid of a forked child that ends with 0 when its work was right."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException as error:
        os.write(2, f'child: {type(error).__name__}: {error}\n'.encode())
    os._exit(code)


def wait(pid, what):
    status = os.waitpid(pid, 0)[1]
    assert status == 0, f'{what}: status {status}'


# --- forks ---

def both_write(net, big):
    """The child sees what was there when it was made, and neither sees what the other writes."""
    for k in range(8):
        big.fill_(k)
        before = [p.detach().clone() for p in net.parameters()]

        def child():
            assert (big == k).all(), f'values of another time: {big.unique()}, not {k}'
            for p, q in zip(net.parameters(), before):
                assert torch.equal(p, q)
                p.data.fill_(-1)
            big.fill_(-1)
            fresh = torch.full((BIG,), 3.0)
            assert big.sum() == -BIG and fresh.sum() == 3 * BIG

        pid = in_child(child)
        big.fill_(k + 100)
        fresh = torch.full((BIG,), 5.0)
        wait(pid, 'a child that writes')
        assert (big == k + 100).all() and (fresh == 5).all()
        assert all(torch.equal(p, q) for p, q in zip(net.parameters(), before)), 'the child wrote into the parent'


def from_thread(big):
    """Another thread goes on writing: the child must see one moment, not several."""
    big.fill_(0)
    ended, bad = threading.Event(), []

    def consistent():
        values = big.numpy()
        low, high = int(values[0]), int(values[-1])
        changes = numpy.flatnonzero(values[1:] != values[:-1])
        assert low - high in (0, 1) and len(changes) <= 1, f'begins with {low}, ends with {high}, {len(changes)} changes'

    def forks():
        for _ in range(6):
            status = os.waitpid(in_child(consistent), 0)[1]
            if status:
                bad.append(status)
        ended.set()

    thread = threading.Thread(target=forks)
    thread.start()
    k = 0
    while not ended.is_set():
        k += 1
        big.fill_(k)
    thread.join()
    assert not bad, f'children of a second thread: {bad}'


def many_children(big):
    big.fill_(1)

    def grandchild():
        assert (big == 2).all()
        big.fill_(3)

    def child():
        assert (big == 1).all()
        big.fill_(2)
        pids = [in_child(grandchild) for _ in range(2)]
        for pid in pids:
            wait(pid, 'a grandchild')
        assert (big == 2).all()

    pids = [in_child(child) for _ in range(20)]
    for pid in pids:
        wait(pid, 'one of twenty')
    assert (big == 1).all()


def other_programs(big):
    big.fill_(4)
    assert subprocess.run(['/bin/echo', 'x'], capture_output=True).stdout == b'x\n'
    assert subprocess.run(['/bin/echo', 'x'], capture_output=True, preexec_fn=lambda: None).stdout == b'x\n' # a real fork
    assert os.system('true') == 0
    wait(os.posix_spawn('/bin/true', ['true'], os.environ), 'posix_spawn')
    wait(in_child(lambda: os.execv('/bin/true', ['true'])), 'exec after fork')
    with os.popen('cat', 'w') as pipe:
        pipe.write('')
    assert (big == 4).all()


def sum_of(shared):
    return float(shared.sum())


def pools(big):
    big.fill_(1)
    for method in 'fork', 'spawn', 'forkserver':
        with multiprocessing.get_context(method).Pool(2) as pool:
            given = [torch.full((50000,), float(i)).numpy() for i in range(4)]
            assert pool.map(sum_of, given) == [50000.0 * i for i in range(4)], method
    assert (big == 1).all()


class Rows(torch.utils.data.Dataset):
    def __init__(self, table):
        self.table = table

    def __len__(self):
        return len(self.table)

    def __getitem__(self, i):
        return self.table[i] * 2


def loaders(net, optimizer):
    table = torch.arange(256 * 20000, dtype=torch.float32).reshape(256, 20000)
    for persistent in False, True:
        loader = torch.utils.data.DataLoader(Rows(table), batch_size=16, num_workers=2, persistent_workers=persistent)
        for epoch in range(2):
            for number, rows in enumerate(loader):
                assert torch.equal(rows, table[number * 16:number * 16 + 16] * 2)
                if number % 8 == 0:
                    train(net, optimizer)
    tensor = torch.arange(100000.0).share_memory_()
    context = multiprocessing.get_context('fork')
    process = context.Process(target=tensor.mul_, args=(3,))
    process.start()
    process.join()
    assert process.exitcode == 0 and torch.equal(tensor, torch.arange(100000.0) * 3), 'shared memory is shared'


def few_files(big):
    """A job at its limit of open files forks, and one that closed every file that isn't its own."""
    big.fill_(6)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(limits[0], 600), limits[1]))
        try:
            while True:
                files.append(os.dup(2))
        except OSError:
            pass
        pid = in_child(lambda: check_all(big, 6))
        big.fill_(7)
        wait(pid, 'a child at the limit of open files')
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    def closes():
        os.closerange(3, 4096)
        big.fill_(8)
        pid = in_child(lambda: check_all(big, 8))
        big.fill_(9)
        wait(pid, 'a grandchild without files')

    wait(in_child(closes), 'a child without files')
    check_all(big, 7)


def check_all(big, value):
    assert (big == value).all(), f'{big.unique()} instead of {value}'


def outlives(big, path):
    """Writes its verdict when the parent is long gone."""
    big.fill_(11)

    def child():
        parent = os.getppid()
        while os.getppid() == parent:
            time.sleep(0.01)
        check_all(big, 11)
        big.fill_(12)
        with open(path, 'w', encoding='utf-8') as f:
            f.write('right')

    in_child(child)
    big.fill_(13)


def forks(path):
    net, optimizer = started()
    big = torch.zeros(BIG)
    for part in (lambda: both_write(net, big), lambda: from_thread(big), lambda: many_children(big),
                 lambda: other_programs(big), lambda: few_files(big)):
        part()
        train(net, optimizer)
    outlives(big, path)


def workers():
    """Data loaders and pools, started by a job that trains and by one that doesn't yet."""
    net, optimizer = started()
    big = torch.zeros(BIG)
    pools(big)
    loaders(net, optimizer)
    train(net, optimizer)


def launcher():
    """The parent has tensors and trains nothing; the child does."""
    table = torch.arange(1e6)
    before = table.clone()

    def child():
        assert torch.equal(table, before)
        net, optimizer = started()
        table.fill_(0)
        train(net, optimizer, 3)
        assert not table.any()
        sys.exit(0) # with its exit handlers: they say that it ended

    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        child()
    table.add_(1)
    wait(pid, 'the child that trains')
    assert torch.equal(table, before + 1)


# --- what the kernel reads and writes for the job ---

def noise(n=300000):
    return torch.from_numpy(RNG.integers(0, 256, n, dtype=numpy.uint8)).clone()


def bytes_of(tensor):
    return memoryview(tensor.numpy()).cast('B')


def empty(tensor):
    return torch.zeros_like(tensor)


def files(folder):
    source, path = noise(), os.path.join(folder, 'file')
    with open(path, 'wb', buffering=0) as f:
        assert f.write(bytes_of(source)) == source.numel()
    target = empty(source)
    with open(path, 'rb', buffering=0) as f:
        assert f.readinto(bytes_of(target)) == source.numel()
    assert torch.equal(source, target), 'readinto'
    source.numpy().tofile(path)
    assert torch.equal(torch.from_numpy(numpy.fromfile(path, dtype=numpy.uint8)), source), 'tofile, fromfile'
    assert torch.equal(torch.from_file(path, size=source.numel(), dtype=torch.uint8), source), 'from_file'
    tensors = {'a': torch.arange(100000.0), 'b': source}
    for zipped in True, False:
        torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
        loaded = torch.load(path)
        assert all(torch.equal(loaded[k], tensors[k]) for k in tensors), 'save, load'
    with open(path, 'r+b') as f:
        f.truncate(source.numel())
        with mmap.mmap(f.fileno(), source.numel()) as m:
            m[:] = bytes(bytes_of(source))
            target = empty(source)
            target.numpy()[:] = numpy.frombuffer(m, dtype=numpy.uint8)
            assert torch.equal(target, source), 'mmap'
            assert os.pwrite(f.fileno(), bytes_of(source)[1:], 0) == source.numel() - 1
            assert m[:source.numel() - 1] == bytes(bytes_of(source)[1:]), 'pwrite under a mapping'
    target = empty(source)
    fd = os.open(path, os.O_RDWR)
    os.pwritev(fd, [bytes_of(source)[:100000], bytes_of(source)[100000:]], 0)
    assert os.preadv(fd, [bytes_of(target)[:70000], bytes_of(target)[70000:]], 0) == source.numel()
    assert torch.equal(target, source), 'preadv, pwritev'
    os.close(fd)


def direct(folder):
    """Straight between disk and tensor."""
    source, path = noise(1 << 20), os.path.join(folder, 'direct')
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    except OSError:
        return
    try:
        assert source.data_ptr() % 4096 == 0 or 'NEARFAR_ARENA' not in os.environ
        if source.data_ptr() % 4096 == 0:
            target = empty(source)
            assert os.pwrite(fd, bytes_of(source), 0) == source.numel()
            assert os.preadv(fd, [bytes_of(target)], 0) == source.numel()
            assert torch.equal(source, target), 'O_DIRECT'
    finally:
        os.close(fd)


def sockets():
    source, target = noise(), None
    left, right = socket.socketpair()
    with left, right:
        sender = threading.Thread(target=left.sendall, args=(bytes_of(source),))
        target = empty(source)
        sender.start()
        view = bytes_of(target)
        while view:
            view = view[right.recv_into(view):]
        sender.join()
        assert torch.equal(source, target), 'recv_into'
    with socket.create_server(('127.0.0.1', 0)) as server, socket.create_connection(server.getsockname()) as out:
        come, _ = server.accept()
        with come:
            sender = threading.Thread(target=out.sendall, args=(bytes_of(source),))
            sender.start()
            target, got = empty(source), 0
            while got < source.numel():
                got += come.recvmsg_into([bytes_of(target)[got:]])[0]
            sender.join()
    assert torch.equal(source, target), 'recvmsg_into'


def pipes(folder):
    source, path = noise(), os.path.join(folder, 'piped')
    r, w = os.pipe()
    libc = ctypes.CDLL(None, use_errno=True)

    class Vector(ctypes.Structure):
        _fields_ = [('base', ctypes.c_void_p), ('bytes', ctypes.c_size_t)]

    # vmsplice hands the tensor's pages themselves to the pipe, splice moves them to a file.
    fd, done = os.open(path, os.O_RDWR | os.O_CREAT), 0
    while done < source.numel():
        vector = Vector(source.data_ptr() + done, min(65536, source.numel() - done))
        n = libc.vmsplice(w, ctypes.byref(vector), ctypes.c_ulong(1), 0)
        assert n > 0, os.strerror(ctypes.get_errno())
        left = n
        while left:
            left -= os.splice(r, fd, left) if hasattr(os, 'splice') else os.write(fd, os.read(r, left))
        done += n
    target = empty(source)
    assert os.preadv(fd, [bytes_of(target)], 0) == source.numel() and torch.equal(source, target), 'splice'
    left, right = socket.socketpair()
    with left, right:
        sent = threading.Thread(target=lambda: [os.sendfile(left.fileno(), fd, at, 50000) for at in range(0, 300000, 50000)])
        sent.start()
        target, view = empty(source), None
        view = bytes_of(target)
        while view:
            view = view[right.recv_into(view):]
        sent.join()
    assert torch.equal(source, target), 'sendfile'
    writer = threading.Thread(target=lambda: [os.write(w, bytes_of(source)[at:at + 30000]) for at in range(0, 300000, 30000)])
    writer.start()
    target = empty(source)
    view = bytes_of(target)
    while view:
        view = view[os.readv(r, [view[:40000]]):]
    writer.join()
    assert torch.equal(source, target), 'pipe'
    for f in r, w, fd:
        os.close(f)


def shared_memory():
    from multiprocessing import shared_memory as sm
    source = noise()
    block = sm.SharedMemory(create=True, size=source.numel())
    block.buf[:source.numel()] = bytes_of(source)
    again = sm.SharedMemory(name=block.name)
    target = torch.from_numpy(numpy.frombuffer(again.buf, dtype=numpy.uint8, count=source.numel()).copy())
    assert torch.equal(source, target), 'shared memory'
    del target
    again.close()
    block.close()
    block.unlink()


def views():
    source = torch.arange(200000, dtype=torch.float32)
    view = memoryview(source.numpy())
    view[5] = -1.0
    assert source[5] == -1 and view[100000] == 100000.0 and numpy.frombuffer(view, dtype=numpy.float32)[5] == -1
    assert torch.frombuffer(bytearray(bytes_of(source)), dtype=torch.float32).equal(source)


def mix(net, x, work):
    """Kernel-made data becomes part of the training, inside one operator call of the job's own."""
    class Through(torch.autograd.Function):
        @staticmethod
        def forward(ctx, y):
            work()
            return y * 1

        @staticmethod
        def backward(ctx, g):
            work()
            return g * 1

    return Through.apply(net(x))


def system_calls():
    net, optimizer = started()
    with tempfile.TemporaryDirectory() as folder:
        for work in (lambda: files(folder), lambda: direct(folder), sockets, lambda: pipes(folder), shared_memory, views):
            optimizer.zero_grad(set_to_none=True)
            x = torch.randn(128, 256)
            (mix(net, x, work) - x).pow(2).mean().backward()
            optimizer.step()


def kernel_touches(path):
    """The kernel fills one tensor and reads another, in every step."""
    net, optimizer = started()
    source, target = torch.arange(65536.0), torch.zeros(65536)
    for _ in range(3):
        optimizer.zero_grad(set_to_none=True)
        y = net(torch.randn(128, 256))
        with open(path, 'wb', buffering=0) as f:
            f.write(bytes_of(source))
        with open(path, 'rb', buffering=0) as f:
            f.readinto(bytes_of(target))
        total = (source - target).abs().sum()
        assert total == 0
        (y.pow(2).mean() + total).backward()
        optimizer.step()


def limited():
    """Trains, then forks while memory is short: the child has its copy or says that it can't, the parent is unharmed."""
    net, optimizer = started()
    big = torch.full((8 * BIG,), 2.0)
    train(net, optimizer)
    pid = in_child(lambda: check_all(big, 2))
    big.fill_(3)
    status = os.waitpid(pid, 0)[1]
    assert status in (0, 256), status
    check_all(big, 3)
    train(net, optimizer)
    print('child', 'right' if status == 0 else 'refused')


if __name__ == '__main__':
    globals()[sys.argv[1]](*sys.argv[2:])
