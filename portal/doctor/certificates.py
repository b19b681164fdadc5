"""Until when certificates are valid. Reads the one thing from X.509 that is asked here. Pure but for the file."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

_SEQUENCE, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x30, 0x17, 0x18, 0xA0
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


class NotACertificateError(ValueError):
    """The file holds no certificate that can be read."""


def valid_until(file: Path) -> datetime:
    """When the first certificate of a PEM file ends to be valid.

    Raises:
        OSError: the file cannot be read.
        NotACertificateError: it holds none.
    """
    text = file.read_text(encoding="ascii", errors="replace")
    if _BEGIN not in text or _END not in text:
        raise NotACertificateError(f"{file} holds no certificate")
    first = text[text.index(_BEGIN) : text.index(_END) + len(_END)]
    try:
        return _not_after(ssl.PEM_cert_to_DER_cert(first))
    except (ValueError, IndexError, KeyError) as error:
        raise NotACertificateError(f"{file} holds no certificate that can be read ({error})") from None


def _not_after(der: bytes) -> datetime:
    """RFC 5280, section 4.1: TBSCertificate ::= version?, serial, algorithm, issuer, validity (two times), ..."""
    _, certificate = _value(der, 0)
    _, fields = _value(certificate, 0)
    at = _after(fields, 0) if fields[0] == _VERSION else 0
    for _ in ("serial", "algorithm", "issuer"):
        at = _after(fields, at)
    kind, validity = _value(fields, at)
    if kind != _SEQUENCE:
        raise ValueError("no validity where it should be")
    kind, text = _value(validity, _after(validity, 0))
    form = {_UTC_TIME: "%y%m%d%H%M%SZ", _GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}[kind]
    return datetime.strptime(text.decode("ascii"), form).replace(tzinfo=UTC)


def _after(data: bytes, at: int) -> int:
    begin, length = _extent(data, at)
    return begin + length


def _value(data: bytes, at: int) -> tuple[int, bytes]:
    begin, length = _extent(data, at)
    return data[at], data[begin : begin + length]


def _extent(data: bytes, at: int) -> tuple[int, int]:
    """Where the contents of an element begin, and how long they are."""
    first = data[at + 1]
    if first < 0x80:
        return at + 2, first
    size = first & 0x7F
    return at + 2 + size, int.from_bytes(data[at + 2 : at + 2 + size], "big")
