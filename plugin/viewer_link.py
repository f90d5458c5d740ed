# SPDX-License-Identifier: AGPL-3.0-or-later
"""The link that a report carries to its images (IHE RAD-106, as the ANS writes it in FR-CDA).  Pure.

``/IHEInvokeImageDisplay?requestType=STUDY&studyUID=…&Accessionnumber=…&idCDA=…``

`idCDA` proves that the caller holds the report: it is the one value that the images do not tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, urlencode

from drimbox.errors import Refusal
from drimbox.records import Identifier

LONGEST_QUERY = 2048  # characters; the four parameters at their longest take about 500
MOST_PARAMETERS = 16
PUBLIC = (
    "Ce lien est incomplet ou abîmé. Ouvrez-le de nouveau depuis le compte rendu, "
    "ou recopiez-le en entier dans la barre d'adresse."
)

_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+")  # PS3.5 9.1
_TEXT = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,127}")

CdaIdRule = Literal["root", "exact"]


@dataclass(frozen=True, slots=True)
class ViewerLink:
    """A well-formed link; `accession` and `cda_id` are as written by the one who made it."""

    study_uid: str
    accession: str
    cda_id: str
    series_uid: str | None = None

    def query(self) -> str:
        """Query string that reads as this very link."""
        pairs = [
            ("requestType", "STUDY"),
            ("studyUID", self.study_uid),
            ("Accessionnumber", self.accession),
            ("idCDA", self.cda_id),
        ]
        if self.series_uid:
            pairs.append(("seriesUID", self.series_uid))
        return urlencode(pairs)


def is_uid(text: str) -> bool:
    """Tell whether `text` is a DICOM UID (PS3.5 9.1): at most 64 characters, no leading zero."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def parse_link(query: str) -> ViewerLink:
    """Read a query string; names in any case and order, other parameters ignored.

    Raises `Refusal` (reason ``link-…``, status 400) for a missing, repeated or malformed parameter.
    """
    values = _values(query)
    missing = [n for n in ("requesttype", "studyuid", "accessionnumber", "idcda") if not values.get(n)]
    if missing:
        raise _refusal("link-incomplete", f"missing: {', '.join(missing)}")
    if values["requesttype"] != "STUDY":
        raise _refusal("link-request-type", "requestType is not STUDY")
    link = ViewerLink(
        values["studyuid"], values["accessionnumber"], values["idcda"], values.get("seriesuid") or None
    )  # fmt: skip
    root, _, extension = link.cda_id.partition("_")
    if not is_uid(link.study_uid) or not is_uid(root) or (link.series_uid and not is_uid(link.series_uid)):
        raise _refusal("link-malformed", "an identifier is not an OID")
    if not _TEXT.fullmatch(link.accession) or ("_" in link.cda_id and not _TEXT.fullmatch(extension)):
        raise _refusal("link-malformed", "an extension holds unexpected characters")
    return link


def matches(
    link: ViewerLink,
    study_uid: str,
    report_ids: Iterable[Identifier],
    accession: Identifier | None,
    rule: CdaIdRule = "root",
) -> bool:
    """Tell whether the link is that of an archived exam.

    `report_ids` are those of every version of the report: a printed link stays good when the report is
    replaced.  `rule`: with ``root`` a link that gives the root alone suffices, as FR-CDA writes it; with
    ``exact`` it must give the extension where the report has one.  An accession number unknown to the
    archive is not compared; a known one is accepted as ``extension`` or ``root.extension``.
    """
    if link.study_uid != study_uid or not any(_is_report(link.cda_id, known, rule) for known in report_ids):
        return False
    if accession is None or not (accession.extension or accession.root):
        return True
    return link.accession.strip() in {accession.dotted(), accession.extension or accession.root}


def _is_report(cda_id: str, known: Identifier, rule: CdaIdRule) -> bool:
    root, mark, extension = cda_id.partition("_")
    if root != known.root:
        return False
    if mark:
        return extension == (known.extension or "")
    return rule == "root" or not known.extension


def _values(query: str) -> dict[str, str]:
    if len(query) > LONGEST_QUERY:
        raise _refusal("link-too-long", f"{len(query)} characters")
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS, strict_parsing=False
        )  # fmt: skip
    except ValueError as error:  # also UnicodeDecodeError
        raise _refusal("link-malformed", "the query string cannot be read") from error
    values: dict[str, str] = {}
    for name, value in pairs:
        if name.lower() in values:
            raise _refusal("link-repeated", f"repeated: {len(pairs)} parameters")
        values[name.lower()] = value
    return values


def _refusal(reason: str, detail: str) -> Refusal:
    return Refusal(detail, reason=reason, status=400, public=PUBLIC)
