"""A project that wants a file from inside a network."""

import pytest

from bpfcompat.digest import digest_bytes, hex_of
from tests.making import make_kernel
from tests.scenarios.conftest import Repo
from tests.serving import files, serving

pytestmark = pytest.mark.scenario


def test_inner_host(repo: Repo) -> None:
    """A kernel on an inner host is refused with the line to add, told of, never asked; the line is enough."""
    image = make_kernel()
    with serving(files({"/vmlinuz": image})) as server:
        source = {"vmlinuz": f"{server.url}/vmlinuz", "sha256": hex_of(digest_bytes(image))}
        repo.settings(lambda s: s.update(kernels={**s.get("kernels", {}), "inner": {"url": source}}))
        repo.settings(lambda s: s["matrix"].update(kernels=["inner"]))
        ran = repo.doit("kernel:inner", code=3)
        site = server.url.removeprefix("http://")
        assert f"{site}: plain http is for hosts that were named" in ran.out
        assert f'if it is meant, add "{site}" to [fetch] allow in bpfcompat.toml' in ran.out
        assert server.seen == []
        shown = repo.bpfcompat("trail", "show").out.splitlines()
        assert len(shown) == 1 and "refusal" in shown[0]  # told once, though more than one step asks for it
        assert (
            f"what kernel:inner  why kernel 'inner': {server.url}/vmlinuz: {site}: plain http is for hosts that were"
            in shown[0]
        )
        repo.settings(lambda s: s.update(fetch={"allow": [site]}))
        repo.doit("kernel:inner")
        assert repo.bpfcompat("trail", "show").out.splitlines() == shown
        assert [request["path"] for request in server.seen] == ["/vmlinuz"]


@pytest.mark.parametrize("site", ["*", "10.0.0.0/8", "https://mirror.lan", "127.1"])
def test_no_switch(repo: Repo, site: str) -> None:
    """There is no way to name everybody: what is not one exact host is an error of the settings."""
    repo.settings(lambda s: s.update(fetch={"allow": [site]}))
    assert f"[fetch] allow: expected host or host:port, got '{site}'" in repo.doit("matrix", code=2).err
