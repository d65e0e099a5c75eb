"""A tiny real PyTorch job whose tensors are large enough to be watched. Under the oracle (ORACLE_OUT is set) its own
dispatch mode ends every op with a boundary of the oracle's. usage: job.py STEPS"""
import ctypes
import os
import sys

import torch
import torch.nn.functional as F

torch.manual_seed(1)
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(512, 128)
        self.first, self.second = torch.nn.Linear(128, 512), torch.nn.Linear(512, 128)
        self.norm = torch.nn.LayerNorm(128)

    def forward(self, tokens):
        x = self.table(tokens)
        x = x + self.second(F.gelu(self.first(self.norm(x))))
        scores = (x @ x.transpose(-2, -1)).softmax(-1)
        return (scores @ x) @ self.table.weight.t()


def train(steps, boundary=None):
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    for step in range(steps):
        tokens = torch.randint(512, (4, 64))
        optimizer.zero_grad(set_to_none=True)
        logits = net(tokens)
        F.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()
        optimizer.step()
        if boundary:
            boundary(b'step')
    return net


def under_oracle(steps):
    from torch.utils._python_dispatch import TorchDispatchMode
    library = ctypes.CDLL(None)
    boundary = library.oracle_boundary
    boundary.argtypes = [ctypes.c_char_p]

    class Oracle(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            boundary(func._schema.name.encode())
            return result

    with Oracle():
        return train(steps, boundary)


steps = int(sys.argv[1])
net = under_oracle(steps) if 'ORACLE_OUT' in os.environ else train(steps)
print('sum', sum(p.double().sum().item() for p in net.parameters()))
