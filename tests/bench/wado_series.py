# SPDX-License-Identifier: AGPL-3.0-or-later
"""``bench wado-series``: a series of 1300 JPEG-LS images to another DRIMbox, through nginx with TLS.

Ours has the whole verdict on its way (mTLS, whitelist, token with introspection, possession of the KOS); the
DICOMweb plugin has none.  Rounds are interleaved, medians told.
"""

from __future__ import annotations

import statistics
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from sandbox import perf_study, storescu, story
from sandbox.exams_common import CAMILLE, ExamFiles
from tests.bench.client import Download, download, tls
from tests.bench.figures import Figure, memory, reset_peak
from tests.bench.reference import running
from tests.system.appliance import Instance, eventually

BASE_PORT = 22400
ROUNDS = 5
IMAGES = 1300
PART = 160 * 1024
STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
OFFICIAL = ",".join(
    f'multipart/related; type="application/dicom";transfer-syntax={syntax};q={q};boundary=**'
    for syntax, q in (("1.2.840.10008.1.2.4.70", 0.9), ("1.2.840.10008.1.2.4.80", 0.8), ("1.2.840.10008.1.2.1", 0.4))
)


def say(text: str) -> None:
    print(f"  … {text}", file=sys.stderr, flush=True)


def load(appliance: Instance, study: perf_study.PerfStudy) -> str:
    """Store the study, publish its KOS; gives the KOS's UID."""
    known = appliance.entries(study.study_uid)
    if not known:
        say(f"C-STORE de {len(study.paths)} images dans l'appliance")
        assert storescu.send(study.paths, "127.0.0.1", appliance.facts["ports"]["dicom"]).failed == 0
        exam = ExamFiles("perf", study.study_uid, "PERF", CAMILLE, "CT", "", (study.series_uid,), study.paths)
        path = appliance.state / "perf.hl7"
        path.write_bytes(story.message_of(story.report_of(exam), control_id=uuid.uuid4().hex[:20]).hl7)
        appliance.run("sandbox", "ris", "send", str(path))
        known = eventually(lambda: appliance.entries(study.study_uid), "the KOS", 120)
    return str(known[0]["uniqueId"])


def run(state: Path) -> Iterator[Figure]:
    """Measure."""
    say(f"examen de {IMAGES} images JPEG-LS (fait une fois)")
    study = perf_study.make_study(state / "perf-1300", perf_study.Parameters(images=IMAGES, kib=155))
    appliance = Instance(state / "appliance", BASE_PORT)
    appliance.up()
    try:
        yield from _measure(state, appliance, study)
    finally:
        appliance.down()


def _measure(state: Path, appliance: Instance, study: perf_study.PerfStudy) -> Iterator[Figure]:
    kos_uid = load(appliance, study)
    context = tls(appliance.facts["ca"], appliance.peer())
    path = f"/studies/{study.study_uid}/series/{study.series_uid}"
    ours = appliance.facts["wado_root"] + path

    def our_headers() -> dict[str, str]:
        return {"Accept": OFFICIAL, "KOS-SOPInstanceUID": kos_uid, "Authorization": f"Bearer {appliance.token()}"}

    static = state / "series.multipart"
    first = download(ours, context, our_headers(), PART)
    assert first.status == 200, first
    if not static.exists() or static.stat().st_size != first.size:
        with static.open("wb") as out:  # as many bytes as our answer has
            for file in study.paths:
                out.write(file.read_bytes())
            out.truncate(first.size)
    with running(state / "reference", appliance.state / "sandbox/pki", BASE_PORT + 30, static) as reference:
        say("C-STORE des mêmes images dans l'Orthanc de référence")
        assert storescu.send(study.paths, "127.0.0.1", reference.dicom_port).failed == 0
        variants: dict[str, Callable[[], Download]] = {
            "drimbox": lambda: download(ours, context, our_headers(), PART),
            "dicomweb": lambda: download(reference.plugin + path, context, {"Accept": STORED}, PART),
            "static": lambda: download(reference.static, context, {}, PART),
        }
        pids = {"drimbox": appliance.process("orthanc"), "dicomweb": reference.orthanc_pid}
        held = {name: reset_peak(pid) for name, pid in pids.items()}
        results: dict[str, list[Download]] = {name: [] for name in variants}
        for turn in range(ROUNDS + 1):
            for name, measure in variants.items():
                got = measure()
                assert got.status == 200
                assert got.size > IMAGES * 100_000, f"{name}: {got}"
                if turn:  # the first turn warms every cache
                    results[name].append(got)
        growth = {name: (memory(pid) - held[name]) / 2**20 for name, pid in pids.items()}
    yield from _figures(results, growth)


def _figures(results: dict[str, list[Download]], growth: dict[str, float]) -> Iterator[Figure]:
    def median(name: str, key: str) -> float:
        return statistics.median(float(getattr(d, key)) for d in results[name])

    rate = {name: median(name, "rate") for name in results}
    yield Figure("static file, nginx", rate["static"], "MB/s")
    yield Figure("dicomweb plugin, unguarded", rate["dicomweb"], "MB/s", "static", rate["dicomweb"] / rate["static"])
    yield Figure("drimbox, whole verdict", rate["drimbox"], "MB/s", "dicomweb", rate["drimbox"] / rate["dicomweb"])
    yield Figure("drimbox, whole verdict", rate["drimbox"], "MB/s", "static", rate["drimbox"] / rate["static"])
    for key, label in (("first_byte", "first byte"), ("first_part", "first image complete")):
        for name in ("dicomweb", "drimbox"):
            value = median(name, key)
            ratio = value / median("dicomweb", key)
            yield Figure(f"{label}, {name}", value * 1000, "ms", "dicomweb", ratio)
    for name, value in growth.items():
        yield Figure(f"peak memory growth, {name}", value, "MiB")
