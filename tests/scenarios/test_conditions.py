"""Kernel entries that lie, as their user meets them: the run says what was found, with an exit code, and no verdict."""

import pytest

from tests.making import make_module
from tests.scenarios.conftest import KERNELS, Repo

pytestmark = pytest.mark.scenario


def test_host_assert(proved: Repo) -> None:
    """An assert on a kernel's files fails its pairs even where all answers are stored; the others stay as they are."""
    before = proved.boots()
    proved.settings(lambda s: s["kernels"]["k-a"].update(asserts={"release": "6.1.*"}))
    ran = proved.doit("matrix", code=3)
    assert "kernel 'k-a': not as its entry says: release: asserted '6.1.*', found '5.10.0-a'" in ran.out
    assert proved.boots() == before
    proved.settings(lambda s: s["kernels"]["k-a"].update(asserts={"release": "5.10.*"}))
    assert "0 ran, 9 already proved" in proved.doit("matrix").out


def test_guest_assert(proved: Repo) -> None:
    """An assert that only a guest can tell costs one guest, once; stored answers of a lying entry are not shown."""
    proved.settings(lambda s: s["kernels"]["k-b"].update(asserts={"lockdown": "integrity", "lsm": ["bpf"]}))
    ran = proved.doit("matrix", code=3)
    assert "kernel 'k-b': not as its entry says: lockdown: asserted integrity, found none" in ran.out
    asked = proved.boots()
    assert proved.doit("matrix", code=3).says.count("asserted integrity") >= 1
    assert proved.boots() == asked
    proved.settings(lambda s: s["kernels"]["k-b"].update(asserts={"lockdown": "none"}))
    assert "0 ran, 9 already proved" in proved.doit("matrix").out


def test_optional_is_no_excuse(proved: Repo) -> None:
    """A kernel that lies is not one that is not to be had: optional or not, the run fails."""
    proved.settings(lambda s: s["kernels"]["k-a"].update(optional=True, asserts={"btf": False}))
    assert "btf: asserted no, found the kernel's" in proved.doit("matrix", code=3).out


def test_variant(repo: Repo) -> None:
    """A variant is asked about the objects that name it and no other, and shares its base's files."""
    repo.settings(lambda s: s["kernels"].update({"v": {"base": "k-a", "command_line": "audit=0"}}))
    repo.settings(lambda s: s["objects"]["alpha"].update(kernels=["*", "v"]))
    assert "10 ran, 0 already proved" in repo.doit("matrix").out
    assert len(repo.entries("kernel")) == 3
    assert repo.boots()["alpha@k-a"] == 2
    assert "0 ran, 10 already proved" in repo.doit("matrix").out


def test_condition_is_keyed(proved: Repo) -> None:
    """A condition asks its kernel anew, and no other."""
    proved.settings(lambda s: s["kernels"]["k-c"].update(command_line="audit=0"))
    assert "3 ran, 6 already proved" in proved.doit("matrix").out


def test_no_modules(proved: Repo) -> None:
    """An object that declares a module has no answer on a kernel that came without any."""
    proved.settings(lambda s: s["objects"]["alpha"].update(modules=["nf_conntrack"]))
    ran = proved.doit("matrix", code=3)
    assert "kernel 'k-a': came without modules, and object 'alpha' declares nf_conntrack" in ran.out


def test_folder_with_modules(repo: Repo) -> None:
    """A folder's modules go to its guests, and are asked about anew when one of them changes."""
    release = KERNELS["k-a"]
    place = repo.root / "kernels/k-a/lib/modules" / release / "kernel"
    place.mkdir(parents=True)
    (place / "veth.ko").write_bytes(make_module(release))
    repo.doit("matrix")
    assert "0 ran, 9 already proved" in repo.doit("matrix").out
    (place / "veth.ko").write_bytes(make_module(release, alias="other"))
    assert "3 ran, 6 already proved" in repo.doit("matrix").out
    (place / "veth.ko").write_bytes(make_module("9.9.9"))
    assert "built for '9.9.9', this kernel is '5.10.0-a'" in repo.doit("matrix", code=3).out
