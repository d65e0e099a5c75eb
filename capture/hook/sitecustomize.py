"""Found through PYTHONPATH by every Python of a captured job. Arms the torch hook, then steps aside for the user's own
sitecustomize. A process that never imports torch pays for one comparison per import."""
import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec

_here = os.path.dirname(os.path.abspath(__file__))


def _start():
    sys.path.insert(0, _here)
    try:
        import nearfar_hook
    finally:
        if _here in sys.path:
            sys.path.remove(_here)
    nearfar_hook.start()


def _start_quietly():
    try:
        _start()
    except Exception as error:
        # The tool learns from the ring that nobody claimed it; the reason is worth one line.
        print(f"nearfar: the torch hook could not start: {error!r}", file=sys.stderr)


class _TorchFinder:
    """Starts the hook right after torch was imported, then removes itself."""

    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        _disarm()
        spec = None
        for finder in list(sys.meta_path):
            find_spec = getattr(finder, "find_spec", None)
            spec = find_spec(name, path, target) if find_spec else None
            if spec is not None:
                break
        loader = getattr(spec, "loader", None)
        if not hasattr(loader, "exec_module"):
            return spec

        def exec_module(module):
            # Instance attribute over the class's method: torch keeps its own loader, with nothing of ours left on it.
            del loader.exec_module
            try:
                loader.exec_module(module)
            except BaseException:
                _arm()
                raise
            _start_quietly()

        loader.exec_module = exec_module
        return spec


_finder = _TorchFinder()


def _arm():
    sys.meta_path.insert(0, _finder)


def _disarm():
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)


def _run_the_users():
    """Our folder leaves sys.path, so that the job sees the one it would have had. PYTHONPATH itself stays: a launcher's
    children are to find the hook too."""
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.getcwd()) != _here]
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


if os.environ.get("NEARFAR_RING") and os.environ.get("NEARFAR_PASS"):
    if "torch" in sys.modules:
        _start_quietly()
    else:
        _arm()
_run_the_users()
