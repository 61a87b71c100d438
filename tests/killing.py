"""Kill a piece of work at each of its steps on the file system, one after the other."""

import os
import signal
from collections.abc import Callable
from typing import Any

_CALLS = ("open", "write", "fsync", "replace", "rename", "unlink", "mkdir")


def in_child(work: Callable[[], None]) -> int:
    """Run work in a forked process and return its wait status."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


def killed_at(step: int, work: Callable[[], None]) -> bool:
    """Do work in a process that dies right before this step of its; False when it got to the end.

    A step is a file made, bytes written, a sync, a rename, a removal or a folder made.  A killed write writes half.
    """

    def run() -> None:
        left = step

        def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                if name != "open" or args[1] & os.O_CREAT:
                    if left == 0:
                        if name == "write":
                            call(args[0], args[1][: len(args[1]) // 2])
                        os.kill(os.getpid(), signal.SIGKILL)
                    left -= 1
                return call(*args, **kwargs)

            return wrapped

        for name in _CALLS:
            setattr(os, name, counted(name, getattr(os, name)))
        work()

    return os.WIFSIGNALED(in_child(run))
