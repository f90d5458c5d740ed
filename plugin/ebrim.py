# SPDX-License-Identifier: AGPL-3.0-or-later
"""ebRIM 3.0 elements in the one order that its schema allows, whatever the order of the calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from lxml import etree

from drimbox.records import Code
from drimbox.xds_codes import REGISTRY_OBJECT, RIM
from drimbox.xds_formats import clean

_XML_LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"


def rim(name: str) -> str:
    """Qualified name in the rim namespace."""
    return f"{{{RIM}}}{name}"


def slot(name: str, values: Iterable[str]) -> etree._Element:
    """``rim:Slot`` with its values."""
    element = etree.Element(rim("Slot"), name=name)
    values_element = etree.SubElement(element, rim("ValueList"))
    for value in values:
        etree.SubElement(values_element, rim("Value")).text = value
    return element


def _text(tag: str, value: str) -> etree._Element:
    element = etree.Element(rim(tag))
    localized = etree.SubElement(element, rim("LocalizedString"), value=clean(value))
    localized.set(_XML_LANG, "fr-FR")
    return element


class RegistryObject:
    """A RegistryPackage or an ExtrinsicObject being filled; `element` writes Slot*, Name, Description,
    Classification*, ExternalIdentifier* in this order (rim.xsd, RegistryObjectType).
    """

    def __init__(self, tag: str, identifier: str, **attributes: str) -> None:
        self._id = identifier
        self._tag = tag
        self._attributes = attributes
        self._slots: list[etree._Element] = []
        self._texts: dict[str, etree._Element] = {}
        self._classifications: list[etree._Element] = []
        self._identifiers: list[etree._Element] = []

    def slot(self, name: str, *values: str) -> None:
        """Add a slot, none where every value is empty."""
        present = [v for v in values if v]
        if present:
            self._slots.append(slot(name, present))

    def name(self, text: str) -> None:
        """Set the title."""
        self._texts["Name"] = _text("Name", text)

    def description(self, text: str) -> None:
        """Set the comments."""
        self._texts["Description"] = _text("Description", text)

    def classify(self, scheme: str, code: Code) -> None:
        """Add a coded attribute."""
        element = self._classification(classificationScheme=scheme, nodeRepresentation=code.code)
        element.append(slot("codingScheme", [code.system]))
        element.append(_text("Name", code.display or code.code))

    def node(self, node: str) -> None:
        """Say what kind of package this is."""
        self._classification(classificationNode=node)

    def author(self, scheme: str, **slots: str) -> None:
        """Add an author; empty slots are left out."""
        element = self._classification(classificationScheme=scheme, nodeRepresentation="")
        for name, value in slots.items():
            if value:
                element.append(slot(name, [value]))

    def identify(self, scheme: str, name: str, value: str) -> None:
        """Add an external identifier."""
        element = etree.Element(
            rim("ExternalIdentifier"),
            id=f"{self._id}-ei{len(self._identifiers) + 1}",
            objectType=f"{REGISTRY_OBJECT}ExternalIdentifier",
            registryObject=self._id,
            identificationScheme=scheme,
            value=value,
        )
        element.append(_text("Name", name))
        self._identifiers.append(element)

    def element(self) -> etree._Element:
        """Write the object."""
        element = etree.Element(rim(self._tag), {"id": self._id, **self._attributes})
        texts = [self._texts[tag] for tag in ("Name", "Description") if tag in self._texts]
        element.extend([*self._slots, *texts, *self._classifications, *self._identifiers])
        return element

    def _classification(self, **attributes: str) -> etree._Element:
        element = etree.Element(
            rim("Classification"),
            {
                "id": f"{self._id}-cl{len(self._classifications) + 1}",
                "objectType": f"{REGISTRY_OBJECT}Classification",
                "classifiedObject": self._id,
                **attributes,
            },
        )
        self._classifications.append(element)
        return element


def association(identifier: str, kind: str, source: str, target: str, **slots: str) -> etree._Element:
    """``rim:Association``."""
    element = etree.Element(
        rim("Association"),
        id=identifier,
        objectType=f"{REGISTRY_OBJECT}Association",
        associationType=kind,
        sourceObject=source,
        targetObject=target,
    )
    for name, value in slots.items():
        element.append(slot(name, [value]))
    return element
