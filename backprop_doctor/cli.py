"""The command line: options in, reports and exit codes out; no logic."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import click

from backprop_doctor.errors import DoctorError, UsageError

if TYPE_CHECKING:
    from backprop_doctor.records import FileReport, Report
    from backprop_doctor.reports import View

__all__ = ["cli", "main"]

INTERRUPTED = 130
FORMATS = ("text", "concise", "json", "sarif", "github", "junit", "html")
TRAIN_HELP = "Train the reference network on MNIST."

Command = TypeVar("Command", bound=Callable[..., Any])


class _Doctor(click.Group):
    """Turns errors into one sentence and an exit code, and loads ``train`` only when it is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return ["check", "trace", "train", "explain", "rules", "test-rule"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "train":
            return click.Command("train", help=TRAIN_HELP)
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name == "train":
            command: click.Command = import_module("backprop_doctor.train_command").train
            return name, command, args[1:]
        if self.get_command(ctx, name) is None and not name.startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"there is no command {name}{_hint(name, self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        run: Callable[..., Any] = partial(super().main, *args, standalone_mode=False, **extra)
        if not standalone_mode:
            return run()
        sys.exit(_guarded(run))


def _guarded(run: Callable[[], Any]) -> int:
    """Run the command; each way in which it can end has its exit code."""
    try:
        result = run()
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except DoctorError as error:
        click.echo(f"backprop-doctor: {error}", err=True)
        return error.exit_code
    except BrokenPipeError:
        # The reader has gone; the interpreter must not fail once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:
        import traceback

        click.echo(traceback.format_exc(), err=True, nl=False)
        click.echo("backprop-doctor: this is a fault of the tool, not of the checked program", err=True)
        return DoctorError.exit_code
    return result if isinstance(result, int) else 0


def _hint(given: str, known: list[str]) -> str:
    near = difflib.get_close_matches(given, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"


def _show_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from backprop_doctor import __version__

        click.echo(f"backprop-doctor {__version__}")
        ctx.exit()


@click.group(
    cls=_Doctor,
    name="backprop-doctor",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  backprop-doctor check mynet.py    which lines are wrong, why, and what to write
  backprop-doctor trace mynet.py    every line with its shapes and a verdict
  backprop-doctor explain BD301     what a finding means
  backprop-doctor train             what right looks like

\b
Exit codes:
  0  checked, no errors (warnings may stand)
  1  errors were found
  2  wrong use, or a fault of this tool
  3  something could not be checked

\b
With --static nothing is run: 0 means that nothing is suspected, 1 suspected errors.
""",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version.",
)
def cli() -> None:
    """Find the lines that are wrong in a hand-written neural network, by running it."""


def main() -> None:
    """Entry point of the console script."""
    cli(prog_name="backprop-doctor")


def _running_options(command: Command) -> Command:
    """The options that say how programs are run."""
    options = (
        click.option("--config", metavar="FILE", help="Settings, instead of those of the nearest pyproject.toml."),
        click.option(
            "--call",
            metavar="CODE",
            help="Code to run at the end of a file that only defines things.",
        ),
        click.option("--args", "arguments", metavar="WORDS", help='What the program finds in sys.argv: "--epochs 3".'),
        click.option("--output", metavar="FILE", help="Write the report to a file, not to the terminal."),
        click.option(
            "--seed",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            metavar="NUMBER",
            help="Start of the randomness that a program leaves unseeded.",
        ),
        click.option(
            "--time-limit",
            type=click.FloatRange(min=0, min_open=True),
            default=60,
            show_default=True,
            metavar="SECONDS",
            help="Wall time for one program.",
        ),
        click.option(
            "--memory-limit",
            type=click.IntRange(min=64),
            default=4096,
            show_default=True,
            metavar="MIB",
            help="Memory for one program.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@cli.command(
    epilog="""\b
Examples:
  backprop-doctor check mynet.py
  backprop-doctor check mynet.py --chart
  backprop-doctor check mynet.py --call "train(64, 100, 0.3, X, Y)"
  backprop-doctor check mynet.py --select BD3 --seed 7
  backprop-doctor check homework/ --format junit --output marks.xml
  backprop-doctor check --static - < mynet.py
"""
)
@click.argument("paths", metavar="PATH...", nargs=-1)
@click.option("--chart", is_flag=True, help="Show the chart too: every line with its shapes and a verdict.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    metavar="FORM",
    help=f"Form of the report: {', '.join(FORMATS)}.",
)
@click.option("--static", is_flag=True, help="Run nothing: only what the text makes suspect; - reads standard input.")
@click.option("--select", multiple=True, metavar="RULES", help="Only these rules: BD301, BD3, a name; commas.")
@click.option("--ignore", multiple=True, metavar="RULES", help="Not these rules.")
@click.option("--extend-select", multiple=True, metavar="RULES", help="These rules too, although ignored.")
@_running_options
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=lambda: os.cpu_count() or 1,
    show_default="one a processor",
    metavar="NUMBER",
    help="Programs checked at the same time.",
)
@click.option("--diff", "show_diff", is_flag=True, help="Print the fix as a unified diff, proved by training.")
@click.option("--fix", "write_fix", is_flag=True, help="Write the fix into the file, proved by training.")
@click.option(
    "--unsafe-fixes",
    "unsafe",
    is_flag=True,
    help="With --diff or --fix: mend what is a matter of choice too, warnings and notes.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings too.")
@click.option("--exit-zero", is_flag=True, help="Exit with 0 although errors were found.")
def check(
    paths: tuple[str, ...],
    form: str,
    output: str | None,
    strict: bool,
    exit_zero: bool,
    static: bool,
    chart: bool,
    show_diff: bool,
    write_fix: bool,
    unsafe: bool,
    **running: Any,
) -> int:
    """Check programs: Python files, notebooks, or folders of them.

    Each program is run, unchanged, in a process of its own: without input, network or display, and without
    writing outside a scratch folder. Where its data is not there, packaged MNIST images take their place.
    Guards inside a process stop accidents, not attackers.

    What [tool.backprop-doctor] in the nearest pyproject.toml sets holds where no option says otherwise, and a
    finding is silent at a line with # noqa: and its code.
    """
    from backprop_doctor import checking

    mend = show_diff or write_fix
    if unsafe and not mend:
        raise UsageError("--unsafe-fixes says which fixes are meant: give --diff to see them or --fix to write them")
    if static:
        if mend or chart:
            raise UsageError("--static runs nothing, so that there is no chart and no fix could be proved")
        if form in ("junit", "html"):
            raise UsageError(f"--format {form} shows the verdicts of a run, and --static runs nothing")
        return _suspect(paths, form, output, strict=strict, exit_zero=exit_zero, **running)
    if "-" in paths:
        raise UsageError("- reads a program from standard input, which can only be done with --static")
    report = _check(paths, output, train=mend, unsafe=unsafe, **running)
    if mend:
        is_text = form == "text"
        mended = _mend(report, write=write_fix, output=output if is_text else None, diff=is_text)
        if not is_text:
            _deliver(report, form, output)
        report = mended
    else:
        wishes = {name: running[name] for name in ("seed", "call", "arguments", "config")}
        _deliver(report, form, output, chart=chart, **wishes)
    code = checking.exit_code(report, strict=strict)
    return 0 if exit_zero and code == 1 else code


@cli.command(
    epilog="""\b
Examples:
  backprop-doctor trace mynet.py
  backprop-doctor trace mynet.py --call "train(64, 100, 0.3, X, Y)"
"""
)
@click.argument("path", metavar="PATH")
@_running_options
def trace(path: str, output: str | None, **running: Any) -> int:
    """Show a program's own lines with shapes, axis names and verdicts.

    The lines of forward pass, loss, backward pass, update and metric are shown as they stand in the file,
    each with what its value is and whether it is right, wrong, or cannot be told.
    """
    from backprop_doctor import checking

    report = _check((path,), output, **running)
    _deliver(report, "text", output, chart=True, findings=False)
    return checking.exit_code(report)


@cli.command(
    epilog="""\b
Examples:
  backprop-doctor explain BD301
  backprop-doctor explain softmax-over-samples
"""
)
@click.argument("code")
def explain(code: str) -> None:
    """Explain a finding: what it is, why it is wrong, what to write."""
    from backprop_doctor import rules
    from backprop_doctor.reports import handbook

    _echo(handbook.page(rules.find(code), _view()))


@cli.command(
    name="rules",
    epilog="""\b
Examples:
  backprop-doctor rules
""",
)
def list_rules() -> None:
    """List everything that can be found."""
    from backprop_doctor import rules
    from backprop_doctor.reports import handbook

    _echo(handbook.contents(rules.catalogue(), _view()))


@cli.command(
    name="test-rule",
    epilog="""\b
Examples:
  backprop-doctor test-rule my_rules/momentum_sign.py
""",
)
@click.argument("path", metavar="PATH")
def test_rule(path: str) -> int:
    """Test a rule of your own, or a folder of them: the page, its programs and the fixtures.

    The example of the page has to draw the rule and no other error, what is to be used instead has to be healthy,
    and each fixture (fixtures/NAME/bad_*.py and good_*.py, in a folder above) has to draw what its comments say.
    """
    from pathlib import Path

    from backprop_doctor import rule_tests, rules

    if not os.path.exists(path):
        raise UsageError(f"there is no file or folder {path}")
    failed = False
    for rule in rules.add(Path(path)):
        faults = list(rule_tests.run(rule, rule_tests.folder(rule)))
        failed = failed or bool(faults)
        _echo("\n".join(f"{rule.code} {rule.name}: {fault}" for fault in faults or ["as it should be"]))
    return int(failed)


def _check(
    paths: tuple[str, ...], output: str | None, *, train: bool = False, unsafe: bool = False, **asked: Any
) -> Report:
    from dataclasses import replace

    from backprop_doctor import config
    from backprop_doctor.checking import Options, check_files, programs

    given = _given(asked)
    chosen = config.read(asked["config"]) if asked["config"] else None
    standing = config.find(os.curdir) if chosen is None else chosen
    if not (paths or standing.paths):
        raise click.UsageError("give the programs to check: backprop-doctor check PATH...")
    files = programs(paths or standing.paths)
    if output is not None and os.path.realpath(output) in map(os.path.realpath, files):
        raise UsageError(f"--output {output} is one of the programs that are checked")
    jobs = given.get("jobs") or standing.jobs or os.cpu_count() or 1

    def wanted(path: str) -> Options:
        return replace(config.options(path, given, chosen), train=train, unsafe=unsafe)

    if len(files) == 1 or not sys.stderr.isatty():
        return check_files(files, wanted, jobs=jobs)
    with click.progressbar(length=len(files), label="checking", file=sys.stderr) as bar:

        def progress(_: FileReport) -> None:
            bar.update(1)

        return check_files(files, wanted, jobs=jobs, progress=progress)


def _suspect(
    paths: tuple[str, ...], form: str, output: str | None, *, strict: bool, exit_zero: bool, **asked: Any
) -> int:
    from backprop_doctor import checking, config
    from backprop_doctor.source import Project, Source

    given = _given(asked)
    chosen = config.read(asked["config"]) if asked["config"] else None
    named = paths or (config.find(os.curdir) if chosen is None else chosen).paths
    if not named:
        raise click.UsageError("give the programs to check: backprop-doctor check --static PATH...")
    files = checking.programs((path for path in named if path != "-"), modules=True)
    typed = None
    if "-" in named:
        typed = Project([Source(checking.STDIN, sys.stdin.buffer.read().decode("utf-8", errors="replace"))])
        files.append("-")
    report = checking.suspect_files(files, lambda path: config.options(path, given, chosen), typed)
    _deliver(report, form, output, config=asked["config"], sources={checking.STDIN: typed})
    code = checking.exit_code(report, strict=strict, static=True)
    return 0 if exit_zero and code == 1 else code


def _given(asked: dict[str, Any]) -> dict[str, Any]:
    """What the command line says itself, in the words of the settings."""
    from click.core import ParameterSource

    from backprop_doctor import rules

    source = click.get_current_context().get_parameter_source
    given = {name: value for name, value in asked.items() if source(name) is not ParameterSource.DEFAULT}
    if "arguments" in given:
        given["args"] = _words(given.pop("arguments"))
    return given | {name: rules.resolve(given[name]) for name in ("select", "ignore", "extend_select") if name in given}


def _words(arguments: str | None) -> tuple[str, ...]:
    import shlex

    try:
        return tuple(shlex.split(arguments or ""))
    except ValueError as error:
        raise UsageError(f"--args {arguments!r} cannot be taken apart: {error}") from None


def _mend(report: Report, *, write: bool, output: str | None, diff: bool) -> Report:
    """Print the diffs, or write them; what was done goes to stderr, so that a diff or a report can be piped."""
    from dataclasses import replace

    from backprop_doctor import patching
    from backprop_doctor.reports import mending

    if diff and not write:
        _write_text("".join(file.fix.diff or "" for file in report.files if file.fix).rstrip("\n"), output)
    files = []
    for file in report.files:
        kept = patching.write(file) if write and file.fix and file.fix.edits else []
        click.echo(mending.render(file, _view(), kept), err=True)
        files.append(mending.remaining(file) if kept else file)
    return replace(report, files=tuple(files))


def _deliver(report: Report, form: str, output: str | None, **wishes: Any) -> None:
    from backprop_doctor import reports

    _write_text(reports.render(report, form, _view(**wishes) if output is None else reports.View(**wishes)), output)


def _write_text(text: str, output: str | None) -> None:
    if output is None:
        _echo(text)
        return
    try:
        with open(output, "w", encoding="utf-8") as stream:
            stream.write(text + "\n" if text else "")
    except OSError as error:
        raise UsageError(f"--output {output} cannot be written: {error.strerror}") from error


def _view(**wishes: Any) -> View:
    from backprop_doctor.reports import View

    return View.of(sys.stdout, **wishes)


def _echo(text: str) -> None:
    from backprop_doctor.reports.layout import plain

    if text:
        # Colour has been decided by the view; click must not decide again.
        click.echo(plain(text, sys.stdout.encoding or "ascii"), color=True)
