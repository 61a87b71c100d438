"""Behaviour tests in a project: what asks a guest again and what does not, and what is stated of them."""

import base64
import json
from typing import Any

import pytest

from tests.scenarios.conftest import Repo
from tests.unit.test_elf import EXEC, FUNC, RETURN_0, Section, elf

pytestmark = pytest.mark.scenario


def behave(repo: Repo, step: str, expect: str = "compatible", **fields: Any) -> None:
    """Let alpha be the only object, with one test of this step."""
    repo.only(alpha="compatible alpha")
    repo.settings(lambda s: s["matrix"].update(kernels=["k-a"]))
    test = {"name": "it does", "do": [step], **fields}
    repo.settings(lambda s: s["objects"]["alpha"].update(expect=expect, tests=[test]))


def statements(repo: Repo) -> list[dict[str, Any]]:
    """The payloads of all published verdicts."""
    bundles = [json.loads(data) for name, data in repo.digests(".bpfcompat/registry").items() if name.endswith(".json")]
    payloads = [json.loads(base64.b64decode(b["dsseEnvelope"]["payload"])) for b in bundles if "dsseEnvelope" in b]
    return [p["predicate"] for p in payloads if "bpfcompat" in p["predicate"]]


def test_another_expectation(repo: Repo) -> None:
    """Another expectation is judged, and asks no guest; what is done differs, and a guest is asked."""
    behave(repo, "mkdir:/tmp/x")
    assert (
        "1 of 1 behaviour tests passed"
        in repo.doit("matrix", code=0).says + (repo.root / ".bpfcompat/reports/matrix.json").read_text()
    )
    assert repo.boots() == {"alpha@k-a": 1}
    behave(repo, "mkdir:/tmp/x = EPERM", "incompatible:behaviour-failed")
    assert "all as expected" in repo.doit("matrix").out
    assert repo.boots() == {"alpha@k-a": 1}
    behave(repo, "mkdir:/tmp/x = EPERM")
    assert "behaviour-failed" in repo.doit("matrix", code=1).out
    behave(repo, "mkdir:/tmp/y")
    repo.doit("matrix")
    assert repo.boots() == {"alpha@k-a": 2}


def test_stated(repo: Repo) -> None:
    """The statement has what was done, what it was held against, and the test beside the programs; it verifies."""
    behave(repo, "mkdir:/tmp/x = EPERM", "incompatible:behaviour-failed")
    repo.doit("matrix")
    (said,) = statements(repo)
    recipe = next(r["annotations"]["spec"] for r in said["configuration"] if r["name"] == "recipe")
    assert recipe["tests"] == [{"name": "it does", "timeout_ms": 10000, "do": ["mkdir:/tmp/x"]}]
    assert recipe["expected"] == [{"required": True, "errno": ["EPERM"]}]
    assert said["failedTests"] == ["test:it does"]
    assert said["bpfcompat"]["tests"][0]["detail"] == ["mkdir:/tmp/x: expected EPERM, got success"]
    assert "mkdir:/tmp/x: expected EPERM, got success" in said["bpfcompat"]["sentence"]
    repo.doit("verify")
    behave(repo, "mkdir:/tmp/x")
    repo.doit("matrix")
    assert len(statements(repo)) == 2
    repo.doit("verify")


def test_refused_before_a_guest(repo: Repo) -> None:
    """A test that makes no sense is an error of the settings, with its name, before anything runs."""
    behave(repo, "reboot")
    ran = repo.doit("matrix", code=2)
    assert "'it does': do: 'reboot': no such step" in ran.says
    assert repo.boots() == {}


def test_a_program_of_no_object(repo: Repo) -> None:
    """A test that names a program which the object has not is refused before a guest; the nearest name cures it."""
    behave(repo, "mkdir:/tmp/x", programs=["handler"])
    place = repo.root / "objects/alpha.bpf.o"
    place.write_bytes(elf([Section("tp/x/y", RETURN_0, EXEC)], [("handle", FUNC, 1)], size=len(RETURN_0)))
    ran = repo.doit("matrix", code=2)
    refused = "[objects.alpha]: tests: 'it does': programs: the object has no program 'handler'"
    assert f"{refused} (hint: did you mean handle?)" in ran.says
    assert repo.boots() == {}
    behave(repo, "mkdir:/tmp/x", programs=["handle"])
    place.write_bytes(elf([Section("tp/x/y", RETURN_0, EXEC)], [("handle", FUNC, 1)], size=len(RETURN_0)))
    assert "all as expected" in repo.doit("matrix").out
    assert sum(repo.boots().values()) == 1


def test_an_object_that_cannot_be_read(repo: Repo) -> None:
    """Of what is no ELF nobody here knows which programs it has: the guest is asked."""
    behave(repo, "mkdir:/tmp/x", programs=["handler"], required=False)
    repo.doit("matrix")
    assert repo.boots() == {"alpha@k-a": 1}
