"""The process boundary: checked code runs in a child, plain data comes back.

The child answers on a pipe of its own with one line of JSON; what the checked program prints never
mixes with it.  The parent keeps the wall time, the child sets its own memory and CPU limits.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

from backprop_doctor.errors import CannotCheckError, DoctorError, ProgramError, SourceError, UsageError

__all__ = ["run"]

REPLY_BYTES = 64 * 1024 * 1024
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
    reading, writing = os.pipe()
    environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **os.environ}
    message = {"task": task, "request": request, "memory": memory_limit_mib, "seconds": time_limit}
    child = subprocess.Popen(
        [sys.executable, "-X", "utf8", "-m", "backprop_doctor.worker", str(writing)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(writing,),
        start_new_session=True,
        env=environment,
    )
    os.close(writing)
    try:
        assert child.stdin is not None
        child.stdin.write(json.dumps(message).encode())
        child.stdin.close()
        reply = _read(reading, child, time_limit)
    finally:
        os.close(reading)
        _end(child)
    if not reply:
        raise ProgramError(_last_words(child.returncode, memory_limit_mib))
    answer: dict[str, Any] = json.loads(reply)
    if "error" in answer:
        error = answer["error"]
        raise _KINDS.get(error["kind"], CannotCheckError)(error["message"])
    return answer


def _read(descriptor: int, child: subprocess.Popen[bytes], time_limit: float) -> bytes:
    import select
    import time

    deadline = time.monotonic() + time_limit
    pieces: list[bytes] = []
    size = 0
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            raise ProgramError(f"the check did not finish within {time_limit:g} s (--time-limit sets more)")
        piece = os.read(descriptor, 1 << 20)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        size += len(piece)
        if size > REPLY_BYTES:
            raise ProgramError("the report is larger than 64 MiB")


def _end(child: subprocess.Popen[bytes]) -> None:
    try:
        child.wait(timeout=0.2)
    except subprocess.TimeoutExpired:
        if hasattr(os, "killpg"):
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
        child.wait()


def _last_words(status: int | None, memory_limit_mib: int) -> str:
    if status is not None and status < 0:
        name = signal.Signals(-status).name
        if name in ("SIGKILL", "SIGXCPU"):
            return f"the program was killed ({name}): it used too much memory or processor time"
        return f"the program crashed the interpreter ({name})"
    return f"the program ended the interpreter (exit status {status}); the memory limit is {memory_limit_mib} MiB"


def main() -> None:
    """Entry of the child."""
    descriptor = int(sys.argv[1])
    message = json.loads(sys.stdin.buffer.read())
    _limit(message["memory"], message["seconds"])
    try:
        from backprop_doctor import diagnosis

        answer = diagnosis.run_task(message["task"], message["request"])
    except DoctorError as error:
        kind = next(k for k, t in _KINDS.items() if type(error) is t)
        answer = {"error": {"kind": kind, "message": str(error)}}
    except MemoryError:
        answer = {
            "error": {
                "kind": "program",
                "message": f"the program needs more memory than the limit of {message['memory']} MiB",
            }
        }
    except BaseException as error:  # whatever happens, the parent gets a sentence
        import traceback

        text = f"a fault of this tool: {type(error).__name__}: {error}\n{traceback.format_exc(limit=-4)}"
        answer = {"error": {"kind": "cannot", "message": text}}
    data = json.dumps(answer, allow_nan=False).encode()
    while data:
        data = data[os.write(descriptor, data) :]
    os.close(descriptor)
    # Threads or atexit handlers of the checked program must not keep the child alive.
    os._exit(0)


def _limit(memory_mib: int, seconds: float) -> None:
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory_mib << 20, memory_mib << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    cpu = int(2 * seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 5))


if __name__ == "__main__":
    main()
