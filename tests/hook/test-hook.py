#!/usr/bin/env python3
"""Runs small jobs under the preload library and the torch hook and checks what arrives in the ring.

usage: test-hook.py RING-DUMP PRELOAD HOOKDIR ALLOC-STRESS [TEST...]"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter

RING_DUMP, PRELOAD, HOOKDIR, STRESS = map(os.path.abspath, sys.argv[1:5])
JOBS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "jobs.py")
OTHER, FORWARD, BACKWARD, RECOMPUTE, OPTIMIZER = range(5)
READ, WRITE, UPDATE = range(3)
PARAMETER, FROZEN, GRADIENT, OPTIMIZER_STATE, INPUT = range(1, 6)
MARK_TRAINING, MARK_BACKWARD_BEGINS, MARK_BACKWARD_ENDS, MARK_DEVICE, MARK_HASH, MARK_RUNTIME, MARK_UNSUPPORTED, \
    MARK_RANK = range(1, 9)


def find_torch():
    """A Python that has torch: this one, or the system's."""
    for python in dict.fromkeys((os.environ.get("NEARFAR_TEST_PYTHON"), sys.executable, "/usr/bin/python3")):
        if python and shutil.which(python) and \
                subprocess.run([python, "-c", "import torch"], capture_output=True).returncode == 0:
            return python
    return None


class Run:
    """One job under the hook."""

    def __init__(self, job, pass_kind, slots=1 << 18, deaf=False, env=None, command=None):
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "out")
            command = command or [PYTHON, JOBS, job]
            dump = [RING_DUMP, str(slots), pass_kind, PRELOAD, HOOKDIR] + ["--deaf"] * deaf + ["--"]
            done = subprocess.run(dump + command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300,
                                  env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "NF_JOB_OUT": out, **(env or {})})
            self.stderr = done.stderr.decode()
            assert done.returncode == 0, self.stderr
            *self.events, self.end = map(json.loads, done.stdout.decode().splitlines())
            self.says = json.load(open(out)) if os.path.exists(out) else None

    def kind(self, *kinds):
        return [e for e in self.events if e["kind"] in kinds]

    def marks(self, mark):
        return [e for e in self.kind("mark") if e["mark"] == mark]

    def hash(self):
        mark, = self.marks(MARK_HASH)
        return "".join(f"{mark[key]:016x}" for key in ("address", "a", "b", "c"))

    def ops(self):
        """(op, its visits), in order."""
        found = []
        for i, e in enumerate(self.events):
            if e["kind"] == "op":
                visits = self.events[i + 1:i + 1 + e["n"]]
                assert all(v["kind"] == "visit" for v in visits), "an op's visits follow it"
                found.append((e, visits))
        return found

    def unsupported(self):
        return [m["name"] for m in self.marks(MARK_UNSUPPORTED)]

    def assert_clean(self):
        end = self.end
        assert end["exit"] == 0 and end["owner"] == end["job"] and end["closed"] == 1, (end, self.stderr)
        assert self.end["lost"] == 0 and not self.unsupported(), (self.end, self.unsupported())


def same(found, expected, what):
    assert found == expected, f"{what}: expected {expected}, found {found}"


def plain_job(job, env=None):
    """(what it says, exit code, stderr) without any hook."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out")
        done = subprocess.run([PYTHON, JOBS, job], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "NF_JOB_OUT": out, **(env or {})})
        return json.load(open(out)) if os.path.exists(out) else None, done.returncode, done.stderr.decode()


# --- the allocator ---

def check_lifetimes(events, complete):
    live = {}
    for e in events:
        if e["kind"] == "alloc":
            assert e["address"] not in live, f"{e['address']:#x} was allocated twice"
            live[e["address"]] = e["a"]
        elif e["kind"] == "free":
            assert e["address"] in live, f"{e['address']:#x} was freed but not live"
            del live[e["address"]]
    assert not complete or not live, f"{len(live)} blocks were never freed"
    return live


def test_stress():
    for pass_kind in ("timing", "bare"):
        run = Run("stress", pass_kind, slots=1 << 20, command=[STRESS])
        same(run.end["exit"], 0, "exit: " + run.stderr)
        same(run.end["lost"], 0, "lost events")
        same(run.end["live"], 0, "live bytes after everything was freed")
        assert run.end["peak"] > 0 and run.end["others"] == 0, run.end
        allocs = len(run.kind("alloc"))
        same(allocs > 1000, pass_kind == "timing", "alloc events")
        check_lifetimes(run.events, complete=True)


def test_allocations():
    run = Run("allocations", "access")
    run.assert_clean()
    check_lifetimes(run.events, complete=False)
    sizes = Counter(e["a"] for e in run.kind("alloc"))
    same(sizes[123457], 5, "allocations of 123457 bytes")
    same([e["address"] for e in run.kind("alloc") if e["a"] == 123457], run.says["addresses"], "their addresses")
    same((sizes[33333], sizes[55555]), (1, 0), "the aligned block and the one with little alignment")
    early = [e for e in run.kind("alloc") if e["address"] == run.says["early"] and e["a"] == 77777]
    same(len(early), 1, "blocks from before the claim")
    frees = Counter(e["address"] for e in run.kind("free"))
    assert all(frees[address] for address in run.says["addresses"])


# --- where the job is ---

def test_passes_agree():
    said, code, _ = plain_job("plain")
    same(code, 0, "exit without the hook")
    runs = {p: Run("plain", p) for p in ("bare", "timing", "access")}
    for name, run in runs.items():
        run.assert_clean()
        same(run.says["sha256"], said["sha256"], f"parameters of pass {name} against the plain job")
        same(run.hash(), said["sha256"], f"hash reported by pass {name}")
        same(len(run.kind("step")), 3, "steps")
        same(len(run.marks(MARK_TRAINING)), 1, "training marks")
        rank, = run.marks(MARK_RANK)
        same((rank["a"], rank["b"]), (0, 1), "rank and world")
        runtime, = run.marks(MARK_RUNTIME)
        assert runtime["name"] and runtime["module"] and runtime["a"] == 1, runtime
        assert all(0 < s["a"] < 60e9 for s in run.kind("step"))
    same(len(runs["bare"].kind("op", "alloc", "free", "tensor")), 0, "events of pass bare beside steps and marks")
    hashes = {name: [s["b"] for s in run.kind("step")] for name, run in runs.items()}
    same(hashes["timing"], hashes["bare"], "allocator hashes of timing against bare")
    same(hashes["access"], hashes["bare"], "allocator hashes of access against bare")
    shapes = {p: [(o["name"], o["module"], o["phase"], o["microbatch"]) for o, _ in run.ops()]
              for p, run in runs.items()}
    same(shapes["timing"], shapes["access"], "ops of timing against access")
    assert all(o["n"] == 0 for o, _ in runs["timing"].ops()) and len(shapes["timing"]) > 60
    starts = [o["a"] for o, _ in runs["access"].ops()]
    same(starts, sorted(starts), "ops in order of their start")
    assert all(o["a"] + o["b"] <= o["time"] for o, _ in runs["access"].ops())


def test_roles():
    run = Run("plain", "access")
    named = {(e["b"], e["name"]) for e in run.kind("tensor") if e["b"]}
    for name in ("0.weight", "0.bias", "3.weight", "3.bias"):
        for role, text in ((PARAMETER, name), (GRADIENT, name), (OPTIMIZER_STATE, name + ".exp_avg"),
                           (OPTIMIZER_STATE, name + ".exp_avg_sq")):
            assert (role, text) in named, f"{text} as role {role} is not among {sorted(named)}"
    assert (INPUT, "input.0") in named
    weight = next(e for e in run.kind("tensor") if e["name"] == "0.weight")
    same((weight["shape"], weight["dtype"], weight["a"], weight["module"]), ("64x32", "float32", 8192, "0"), "0.weight")
    check_visits_attributed(run)


def check_visits_attributed(run):
    """Every visit lies inside what is alive at its time, or inside an announced storage."""
    live, foreign = {}, {}
    for e in run.events:
        if e["kind"] == "alloc":
            live[e["address"]] = e["a"]
        elif e["kind"] == "free":
            live.pop(e["address"], None)
        elif e["kind"] == "tensor" and e["address"] not in live:
            foreign[e["address"]] = e["a"]
        elif e["kind"] == "visit":
            assert any(base <= e["address"] and e["address"] + e["a"] <= base + size
                       for known in (live, foreign) for base, size in known.items()), f"no storage holds {e}"


def phases_of(run):
    steps, current = [], []
    for e in run.events:
        if e["kind"] == "op":
            current.append(e)
        elif e["kind"] == "step":
            steps.append(current)
            current = []
    return steps


def check_checkpoint(job):
    said, _, _ = plain_job(job)
    run = Run(job, "access")
    run.assert_clean()
    same(run.hash(), said["sha256"], "parameters")
    segment = {"aten::addmm", "aten::gelu", "aten::tanh"}
    first, second = phases_of(run)
    for step in (first, second):
        count = {phase: Counter(o["name"] for o in step if o["phase"] == phase) for phase in range(5)}
        # Two microbatches: the segment's two products, the activation and the function's tanh, once more each.
        same([count[FORWARD][n] for n in ("aten::addmm", "aten::gelu", "aten::tanh")], [6, 2, 2], "forward ops")
        same([count[RECOMPUTE][n] for n in ("aten::gelu", "aten::tanh")], [2, 2], "recomputed ops")
        assert count[RECOMPUTE]["aten::addmm"] >= 2, count[RECOMPUTE]
        assert not segment & set(count[BACKWARD]), f"forward work in backward: {count[BACKWARD]}"
        assert not set(count[RECOMPUTE]) - set(count[FORWARD]), "recomputation does only what forward did"
        assert count[BACKWARD]["aten::gelu_backward"] == 2 and count[BACKWARD]["aten::mm"] == 12, count[BACKWARD]
        assert {"aten::pow", "aten::mean"} <= set(count[FORWARD]), "the loss belongs to forward"
        assert "aten::addcdiv_" in count[OPTIMIZER] and len(count[OPTIMIZER]) > 5
        same({o["microbatch"] for o in step if o["phase"] == RECOMPUTE}, {0, 1}, "microbatches")
        recomputed = {o["module"] for o in step if o["phase"] == RECOMPUTE and o["name"] == "aten::addmm"}
        assert recomputed and recomputed <= {"segment.0", "segment.3"}, recomputed
        assert all(not o["module"] for o in step if o["phase"] in (BACKWARD, OPTIMIZER))
    # Clipping happens between backward and step.
    assert any(o["phase"] == OTHER for o in second)
    checkpoints = {e["address"] for e in run.kind("checkpoint")}
    assert set(run.says["inputs"]) <= checkpoints, "the segment's inputs are announced"
    same(len(run.kind("checkpoint")), 8, "checkpoint events: two segments, two microbatches, two steps")
    same(len(run.marks(MARK_BACKWARD_BEGINS)), 4, "outermost backwards")
    check_visits_attributed(run)


def test_reentrant():
    check_checkpoint("reentrant")


def test_nonreentrant():
    check_checkpoint("nonreentrant")


def test_wrapped_names():
    run = Run("wrapped_name", "access")
    run.assert_clean()
    same(len(run.kind("step")), 1, "a step inside a step is one step")
    ops = run.ops()
    same({o["microbatch"] for o, _ in ops if o["phase"] == OPTIMIZER}, {1},
         "microbatches: a gradient that is differentiated again is none")
    after = [o["phase"] for o, _ in ops if o["name"] == "aten::pow"]
    same(after[0], FORWARD, "phase of the penalty")


# --- extents ---

def test_extents():
    run = Run("extents", "access")
    run.assert_clean()
    found = [(o, v) for o, v in run.ops() if o["phase"] == FORWARD]
    same([o["name"] for o, _ in found],
         [name for name, _ in run.says["expected"]], "ops")
    for (op, visits), (name, expected) in zip(found, run.says["expected"]):
        got = [[v["address"], v["a"], v["b"], v["c"], v["rw"], v["pattern"]] for v in visits]
        same(sorted(got), sorted(expected), f"visits of {name}")
        same(op["module"], "Probe", "module")


def test_foreign():
    run = Run("foreign", "access")
    run.assert_clean()
    check_visits_attributed(run)
    announced = [e for e in run.kind("tensor") if e["address"] == run.says["address"] and e["a"] == run.says["bytes"]]
    assert announced, "numpy's memory was not announced"
    picked = [v for o, v in run.ops() if any(x["address"] == run.says["address"] + 10 * 1600 for x in v)]
    assert picked, "the slice of numpy's memory was not visited"


# --- the job is left alone ---

def test_families():
    said, _, _ = plain_job("families")
    for pass_kind in ("bare", "access"):
        run = Run("families", pass_kind)
        run.assert_clean()
        same(run.says, said, "what the job says")
        same(len(run.kind("step")), 8, "steps")
        assert run.end["others"] >= 1, run.end
        same(len({e["thread"] for e in run.kind("op")}), int(pass_kind == "access"), "threads with ops")


def test_copies():
    run = Run("copies", "access")
    run.assert_clean()
    same(run.says["attributes"], [], "attributes on the job's modules")
    same(len(run.kind("step")), 4, "steps")


def test_modes():
    said, _, _ = plain_job("modes")
    run = Run("modes", "access")
    run.assert_clean()
    same(run.says, said, "what the job says")
    assert run.ops()


def test_exceptions():
    said, code, stderr = plain_job("raises")
    same(code, 1, "exit")
    for pass_kind in ("bare", "timing", "access"):
        run = Run("raises", pass_kind)
        same(run.says, said, "exceptions as the job sees them")
        same(run.end["exit"], 1, "exit")
        same(run.stderr.splitlines()[-1], stderr.splitlines()[-1], "the last line of the traceback")
        same((run.end["closed"], len(run.kind("step"))), (1, 2), "closed, steps")
        run.hash()


def test_exits():
    run = Run("exits", "access")
    same((run.end["exit"], run.end["closed"]), (5, 1), "exit status and exit handler")
    run.hash()
    run = Run("killed", "access")
    same((run.end["signal"], run.end["closed"]), (9, 0), "signal and exit handler")
    same(len(run.kind("step")), 2, "steps before the kill")


def test_alarm():
    run = Run("alarm", "access", slots=1 << 20)
    same(run.says, {"caught": 60}, "alarms that reached the job")
    same(run.unsupported(), [], "hook failures")


def test_broken_hook():
    run = Run("broken_hook", "access")
    same(run.end["exit"], 0, "exit")
    reason, = run.unsupported()
    assert reason.startswith("hook stopped: TypeError"), reason
    same(run.hash(), run.says["sha256"], "parameters")
    same(run.says["sha256"], Run("broken_hook", "bare").says["sha256"], "parameters against pass bare")


def test_lost():
    said, _, _ = plain_job("plain")
    run = Run("plain", "access", slots=64, deaf=True)
    same((run.end["exit"], run.end["closed"]), (0, 1), "exit")
    assert run.end["lost"] > 1000, run.end
    same(run.says["sha256"], said["sha256"], "parameters")


def test_no_ring():
    """An environment that promises a ring which is not there, or is none, changes nothing."""
    with tempfile.NamedTemporaryFile() as junk:
        junk.write(b"x" * 8192)
        junk.flush()
        for path in ("/nonexistent", junk.name, "/dev/null"):
            said, code, stderr = plain_job("plain", {"NEARFAR_RING": path, "NEARFAR_PASS": "access",
                                                     "LD_PRELOAD": PRELOAD, "PYTHONPATH": HOOKDIR})
            same((code, stderr), (0, ""), "exit and messages")
            same(said, plain_job("plain")[0], "parameters")


def test_compiled():
    run = Run("compiled", "access")
    notices = run.unsupported()
    assert len(notices) == 1 and notices[0].startswith("torch.compile: "), notices
    assert run.ops()


def test_no_torch():
    run = Run("no_torch", "access")
    same((run.end["exit"], run.end["owner"], len(run.events)), (0, 0, 0), "exit, owner, events")
    assert HOOKDIR not in run.says["path"]
    run = Run("shell", "access", command=["sh", "-c", "ls / > /dev/null; exit 3"])
    same((run.end["exit"], run.end["owner"]), (3, 0), "exit and owner of a shell")


def test_sitecustomize():
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "sitecustomize.py")
        with open(file, "w") as f:
            f.write("MARK = 'the user was here'\n")
        run = Run("with_sitecustomize", "access", env={"PYTHONPATH": folder})
        run.assert_clean()
        same(run.says, {"file": file, "mark": "the user was here"}, "the user's sitecustomize")
        assert run.ops()


def main():
    tests = {name[5:]: test for name, test in globals().items() if name.startswith("test_")}
    chosen = sys.argv[5:] or list(tests)
    failed = 0
    for name in chosen:
        try:
            tests[name]()
            print(f"ok {name}", flush=True)
        except Exception as error:
            failed += 1
            print(f"FAILED {name}: {type(error).__name__}: {str(error)[:2000]}", flush=True)
            if not isinstance(error, AssertionError):
                raise
    print(f"{len(chosen) - failed} passed, {failed} failed")
    return 1 if failed else 0


PYTHON = find_torch()
if PYTHON is None:
    print("skipped: no Python with torch here")
    sys.exit(77)
sys.exit(main())
