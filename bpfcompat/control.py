"""Proof that a verdict does not depend on how its guest was started: a pair asked both ways, reports compared."""

from __future__ import annotations

from bpfcompat import plan
from bpfcompat.action import Action
from bpfcompat.asking import Asker, after
from bpfcompat.digest import canonical
from bpfcompat.errors import ControlError, GuestError
from bpfcompat.freezing import TEMPLATE_FORMAT
from bpfcompat.model import Report
from bpfcompat.plan import Pair
from bpfcompat.realise import Made
from bpfcompat.store import Entry

HINT = "set [guest] cold = true, and report both"


class Controller(Asker):
    """An asker that doubts itself."""

    def control_action(self, pair: Pair, make: bool = True) -> Action:
        """The action of asking a pair both ways."""
        return plan.control_action(pair, self.probe_action(pair, make).key(), TEMPLATE_FORMAT)

    def is_sampled(self, pair: Pair) -> bool:
        """True for the pairs of which [run] control_percent says that they are asked both ways."""
        return plan.sampled(self.probe_action(pair).key(), self.shop.config["run.control_percent"])

    def control(self, pair: Pair, make: bool = True) -> Entry | None:
        """Proof that a thawed guest and a booted one say the same of a pair, byte for byte; ControlError if not.

        None where guests are only booted, where the answer was found by asking both ways already, and for a loan.
        """
        if self.shop.config["guest.cold"] or (make and self._asked_both_ways(pair)):
            return None
        return self.have(self.control_action(pair, make), lambda work: self._make_control(pair), make)

    def _asked_both_ways(self, pair: Pair) -> bool:
        return bool(self.run_of(pair).lender) or self.report(pair).ending is not None or self._cold(pair.kernel)

    def _make_control(self, pair: Pair) -> Made:
        """Nothing in a report depends on time but what a behaviour test, or a foreign loader, said or saw."""
        from bpfcompat import wire

        store, first = self.shop.store, self.probe(pair)
        cold = self.run_of(pair).start != "cold"
        other = self._second_opinion(pair, cold)
        body = canonical(wire.report_to_json(other))
        blob = store.put_bytes(body)
        if blob != first.outputs["report"] and not self.as_good(pair, self.report(pair), other):
            start = "booted" if cold else "thawed"
            words = f"a {start} guest says other things than the one before it"
            key = self.probe_action(pair).key()
            store.quarantine(key, str(pair), words, [first.outputs["report"], blob])
            self.forget_answer(pair)
            kept = store.quarantine_path(key)
            raise ControlError(f"{pair}: control: {words}; both reports: {kept}", HINT, "report")
        return Made({"report": body}, {"other": "cold" if cold else "clone"})

    def as_good(self, pair: Pair, one: Report, other: Report) -> bool:
        """True for reports that differ in nothing but what a behaviour test saw, and come to the same answers."""
        from bpfcompat import wire
        from bpfcompat.behaviour import steady

        if one.command is not None:  # the loader's words may hold process ids and addresses
            return wire.comparable(one) == wire.comparable(other)
        if not one.tests or steady(one) != steady(other):
            return False
        verdicts = [self.classify(pair, report) for report in (one, other)]
        answers = [(v.answer, v.cause, [t.outcome for t in v.tests]) for v in verdicts]
        return answers[0] == answers[1]

    def _second_opinion(self, pair: Pair, cold: bool) -> Report:
        """A report of the same pair by the other way; GuestError when it cannot be had."""
        for _ in range(self.shop.config["run.retries"] + 1):
            attempt = self.attempt(pair, cold)
            if attempt.report is not None and attempt.clean:
                return attempt.report
        raise after(
            attempt.error or GuestError("guest: the kernel complained"), pair, self.shop.config["run.retries"] + 1
        )

    def forget_answer(self, pair: Pair) -> None:
        """Drop a pair's report, and leave its quarantine as it is."""
        action = self.probe_action(pair)
        self._done.pop(action.key(), None)
        self.shop.store.drop(action.kind, action.key())
