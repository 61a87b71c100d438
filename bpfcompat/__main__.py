"""`python -m bpfcompat` is `bpfcompat`."""

import sys

from bpfcompat.cli import main

sys.exit(main())
