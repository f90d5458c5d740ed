# SPDX-License-Identifier: AGPL-3.0-or-later
"""The sender stores files unchanged, in their own syntax, and tells each failure."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    UltrasoundMultiFrameImageStorage,
)  # fmt: skip
from pynetdicom import AE, evt

from sandbox import exams, storescu
from sandbox.exams_common import in_threads

ALL = [ExplicitVRLittleEndian, JPEGLSLossless, JPEGBaseline8Bit]


# pynetdicom drops its socket without closing it where the connection is refused
LEAK = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


class Receiver:
    """A small PACS in this process: keeps what arrives, answers what `verdict` says."""

    def __init__(self) -> None:
        self.received: dict[str, bytes] = {}
        self.callers: list[str] = []
        self.verdict: Callable[[evt.Event], int] = lambda event: 0x0000

    def store(self, event: evt.Event) -> int:
        status = self.verdict(event)
        if status == 0:
            self.received[str(event.dataset.SOPInstanceUID)] = event.encoded_dataset()
            self.callers.append(str(event.assoc.requestor.ae_title))
        return status


@contextmanager
def listening(receiver: Receiver, syntaxes: Sequence[UID] = ALL, **options: object) -> Iterator[int]:
    entity = AE("DRIMBOX")
    entity.require_called_aet = bool(options.get("strict"))
    for sop_class in (CTImageStorage, ComputedRadiographyImageStorage, UltrasoundMultiFrameImageStorage):
        entity.add_supported_context(sop_class, syntaxes)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, receiver.store)])
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three CT slices (JPEG-LS) and an ultrasound loop (JPEG Baseline)."""
    folder = tmp_path_factory.mktemp("send")
    ct = exams.make_exam("ct", folder / "ct").paths[:3]
    return [*ct, *exams.make_exam("us", folder / "us").paths]


def test_files_arrive_byte_for_byte_in_their_own_syntax(files: list[Path]) -> None:
    receiver, steps = Receiver(), []
    with listening(receiver) as port:
        result = storescu.send(
            files, "127.0.0.1", port, calling="MODALITE", on_progress=lambda d, t: steps.append((d, t))
        )
    assert (result.sent, result.failed, result.failures) == (4, 0, ())
    assert result.bytes_sent == sum(p.stat().st_size for p in files)
    assert result.seconds > 0
    assert result.rate == pytest.approx(4 / result.seconds)
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert set(receiver.callers) == {"MODALITE"}
    for path in files:
        got = receiver.received[str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)]
        whole = path.read_bytes()
        syntax = pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID
        assert syntax.encode() in got[:600]
        body = got[got.index(b"\x08\x00\x05\x00CS") :]  # from (0008,0005) on: the dataset
        assert whole.endswith(body)


def test_nagle_is_off_on_the_senders_socket(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    store = storescu._store

    def spy(association: Any, item: Any) -> str:
        seen.append(association.dul.socket.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        return store(association, item)

    monkeypatch.setattr(storescu, "_store", spy)
    with listening(Receiver()) as port:
        storescu.send(files[:1], "127.0.0.1", port)
    assert seen
    assert all(seen)


def test_a_syntax_that_is_not_accepted_fails_alone(files: list[Path]) -> None:
    receiver = Receiver()
    with listening(receiver, [JPEGLSLossless]) as port:
        result = storescu.send(files, "127.0.0.1", port)
    assert (result.sent, result.failed) == (3, 1)
    assert result.failures[0].path == files[3]
    assert "presentation context not accepted" in result.failures[0].reason
    assert result.bytes_sent == sum(p.stat().st_size for p in files[:3])


def test_a_refusing_status_is_a_failure_and_a_warning_is_not(files: list[Path]) -> None:
    receiver = Receiver()
    answers = iter([0xA700, 0xB000, 0xC000, 0x0000])
    receiver.verdict = lambda event: next(answers)
    with listening(receiver) as port:
        result = storescu.send(files, "127.0.0.1", port)
    assert (result.sent, result.failed) == (2, 2)
    assert [f.reason for f in result.failures] == ["refused with status 0xA700", "refused with status 0xC000"]


def test_a_lost_association_fails_the_rest_without_hanging(files: list[Path]) -> None:
    receiver = Receiver()

    def verdict(event: evt.Event) -> int:
        if len(receiver.received) == 2:
            event.assoc.abort()
        return 0x0000 if len(receiver.received) < 2 else 0xC001

    receiver.verdict = verdict
    with listening(receiver) as port:
        result = storescu.send(files, "127.0.0.1", port, timeout=3)
    assert (result.sent, result.failed) == (2, 2)
    assert result.failures[1].reason == "association lost"
    assert result.seconds < 10


def test_files_that_are_not_dicom_are_told_and_the_others_sent(files: list[Path], tmp_path: Path) -> None:
    text, gone = tmp_path / "text.dcm", tmp_path / "gone.dcm"
    text.write_text("not DICOM" * 100)
    steps: list[tuple[int, int]] = []
    with listening(Receiver()) as port:
        result = storescu.send([text, gone, files[0]], "127.0.0.1", port, on_progress=lambda d, t: steps.append((d, t)))
    assert (result.sent, result.failed) == (1, 2)
    assert {f.path for f in result.failures} == {text, gone}
    assert steps[-1] == (3, 3)


def test_nothing_to_send_needs_no_receiver(tmp_path: Path) -> None:
    result = storescu.send([], "127.0.0.1", 1)
    assert (result.sent, result.failed) == (0, 0)


@LEAK
def test_no_receiver_is_an_error_of_its_own(files: list[Path]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(storescu.AssociationError, match="aucune association"):
        storescu.send(files[:1], "127.0.0.1", port, timeout=3)


def test_a_receiver_that_refuses_our_name_is_told(files: list[Path]) -> None:
    with (
        listening(Receiver(), strict=True) as port,
        pytest.raises(storescu.AssociationError, match="refuse l'association"),
    ):
        storescu.send(files[:1], "127.0.0.1", port, called="AUTRE")


def test_a_silent_receiver_does_not_hold_the_sender(files: list[Path]) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        with pytest.raises(storescu.AssociationError):
            storescu.send(files[:1], "127.0.0.1", deaf.getsockname()[1], timeout=1)


def test_senders_may_run_side_by_side(files: list[Path]) -> None:
    receiver = Receiver()
    with listening(receiver) as port:
        results = in_threads(lambda path: storescu.send([path], "127.0.0.1", port), files)
    assert [r.sent for r in results] == [1, 1, 1, 1]
    assert len(receiver.received) == 4


@LEAK
def test_the_command_sends_a_folder(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    receiver = Receiver()
    with listening(receiver) as port:
        assert storescu.main([str(files[3].parent), "--port", str(port)]) == 0
    assert "1 fichiers envoyés" in capsys.readouterr().out
    assert storescu.main([str(files[3]), "--port", "1"]) == 1
    assert "Rien n'est envoyé" in capsys.readouterr().err
