# SPDX-License-Identifier: AGPL-3.0-or-later
"""A manifest from anywhere, read leniently within bounds: ours, another maker's, an official sample.

Read: Implicit or Explicit VR, without template, content or numbers, key images with nested references (KIN).
Refused with `DocumentError`: what is no key object document, more than one study, nothing referenced,
what no bound allows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from drimbox.dicom_items import Item, read_file
from drimbox.errors import DocumentError
from drimbox.kos_text import ManifestText, SeriesText, parse_text
from drimbox.kos_writer import KOS_CLASS
from drimbox.records import (
    STRUCTURE_OID,
    Code,
    Identifier,
    InstanceRef,
    Manifest,
    Organization,
    SeriesRef,
    StudyContent,
    Traits,
)

MAXIMUM_BYTES = 16 * 1024 * 1024  # about 50 000 instances
MANIFEST_TITLE = "113030"
TITLE_WARNING = "title-not-manifest"
ADDRESS_WARNING = "retrieve-address-unusual"
DATE_WARNING = "creation-date-absent"

_NO_DATE = datetime(1970, 1, 1, tzinfo=UTC)
_FRANCE = ZoneInfo("Europe/Paris")  # where a file does not tell its offset
_UID = re.compile(r"[0-9.]{1,64}")
_INTEGER = re.compile(r"[+-]?[0-9]{1,11}")
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})", re.ASCII)
_ADDRESS = re.compile(r"(https?://[!-~]+?)/studies/([0-9.]+)(?:/series/([0-9.]+))?/?")
_CHARACTER_SETS = {
    "": "utf-8", "ISO_IR 6": "utf-8", "ISO_IR 192": "utf-8", "ISO_IR 100": "latin-1", "ISO 2022 IR 100": "latin-1",
    "ISO_IR 101": "iso8859-2", "ISO_IR 109": "iso8859-3", "ISO_IR 110": "iso8859-4", "ISO_IR 148": "iso8859-9",
    "ISO_IR 203": "iso8859-15", "ISO 2022 IR 6": "latin-1",
}  # fmt: skip

# Tags, by the keywords of PS3.6
_META_SOP_CLASS = 0x0002_0002
_CHARACTER_SET = 0x0008_0005
_CREATION_DATE, _CREATION_TIME = 0x0008_0012, 0x0008_0013
_SOP_CLASS, _SOP_INSTANCE = 0x0008_0016, 0x0008_0018
_STUDY_DATE, _STUDY_TIME = 0x0008_0020, 0x0008_0030
_SERIES_DATE, _SERIES_TIME = 0x0008_0021, 0x0008_0031
_CONTENT_DATE, _CONTENT_TIME = 0x0008_0023, 0x0008_0033
_ACCESSION, _ACCESSION_ISSUER = 0x0008_0050, 0x0008_0051
_MANUFACTURER, _INSTITUTION, _REFERRING = 0x0008_0070, 0x0008_0080, 0x0008_0090
_CODE_VALUE, _CODE_SCHEME, _CODE_MEANING = 0x0008_0100, 0x0008_0102, 0x0008_0104
_OFFSET_FROM_UTC, _STUDY_DESCRIPTION = 0x0008_0201, 0x0008_1030
_SERIES_SEQUENCE, _SOP_SEQUENCE = 0x0008_1115, 0x0008_1199
_REF_CLASS, _REF_INSTANCE = 0x0008_1150, 0x0008_1155
_RETRIEVE_URL = 0x0008_1190
_PATIENT_NAME, _PATIENT_ID, _ID_QUALIFIERS = 0x0010_0010, 0x0010_0020, 0x0010_0024
_BIRTH_DATE, _SEX, _OTHER_NAMES, _COMMENTS = 0x0010_0030, 0x0010_0040, 0x0010_1001, 0x0010_4000
_STUDY_UID, _SERIES_UID = 0x0020_000D, 0x0020_000E
_STUDY_ID, _SERIES_NUMBER, _INSTANCE_NUMBER = 0x0020_0010, 0x0020_0011, 0x0020_0013
_FRAMES = 0x0028_0008
_PLACER_ISSUER, _ENTITY, _PLACER_ORDER = 0x0040_0026, 0x0040_0032, 0x0040_2016
_CONCEPT, _TEXT = 0x0040_A043, 0x0040_A160
_REQUESTS, _EVIDENCE, _CONTENT = 0x0040_A370, 0x0040_A375, 0x0040_A730

_SEQUENCES = frozenset(
    {_ACCESSION_ISSUER, _SERIES_SEQUENCE, _SOP_SEQUENCE, _ID_QUALIFIERS, _PLACER_ISSUER, _CONCEPT, _REQUESTS,
     _EVIDENCE, _CONTENT}
)  # fmt: skip
_VALUES = frozenset(
    {_META_SOP_CLASS, _CHARACTER_SET, _CREATION_DATE, _CREATION_TIME, _SOP_CLASS, _SOP_INSTANCE, _STUDY_DATE,
     _STUDY_TIME, _SERIES_DATE, _SERIES_TIME, _CONTENT_DATE, _CONTENT_TIME, _ACCESSION, _MANUFACTURER, _INSTITUTION,
     _REFERRING, _CODE_VALUE, _CODE_SCHEME, _CODE_MEANING, _OFFSET_FROM_UTC, _STUDY_DESCRIPTION, _REF_CLASS,
     _REF_INSTANCE, _RETRIEVE_URL, _PATIENT_NAME, _PATIENT_ID, _BIRTH_DATE, _SEX, _OTHER_NAMES, _COMMENTS, _STUDY_UID,
     _SERIES_UID, _STUDY_ID, _SERIES_NUMBER, _INSTANCE_NUMBER, _FRAMES, _ENTITY, _PLACER_ORDER, _TEXT}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class KosDocument:
    """A manifest with what the model has no place for.

    `retrieve_urls` are the addresses as they stand in the file, by series: foreign, to be checked against the
    whitelist before use.  `title` may be a rejection note's (113001…) or another manifest's: `warnings` say so.
    """

    manifest: Manifest
    title: Code | None
    retrieve_urls: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def read_manifest(data: bytes, maximum_bytes: int = MAXIMUM_BYTES) -> Manifest:
    """Give the manifest of a file; see `read_document`."""
    return read_document(data, maximum_bytes).manifest


def read_document(data: bytes, maximum_bytes: int = MAXIMUM_BYTES) -> KosDocument:
    """Read a file with or without preamble and meta information.

    Raises `DocumentError` alone: ``dicom-too-large``, ``dicom-invalid``, ``kos-class``, ``kos-several-studies``,
    ``kos-evidence`` (nothing referenced, or a reference that is no UID).
    """
    if len(data) > maximum_bytes:
        raise DocumentError(f"{len(data)} bytes, at most {maximum_bytes} are read", reason="dicom-too-large")
    meta, items = read_file(data, sequences=_SEQUENCES, values=_VALUES)
    root = _Root(items)
    sop_class = root.text(items, _SOP_CLASS) or root.text(meta, _META_SOP_CLASS)
    if sop_class != KOS_CLASS:
        raise DocumentError(f"SOP class {sop_class[:64]!r} is not Key Object Selection Document", reason="kos-class")
    return _document(root)


def references(manifest: Manifest) -> frozenset[tuple[str, str]]:
    """Give every (series UID, SOP instance UID): what the manifest lets its holder retrieve."""
    return frozenset((s.series_uid, i.sop_instance_uid) for s in manifest.study.series for i in s.instances)


def describe(manifest: Manifest) -> dict[str, Any]:
    """Give what ``kos show --json`` prints: plain values, instants in ISO 8601."""
    traits, study = manifest.traits, manifest.study
    return {
        "sopInstanceUid": manifest.sop_instance_uid,
        "seriesUid": manifest.series_uid,
        "instanceNumber": manifest.instance_number,
        "createdAt": manifest.created_at.isoformat(),
        "manufacturer": manifest.manufacturer,
        "institution": manifest.institution and {
            "name": manifest.institution.name,
            "identifier": manifest.institution.identifier and manifest.institution.identifier.extension,
        },
        "patient": {
            "ins": traits.ins, "insOid": traits.ins_oid, "birthFamily": traits.birth_family,
            "birthGiven": traits.birth_given, "birthGivens": traits.birth_givens, "usedFamily": traits.used_family,
            "usedGiven": traits.used_given, "birthDate": traits.birth_date, "sex": traits.sex,
            "birthPlace": traits.birth_place,
        },
        "accession": _identifier_json(manifest.accession),
        "placerOrder": _identifier_json(manifest.placer_order),
        "act": manifest.act_label,
        "retrieveRoot": manifest.retrieve_root,
        "study": {
            "uid": study.study_uid, "date": study.study_date, "time": study.study_time,
            "description": study.description, "instances": study.instance_count(),
            "series": [_series_json(s) for s in study.series],
        },
    }  # fmt: skip


def _identifier_json(identifier: Identifier | None) -> dict[str, Any] | None:
    return None if identifier is None else {"root": identifier.root, "extension": identifier.extension}


def _series_json(series: SeriesRef) -> dict[str, Any]:
    return {
        "uid": series.series_uid,
        "modality": series.modality,
        "number": series.number,
        "description": series.description,
        "instances": [
            {"class": i.sop_class_uid, "uid": i.sop_instance_uid, "number": i.instance_number, "frames": i.frames}
            for i in series.instances
        ],
    }


class _Root:
    """The data set with its character set; gives values as text, empty where absent."""

    def __init__(self, items: Item) -> None:
        self.items = items
        self._encoding = "latin-1"
        names = self.text(items, _CHARACTER_SET).split("\\")
        self._encoding = next(
            (_CHARACTER_SETS[n.strip()] for n in reversed(names) if n.strip() in _CHARACTER_SETS), "utf-8"
        )

    def text(self, item: Item, tag: int) -> str:
        """The value without padding."""
        value = item.get(tag, b"")
        return value.decode(self._encoding, "replace").strip("\0 \r\n\t") if isinstance(value, bytes) else ""

    def uid(self, item: Item, tag: int, what: str) -> str:
        """A value that must be a UID."""
        text = self.text(item, tag)
        if not _UID.fullmatch(text):
            raise DocumentError(f"{what} is {text[:80]!r}, not a UID", reason="kos-evidence")
        return text

    def number(self, item: Item, tag: int) -> int | None:
        """An integer string, None where absent or no number."""
        text = self.text(item, tag)
        return int(text) if _INTEGER.fullmatch(text) else None

    def identifier(self, item: Item, tag: int, issuer: int) -> Identifier | None:
        """A value and the OID of the sequence that names its issuer."""
        extension = self.text(item, tag)
        oid = next((self.text(i, _ENTITY) for i in children(item, issuer)), "")
        return Identifier(oid, extension) if extension else None


def children(item: Item, tag: int) -> list[Item]:
    """Give the items of a sequence, none where it is absent."""
    value = item.get(tag, [])
    return value if isinstance(value, list) else []


def _document(root: _Root) -> KosDocument:
    study_item = _study_item(root)
    text = _text(root)
    study = _study(root, study_item, text)
    urls = {root.text(s, _SERIES_UID): root.text(s, _RETRIEVE_URL) for s in children(study_item, _SERIES_SEQUENCE)}
    retrieve_root = next((found[1] for url in urls.values() if (found := _ADDRESS.fullmatch(url))), "")
    title, created_at = _title(root), _created_at(root)
    request = next(iter(children(root.items, _REQUESTS)), {})
    manifest = Manifest(
        sop_instance_uid=root.uid(root.items, _SOP_INSTANCE, "SOP Instance UID"),
        series_uid=root.text(root.items, _SERIES_UID),
        instance_number=root.number(root.items, _INSTANCE_NUMBER) or 1,
        created_at=created_at or _NO_DATE,
        traits=_traits(root),
        study=study,
        institution=_institution(root.text(root.items, _INSTITUTION)),
        accession=root.identifier(request, _ACCESSION, _ACCESSION_ISSUER)
        or root.identifier(root.items, _ACCESSION, _ACCESSION_ISSUER),
        placer_order=root.identifier(request, _PLACER_ORDER, _PLACER_ISSUER),
        retrieve_root=retrieve_root,
        act_label=text.act_label,
        manufacturer=root.text(root.items, _MANUFACTURER),
    )
    checks = (
        (TITLE_WARNING, title is None or title.code != MANIFEST_TITLE),
        (ADDRESS_WARNING, any(_usual(retrieve_root, study.study_uid, uid) != url for uid, url in urls.items())),
        (DATE_WARNING, created_at is None),
    )
    return KosDocument(manifest, title, urls, tuple(code for code, wrong in checks if wrong))


def _usual(retrieve_root: str, study_uid: str, series_uid: str) -> str:
    return f"{retrieve_root}/studies/{study_uid}/series/{series_uid}"


def _study_item(root: _Root) -> Item:
    """The one study of the evidence; items of the same study count as one."""
    found = children(root.items, _EVIDENCE)
    if not found:
        raise DocumentError("no Current Requested Procedure Evidence Sequence", reason="kos-evidence")
    if len({root.text(item, _STUDY_UID) for item in found}) > 1:
        raise DocumentError("the evidence is of several studies", reason="kos-several-studies")
    return {**found[0], _SERIES_SEQUENCE: [s for item in found for s in children(item, _SERIES_SEQUENCE)]}


def _study(root: _Root, study_item: Item, text: ManifestText) -> StudyContent:
    study_uid = root.uid(study_item, _STUDY_UID, "the evidence's Study Instance UID")
    series: dict[str, SeriesRef] = {}
    for item in children(study_item, _SERIES_SEQUENCE):
        found = _series(root, item, text.series)
        if known := series.get(found.series_uid):  # some makers give a series in pieces
            found = replace(known, instances=_once((*known.instances, *found.instances)))
        series[found.series_uid] = found
    if not any(s.instances for s in series.values()):
        raise DocumentError("the evidence references no instance", reason="kos-evidence")
    items = root.items
    return StudyContent(
        study_uid=study_uid,
        orthanc_id="",
        series=tuple(series.values()),
        study_date=root.text(items, _STUDY_DATE),
        study_time=root.text(items, _STUDY_TIME),
        description=root.text(items, _STUDY_DESCRIPTION) or text.study_description,
        referring_physician=root.text(items, _REFERRING),
        study_id=root.text(items, _STUDY_ID),
    )


def _series(root: _Root, item: Item, texts: Mapping[str, SeriesText]) -> SeriesRef:
    uid = root.uid(item, _SERIES_UID, "a Series Instance UID of the evidence")
    text = texts.get(uid, SeriesText())
    return SeriesRef(
        series_uid=uid,
        modality=text.modality,
        instances=_once(_instances(root, item)),
        description=text.description,
        number=root.number(item, _SERIES_NUMBER),
        body_part=text.region,
    )


def _once(instances: Iterable[InstanceRef]) -> tuple[InstanceRef, ...]:
    """Each instance once, as first given."""
    found: dict[str, InstanceRef] = {}
    for instance in instances:
        found.setdefault(instance.sop_instance_uid, instance)
    return tuple(found.values())


def _instances(root: _Root, item: Item) -> Iterator[InstanceRef]:
    for reference in children(item, _SOP_SEQUENCE):
        yield InstanceRef(
            sop_class_uid=root.text(reference, _REF_CLASS),
            sop_instance_uid=root.uid(reference, _REF_INSTANCE, "a SOP Instance UID of the evidence"),
            instance_number=root.number(reference, _INSTANCE_NUMBER),
            frames=root.number(reference, _FRAMES),
        )


def _text(root: _Root) -> ManifestText:
    """The text item; some makers put its value at the root."""
    for item in children(root.items, _CONTENT):
        if value := root.text(item, _TEXT):
            return parse_text(value)
    return parse_text(root.text(root.items, _TEXT))


def _title(root: _Root) -> Code | None:
    for item in children(root.items, _CONCEPT):
        return Code(root.text(item, _CODE_VALUE), root.text(item, _CODE_SCHEME), root.text(item, _CODE_MEANING))
    return None


def _traits(root: _Root) -> Traits:
    items = root.items
    family, given = _name(root.text(items, _PATIENT_NAME))
    givens, used_family, used_given = _other_names(root.text(items, _OTHER_NAMES), given)
    return Traits(
        ins=root.text(items, _PATIENT_ID),
        ins_oid=next((root.text(i, _ENTITY) for i in children(items, _ID_QUALIFIERS)), ""),
        birth_family=family,
        birth_given=given,
        birth_givens=givens,
        used_family=used_family,
        used_given=used_given,
        birth_date=root.text(items, _BIRTH_DATE),
        sex=root.text(items, _SEX),
        birth_place=root.text(items, _COMMENTS),
    )


def _name(text: str) -> tuple[str, str]:
    """Family and given of the alphabetic group (PS3.5 6.2.1)."""
    family, _, rest = text.partition("=")[0].partition("^")
    return family.strip(), rest.partition("^")[0].strip()


def _other_names(text: str, birth_given: str) -> tuple[str, str, str]:
    """Birth given names, used family, used given.

    Of two values the first holds the birth given names.  One value is the name in use, except ``^<names>`` that
    begins with the first birth given name: then it is their list, as RNIV orders it (inferred, see
    `drimbox.kos_writer`).
    """
    values = [_name(value) for value in text.split("\\") if value.strip("^ ")]
    givens = ""
    if values and not values[0][0]:
        only = values[0][1]
        if len(values) > 1 or (birth_given and f"{only} ".startswith(f"{birth_given} ")):
            givens = values.pop(0)[1]
    used_family, used_given = values[0] if values else ("", "")
    return givens, used_family, used_given


def _institution(text: str) -> Organization | None:
    """``<name>^^^^^^^^^<structure id>``; the identifier is component 10 of an XON."""
    if not text:
        return None
    parts = text.split("^")
    identifier = parts[9].strip() if len(parts) > 9 else ""
    return Organization(Identifier(STRUCTURE_OID, identifier) if identifier else None, parts[0].strip())


def _created_at(root: _Root) -> datetime | None:
    """The first usable instant among creation, content and series; None where there is none."""
    pairs = ((_CREATION_DATE, _CREATION_TIME), (_CONTENT_DATE, _CONTENT_TIME), (_SERIES_DATE, _SERIES_TIME))
    for date, time in pairs:
        digits = root.text(root.items, date)[:8] + (root.text(root.items, time).partition(".")[0] + "000000")[:6]
        try:
            naive = datetime.strptime(digits, "%Y%m%d%H%M%S")  # noqa: DTZ007 - the zone follows
            return naive.replace(tzinfo=_zone(root.text(root.items, _OFFSET_FROM_UTC))).astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    return None


def _zone(text: str) -> timezone | ZoneInfo:
    found = _OFFSET.fullmatch(text)
    if not found:
        return _FRANCE
    offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return timezone(-offset if found[1] == "-" else offset)
