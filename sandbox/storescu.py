# SPDX-License-Identifier: AGPL-3.0-or-later
"""C-STORE sender of the sandbox (PS3.4 annex B), as a modality that sends an exam to the PACS.

Files leave as they are, in their own transfer syntax: nothing is decoded or transcoded, and one file
at a time is in memory.  One association, one presentation context for each pair of SOP class and syntax.
"""

from __future__ import annotations

import argparse
import socket
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pynetdicom import _config, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

_LOST, _SILENT = "association lost", "no answer"
_MAX_CONTEXTS = 128  # odd identifiers from 1 to 255 (PS3.8 9.3.2.2)


class AssociationError(ConnectionError):
    """No association: nobody listens, or the receiver refuses us; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that was not stored, and why (English, for the journal)."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of the files: counts, duration of the whole exchange, bytes of the files stored."""

    sent: int
    failed: int
    seconds: float
    bytes_sent: int
    failures: tuple[Failure, ...] = ()

    @property
    def rate(self) -> float:
        """Files per second."""
        return self.sent / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class _Item:
    path: Path
    sop_class: str
    syntax: str
    size: int


def send(
    paths: Iterable[Path],
    host: str,
    port: int,
    calling: str = "SANDBOX",
    called: str = "DRIMBOX",
    on_progress: Callable[[int, int], None] | None = None,
    timeout: float = 30.0,
) -> SendResult:
    """Store the files at `host`:`port`; `on_progress(done, total)` is called after each, stored or not.

    `timeout` (seconds) limits the connection, the negotiation and the wait for each answer.  A file
    that is not DICOM, is refused or comes after a lost association is listed in `failures`.  Raises
    AssociationError where no association comes about, ValueError beyond 128 pairs of class and syntax.
    """
    begin = time.monotonic()
    items, failures = _read(paths)
    total, stored, done = len(items) + len(failures), 0, len(failures)
    if items:
        association = _associate(items, host, port, calling, called, timeout)
        lost = False
        try:
            for item in items:
                reason = _LOST if lost else _store(association, item)
                lost = lost or reason in (_LOST, _SILENT)
                if reason:
                    failures.append(Failure(item.path, reason))
                else:
                    stored += item.size
                done += 1
                if on_progress:
                    on_progress(done, total)
        finally:
            if association.is_established and not lost:
                association.release()
            else:
                association.abort()
    return SendResult(total - len(failures), len(failures), time.monotonic() - begin, stored, tuple(failures))


def _read(paths: Iterable[Path]) -> tuple[list[_Item], list[Failure]]:
    items: list[_Item] = []
    failures: list[Failure] = []
    for path in paths:
        try:
            meta = read_file_meta_info(path)
            size = Path(path).stat().st_size
            items.append(_Item(Path(path), str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID), size))
        except (InvalidDicomError, AttributeError, OSError) as error:
            failures.append(Failure(Path(path), f"not a DICOM file: {type(error).__name__}"))
    return items, failures


def _associate(items: list[_Item], host: str, port: int, calling: str, called: str, timeout: float) -> Association:
    pairs = sorted({(item.sop_class, item.syntax) for item in items})
    if len(pairs) > _MAX_CONTEXTS:
        raise ValueError(f"{len(pairs)} pairs of SOP class and transfer syntax, an association holds {_MAX_CONTEXTS}")
    # a process-wide switch of the library: paths are sent as they are, without decoding
    _config.STORE_SEND_CHUNKED_DATASET = True
    entity = ApplicationEntity(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = timeout
    association = entity.associate(
        host,
        port,
        [build_context(sop_class, syntax) for sop_class, syntax in pairs],
        ae_title=called,
        evt_handlers=[(evt.EVT_CONN_OPEN, _no_delay)],
    )
    if association.is_established:
        return association
    if association.is_rejected:
        raise AssociationError(f"{called} à {host}:{port} refuse l'association de {calling}")
    raise AssociationError(f"aucune association DICOM avec {called} à {host}:{port}")


def _no_delay(event: evt.Event) -> None:
    """Switch Nagle's algorithm off: with delayed acknowledgements it holds each message back by 40 ms."""
    wrapper = event.assoc.dul.socket
    if wrapper is not None and wrapper.socket is not None:
        wrapper.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _store(association: Association, item: _Item) -> str:
    """Send one file; gives "" or the reason why it is not stored."""
    if not association.is_established:
        return _LOST
    try:
        status = association.send_c_store(item.path)
    except (ValueError, AttributeError):
        return f"presentation context not accepted: {item.sop_class} in {item.syntax}"
    except (RuntimeError, OSError) as error:
        return f"not sent: {type(error).__name__}"
    code: int | None = status.get("Status")
    if code is None:
        return _SILENT
    # success, and the warnings of PS3.4 B.2.3 (stored, with elements coerced or discarded)
    return "" if code in (0x0000, 0xB000, 0xB006, 0xB007) else f"refused with status 0x{code:04X}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit status."""
    parser = argparse.ArgumentParser(prog="sandbox.storescu", description="Envoie des fichiers DICOM par C-STORE.")
    parser.add_argument("paths", nargs="+", type=Path, help="fichiers ou dossiers")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--calling", default="SANDBOX")
    parser.add_argument("--called", default="DRIMBOX")
    args = parser.parse_args(argv)
    files = [f for p in args.paths for f in (sorted(p.rglob("*.dcm")) if p.is_dir() else [p])]
    try:
        result = send(files, args.host, args.port, args.calling, args.called)
    except (AssociationError, ValueError) as error:
        print(f"Rien n'est envoyé : {error}", file=sys.stderr)
        return 1
    for failure in result.failures[:10]:
        print(f"Non envoyé : {failure.path} ({failure.reason})", file=sys.stderr)
    print(f"{result.sent} fichiers envoyés, {result.failed} en échec, {result.bytes_sent / 1e6:.1f} Mo, "
          f"{result.seconds:.1f} s ({result.rate:.0f} images/s)")  # fmt: skip
    return 1 if result.failed else 0


if __name__ == "__main__":
    sys.exit(main())
