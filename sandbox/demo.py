# SPDX-License-Identifier: AGPL-3.0-or-later
"""The demonstration: a modality sends an exam, a RIS its report, another DRIMbox fetches the images.

Plays each part from outside the appliance, with its own means, and says line by line what happened.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import requests

from sandbox import exams, ris, storescu, story
from sandbox.exams_common import ExamFiles

STANDS = 60.0
SYNTAXES = ("1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.50",
            "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.1")  # fmt: skip
ACCEPT = ",".join(
    f'multipart/related; type="application/dicom";transfer-syntax={s};q=0.5;boundary=**' for s in SYNTAXES
)


class StepFailed(Exception):
    """A step of the demonstration did not do what it should; the text says what and where to look."""


def say(line: str) -> None:
    """One line of the story."""
    print(f"  {line}", flush=True)


def make(state: Path, name: str, study_uid: str | None = None) -> ExamFiles:
    """Make a sample exam, in the instance's own folder."""
    study_uid = study_uid or f"2.25.{uuid.uuid4().int}"
    folder = state / "sandbox" / "exams" / f"{name}-{study_uid[-12:]}"
    return exams.make_exam(name, folder, study_uid=study_uid, accession=f"ACC{secrets.randbelow(10**10):010d}")


def send_images(made: ExamFiles, port: int) -> int:
    """C-STORE everything.  Raises `StepFailed`."""
    result = storescu.send(made.paths, "127.0.0.1", port)
    if result.failed or result.sent != len(made.paths):
        raise StepFailed(f"C-STORE : {result.failed} image(s) refusée(s) sur {len(made.paths)}")
    return result.sent


class Demo:
    """One run against a running instance."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.facts: dict[str, Any] = json.loads((state / "status.json").read_text())
        keys = state / "sandbox" / "pki"
        self.peer = (str(keys / "peer.pem"), str(keys / "peer.key"))
        self.ca = self.facts["ca"]
        password = Path(self.facts["admin"]["passwordFile"]).read_text().strip()
        self.operator = (self.facts["admin"]["user"], password)

    def run(self) -> str:
        """Play the story; gives the address of the report's link.  Raises `StepFailed`."""
        made = make(self.state, "ct")
        say(f"Examen de démonstration fabriqué : {made.description}, {len(made.paths)} images")
        begin = time.monotonic()
        sent = send_images(made, self.facts["ports"]["dicom"])
        say(f"C-STORE vers Orthanc : {sent} images en {time.monotonic() - begin:.1f} s")
        report, link = self.report(made)
        self.send_report(report)
        events = self.follow(made.study_uid, "kos-published")
        for event in events:
            say(event["text"])
        entry = self.published(made.study_uid)
        say(f"DMP (simulé) : entrée {entry['entryUuid']}, KOS {entry['uniqueId']}")
        self.refused(made, entry["uniqueId"])
        self.retrieve(made, entry["uniqueId"])
        return link

    def report(self, made: ExamFiles) -> tuple[bytes, str]:
        """The exam's report in an HL7 message, as a RIS makes it, and the link that it carries."""
        report = story.report_of(made, viewer_root=self.facts["urls"]["vi"])
        return story.message_of(report).hl7, report.viewer_links()[0]

    def send_report(self, message: bytes) -> None:
        """Send it over MLLP and read the acknowledgement."""
        answer = ris.send("127.0.0.1", self.facts["ports"]["mllp"], message, 30)
        code = ris.summary(answer)["ack"]
        if code != "AA":
            raise StepFailed(f"le compte rendu n'est pas accepté (MSA-1 = {code or 'absent'})")
        say("Compte rendu envoyé par le RIS (HL7 MDM^T02, CDA R2 N1) : acquitté AA")

    def operator_reads(self, path: str) -> Any:
        """GET a JSON page of the operator's face."""
        answer = requests.get(self.facts["urls"]["admin"] + path, auth=self.operator, verify=self.ca, timeout=10)
        answer.raise_for_status()
        return answer.json()

    def follow(self, study_uid: str, last: str) -> list[dict[str, Any]]:
        """Wait until the journal tells the end of this study's publication; its events in order."""

        def read() -> list[dict[str, Any]] | None:
            events = [e for e in self.operator_reads("/drimbox/journal") if e["study_uid"] == study_uid]
            if any(e["severity"] == "error" for e in events):
                raise StepFailed(f"publication : {events[0]['text']} ({events[0]['reason']})")
            return events[::-1] if any(e["kind"] == last for e in events) else None

        found: list[dict[str, Any]] = self.wait(read, "la publication du KOS")
        return found

    def wait(self, read: Callable[[], Any], what: str) -> Any:
        """Poll until something comes.  Raises `StepFailed` after a while."""
        deadline = time.monotonic() + STANDS
        while time.monotonic() < deadline:
            found = read()
            if found:
                return found
            time.sleep(0.1)
        raise StepFailed(f"{what} n'est pas venue en {STANDS:.0f} s ; voir {self.state}/log/orthanc.log")

    def published(self, study_uid: str) -> dict[str, Any]:
        """The study's entry in the DMP stand-in."""
        entries = requests.get(self.facts["stand-ins"]["dmp"] + "documents", timeout=10).json()
        mine = [e for e in entries if any(r.startswith(study_uid + "^") for r in e["referenceIds"])]
        if len(mine) != 1:
            raise StepFailed(f"le DMP simulé contient {len(mine)} entrée(s) pour cet examen au lieu d'une")
        return dict(mine[0])

    def token(self) -> str:
        """An access token of a fictitious professional."""
        answer = requests.post(self.facts["stand-ins"]["psc"] + "tokens", json={}, timeout=10)
        return str(answer.json()["access_token"])

    def series_url(self, made: ExamFiles) -> str:
        """Address of the exam's first series on the face of the other DRIMboxes."""
        return f"{self.facts['wado_root']}/studies/{made.study_uid}/series/{made.series_uids[0]}"

    def refused(self, made: ExamFiles, kos_uid: str) -> None:
        """What the same request gets without a token."""
        answer = requests.get(self.series_url(made), cert=self.peer, verify=self.ca, timeout=10,
                              headers={"Accept": ACCEPT, "KOS-SOPInstanceUID": kos_uid})  # fmt: skip
        if answer.status_code != 401:
            raise StepFailed(f"une demande sans jeton a reçu {answer.status_code} au lieu de 401")
        say(f"Autre DRIMbox, sans jeton PSC : refusée (401, {answer.json()['reason']})")

    def retrieve(self, made: ExamFiles, kos_uid: str) -> None:
        """Fetch the series as another DRIMbox does; every image must come."""
        headers = {"Accept": ACCEPT, "KOS-SOPInstanceUID": kos_uid, "Authorization": f"Bearer {self.token()}"}
        begin = time.monotonic()
        answer = requests.get(self.series_url(made), cert=self.peer, verify=self.ca, timeout=60, headers=headers)
        seconds = time.monotonic() - begin
        if answer.status_code != 200:
            raise StepFailed(f"WADO-RS : {answer.status_code} {answer.text[:200]}")
        boundary = answer.headers["Content-Type"].split("boundary=")[1].split(";")[0].strip('" ')
        parts = answer.content.count(b"--" + boundary.encode() + b"\r\n")
        size = len(answer.content)
        if parts != len(made.paths):
            raise StepFailed(f"WADO-RS : {parts} images reçues sur {len(made.paths)}")
        say(f"Autre DRIMbox, certificat et jeton : {parts} images, {size / 1e6:.1f} Mo en {seconds:.2f} s (WADO-RS)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the story; 0 where every step did what it should."""
    parser = argparse.ArgumentParser(prog="drimbox demo")
    parser.add_argument("--state", type=Path, required=True)
    args = parser.parse_args(arguments)
    try:
        demo = Demo(args.state)
        print("\nDémonstration", flush=True)
        link = demo.run()
    except StepFailed as error:
        print(f"drimbox : {error}", file=sys.stderr)
        return 1
    except (requests.RequestException, OSError) as error:
        print(f"drimbox : une partie de l'appliance ne répond pas ({type(error).__name__}: {error})", file=sys.stderr)
        return 1
    urls = demo.facts["urls"]
    print("\nÀ ouvrir dans un navigateur (certificat du bac à sable ; son autorité : " + demo.ca + ")")
    print(f"  lien du compte rendu   {link}")
    print(f"  DMP simulé             {demo.facts['stand-ins']['dmp']}")
    print(f"  exploitation           {urls['admin']}/app/explorer.html (admin, mot de passe dans "
          f"{demo.facts['admin']['passwordFile']})")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
