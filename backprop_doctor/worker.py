"""The process boundary: checked code runs in a child, plain data comes back.

Parent and child share a folder that only lives as long as the child: the request and the answer are files in
it, so that neither what the program prints nor a process it leaves behind can come between them.  The child
imports what it needs and waits for a byte on its standard input; when that is closed, the parent is gone.  The
parent keeps the wall time; the child sets its own limits of memory and of file sizes, and where it crashes or
has to be stopped from outside, the interpreter leaves a traceback in that folder.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from backprop_doctor.errors import CannotCheckError, DoctorError, ProgramError, SourceError, UsageError

__all__ = ["run", "start_early", "stop_all"]

REQUEST, REPLY, CRASH = "request.json", "reply.json", "crash.txt"
# What the interpreter says where memory is short, besides a MemoryError.
SIGNS_OF_WANT = ("failed to map segment", "unable to start watchdog thread", "can't start new thread")
REPLY_MIB = 64
FILE_MIB = 2048
GRACE_SECONDS = 0.5

_KINDS: dict[str, type[DoctorError]] = {
    "source": SourceError,
    "program": ProgramError,
    "cannot": CannotCheckError,
    "usage": UsageError,
    "tool": DoctorError,
}


def run(task: str, request: dict[str, Any], *, time_limit: float, memory_limit_mib: int) -> dict[str, Any]:
    """Do a task in a child process.

    Parameters
    ----------
    task : str
        What to do; see `diagnosis.run_task`.
    request : dict
        Plain data.
    time_limit : float
        Wall time in seconds after which the child and all it started is killed.
    memory_limit_mib : int
        Address space of the child in MiB.

    Raises
    ------
    CannotCheckError
        If the child does not answer, with a sentence saying why.
    """
    with _lock:
        child = _early.pop() if _early else _Child()
        _running.add(child)
    try:
        until = time.monotonic() + time_limit  # that clock is the same in all processes
        message = {"task": task, "request": request, "memory": memory_limit_mib, "seconds": time_limit, "until": until}
        status, seconds = child.answered(message, time_limit)
        reply = child.folder / REPLY
        if not reply.exists():
            crash = child.folder / CRASH
            text = crash.read_text(encoding="utf-8", errors="replace") if crash.exists() else ""
            raise ProgramError(_last_words(text, status, seconds, message))
        if reply.stat().st_size > REPLY_MIB << 20:
            raise ProgramError(f"the report is larger than {REPLY_MIB} MiB")
        answer: dict[str, Any] = json.loads(reply.read_text(encoding="utf-8"))
    finally:
        with _lock:
            _running.discard(child)
        child.close()
    if "error" in answer:
        error = answer["error"]
        raise _KINDS.get(error["kind"], CannotCheckError)(error["message"])
    return answer


def start_early() -> None:
    """Start a child that imports what it needs while the caller reads its options; the next `run` takes it."""
    with _lock:
        if not _early:
            _early.append(_Child())


def stop_all() -> None:
    """End all children at once, with all they started; each `run` that waits for one raises `ProgramError`."""
    with _lock:
        for child in _running:
            child.kill()


class _Child:
    """A process that waits for a request, and the folder it shares with this one."""

    def __init__(self) -> None:
        self._shared = tempfile.TemporaryDirectory(prefix="backprop-doctor-", ignore_cleanup_errors=True)
        self.folder = Path(self._shared.name)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), self._shared.name)
        self._process = subprocess.Popen(
            [sys.executable, "-X", "utf8", "-m", "backprop_doctor.worker", self._shared.name],
            # Its own folder, not the user's: a random.py or numpy.py there must not be imported unguarded.
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**threads, "PYTHONHASHSEED": "0", **os.environ, **places},
        )
        assert self._process.stdin is not None
        self._lifeline = self._process.stdin

    def answered(self, message: dict[str, Any], time_limit: float) -> tuple[int, float]:
        """Wait until the child has ended: its exit status, and how many seconds it took."""
        started = time.monotonic()
        (self.folder / REQUEST).write_text(json.dumps(message), encoding="utf-8")
        with contextlib.suppress(BrokenPipeError):  # it has ended already: there is a status
            self._lifeline.write(b"\n")
            self._lifeline.flush()
        # The child leaves a traceback when its time is over; this is for the case that it cannot.
        timer = threading.Timer(time_limit + GRACE_SECONDS, self.kill)
        timer.daemon = True
        timer.start()
        try:
            return self._process.wait(), time.monotonic() - started
        finally:
            timer.cancel()

    def kill(self) -> None:
        """End the child and what it left behind; harmless when there is nothing left."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()

    def close(self) -> None:
        """End the child, and remove the folder."""
        self.kill()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            self._lifeline.close()
        self._shared.cleanup()


_early: list[_Child] = []
_running: set[_Child] = set()
_lock = threading.Lock()


@atexit.register
def _end_unasked() -> None:
    while _early:
        _early.pop().close()


def _last_words(crash: str, status: int, seconds: float, message: dict[str, Any]) -> str:
    """Why a child ended without an answer."""
    path = message["request"].get("path", "")
    # The interpreter names the innermost frame first.
    frame = re.search(rf'File "({re.escape(path)}(?::cell \d+)?)", line (\d+)', crash)
    place = f"{frame[1]}:{frame[2]}: " if frame else ""
    if seconds >= message["seconds"]:
        here = "; it was still at this line" if frame else ""
        return f"{place}the check did not finish within {message['seconds']:g} s{here} (--time-limit sets more)"
    if crash.startswith("Timeout"):
        return f"{place}the program runs longer than {seconds:.0f} s and cannot be interrupted"
    if status < 0:
        name = signal.Signals(-status).name
        if name in ("SIGKILL", "SIGXCPU"):
            return f"the program was killed ({name}), probably for want of memory"
        return f"{place}the program crashed the interpreter ({name})"
    return f"{place}the program ended the interpreter (exit status {status})"


def main() -> None:
    """Entry of the child."""
    leave = os._exit
    folder = Path(sys.argv[1])
    lifeline = _lifeline()
    try:
        from backprop_doctor import diagnosis, guards

        if not os.read(lifeline, 1):
            leave(1)
        _end_with_the_parent(lifeline)
        message = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
        guards.watch(os.open(folder / CRASH, os.O_WRONLY | os.O_CREAT), message["until"])
        _limit(message["memory"], message["seconds"])
        answer = json.dumps(diagnosis.run_task(message["task"], message["request"]), allow_nan=False)
    except DoctorError as error:
        answer = _sorry(next(kind for kind, of in _KINDS.items() if isinstance(error, of)), str(error))
    except BaseException as error:  # whatever happens, the parent gets a sentence
        if isinstance(error, MemoryError) or any(sign in str(error) for sign in SIGNS_OF_WANT):
            answer = _sorry("program", f"the program needs more memory than {message['memory']} MiB (--memory-limit)")
        else:
            import traceback

            text = f"a fault of this tool: {type(error).__name__}: {error}\n{traceback.format_exc(limit=-4)}"
            answer = _sorry("cannot", text)
    unfinished = folder / f"{REPLY}.{os.getpid()}"
    unfinished.write_text(answer, encoding="utf-8")
    unfinished.replace(folder / REPLY)
    # Threads or atexit handlers of the checked program must not keep the child alive.
    leave(0)


def _sorry(kind: str, sentence: str) -> str:
    return json.dumps({"error": {"kind": kind, "message": sentence}})


def _lifeline() -> int:
    """The pipe from the parent, which was the standard input; the program sees none of it."""
    lifeline = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return lifeline


def _end_with_the_parent(lifeline: int) -> None:
    """End this process when the other end of the pipe is closed."""
    import _thread

    leave = os._exit

    def watch() -> None:
        os.read(lifeline, 1)
        leave(1)

    # Not a Thread: programs wait for those that they find.
    _thread.start_new_thread(watch, ())


def _limit(memory_mib: int, seconds: float) -> None:
    try:
        import resource
    except ImportError:
        return
    # Processor time only matters if the parent is gone and this process cannot be interrupted.
    processor = int(seconds + 5) * (os.cpu_count() or 1)
    for limit, value in (
        (resource.RLIMIT_AS, memory_mib << 20),
        (resource.RLIMIT_FSIZE, FILE_MIB << 20),
        (resource.RLIMIT_CPU, processor),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(ValueError, OSError):  # a limit that is set lower already stays
            resource.setrlimit(limit, (value, value))


if __name__ == "__main__":
    main()
