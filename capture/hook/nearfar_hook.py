"""Watches a PyTorch job from inside, without any change to its script: where it is (module, phase, microbatch, step),
what its tensors are, and, in the passes that want it, every operator call. Whatever goes wrong in here, the job goes on
as if nothing were watching."""
import atexit
import ctypes
import functools
import hashlib
import os
import platform
import signal
import sys
import threading
import weakref

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import nearfar_ring as ring_module
from nearfar_ops import Recorder, storage_of
from nearfar_ring import Ring, event

OTHER, FORWARD, BACKWARD, RECOMPUTE, OPTIMIZER = 0, 1, 2, 3, 4
ROLE_UNKNOWN, ROLE_PARAMETER, ROLE_FROZEN, ROLE_GRADIENT, ROLE_OPTIMIZER, ROLE_INPUT = 0, 1, 2, 3, 4, 5

_here = os.path.dirname(os.path.abspath(__file__))


class State:
    """Where the job is. `module` is a text number."""
    __slots__ = ("module", "phase", "microbatch", "depth", "backwards", "steps_running", "thread", "off")

    def __init__(self):
        self.module = self.phase = self.microbatch = 0
        self.depth = 0          # module calls on the stack
        self.backwards = 0      # backward calls on the stack
        self.steps_running = 0  # optimizer steps on the stack
        self.thread = None      # the one thread that is watched
        self.off = False


class Patches:
    """Replaced attributes, so that they can be put back."""

    def __init__(self):
        self._made = []

    def replace(self, owner, name, value):
        self._made.append((owner, name, vars(owner)[name], value))
        setattr(owner, name, value)

    def replace_everywhere(self, owner, name, value):
        """Also where the same object was imported by name before."""
        original = vars(owner)[name]
        self.replace(owner, name, value)
        for module in list(sys.modules.values()):
            if getattr(module, "__dict__", None) is None or module is owner:
                continue
            if vars(module).get(name) is original:
                self.replace(module, name, value)

    def undo(self, owner=None):
        """Puts back what is still ours; all, or what one owner had."""
        for entry in reversed(self._made):
            target, name, original, value = entry
            if (owner is None or target is owner) and vars(target).get(name) is value:
                setattr(target, name, original)
        self._made = [entry for entry in self._made if owner is not None and entry[0] is not owner]


class StackSeat:
    """Our dispatch mode at the bottom of torch's stack of modes."""

    def __init__(self, mode, patches, state):
        self._mode = mode
        mode.__enter__()

    def leave(self):
        n = torch._C._len_torch_dispatch_stack()
        if n and torch._C._get_dispatch_stack_at(n - 1) is self._mode:
            self._mode.__exit__(None, None, None)


class DirectSeat:
    """torch 1.13 walks its stack of modes in Python, 2.4 µs an operator, and loses the stack when an exception
    (Ctrl-C) strikes there. While ours is the only mode it is therefore set without the stack, and goes onto it when
    the job enters a mode of its own."""

    def __init__(self, mode, patches, state):
        self._mode = mode
        self._direct = True
        enter, leave = TorchDispatchMode.__enter__, TorchDispatchMode.__exit__
        get_ident = threading.get_ident

        @functools.wraps(enter)
        def __enter__(self_):
            if self._direct and not state.off and state.thread == get_ident():
                torch._C._set_torch_dispatch_mode(None)
                enter(self._mode)
                self._direct = False
            return enter(self_)

        @functools.wraps(leave)
        def __exit__(self_, *exception):
            result = leave(self_, *exception)
            if not self._direct and state.thread == get_ident() and self._is_alone():
                leave(self._mode, None, None, None)
                torch._C._set_torch_dispatch_mode(self._mode)
                self._direct = True
            return result

        patches.replace(TorchDispatchMode, "__enter__", __enter__)
        patches.replace(TorchDispatchMode, "__exit__", __exit__)
        self._pop = leave
        torch._C._set_torch_dispatch_mode(mode)

    def _is_alone(self):
        return torch._C._len_torch_dispatch_stack() == 1 and torch._C._get_dispatch_stack_at(0) is self._mode

    def leave(self):
        if self._direct:
            torch._C._set_torch_dispatch_mode(None)
        elif self._is_alone():
            self._pop(self._mode, None, None, None)


class Names:
    """Module paths and parameter names. Holds nothing alive and stores nothing on the job's objects."""

    # After so many modules of a class that aren't below the root (made anew in every forward) it isn't walked for them.
    STRAYS_LOOKED_FOR = 4

    def __init__(self, ring, notice):
        self._ring, self._notice = ring, notice
        self._strays = {}       # class: modules of it that were not below the root
        self._paths = {}        # id(module): (weak reference, text number)
        self._prefixes = {}     # class name: how many roots had it
        self._roots = 0
        self.parameters = []    # (weak reference, name, is buffer)
        self.unannounced = False
        self._named = {}        # id(parameter): (weak reference, name)

    def module(self, module, root):
        """The text number of a module's path. An unknown one is looked for below `root`, the outermost running one."""
        entry = self._paths.get(id(module))
        if entry is not None and entry[0]() is module:
            return entry[1]
        strays = self._strays.get(type(module), 0)
        if root is None or strays < self.STRAYS_LOOKED_FOR:
            self._walk(module if root is None else root)
            entry = self._paths.get(id(module))
            if entry is not None and entry[0]() is module:
                return entry[1]
            self._strays[type(module)] = strays + 1
        return self._remember(module, type(module).__name__)

    def _remember(self, module, path):
        if isinstance(module, torch.jit.ScriptModule):
            self._notice("TorchScript modules: operators that were fused stay hidden")
        number = self._ring.text(path)
        self._paths[id(module)] = (weakref.ref(module), number)
        return number

    def _walk(self, root):
        """The first root's children have plain paths; those of later roots carry its class name in front."""
        known = self._paths.get(id(root))
        children = any(True for _ in root.children())
        class_name = type(root).__name__
        if known is not None and known[0]() is root:
            prefix = self._prefixes.get(("root", id(root)), "")
        else:
            count = self._prefixes[class_name] = self._prefixes.get(class_name, 0) + 1
            if count > 1:
                class_name += f"#{count}"
            prefix = class_name + "." if children and self._roots else ""
            self._roots += 1 if children else 0
            self._prefixes["root", id(root)] = prefix
            self._remember(root, class_name)
        for name, module in root.named_modules():
            entry = self._paths.get(id(module))
            if entry is None or entry[0]() is not module:
                self._remember(module, prefix + name)
        self._walk_tensors(root, prefix)

    def _walk_tensors(self, root, prefix):
        self.parameters = [entry for entry in self.parameters if entry[0]() is not None]
        for walk, is_buffer in ((root.named_parameters, False), (root.named_buffers, True)):
            for name, tensor in walk():
                known = self._named.get(id(tensor))
                if known is None or known[0]() is not tensor:
                    reference = weakref.ref(tensor)
                    self._named[id(tensor)] = (reference, prefix + name)
                    self.parameters.append((reference, prefix + name, is_buffer))
                    self.unannounced = True

    def parameter(self, tensor):
        known = self._named.get(id(tensor))
        return known[1] if known is not None and known[0]() is tensor else None


class Hook:
    def __init__(self, ring, pass_kind):
        self.ring, self.pass_kind = ring, pass_kind
        self.state, self.patches, self.names = State(), Patches(), Names(ring, self.notice)
        self.notices = []
        self.pid = None             # of the process that claimed the ring
        self.training = False
        self.watching = False       # training, and this pass wants more than its steps
        self.seat = self.recorder = None   # of the dispatch mode
        self.root = None            # the outermost running module
        self.wrapped_steps = set()
        self.optimizer = None       # weak reference to the last-created one
        self.final_parameters = ()  # its parameters, kept for the hash at exit
        self.is_access = pass_kind == "access"
        self.only_names = pass_kind == "bare" and ring.is_moved
        self.says_tensors = self.is_access or self.only_names  # what the lasting ones are

    # --- trouble ---

    def notice(self, reason):
        """Tells the tool, once, about something that stays unseen; what comes before the process is claimed is told then."""
        if reason not in self.notices:
            self.notices.append(reason)
            self.tell_notices([reason])

    def tell_notices(self, reasons):
        if self.pid is None:
            return
        for reason in reasons:
            self.ring.mark(ring_module.MARK_UNSUPPORTED, name=reason)

    def say(self, mark):
        try:
            self.ring.mark(mark)
        except Exception as error:
            self.fail(error)

    def fail(self, error):
        """Our own mistake: say so and step aside. An exception that one of the job's signal handlers raised while we
        ran is the job's, and goes on."""
        handlers = [signal.getsignal(s) for s in signal.valid_signals()]
        codes = {getattr(handler, "__code__", None) for handler in handlers} - {None}
        frame = error.__traceback__
        place = ""
        while frame is not None:
            if frame.tb_frame.f_code in codes:
                raise error
            place = f"{os.path.basename(frame.tb_frame.f_code.co_filename)}:{frame.tb_lineno}"
            frame = frame.tb_next
        self.state.off = True
        self.patches.undo()
        self.notice(f"hook stopped: {type(error).__name__}: {error} ({place})"[:500])

    # --- the start of things ---

    def claim(self):
        """True when this process is the captured one."""
        state = self.state
        if self.pid is not None or state.off:
            return not state.off
        if self.ring.claim() != 0:
            state.off = True
            self.patches.undo()
            return False
        self.pid = os.getpid()
        state.thread = threading.get_ident()
        atexit.register(self.finish)
        os.register_at_fork(after_in_child=self.leave_child)
        self.ring.resend()
        rank, world = (int(os.environ.get(name) or default) for name, default in (("RANK", 0), ("WORLD_SIZE", 1)))
        self.ring.emit([event(ring_module.EVENT_MARK, id=ring_module.MARK_RANK, a=rank, b=world)])
        self.tell_notices(self.notices)
        return True

    def begin_training(self):
        """At the first module call or backward. False when this thread isn't watched."""
        state = self.state
        if self.training:
            return state.thread == threading.get_ident() and not state.off
        if not self.claim():
            return False
        self.training = True
        state.thread = threading.get_ident()
        self.ring.mark(ring_module.MARK_RUNTIME, name=str(torch.__version__), module=platform.python_version(),
                       a=torch.get_num_threads())
        self.watching = self.pass_kind != "bare" or self.only_names
        if not self.watching:
            self.leave_to_steps()
        self.ring.mark(ring_module.MARK_TRAINING_BEGINS)
        self.enter_mode()
        return True

    def leave_to_steps(self):
        """Nothing but the steps is wanted from here on."""
        self.watching = self.says_tensors = False
        self.patches.undo(torch.nn.Module)
        self.patches.undo(torch.autograd)

    def enter_mode(self):
        """Our mode lies below every mode of the job's, or the job's own `with` would take ours off in its place: while
        one of the job's is open, wait."""
        if self.seat is not None or not self.watching or torch._C._len_torch_dispatch_stack():
            return
        if self.recorder is None:
            self.recorder = Recorder(self.ring, self.state, self.fail, self.notice)
        if self.only_names:
            return
        mode = self.recorder.access_mode() if self.is_access else self.recorder.timing_mode()
        seat = DirectSeat if hasattr(torch._C, "_set_torch_dispatch_mode") else StackSeat
        self.seat = seat(mode, self.patches, self.state)

    def leave_mode(self):
        seat, self.seat = self.seat, None
        if seat is not None:
            seat.leave()

    def leave_child(self):
        """In a forked child: it is another process's job to be captured."""
        self.state.off = True
        self.patches.undo()
        self.leave_mode()

    def finish(self):
        """At exit of the captured process."""
        if os.getpid() != self.pid:
            return
        try:
            self.leave_mode()
            self.patches.undo()
            self.ring.resend()
            self.say_devices()
            self.hash_parameters()
        except Exception as error:
            self.notice(f"no parameter hash: {type(error).__name__}: {error}"[:500])
        self.ring.close()

    def hash_parameters(self):
        if not self.final_parameters:
            return
        digest = hashlib.sha256()
        for parameter in self.final_parameters:
            data = parameter.detach().cpu().contiguous()
            size = data.numel() * data.element_size()
            if size:
                digest.update((ctypes.c_char * size).from_address(data.data_ptr()))
        words = [int.from_bytes(digest.digest()[i:i + 8], "big") for i in range(0, 32, 8)]
        self.ring.emit([event(ring_module.EVENT_MARK, id=ring_module.MARK_PARAMETER_HASH,
                              address=words[0], a=words[1], b=words[2], c=words[3])])

    def say_devices(self):
        recorder = self.recorder
        if recorder is not None and recorder.devices_unsaid:
            self.ring.mark(ring_module.MARK_SKIPPED_DEVICE, a=recorder.devices_unsaid)
            recorder.devices_unsaid = 0

    # --- what the tensors are ---

    def announce_parameters(self):
        self.names.unannounced = False
        tensor_event, events = self.recorder.tensor_event, []
        for reference, name, is_buffer in self.names.parameters:
            tensor = reference()
            if tensor is not None:
                role = ROLE_UNKNOWN if is_buffer else ROLE_PARAMETER if tensor.requires_grad else ROLE_FROZEN
                events.append(tensor_event(tensor, role, name, name.rpartition(".")[0]))
        self.ring.emit([e for e in events if e])

    def announce_inputs(self, args, kwargs):
        events = []

        def walk(value, name):
            if isinstance(value, Tensor):
                if not value.requires_grad:
                    events.append(self.recorder.tensor_event(value, ROLE_INPUT, name))
            elif isinstance(value, dict):
                for key, item in value.items():
                    walk(item, f"{name}.{key}")
            elif isinstance(value, (list, tuple)):
                for i, item in enumerate(value):
                    walk(item, f"{name}.{i}")

        walk(args, "input")
        walk(kwargs, "input")
        self.ring.emit([e for e in events if e])

    def announce_gradients(self):
        events = []
        for reference, name, is_buffer in self.names.parameters:
            tensor = reference()
            gradient = None if tensor is None or is_buffer else tensor.grad
            if gradient is not None and gradient.layout == torch.strided:
                events.append(self.recorder.tensor_event(gradient, ROLE_GRADIENT, name, name.rpartition(".")[0]))
        self.ring.emit([e for e in events if e])

    def announce_optimizer(self, optimizer):
        events = []
        for i, group in enumerate(optimizer.param_groups):
            for j, parameter in enumerate(group["params"]):
                name = self.names.parameter(parameter) or f"group{i}.{j}"
                for key, value in optimizer.state.get(parameter, {}).items():
                    if isinstance(value, Tensor) and value.layout == torch.strided:
                        events.append(self.recorder.tensor_event(value, ROLE_OPTIMIZER, f"{name}.{key}",
                                                                 name.rpartition(".")[0]))
        self.ring.emit([e for e in events if e])

    # --- where the job is ---

    def module_enters(self, module, args, kwargs):
        """Every module call of the watched thread."""
        state = self.state
        if state.depth == 0:
            self.root = weakref.ref(module)
            self.enter_mode()
        state.module = self.names.module(module, self.root() if state.depth else None)
        if state.phase == BACKWARD:
            state.phase = RECOMPUTE
        elif state.phase == OTHER or state.phase == OPTIMIZER:
            state.phase = FORWARD
            if self.is_access and self.recorder is not None:
                if state.microbatch == 0:
                    self.names.unannounced = True
                self.announce_inputs(args, kwargs)
        if self.names.unannounced and self.says_tensors and self.recorder is not None:
            self.announce_parameters()
        state.depth += 1

    def wrap_module_call(self):
        hook, state = self, self.state
        original = torch.nn.Module.__call__
        get_ident = threading.get_ident

        @functools.wraps(original)
        def __call__(self, *args, **kwargs):
            if state.off or (state.thread != get_ident() if hook.watching else not hook.try_begin()):
                return original(self, *args, **kwargs)
            module, depth, was_backward = state.module, state.depth, state.phase == BACKWARD
            try:
                try:
                    hook.module_enters(self, args, kwargs)
                except Exception as error:
                    hook.fail(error)
                return original(self, *args, **kwargs)
            finally:
                state.module, state.depth = module, depth
                if was_backward:
                    state.phase = BACKWARD

        self.patches.replace(torch.nn.Module, "__call__", __call__)

    def try_begin(self):
        """begin_training for callers that must not fail. In pass bare the caller has nothing more to do."""
        try:
            return self.begin_training() and self.watching
        except Exception as error:
            self.fail(error)
            return False

    def backward_ended(self, counts):
        state = self.state
        state.microbatch = min(state.microbatch + 1, 0xffff) if counts else state.microbatch
        self.ring.mark(ring_module.MARK_BACKWARD_ENDS)
        if self.says_tensors and self.recorder is not None:
            self.announce_gradients()

    def wrap_backward(self, name):
        hook, state = self, self.state
        original = vars(torch.autograd)[name]
        get_ident = threading.get_ident

        @functools.wraps(original)
        def wrapper(*args, **kwargs):
            if state.off or (state.thread != get_ident() if hook.watching else not hook.try_begin()):
                return original(*args, **kwargs)
            # A gradient that is to be differentiated itself is a part of the forward computation.
            counts = not (name == "grad" and (kwargs.get("create_graph") or len(args) > 4 and args[4]))
            outermost = state.backwards == 0
            module, phase, depth = state.module, state.phase, state.depth
            counts = counts and outermost and depth == 0
            if outermost:
                hook.say(ring_module.MARK_BACKWARD_BEGINS)
            state.module, state.phase, state.depth = 0, BACKWARD, 0
            state.backwards += 1
            try:
                return original(*args, **kwargs)
            finally:
                state.backwards -= 1
                state.module, state.phase, state.depth = module, phase, depth
                if counts:
                    state.phase = OPTIMIZER if state.steps_running else OTHER
                if outermost and not state.off:
                    try:
                        hook.backward_ended(counts)
                    except Exception as error:
                        hook.fail(error)

        self.patches.replace_everywhere(torch.autograd, name, wrapper)

    def wrap_checkpoint(self):
        import torch.utils.checkpoint as checkpoint_module
        hook, state = self, self.state
        original = checkpoint_module.checkpoint
        get_ident = threading.get_ident

        def segment_of(function):
            def segment(*args, **kwargs):
                # Called in backward it is the recomputation.
                if state.phase != BACKWARD or state.thread != get_ident():
                    return function(*args, **kwargs)
                state.phase = RECOMPUTE
                try:
                    return function(*args, **kwargs)
                finally:
                    state.phase = BACKWARD
            return segment

        @functools.wraps(original)
        def checkpoint(function, *args, **kwargs):
            if state.off or not hook.watching or state.thread != get_ident():
                return original(function, *args, **kwargs)
            if hook.is_access and state.phase == FORWARD and torch.is_grad_enabled():
                try:
                    hook.announce_checkpoint(args)
                except Exception as error:
                    hook.fail(error)
            return original(segment_of(function), *args, **kwargs)

        self.patches.replace_everywhere(checkpoint_module, "checkpoint", checkpoint)

    def announce_checkpoint(self, args):
        self.ring.emit([event(ring_module.EVENT_CHECKPOINT, address=storage_of(tensor)[0])
                        for tensor in args if isinstance(tensor, Tensor) and tensor.is_cpu])

    # --- optimizers ---

    def wrap_optimizers(self):
        hook = self
        base = torch.optim.Optimizer
        original = base.__init__

        @functools.wraps(original)
        def __init__(self, *args, **kwargs):
            original(self, *args, **kwargs)
            try:
                hook.optimizer_created(self)
            except Exception as error:
                hook.fail(error)

        self.patches.replace(base, "__init__", __init__)

    def optimizer_created(self, optimizer):
        if not self.claim():
            return
        self.optimizer = weakref.ref(optimizer)
        self.keep_parameters(optimizer)
        for owner in type(optimizer).__mro__:
            step = vars(owner).get("step")
            if step is not None and owner is not torch.optim.Optimizer and step not in self.wrapped_steps:
                self.wrap_step(owner, step)

    def keep_parameters(self, optimizer):
        self.final_parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def wrap_step(self, owner, original):
        hook, state = self, self.state
        get_ident = threading.get_ident

        @functools.wraps(original)
        def step(self, *args, **kwargs):
            if state.off or state.thread != get_ident() or state.steps_running:
                return original(self, *args, **kwargs)
            state.module, state.phase = 0, OPTIMIZER
            state.steps_running = 1
            try:
                result = original(self, *args, **kwargs)
            finally:
                state.steps_running = 0
                state.phase = OTHER
            try:
                if not state.off:
                    hook.step_ended(self)
            except Exception as error:
                hook.fail(error)
            return result

        self.patches.replace(owner, "step", step)
        self.wrapped_steps.add(step)

    def step_ended(self, optimizer):
        if self.says_tensors and self.recorder is not None:
            self.announce_optimizer(optimizer)
        self.say_devices()
        self.ring.resend()
        self.ring.step()
        self.state.microbatch = 0
        if self.only_names and self.watching:
            self.leave_to_steps()  # what lasts is known by now
        if self.optimizer is not None and self.optimizer() is optimizer:
            self.keep_parameters(optimizer)

    # --- what can't be seen ---

    def watch_compilers(self):
        def watch(owner, name, reason):
            original = vars(owner).get(name)
            if original is None:
                return

            @functools.wraps(original)
            def wrapper(*args, **kwargs):
                if not self.state.off:
                    self.notice(reason)
                return original(*args, **kwargs)

            self.patches.replace(owner, name, wrapper)

        # Under a dispatch mode torch runs a compiled function as it was written (seen with 2.11).
        watch(torch, "compile", "torch.compile: operators are those of the functions as written, or hidden; the bare pass ran them compiled")

    def install(self):
        self.wrap_optimizers()
        self.wrap_module_call()
        for name in ("backward", "grad"):
            self.wrap_backward(name)
        if self.pass_kind != "bare":
            self.wrap_checkpoint()
            self.watch_compilers()


def start():
    """Called right after torch was imported."""
    pass_kind = os.environ.get("NEARFAR_PASS")
    if pass_kind not in ("bare", "timing", "access"):
        return
    ring = Ring()
    if ring.track() != 0:
        return
    Hook(ring, pass_kind).install()
