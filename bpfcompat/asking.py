"""Ask a kernel about an object, and make a verdict of what came back.

A guest that was lost is asked again, as trying.py says; after that the pair is inconclusive, and nothing is stored
under its key.  A pair that is answered in two ways is quarantined: it has no answer until someone forgets it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfcompat import borrowing, building, kmods, plan
from bpfcompat.action import Action
from bpfcompat.assuring import Assurer
from bpfcompat.digest import canonical, digest_json
from bpfcompat.errors import GuestError, StoreError
from bpfcompat.model import AttachMode, Cost, Ending, Fate, GuestRun, Report, Verdict
from bpfcompat.plan import Pair
from bpfcompat.realise import Made, Workshop
from bpfcompat.seats import ONE, Seats, Worth
from bpfcompat.store import Entry

if TYPE_CHECKING:  # what only a run needs that asks or classifies is imported where it is used: a null run is quick
    from bpfcompat.behaviour import BehaviourTest
    from bpfcompat.guest import Ended
    from bpfcompat.trying import Attempt, Flaky

HERE = Path(__file__).resolve().parent
CLASSIFIER_SOURCES = ("verdict.py", "causes.py", "refusals.py", "commanded.py", "fates.py", "elf.py", "declared.py",
                      "as_declared.py", "twins.py", "judging.py", "costs.py", "since.py", "builds.py", "tame.py",
                      "data/helpers.json", "data/since.json")  # fmt: skip

UNTHAWED = ("qemu-refused", "no-first-byte", "early-exit")


def _meanwhile(_size: int) -> None:
    """While the guest works, load what will classify its answer."""
    import bpfcompat.elf
    import bpfcompat.reports
    import bpfcompat.verdict  # noqa: F401


def _is_complete(report: bytes | bytearray) -> bool:
    from bpfcompat.wire import is_complete

    return is_complete(report)


def flaky(pair: Pair, words: str, kept: Path) -> GuestError:
    """The pair has no answer, because it has two."""
    hint = f"doit forget probe:{pair} asks anew"
    return GuestError(f"{pair}: flaky: {words}; both reports: {kept}", hint, "report", death="flaky")


def after(error: GuestError, pair: Pair, attempts: int) -> GuestError:
    """The same error, with the pair's name and how often it was asked."""
    times = f" ({attempts} attempts)" if attempts > 1 else ""
    error.message = f"{pair}: {error.message}{times}"
    return error


class Asker(Assurer):
    """The steps that ask a guest, and the pure one after them."""

    def __init__(self, shop: Workshop) -> None:
        super().__init__(shop)
        self._classifier: str | None = None
        self._loans: dict[str, Entry] = {}  # probe key → what stands in its place, as far as it was looked up

    def probe(self, pair: Pair, make: bool = True) -> Entry:
        """The stored report of a pair: outputs `report` and `console`, perhaps `logs` and `costs` (see beside.py).

        A borrowed one has its report alone.  GuestError when no guest could be asked.
        """
        action = self.probe_action(pair, make)
        if self.trust:
            loan = self._loans.get(action.key()) or (None if self.known(action) else borrowing.lent(self, action))
            if loan is not None:
                self._loans[action.key()] = loan
                return loan
        return self.have(action, lambda work: self._make_probe(pair, work), make)

    @property
    def trust(self) -> str:
        """Digest of whom verdicts are borrowed from; "" where none are."""
        return self.planned("trust", lambda: borrowing.trust_of(self))

    def trust_anew(self) -> bool:
        """Look again at whom verdicts are borrowed from; True where there are loans, which may not count any more."""
        before = self._planned.pop("trust", None)
        if before == self.trust:
            return False
        self._loans.clear()
        return any(self.shop.store.keys(borrowing.KIND))

    def forget(self, action: Action) -> bool:
        """Drop an action's entry, and what was borrowed in its place."""
        lent = action.kind == "probe" and self._drop_loan(action)
        return super().forget(action) or lent

    def _drop_loan(self, probe: Action) -> bool:
        self._loans.pop(probe.key(), None)
        return super().forget(borrowing.loan_action(probe))

    def _make_probe(self, pair: Pair, work: Path) -> Made:
        self._refuse_flaky(pair)
        self.declared(pair.object)  # what does not fit the object is said before any guest starts
        self.fit_tests(pair.object)
        self._refuse_certain(pair)
        report, attempts = self.ask_anew(pair)
        from bpfcompat import wire
        from bpfcompat.beside import beside
        from bpfcompat.console import clean_console

        last = attempts[-1]
        self._compare_with_before(pair, report)
        console = clean_console(last.ended.console.data) if last.ended else last.error.console if last.error else ""
        body = canonical(wire.report_to_json(report))
        outputs = {"report": body, "console": console.encode(), **beside(report)}
        self._drop_loan(self.probe_action(pair))  # what was asked here stands from now on
        return Made(outputs, {"run": self._run_facts(attempts)})

    def ask_anew(self, pair: Pair) -> tuple[Report, list[Attempt]]:
        """Ask guests until an answer stands, whatever is stored, and how that went; GuestError without one."""
        from bpfcompat.trying import Again, Lost, Policy, Settled, following

        policy = Policy(self.shop.config["run.retries"], self.shop.config["run.confirm"])
        attempts: list[Attempt] = []
        while not isinstance(step := following(attempts, policy, self._cold(pair.kernel)), Settled):
            if isinstance(step, Lost):
                raise after(step.error, pair, len(attempts))
            if not isinstance(step, Again):
                raise self._quarantine(pair, step)
            if step.why:
                self.shop.voice.say(f"   probe:{pair}: {step.why}")
            attempts.append(self.attempt(pair, step.cold))
        return step.report, attempts

    def _refuse_certain(self, pair: Pair) -> None:
        if self.shop.config["matrix.predict"] != "ask":
            from bpfcompat.foreseeing import refuse_certain

            refuse_certain(self, pair)

    def _run_facts(self, attempts: Sequence[Attempt]) -> dict[str, Any]:
        """How the guests ran: evidence, part of no key."""
        last, qemu = attempts[-1], self._qemu
        return {
            "accelerator": qemu.accelerator if qemu else "",
            "qemu": qemu.version if qemu else "",
            "start": "cold" if last.cold else "clone",
            "seconds": round(last.seconds, 3),
            "guests": last.guests,
            "attempts": len(attempts),
            "deaths": [str(a.error.death) for a in attempts if a.error is not None],
            "console_cut": bool(last.ended and last.ended.console.cut),
        }

    def attempt(self, pair: Pair, cold: bool) -> Attempt:
        """Ask a guest; several that are thawed, if there is room for them and the object is worth it."""
        with self.seats.taken(ONE if cold else self._worth(pair.object)) as count:
            return (self._shared(pair, count) if count > 1 else None) or self._alone(pair, cold)

    @property
    def seats(self) -> Seats:
        """The places for this run's guests."""
        config = self.shop.config
        return self.planned("seats", lambda: Seats(config.workers, config.patient_workers))

    def _worth(self, name: str) -> Worth:
        spec = self.shop.matrix.objects[name]
        if spec.command:
            return ONE
        from bpfcompat import shards

        return self.planned(
            f"worth:{name}", lambda: shards.worth(self.shop.store.read(self.object(name)), spec.attach.attaches)
        )

    def _shared(self, pair: Pair, count: int) -> Attempt | None:
        """Ask so many guests for a part each; None where their parts make no whole, and that is said."""
        from concurrent.futures import ThreadPoolExecutor

        from bpfcompat.trying import Attempt

        nonces = [secrets.token_hex(16) for _ in range(count)]
        try:
            with ThreadPoolExecutor(count) as pool:
                every = list(pool.map(lambda n: self._ask(pair, nonces[n], False, (n, count)), range(count)))
            splat = next((ended.splats[0] for ended in every if ended.splats), "")
            if splat:
                raise GuestError(f"guest: the kernel complained: {splat}")
            report = self._told(pair, every, nonces)
        except GuestError as error:
            self.shop.voice.say(f"   probe:{pair}: of {count} guests that shared it: {error.message}; asking one")
            return None
        return Attempt(False, report, every[0], seconds=max(e.seconds for e in every), guests=count)

    def _alone(self, pair: Pair, cold: bool) -> Attempt:
        from bpfcompat.trying import Attempt

        nonce, began = secrets.token_hex(16), time.monotonic()
        try:
            ended = self._ask(pair, nonce, cold)
            report = self._told(pair, [ended], [nonce])
        except GuestError as error:
            return self._lost(pair, error, nonce, cold, time.monotonic() - began)
        fate = Ending(Fate.SPLAT, "object", "", ended.splats, 1) if ended.splats else None
        return Attempt(cold, report, ended, fate=fate, seconds=ended.seconds)

    def _told(self, pair: Pair, every: Sequence[Ended], nonces: Sequence[str]) -> Report:
        """The report of a guest that came to its end, or of several; GuestError where it is none."""
        from bpfcompat import wire
        from bpfcompat.guest import broken

        declared, log_max = bool(self.shop.matrix.objects[pair.object].declared), self._log_max
        try:
            said = [(ended.report, nonce) for ended, nonce in zip(every, nonces, strict=True)]
            report = wire.parse_shards(said, declared, log_max)
        except GuestError as error:
            raise broken(every[0], error) from None
        unmet = report.guest.get("unmet")
        if unmet:  # it would be an answer to another question
            raise GuestError(f"guest: not under its conditions: {unmet[0]}", phase="report", death="condition")
        return report

    def _lost(self, pair: Pair, error: GuestError, nonce: str, cold: bool, seconds: float) -> Attempt:
        """The same of a guest that was lost, with what it had said by then."""
        from bpfcompat import wire
        from bpfcompat.trying import Attempt, fate_of

        heard = wire.parse_partial(error.heard, nonce, [t.name for t in self._tests(pair)], self._log_max)
        if heard and self.command(pair.object):  # it was not libbpf that was asked
            heard = replace(heard, phase="command", program="")
        said, fate = heard.report if heard else None, fate_of(error, heard)
        return Attempt(cold, said, error=error, fate=fate, seconds=seconds)

    @property
    def _log_max(self) -> int:
        return int(self.shop.config["guest.log_kb"]) << 10

    def declared(self, name: str) -> tuple[str, ...]:
        """What the guest is told of an object's declarations; ConfigError where they do not fit the object."""
        spec = self.shop.matrix.objects[name]
        if not spec.declared:
            return ()
        from bpfcompat.fitting import lines

        return self.planned(
            f"declared:{name}",
            lambda: lines(spec.declared, self.shop.store.read(self.object(name)), f"[objects.{name}]"),
        )

    def _ask(self, pair: Pair, nonce: str, cold: bool, shard: tuple[int, int] = (0, 1)) -> Ended:
        from bpfcompat.guest import run_clone, run_cold

        shop, limits = self.shop, self.limits()
        tests, own = self._tests(pair), shop.matrix.objects[pair.object].command
        patient = limits.longer(sum(test.timeout_s for test in tests) + (own.timeout_s if own else 0))
        content, modules = shop.store.checked(self.object(pair.object)), kmods.declared(self, pair)
        told = partial(self._question, pair, nonce, limits.stretched, shard)
        job = self.job(pair.kernel, content, told, self.files(pair.object), modules)
        qemu = self.qemu(pair.kernel)
        if cold:
            ended = run_cold(qemu, job, patient, _is_complete, _meanwhile)
            self._learn_pace(ended.first_s)
            return ended
        template = self.template(pair.kernel)
        try:
            return run_clone(qemu, job, template.frozen, patient, _is_complete, _meanwhile)
        except GuestError as error:
            if error.death in UNTHAWED and not error.heard:  # the template may be no good on this host
                self.drop_template(pair.kernel, error.message)
            raise
        finally:
            if template.touched():
                self.drop_template(pair.kernel, "a guest wrote into its RAM's file")

    def _question(self, pair: Pair, nonce: str, stretched: float, shard: tuple[int, int]) -> bytes:
        """What the guest is told; made while QEMU starts, as what it needs takes a moment to load."""
        from bpfcompat import loaders, wire
        from bpfcompat.behave import spec_lines

        spec = self.shop.matrix.objects[pair.object]
        lines = spec_lines(self._tests(pair), stretched)
        command = loaders.settings(spec.command, stretched) if spec.command else ()
        now, seed, declared = time.time_ns(), secrets.token_hex(32), self.declared(pair.object)
        return wire.spec(nonce, spec.attach, now, seed, declared, lines, command, shard)

    def _tests(self, pair: Pair) -> tuple[BehaviourTest, ...]:
        return self.shop.matrix.objects[pair.object].tests

    # --- verdict

    def classifier(self) -> str:
        """Digest of everything that turns a report into a verdict."""
        if self._classifier is None:
            files = {n: self.shop.memo.digest(HERE / n) for n in CLASSIFIER_SOURCES}
            # a proved pair is believed without its verdict's key, so who reads inventories must be in here too
            self._classifier = digest_json({**files, "inventory": plan.INVENTORY, "extractor": plan.EXTRACTOR})
        return self._classifier

    def presentation(self) -> str:
        """Digest of what turns verdicts into the kept text of a matrix."""
        return digest_json({n: self.shop.memo.digest(HERE / n) for n in ("reports.py", "gate.py", "as_declared.py")})

    def verdict_action(self, pair: Pair, make: bool = True) -> Action:
        """The action of classifying a pair's report."""
        return self.judging_action(pair, self.probe(pair, make).outputs["report"].digest, make)

    def judging_action(self, pair: Pair, report: str, make: bool = True) -> Action:
        """The action of classifying a report of a pair, whoever brought it."""
        attach, digest = self.shop.matrix.objects[pair.object].attach, self.object(pair.object, make).digest
        expected, modules = self.expected(pair.object), kmods.digest_of(self, pair.kernel, make)
        command, inventory = self.command(pair.object, make), building.key_of(self, pair.kernel, make)
        return plan.verdict_action(
            pair, report, digest, attach, self.classifier(), expected, modules, command, inventory
        )

    def verdict_entry(self, pair: Pair, make: bool = True) -> Entry:
        """The stored verdict of a pair: output `verdict`; facts answer and cause."""
        action = self.verdict_action(pair, make)
        return self.have(action, lambda work: self._make_verdict(pair), make)

    def verdict(self, pair: Pair, make: bool = True) -> Verdict:
        """A pair's verdict."""
        blob = self.verdict_entry(pair, make).outputs["verdict"]
        from bpfcompat.verdict import verdict_from_bytes  # now, as it is loaded while the guest works

        return verdict_from_bytes(self.shop.store.read(blob))

    def _make_verdict(self, pair: Pair) -> Made:
        from bpfcompat import verdict

        found = self.classify(pair, self.report(pair))
        body = canonical(verdict.verdict_to_json(found))
        return Made({"verdict": body}, {"answer": str(found.answer), "cause": found.cause})

    def classify(self, pair: Pair, report: Report) -> Verdict:
        """What a report of a pair means."""
        from bpfcompat import verdict

        facts = self.facts(pair.object)
        attach = AttachMode(self.shop.matrix.objects[pair.object].attach)
        tests, homes = self._tests(pair), kmods.homes(self, pair.kernel)
        build = building.if_readable(self, pair.kernel)
        return verdict.classify(report, facts, attach, tests, homes, self.command(pair.object), build)

    def report(self, pair: Pair) -> Report:
        """A pair's report, from the store."""
        from bpfcompat.wire import report_from_bytes

        return report_from_bytes(self.shop.store.read(self.probe(pair).outputs["report"]))

    def run_of(self, pair: Pair) -> GuestRun:
        """How the guest ran that gave a pair's report."""
        run = self.probe(pair).facts["run"]
        return GuestRun(**{**run, "deaths": tuple(run.get("deaths", ()))})

    def costs(self, pair: Pair) -> tuple[Cost, ...]:
        """What a pair's programs cost on the host that asked, in their order; () where nobody knows."""
        from bpfcompat.beside import costs_from_bytes

        blob = self.probe(pair).outputs.get("costs")
        return costs_from_bytes(self.shop.store.read(blob)) if blob else ()

    # --- answers that are not the same twice

    def _refuse_flaky(self, pair: Pair) -> None:
        key = self.probe_action(pair).key()
        if self.shop.store.quarantined(key):
            raise flaky(pair, "guests differed before", self.shop.store.quarantine_path(key))

    def _quarantine(self, pair: Pair, found: Flaky) -> GuestError:
        from bpfcompat.wire import report_to_json

        store, key = self.shop.store, self.probe_action(pair).key()
        blobs = [store.put_bytes(canonical(report_to_json(r))) for r in found.reports]
        store.quarantine(key, str(pair), found.words, blobs)
        return flaky(pair, found.words, store.quarantine_path(key))

    def _compare_with_before(self, pair: Pair, report: Report) -> None:
        """The same question, forgotten and asked again, must have the same answer."""
        from bpfcompat.trying import Flaky
        from bpfcompat.wire import report_from_bytes

        blob = self.shop.store.last_output(self.probe_action(pair), "report")
        if blob is None:
            return
        try:
            before = report_from_bytes(self.shop.store.read(blob))
        except StoreError:
            return
        if before == report:  # then so are the verdicts
            return
        answers = [self.classify(pair, r) for r in (before, report)]
        if len({(v.answer, v.cause) for v in answers}) > 1:
            words = " now and ".join(f"{v.answer}{v.cause and ': ' + v.cause}" for v in reversed(answers)) + " before"
            raise self._quarantine(pair, Flaky((before, report), f"the same question is answered {words}"))
