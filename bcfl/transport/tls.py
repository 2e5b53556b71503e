"""Encrypt connections: a server's own certificate, and how a client knows the server that it means.

A client either names a *pin*, the SHA-256 of the certificate that it expects, or has a certificate authority
(CA) vouch for the name of the host: one of the system's, or of the file that `trust` or BCFL_TLS_CA names.
"""

from __future__ import annotations

import errno
import os
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from bcfl.errors import ConfigError

CA_VARIABLE: Final = "BCFL_TLS_CA"
PIN: Final = re.compile(r"sha256=([0-9a-f]{64})")  # a fragment of an https URL
FLIGHTS: Final = 10  # of a handshake, at most
# Numbers of X509_V_ERR_...: https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/
NOT_YET, EXPIRED, NAME, ADDRESS = 9, 10, 62, 64
_trusted: list[Path] = []  # the file that `trust` has named last, if any


class Untrusted(OSError):
    """The server is not shown to be the one that is meant; its `strerror` says why, and what to do."""

    def __init__(self, text: str) -> None:
        super().__init__(errno.EPROTO, text)


@dataclass(frozen=True)
class Certificate:
    """What a server proves itself with: the context of its connections, and the pin of its certificate."""

    context: ssl.SSLContext
    fingerprint: str  # 64 hexadecimal letters

    @property
    def fragment(self) -> str:
        """Return the pin as it stands behind a URL."""
        return f"#sha256={self.fingerprint}"


@dataclass(frozen=True)
class TlsFiles:
    """The files of a server's certificate, with its chain, and its key, in PEM."""

    certificate: Path
    key: Path

    @classmethod
    def of(cls, certificate: Path | None, key: Path | None) -> TlsFiles | None:
        """Return the files of two options; None where neither is set. Raises ConfigError for one alone."""
        if certificate is None and key is None:
            return None
        if certificate is None or key is None:
            raise ConfigError("--tls-cert and --tls-key go together: name both, or neither")
        return cls(certificate, key)

    def load(self) -> Certificate:
        """Return the certificate; raises ConfigError where client could not accept it, and says why."""
        for path in (self.certificate, self.key):
            try:
                path.read_bytes()
            except OSError as error:
                raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.certificate, self.key, password=lambda: "")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise ConfigError(
                    f"{self.key} is not the key of {self.certificate}: name the one it was made with"
                ) from None
            raise ConfigError(
                f"{self.certificate} and {self.key} are no certificate and its key in PEM, without a password"
            ) from None
        return Certificate(context, self._fingerprint(context))

    def _fingerprint(self, context: ssl.SSLContext) -> str:
        """Return the pin of the certificate, by a handshake with oneself; raises ConfigError as `load`."""
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        client.load_verify_locations(self.certificate)
        inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        sides = [
            client.wrap_bio(inward, outward),
            context.wrap_bio(outward, inward, server_side=True),
        ]
        try:
            for _ in range(FLIGHTS):
                for side in sides:
                    with suppress(ssl.SSLWantReadError):
                        side.do_handshake()
        except ssl.SSLCertVerificationError as error:
            if error.verify_code in (EXPIRED, NOT_YET):
                when = "has expired" if error.verify_code == EXPIRED else "is not valid yet"
                raise ConfigError(f"the certificate {self.certificate} {when}: have a new one made") from None
            raise ConfigError(
                f"{self.certificate} is not the certificate of a server: {error.verify_message}"
            ) from None
        except ssl.SSLError as error:
            raise ConfigError(f"{self.certificate} cannot be used: {error.reason}") from None
        content = sides[0].getpeercert(binary_form=True)
        assert content is not None
        return sha256(content).hexdigest()


def trust(path: Path | None) -> None:
    """Have the CA in a file vouch for servers, in all of this process, besides those of the system.

    Raises ConfigError for a file that holds no certificate.
    """
    if path is not None:
        _trusted[:] = [path]
    ca_context()


def ca_file() -> Path | None:
    """Return the file of a CA that is trusted besides those of the system, if one is named."""
    variable = os.environ.get(CA_VARIABLE)
    return _trusted[0] if _trusted else Path(variable) if variable else None


def ca_context() -> ssl.SSLContext:
    """Return the context of connections to servers for which a CA has to vouch; raises ConfigError."""
    return _ca_context(ca_file())


@cache
def _ca_context(path: Path | None) -> ssl.SSLContext:
    """Return the same; reading the certificates takes long."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if path is not None:
        try:
            context.load_verify_locations(path)
        except OSError as error:
            reason = error.strerror if not isinstance(error, ssl.SSLError) else "no certificate in PEM"
            raise ConfigError(f"{path} is not the file of a CA: {reason}") from None
    return context


@cache
def pin_context() -> ssl.SSLContext:
    """Return the context of connections to servers that a pin identifies."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


def check_pin(connection: ssl.SSLSocket, host: str, pin: str) -> None:
    """Raise Untrusted unless the server's certificate is the pinned one; nothing has been sent by then."""
    content = connection.getpeercert(binary_form=True)
    if content is None or sha256(content).hexdigest() != pin:
        raise Untrusted(f"{host} has another certificate than the pinned one")


def pin_of(fragment: str) -> str | None:
    """Return the pin in the fragment of a URL, None where it is empty; raises ValueError for another."""
    if not fragment:
        return None
    match = PIN.fullmatch(fragment)
    if match is None:
        raise ValueError("a fragment that is no pin")
    return match[1]


def reason_of(error: ssl.SSLError, host: str) -> str:
    """Return in one line why a handshake failed, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code == EXPIRED:
            return f"the certificate of {host} has expired"
        if error.verify_code == NOT_YET:
            return f"the certificate of {host} is not valid yet: is the clock of this machine right?"
        if NAME <= error.verify_code <= ADDRESS:
            return f"the certificate is not one for {host}"
        return (
            f"no CA that is known here vouches for the certificate of {host}: name its CA with "
            f"{CA_VARIABLE}, or pin the certificate behind the URL, #sha256=..."
        )
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return f"{host} does not speak TLS at that port"
    return f"{host} fails the TLS handshake ({(error.reason or 'no reason').lower().replace('_', ' ')})"
