"""Rows to what is signed: claims with every digest, and the key that signs them."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from bpfcompat import keys, kmods, trailing
from bpfcompat.conditions import keyed
from bpfcompat.errors import ConfigError
from bpfcompat.files import locked, read_bounded
from bpfcompat.gate import NO_ANSWER, Row
from bpfcompat.manifest import NOT_TO_BE_HAD, row_of
from bpfcompat.manifest import Row as PublishedRow
from bpfcompat.model import Answer
from bpfcompat.note import NoteKey
from bpfcompat.plan import Pair
from bpfcompat.policy import Policy, VerdictKey
from bpfcompat.qemu import machine_class
from bpfcompat.registry.log import LogSigner, named
from bpfcompat.registry.publish import Item
from bpfcompat.rules.rooted import readers
from bpfcompat.rules.session import Session
from bpfcompat.statement import Claim
from bpfcompat.verdict import CLASSIFIER


def items_of(session: Session, rows: Sequence[Row]) -> tuple[list[Item], list[PublishedRow]]:
    """What to publish: an item for each conclusive row, and every row for the matrix."""
    items, published = [], []
    for row in rows:
        if row.answer is Answer.INCONCLUSIVE:
            published.append(_inconclusive(session, row))
            continue
        item = Item(claim_of(session, row.pair), _report(session, row.pair))
        items.append(item)
        published.append(row_of(item.claim, row.expected, row.required))
    return items, published


def own_rows(session: Session, rows: Sequence[Row]) -> list[Row]:
    """The rows that this project may sign: what a guest here said, and what its own key has signed before.

    A verdict that somebody else signed is not signed again: that would make one witness look like two.
    """
    own: str | None = None
    found = []
    for row in rows:
        if row.run is not None and row.run.lender:
            own = own or _signer(session)
            if own not in {loan["signer"] for loan in session.asker.probe(row.pair, make=False).facts["loans"]}:
                continue
        found.append(row)
    return found


def _signer(session: Session) -> str:
    """The fingerprint of the signing key, if there is one yet."""
    path = session.config.path("signing.key")
    if not path.with_name(path.name + ".pub").exists():
        return "nobody"
    return keys.fingerprint(keys.load_public(public_bytes(session), str(path)))


def claim_of(session: Session, pair: Pair) -> Claim:
    """Everything a verdict rests on, by digest."""
    asker, config = session.asker, session.config
    kernel, validator = asker.kernel(pair.kernel, make=False), asker.validator_for(pair.kernel, make=False)
    return Claim(
        object_name=pair.object,
        object_digest=asker.object(pair.object, make=False).digest,
        kernel_name=pair.kernel,
        kernel_release=kernel.release,
        kernel_arch=kernel.arch,
        vmlinuz=kernel.vmlinuz.digest,
        config=kernel.config.digest if kernel.config else None,
        validator=validator.outputs["validator"].digest,
        libbpf_version=str(validator.facts["libbpf"]),
        libbpf_source=asker.libbpf_of(session.matrix.kernels[pair.kernel].libbpf),
        initramfs=asker.initramfs(pair.kernel, make=False).digest,
        command_line=asker.command_line(pair.kernel),
        conditions=keyed(session.matrix.kernels[pair.kernel].conditions),
        modules=kmods.digest_of(asker, pair.kernel, make=False),
        machine=machine_class(config["guest.memory_mb"]),
        spec=asker.recipe(pair),
        report=asker.probe(pair, make=False).outputs["report"].digest,
        classifier=str(CLASSIFIER),
        verdict=asker.verdict(pair, make=False),
    )


def _report(session: Session, pair: Pair) -> bytes:
    return session.asker.shop.store.read(session.asker.probe(pair, make=False).outputs["report"])


def _inconclusive(session: Session, row: Row) -> PublishedRow:
    cause = NOT_TO_BE_HAD if row.not_to_be_had else row.verdict.cause if row.verdict else NO_ANSWER
    return PublishedRow(
        object_name=row.pair.object,
        object_digest=None,
        kernel_name=row.pair.kernel,
        kernel_release=row.release,
        vmlinuz=None,
        pair=None,
        bundle=None,
        answer=row.answer,
        cause=cause,
        expected=row.expected,
        required=row.required,
    )


def signing_key(session: Session) -> keys.PrivateKey:
    """The signing key; the first run of a project without one makes a development key, and says so loudly."""
    return keys.load_private(_made(session, "signing.key"), _passphrase(session))


def log_signer(session: Session) -> LogSigner:
    """The key of the registry's log, made likewise, and where it records what it signed: in `log-records` beside it."""
    path = _made(session, "signing.log_key")
    key = keys.load_log_private(path, _passphrase(session))
    return LogSigner(key, path.parent / "log-records", session.config["signing.origin"])


def _passphrase(session: Session) -> Callable[[], str]:
    variable = session.config["signing.passphrase_env"]
    return lambda: os.environ.get(variable, "")


def _made(session: Session, setting: str) -> Path:
    """The key that a setting names, which is made if it is not there."""
    path = session.config.path(setting)
    if not path.exists():
        with locked(session.asker.shop.store.root / "locks" / "signing-key", session.waiting("signing key")):
            if not path.exists():  # another first run may have made it just now
                _development_key(session, path, setting)
    return path


def _development_key(session: Session, path: Path, setting: str) -> None:
    held = [session.config.path("paths.registry"), session.config.path("paths.store")]
    log = setting == "signing.log_key"
    what, command = ("log", "bpfcompat keygen --kind log") if log else ("signing", "bpfcompat keygen")
    print_id = keys.keygen(path, None, held, log)
    trailing.write(
        session.config, "key", key=print_id, role="log" if log else "verdict", use=f"made to try out: {path}"
    )
    session.voice.say(
        f"!! no {what} key: made a DEVELOPMENT key {print_id} at {path}\n"
        f"!! it is not encrypted; for results that others rely on: {command}, and [signing] {setting.partition('.')[2]}"
    )


def public_bytes(session: Session, setting: str = "signing.key") -> bytes:
    """The public key beside the key that a setting names."""
    path = session.config.path(setting)
    public = path.with_name(path.name + ".pub")
    if not public.exists():
        raise ConfigError(f"{public}: no such file", hint="doit publish makes a key, or: bpfcompat keygen")
    return read_bounded(public, keys.MAX_KEY_BYTES, ConfigError)


def policy(session: Session) -> Policy:
    """Whom `doit verify` believes: the root document, or this project's keys and the log that the registry has."""
    rooted = readers(session.config)
    if rooted is not None:
        return rooted[1]
    signer = keys.load_public(public_bytes(session), session.config["signing.key"] + ".pub")
    log = named(session.config.path("paths.registry"))
    if log is None:
        return Policy.of_keys([signer])
    where = session.config["signing.log_key"] + ".pub"
    own = NoteKey(log.name, keys.load_log_public(public_bytes(session, "signing.log_key"), where))
    return Policy((VerdictKey(signer),), log=(own,))
