"""How many guests one run asks at once."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Worth:
    """How many guests an object is worth; `waits` where they will wait most of the time, and want no processor."""

    guests: int = 1
    waits: bool = False


ONE = Worth()


class Seats:
    """Places for guests; every question has one, and takes more only while they are free.  Thread-safe."""

    def __init__(self, most: int, patient: int) -> None:
        self._most = most
        self._patient = patient
        self._taken = 0
        self._guard = threading.Lock()

    @contextlib.contextmanager
    def taken(self, worth: Worth) -> Iterator[int]:
        """How many guests to ask now, at least one; the places are free again when the block ends."""
        with self._guard:
            count = max(1, min(worth.guests, (self._patient if worth.waits else self._most) - self._taken))
            self._taken += count
        try:
            yield count
        finally:
            with self._guard:
                self._taken -= count

    def limit(self, most: int) -> None:
        """Never more than the user said."""
        self._most = self._patient = most
