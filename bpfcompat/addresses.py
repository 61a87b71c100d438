"""What an address on a network is: open to everybody, inside somebody's network, or never a place to fetch from.

The list is our own, beside what Python's ipaddress knows: that differs from version to version (3.11.7 does not have
the ranges of 2024) and calls multicast global.  Sources: IANA's registries of special-purpose IPv4 and IPv6 addresses,
and the clouds' documentation for where their metadata is.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address

# Inside: a host that the machine's owner has named may be there.
_INSIDE = {
    "127.0.0.0/8": "loopback",
    "10.0.0.0/8": "private",
    "172.16.0.0/12": "private",
    "192.168.0.0/16": "private",
    "100.64.0.0/10": "shared behind a carrier's NAT",
    "192.0.2.0/24": "for documentation",
    "198.51.100.0/24": "for documentation",
    "203.0.113.0/24": "for documentation",
    "198.18.0.0/15": "for benchmarks",
    "::1/128": "loopback",
    "fc00::/7": "private",
    "fec0::/10": "site-local",
    "2001:db8::/32": "for documentation",
    "3fff::/20": "for documentation",
}
# Never: no name may lead there, whoever gave it.
_NEVER = {
    "0.0.0.0/8": "this machine without a name",
    "169.254.0.0/16": "link-local, where clouds keep their metadata",
    "100.100.100.200/32": "a cloud's metadata",
    "168.63.129.16/32": "a cloud's own agent",
    "192.0.0.0/24": "for protocols",
    "192.88.99.0/24": "6to4",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
    "::/96": "IPv4 in a form nobody uses",
    "::ffff:0:0/96": "IPv4 in disguise",
    "::ffff:0:0:0/96": "IPv4 translated",
    "64:ff9b:1::/48": "IPv4 translated within a network",
    "100::/64": "for discarding",
    "2001::/32": "Teredo",
    "2001::/23": "for protocols",
    "2002::/16": "6to4",
    "5f00::/16": "segment routing",
    "fe80::/10": "link-local",
    "fd00:ec2::254/128": "a cloud's metadata",
    "fd20:ce::254/128": "a cloud's metadata",
    "ff00::/8": "multicast",
}
_NAT64 = IPv6Network("64:ff9b::/96")
_UNICAST6 = IPv6Network("2000::/3")
_ISATAP = (0x00005EFE, 0x02005EFE)


@dataclass(frozen=True, slots=True)
class Special:
    """Why an address is not open to everybody, in words; `inside`: a named host may be there."""

    why: str
    inside: bool


def _table() -> tuple[tuple[IPv4Network | IPv6Network, Special], ...]:
    """All ranges, the narrowest first."""
    rows = [(ip_network(r), Special(f"{w} ({r})", inside)) for table, inside in ((_INSIDE, True), (_NEVER, False))
            for r, w in table.items()]  # fmt: skip
    return tuple(sorted(rows, key=lambda row: -row[0].prefixlen))


_RANGES = _table()


def special(address: Address) -> Special | None:
    """What keeps an address from being fetched from without being named; None for one that is open to everybody."""
    if isinstance(address, IPv6Address) and address in _NAT64:
        inner = special(IPv4Address(int(address) & 0xFFFFFFFF))
        return Special(f"IPv4 translated ({_NAT64})", inner is None or inner.inside)
    for network, found in _RANGES:
        if address in network:
            return found
    if isinstance(address, IPv6Address) and (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return Special("IPv4 in a tunnel (ISATAP)", False)
    if not address.is_global or address.is_multicast or (address.version == 6 and address not in _UNICAST6):
        return Special("not open to everybody", False)
    return None


def plain(host: str) -> Address | None:
    """The address that a host in a URL is, None for a name; ValueError for a number that is written in another way.

    `127.1`, `0x7f.0.0.1`, `2130706433` and `0177.0.0.1` are 127.0.0.1 to the C library and to some others, and
    something else to the rest.  As in the URL standard, a host whose last label is a number means an address.
    """
    if host.startswith("[") and host.endswith("]"):
        return IPv6Address(host[1:-1]) if "%" not in host else _odd(host)
    last = host.removesuffix(".").rpartition(".")[2].lower()
    if not (last.isdecimal() or (last.startswith("0x") and all(c in "0123456789abcdef" for c in last[2:]))):
        return None
    try:
        return IPv4Address(host)
    except ValueError:
        return _odd(host)


def _odd(host: str) -> Address:
    raise ValueError(f"{host}: expected an address in its plain form")


def parse(text: str) -> Address | None:
    """An address as a resolver gives it, a scope after % left out; None for anything else."""
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None
