"""``python -m backprop_doctor``."""

from backprop_doctor.cli import main

main()
