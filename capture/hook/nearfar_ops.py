"""What one torch operator touches: plans made once per operator from its schema, and the dispatch modes that turn
each call into an event. This is the hot path of a captured job: a microsecond here is a millisecond a step."""
import struct
import time

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nearfar_ring import EVENT_TENSOR, event, tensor_hash

READ, WRITE, UPDATE = 0, 1, 2
STREAM, STRIDED, GATHER, BLOCKED = 0, 1, 2, 3

# Smaller outputs aren't worth a name: they are counters, masks of a row, reduced scalars.
NAMED_OUTPUT_BYTES = 4096

# Results that alias an operand although their schema doesn't say so, or calls that change no data.
_SILENT = {
    "_unsafe_view", "unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk",
    "transpose_", "t_", "squeeze_", "unsqueeze_", "as_strided_", "swapaxes_", "swapdims_", "detach_", "set_", "resize_",
    "rename_", "requires_grad_", "is_same_size", "sym_size", "sym_stride", "sym_numel", "sym_storage_offset",
    "size", "stride", "numel", "dim", "storage_offset", "is_contiguous", "_version",
}
# In-place calls that overwrite without reading.
_OVERWRITES = {
    "zero_", "fill_", "copy_", "normal_", "uniform_", "random_", "bernoulli_", "exponential_", "log_normal_", "cauchy_",
    "geometric_", "_foreach_zero_", "_foreach_copy_",
}
_EMPTY = {"empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided",
          "_empty_affine_quantized"}
# Operands of which only shape and type are looked at.
_SHAPE_ONLY = {
    "zeros_like": (0,), "ones_like": (0,), "full_like": (0,), "rand_like": (0,), "randn_like": (0,),
    "randint_like": (0,), "new_zeros": (0,), "new_ones": (0,), "new_full": (0,), "nll_loss_backward": (1,),
    "nll_loss2d_backward": (1,), "max_pool2d_with_indices_backward": (1,),
}
_BLOCKED = {
    "mm": (0, 1), "bmm": (0, 1), "mv": (0,), "addmm": (1, 2), "baddbmm": (1, 2), "addbmm": (1, 2), "addmv": (1,),
    "addmm_": (1, 2), "baddbmm_": (1, 2), "_addmm_activation": (1, 2), "linear": (0, 1), "mkldnn_linear": (0, 1),
    "convolution": (0, 1), "_convolution": (0, 1), "convolution_overrideable": (0, 1), "mkldnn_convolution": (0, 1),
    "convolution_backward": (0, 1, 2), "_slow_conv2d_forward": (0, 1), "thnn_conv2d": (0, 1),
    "_scaled_dot_product_flash_attention_for_cpu": (0, 1, 2),
    "_scaled_dot_product_flash_attention_for_cpu_backward": (0, 1, 2, 3),
    "_scaled_dot_product_attention_math": (0, 1, 2), "_scaled_dot_product_efficient_attention": (0, 1, 2),
}


def _row_elements(shape, from_dim):
    n = 1
    for size in shape[from_dim:]:
        n *= size
    return n


def _row_of_index_list(table, indices):
    """Elements that lie together where an index list picks: all dims after the last indexed one come along whole."""
    dims = 0
    for index in indices:
        dims += index.dim() if index is not None and index.dtype == torch.bool else 1
    return _row_elements(table.shape, dims)


def _rows_of_index(table, indices, result):
    row = _row_of_index_list(table, indices)
    return result.numel() // max(1, row), row


def _rows_of_index_put(table, indices):
    """A mask may pick less than it covers; counting it would be another pass over it."""
    rows = max((index.numel() for index in indices if index is not None), default=0)
    for dim, index in enumerate(indices):
        rows *= table.shape[dim] if index is None else 1
    return rows, _row_of_index_list(table, indices)


def _rows_of_dim(table, dim, index):
    """index_select and friends: whole slices along a dim; contiguous pieces are what lies after it."""
    row = _row_elements(table.shape, dim % table.dim() + 1) if table.dim() else 1
    outer = table.numel() // max(1, row * table.shape[dim]) if table.dim() else 1
    return outer * index.numel(), row


def _single_elements(index):
    return index.numel(), 1


# name: (the operand that is gathered from or scattered to, (args, result) -> (rows, elements per row)).
_GATHERS = {
    "embedding": (0, lambda a, _: (a[1].numel(), _row_elements(a[0].shape, 1))),
    "_embedding_bag": (0, lambda a, _: (a[1].numel(), _row_elements(a[0].shape, 1))),
    "index": (0, lambda a, r: _rows_of_index(a[0], a[1], r)),
    "index_put_": (0, lambda a, _: _rows_of_index_put(a[0], a[1])),
    "_index_put_impl_": (0, lambda a, _: _rows_of_index_put(a[0], a[1])),
    "index_select": (0, lambda a, _: _rows_of_dim(a[0], a[1], a[2])),
    "index_add_": (0, lambda a, _: _rows_of_dim(a[0], a[1], a[2])),
    "index_copy_": (0, lambda a, _: _rows_of_dim(a[0], a[1], a[2])),
    "index_fill_": (0, lambda a, _: _rows_of_dim(a[0], a[1], a[2])),
    "gather": (0, lambda a, _: _single_elements(a[2])),
    "take": (0, lambda a, _: _single_elements(a[1])),
    "put_": (0, lambda a, _: _single_elements(a[1])),
    "scatter_": (0, lambda a, _: _single_elements(a[2])),
    "scatter_add_": (0, lambda a, _: _single_elements(a[2])),
    "scatter_reduce_": (0, lambda a, _: _single_elements(a[2])),
    "nll_loss_forward": (0, lambda a, _: _single_elements(a[1])),
    "nll_loss2d_forward": (0, lambda a, _: _single_elements(a[1])),
}


def _extents_of(shape, strides, element_bytes):
    """(bytes, run, stride) of a view: distinct bytes touched, contiguous bytes per run, distance between runs. Exact
    when one dim is left beside the run; with several the stride is the average that keeps the span."""
    dims = sorted((stride, size) for size, stride in zip(shape, strides) if size != 1 and stride != 0)
    run, outer = 1, []
    span = 1 + sum(stride * (size - 1) for stride, size in dims)
    for stride, size in dims:
        if not outer and stride == run:
            run *= size
        elif outer and stride == outer[-1][0] * outer[-1][1]:
            outer[-1] = (outer[-1][0], outer[-1][1] * size)
        else:
            outer.append((stride, size))
    runs = 1
    for _, size in outer:
        runs *= size
    if runs * run >= span:
        # Dense in another order, or runs that overlap: every byte of the span is touched.
        return span * element_bytes, span * element_bytes, span * element_bytes
    stride = outer[0][0] if len(outer) == 1 else (span - run) // (runs - 1)
    return runs * run * element_bytes, run * element_bytes, stride * element_bytes


class _Plan:
    __slots__ = ("call", "silent", "name", "operands", "lists", "keywords", "gather", "rows", "fresh", "touches_fresh")


def _accept_scalars(detach):
    """torch 1.13 hands a number that autograd saves (the 2 of x * 2) to detach as a Python number, which detach itself
    refuses, and wants a tensor back."""
    types = {bool: torch.bool, int: torch.int64, float: torch.float64, complex: torch.complex128}

    def call(value):
        dtype = types.get(type(value))
        return detach(value) if dtype is None else torch.scalar_tensor(value, dtype=dtype)

    return call


def _is_written(argument):
    return argument.alias_info is not None and argument.alias_info.is_write


def _make_plan(func, text):
    plan = _Plan()
    schema = getattr(func, "_schema", None)
    # The packet's bound operator saves a Python frame per op.
    plan.call = func._op if type(func) is torch._ops.OpOverload else func
    plan.silent = True
    if schema is None or schema.name.startswith("profiler::"):
        return plan
    name = schema.name.rpartition("::")[2]
    returns = [r for r in schema.returns if "Tensor" in str(r.type)]
    written = [a for a in schema.arguments if _is_written(a)]
    is_view = returns and not written and all(r.alias_info is not None for r in returns)
    if name == "detach":
        plan.call = _accept_scalars(plan.call)
    if name in _SILENT or is_view:
        return plan
    plan.silent = False
    plan.name = text(schema.name)
    plan.touches_fresh = name not in _EMPTY
    shape_only = _SHAPE_ONLY.get(name, ()) if plan.touches_fresh else range(len(schema.arguments))
    blocked = _BLOCKED.get(name, ())
    plan.gather, plan.rows = _GATHERS.get(name, (None, None))
    operands, lists, keywords = [], [], {}
    for i, argument in enumerate(schema.arguments):
        kind = str(argument.type)
        if "Tensor" not in kind or i in shape_only:
            continue
        rw = READ
        # The fused optimizers declare their gradients written: only a gradient scaler makes them so.
        if _is_written(argument) and not (name.startswith("_fused_") and argument.name == "grads"):
            overwritten = name in _OVERWRITES or name.endswith("_out") or "out" in schema.overload_name.split("_")
            rw = WRITE if overwritten else UPDATE
        pattern = GATHER if i == plan.gather else BLOCKED if i in blocked else STREAM
        keywords[argument.name] = (rw, pattern)
        if not argument.kwarg_only:
            (lists if "List" in kind else operands).append((i, rw, pattern))
    plan.operands, plan.lists, plan.keywords = tuple(operands), tuple(lists), keywords
    plan.fresh = tuple("Tensor" in str(r.type) and r.alias_info is None for r in schema.returns)
    if not any(plan.fresh):
        plan.fresh = ()
    return plan


# The untyped storage; torch 1.13 has it under its private name only.
_untyped_storage = getattr(Tensor, "untyped_storage", None) or Tensor._storage


def storage_of(tensor):
    """(address, bytes) of the whole storage."""
    storage = _untyped_storage(tensor)
    return storage.data_ptr(), storage.nbytes()


class Recorder:
    """Plans and the events of single ops. `state` says where the job is: module, phase, microbatch, off."""

    def __init__(self, ring, state, fail, notice):
        self.ring, self.state = ring, state
        self.fail = fail      # (exception): the hook met its own mistake
        self.notice = notice  # (reason): something in the job that can't be seen
        self.plans = {}
        self.functions = []  # keeps the ids in `plans` unique
        self.devices_seen = set()
        self.devices_unsaid = 0
        self._shapes, self._types = {}, {}

    def plan(self, func):
        plan = self.plans[id(func)] = _make_plan(func, self.ring.text)
        self.functions.append(func)
        return plan

    def shape_text(self, shape):
        number = self._shapes.get(shape)
        if number is None:
            number = self._shapes[shape] = self.ring.text("x".join(map(str, shape)) or "scalar")
        return number

    def type_text(self, dtype):
        number = self._types.get(dtype)
        if number is None:
            number = self._types[dtype] = self.ring.text(str(dtype).replace("torch.", ""))
        return number

    def tensor_event(self, tensor, role, name, module=""):
        """Announces the storage behind a tensor; None when it has none that can be captured."""
        if not tensor.is_cpu:
            self.skip_device(tensor)
            return None
        try:
            address, size = storage_of(tensor)
        except RuntimeError:
            return None
        if self.ring.is_moved:
            if address and name:
                self.ring.named(address, tensor_hash(name, role))
            return None
        text = self.ring.text
        return event(EVENT_TENSOR, id=self.type_text(tensor.dtype), name=text(name), module=text(module),
                     address=address, a=size, b=role, c=self.shape_text(tensor.shape)) if address else None

    def skip_device(self, tensor):
        try:
            key = (str(tensor.device), tensor.data_ptr())
        except RuntimeError:
            return
        if key not in self.devices_seen:
            self.devices_seen.add(key)
            self.devices_unsaid += 1

    def timing_mode(self):
        """Names and times only."""
        state, plans, make_plan, fail = self.state, self.plans, self.plan, self.fail
        emit, pack, clock = self.ring.op, struct.Struct("=5Q").pack, time.monotonic_ns

        class NearfarTiming(TorchDispatchMode):
            supports_higher_order_operators = True

            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                plan = plans.get(id(func)) or make_plan(func)
                if plan.silent or state.off:
                    return plan.call(*args, **kwargs) if kwargs else plan.call(*args)
                begin = clock()
                result = plan.call(*args, **kwargs) if kwargs else plan.call(*args)
                duration = clock() - begin
                try:
                    emit(pack(plan.name | state.module << 32, state.phase | state.microbatch << 32, begin, duration, 0),
                         5)
                except Exception as error:
                    fail(error)
                return result

        return NearfarTiming()

    def access_mode(self):
        """Every operand's extents as well."""
        state, plans, make_plan, fail = self.state, self.plans, self.plan, self.fail
        clock, record, begins = time.monotonic_ns, self._recorder(), self.ring.op_begins

        class NearfarAccess(TorchDispatchMode):
            supports_higher_order_operators = True

            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                plan = plans.get(id(func)) or make_plan(func)
                if plan.silent or state.off:
                    return plan.call(*args, **kwargs) if kwargs else plan.call(*args)
                if begins:
                    begins()
                begin = clock()
                result = plan.call(*args, **kwargs) if kwargs else plan.call(*args)
                duration = clock() - begin
                try:
                    record(plan, args, kwargs, result, begin, duration)
                except Exception as error:
                    fail(error)
                return result

        return NearfarAccess()

    def _recorder(self):
        state, emit, notice = self.state, self.ring.op, self.notice
        extents, packers = {}, {}
        skip_device, shape_text, type_text = self.skip_device, self.shape_text, self.type_text

        def visit(words, seen, tensor, rw, pattern):
            """Appends a visit; returns its place in words, or 0 when nothing is touched."""
            if not tensor.is_cpu:
                skip_device(tensor)
                return 0
            try:
                address = tensor.data_ptr()
                if tensor.is_contiguous():
                    element = tensor.element_size()
                    run = touched = stride = tensor.numel() * element
                else:
                    element = tensor.element_size()
                    key = (tensor.shape, tensor.stride(), element)
                    extent = extents.get(key)
                    if extent is None:
                        extent = extents[key] = _extents_of(*key) if tensor.numel() else (0, 0, 0)
                    touched, run, stride = extent
                    if pattern == STREAM and run != touched:
                        pattern = STRIDED
            except RuntimeError:
                notice("operands without strided storage (sparse, or a wrapper around other tensors)")
                return 0
            if not touched or not address:
                return 0
            at = seen.get(address)
            if at is not None and words[at + 1] == touched and words[at + 2] == run:
                was = words[at + 4]
                if was & 0xff != rw:
                    words[at + 4] = was & ~0xff | UPDATE
                return at
            seen[address] = at = len(words)
            words += (address, touched, run, stride, rw | pattern << 8, address - tensor.storage_offset() * element)
            return at

        def visit_rows(words, seen, tensor, rw, rows, row_elements):
            """A table of which rows are picked by an index. Which ones isn't looked at: they are taken to be spread
            evenly, and never more than the table has."""
            at = visit(words, seen, tensor, rw, GATHER)
            if not at:
                return
            span, row = words[at + 1], row_elements * tensor.element_size()
            rows = min(rows, span // row) if row else 0
            if rows <= 0:
                # Nothing was picked. The visit is the last one: gathered operands come first.
                del words[at:]
                seen.clear()
                return
            stride = row if rows == 1 else max(row, (span - row) // (rows - 1))
            words[at + 1:at + 4] = (rows * row, row, stride)

        def visit_any(words, seen, value, rw, pattern):
            if isinstance(value, Tensor):
                visit(words, seen, value, rw, pattern)
            elif isinstance(value, (list, tuple)):
                for tensor in value:
                    if isinstance(tensor, Tensor):
                        visit(words, seen, tensor, rw, pattern)

        def fresh(words, tensors, seen, plan, tensor):
            """An output that this op made."""
            at = visit(words, seen, tensor, WRITE, STREAM)
            if at and words[at + 1] >= NAMED_OUTPUT_BYTES:
                tensors += (words[at + 5], words[at + 1], type_text(tensor.dtype) | plan.name << 32, state.module,
                            shape_text(tensor.shape))
            if at and not plan.touches_fresh:
                del words[at:]
                seen.clear()

        def record(plan, args, kwargs, result, begin, duration):
            words = [plan.name | state.module << 32, state.phase | state.microbatch << 32, begin, duration, 0]
            tensors, seen, n = [], {}, len(args)
            if plan.gather is not None:
                i = plan.gather
                rw = next(o[1] for o in plan.operands if o[0] == i)
                visit_rows(words, seen, args[i], rw, *plan.rows(args, result))
            for i, rw, pattern in plan.operands:
                if i >= n:
                    break
                tensor = args[i]
                if isinstance(tensor, Tensor) and pattern != GATHER:
                    visit(words, seen, tensor, rw, pattern)
            for i, rw, pattern in plan.lists:
                if i < n:
                    visit_any(words, seen, args[i], rw, pattern)
            if kwargs:
                for name, value in kwargs.items():
                    how = plan.keywords.get(name)
                    if how is not None:
                        visit_any(words, seen, value, *how)
            if plan.fresh:
                if isinstance(result, Tensor):
                    fresh(words, tensors, seen, plan, result)
                elif len(plan.fresh) == 1:
                    for tensor in result:
                        fresh(words, tensors, seen, plan, tensor)
                else:
                    for is_fresh, value in zip(plan.fresh, result):
                        if is_fresh and isinstance(value, Tensor):
                            fresh(words, tensors, seen, plan, value)
            words[4] = (len(words) - 5) // 6 | len(tensors) // 5 << 32
            words += tensors
            n = len(words)
            pack = packers.get(n)
            if pack is None:
                pack = packers[n] = struct.Struct("=%dQ" % n).pack
            data = pack(*words)
            if emit(data, n) == 1:
                self.announce_foreign(args, kwargs, result)
                emit(data, n)

        return record

    def announce_foreign(self, *values):
        """Storages that don't come from the allocator (numpy's, a mapped file): whoever visits them names them."""
        events = []
        for value in values:
            self._walk_foreign(value, events)
        self.ring.emit(events)

    def _walk_foreign(self, value, events):
        if isinstance(value, Tensor):
            announced = self.tensor_event(value, 0, "")
            if announced:
                events.append(announced)
                self.ring.foreign(storage_of(value)[0])
        elif isinstance(value, dict):
            for item in value.values():
                self._walk_foreign(item, events)
        elif isinstance(value, (list, tuple)):
            for item in value:
                self._walk_foreign(item, events)
