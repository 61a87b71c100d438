"""The since table: how it is made of headers and a seed, and what holds of the one that ships."""

import json
import tomllib
from dataclasses import replace
from importlib import resources

import pytest

from bpfcompat import since
from bpfcompat.builds import ENUMS, Build
from bpfcompat.causes import helper_names
from bpfcompat.errors import ConfigError
from bpfcompat.sincetable import (
    Header,
    Row,
    flavour,
    gate,
    is_next,
    make,
    of_builds,
    read_header,
    read_seed,
    rendered,
    unordered,
    with_kfuncs,
)

OLD = """
/* enum bpf_cmd { NOT, THIS }; */
enum bpf_cmd { BPF_MAP_CREATE, BPF_PROG_TEST_RUN, BPF_PROG_RUN = BPF_PROG_TEST_RUN, /* x, y */ BPF_LAST, };
enum bpf_map_type { BPF_MAP_TYPE_UNSPEC, BPF_MAP_TYPE_HASH };
enum bpf_prog_type { BPF_PROG_TYPE_UNSPEC, BPF_PROG_TYPE_XDP, };
enum bpf_attach_type { BPF_XDP = 7, BPF_TCX, __MAX_BPF_ATTACH_TYPE };
enum bpf_link_type { BPF_LINK_TYPE_UNSPEC = 0, BPF_LINK_TYPE_XDP = 6, MAX_BPF_LINK_TYPE, };
#define BPF_F_STRICT_ALIGNMENT (1U << 0)
enum { BPF_F_SLEEPABLE = (1U << 4), };
"""
LIST_OF_5 = "#define __BPF_FUNC_MAPPER(FN) \\\n FN(unspec), \\\n FN(map_lookup_elem), \\\n FN(loop),"
LIST_OF_6 = (
    "#define APPLY(name, value, FN) FN(name),\n"
    "#define ___BPF_FUNC_MAPPER(FN, ctx...) FN(unspec, 0, ##ctx) FN(map_lookup_elem, 1, ##ctx) FN(loop, 2, ##ctx)"
)


@pytest.mark.parametrize("helpers", [LIST_OF_5, LIST_OF_6])
def test_read(helpers: str) -> None:
    """Both shapes of the helpers' list, enums with values, aliases and comments, and both shapes of a flag."""
    found = read_header("6.1", "s", OLD + helpers).names
    assert found["helpers"] == {"map_lookup_elem": 1, "loop": 2}
    assert found["commands"] == {"BPF_MAP_CREATE": 0, "BPF_PROG_TEST_RUN": 1, "BPF_PROG_RUN": 1, "BPF_LAST": 2}
    assert found["attach_types"] == {"BPF_XDP": 7, "BPF_TCX": 8} and found["link_types"] == {"BPF_LINK_TYPE_XDP": 6}
    assert set(found["flags"]) == {"BPF_F_STRICT_ALIGNMENT", "BPF_F_SLEEPABLE"}
    with pytest.raises(ConfigError, match=r"no helpers in its bpf\.h"):
        read_header("6.1", "s", OLD)


def header(series: str, *maps: str) -> Header:
    names = {kind: dict.fromkeys(maps if kind == "map_types" else (), 0) for kind in (*ENUMS, "flags")}
    return Header(series, f"header of {series}", names)


def test_made() -> None:
    """Neighbouring headers decide; the seed where releases lie between; without it both ends are said."""
    headers = [header("6.12", "A"), header("6.16", "A", "B", "C"), header("6.17", "A", "B", "C", "D")]
    rows = make(headers, {"map_types": {"A": Row("5.8", "seed"), "B": Row("6.13", "seed")}})["map_types"]
    assert rows == {
        "A": Row("5.8", "seed"),
        "B": Row("6.13", "seed"),
        "C": Row("6.16", "header of 6.16", "6.12"),
        "D": Row("6.17", "header of 6.17"),
    }


@pytest.mark.parametrize("said", ["6.12", "6.17", None])
def test_contradicted(said: str | None) -> None:
    """A seed outside of what the headers say is refused, and so is one that lacks what all headers have."""
    headers = [header("6.12", *([] if said else ["B"])), header("6.16", "B")]
    with pytest.raises(ConfigError, match="since: map_types B: "):
        make(headers, {"map_types": {"B": Row(said, "seed")} if said else {}})


def test_neighbours() -> None:
    """6.19 comes before 7.0, and 6.12 not before 6.16."""
    assert is_next("6.19", "7.0") and is_next("6.1", "6.2") and not is_next("6.18", "7.0")
    assert not is_next("6.12", "6.16") and not is_next("6.2", "6.2")


GONE = ("6.13", "BTF of 6.13.1")
UNSEEN = "no older one of its flavour was looked at, and 5.13 brought kfuncs"


def test_kfuncs() -> None:
    """Kfuncs are from builds alone, also beside a header; one that all builds have came with 5.13 or later.

    A row names the builds that have it and those before that lack it; it ends where all later ones lack it.
    """

    def builds(series: str, *names: str) -> Header:
        found = [Build(f"{series}.1", helpers={"x": 1}, kfuncs={n: frozenset()}) for n in names]
        return of_builds(series, found)

    beside = with_kfuncs(header("6.12"), builds("6.12", "a", "b", "c"))
    rows = make([builds("6.1", "a", "z"), beside, builds("6.13", "d")], {"helpers": {"x": Row("3.18", "seed")},
                "kfuncs": {"a": Row("6.0", "seed"), "b": Row("6.2", "seed")}})["kfuncs"]  # fmt: skip
    assert rows == {
        "a": Row("6.0", "seed", "", *GONE),
        "b": Row("6.2", "seed", "", *GONE),
        "c": Row("6.12", "BTF of 6.12.1; not in that of 6.1.1", "6.1", *GONE),
        "d": Row("6.13", "BTF of 6.13.1; not in that of 6.12.1"),
        "z": Row("6.1", f"BTF of 6.1.1; {UNSEEN}", "5.12", "6.12", "BTF of 6.12.1"),
    }
    assert with_kfuncs(header("6.12"), None) == header("6.12")


def flavours(series: str, **kfuncs: str) -> Header:
    """Builds of a release, by flavour, each with its kfuncs."""
    return of_builds(series, [
        Build(f"{series}.3+deb13-{f}-amd64", helpers={"x": 1}, kfuncs={n: frozenset() for n in names})
        for f, names in kfuncs.items()
    ])  # fmt: skip


def test_gone() -> None:
    """A kfunc that is away for a while is not gone; a name of the uapi that goes is refused."""
    looked = [flavours(s, cloud=n) for s, n in (("6.1", ""), ("6.12", "ab"), ("6.13", "b"), ("6.14", "a"))]
    rows = make(looked, {"helpers": {"x": Row("3.18", "seed")}})["kfuncs"]
    assert {n: (r.until, r.gone) for n, r in rows.items()} == {
        "a": ("", ""), "b": ("6.14", "BTF of 6.14.3+deb13-cloud-amd64"),
    }  # fmt: skip
    with pytest.raises(ConfigError, match="no longer has it"):
        make([header("6.12"), header("6.13", "A"), header("6.14")], {})


def test_flavours() -> None:
    """What a flavour never has tells nothing of upstream: neither that it was not there yet, nor that it went."""
    looked = [flavours("6.12", rt="", cloud=""), flavours("6.13", cloud=""),
              flavours("6.14", cloud="", rt="r", big="b"), flavours("6.15", cloud="")]  # fmt: skip
    rows = make(looked, {"helpers": {"x": Row("3.18", "seed")}})["kfuncs"]
    has = "BTF of 6.14.3+deb13-{}-amd64; "
    assert rows == {
        "r": Row("6.14", has.format("rt") + "not in that of 6.12.3+deb13-rt-amd64", "6.12"),
        "b": Row("6.14", has.format("big") + UNSEEN, "5.12"),
    }
    assert flavour("5.10.0-32-cloud-amd64") == "cloud-amd64" and flavour("7.3.4+deb13-amd64") == "amd64"


def test_gates() -> None:
    """A build without the option of a kfunc tells nothing of upstream; the option's own release bounds it.

    Neither that it was not there yet, nor that it went; a build that sets the option does.
    """

    def cloud(series: str, option: str, *names: str) -> Header:
        options = {"CONFIG_SCHED_CLASS_EXT": option} if option else {}
        return of_builds(series, [Build(f"{series}.3-cloud-amd64", helpers={"x": 1}, options=options,
                                        kfuncs={n: frozenset() for n in names})])  # fmt: skip

    looked = [cloud("6.1", ""), cloud("6.14", ""), cloud("6.16", "y", "scx_a", "b"),
              cloud("6.18", "y", "scx_a", "scx_b", "b"), cloud("7.3", "", "b")]  # fmt: skip
    rows = make(looked, {"helpers": {"x": Row("3.18", "seed")}})["kfuncs"]
    unseen = "no older one with CONFIG_SCHED_CLASS_EXT was looked at, which came with 6.12"
    assert rows == {
        "scx_a": Row("6.16", f"BTF of 6.16.3-cloud-amd64; {unseen}", "6.11"),
        "scx_b": Row("6.18", "BTF of 6.18.3-cloud-amd64; not in that of 6.16.3-cloud-amd64", "6.16"),
        "b": Row("6.16", "BTF of 6.16.3-cloud-amd64; not in that of 6.14.3-cloud-amd64", "6.14"),
    }


def test_seed_of_modules() -> None:
    """A kfunc that only the seed has is a module's, and keeps its row; a name of the uapi is a slip of the seed."""
    looked = [flavours("6.12", cloud="a")]
    seed = {"helpers": {"x": Row("3.18", "seed")}, "kfuncs": {"bpf_ct_release": Row("5.18", "seed")}}
    assert make(looked, seed)["kfuncs"]["bpf_ct_release"] == Row("5.18", "seed")
    with pytest.raises(ConfigError, match="map_types Z: the seed has it, and no header has"):
        make(looked, {**seed, "map_types": {"Z": Row("5.8", "seed")}})
    found = since.since("kfuncs", "bpf_skb_ct_lookup")
    assert found is not None and (found.version, found.after) == ("5.18", "")


def test_ranges() -> None:
    """The seed has helpers by id, the other kinds by short names, and less certain rows with a source of their own."""
    raw = {"source": "tags", "helpers": {"3.18": "1-2", "5.17": "181"},
           "by_date": {"source": "date", "map_types": {"5.8": "RINGBUF"}}}  # fmt: skip
    found = read_seed(raw, {"x": 1, "y": 2, "loop": 181})
    assert found["helpers"] == {"x": Row("3.18", "tags"), "y": Row("3.18", "tags"), "loop": Row("5.17", "tags")}
    assert found["map_types"] == {"BPF_MAP_TYPE_RINGBUF": Row("5.8", "date")}


def test_order() -> None:
    """A helper whose release is before that of a smaller id is found."""
    table = {"helpers": {"a": Row("5.8", ""), "b": Row("5.7", ""), "c": Row("5.20", "")}}
    assert unordered(table, {"a": 1, "b": 2, "c": 3}) == ["b #2: 5.7, and a #1 5.8"]


def test_rendered() -> None:
    """The table is JSON, and each source stands in it once."""
    table = {"kfuncs": {"a": Row("5.8", "s"), "b": Row("6.1", "s", "5.10"), "c": Row("6.1", "s", "", "6.12", "t")}}
    raw = json.loads(rendered(table))
    assert raw["sources"] == ["s", "t"]
    assert raw["rows"] == {"kfuncs": {"a": ["5.8", 0], "b": ["6.1", 0, "5.10"], "c": ["6.1", 0, "", "6.12", 1]}}


# --- the table that ships


def test_monotonic() -> None:
    """No helper is older than one with a smaller id, and every helper has a row with a source."""
    ids = {name.removeprefix("bpf_"): number for number, name in helper_names().items()}
    rows = {name: Row(found.version, found.source) for name in ids if (found := since.since("helpers", name))}
    assert rows.keys() == ids.keys()
    assert unordered({"helpers": rows}, ids) == []


def test_whole() -> None:
    """Every row has a version and a source, and one end that is not later than the other."""
    rows = since.table()
    assert {kind for kind, _ in rows} == set(since.PREFIXES)
    for key, row in rows.items():
        assert row.source and since.version(row.version) >= (3, 18), key
        assert not row.after or since.version(row.after) < since.version(row.version), key
        assert not row.until or (since.version(row.version) < since.version(row.until) and row.gone), key


@pytest.mark.parametrize(
    ("kind", "name", "version"),
    [
        ("helpers", "bpf_loop", "5.17"),
        ("helpers", "BPF_FUNC_loop", "5.17"),
        ("map_types", "ringbuf", "5.8"),
        ("program_types", "BPF_PROG_TYPE_NETFILTER", "6.4"),
        ("attach_types", "TCX_INGRESS", "6.6"),
        ("kfuncs", "bpf_task_acquire", "6.2"),
        ("commands", "BPF_LINK_CREATE", "5.7"),
        ("link_types", "netkit", "6.7"),
        ("map_types", "insn_array", "6.19"),
    ],
)
def test_known(kind: str, name: str, version: str) -> None:
    """A row is found by its full name and by the short one that reports use."""
    found = since.since(kind, name)
    assert found is not None and found.version == version and not found.after
    assert found.words == f"Linux {version}"


def test_unknown() -> None:
    """What nobody knows has no row."""
    assert since.since("helpers", "bpf_frobnicate") is None and since.since("colours", "red") is None


def test_newer() -> None:
    """A release is held against a row only as far as the row decides it."""
    exact, between = since.Since("6.4", "s"), since.Since("6.12", "s", "6.1")
    assert exact.newer_than("6.1.0-50-amd64") and not exact.newer_than("6.4.0") and not exact.newer_than("garbage")
    assert between.newer_than("6.1.9") and not between.newer_than("6.6.1") and not between.newer_than("6.12.0")
    assert between.words == "a Linux after 6.1, up to 6.12"


def test_generated() -> None:
    """The file is as `doit since` writes it, and every row that names the seed is the seed's."""
    data = resources.files("bpfcompat") / "data"
    table: dict[str, dict[str, Row]] = {}
    for (kind, name), row in since.table().items():
        table.setdefault(kind, {})[name] = Row(*row)
    assert rendered(table) == (data / "since.json").read_bytes()
    ids = {name.removeprefix("bpf_"): number for number, name in helper_names().items()}
    seed = read_seed(tomllib.loads((data / "since_seed.toml").read_text()), ids)
    sources = {row.source for rows in seed.values() for row in rows.values()}
    for kind, rows in table.items():
        seeded = {name: replace(row, until="", gone="") for name, row in rows.items() if row.source in sources}
        assert seeded == {name: seed[kind][name] for name in seeded}


def series(release: str) -> str:
    return ".".join(release.split(".")[:2])


def test_a_kfunc_is_bounded_on_both_sides() -> None:
    """A row of a kfunc that no seed has names builds that have it and older ones that lack it, where any was seen."""
    for (kind, name), row in since.table().items():
        if kind == "kfuncs" and row.source.startswith("BTF of "):
            has, _, lacks = row.source.partition("; not in that of ")
            if known := gate(name) if not lacks else None:
                assert row.source.endswith(f"which came with {known.since}") and is_next(row.after, known.since), name
                continue
            if not lacks:
                assert row.after == "5.12" and row.source.endswith(UNSEEN), name
                continue
            assert has.startswith(f"BTF of {row.version}."), name
            assert lacks.startswith(f"{row.after}.") if row.after else is_next(series(lacks), row.version), name
            assert not row.gone or row.gone.startswith(f"BTF of {row.until}."), name
