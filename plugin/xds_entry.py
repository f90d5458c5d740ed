# SPDX-License-Identifier: AGPL-3.0-or-later
"""Coded attributes and times of the KOS entry, each from the report, the manifest or the configuration.

A report may speak of several studies: only the acts of the manifest's study count, the principal act
(the first one) completing them.  Source: spec `mapping_cda_to_xds.md`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from drimbox import xds_codes as codes
from drimbox.config import DmpSection
from drimbox.errors import DocumentError
from drimbox.records import Act, CdaReport, Code, Manifest, Restrictions


def acts_of(report: CdaReport, manifest: Manifest) -> tuple[Act, ...]:
    """Acts of this study, in document order."""
    return tuple(a for a in report.acts if a.study_uid == manifest.study.study_uid)


def confidentiality_codes(own: Code, restrictions: Restrictions) -> tuple[Code, ...]:
    """The report's own code first, then the visibility codes of the message (JDV_J08).

    Raises `DocumentError` on a code that no value set knows.
    """
    first = codes.CONFIDENTIALITIES.get(own.code)
    if first is None:
        raise DocumentError(
            f"confidentialityCode {own.code[:16]!r} of the report is none of N, R, V",
            reason="confidentiality-unknown",
            public="Le code de confidentialité du compte rendu n'est pas reconnu (N, R ou V attendu).",
        )
    return (first, *(codes.VISIBILITIES[code] for code in restrictions.codes()))


def content_type(patient_class: str, settings: DmpSection) -> Code:
    """contentTypeCode: configured, else from PV1-2 (ANS guide), else a consultation."""
    code = settings.content_type_code or codes.CONTENT_TYPE_OF_CLASS.get(
        patient_class.strip().upper(), codes.CONTENT_TYPE_UNKNOWN
    )
    return Code(code, codes.ACTIVITY, codes.CONTENT_TYPES.get(code, ""))


def facility_type(report: CdaReport, settings: DmpSection) -> Code:
    """healthcareFacilityTypeCode: the report's, else the structure's sector (the same code system)."""
    if report.facility_type is not None:
        return report.facility_type
    code, _, system = settings.sector.partition("^")
    return Code(code, system or codes.FACILITY)


def practice_setting(report: CdaReport, manifest: Manifest, settings: DmpSection) -> Code:
    """practiceSettingCode: that of this study's performer, of any other, or the configured one.

    Raises `DocumentError` where there is none: the DMP demands it.
    """
    acts = (*acts_of(report, manifest), *report.acts)
    found = next((a.practice_setting for a in acts if a.practice_setting is not None), None)
    if found is not None:
        return found
    if settings.practice_setting:
        code = settings.practice_setting
        return Code(code, codes.PRACTICE, codes.PRACTICES.get(code, ""))
    raise DocumentError(
        "no standardIndustryClassCode in the report and Dmp.PracticeSetting is empty",
        reason="practice-setting-missing",
        public="Le compte rendu ne donne pas le cadre d'exercice (standardIndustryClassCode) et aucun n'est "
        "configuré (Dmp.PracticeSetting).",
    )


def service_times(report: CdaReport, manifest: Manifest) -> tuple[datetime | None, datetime | None]:
    """serviceStartTime and serviceStopTime: this study's act, the principal act, else the images' own date.

    The stop is that of the act that gave the start.
    """
    for act in (*acts_of(report, manifest), *report.acts[:1]):
        if act.start is not None:
            return act.start, act.stop
    return _study_instant(manifest), None


def event_codes(report: CdaReport, manifest: Manifest, settings: DmpSection) -> tuple[Code, ...]:
    """eventCodeList: acts (LOINC), CCAM, modalities of the images, regions; each once.

    Modalities come from the manifest because reports miswrite them (``RM``); the report's serve only
    where the images have none of the value set.
    """
    acts = acts_of(report, manifest)
    older = settings.event_code_schemes == "value-sets"
    modality_scheme, region_scheme = (
        (codes.MODALITY_SET, codes.REGION_SET) if older else (codes.DICOM_TERMS, codes.SNOMED)
    )
    found = [a.code for a in acts if a.code] + [a.ccam for a in acts if a.ccam]
    found.extend(Code(m, modality_scheme, codes.MODALITIES.get(m, "")) for m in _modalities(acts, manifest))
    found.extend(Code(r.code, region_scheme, r.display) for a in acts for r in a.regions)
    once: dict[tuple[str, str], Code] = {}
    for code in found:
        once.setdefault((code.code, code.system), code)
    return tuple(once.values())


def _modalities(acts: tuple[Act, ...], manifest: Manifest) -> tuple[str, ...]:
    of_images = tuple(m for m in manifest.study.modalities() if _acquires(m))
    if of_images:
        return of_images
    told = (codes.MODALITY_SYNONYMS.get(m.code, m.code) for a in acts for m in a.modalities)
    return tuple(dict.fromkeys(m for m in told if _acquires(m)))


def _acquires(modality: str) -> bool:
    return modality in codes.MODALITIES or modality in codes.MODALITIES_WITHOUT_LABEL


def _study_instant(manifest: Manifest) -> datetime | None:
    # DICOM dates have no zone: the site's, which is legal time in France
    digits = manifest.study.study_date + (manifest.study.study_time.partition(".")[0] + "000000")[:6]
    try:
        naive = datetime.strptime(digits, "%Y%m%d%H%M%S")  # noqa: DTZ007 (zone added on the next line)
    except ValueError:
        return None
    return naive.replace(tzinfo=ZoneInfo("Europe/Paris")).astimezone(UTC)
