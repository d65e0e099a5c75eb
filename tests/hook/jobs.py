"""The jobs that test-hook.py runs under the hook, one function each; what a job says about itself it writes as JSON to
the file named in NF_JOB_OUT."""
import ctypes
import hashlib
import json
import os
import sys


def say(facts):
    with open(os.environ["NF_JOB_OUT"], "w") as out:
        json.dump(facts, out)


def setup():
    import torch
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return torch


def parameter_hash(parameters):
    digest = hashlib.sha256()
    for p in parameters:
        digest.update(ctypes.string_at(p.data_ptr(), p.numel() * p.element_size()))
    return digest.hexdigest()


def small_model(torch):
    nn = torch.nn
    return nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Dropout(0.1), nn.Linear(64, 32))


def train(torch, model, steps=3, microbatches=1, rows=64):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        for _ in range(microbatches):
            x = torch.randn(rows, 32)
            (0.5 * (model(x) - x).pow(2).mean()).backward()
        optimizer.step()
    return optimizer


def plain():
    torch = setup()
    model = small_model(torch)
    train(torch, model)
    say({"sha256": parameter_hash(model.parameters())})


def allocations():
    torch = setup()
    early = torch.empty(77777, dtype=torch.uint8)  # before the claim
    model = torch.nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    libc = ctypes.CDLL(None)
    block = ctypes.c_void_p()
    libc.realloc.restype = ctypes.c_void_p
    libc.realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.posix_memalign(ctypes.byref(block), 4096, 33333)
    moved = libc.realloc(block, 44444)
    libc.free(ctypes.c_void_p(moved))
    libc.posix_memalign(ctypes.byref(block), 16, 55555)  # less aligned than tensors: not tracked
    libc.free(block)
    addresses = []
    for _ in range(5):
        tensor = torch.empty(123457, dtype=torch.uint8)
        addresses.append(tensor.data_ptr())
        del tensor
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    say({"early": early.data_ptr(), "addresses": addresses, "first": block.value})


def checkpointed(reentrant):
    torch = setup()
    from torch.utils.checkpoint import checkpoint

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.segment = small_model(torch)
            self.out = torch.nn.Linear(32, 32)

        def forward(self, x):
            y = checkpoint(self.segment, x, use_reentrant=reentrant)
            # A segment that is a bare function has no module stack to give it away.
            z = checkpoint(lambda t: torch.tanh(t) * 2, y, use_reentrant=reentrant)
            return self.out(z)

    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    inputs = []
    for _ in range(2):
        optimizer.zero_grad(set_to_none=True)
        for _ in range(2):
            x = torch.randn(64, 32, requires_grad=True)
            inputs.append(x.data_ptr())
            (net(x) - x).pow(2).mean().backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    say({"sha256": parameter_hash(net.parameters()), "inputs": inputs})


def reentrant():
    checkpointed(True)


def nonreentrant():
    checkpointed(False)


def extents():
    """Every kind of view once, with the visits it has to give: [address, bytes, run, stride, rw, pattern]."""
    torch = setup()
    expected, kept = [], []
    read, write, update, stream, strided, gather, blocked = 0, 1, 2, 0, 1, 2, 3
    f = 4
    row = 96 * f

    def expect(name, *visits):
        expected.append((name, visits))

    def some(tensor, offset, size, run, stride, rw, pattern):
        return [tensor.data_ptr() + offset, size, run, stride, rw, pattern]

    def dense(tensor, rw, pattern=stream, offset=0, size=None):
        size = tensor.numel() * tensor.element_size() if size is None else size
        return some(tensor, offset, size, size, size, rw, pattern)

    def fresh(tensor):
        kept.append(tensor)
        return dense(tensor, write)

    class Probe(torch.nn.Module):
        def forward(self, a):
            # a: 64 x 96
            expect("aten::neg", dense(a, read, offset=8 * row, size=8 * row), fresh(a[8:16].neg()))
            expect("aten::neg", some(a, 32 * f, 64 * 32 * f, 32 * f, row, read, strided), fresh(a[:, 32:64].neg()))
            # Dense in another order: all of it.
            expect("aten::abs", dense(a, read), fresh(a.t().abs()))
            ones = torch.ones(96)
            expect("aten::ones", fresh(ones))
            expect("aten::add", dense(a, read), dense(ones, read), fresh(a + ones.expand(64, 96)))
            # Attention's operands: a fused qkv of batch 4, length 16, two heads of 16. All heads of q are 32 columns.
            q, k, v = a.view(4, 16, 96).split(32, dim=2)
            heads = q.view(4, 16, 2, 16).transpose(1, 2)
            expect("aten::neg", some(a, 0, 64 * 32 * f, 32 * f, row, read, strided), fresh(heads.neg()))
            head = k.view(4, 16, 2, 16).transpose(1, 2)[:, 1]
            expect("aten::neg", some(a, 48 * f, 64 * 16 * f, 16 * f, row, read, strided), fresh(head.neg()))
            # Two outer strides: 8 runs, the average keeps the span from row 0 to row 2 * 16 + 12.
            expect("aten::neg", some(a, 0, 8 * 16 * f, 16 * f, (2 * 16 + 12) * row // f // 7 * f, read, strided),
                   fresh(a.view(4, 16, 96)[::2, ::4, :16].neg()))
            # Overlapping windows touch their span once.
            expect("aten::neg", dense(a, read, size=26 * f), fresh(a[0].as_strided((10, 8), (2, 1)).neg()))
            a.mul_(2.0)
            expect("aten::mul_", dense(a, update))
            a[0].zero_()
            expect("aten::zero_", dense(a, write, size=row))
            r = a * a
            expect("aten::mul", dense(a, read), fresh(r))
            a.add_(a)
            expect("aten::add_", dense(a, update))
            torch.mul(a, 3.0, out=r)
            expect("aten::mul", dense(a, read), dense(r, write))
            ids = torch.tensor([3, 5, 60, 7])
            spread = some(a, 0, 4 * row, row, 63 * 96 // 3 * f, read, gather)
            expect("aten::embedding", spread, dense(ids, read), fresh(torch.nn.functional.embedding(ids, a)))
            expect("aten::index", spread, dense(ids, read), fresh(a[ids]))
            many = torch.zeros(1000, dtype=torch.int64)
            expect("aten::zeros", fresh(many))
            expect("aten::embedding", some(a, 0, 64 * row, row, row, read, gather), dense(many, read),
                   fresh(torch.nn.functional.embedding(many, a)))
            expect("aten::mm", dense(a, read, blocked), fresh(a @ a.t()))
            empty = torch.empty(100, 100)
            expect("aten::empty")
            column = empty.new_ones(100, 1)
            expect("aten::new_ones", fresh(column))
            empty.copy_(column)
            expect("aten::copy_", dense(column, read), dense(empty, write))
            expect("aten::cat", dense(a, read), dense(a, read, size=row), fresh(torch.cat([a, a[:1]])))
            kept.extend((ids, empty))
            return a

    a = torch.randn(64, 96)
    with torch.no_grad():
        Probe()(a)
    say({"expected": expected})


def foreign():
    torch = setup()
    import numpy
    rows = numpy.arange(40000, dtype=numpy.float32).reshape(100, 400)
    model = torch.nn.Linear(400, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    model(torch.from_numpy(rows)).sum().backward()
    optimizer.step()
    table = torch.from_numpy(rows)
    picked = table[10:20] * 2.0  # between steps, unannounced as an input
    say({"address": table.data_ptr(), "bytes": rows.nbytes, "picked": picked.data_ptr()})
    model(picked).sum().backward()
    optimizer.step()


def families():
    """Processes and threads of every kind beside the training."""
    torch = setup()
    import multiprocessing
    import subprocess
    import threading

    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return 64

        def __getitem__(self, i):
            return torch.full((32,), float(i)) + torch.zeros(32)

    model = small_model(torch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    outputs = []

    def elsewhere():
        with torch.no_grad():
            outputs.append(small_model(torch)(torch.ones(8, 32)).sum().item())

    loader = torch.utils.data.DataLoader(Rows(), batch_size=16, num_workers=2)
    for epoch in range(2):
        for batch in loader:
            optimizer.zero_grad()
            model(batch).mean().backward()
            optimizer.step()
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
    child = subprocess.run([sys.executable, "-c", "import torch; m = torch.nn.Linear(2, 2); "
                            "torch.optim.SGD(m.parameters(), lr=1.); print(m(torch.ones(2)).shape[0])"],
                           stdout=subprocess.PIPE)
    pid = os.fork()
    if pid == 0:
        train(torch, model, steps=1)
        sys.exit(7)  # runs the exit handlers of the child
    forked = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        spawned = pool.apply(abs, (-5,))
    say({"steps": 8, "child": child.stdout.decode().strip(), "forked": forked, "spawned": spawned,
         "threads": len(outputs), "sha256": parameter_hash(model.parameters())})


def copies():
    torch = setup()
    import copy
    import pickle
    model = small_model(torch)
    optimizer = train(torch, model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    twin = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    attributes = sorted(set(vars(twin)) - set(vars(torch.nn.Sequential())))
    model(torch.ones(4, 32)).sum().backward()
    optimizer.step()
    scheduler.step()
    pickle.loads(pickle.dumps(optimizer))
    twin(torch.ones(2, 32))
    say({"attributes": attributes})


def modes():
    """The job's own dispatch modes, one of them open when training begins."""
    torch = setup()
    from torch.utils._python_dispatch import TorchDispatchMode
    seen = []

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    model = small_model(torch)
    with Count():
        model(torch.ones(2, 32))
    outside = len(seen)
    model(torch.ones(2, 32))
    assert len(seen) == outside
    with Count():
        train(torch, model, steps=1)
    say({"inside": len(seen) > outside, "sha256": parameter_hash(model.parameters())})


def raises():
    torch = setup()
    model = small_model(torch)
    train(torch, model, steps=1)

    class Bad(torch.nn.Module):
        def forward(self, x):
            if x.shape[0] == 1:
                raise KeyError("the job's own")
            return x @ x

    try:
        Bad()(torch.ones(1, 3))
    except KeyError as error:
        key = error.args[0]
        cause = error.__context__
    try:
        Bad()(torch.ones(2, 3))
    except RuntimeError as error:
        message = str(error)
    try:
        torch.ones(3, requires_grad=True).backward()
    except RuntimeError as error:
        backward = str(error)
    say({"key": key, "context": cause is None, "message": message, "backward": backward})
    train(torch, model, steps=1)
    raise ValueError("the end")


def exits():
    torch = setup()
    train(torch, small_model(torch), steps=1)
    sys.exit(5)


def killed():
    import signal
    torch = setup()
    train(torch, small_model(torch), steps=2)
    os.kill(os.getpid(), signal.SIGKILL)


def alarm():
    """An exception that a signal handler raises, wherever it strikes, is the job's."""
    torch = setup()
    import signal

    class Late(Exception):
        pass

    def ring(*_):
        raise Late()

    signal.signal(signal.SIGALRM, ring)
    caught = 0
    model, x = small_model(torch), torch.ones(2, 32)
    model(x)
    for i in range(60):
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.001 + 0.000037 * i)
            while True:
                model(x)
        except Late:
            caught += 1
    train(torch, model, steps=1)
    say({"caught": caught})


def broken_hook():
    torch = setup()
    model = small_model(torch)
    train(torch, model, steps=1)
    sys.modules["nearfar_ops"].Recorder.tensor_event = None
    train(torch, model, steps=2)
    say({"sha256": parameter_hash(model.parameters())})


def wrapped_name():
    """backward imported by name, grad for a penalty, and an optimizer inside an optimizer."""
    torch = setup()
    from torch.autograd import backward, grad

    class Twice(torch.optim.SGD):
        def step(self, closure=None):
            return super().step(closure)

    model = small_model(torch)
    optimizer = Twice(model.parameters(), lr=0.1)
    x = torch.randn(16, 32, requires_grad=True)
    y = model(x).sum()
    slope, = grad(y, x, create_graph=True)
    backward(y + slope.pow(2).sum())
    optimizer.step()
    say({})


def no_torch():
    import decimal
    assert "torch" not in sys.modules and "nearfar_hook" not in sys.modules and "ctypes" in sys.modules
    say({"path": sys.path, "decimal": str(decimal.Decimal(1))})


def with_sitecustomize():
    import sitecustomize
    torch = setup()
    train(torch, small_model(torch), steps=1)
    say({"file": sitecustomize.__file__, "mark": sitecustomize.MARK})


def compiled():
    """Calls torch.compile before it trains; a torch without it gets one as it is imported, before the hook looks."""
    class Loader:
        def __init__(self, real):
            self.create_module, self.real = real.create_module, real

        def exec_module(self, module):
            self.real.exec_module(module)
            if not hasattr(module, "compile"):
                module.compile = lambda model: model

    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name != "torch":
                return None
            sys.meta_path.remove(self)
            spec = next(s for s in (f.find_spec(name, path, target) for f in sys.meta_path) if s is not None)
            spec.loader = Loader(spec.loader)
            return spec

    # Behind the hook's finder, which stands first and asks those after it.
    sys.meta_path.insert(1, Finder())
    torch = setup()
    model = small_model(torch)
    train(torch, torch.compile(model))


if __name__ == "__main__":
    globals()[sys.argv[1]]()
