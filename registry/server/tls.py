"""TLS 1.2 or newer from a certificate and its key, tried out before it is used."""

import ssl
from pathlib import Path

from bpfcompat.errors import ConfigError


class Certificate:
    """A certificate and its key in two files, and the context made of them; `expires` in Unix seconds."""

    def __init__(self, cert: Path, key: Path) -> None:
        self.cert = cert
        self.key = key
        self.context, self.expires = _load(cert, key)

    def reload(self) -> None:
        """Take the files as they are now, for connections to come; ConfigError, and the old ones stay."""
        self.context, self.expires = _load(self.cert, self.key)


def certificate(cert: Path | None, key: Path | None) -> Certificate | None:
    """None for neither; ConfigError for one alone, unreadable, not a pair, or out of its time."""
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise ConfigError("--tls-cert and --tls-key: expected both or neither")
    return Certificate(cert, key)


def _load(cert: Path, key: Path) -> tuple[ssl.SSLContext, float]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key, password=_no_password)
        return context, _rehearse(context, cert)
    except ssl.SSLCertVerificationError as error:
        raise ConfigError(f"{cert}: TLS certificate: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise ConfigError(f"{cert}, {key}: cannot use as a TLS certificate and key: {error.reason}") from error
    except OSError as error:
        raise ConfigError(f"{cert}, {key}: cannot read as TLS certificate and key: {error.strerror}") from error


def _no_password() -> str:
    raise ConfigError(
        "--tls-key: it is encrypted, and a server has nobody to ask", hint="give a key without passphrase"
    )


def _rehearse(context: ssl.SSLContext, cert: Path) -> float:
    """When a certificate ends, as a client sees it who shakes hands in memory and trusts this one certificate.

    SSLCertVerificationError where such a client would not: before its time, after it, broken.
    """
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    trusting.load_verify_locations(cert)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = trusting.wrap_bio(to_client, to_server)
    for side in (client, server, client, server):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    found = client.getpeercert() or {}
    return float(ssl.cert_time_to_seconds(str(found["notAfter"])))
