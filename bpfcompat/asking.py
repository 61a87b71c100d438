"""Ask a kernel about an object, and make a verdict of what came back.

A guest that was lost is asked again, as often as [run] retries says; after that the pair is inconclusive, and nothing
is stored under its key.
"""

from __future__ import annotations

import secrets
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from bpfcompat import plan
from bpfcompat.action import Action
from bpfcompat.digest import canonical, digest_json
from bpfcompat.errors import GuestError
from bpfcompat.model import AttachMode, GuestRun, Report, Verdict
from bpfcompat.plan import Pair
from bpfcompat.realise import Made, Realiser, Workshop
from bpfcompat.store import Entry

if TYPE_CHECKING:  # what only a run needs that asks or classifies is imported where it is used: a null run is quick
    from bpfcompat.guest import Ended, Qemu

HERE = Path(__file__).resolve().parent
CLASSIFIER_SOURCES = ("verdict.py", "causes.py", "elf.py", "data/helpers.json")


class Asker(Realiser):
    """The steps that boot a guest, and the pure one after them."""

    def __init__(self, shop: Workshop) -> None:
        super().__init__(shop)
        self._qemu: Qemu | None = None
        self._qemu_lock = threading.Lock()
        self._classifier: str | None = None

    def probe(self, pair: Pair, make: bool = True) -> Entry:
        """The stored report of a pair: outputs `report` and `console`; GuestError when no guest could be asked."""
        return self.have(self.probe_action(pair, make), lambda work: self._make_probe(pair, work), make)

    def _make_probe(self, pair: Pair, work: Path) -> Made:
        from bpfcompat import wire
        from bpfcompat.guest import clean_console

        retries = self.shop.config["run.retries"]
        for attempt in range(1, retries + 2):
            try:
                report, ended, qemu = self._ask(pair, work)
            except GuestError as error:
                if attempt > retries:
                    times = f" ({attempt} attempts)" if attempt > 1 else ""
                    raise GuestError(
                        f"{pair}: {error.message}{times}", error.hint, error.phase, error.console
                    ) from error
                self.shop.voice.say(f"   probe:{pair}: {error.message}; asking again ({attempt} of {retries})")
            else:
                run = {"accelerator": qemu.accelerator, "qemu": qemu.version, "start": ended.start,
                       "seconds": round(ended.seconds, 3), "attempts": attempt}  # fmt: skip
                console = clean_console(ended.console.data).encode()
                return Made({"report": canonical(wire.report_to_json(report)), "console": console}, {"run": run})
        raise AssertionError("unreachable")

    def _ask(self, pair: Pair, work: Path) -> tuple[Report, Ended, Qemu]:
        from bpfcompat import wire
        from bpfcompat.guest import COMMAND_LINE, Job, Limits, run_cold

        shop, config = self.shop, self.shop.config
        spec = shop.matrix.objects[pair.object]
        nonce = secrets.token_hex(16)
        job = Job(
            vmlinuz=shop.store.checked(self.kernel(pair.kernel).vmlinuz),
            initramfs=shop.store.checked(self.initramfs(pair.kernel)),
            object=shop.store.checked(self.object(pair.object)),
            spec=wire.spec(nonce, spec.attach, config["guest.log_kb"] << 10),
            command_line=COMMAND_LINE,
            memory_mb=config["guest.memory_mb"],
        )
        limits = Limits(total_s=config["guest.deadline_s"], silence_s=config["guest.silence_s"],
                        first_byte_s=config["guest.silence_s"])  # fmt: skip
        qemu = self.qemu(pair.kernel)
        ended = run_cold(qemu, job, limits, wire.is_complete)
        return wire.parse(ended.report, nonce), ended, qemu

    def qemu(self, kernel: str) -> Qemu:
        """QEMU with an accelerator that has really brought a kernel up; chosen once per run."""
        from bpfcompat.guest import choose_accelerator, find_qemu

        with self._qemu_lock:
            if self._qemu is None:
                store, config = self.shop.store, self.shop.config
                found = find_qemu(config["guest.qemu"])
                image = store.checked(self.initramfs(kernel))
                vmlinuz = store.checked(self.kernel(kernel).vmlinuz)
                chosen, note = choose_accelerator(
                    found, vmlinuz, image, config["guest.accelerator"], store.root / "host"
                )
                self.shop.voice.say(f"   guests: QEMU {chosen.version}, {chosen.accelerator}{note and ': ' + note}")
                self._qemu = chosen
            return self._qemu

    # --- verdict

    def classifier(self) -> str:
        """Digest of everything that turns a report into a verdict."""
        if self._classifier is None:
            files = {n: self.shop.memo.digest(HERE / n) for n in CLASSIFIER_SOURCES}
            self._classifier = digest_json(files)
        return self._classifier

    def presentation(self) -> str:
        """Digest of what turns verdicts into the kept text of a matrix."""
        return digest_json({n: self.shop.memo.digest(HERE / n) for n in ("reports.py", "gate.py")})

    def verdict_action(self, pair: Pair, make: bool = True) -> Action:
        """The action of classifying a pair's report."""
        report = self.probe(pair, make).outputs["report"].digest
        attach = self.shop.matrix.objects[pair.object].attach
        return plan.verdict_action(pair, report, self.object(pair.object, make).digest, attach, self.classifier())

    def verdict_entry(self, pair: Pair, make: bool = True) -> Entry:
        """The stored verdict of a pair: output `verdict`; facts answer and cause."""
        action = self.verdict_action(pair, make)
        return self.have(action, lambda work: self._make_verdict(pair), make)

    def verdict(self, pair: Pair, make: bool = True) -> Verdict:
        """A pair's verdict."""
        from bpfcompat.verdict import verdict_from_bytes

        blob = self.verdict_entry(pair, make).outputs["verdict"]
        return verdict_from_bytes(self.shop.store.read(blob))

    def _make_verdict(self, pair: Pair) -> Made:
        from bpfcompat import elf, verdict

        report = self.report(pair)
        facts = elf.facts_or_fault(self.shop.store.read(self.object(pair.object)))
        found = verdict.classify(report, facts, AttachMode(self.shop.matrix.objects[pair.object].attach))
        body = canonical(verdict.verdict_to_json(found))
        return Made({"verdict": body}, {"answer": str(found.answer), "cause": found.cause})

    def report(self, pair: Pair) -> Report:
        """A pair's report, from the store."""
        from bpfcompat.wire import report_from_bytes

        return report_from_bytes(self.shop.store.read(self.probe(pair).outputs["report"]))

    def run_of(self, pair: Pair) -> GuestRun:
        """How the guest ran that gave a pair's report."""
        return GuestRun(**self.probe(pair).facts["run"])
