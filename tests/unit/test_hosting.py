"""Verifiers that others wrote: a person without one skips its tests, CI fails."""

import re

import pytest

from tests.hosting import NO_SKIP, ROOT, cannot, needs

JUDGES = (
    "sumdb.py", "independent.py", "servers.py", "hostile/test_any_server.py", "hostile/test_independent.py",
    "hostile/test_checklog.py", "hostile/test_history.py", "hostile/test_stranger.py", "unit/test_docs_verify.py",
    "unit/test_docs_keys.py", "unit/test_tlog_go.py", "unit/test_wycheproof.py",
)  # fmt: skip


def test_without_a_verifier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it a test is skipped, or fails where nothing may be skipped; the reason is said either way."""
    monkeypatch.delenv(NO_SKIP, raising=False)
    assert needs("sh", "no-such-tool").args == (True,)
    assert needs("sh").args == needs().args == (False,)
    with pytest.raises(pytest.skip.Exception, match="no such thing"):
        cannot("no such thing")
    monkeypatch.setenv(NO_SKIP, "1")
    assert needs("sh", "no-such-tool", also=["more"]).args == (False,)
    with pytest.raises(pytest.fail.Exception, match="no such thing, and BPFCOMPAT_NO_SKIP"):
        cannot("no such thing")


@pytest.mark.parametrize("path", JUDGES)
def test_verifiers_are_skipped_by_one_door(path: str) -> None:
    """No test that asks a verifier is skipped in another way."""
    assert not re.search(r"pytest\.(skip|importorskip|mark\.skip)", (ROOT / "tests" / path).read_text())


def test_ci_skips_none() -> None:
    """What CI runs says that nothing may be skipped, and installs what is asked."""
    said = (ROOT / ".ci/run").read_text()
    assert re.search(rf"^export {NO_SKIP}=1$", said, re.MULTILINE)
    for tool in ("curl", "golang-go", "golang-golang-x-mod-dev", "nginx-light", "nodejs", "npm"):
        assert re.search(rf"\b{tool}\b", said), tool
