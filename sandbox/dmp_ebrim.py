# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reads ``lcm:SubmitObjectsRequest`` into records, as strictly as the ebRIM schema would (order of children too)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lxml import etree

from sandbox.dmp_codes import ASSOCIATION_OBJECT, SET_NODE, q
from sandbox.dmp_errors import SoapFault

Element = etree._Element
Slots = Mapping[str, tuple[str, ...]]
# ebRIM 3.0 rim.xsd: RegistryObjectType, Slot first by IdentifiableType.
ORDER = tuple(
    q(f"rim:{name}") for name in ("Slot", "Name", "Description", "VersionInfo", "Classification", "ExternalIdentifier")
)
SINGLE = frozenset(q(f"rim:{name}") for name in ("Name", "Description", "VersionInfo"))


@dataclass(frozen=True)
class Classification:
    """A code or an author; ``scheme`` empty for a classification node."""

    scheme: str
    code: str
    slots: Slots
    name: str
    node: str

    @property
    def coded(self) -> tuple[str, str]:
        """(code, coding scheme)."""
        return self.code, (self.slots.get("codingScheme") or ("",))[0]


@dataclass(frozen=True)
class RegistryObject:
    """A submission set or a document entry, with its XML as received."""

    id: str
    attributes: Mapping[str, str]
    slots: Slots
    name: str
    classifications: tuple[Classification, ...]
    identifiers: Mapping[str, str]
    xml: bytes

    def classified(self, scheme: str) -> tuple[Classification, ...]:
        """Its classifications of one scheme, in order."""
        return tuple(c for c in self.classifications if c.scheme == scheme)

    def codes(self, scheme: str) -> tuple[tuple[str, str], ...]:
        """(code, coding scheme) of its classifications of one scheme."""
        return tuple(c.coded for c in self.classified(scheme))

    def slot(self, name: str) -> str:
        """The single value of a slot, empty where absent or multiple."""
        values = self.slots.get(name, ())
        return values[0] if len(values) == 1 else ""


@dataclass(frozen=True)
class Association:
    """A link between two objects."""

    type: str
    source: str
    target: str
    slots: Slots


@dataclass(frozen=True)
class Submission:
    """Everything of one ``RegistryObjectList``."""

    set: RegistryObject
    entries: tuple[RegistryObject, ...]
    associations: tuple[Association, ...]

    def linked(self, kind: str) -> tuple[Association, ...]:
        """Its associations of one type."""
        return tuple(a for a in self.associations if a.type == kind)


def schema(reason: str) -> SoapFault:
    """The fault of a message that the XML schema refuses."""
    return SoapFault("schema", f"Message non conforme au schéma : {reason}.")


def read_submission(request: Element) -> Submission:
    """Read ``lcm:SubmitObjectsRequest``.  Raises `SoapFault` where the schema would refuse."""
    lists = request.findall(q("rim:RegistryObjectList"))
    if request.tag != q("lcm:SubmitObjectsRequest") or len(lists) != 1:
        raise schema("SubmitObjectsRequest et RegistryObjectList attendus")
    packages, entries, associations, nodes = [], [], [], []
    for child in lists[0].iterchildren("*"):
        if child.tag == q("rim:RegistryPackage"):
            packages.append(read_object(child))
        elif child.tag == q("rim:ExtrinsicObject"):
            entries.append(read_object(child))
        elif child.tag == q("rim:Association"):
            associations.append(_association(child))
        elif child.tag == q("rim:Classification"):
            nodes.append((child.get("classifiedObject"), child.get("classificationNode")))
        elif child.tag != q("rim:ObjectRef"):
            raise schema(f"élément inattendu {etree.QName(child).localname}")
    _check_ids(lists[0])
    if len(packages) != 1:
        raise schema("un RegistryPackage attendu, un seul")
    nodes += [(packages[0].id, c.node) for c in packages[0].classifications]
    if (packages[0].id, SET_NODE) not in nodes:
        raise schema("le RegistryPackage n'est pas classé SubmissionSet")
    return Submission(packages[0], tuple(entries), tuple(associations))


def _check_ids(objects: Element) -> None:
    seen = set()
    for element in objects.iter("*"):
        if etree.QName(element).localname in _IDENTIFIED:
            identifier = element.get("id")
            if not identifier or identifier in seen:
                raise schema(f"id absent ou en double sur {etree.QName(element).localname}")
            seen.add(identifier)


_IDENTIFIED = frozenset(
    {"RegistryPackage", "ExtrinsicObject", "Association", "Classification", "ExternalIdentifier", "ObjectRef"}
)


def read_object(element: Element) -> RegistryObject:
    """Read one RegistryPackage or ExtrinsicObject.  Raises `SoapFault` where the schema would refuse."""
    _check_order(element)
    own = element.get("id", "")
    classifications = tuple(_classification(c, own) for c in element.findall(q("rim:Classification")))
    return RegistryObject(
        id=own,
        attributes={str(key): str(value) for key, value in element.attrib.items()},
        slots=_slots(element),
        name=_localized(element, "rim:Name"),
        classifications=classifications,
        identifiers=_identifiers(element, own),
        xml=etree.tostring(element, with_tail=False),
    )


def _check_order(element: Element) -> None:
    label = etree.QName(element).localname
    last = 0
    seen: set[object] = set()
    for child in element.iterchildren("*"):
        if child.tag not in ORDER:
            raise schema(f"élément inattendu {etree.QName(child).localname} dans {label}")
        rank = ORDER.index(str(child.tag))
        if rank < last or (child.tag in SINGLE and child.tag in seen):
            raise schema(f"ordre des éléments de {label}")
        last = rank
        seen.add(child.tag)


def _slots(element: Element) -> dict[str, tuple[str, ...]]:
    out: dict[str, tuple[str, ...]] = {}
    for slot in element.findall(q("rim:Slot")):
        name, lists = slot.get("name"), slot.findall(q("rim:ValueList"))
        if not name or len(lists) != 1 or name in out:
            raise schema("Slot sans nom, sans ValueList ou en double")
        out[name] = tuple((value.text or "").strip() for value in lists[0].findall(q("rim:Value")))
        if any(not value for value in out[name]) or not out[name]:
            raise schema(f"Slot {name} vide")
    return out


def _localized(element: Element, name: str) -> str:
    text = element.find(f"{q(name)}/{q('rim:LocalizedString')}")
    return "" if text is None else text.get("value", "").strip()


def _classification(element: Element, owner: str) -> Classification:
    _check_order(element)
    if element.get("classifiedObject") != owner:
        raise schema("classifiedObject ne désigne pas l'objet qui le contient")
    scheme, node = element.get("classificationScheme", ""), element.get("classificationNode", "")
    if bool(scheme) == bool(node) or (scheme and "nodeRepresentation" not in element.attrib):
        raise schema("Classification sans classificationScheme ou nodeRepresentation")
    code = element.get("nodeRepresentation", "").strip()
    return Classification(scheme, code, _slots(element), _localized(element, "rim:Name"), node)


def _identifiers(element: Element, owner: str) -> dict[str, str]:
    out: dict[str, str] = {}
    for child in element.findall(q("rim:ExternalIdentifier")):
        _check_order(child)
        scheme, value = child.get("identificationScheme"), child.get("value", "").strip()
        if not scheme or scheme in out or child.get("registryObject") != owner or not value:
            raise schema("ExternalIdentifier mal formé ou en double")
        if not _localized(child, "rim:Name"):
            raise schema("ExternalIdentifier sans nom")
        out[scheme] = value
    return out


def _association(element: Element) -> Association:
    _check_order(element)
    kind, source, target = (element.get(name, "") for name in ("associationType", "sourceObject", "targetObject"))
    if not (kind and source and target):
        raise schema("Association incomplète")
    if element.get("objectType", ASSOCIATION_OBJECT) != ASSOCIATION_OBJECT:
        raise schema("objectType d'Association inattendu")
    return Association(kind, source, target, _slots(element))
