"""The ways to write an IPv4 address that some C library or browser understands, and those to hide one in IPv6."""

from ipaddress import IPv4Address, IPv6Address

ZERO = ord("０")


def spellings(address: IPv4Address) -> dict[str, str]:
    """Texts by form, none of them the plain one; the address must be 1.0.0.0 or higher."""
    number, parts = int(address), address.packed
    low16, low24 = number & 0xFFFF, number & 0xFFFFFF
    return {
        "decimal": f"{number}",
        "decimal, zeros": f"0000{number}",
        "hex": f"{number:#x}",
        "hex, upper": f"0X{number:08X}",
        "octal": f"0{number:o}",
        "octal, zeros": f"000{number:o}",
        "two parts": f"{parts[0]}.{low24}",
        "two parts, hex": f"{parts[0]:#x}.{low24:#x}",
        "three parts": f"{parts[0]}.{parts[1]}.{low16}",
        "three parts, octal": f"0{parts[0]:o}.0{parts[1]:o}.0{low16:o}",
        "hex parts": ".".join(f"{part:#x}" for part in parts),
        "hex parts, zeros": ".".join(f"0x{part:010x}" for part in parts),
        "octal parts": ".".join(f"0{part:o}" for part in parts),
        "octal parts, zeros": ".".join(f"0000{part:o}" for part in parts),
        "mixed": f"{parts[0]:#x}.0{parts[1]:o}.{low16}",
        "padded": ".".join(f"{part:04}" for part in parts),
        "final dot": f"{address}.",
        "decimal, final dot": f"{number}.",
        "five parts": f"{address}.0",
        "overflow": f"{number + 2**32}",
        "overflowing part": f"{parts[0] + 256}.{parts[1]}.{parts[2]}.{parts[3]}",
    }


def beyond_ascii(address: IPv4Address) -> dict[str, str]:
    """Texts that turn into the address once somebody normalises them."""
    plain = str(address)
    return {
        "wide digits": "".join(chr(ZERO + int(c)) if c.isdigit() else c for c in plain),
        "wide dots": plain.replace(".", "．"),
        "ideographic dots": plain.replace(".", "。"),
        "percent": "".join(f"%{ord(c):02x}" for c in plain),
        "percent dots": plain.replace(".", "%2e"),
        "circled": plain.replace("1", "①"),
        "soft hyphen": plain[:1] + "\u00ad" + plain[1:],
    }


def embedded(address: IPv4Address) -> dict[str, IPv6Address]:
    """IPv6 addresses that carry this IPv4 one."""
    four = int(address)
    return {
        "mapped": IPv6Address((0xFFFF << 32) | four),
        "compatible": IPv6Address(four),
        "translated": IPv6Address((0xFFFF << 48) | four),
        "NAT64": IPv6Address((0x64FF9B << 96) | four),
        "local NAT64": IPv6Address((0x64FF9B0001 << 80) | four),
        "6to4": IPv6Address((0x2002 << 112) | (four << 80) | 1),
        "Teredo": IPv6Address((0x20010000 << 96) | (four << 64) | (0xFFFFFFFF ^ four)),
        "ISATAP": IPv6Address((0x2A00 << 112) | (0x5EFE << 32) | four),
        "ISATAP, global": IPv6Address((0x2A00 << 112) | (0x02005EFE << 32) | four),
    }
