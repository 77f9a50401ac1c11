"""``python -m backprop_doctor``."""

from backprop_doctor.cli import main

if __name__ == "__main__":
    main()
