"""What the tables of an object may declare, and what they may not."""

from pathlib import Path
from typing import Any

import pytest

from bpfcompat.config import from_dict, object_spec, parse_toml
from bpfcompat.declared import Declared
from bpfcompat.digest import canonical
from bpfcompat.errors import ConfigError
from bpfcompat.rules.declare import bpf_object
from bpfcompat.strictjson import parse_json

GROUP = {"name": "g", "programs": [{"program": "a", "needs": "helper:bpf_loop"}, {"programs": ["b", "c"]}]}


def declared(**tables: Any) -> Declared:
    return object_spec("x", {"prebuilt": "x.o", **tables}, Path("/"), "[objects.x]").declared


def test_nothing() -> None:
    """Undeclared is empty and false: nothing of it enters a key."""
    assert not declared()
    assert not declared(maps={}, programs={}, variants=[], constants={}, kconfig={})


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"maps": {"m": {"max_entries": 4}}}, {"maps": {"m": {"max_entries": 4}}}),
        ({"maps": {"m": {"max_entries": "cpus"}}}, {"maps": {"m": {"max_entries": "cpus"}}}),
        ({"maps": {"m": {"max_entries": "pages:64"}}}, {"maps": {"m": {"max_entries": "pages:64"}}}),
        (
            {"maps": {"m": {"pinning": False, "autocreate": False}}},
            {"maps": {"m": {"pinning": False, "autocreate": False}}},
        ),
        ({"maps": {"m": {"type": "array", "key_size": 4}}}, {"maps": {"m": {"type": "array", "key_size": 4}}}),
        ({"maps": {"m": {"inner": {"type": "ringbuf"}}}}, {"maps": {"m": {"inner": {"type": "ringbuf"}}}}),
        ({"programs": {"kprobe/f": {"autoload": False}}}, {"programs": {"kprobe/f": {"autoload": False}}}),
        ({"programs": {"p": {"target": "mod:f"}}}, {"programs": {"p": {"target": "mod:f"}}}),
        ({"programs": {"p": {"target": "sched/sched-x"}}}, {"programs": {"p": {"target": "sched/sched-x"}}}),
        ({"programs": {"p": {"target": "*_rea?"}}}, {"programs": {"p": {"target": "*_rea?"}}}),
        ({"constants": {"c": {"d": {"e": 1}}, "b": True}}, {"constants": {"b": True, "c.d.e": 1}}),
        (
            {"constants": {"f": 1.5, "u": 1 << 63}},
            {"constants": {"f": {"float": "0x1.8000000000000p+0"}, "u": {"int": "9223372036854775808"}}},
        ),
        ({"kconfig": {"CONFIG_HZ": 250, "CONFIG_A": "m"}}, {"kconfig": {"CONFIG_A": "m", "CONFIG_HZ": 250}}),
        (
            {"variants": [{**GROUP, "companions": ["t"], "optional": True}]},
            {
                "variants": {
                    "g": {
                        "alternatives": [{"programs": ["a"], "needs": "helper:bpf_loop"}, {"programs": ["b", "c"]}],
                        "companions": ["t"],
                        "optional": True,
                    }
                }
            },
        ),
    ],
)
def test_json(tables: dict[str, Any], told: dict[str, Any]) -> None:
    """The key holds what was declared and nothing else, as JSON that a signed statement may hold."""
    found = declared(**tables).to_json()
    assert found == {"format": 1, **told}
    assert parse_json(canonical(found), "declared", 1 << 20) == found


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"map": {}}, "did you mean maps?"),
        ({"maps": []}, "expected a table"),
        ({"maps": {"m": {}}}, "declares nothing"),
        ({"maps": {"m\n": {"pinning": False}}}, "expected a name as the object has it"),
        ({"maps": {"m" * 513: {"pinning": False}}}, "expected a name as the object has it"),
        ({"maps": {"m": {"max_entrys": 4}}}, "did you mean max_entries?"),
        ({"maps": {"m": {"max_entries": 0}}}, "expected a whole number from 1 to 4294967295"),
        ({"maps": {"m": {"max_entries": True}}}, "expected a whole number from 1"),
        ({"maps": {"m": {"max_entries": 1 << 32}}}, "expected a whole number from 1"),
        ({"maps": {"m": {"max_entries": "pages:0"}}}, '"pages:N"'),
        ({"maps": {"m": {"max_entries": "pages:1048576"}}}, "N up to 1048575"),
        ({"maps": {"m": {"max_entries": "4"}}}, '"pages:N"'),
        ({"maps": {"m": {"type": "hsah"}}}, "did you mean hash?"),
        ({"maps": {"m": {"key_size": -1}}}, "expected a whole number from 0"),
        ({"maps": {"m": {"pinning": True}}}, "expected false"),
        ({"maps": {"m": {"inner": 4}}}, "expected a table"),
        ({"maps": {"m": {"inner": {"inner": {}}}}}, "inner: inner: unknown key"),
        ({"programs": {"p": {"type": "xpd"}}}, "did you mean xdp?"),
        ({"programs": {"p": {"attach_type": 3}}}, "attach_type: expected one of"),
        (
            {"programs": {"p": {"target": "a b"}}},
            "expected a function, MODULE:FUNCTION, a pattern, CATEGORY/NAME, or /FILE:FUNCTION",
        ),
        ({"programs": {"p": {"autoload": 1}}}, "expected true or false"),
        ({"programs": {"p q": {"autoload": True}}}, "expected a name as the object has it"),
        ({"variants": {}}, "expected at most 64 tables"),
        ({"variants": [{"programs": GROUP["programs"]}]}, "name: expected a name"),
        ({"variants": [{"name": "g", "programs": []}]}, "expected a list of 1 to 64 alternatives"),
        ({"variants": [GROUP, {"name": "g", "programs": [{"program": "z"}]}]}, "two groups of this name"),
        ({"variants": [GROUP, {"name": "h", "programs": [{"program": "b"}]}]}, "b: variants 'g' decides on it too"),
        ({"variants": [GROUP], "programs": {"a": {"autoload": True}}}, "a: programs decides on it too"),
        ({"variants": [{"name": "g", "programs": [{"program": "a"}, {"program": "b"}]}]}, "never chosen"),
        ({"variants": [{"name": "g", "programs": [{"program": "a", "programs": ["b"]}]}]}, "exactly one of program"),
        ({"variants": [{"name": "g", "programs": [{"program": "a", "needs": "luck"}]}]}, "helper:NAME"),
        ({"variants": [{"name": "g", "programs": [{"program": "a", "needs": "map-type:x"}]}]}, "unknown value 'x'"),
        ({"variants": [{"name": "g", "programs": [{"program": "a", "needs": "kfunc:"}]}]}, "expected a name after"),
        ({"variants": [GROUP] * 65}, "variants]], got '65 of them'"),
        ({"constants": {"a b": 1}}, "the name of a variable"),
        ({"constants": {"a": 1 << 64}}, "expected true, false, a number"),
        ({"constants": {"a": float("nan")}}, "expected true, false, a number"),
        ({"constants": {"a": [[[[[[[[[1]]]]]]]]]}}, "expected true, false, a number"),
        ({"programs": {"p": {"target_file": "x.o"}}}, 'add target_program = "FUNCTION"'),
        ({"programs": {"p": {"target_object": "x"}}}, 'add target_program = "FUNCTION"'),
        ({"programs": {"p": {"target_object": "x", "target_file": "x.o"}}}, "target_file says where it is"),
        ({"programs": {"p": {"attach": "reqired"}}}, "attach"),
        ({"kconfig": {"HZ": 1}}, "a name such as CONFIG_HZ"),
        ({"kconfig": {"CONFIG_X": 'a"\n'}}, "a short text without quotes"),
    ],
)
def test_refused(tables: dict[str, Any], said: str) -> None:
    """What cannot be meant is refused when the settings are read, with what was expected."""
    with pytest.raises(ConfigError) as caught:
        declared(**tables)
    assert said in str(caught.value)
    assert str(caught.value).startswith("[objects.x]")


def test_both_ways_to_say_it() -> None:
    """bpfcompat.toml and the rule in Python declare the same values."""
    text = """
[objects.x]
prebuilt = "x.o"
[objects.x.maps.counts]
max_entries = "cpus"
[objects.x.programs."kprobe/do_exit"]
autoload = false
[[objects.x.variants]]
name = "g"
programs = [{ program = "a", needs = "helper:bpf_loop" }, { programs = ["b", "c"] }]
[objects.x.constants]
pid = 7
"""
    by_file = from_dict(parse_toml(text.encode(), "bpfcompat.toml"), Path("/")).objects["x"]
    by_rule = bpf_object(
        "x",
        prebuilt="x.o",
        maps={"counts": {"max_entries": "cpus"}},
        programs={"kprobe/do_exit": {"autoload": False}},
        variants=[GROUP],
        constants={"pid": 7},
    )
    assert by_file.declared == by_rule.declared
    assert by_file.declared


def test_order_is_no_difference() -> None:
    """The same declarations in another order are the same value: one key, one guest."""
    one = declared(maps={"a": {"pinning": False}, "b": {"pinning": False}}, constants={"x": 1, "y": 2})
    assert one == declared(constants={"y": 2, "x": 1}, maps={"b": {"pinning": False}, "a": {"pinning": False}})


def test_target_files() -> None:
    """An object that holds a target comes into the guest under a name of ours; the key has what it holds."""
    table = {"freplace/f": {"target_file": "build/main.bpf.o", "target_program": "main"}}
    spec = object_spec("x", {"prebuilt": "x.o", "programs": table}, Path("/p"), "[objects.x]")
    ((file),) = spec.files
    assert (file.path, file.source) == ("targets/freplace_f.bpf.o", Path("/p/build/main.bpf.o"))
    assert spec.declared.programs[0].target_file == file.path


def test_target_objects() -> None:
    """An object of the project that holds a target comes likewise, by its name."""
    table = {"fentry": {"target_object": "main", "target_program": "entry"}}
    spec = object_spec("x", {"prebuilt": "x.o", "programs": table}, Path("/p"), "[objects.x]")
    assert (spec.files, spec.beside) == ((), {"targets/fentry.bpf.o": "main"})
    assert spec.declared.programs[0].target_file == "targets/fentry.bpf.o"
