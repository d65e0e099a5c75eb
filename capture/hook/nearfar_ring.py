"""The hook's way to the preloaded library: events as packed bytes, texts as numbers."""
import ctypes
import os
import struct

EVENT_TEXT, EVENT_TENSOR, EVENT_MARK, EVENT_CHECKPOINT = 3, 4, 8, 9
MARK_TRAINING_BEGINS, MARK_BACKWARD_BEGINS, MARK_BACKWARD_ENDS = 1, 2, 3
MARK_SKIPPED_DEVICE, MARK_PARAMETER_HASH, MARK_RUNTIME, MARK_UNSUPPORTED, MARK_RANK = 4, 5, 6, 7, 8

# struct nf_event: time, kind, phase, rw, pattern, microbatch, n, thread, id, name, module, address, a, b, c
_EVENT = struct.Struct("=QBBBBHHIIIIQQQQ")


def event(kind, id=0, name=0, module=0, address=0, a=0, b=0, c=0):
    return _EVENT.pack(0, kind, 0, 0, 0, 0, 0, 0, id, name, module, address, a, b, c)


def name_hash(text):
    """FNV-1a, as core/base/job-placer.h has it."""
    value = 0xcbf29ce484222325
    for byte in text.encode("utf-8", "replace"):
        value = (value ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return value


def tensor_hash(name, role):
    return (name_hash(name) ^ role) * 0x100000001b3 & 0xffffffffffffffff


class Ring:
    """Raises AttributeError when the library was not preloaded."""

    def __init__(self):
        # PyDLL keeps the interpreter lock: these calls are shorter than giving it up.
        library = ctypes.PyDLL(None)
        uint32, uint64, chars = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_char_p

        def function(name, *argument_types, result=ctypes.c_int):
            f = getattr(library, name)
            f.argtypes = argument_types
            f.restype = result
            return f

        self.track = function("nf_hook_track")
        self.claim = function("nf_hook_claim")
        self.op = function("nf_hook_op", chars, uint32)
        self.foreign = function("nf_hook_foreign", uint64, result=None)
        # Only the exact source wants to hear of an op before it runs.
        self.op_begins = function("nf_hook_op_begins", result=None) if os.environ.get("NEARFAR_EXACT") else None
        # A job whose storages are moved as it goes says what those are that last, and nothing of its ops.
        self.is_moved = bool(os.environ.get("NEARFAR_MOVES"))
        self.named = function("nf_hook_named", uint64, uint64, result=None)
        self.step = function("nf_hook_step")
        self.close = function("nf_hook_close", result=None)
        self._emit = function("nf_hook_emit", chars, uint32)
        self._mark = function("nf_hook_mark", uint32, uint32, uint32, uint64)
        self._text = function("nf_hook_text", uint32, chars, uint32)
        self._numbers = {}
        self._unsent = {}

    def text(self, text):
        """The number of a text; 0 for an empty one."""
        number = self._numbers.get(text)
        if number is None:
            if not text:
                return 0
            number = self._numbers[text] = len(self._numbers) + 1
            self._send(number, text)
        return number

    def _send(self, number, text):
        data = text.encode("utf-8", "replace")
        if self._text(number, data, len(data)) != 0:
            self._unsent[number] = text

    def resend(self):
        """Says the texts again that a full ring had no room for."""
        for number, text in list(self._unsent.items()):
            del self._unsent[number]
            self._send(number, text)

    def mark(self, mark, name="", module="", a=0):
        self._mark(mark, self.text(name), self.text(module), a)

    def emit(self, events):
        """A list of packed events, in one batch."""
        if events:
            self._emit(b"".join(events), len(events))
