"""BD506 evaluated-on-training-data: the accuracy shown is taken on the images the network was trained on."""

from __future__ import annotations

from collections.abc import Iterator

from backprop_doctor.case import Case, Sighting
from backprop_doctor.records import Evidence

SEVERITY = "warning"


def examine(case: Case) -> Iterator[Sighting]:
    """The metric reads the output of the training step itself, and no other set is ever scored."""
    accuracy = case.accuracy
    if accuracy is None or not accuracy.trained_on:
        return
    # Accuracy on the training batch while training goes on is common and useful when a test follows;
    # the claim is only that this run shows no other figure.
    yield Sighting(
        node=case.program.sites[accuracy.quantity.birth[0]].node,
        message=f"{accuracy.quantity.name} is taken on the images the network was trained on: it is not a test result",
        label="scored on the training images",
        why="a network can learn its training images by heart; only images it never saw tell what it learned",
        evidence=(
            Evidence("images scored that were also trained on", f"{accuracy.samples} of {accuracy.samples}", "0"),
        ),
        fix="score on images kept apart from training",
        objects=(),
    )
