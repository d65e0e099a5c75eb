#!/usr/bin/env python3
"""Trains a small GPT on a character corpus that it writes itself: sums in words. Either every weight, or, with
--lora, low-rank adapters on a frozen base.

    python3 finetune.py --steps 20
    python3 finetune.py --lora --checkpoint reentrant --microbatches 2
    python3 finetune.py --lora --peak-bytes 134217728        # chooses width and batch for a working set of 128 MiB
"""
import argparse
import math
import random
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

BYTES_PER_VALUE = 4


# --- data ---

NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen " \
          "seventeen eighteen".split()


def write_corpus(sentences, seed):
    """Sentences such as "six plus seven is thirteen." in random order."""
    rng = random.Random(seed)
    pairs = [(rng.randrange(10), rng.randrange(10)) for _ in range(sentences)]
    return " ".join(f"{NUMBERS[a]} plus {NUMBERS[b]} is {NUMBERS[a + b]}." for a, b in pairs)


def encode(text):
    """Characters as numbers, in the order of the alphabet."""
    letters = sorted(set(text))
    return torch.tensor([letters.index(letter) for letter in text]), len(letters)


def draw_batch(data, batch, length, generator):
    starts = torch.randint(len(data) - length - 1, (batch,), generator=generator).tolist()
    inputs = torch.stack([data[s:s + length] for s in starts])
    targets = torch.stack([data[s + 1:s + length + 1] for s in starts])
    return inputs, targets


# --- model ---

class LoRALinear(nn.Module):
    """A frozen linear layer and a trained low-rank correction of it."""

    def __init__(self, base, rank):
        super().__init__()
        self.base = base
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / math.sqrt(base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x):
        return self.base(x) + F.linear(F.linear(x, self.down), self.up)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = (part.view(batch, length, self.heads, width // self.heads).transpose(1, 2)
                   for part in self.qkv(x).split(width, dim=2))
        scores = q @ k.transpose(-2, -1) / math.sqrt(width // self.heads)
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(future, float("-inf")).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.ln1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.ln2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        x = x + self.attention(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class GPT(nn.Module):
    def __init__(self, vocab, width, layers, heads, length, checkpointing="none"):
        super().__init__()
        self.tokens = nn.Embedding(vocab, width)
        self.positions = nn.Parameter(torch.randn(length, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab, bias=False)
        self.checkpointing = checkpointing

    def forward(self, tokens):
        x = self.tokens(tokens) + self.positions[:tokens.shape[1]]
        if self.checkpointing == "reentrant" and not x.requires_grad:
            # A segment whose inputs need no gradient would get none for its adapters either.
            x.requires_grad_(True)
        for block in self.blocks:
            if self.checkpointing == "none":
                x = block(x)
            else:
                x = checkpoint(block, x, use_reentrant=self.checkpointing == "reentrant")
        return self.head(self.ln(x))


def add_lora(model, rank):
    """Freezes the model and puts an adapter on every linear layer of its blocks."""
    model.requires_grad_(False)
    for block in model.blocks:
        for parent in [block.attention, block.mlp]:
            for name, layer in list(parent.named_children()):
                if isinstance(layer, nn.Linear):
                    setattr(parent, name, LoRALinear(layer, rank))


# --- size ---

def estimate_peak_bytes(args, width, batch):
    """Live bytes at the end of the forward pass: weights, optimizer, and what every layer keeps for backward."""
    rows = batch * args.seq
    scores = batch * args.heads * args.seq * args.seq
    weights = args.layers * 12 * width * width + 2 * args.vocab * width
    if args.lora:
        adapters = args.layers * args.rank * 18 * width
        weights += 4 * adapters
    else:
        weights *= 3  # the weight and two moments; gradients replace activations as backward goes
    layer = 16 * rows * width + scores + scores // 4  # the attention weights, and the mask at a byte each
    if args.checkpoint == "none":
        kept = args.layers * layer
    else:
        kept = args.layers * rows * width + layer
    return BYTES_PER_VALUE * (weights + kept + 3 * rows * args.vocab)


def choose_size(args):
    """The smallest width and batch, kept in proportion, whose estimated peak is what was asked for. The model stays
    narrow for its batch: time grows with the square of the width, activations only with the width."""
    step = 32 * args.heads // math.gcd(32, args.heads)
    width, batch = step, 1
    while estimate_peak_bytes(args, width, batch) < args.peak_bytes:
        if width < 24 * batch:
            width += step
        else:
            batch += 1
    return width, batch


# --- training ---

def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8, help="sequences per microbatch")
    parser.add_argument("--seq", type=int, default=128, help="characters per sequence")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--vocab", type=int, default=256, help="rows of the embedding, at least the alphabet's letters")
    parser.add_argument("--microbatches", type=int, default=1, help="forward-backward pairs per step")
    parser.add_argument("--lora", action="store_true", help="train low-rank adapters on a frozen base")
    parser.add_argument("--rank", type=int, default=8, help="of the adapters")
    parser.add_argument("--checkpoint", choices=["none", "reentrant", "nonreentrant"], default="none",
                        help="recompute the blocks in backward instead of keeping their activations")
    parser.add_argument("--vary-seq", action="store_true", help="cycle through full, three quarters and half length")
    parser.add_argument("--grad-clip", type=float, default=0.0, metavar="NORM")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--deterministic", action="store_true", help="refuse operators that may differ between runs")
    parser.add_argument("--size", choices=["given", "auto"], default="given",
                        help="auto: choose width and batch for a working set of four times --llc")
    parser.add_argument("--llc", type=int, default=32 << 20, metavar="BYTES", help="last-level cache, for --size auto")
    parser.add_argument("--peak-bytes", type=int, default=0, metavar="N",
                        help="choose width and batch for at least this working set")
    args = parser.parse_args()
    if args.size == "auto" and not args.peak_bytes:
        args.peak_bytes = 4 * args.llc
    return args


def main():
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(args.deterministic)
    torch.manual_seed(args.seed)

    data, letters = encode(write_corpus(sentences=5000, seed=args.seed))
    args.vocab = max(args.vocab, letters)
    width, batch = choose_size(args) if args.peak_bytes else (args.width, args.batch)
    model = GPT(args.vocab, width, args.layers, args.heads, args.seq, args.checkpoint)
    if args.lora:
        add_lora(model, args.rank)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=args.lr)
    print(f"width {width}, batch {batch}, {sum(p.numel() for p in model.parameters()):,} parameters, "
          f"{sum(p.numel() for p in trained):,} trained, estimated peak "
          f"{estimate_peak_bytes(args, width, batch) / 2**20:.0f} MiB")

    lengths = [args.seq, args.seq * 3 // 4, args.seq // 2] if args.vary_seq else [args.seq]
    generator = torch.Generator().manual_seed(args.seed)
    begin = time.perf_counter()
    for step in range(args.steps):
        optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for _ in range(args.microbatches):
            inputs, targets = draw_batch(data, batch, lengths[step % len(lengths)], generator)
            logits = model(inputs)
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten()) / args.microbatches
            loss.backward()
            total += loss.item()
        if args.grad_clip:
            nn.utils.clip_grad_norm_(trained, args.grad_clip)
        optimizer.step()
        print(f"step {step + 1}: loss {total:.6f}")
    seconds = time.perf_counter() - begin
    print(f"done: {args.steps} steps, {seconds / max(1, args.steps):.3f} s each, loss {total:.6f}")


if __name__ == "__main__":
    main()
