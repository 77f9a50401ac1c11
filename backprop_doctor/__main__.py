"""``python -m backprop_doctor``, and the console script."""

from __future__ import annotations

import sys

__all__ = ["main"]

RUNNING = ("check", "trace")
NOT_RUNNING = frozenset({"--static", "--help", "-h"})


def main() -> None:
    """Run the command line; where it will run a program, the process for that gets ready in the meantime."""
    if sys.argv[1:] and sys.argv[1] in RUNNING and not NOT_RUNNING & set(sys.argv):
        from backprop_doctor import worker

        worker.start_early()
    from backprop_doctor import cli

    cli.main()


if __name__ == "__main__":
    main()
