"""Addresses: which are open to everybody, and the many ways to write one that is not."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat.addresses import parse, plain, special
from tests.addressing import embedded, spellings

OPEN = ("1.1.1.1", "8.8.8.8", "93.184.216.34", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0",
        "192.167.255.255", "192.169.0.0", "223.255.255.255", "2606:4700::1111", "2a00:1450:4001:80b::200e",
        "2003::1", "2400:cb00::1", "2620:fe::fe")  # fmt: skip
INSIDE = ("127.0.0.1", "127.255.255.254", "10.0.0.0", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1",
          "100.64.0.1", "100.127.255.254", "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "198.19.255.255",
          "::1", "fc00::1", "fd12:3456::1", "fec0::1", "feff:ffff::1", "2001:db8::1", "3fff::1", "3fff:fff::1",
          "64:ff9b::8.8.8.8", "64:ff9b::127.0.0.1")  # fmt: skip
NEVER = ("0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192",
         "192.88.99.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "::", "::127.0.0.1",
         "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1", "64:ff9b:1::1", "64:ff9b::169.254.169.254",
         "100::1", "100:0:0:1::1", "2001::1", "2001:2::1", "2001:10::1", "2001:20::1", "2002:7f00:1::", "5f00::1",
         "fe80::1", "febf::1", "fd00:ec2::254", "fd20:ce::254", "ff02::1", "ff0e::1", "4000::1", "8000::1", "e000::1",
         "2a00::5efe:10.0.0.1", "2a00::200:5efe:10.0.0.1")  # fmt: skip


@pytest.mark.parametrize("text", OPEN)
def test_open(text: str) -> None:
    """An ordinary address, also just outside a special range, is open to everybody."""
    assert special(ip_address(text)) is None


@pytest.mark.parametrize("text", INSIDE)
def test_inside(text: str) -> None:
    """A host that was named may be inside a network."""
    found = special(ip_address(text))
    assert found is not None and found.inside


@pytest.mark.parametrize("text", NEVER)
def test_never(text: str) -> None:
    """Metadata, link-local, multicast, and IPv4 wrapped in IPv6 are no place for any name."""
    found = special(ip_address(text))
    assert found is not None and not found.inside


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_nothing_beyond_python(address: IPv4Address) -> None:
    """What Python's own list does not call global is special here as well."""
    if not address.is_global or address.is_multicast:
        assert special(address) is not None


@given(st.integers(0, 2**128 - 1).map(IPv6Address))
def test_nothing_beyond_python_6(address: IPv6Address) -> None:
    """The same of IPv6; and only what has been handed out is open."""
    if not address.is_global or address.is_multicast or int(address) >> 125 != 1:
        assert special(address) is not None


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_embedded(address: IPv4Address) -> None:
    """No form that carries an IPv4 address inside an IPv6 one is open, whatever it carries."""
    assert [form for form, six in embedded(address).items() if special(six) is None] == []


def test_words() -> None:
    """The reason names the range, and the narrowest one wins."""
    assert special(ip_address("10.1.2.3")).why == "private (10.0.0.0/8)"  # type: ignore[union-attr]
    assert "metadata" in special(ip_address("100.100.100.200")).why  # type: ignore[union-attr]
    assert "Teredo" in special(ip_address("2001::1")).why  # type: ignore[union-attr]


@given(st.integers(1 << 24, 2**32 - 1).map(IPv4Address))
def test_spellings(address: IPv4Address) -> None:
    """Of all ways to write an IPv4 address only the plain one is taken for one."""
    assert plain(str(address)) == address
    assert [form for form, text in spellings(address).items() if not is_odd(text)] == []


def is_odd(host: str) -> bool:
    try:
        plain(host)
    except ValueError:
        return True
    return False


@pytest.mark.parametrize("host", ["example.org", "localhost", "a.0xg", "1.example", "127.0.0.1.example.org", "x0x1"])
def test_names(host: str) -> None:
    """A name that only looks a little like a number is a name."""
    assert plain(host) is None


@pytest.mark.parametrize("host", ["[fe80::1%eth0]", "[]", "[1.2.3.4]", "[::g]", "1.2.3.256", "1.2.3.4.5", "0x"])
def test_broken(host: str) -> None:
    """What is neither a name nor an address is an error, a zone among them."""
    assert is_odd(host)


def test_parse() -> None:
    """A resolver's answer may carry a scope."""
    assert parse("fe80::1%eth0") == IPv6Address("fe80::1")
    assert parse("1.2.3.4") == IPv4Address("1.2.3.4")
    assert parse("x") is None
