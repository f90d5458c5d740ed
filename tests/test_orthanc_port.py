# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest

from tests.orthanc_double import OrthancDouble, install

Port = Any


@pytest.fixture
def orthanc(monkeypatch: pytest.MonkeyPatch) -> tuple[OrthancDouble, Any]:
    return install(monkeypatch)


@pytest.fixture
def double(orthanc: tuple[OrthancDouble, Any]) -> OrthancDouble:
    return orthanc[0]


@pytest.fixture
def module(orthanc: tuple[OrthancDouble, Any]) -> Any:
    return orthanc[1]


@pytest.fixture
def port(module: Any) -> Port:
    return module.OrthancPort()


def test_the_configuration_is_orthancs_whole_one(double: OrthancDouble, port: Port) -> None:
    double.configuration = {"HttpPort": 8042, "DrimBox": {"SiteName": "é"}}
    assert port.configuration() == double.configuration


def test_a_search_is_a_post_of_its_body(double: OrthancDouble, port: Port) -> None:
    double.answers["/tools/find"] = [{"ID": "a"}]
    body = {"Level": "Study", "Query": {"StudyInstanceUID": "1.2.3"}}
    assert port.find(body) == [{"ID": "a"}]
    assert double.posted == [("/tools/find", body)]


def test_what_is_read_is_given(double: OrthancDouble, port: Port) -> None:
    double.answers |= {
        "/system": {"Version": "1.12.7"},
        "/plugins": ["dicom-web", "python"],
        "/instances/abc/file": b"DICM\xff",
        "/dicom-web/studies?StudyInstanceUID=1.2": b"[]",
    }
    assert port.version() == "1.12.7"
    assert port.plugins() == ["dicom-web", "python"]
    assert port.get_json("/system") == {"Version": "1.12.7"}
    assert port.instance_file("abc") == b"DICM\xff"
    assert port.dicomweb("/studies?StudyInstanceUID=1.2") == b"[]"


@pytest.mark.parametrize("call", ["find", "get_json", "instance_file", "dicomweb"])
def test_a_failure_of_orthanc_is_ours_without_what_was_asked(module: Any, port: Port, call: str) -> None:
    argument: Any = {"Query": {"PatientID": "SECRET"}} if call == "find" else "/x?PatientID=SECRET"
    with pytest.raises(module.PacsError) as caught:
        getattr(port, call)(argument)
    assert caught.value.reason == "pacs-error"
    assert caught.value.retryable
    if call != "instance_file":
        assert "SECRET" not in str(caught.value)


def test_metrics_are_gauges(double: OrthancDouble, port: Port) -> None:
    port.metric("drimbox_outbox", 3)
    assert double.metrics == [("drimbox_outbox", 3, 0)]


# --- the filter ------------------------------------------------------------------------------------------------------


def admitted(double: OrthancDouble, uri: str = "/system", **request: Any) -> Any:
    assert double.request_filter is not None
    return double.request_filter(uri, **{"method": 1, "ip": "127.0.0.1", "username": "admin", **request})


@pytest.mark.parametrize(("number", "method"), [(1, "GET"), (2, "POST"), (3, "PUT"), (4, "DELETE"), (5, ""), (0, "")])
def test_the_filter_is_asked_with_path_method_headers_and_query(
    double: OrthancDouble, port: Port, number: int, method: str
) -> None:
    asked: list[tuple[str, str, Mapping[str, str], Mapping[str, str]]] = []

    def admit(path: str, method: str, headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
        asked.append((path, method, headers, query))
        return True

    port.filter_requests(admit)
    assert admitted(double, "/studies", method=number, headers={"x-drimbox-face": "vi"}, get={"limit": "1"}) is True
    assert asked == [("/studies", method, {"x-drimbox-face": "vi"}, {"limit": "1"})]


def test_a_request_without_headers_is_asked_too(double: OrthancDouble, port: Port) -> None:
    port.filter_requests(lambda _path, _method, headers, query: not headers and not query)
    assert admitted(double) is True


@pytest.mark.parametrize("verdict", [False, None, 0, 1, "yes", [True]])
def test_anything_but_true_refuses(double: OrthancDouble, port: Port, verdict: Any) -> None:
    port.filter_requests(lambda *_: verdict)
    assert admitted(double) is False


def test_an_exception_never_admits(double: OrthancDouble, port: Port) -> None:
    def admit(*_: Any) -> bool:
        raise RuntimeError("defect")

    port.filter_requests(admit)
    with pytest.raises(RuntimeError):  # Orthanc answers 500
        admitted(double)


def test_a_request_without_method_never_passes(double: OrthancDouble, port: Port) -> None:
    port.filter_requests(lambda *_: True)
    assert double.request_filter is not None
    with pytest.raises(KeyError):
        double.request_filter("/system")


# --- life ------------------------------------------------------------------------------------------------------------


def test_start_and_stop_are_told_once_each_and_nothing_else_is(double: OrthancDouble, port: Port) -> None:
    life: list[str] = []
    port.on_life(lambda: life.append("started"), lambda: life.append("stopped"))
    assert double.change is not None
    for kind in (10, 2, 9, 1, 11):
        double.change(kind, 0, None)
    assert life == ["started", "stopped"]


def test_a_start_that_fails_is_logged_and_does_not_reach_orthanc(
    double: OrthancDouble, port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("port in use")

    port.on_life(fail, lambda: None)
    assert double.change is not None
    double.change(10, 0, None)
    assert "port in use" in caplog.text


# --- logs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def logger(module: Any) -> Any:
    made = logging.getLogger("drimbox.test_port")
    handler = module.OrthancLogHandler()
    made.addHandler(handler)
    made.setLevel(logging.DEBUG)
    made.propagate = False
    yield made
    made.removeHandler(handler)
    made.propagate = True


@pytest.mark.parametrize(
    ("level", "orthancs"),
    [("debug", "info"), ("info", "info"), ("warning", "warning"), ("error", "error"), ("critical", "error")],
)
def test_levels_are_orthancs(double: OrthancDouble, logger: logging.Logger, level: str, orthancs: str) -> None:
    getattr(logger, level)("done %d é", 3)
    assert double.logged == [(orthancs, "drimbox.test_port: done 3 é")]


def test_a_traceback_is_logged_whole(double: OrthancDouble, logger: logging.Logger) -> None:
    try:
        raise ValueError("odd")
    except ValueError:
        logger.exception("row 3")
    ((level, text),) = double.logged
    assert level == "error"
    assert text.startswith("drimbox.test_port: row 3\nTraceback")
    assert text.endswith("ValueError: odd")


@pytest.mark.parametrize("odd", ["nul \0 within", "surrogate \udc80"])
def test_a_text_that_orthanc_does_not_take_is_escaped(double: OrthancDouble, logger: logging.Logger, odd: str) -> None:
    logger.warning("name %s", odd)
    ((_, text),) = double.logged
    assert text.startswith(f"drimbox.test_port: name {odd.split(maxsplit=1)[0]} \\")


def test_a_line_that_cannot_be_written_harms_nobody(
    double: OrthancDouble, module: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    module.OrthancLogHandler().handle(logging.LogRecord("drimbox.x", logging.INFO, "f", 1, "%d", ("no number",), None))
    assert double.logged == []
    assert "Logging error" in capsys.readouterr().err
