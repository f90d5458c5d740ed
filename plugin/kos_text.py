# SPDX-License-Identifier: AGPL-3.0-or-later
r"""The text item of a manifest (113012 DCM "Key Object Description"): written, and read leniently.

Other DRIMboxes read each series' modality and description there, since the evidence holds neither::

    Examen : Scanner du crâne
    Acte = TDM du crâne
    Série-1.2.3.4.1 : CT @ : Crâne sans injection

What stands between ``@`` and ``:`` seems to be an anatomical region; the official samples leave it empty
and so do we.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from drimbox.records import SeriesRef

# "é" may come composed, decomposed, absent, or mangled by a wrong character set
_SERIES = re.compile(r"S\S{1,4}rie\s*-\s*([0-9.]{1,64})\s*:(.*)", re.IGNORECASE)
_STUDY = re.compile(r"Examen\s*:(.*)", re.IGNORECASE)
_ACT = re.compile(r"Acte\s*=\s*:?(.*)", re.IGNORECASE)
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class SeriesText:
    """What the text says of one series."""

    modality: str = ""
    region: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class ManifestText:
    """The text item, read."""

    study_description: str = ""
    act_label: str = ""
    series: Mapping[str, SeriesText] = field(default_factory=dict)


def one_line(text: str) -> str:
    """Fold blanks, line ends and control characters into single spaces: a line must stay a line."""
    return _BLANKS.sub(" ", text).strip()


def write_text(study_description: str, act_label: str, series: Iterable[SeriesRef]) -> str:
    r"""Give the text item, lines separated by ``\n``, in the order of `series`."""
    lines = [f"Examen : {one_line(study_description)}", f"Acte = {one_line(act_label)}"]
    lines += [f"Série-{s.series_uid} : {one_line(s.modality)} @ : {one_line(s.description)}" for s in series]
    return "\n".join(line.rstrip() for line in lines)


def parse_text(text: str) -> ManifestText:
    """Read a text item written by any DRIMbox; what is not understood is left out, nothing is raised.

    Of a line given twice the first counts.
    """
    study = act = None
    series: dict[str, SeriesText] = {}
    for line in map(str.strip, text.splitlines()):
        if found := _SERIES.match(line):
            series.setdefault(found[1], _series_text(found[2]))
        elif study is None and (found := _STUDY.match(line)):
            study = found[1].strip()
        elif act is None and (found := _ACT.match(line)):
            act = found[1].strip()
    return ManifestText(study or "", act or "", series)


def _series_text(rest: str) -> SeriesText:
    """Read ``<modality> @ <region> : <description>``, the ``@`` or the region being absent at times."""
    modality, at, after = rest.partition("@")
    if not at:
        modality, _, description = rest.partition(":")
        return SeriesText(modality.strip(), "", description.strip())
    region, colon, description = after.partition(":")
    if not colon:
        region, description = "", region
    return SeriesText(modality.strip(), region.strip(), description.strip())
