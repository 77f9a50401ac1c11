"""The command line: options in, reports and exit codes out; no logic."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from backprop_doctor.errors import DoctorError

__all__ = ["main"]

SKIPPED_FOLDERS = {"__pycache__", "site-packages", "node_modules", "venv", "build", "dist"}


class _Commands(click.Group):
    """Loads ``train`` only when it is called, and suggests the nearest command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return ["check", "trace", "train", "explain", "rules"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "train":
            from backprop_doctor.train_command import train

            return train
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        import difflib

        near = difflib.get_close_matches(args[0], self.list_commands(ctx), 1)
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            hint = f" Did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"there is no command {args[0]}.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="backprop-doctor")
def main() -> None:
    """Find the wrong lines in a hand-written neural network by running it.

    \b
    backprop-doctor check mynet.py      which lines are wrong, why, and the edit
    backprop-doctor trace mynet.py      every line with shapes and a verdict
    backprop-doctor train               the reference trainer on MNIST
    backprop-doctor explain BD301       what a finding means

    Exit codes: 0 checked, no error found; 1 errors found; 2 wrong use, or a fault of this tool;
    3 could not be checked.
    """


def _options(function: Any) -> Any:
    for option in reversed(
        [
            click.argument("paths", nargs=-1, required=True, metavar="PATH..."),
            click.option("--format", "format_name", type=click.Choice(["text", "concise", "json"]), default="text",
                         show_default=True, help="How to report."),
            click.option("--output", type=click.Path(dir_okay=False), help="Write the report to a file."),
            click.option("--select", multiple=True, metavar="CODES", help="Only these codes or prefixes."),
            click.option("--ignore", multiple=True, metavar="CODES", help="Leave out these codes or prefixes."),
            click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
                         help="Where unseeded randomness of the program starts."),
            click.option("--time-limit", type=click.FloatRange(min=1), default=60.0, show_default=True,
                         help="Seconds for one program."),
            click.option("--memory-limit", type=click.IntRange(min=256), default=4096, show_default=True,
                         help="MiB for one program."),
            click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True,
                         help="Programs checked at the same time."),
            click.option("--strict", is_flag=True, help="Exit 1 on warnings too."),
            click.option("--exit-zero", is_flag=True, help="Exit 0 also when errors are found."),
        ]
    ):
        function = option(function)
    return function


@main.command()
@_options
@click.option("--chart", is_flag=True, help="Also show every line with shapes and a verdict.")
def check(**options: Any) -> None:
    """Check programs: files, or folders of them.

    Each file is run, unchanged, in a process of its own: without input, network or display, and without
    writing outside a scratch folder.

    \b
    backprop-doctor check mynet.py
    backprop-doctor check mynet.py --chart
    backprop-doctor check homework/ --jobs 2 --format json --output report.json
    """
    _check(only_chart=False, **options)


@main.command()
@_options
def trace(**options: Any) -> None:
    """Show a program's own lines with shapes, axis names and verdicts.

    \b
    backprop-doctor trace mynet.py
    """
    _check(only_chart=True, chart=True, **options)


@main.command()
@click.argument("code")
def explain(code: str) -> None:
    """Explain a finding: what it is, why it is wrong, and what to write.

    \b
    backprop-doctor explain BD301
    backprop-doctor explain softmax-over-samples
    """
    from backprop_doctor import rules

    try:
        rule = rules.find(code)
    except DoctorError as error:
        raise click.UsageError(str(error)) from error
    click.secho(f"{rule.code} {rule.name}", bold=True)
    click.echo(f"{rule.summary}\n\nFamily: {rule.family}. Severity: {rule.severity}.\n")
    click.echo(rule.explanation)


@main.command()
def rules() -> None:
    """List everything that can be found."""
    from backprop_doctor import rules as catalogue

    family = ""
    for rule in catalogue.catalogue():
        if rule.family != family:
            family = rule.family
            click.secho(f"\n{family}" if rule.code[2] != "1" else family, bold=True)
        click.echo(f"  {rule.code}  {rule.name:<38} {rule.severity:<8} {rule.summary}")


def _check(
    *,
    paths: tuple[str, ...],
    format_name: str,
    output: str | None,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    seed: int,
    time_limit: float,
    memory_limit: int,
    jobs: int,
    strict: bool,
    exit_zero: bool,
    chart: bool,
    only_chart: bool,
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from backprop_doctor import reports
    from backprop_doctor.checking import Options, check_file
    from backprop_doctor.records import Report

    selected, ignored = _codes(select), _codes(ignore)
    options = Options(seed, selected, ignored, time_limit, memory_limit)
    files = [file for path in paths for file in _programs(path)]
    try:
        with ThreadPoolExecutor(jobs) as pool:
            report = Report(tuple(pool.map(lambda file: check_file(file, options), files)))
    except DoctorError as error:
        click.echo(f"backprop-doctor: {error}", err=True)
        sys.exit(error.exit_code)
    text = reports.render(report, format_name, chart=chart, only_chart=only_chart, seed=seed)
    if output:
        Path(output).write_text(click.unstyle(text) + "\n", encoding="utf-8")
    elif text:
        click.echo(text, color=False if "NO_COLOR" in __import__("os").environ else None)
    sys.exit(0 if exit_zero else _exit_code(report, strict=strict))


def _exit_code(report: Any, *, strict: bool) -> int:
    verdicts = {file.verdict for file in report.files}
    if not report.files or "unknown" in verdicts:
        return 3
    warned = strict and any(f.severity == "warning" for file in report.files for f in file.findings)
    return 1 if "faulty" in verdicts or warned else 0


def _codes(values: tuple[str, ...]) -> tuple[str, ...]:
    """Codes given one by one or with commas; each must be the beginning of a known one."""
    from backprop_doctor import rules as catalogue

    codes = tuple(code.strip().upper() for value in values for code in value.split(",") if code.strip())
    known = [rule.code for rule in catalogue.catalogue()]
    for code in codes:
        if not any(k.startswith(code) for k in known):
            import difflib

            near = difflib.get_close_matches(code, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"there is no rule {code}{hint}")
    return codes


def _programs(path: str) -> list[str]:
    """The file itself, or the Python files of a folder.

    A folder without any ends the command with exit code 3: nothing was checked.
    """
    given = Path(path)
    if given.is_file():
        return [path]
    if not given.is_dir():
        import difflib

        names = [p.name for p in given.parent.glob("*")] if given.parent.is_dir() else []
        near = difflib.get_close_matches(given.name, names, 1)
        hint = f" Did you mean {given.parent / near[0]}?" if near else ""
        raise click.UsageError(f"there is no file or folder {path}.{hint}")
    found = sorted(
        str(file)
        for file in given.rglob("*.py")
        if not any(part in SKIPPED_FOLDERS or part.startswith(".") for part in file.relative_to(given).parts)
    )
    if not found:
        click.echo(f"{path}: there is no Python file in this folder", err=True)
        sys.exit(3)
    return found
