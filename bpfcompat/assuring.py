"""A kernel that is what its entry says: what only a guest can tell is asked once, before any object is."""

from __future__ import annotations

import secrets
import time
from functools import partial
from typing import Any

from bpfcompat import asserts, kmods, plan
from bpfcompat.action import Action
from bpfcompat.digest import canonical
from bpfcompat.errors import ConditionError, GuestError
from bpfcompat.freezing import Keeper
from bpfcompat.model import AttachMode, Report
from bpfcompat.realise import Made, refuse_false
from bpfcompat.strictjson import parse_json

MAX_HELLO = 1 << 20


class Assurer(Keeper):
    """A keeper that asks a guest about itself, where its kernel's entry has conditions or asserts."""

    def column(self, kernel: str, make: bool = True) -> plan.Column:
        """What all probes of a kernel share; ConditionError when its guests are not as its entry says."""
        found = super().column(kernel, make)
        spec = self.shop.matrix.kernels[kernel]
        if asserts.needs_guest(spec.asserts, spec.conditions):
            hello = self.hello(kernel, make)
            self.planned(f"assured:{kernel}", partial(self._assure, kernel, hello))
        return found

    def _assure(self, kernel: str, hello: dict[str, Any]) -> bool:
        spec = self.shop.matrix.kernels[kernel]
        index = kmods.index_of(self, kernel) if spec.asserts.modules else None
        builtin = index.builtin if index else ()
        refuse_false(kernel, asserts.in_guest(spec.asserts, spec.conditions, hello, builtin))
        return True

    def hello_action(self, kernel: str, make: bool = True) -> Action:
        """The action of asking a guest about itself."""
        spec = self.shop.matrix.kernels[kernel]
        column = super().column(kernel, make)
        return plan.hello_action(kernel, column, asserts.asked_sysctls(spec.asserts, spec.conditions))

    def hello(self, kernel: str, make: bool = True) -> dict[str, Any]:
        """What a guest of this kernel says of itself, as its hello frame has it."""
        entry = self.have(self.hello_action(kernel, make), lambda work: self._make_hello(kernel), make)
        said = parse_json(self.shop.store.read(entry.outputs["hello"]), "hello", MAX_HELLO)
        return dict(said)

    def _make_hello(self, kernel: str) -> Made:
        """Ask about an empty object: the answer is of no interest, and what comes before it is."""
        spec = self.shop.matrix.kernels[kernel]
        told = [f"tell={name}\n" for name in asserts.asked_sysctls(spec.asserts, spec.conditions)]
        try:
            report = self.listen(kernel, b"", "".join(told).encode())
        except GuestError as error:
            said = f"kernel {kernel!r}: cannot be asked whether it is as its entry says: {error.message}"
            raise ConditionError(said, error.hint) from error
        return Made({"hello": canonical(dict(report.guest))})

    def listen(self, kernel: str, content: bytes, more: bytes = b"") -> Report:
        """Ask one guest whether a kernel loads an object, outside of any pair; `more` are further lines of the spec."""
        from bpfcompat import wire
        from bpfcompat.guest import run_clone, run_cold

        nonce = secrets.token_hex(16)
        asked = wire.spec(nonce, AttachMode.LOAD, time.time_ns(), secrets.token_hex(32)) + more
        job, limits = self.job(kernel, content, asked), self.limits()
        if self._cold(kernel):
            ended = run_cold(self.qemu(kernel), job, limits, wire.is_complete)
        else:
            ended = run_clone(self.qemu(kernel), job, self.template(kernel).frozen, limits, wire.is_complete)
        return wire.parse(ended.report, nonce)
