"""Where answers change along a line of builds: how few are asked, and when nothing may be concluded."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat.bisecting import Boundary, Floor, Line, Side, Surprise, Unanswered, boundary, floor
from bpfcompat.digest import digest_bytes
from bpfcompat.errors import BpfcompatError, ConfigError, Exit, GuestError, ObjectError
from bpfcompat.kernels.listing import Listed, arranged
from bpfcompat.kernels.lock import Lock, LockedPackage
from bpfcompat.model import Answer, AttachMode, LockedFile, ObjectSpec, Verdict
from bpfcompat.plan import Pair
from bpfcompat.realise import NotThere
from bpfcompat.rules import bisecting

YES, NO, SILENT = Side.YES, Side.NO, Side.SILENT


def line(sides: str, known: Mapping[int, Side] | None = None) -> Line:
    """A line from its answers: + yes, - no, ? nothing."""
    told = [{"+": YES, "-": NO, "?": SILENT}[c] for c in sides]
    return Line(len(told), told.__getitem__, dict(known or {}))


@given(st.integers(2, 200), st.data())
def test_boundary_is_found_in_few(count: int, data: st.DataObject) -> None:
    """Wherever the boundary is, it is found with log2 of the distance, and one more where it is at an end."""
    turn = data.draw(st.integers(1, count - 1))
    made = line("+" * turn + "-" * (count - turn))
    assert boundary(made, 0, count - 1, YES) == Boundary(turn - 1, turn)
    at_an_end = turn in (1, count - 1)
    assert len(made.asked) <= math.ceil(math.log2(count - 1)) + at_an_end + (count == 2)


@pytest.mark.parametrize("turn", range(1, 60))
@pytest.mark.parametrize("newer_works", [False, True])
def test_sixty_builds(turn: int, newer_works: bool) -> None:
    """Of 60 builds at most 7 are asked, for a regression and for what only newer ones have."""
    sides = "+" * turn + "-" * (60 - turn)
    made = line(sides.translate({43: 45, 45: 43}) if newer_works else sides)
    assert boundary(made, 0, 59, NO if newer_works else YES) == Boundary(turn - 1, turn)
    assert len(made.asked) <= 7


def test_known_are_not_asked() -> None:
    """What the store knows narrows the search before anything is asked, and may answer it whole."""
    made = line("++++----", {3: YES, 4: NO})
    assert (boundary(made, 0, 7, YES), made.asked) == (Boundary(3, 4), [])
    made = line("++++----", {1: YES, 6: NO})
    assert boundary(made, 0, 7, YES) == Boundary(3, 4)
    assert len(made.asked) == 2 and {1, 6, 0, 7}.isdisjoint(made.asked)


def test_silent_builds_are_stepped_over() -> None:
    """A build that cannot be asked is no answer: the two around it are found, and it is named as between them."""
    assert boundary(line("++??--"), 0, 5, YES) == Boundary(1, 4, (2, 3))
    assert boundary(line("?+?-?"), 1, 3, YES) == Boundary(1, 3, (2,))


def test_surprises() -> None:
    """A claim that does not hold, and answers that turn twice, end the search without a boundary."""
    for sides in ("++++", "----"):
        with pytest.raises(Surprise, match="there is no boundary"):
            boundary(line(sides), 0, 3, YES)
    with pytest.raises(Surprise, match=r"more than one boundary: \{2\} says no, and \{4\} after it yes again"):
        boundary(line("++-++-", {0: YES, 2: NO, 4: YES}), 0, 5, YES)
    with pytest.raises(Unanswered, match="cannot be asked"):
        boundary(line("+++?"), 0, 3, YES)


def test_swapped_ends() -> None:
    """Ends that are known to say the contrary of their claims are named so, and none is asked."""
    made = line("--++", {0: NO, 2: YES, 3: YES})
    with pytest.raises(
        Surprise, match=r"both ends .*: \{0\} says no, and yes was claimed, \{3\} says yes, and no"
    ) as caught:
        boundary(made, 0, 3, YES)
    assert not made.asked and caught.value.hint == "swap the good and the bad one"
    with pytest.raises(Surprise, match=r"^\{0\} says no, and yes was claimed: there is no boundary") as caught:
        boundary(line("-++-", {0: NO, 1: YES}), 0, 3, YES)
    assert "swap" in str(caught.value.hint)


ANY_SIDES = st.text("+-?", min_size=1, max_size=24)


@given(ANY_SIDES, st.data())
def test_never_more_than_was_said(sides: str, data: st.DataObject) -> None:
    """Whatever the builds say, a boundary is named only between two that answered so, with silence between them."""
    known = {i: s for i, s in enumerate(line(sides).ask(i) for i in range(len(sides))) if data.draw(st.booleans())}
    made = line(sides, known)
    try:
        found = boundary(made, 0, len(sides) - 1, YES)
    except BpfcompatError as error:
        assert error.exit_code in (Exit.UNEXPECTED, Exit.INCONCLUSIVE)
        return
    assert (sides[found.before], sides[found.after]) == ("+", "-")
    assert set(sides[found.before + 1 : found.after]) <= {"?"}
    assert len(made.asked) == len(set(made.asked)) and not set(made.asked) & set(known)


@pytest.mark.parametrize(
    ("sides", "known", "found", "most"),
    [
        ("++++", {}, Floor(0), 1),
        ("----", {}, Floor(None), 2),
        ("--++", {}, Floor(2, 1), 4),
        ("?-?+", {}, Floor(3, 1, (2,)), 4),
        ("??", {}, Floor(None), 2),
        ("?++", {}, Floor(1, None, (0,)), 2),
        ("+++-", {3: NO}, Floor(0, None, (), (3,)), 1),
        ("-++-", {2: YES}, Floor(1, 0, (), (3,)), 3),
        ("-----++++", {2: NO, 7: YES}, Floor(5, 4), 2),
        ("---+++", {2: NO, 3: YES}, Floor(3, 2), 0),
        ("-", {}, Floor(None), 1),
    ],
)
def test_floor(sides: str, known: Mapping[int, Side], found: Floor, most: int) -> None:
    """The oldest that says yes, what lies below it, what could not be asked, and newer ones known to say no."""
    made = line(sides, known)
    assert floor(made) == found
    assert len(made.asked) <= most


# --- with builds


def listed(number: int, suite: str = "test-backports") -> LockedPackage:
    """A build of the fake archive."""
    version = f"6.{number}.1-1~bpo13+1"
    file = LockedFile(f"pool/{number}.deb", 1, digest_bytes(b"%d" % number))
    return LockedPackage(f"linux-image-6.{number}.1+deb13-cloud-amd64", version, suite, (file,))


class Fake:
    """An asker whose kernels answer as `turn` says: from there on the object does not load; `stored` cost no boot."""

    def __init__(
        self, builds: list[Listed], turn: int, stored: set[int], trouble: BpfcompatError | None = None
    ) -> None:
        self.places = {b.release: n for n, b in enumerate(builds)}
        self.turn, self.stored, self.trouble = turn, stored, trouble
        self.ran: dict[str, Any] = {}
        self.shop = SimpleNamespace(lock=Lock(kernels={"mine": builds[0].locked}))

    def verdict(self, pair: Pair, make: bool = True) -> Verdict:
        """Compatible before `turn`."""
        place = self.places[pair.kernel]
        if place not in self.stored and f"probe:{pair}" not in self.ran:
            if not make:
                raise NotThere(f"probe:{pair}")
            if self.trouble is not None:
                raise self.trouble
            self.ran[f"probe:{pair}"] = ()
        works = place < self.turn
        return Verdict(
            Answer.COMPATIBLE if works else Answer.INCOMPATIBLE, "" if works else "helper-missing", "it is so"
        )

    def report(self, pair: Pair) -> Any:
        """It loads up to three builds later than it attaches."""
        return SimpleNamespace(load_errno=0 if self.places[pair.kernel] < self.turn + 3 else 22)

    def build(self, name: str) -> Any:
        """No inventory."""
        raise ConfigError("none here")


class Quiet:
    """A voice that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        """Keep it."""
        self.said.append(text)

    def progress(self, label: str, done: int, total: int | None) -> None:
        """Nothing is downloaded."""


def ground(turn: int, stored: set[int], count: int = 60, trouble: BpfcompatError | None = None) -> bisecting.Ground:
    """`count` builds and the object x."""
    builds = arranged(listed(n) for n in range(count))
    asker: Any = Fake(builds, turn, stored, trouble)
    spec = ObjectSpec("x", attach=AttachMode.ATTACH)
    return bisecting.Ground(spec, builds, [b.release for b in builds], asker, Quiet())


@pytest.mark.parametrize("turn", [1, 2, 17, 30, 58, 59])
def test_bisect_boots_few(turn: int) -> None:
    """Over 60 builds at most 7 guests are booted, and the two adjacent builds are named with what each said."""
    at = ground(turn, set())
    found = bisecting.bisect(at, "mine", at.builds[59].locked.version)
    assert (found.good, found.bad, found.count) == (turn - 1, turn, 60)
    assert len(at.booted) <= 7
    text = bisecting.bisected_text(found)
    assert f"60 builds, {len(at.booted)} booted; adjacent builds" in text
    assert f"works:         {at.label(turn - 1)}: compatible" in text
    assert bisecting.bisected_json(found)["bad"]["said"] == "incompatible:helper-missing"


def test_bisect_reuses() -> None:
    """A pair that the store knows is not booted again; a second bisection boots nothing."""
    at = ground(20, {19, 20})
    assert bisecting.bisect(at, "mine", "6.59.1*").good == 19
    assert at.booted == []


def test_bisect_by_question() -> None:
    """Loading has another boundary than attaching."""
    at = ground(20, set())
    assert bisecting.bisect(at, "mine", "6.59.1*", "loads").good == 22


def test_bisect_lost_and_broken() -> None:
    """Guests that are lost are stepped over, and at the ends said; what is the user's fault ends it at once."""
    with pytest.raises(Unanswered, match=r"6\.0\.1\+deb13-cloud-amd64 .* cannot be asked"):
        at = ground(20, set(), 3, GuestError("lost"))
        bisecting.bisect(at, "mine", "6.2.1*")
    with pytest.raises(ObjectError):
        bisecting.bisect(ground(20, set(), 3, ObjectError("no ELF")), "mine", "6.2.1*")


def test_no_boundary() -> None:
    """An object that works on both ends has no boundary, and the builds are named."""
    with pytest.raises(Surprise, match=r"6\.2\.1\+deb13-cloud-amd64 .* says yes, and no was claimed"):
        bisecting.bisect(ground(20, set(), 3), "mine", "6.2.1*")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("6.1", "11 builds have this name"),
        ("5.4", "no build here has this name"),
        ("6.1.1+deb14", "did you mean 6.1.1"),
    ],
)
def test_place(name: str, said: str) -> None:
    """A name of no build, or of several, is an error with the nearest."""
    with pytest.raises(ConfigError, match=said):
        bisecting.place(ground(20, set()), name)


def test_floors() -> None:
    """For each series the oldest build that attaches and that loads; the answers of one question serve the other."""
    at = ground(0, set(), 8)
    at.asker.turn = -1  # type: ignore[attr-defined]
    told = bisecting.floors(at, [])
    assert told == {"test-backports": {"attaches": Floor(None), "loads": Floor(0, above=(7,))}}
    assert len(at.booted) == 2
    assert "attaches:  on none" in bisecting.floors_text(at, told)
    assert (
        bisecting.floors_json(at, told)["series"]["test-backports"]["loads"]["oldest"]["version"] == "6.0.1-1~bpo13+1"
    )
    with pytest.raises(ConfigError, match="no series is named sid"):
        bisecting.floors(at, ["sid"])


def test_sites() -> None:
    """Builds that the mirror lists come from its host, which its owner named; where none is listed it is not asked."""
    far = listed(1)
    whole = replace(far, files=tuple(replace(f, path=f"http://mirror.test/security/{f.path}") for f in far.files))
    assert bisecting.sites_of([far, whole], lambda: "http://mirror.test/debian", ["a:81"]) == ("a:81", "mirror.test")
    assert bisecting.sites_of([far], lambda: pytest.fail("asked"), ["a:81"]) == ("a:81",)


def test_object_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is an object too, by a name that is one; what is neither has the nearest names."""
    (tmp_path / "my probe.bpf.o").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    known = SimpleNamespace(matrix=SimpleNamespace(objects={"probe": ObjectSpec("probe")}))
    monkeypatch.setattr(bisecting, "sessions_of", lambda root: (known,))
    assert bisecting._object(tmp_path, "my probe.bpf.o")[1].name == "my_probe"
    with pytest.raises(ConfigError, match="did you mean probe"):
        bisecting._object(tmp_path, "prob")
