"""URLs taken apart once, redirects, and the hosts that were named."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat.errors import ConfigError
from bpfcompat.origins import NOBODY, Refused, Target, allowed, name_of, redirected, shown, target
from tests.addressing import beyond_ascii, spellings


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://host", Target("https", "host", 443)),
        ("HTTP://Host.Example:8080/a/B?c=D#e", Target("http", "host.example", 8080, "/a/B?c=D")),
        ("https://host?x", Target("https", "host", 443, "/?x")),
        ("https://host#/x", Target("https", "host", 443)),
        ("https://u:p%40@host:443/~x/%7e+", Target("https", "host", 443, "/~x/%7e+", "u:p%40")),
        ("https://my_host/", Target("https", "my_host", 443)),
    ],
)
def test_target(url: str, expected: Target) -> None:
    """Scheme, host, port, path with query, credentials; the fragment stays here."""
    assert target(url) == expected


def test_target_address() -> None:
    """A plain address is known as one; IPv6 is written in its one short form."""
    assert target("https://93.184.216.34/").address == IPv4Address("93.184.216.34")
    six = target("https://[2606:4700:0:0::1111]:8443/x")
    assert (six.host, six.port, six.site) == ("[2606:4700::1111]", 8443, "[2606:4700::1111]:8443")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "file://host/x", "ftp://host/", "gopher://host/", "data:,x", "javascript:0", "//host/x",
        "host/x", "http:/host", "http:host", "http://", "https:///x", "http://@/", "https://:443/", "http://h:/", "",
        "http://h:x/", "http://h:0/", "http://h:65536/", "http://h:99999999/", "http://h:-1/", "http://h:1:2/",
        "http://a b/", "http://h/a b", "http://h/\r\nHost:x", "http://h/\tx", "http://h\\@x/", "http://h/\\x", " http://h/",
        "http://h/ä", "http://bücher.example/", "http://-h/", "http://h-/", "http://.h/", "http://h./", "http://a..b/",
        "http://%31/", "http://h%00/", "http://[::1/", "http://::1/", "http://[::1]x/", "http://[fe80::1%25eth0]/",
        "http://[fe80::1%eth0]/", "http://[v1.x]/", "http://a@b@c/", "http://h/<", 'http://h/"', "http://h/{x}",
        f"http://{'a' * 64}/", f"http://{'a.' * 130}b/", f"http://h/{'x' * 5000}", "http://h/\0", "http+unix://h/x",
    ],
)  # fmt: skip
def test_not_plain(url: str) -> None:
    """What is not plain http or https is refused, never mended."""
    with pytest.raises(Refused):
        target(url)


@given(st.text(max_size=60), st.sampled_from(["", "http://", "https://", "https://h", "https://h/", "https://u@"]))
def test_any_text(text: str, head: str) -> None:
    """Any text is a target whose own text is read the same way again, or is refused."""
    try:
        found = target(head + text)
    except Refused as error:
        assert len(error.message) < 1000
    else:
        again = target(str(found))
        assert (again.origin, again.path) == (found.origin, found.path)
        assert str(found).isascii() and str(found).isprintable()


@given(st.integers(1 << 24, 2**32 - 1).map(IPv4Address))
def test_spellings(address: IPv4Address) -> None:
    """No other spelling of an address is taken, neither as an address nor as a name."""
    forms = {**spellings(address), **beyond_ascii(address)}
    taken = [form for form, host in forms.items() if host != str(address) and is_taken(f"https://{host}/")]
    assert taken == []


def is_taken(url: str) -> bool:
    try:
        target(url)
    except Refused:
        return False
    return True


def test_credentials_unsaid() -> None:
    """User and password are in no text: not of a target, not of an error about an address that cannot be read."""
    assert shown("https://user:secret@host/x") == "https://host/x"
    assert "secret" not in repr(target("https://user:secret@host/x"))
    for url in ("https://user:secret@host:x/", "https://user:secret@127.1/", "https://us er:secret@host/"):
        with pytest.raises(Refused) as caught:
            target(url)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("location", "expected"),
    [("/y", "https://h:8443/y"), ("y?z", "https://h:8443/a/y?z"), ("//other/y", "https://other/y"),
     ("https://other:1/", "https://other:1/"), ("?q", "https://h:8443/a/b?q"), ("../y", "https://h:8443/y")],
)  # fmt: skip
def test_redirected(location: str, expected: str) -> None:
    """A redirect may be relative."""
    assert str(redirected(target("https://h:8443/a/b"), location)) == expected


@pytest.mark.parametrize(
    "location",
    ["http://h/", "file:///etc/passwd", "ftp://h/", "//u:p@h/", "https://h\\@x/", "ht\ttps://h/", " https://h/",
     "http:", "https://127.1/", "//[::1/", "//h:x/", "https://h/\r\nx", "ä", "javascript:alert(1)", "data:,x"],
)  # fmt: skip
def test_not_redirected(location: str) -> None:
    """From https to http, to another scheme, with credentials, or somewhere unclear: a redirect is not followed."""
    with pytest.raises(Refused, match="redirected to"):
        redirected(target("https://h/"), location)


def test_up() -> None:
    """From http to https is a step up."""
    assert redirected(target("http://h/"), "https://h/x").scheme == "https"


def test_allowed() -> None:
    """A host without a port is named for 80 and 443, one with a port for that port alone; nothing else is meant."""
    named = allowed(["Mirror.Example", "10.0.0.7:8080", "[fd00::1]", "[::1]:5000", "host:443"])
    assert named.has("mirror.example", 80) and named.has("mirror.example", 443)
    assert not named.has("mirror.example", 8080) and not named.has("a.mirror.example", 443)
    assert named.has("10.0.0.7", 8080) and not named.has("10.0.0.7", 443) and not named.has("10.0.0.8", 8080)
    assert named.has("[fd00::1]", 443) and named.has("[::1]", 5000) and not named.has("[::1]", 443)
    assert named.has("host", 443) and not named.has("host", 80)


@pytest.mark.parametrize(
    "site",
    ["*", "*.example", "10.0.0.0/8", "https://host", "http://host/", "host/", "host/x", "", ":80", "host:", "host:x",
     "host:0", "host:65536", "u@host", "127.1", "0x7f.1", "2130706433", "::1", "fe80::1%eth0", "[fe80::1%eth0]", "[::1",
     "a b", "bücher.example", "host#", "host?", "127.0.0.1."],
)  # fmt: skip
def test_not_allowed(site: str) -> None:
    """A range, a pattern, a scheme or a path is no exact host: there is no way to write `everything`."""
    with pytest.raises(ConfigError, match=r"\[fetch\] allow: expected host or host:port"):
        allowed([site])


def test_also() -> None:
    """An address that somebody named in full names its own server only."""
    assert NOBODY.also("http://host/debian").has("host", 443)
    one = NOBODY.also("http://127.0.0.1:8080/x")
    assert one.has("127.0.0.1", 8080) and not one.has("127.0.0.1", 80) and not one.has("localhost", 8080)
    assert not NOBODY.sites


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("https://reader:hunter2@results.example/r", "https://results.example/r"),
        ("https://reader:hun#ter2@results.example/", "https://results.example/"),
        ("https://results.example", "https://results.example"),
        ("../shared/registry@home", "../shared/registry@home"),
    ],
)
def test_a_registrys_name(given: str, name: str) -> None:
    """A registry is called by its address without user and password, also where that cannot be read."""
    assert name_of(given) == name
