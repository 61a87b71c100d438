"""`bpfcompat keys …`, behind the grammar of keycommands.py: files in, files out, and the words.

A draft is a root document that nobody has signed; a signature is a file of its own, so that every root holder signs on
a machine of their own.  Nothing is written to a registry before enough of them did.
"""

import argparse
import functools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from bpfcompat import trailing
from bpfcompat.digest import canonical
from bpfcompat.errors import ConfigError, Exit, TrustError
from bpfcompat.files import read_bounded, write_atomic
from bpfcompat.keys import (
    MAX_KEY_BYTES,
    LogPublicKey,
    PublicKey,
    fingerprint,
    keygen,
    load_log_private,
    load_log_public,
    load_public,
    passphrase_in,
)
from bpfcompat.logentry import trusted_root
from bpfcompat.note import Kind, keygen_named, parse_vkey
from bpfcompat.registry.roots import log_size, published, put
from bpfcompat.rootchain import pinned, sign, signers
from bpfcompat.rootdoc import MAX_BYTES, Document, Key, Root, document, parse, parse_time
from bpfcompat.rootedit import add, changes, drop, end, expire, lines, name_of, next_version, role_of, rotate
from bpfcompat.strictjson import parse_json

# --- making


def _new(options: argparse.Namespace) -> int:
    secret = passphrase_in(options.passphrase_env)
    if options.name is None:
        made = keygen(options.path, secret, log=options.role != "verdict")
    elif options.role in ("log", "witness"):
        made = fingerprint(keygen_named(options.path, Kind[options.role.upper()], options.name, secret).key)
    else:
        raise ConfigError("--name: only a log's and a witness's key has one in its file")
    trailing.note("key", key=made, role=options.role, use=f"made: {options.path}")
    print(f"{made}  {options.path} (private), {options.path}.pub (public), for the role {options.role} alone")
    return int(Exit.OK)


def _init(options: argparse.Namespace) -> int:
    now = int(time.time())
    keys = [_key("verdict", path, None, options.name, now) for path in options.verdict]
    keys += [_key("log", path, None, options.name, now) for path in options.log]
    for text in options.witness:
        name, _, path = text.rpartition("=")
        keys.append(_key("witness", Path(path), name or None, options.name, now))
    holders = tuple(_holder(path) for path in options.root)
    expires = now + _days(options.days) * 86400
    return _write(
        options.draft, Root(options.name, 1, expires, options.threshold, holders, tuple(keys), options.needed)
    )


def _draft(options: argparse.Namespace) -> int:
    return _write(options.draft, next_version(_read(options.old).root, int(time.time()), _days(options.days)))


def _holder(path: Path) -> LogPublicKey:
    return load_log_public(read_bounded(path, MAX_KEY_BYTES, ConfigError), str(path))


def _key(role: str, path: Path, name: str | None, registry: str, now: int) -> Key:
    """A key file as a key of a role, from now on."""
    data = read_bounded(path, MAX_KEY_BYTES, ConfigError)
    key: LogPublicKey | PublicKey
    if role == "verdict":
        key = load_public(data, str(path))
    elif data.lstrip().startswith(b"-----"):
        key = load_log_public(data, str(path))
    else:
        noted = parse_vkey(data.decode("utf-8", "replace"))
        if noted.kind is not (Kind.WITNESS if role == "witness" else Kind.LOG):
            raise TrustError(f"{path}: expected a {role}'s vkey, got a {noted.kind.name.lower()}'s")
        key, name = noted.key, name or noted.name
    if role == "witness" and not name:
        raise ConfigError(f"{path}: a witness needs its name", hint="NAME=PUB, or its vkey")
    return Key(role, registry if role == "log" else name or path.stem, key, now)


# --- editing


def _add(options: argparse.Namespace) -> int:
    root = _editable(options.draft)
    return _write(options.draft, add(root, _new_key(root, options.role, options.public, options.name)))


def _rotate(options: argparse.Namespace) -> int:
    root, old = _editable(options.draft), _id(options.key)
    role = role_of(root, old)
    new = _new_key(root, role, options.public, name_of(root, old) if role == "witness" else None)
    return _write(options.draft, rotate(root, old, new, _below(options)))


def _new_key(root: Root, role: str, path: Path, name: str | None) -> Key | LogPublicKey:
    return _holder(path) if role == "root" else _key(role, path, name, root.name, int(time.time()))


def _revoke(options: argparse.Namespace) -> int:
    below = _below(options)
    if below is None:
        raise ConfigError("keys revoke: from which log index on", hint="--below N, or --log REGISTRY for its size")
    return _write(options.draft, end(_editable(options.draft), _id(options.key), below))


def _expire(options: argparse.Namespace) -> int:
    # a second later, as a key may have begun in this one
    at = parse_time(options.at, "--at") if options.at else int(time.time()) + 1
    root = expire(_editable(options.draft), _id(options.key), at)
    below = _below(options)
    return _write(options.draft, root if below is None else end(root, _id(options.key), below))


def _drop(options: argparse.Namespace) -> int:
    return _write(options.draft, drop(_editable(options.draft), _id(options.key)))


def _set(options: argparse.Namespace) -> int:
    given = {n: getattr(options, n) for n in ("threshold", "needed") if getattr(options, n) is not None}
    if options.days is not None:
        given["expires"] = int(time.time()) + _days(options.days) * 86400
    if not given:
        raise ConfigError("keys set: nothing to set", hint="--threshold, --needed or --days")
    return _write(options.draft, replace(_editable(options.draft), **given))


def _below(options: argparse.Namespace) -> int | None:
    if options.below is not None and options.log is not None:
        raise ConfigError("--below and --log: expected one of them")
    return log_size(options.log) if options.log is not None else options.below


def _days(days: int) -> int:
    if not 1 <= days <= 3650:
        raise ConfigError(f"--days: expected 1 to 3650, got {days}")
    return days


# --- files


def _id(text: str) -> str:
    """The id of a key: as it was given, or of the public key in the file of that name."""
    path = Path(text)
    if not path.is_file():
        return text
    data = read_bounded(path, MAX_KEY_BYTES, ConfigError)
    try:
        return fingerprint(load_public(data, text))
    except TrustError:
        return fingerprint(load_log_public(data, text))


def _read(path: Path) -> Document:
    """A document in a file, or the newest of a registry's folder."""
    if not path.is_dir():
        return parse(read_bounded(path, MAX_BYTES, ConfigError), str(path))
    found = published(path)
    if found is None:
        raise ConfigError(f"{path}: has no root document", hint="bpfcompat keys init")
    return found


def _editable(path: Path) -> Root:
    found = _read(path)
    if path.is_dir() or found.signatures:
        raise ConfigError(
            f"{path}: is signed, and not to be edited", hint="bpfcompat keys draft makes the next version"
        )
    return found.root


def _write(path: Path, root: Root) -> int:
    """The draft, in place; and what it says, for whoever will sign it."""
    if path.exists():
        _editable(path)
    write_atomic(path, document(root, {}))
    print("\n".join([f"draft {path}", *lines(root, int(time.time()))]))
    return int(Exit.OK)


# --- signing


def _show(options: argparse.Namespace) -> int:
    found, now = _read(options.document), int(time.time())
    if options.since:
        print("\n".join(changes(_read(options.since).root, found.root, now)) or "  nothing changed")
        return int(Exit.OK)
    held = signers(found.payload, found.signatures, found.root.holders)
    print("\n".join([*lines(found.root, now), f"signed by {', '.join(held) or 'nobody: a draft'}"]))
    print(f"digest {found.digest}")
    return int(Exit.OK)


def _sign(options: argparse.Namespace) -> int:
    found = _read(options.draft)
    key = load_log_private(options.key, lambda: passphrase_in(options.passphrase_env) or "")
    keyid = fingerprint(key.public_key())
    where = options.draft.with_name(f"{options.draft.name}.{_short(keyid)}.sig")
    print("\n".join([*lines(found.root, int(time.time())), f"digest {found.digest}"]))
    trailing.note("key", key=keyid, role="root", use=f"signed version {found.root.version}, {found.digest}")
    body = {"keyid": keyid, "root": found.digest, "sig": sign(found.payload, key).hex()}
    write_atomic(where, canonical(body) + b"\n")
    if keyid not in map(fingerprint, found.root.holders):
        print(f"{keyid} is no root key of this version: it counts only if it is one of the version before")
    print(f"signed by {keyid}: {where}")
    return int(Exit.OK)


def _trusted_root(options: argparse.Namespace) -> int:
    found = _read(options.document)
    pinned(found.data, str(options.document))
    write_atomic(options.out, trusted_root(*found.root.logs))
    print(f"{options.out}: {len(found.root.logs)} log keys of {found.root.name}, version {found.root.version}")
    return int(Exit.OK)


def _short(keyid: str) -> str:
    """A key id's beginning, as part of a file's name."""
    return keyid.removeprefix("SHA256:")[:12].replace("/", "_").replace("+", "-")


def _publish(options: argparse.Namespace) -> int:
    found = _read(options.draft)
    signatures = dict(found.signatures)
    for path in options.signature:
        keyid, signature = _signature(path, found)
        signatures[keyid] = signature
    data = document(found.root, signatures)
    version, name, place = found.root.version, found.root.name, str(options.registry)
    with _refusals(f"root {version} for {options.registry}"):
        new = put(options.registry, data, lambda who: print(f"   waits for {who}", flush=True))
    if new:
        by = ", ".join(signatures)
        trailing.note("root", registry=place, name=name, version=version, digest=found.digest, signed_by=by)
    print(f"root {version} is {'now' if new else 'already'} in {options.registry}, digest {found.digest}")
    if version == 1 and new:
        print(f"give {options.registry}/root/1.json to readers, by a way that they trust")
    return int(Exit.OK)


def _signature(path: Path, found: Document) -> tuple[str, bytes]:
    """Who signed this draft, and the signature, from a file of `keys sign`; whether it holds is not judged here."""
    value = parse_json(read_bounded(path, MAX_BYTES, ConfigError), str(path), MAX_BYTES)
    if (
        not isinstance(value, dict)
        or set(value) != {"keyid", "root", "sig"}
        or not all(isinstance(v, str) for v in value.values())
    ):
        raise TrustError(f"{path}: expected a signature that `bpfcompat keys sign` wrote")
    if value["root"] != found.digest:
        raise TrustError(
            f"{path}: is of {value['root'][:80]}, the draft is {found.digest}", hint="sign the draft again"
        )
    try:
        return value["keyid"], bytes.fromhex(value["sig"])
    except ValueError:
        raise TrustError(f"{path}: sig: expected hex") from None


def _refusals(what: str) -> AbstractContextManager[None]:
    config = trailing.here(Path.cwd())
    return nullcontext() if config is None else trailing.refusals(config, what)


def _asked(call: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """The command, where what contradicts itself is the asker's own input and no stranger's."""

    @functools.wraps(call)
    def run(options: argparse.Namespace) -> int:
        try:
            return call(options)
        except TrustError as error:
            raise ConfigError(error.message, error.hint) from None

    return run


_EDITS = {"init": _init, "draft": _draft, "add": _add, "rotate": _rotate, "revoke": _revoke, "expire": _expire,
          "drop": _drop, "set": _set}  # fmt: skip
COMMANDS = {
    "new": _new,
    "show": _show,
    "sign": _sign,
    "publish": _publish,
    "trusted-root": _trusted_root,
    **{n: _asked(c) for n, c in _EDITS.items()},
}
