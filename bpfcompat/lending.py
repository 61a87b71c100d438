"""Files by digest, to and from registries: what a lock pins by its digest needs nobody's word for it.

`blobs/<hex>` of a registry holds bytes of that digest.  A lock names packages by digest, and can name the validators
that were built of the very sources that lie here; so whoever has these bytes may lend them, and where nobody can, the
mirror and the compiler are asked as ever.  A validator is lent as one file, all of its outputs in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfcompat.digest import canonical, digest_bytes
from bpfcompat.errors import BpfcompatError, TrustError
from bpfcompat.origins import name_of
from bpfcompat.registry import layout
from bpfcompat.strictbase64 import encode64, strict64
from bpfcompat.strictjson import members, parse_json

if TYPE_CHECKING:
    from bpfcompat.realise import Realiser
    from bpfcompat.registry.client import Source
    from bpfcompat.store import Entry, Store

KERNELS, VALIDATORS, INPUTS = "kernels", "validators", "inputs"
WHOLE = frozenset({"validator", "libbpf.so", "attach.tsv"})  # what no validator lacks, beside libbpf's headers
MAX_ARCHIVE_BYTES = 64 << 20
_NAME = re.compile(r"validator|libbpf\.so|attach\.tsv|include/bpf/[A-Za-z0-9_]{1,60}(?:\.bpf)?\.h")


def source_of(steps: Realiser, url: str) -> Source:
    """A registry that the settings name: a folder, or a server behind the guard of downloads."""
    from bpfcompat.registry.client import Folder, Web

    if url.startswith(("http://", "https://")):
        return Web(url, steps.allowed)
    return Folder(steps.shop.config.root / Path(url).expanduser())


def borrowed(steps: Realiser, what: str, label: str, digest: str, size: int) -> bytes | None:
    """The bytes of a digest, from the first registry that has them; None where none has, or they are not borrowed.

    Says from whom they came, and what is wrong with a registry; `label` is who waits for them.
    """
    config, say = steps.shop.config, steps.shop.voice.say
    for url in config["substituters.url"] if what in config["substituters.borrow"] else ():
        try:
            data = fetched(source_of(steps, url), digest, size)
        except BpfcompatError as error:
            say(f"!! borrow: {name_of(url)}: {label}: {error}"[:400])
            continue
        if data is not None:
            say(f"   {label}: {len(data)} bytes borrowed from {name_of(url)}")
            return data
    return None


def fetched(source: Source, digest: str, limit: int) -> bytes | None:
    """The blob of a registry, None where it has none; TrustError for other bytes than its name says."""
    data = source.read(layout.blob_path(digest), limit)
    if data is not None and digest_bytes(data) != digest:
        raise TrustError(f"{layout.blob_path(digest)}: its bytes are not what its name says")
    return data


def archive(store: Store, validator: Entry) -> bytes:
    """A validator as one file; equal ones are equal bytes."""
    outputs = {name: encode64(store.read(blob)) for name, blob in validator.outputs.items()}
    return canonical({"libbpf": str(validator.facts["libbpf"]), "outputs": outputs})


def unarchive(data: bytes) -> tuple[Mapping[str, bytes], Mapping[str, Any]]:
    """Outputs and facts of a validator's action; TrustError for anything but what `archive` writes."""
    found = members(parse_json(data, "validator", MAX_ARCHIVE_BYTES), "validator", "libbpf", "outputs")
    outputs, version = found["outputs"], found["libbpf"]
    if not isinstance(outputs, dict) or not isinstance(version, str) or not outputs.keys() >= WHOLE:
        raise TrustError("validator: expected its version of libbpf and all of its outputs")
    return dict(_outputs(outputs)), {"libbpf": version}


def _outputs(given: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    for name, text in given.items():
        if not _NAME.fullmatch(name) or not isinstance(text, str):
            raise TrustError(f"validator: expected no such output: {name[:60]!r}")
        yield name, strict64(text.encode("utf-8"), f"validator: {name}")
