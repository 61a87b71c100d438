"""What enters a key and what does not; both halves of the contract."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bpfcompat import plan
from bpfcompat.action import Action
from bpfcompat.config import from_dict
from bpfcompat.digest import canonical, digest_bytes, short
from bpfcompat.errors import ConfigError
from bpfcompat.model import Answer, AptSource, AttachMode, Blob, DirSource, Expectation, Kernel, KernelSpec, ObjectSpec
from bpfcompat.plan import AskedRow, Column, Pair, Template
from bpfcompat.qemu import machine_class


def d(text: str) -> str:
    """A digest."""
    return digest_bytes(text.encode())


def blob(text: str) -> Blob:
    """A blob, by what is in it."""
    return Blob(d(text), len(text))


KERNEL = Kernel("k", "6.1.0", "amd64", blob("vmlinuz"), blob("config"), blob("btf"), blob("vmlinux"))
SPEC = ObjectSpec("x", source=Path("x.bpf.c"), member="usr/x.o")


@dataclass(frozen=True)
class World:
    """Everything that the actions of one pair are made of, keyed or not."""

    pair: Pair = Pair("x", "k")  # noqa: RUF009 - frozen
    kernel: Kernel = KERNEL
    initramfs: Blob = blob("initramfs")  # noqa: RUF009
    validator: str = d("validator")
    command_line: str = "quiet"
    memory_mb: int = 256
    object: str = d("object")
    attach: str = "attach"
    log_kb: int = 1024

    def probe(self) -> Action:
        """The probe of this world."""
        machine = machine_class(self.memory_mb)
        column = plan.column(self.kernel, self.initramfs, self.validator, self.command_line, machine)
        return plan.probe_action(self.pair, column, self.object, {"attach": self.attach, "log_kb": self.log_kb})


Change = Callable[[World], World]


def world(**change: Any) -> Change:
    """A change of the world."""
    return lambda w: replace(w, **change)


def kernel(**change: Any) -> Change:
    """A change of the kernel in the world."""
    return lambda w: replace(w, kernel=replace(w.kernel, **change))


KEYED: dict[str, tuple[Change, str]] = {
    "vmlinuz": (kernel(vmlinuz=blob("z")), "kernel.vmlinuz"),
    "config": (kernel(config=blob("z")), "kernel.config"),
    "no config": (kernel(config=None), "kernel.config"),
    "initramfs": (world(initramfs=blob("z")), "initramfs"),
    "validator": (world(validator=d("z")), "validator"),
    "command line": (world(command_line="quiet x"), "command_line"),
    "memory": (world(memory_mb=512), "machine.memory_mb"),
    "object": (world(object=d("z")), "object"),
    "attach mode": (world(attach="load"), "spec.attach"),
    "log size": (world(log_kb=2048), "spec.log_kb"),
}
UNKEYED: dict[str, Change] = {
    "the pair's name": world(pair=Pair("other", "name")),
    "the kernel's name": kernel(name="other"),
    "its release string": kernel(release="6.1.1"),
    "BTF on the host's side": kernel(btf=None),
}


@pytest.mark.parametrize("what", KEYED)
def test_probe_key_changes(what: str) -> None:
    """What can change an answer changes the key, and `why` names exactly that input."""
    change, name = KEYED[what]
    old, new = World().probe(), change(World()).probe()
    assert old.key() != new.key()
    (line,) = plan.changes(old.inputs, new.inputs)
    assert line.startswith(f"{name} changed: ")


@pytest.mark.parametrize("what", UNKEYED)
def test_probe_key_stays(what: str) -> None:
    """A name is no input: the same bytes under another name are not asked again."""
    old, new = World().probe(), UNKEYED[what](World()).probe()
    assert old.key() == new.key()
    assert plan.changes(old.inputs, new.inputs) == ()


@given(st.sets(st.sampled_from(sorted(KEYED.keys() - {"no config"}))), st.sets(st.sampled_from(sorted(UNKEYED))))
def test_probe_key_property(keyed: set[str], unkeyed: set[str]) -> None:
    """Any mix of changes changes the key if one of them is keyed; the lines name the changed inputs and no other."""
    after = World()
    for change in [*(KEYED[what][0] for what in keyed), *(UNKEYED[what] for what in unkeyed)]:
        after = change(after)
    old, new = World().probe(), after.probe()
    assert (old.key() != new.key()) == bool(keyed)
    said = [line.partition(" changed: ")[0] for line in plan.changes(old.inputs, new.inputs)]
    assert said == sorted(KEYED[what][1] for what in keyed)


@given(st.sets(st.sampled_from(sorted(KEYED.keys() - {"no config"}))), st.booleans())
def test_template(changed: set[str], config: bool) -> None:
    """A template gives every pair of its kernel the very key that the canonical encoder gives."""
    world = World()
    for change in [*(KEYED[what][0] for what in changed), *([] if config else [KEYED["no config"][0]])]:
        world = change(world)
    action = world.probe()
    inputs = {n: v for n, v in action.inputs.items() if n not in ("object", "spec")}
    template = Template(Column(world.kernel, inputs))
    made = template.raw_key(canonical(world.object), canonical(action.inputs["spec"]))
    assert f"sha256:{made.hex()}" == action.key()


@pytest.mark.parametrize("change", ["name", "object", "spec", "expect", "required", "kernels"])
def test_matrix_row_is_keyed(change: str) -> None:
    """Whatever a row says enters the matrix's key, the order of its expectations too."""
    row = AskedRow("x", d("x"), {"attach": "load"}, {"*": "any", "mine": "compatible"}, True, ("mine",))
    other: dict[str, Any] = {"name": "y", "object": d("y"), "spec": {}, "required": False, "kernels": ()}
    other["expect"] = dict(reversed(row.expect.items()))
    keys = [plan.matrix_action([r], [], "c", "p").key() for r in (row, replace(row, **{change: other[change]}))]
    assert keys[0] != keys[1]


def test_no_time_no_place() -> None:
    """Nothing in a probe's preimage names this machine: it is equal on every host, byte for byte."""
    text = World().probe().preimage().decode()
    assert "/" not in text and "kvm" not in text and "tcg" not in text and "qemu" not in text.lower()


# --- every builder

TEXT = st.text("abc", min_size=1, max_size=3)
DIGESTS = TEXT.map(d)
MAPS = st.dictionaries(TEXT, DIGESTS, min_size=1, max_size=3)
ARGUMENTS: dict[str, tuple[Callable[..., Action], tuple[st.SearchStrategy[Any], ...]]] = {
    "kernel": (lambda a, m: plan.kernel_action(KernelSpec("k", a, DirSource(Path("x"))), m), (TEXT, MAPS)),
    "validator": (plan.validator_action, (MAPS, DIGESTS, TEXT, TEXT)),
    "header": (plan.header_action, (DIGESTS, DIGESTS)),
    "compiled": (
        lambda *a: plan.compiled_action(SPEC, *a),
        (MAPS, DIGESTS, DIGESTS, TEXT, st.lists(TEXT, max_size=3).map(tuple)),
    ),
    "prebuilt": (lambda f: plan.prebuilt_action(SPEC, f), (DIGESTS,)),
    "member": (lambda p, m: plan.member_action(replace(SPEC, member=m), p), (DIGESTS, TEXT)),
    "initramfs": (
        lambda r, c, v: plan.initramfs_action(replace(KERNEL, release=r, config=c), v),
        (TEXT, st.none() | TEXT.map(blob), DIGESTS),
    ),
    "verdict": (
        lambda *a: plan.verdict_action(Pair("x", "k"), *a),
        (
            *(DIGESTS, DIGESTS, TEXT, DIGESTS, st.lists(TEXT, max_size=2)),
            *(st.none() | DIGESTS, st.none() | MAPS, st.none() | DIGESTS),
        ),
    ),
    "matrix": (
        plan.matrix_action,
        (
            st.lists(st.builds(AskedRow, TEXT, DIGESTS, MAPS, MAPS, st.booleans(), st.just(())), max_size=3),
            st.lists(st.tuples(TEXT, MAPS.map(lambda m: Column(KERNEL, m))), max_size=3),
            *(DIGESTS, DIGESTS),
        ),
    ),
}


@pytest.mark.parametrize("kind", ARGUMENTS)
@given(data=st.data())
def test_every_argument_is_keyed(kind: str, data: st.DataObject) -> None:
    """For every step: change any one argument and the key changes, and `changes` has something to say."""
    build, strategies = ARGUMENTS[kind]
    arguments = [data.draw(s) for s in strategies]
    at = data.draw(st.integers(0, len(strategies) - 1))
    other = data.draw(strategies[at])
    assume(other != arguments[at])
    old, new = build(*arguments), build(*[*arguments[:at], other, *arguments[at + 1 :]])
    assert old.key() != new.key()
    assert plan.changes(old.inputs, new.inputs)


@pytest.mark.parametrize("kind", ARGUMENTS)
@given(data=st.data())
def test_order_and_json_do_not_matter(kind: str, data: st.DataObject) -> None:
    """The order of a mapping is no input, and inputs that the store kept as JSON show no change."""
    build, strategies = ARGUMENTS[kind]
    arguments = [data.draw(s) for s in strategies]
    turned = [dict(reversed(a.items())) if isinstance(a, dict) else a for a in arguments]
    action = build(*arguments)
    assert build(*turned).key() == action.key()
    assert plan.changes(json.loads(canonical(action.inputs)), action.inputs) == ()


def test_steps_are_apart() -> None:
    """An object that lies there, one from a package and one compiled never share a key."""
    keys = {
        plan.prebuilt_action(SPEC, d("a")).key(),
        plan.member_action(SPEC, d("a")).key(),
        plan.compiled_action(SPEC, {"x": d("a")}, d("a"), d("a"), "a", ()).key(),
    }
    assert len(keys) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"name": "y"}, {"optional": True}, {"expect": {"*": Expectation(Answer.COMPATIBLE)}}, {"kernels": ("k",)},
        {"source": Path("/elsewhere/x.bpf.c")}, {"attach": AttachMode.LOAD},
    ],
)  # fmt: skip
def test_object_key_stays(change: dict[str, Any]) -> None:
    """What is expected of an object, where it lies and how it is probed does not compile it again."""
    arguments = ({"x.bpf.c": d("a")}, d("h"), d("l"), "clang 14", ("-O2",))
    assert (
        plan.compiled_action(SPEC, *arguments).key() == plan.compiled_action(replace(SPEC, **change), *arguments).key()
    )


def test_flag_order_is_keyed() -> None:
    """The order of flags and of include folders can change an object."""
    one, other = (plan.compiled_action(SPEC, {}, d("h"), d("l"), "c", f) for f in (("-Ia", "-Ib"), ("-Ib", "-Ia")))
    assert one.key() != other.key()


# --- changes


def test_changes_words() -> None:
    """Old and new digest in short, other values as they are, what came and what went as absent."""
    old = {"object": d("a"), "spec": {"log_kb": 1}, "sources": {"a.h": d("x")}, "same": 1}
    new = {"object": d("b"), "spec": {"log_kb": 2}, "sources": {"b.h": d("x")}, "same": 1}
    assert plan.changes(old, new) == (
        f"object changed: {short(d('a'))} -> {short(d('b'))}",
        f"sources.a.h changed: {short(d('x'))} -> absent",
        f"sources.b.h changed: absent -> {short(d('x'))}",
        "spec.log_kb changed: 1 -> 2",
    )
    assert plan.changes(None, new) == ("never run before",)


def test_changes_are_short() -> None:
    """A long value is cut: these lines are read by people."""
    (line,) = plan.changes({"flags": ["-x"] * 1000}, {"flags": []})
    assert len(line) < 100


# --- selection

OBJECTS = {n: ObjectSpec(n, source=Path(n)) for n in ("ringbuf", "xdp")}
KERNELS = {n: KernelSpec(n, "amd64", AptSource("s", "amd64", "p")) for n in ("debian-11", "debian-12", "mine")}


def pairs(objects: Any = OBJECTS, kernels: Any = KERNELS, **selection: list[str]) -> list[str]:
    """The pairs that a [matrix] section selects: everything, or what `only_objects` and `only_kernels` say."""
    wanted = {key: selection.get(f"only_{key}", ["*"]) for key in ("objects", "kernels")}
    return [str(p) for p in plan.matrix(from_dict({"matrix": wanted}, Path("/p")), objects, kernels).pairs]


def selected(**change: Any) -> dict[str, ObjectSpec]:
    """The objects, one of them changed."""
    return {**OBJECTS, "xdp": replace(OBJECTS["xdp"], **change)}


def test_matrix_order() -> None:
    """Pairs of one kernel stay together, in the order of the selection."""
    assert pairs(only_kernels=["mine", "debian-1*"], only_objects=["xdp", "*"]) == [
        "xdp@mine", "ringbuf@mine", "xdp@debian-11", "ringbuf@debian-11", "xdp@debian-12", "ringbuf@debian-12",
    ]  # fmt: skip


def test_object_selects_kernels() -> None:
    """An object's own kernels narrow the matrix and do not widen it; with none it is never asked."""
    assert pairs(selected(kernels=("debian-12", "mine")), only_kernels=["debian-*"]) == [
        "ringbuf@debian-11", "ringbuf@debian-12", "xdp@debian-12",
    ]  # fmt: skip
    assert pairs(selected(kernels=()), only_kernels=["mine"]) == ["ringbuf@mine"]


def test_only() -> None:
    """A matrix of some pairs has their rows and columns, in its own order, and knows every object and kernel."""
    whole = plan.matrix(from_dict({"matrix": {"kernels": ["*"]}}, Path("/p")), OBJECTS, KERNELS)
    few = whole.only([Pair("xdp", "mine"), Pair("xdp", "debian-11"), Pair("ringbuf", "mine")])
    assert [str(p) for p in few.pairs] == ["xdp@debian-11", "xdp@mine", "ringbuf@mine"]
    assert (few.objects, few.kernels) == (whole.objects, whole.kernels)


MISSPELT = {"debian12": Expectation(None)}
NO_CAUSE = {"*": Expectation(Answer.INCOMPATIBLE, "helper-mising")}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"objects": {}}, r"\[matrix\]: no objects"),
        ({"kernels": {}}, "no kernel is named"),
        ({"only_kernels": ["debian12"]}, r"\[matrix\] kernels: no kernel is named 'debian12'.*debian-12"),
        ({"only_objects": ["ringbug"]}, r"no object is named 'ringbug' \(hint: did you mean ringbuf\?"),
        ({"only_kernels": []}, "no pair is left"),
        ({"only_objects": []}, "no pair is left"),
        ({"objects": selected(kernels=("debian-1",))}, r"\[objects.xdp\] kernels: no kernel is named 'debian-1'"),
        ({"objects": selected(expect=MISSPELT)}, r"\[objects.xdp\] expect: no kernel is named 'debian12'.*debian-12"),
        ({"objects": selected(expect=NO_CAUSE)}, r"expect: .*no cause is named 'helper-mising'.*mean helper-missing"),
        (
            {"objects": selected(beside={"targets/p.bpf.o": "ringbug"})},
            r"target_object: no object is named 'ringbug'.*ringbuf",
        ),
        ({"objects": selected(optional_on=("debian12",))}, r"optional: no kernel is named 'debian12'.*debian-12"),
        ({"objects": {"xdp": selected(kernels=("mine",))["xdp"]}, "only_kernels": ["debian-*"]}, "no pair is left"),
    ],
)
def test_selection_errors(arguments: dict[str, Any], said: str) -> None:
    """A selection of nothing, and a name that is nobody's, is an error with the nearest name."""
    with pytest.raises(ConfigError, match=said):
        pairs(**arguments)


def test_sampled() -> None:
    """A sample is always the same, grows with its share, is about as large as it says, and may be all or none."""
    keys = [digest_bytes(b"%d" % n) for n in range(2000)]
    tenth = {k for k in keys if plan.sampled(k, 10)}
    assert tenth == {k for k in keys if plan.sampled(k, 10)}
    assert tenth < {k for k in keys if plan.sampled(k, 20)}
    assert 140 < len(tenth) < 260
    assert all(plan.sampled(k, 100) for k in keys) and not any(plan.sampled(k, 0) for k in keys)
