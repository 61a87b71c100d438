"""The validator: C sources of the guest's init, and how they are built (see `bpfcompat.validator.build`)."""

from pathlib import Path

HERE = Path(__file__).resolve().parent

# What enters the validator's action key; build.py itself does too, for its flags.
SOURCES: tuple[Path, ...] = (*sorted(HERE.glob("*.[ch]")), HERE / "build.py")
