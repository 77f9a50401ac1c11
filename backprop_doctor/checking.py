"""From paths to a report: which programs are meant, and a child process for each of them."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backprop_doctor.errors import CannotCheckError, SourceError, UsageError
from backprop_doctor.folders import programs_of
from backprop_doctor.records import FileReport, Report, Unchecked
from backprop_doctor.selection import Selection

if TYPE_CHECKING:
    from concurrent.futures import Future

    from backprop_doctor.source import Project

__all__ = ["STDIN", "Options", "check", "check_file", "check_files", "exit_code", "programs", "suspect_files"]

STDIN = "<stdin>"

SKIPPED_FOLDERS = frozenset({"__pycache__", "build", "dist", "env", "node_modules", "site-packages", "venv"})
DATA_SUFFIXES = frozenset(
    {".bz2", ".csv", ".gz", ".h5", ".hdf5", ".jpeg", ".jpg", ".json", ".mat", ".npy", ".npz", ".pdf", ".pickle", ".pkl",
     ".png", ".pt", ".tar", ".tsv", ".xlsx", ".xz", ".zip"}
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """How programs are checked.

    ``call`` is run at the end of a file that trains nothing by itself, ``arguments`` are put into ``sys.argv``; what
    selects the rules is said in `Selection`.
    """

    call: str | None = None
    arguments: tuple[str, ...] = ()
    seed: int = 0
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    extend_select: tuple[str, ...] = ()
    per_file_ignores: tuple[tuple[str, tuple[str, ...]], ...] = ()
    fix: bool = True
    train: bool = False
    unsafe: bool = False
    time_limit_seconds: float = 60.0
    memory_limit_mib: int = 4096

    @property
    def selection(self) -> Selection:
        """Which findings are wanted."""
        return Selection(self.select, self.ignore, self.extend_select, self.per_file_ignores)


def check(
    *paths: str | os.PathLike[str],
    call: str | None = None,
    arguments: Sequence[str] = (),
    seed: int = 0,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    time_limit_seconds: float = 60.0,
    memory_limit_mib: int = 4096,
    jobs: int = 1,
) -> Report:
    """Check programs, each in a child process.

    Parameters
    ----------
    *paths : str or path-like
        Files, or folders whose Python files are meant.
    call : str, optional
        Expression to run at the end of the file, such as ``"train(64, 100, 0.3, X, Y)"``.
    arguments : sequence of str
        What the program finds in ``sys.argv`` after its own name.
    seed : int
        Start of all randomness that the program leaves unseeded.
    select, ignore : sequence of str
        Codes, beginnings of codes or names of the rules to apply or to leave out.
    time_limit_seconds : float
        Wall time for one program.
    memory_limit_mib : int
        Memory for one program, in MiB.
    jobs : int
        How many programs are checked at the same time.

    Returns
    -------
    Report
        One entry a program; one that could not be run has the verdict ``"unknown"``.

    Raises
    ------
    UsageError
        If a path or a rule does not exist.
    SourceError
        If a folder holds no Python files.
    """
    from backprop_doctor import rules

    options = Options(
        call=call,
        arguments=tuple(arguments),
        seed=seed,
        select=rules.resolve(select),
        ignore=rules.resolve(ignore),
        time_limit_seconds=time_limit_seconds,
        memory_limit_mib=memory_limit_mib,
    )
    return check_files(programs(os.fspath(path) for path in paths), options, jobs=jobs)


def check_file(path: str, options: Options) -> FileReport:
    """Check one program in a child process; what prevents that becomes a report that says so."""
    from backprop_doctor import serialise, worker

    # The child works in the folder of the program; what it says about the path is said in the user's words.
    absolute = os.path.abspath(path)
    if Path(path).suffix.lower() in DATA_SUFFIXES:
        data = Unchecked("the program", f"{path}: this is data, not a program: give the Python file that reads it")
        return FileReport(path, "unknown", ran=False, seconds=0.0, unchecked=(data,))
    request = {
        "path": absolute,
        "call": options.call,
        "arguments": list(options.arguments),
        "seed": options.seed,
        "select": list(options.select),
        "ignore": list(options.ignore),
        "extend_select": list(options.extend_select),
        "per_file_ignores": [[pattern, list(codes)] for pattern, codes in options.per_file_ignores],
        "fix": options.fix,
        "train": options.train,
        "unsafe": options.unsafe,
        "time_limit": options.time_limit_seconds,
    }
    started = time.perf_counter()
    try:
        reply = worker.run(
            "check",
            request,
            time_limit=options.time_limit_seconds,
            memory_limit_mib=options.memory_limit_mib,
        )
    except CannotCheckError as error:
        told = _in_words(str(error), {absolute: path, os.path.dirname(absolute) + os.sep: _beside(path)})
        why = (Unchecked("the program", told),)
        return FileReport(path, "unknown", ran=False, seconds=time.perf_counter() - started, unchecked=why)
    report = reply["report"]
    names = {module: _named(module, path) for module in report.get("modules", ())}
    return serialise.file_from_json(_replaced(report, names | {absolute: path}))


def _named(module: str, path: str) -> str:
    """A module's path as the user would write it, who wrote ``path`` for the program."""
    return module if os.path.isabs(path) else os.path.relpath(module, os.path.realpath(os.getcwd()))


def _beside(path: str) -> str:
    folder = os.path.dirname(path)
    return folder + os.sep if folder else ""


def _in_words(text: str, names: dict[str, str]) -> str:
    for old in sorted(names, key=len, reverse=True):
        text = text.replace(old, names[old])
    return text


def _replaced(data: Any, names: dict[str, str]) -> Any:
    """Plain data with texts replaced by others wherever they stand."""
    if isinstance(data, str):
        return _in_words(data, names)
    if isinstance(data, list):
        return [_replaced(item, names) for item in data]
    if isinstance(data, dict):
        return {key: _replaced(value, names) for key, value in data.items()}
    return data


def check_files(
    paths: Sequence[str],
    options: Options | Callable[[str], Options],
    *,
    jobs: int = 1,
    progress: Callable[[FileReport], None] | None = None,
) -> Report:
    """Check several programs, ``jobs`` of them at a time; the entries keep the order of the paths.

    ``options`` are those of all programs, or a function that gives those of each; ``progress`` is called with each
    entry when it is ready.
    """
    tell = progress or (lambda _: None)
    wanted = [options(path) if callable(options) else options for path in paths]
    if min(jobs, len(paths)) <= 1:
        files = []
        for path, own in zip(paths, wanted, strict=True):
            files.append(check_file(path, own))
            tell(files[-1])
        return Report(tuple(files))
    from concurrent.futures import ThreadPoolExecutor, as_completed

    with ThreadPoolExecutor(max_workers=min(jobs, len(paths))) as pool:
        futures = [pool.submit(check_file, path, own) for path, own in zip(paths, wanted, strict=True)]
        try:
            for future in as_completed(futures):
                tell(future.result())
        except BaseException:
            _stop(futures)
            raise
    return Report(tuple(future.result() for future in futures))


def _stop(futures: Sequence[Future[FileReport]]) -> None:
    """Threads cannot be interrupted, but the processes they wait for can be ended."""
    from backprop_doctor import worker

    for future in futures:
        future.cancel()
    while not all(future.done() for future in futures):
        worker.stop_all()  # again and again: a thread may just be starting one
        time.sleep(0.01)


def suspect_files(paths: Sequence[str], options: Callable[[str], Options], given: Project | None = None) -> Report:
    """Read programs without running them; ``-`` stands for the one that is given."""
    from backprop_doctor import static
    from backprop_doctor.source import open_project

    files = []
    for path in paths:
        try:
            project = given if path == "-" and given is not None else open_project(path)
        except SourceError as error:
            files.append(
                FileReport(path, "unknown", ran=False, seconds=0.0, unchecked=(Unchecked("the program", str(error)),))
            )
            continue
        files.append(static.examine(project, options(os.curdir if path == "-" else path).selection))
    return Report(tuple(files))


def programs(paths: Iterable[str], *, modules: bool = False) -> list[str]:
    """The files that are meant by files and folders, each once, those of a folder in alphabetical order.

    Of a folder these are notebooks and the Python files that are programs; modules are checked with those, so that
    they are only listed if that is asked for.

    Raises
    ------
    UsageError
        If a path does not exist, with the nearest match.
    SourceError
        If a folder holds no Python files.
    """
    found: dict[str, str] = {}
    for path in paths:
        if os.path.isdir(path):
            inside = sorted(_walk(path)) if modules else programs_of(sorted(_walk(path)))
            if not inside:
                raise SourceError(f"{path}: there is no Python file in this folder")
        elif os.path.exists(path):
            inside = [path]
        else:
            raise UsageError(f"there is no file or folder {path}{_nearest(path)}")
        for program in inside:
            found.setdefault(os.path.realpath(program), program)
    return list(found.values())


def _walk(folder: str) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not _is_skipped(parent, name)]
        for name in files:
            if name.endswith((".py", ".ipynb")) and not name.startswith("."):
                yield os.path.normpath(os.path.join(parent, name))


def _is_skipped(parent: str, name: str) -> bool:
    is_environment = os.path.exists(os.path.join(parent, name, "pyvenv.cfg"))
    return name.startswith(".") or name in SKIPPED_FOLDERS or is_environment


def _nearest(path: str) -> str:
    parent = Path(path).parent
    names = [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
    near = difflib.get_close_matches(Path(path).name, names, n=1)
    return f"; did you mean {parent / near[0]}?" if near else ""


def exit_code(report: Report, *, strict: bool = False, static: bool = False) -> int:
    """0 checked and no errors, 1 errors (``strict``: or warnings), 3 not checked; the worst counts.

    ``static`` reports are about what was read and not run: they count as checked if they could be read.
    """
    counted = {"error", "warning"} if strict else {"error"}
    codes = [0 if report.files else 3]
    for file in report.files:
        if file.unchecked if static else file.verdict == "unknown":
            codes.append(3)
        elif file.verdict == "faulty" or any(finding.severity in counted for finding in file.findings):
            codes.append(1)
    return max(codes)
