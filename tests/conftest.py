"""How much is run: all of the quick tests, and of the many programs that are checked whole every few.

``--thorough`` runs every one of them.
"""

from __future__ import annotations

import os
import zlib

import pytest

# Small products gain nothing from threads, and threads of several test processes only wait for each other.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# Modules in which each test checks a whole program: of so many tests one is run, the same ones each time.
SAMPLED = {
    "test_forms.py": 3,
    "test_generated.py": 8,
    "test_gradcheck.py": 3,
    "test_check_layer.py": 2,
    "test_invariance.py": 10,
    "test_mending.py": 20,
    "test_networks.py": 2,
    "test_pytest_plugin.py": 1,
    "test_repair.py": 8,
    "test_reports.py": 1,
    "test_rule_pages.py": 4,
    "test_rules.py": 6,
    "test_rules_mathematics.py": 8,
    "test_twins.py": 8,
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="check every program of the fixtures, not a sample")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the sample does not hold, unless single tests are asked for."""
    asked = config.getoption("--thorough") or config.getoption("keyword") or any("::" in a for a in config.args)
    if asked:
        return
    kept, left = [], []
    for item in items:
        one_in = SAMPLED.get(item.path.name, 1) if hasattr(item, "callspec") else 1
        (left if zlib.crc32(item.nodeid.encode()) % one_in else kept).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept
