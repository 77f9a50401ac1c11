"""BD304 activation-derivative-missing: a delta skips the derivative of its layer's activation."""

from __future__ import annotations

from collections.abc import Iterator

from backprop_doctor.case import Case, Sighting
from backprop_doctor.records import Evidence
from backprop_doctor.rules._activation import activations_after, derivative_text

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """The value used as adjoint of z is in truth the adjoint of a = act(z)."""
    for wrong in case.wrong_adjoints:
        for activation in activations_after(case, wrong):
            z, a, b = wrong.of, activation.output, wrong.value
            if not activation.adjoint_of_output(b).right:
                continue
            formula = derivative_text(activation)
            node = case.home(b)
            end = case.source.position(node)
            insertion = case.insertion(end.end_line, end.end_column, f" * {formula}")
            yield Sighting(
                node=node,
                message=f"{b.name} is used as the gradient of {z.name}, and is the gradient of {a.name}: the "
                f"derivative of the activation is missing",
                label=f"no derivative of {activation.name}",
                why=f"{a.name} = {activation.name}({z.name}), so d{z.name} = d{a.name} * "
                f"{activation.name}'({z.name}), element by element",
                evidence=(
                    Evidence(f"{b.name} as gradient of {z.name}", f"error {wrong.fit.residual:.2g}", "below 1e-5"),
                    Evidence(
                        f"{b.name} as gradient of {a.name}",
                        f"error {activation.adjoint_of_output(b).residual:.1e}",
                        "below 1e-5",
                    ),
                ),
                fix=f"* {formula}" if formula else f"multiply by the derivative of {activation.name}",
                edits=(insertion,) if formula else (),
                objects=(b.object,),
            )
            break
