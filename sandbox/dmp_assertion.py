# SPDX-License-Identifier: AGPL-3.0-or-later
"""The signature of the VIHF (SAML assertion): strict about its shape, then verified (vihf, section 2).

Only one shape is accepted, so nothing else of XML-DSig can be played with: one assertion, one enveloped signature
right after the issuer, one reference to the assertion's own and unique ID, two transforms.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from lxml import etree

from sandbox import dmp_trust as trust
from sandbox.dmp_codes import q
from sandbox.dmp_errors import INVALID_VIHF, SoapFault
from sandbox.dmp_soap import Message

Element = etree._Element
PREFIX_LISTS = ("", "ds saml #default xsi")


@dataclass(frozen=True)
class Signed:
    """A verified assertion (detached from its message) and the certificate that signed it."""

    assertion: Element
    signer: x509.Certificate


def bad(check: str, reason: str) -> SoapFault:
    """A fault about the VIHF."""
    return SoapFault(f"vihf-{check}", reason, INVALID_VIHF)


def verify_assertion(message: Message, algorithms: frozenset[str]) -> Signed:
    """Find, check and verify the assertion of a message.

    ``algorithms``: accepted signature methods.  Raises `SoapFault`.
    """
    assertion = _find(message)
    signature = _find_signature(assertion)
    signed_info = _child(signature, "ds:SignedInfo")
    _check_signed_info(signed_info, algorithms)
    reference = _child(signed_info, "ds:Reference")
    prefixes = _check_reference(reference, assertion)
    certificates = signature.findall("/".join(q(f"ds:{n}") for n in ("KeyInfo", "X509Data", "X509Certificate")))
    if not certificates:
        raise bad("key-info", "KeyInfo sans certificat.")
    signer = trust.load_certificate(certificates[0].text, "vihf-key-info")
    method = _child(signed_info, "ds:SignatureMethod").get("Algorithm", "")
    value = trust.from_base64(_child(signature, "ds:SignatureValue").text)
    if not trust.rsa_verifies(signer, method, value, trust.exclusive_c14n(signed_info, _listed(signed_info[0]))):
        raise bad("signature", "La signature du VIHF est fausse.")
    _check_digest(assertion, signature, reference, prefixes)
    return Signed(assertion, signer)


def _find(message: Message) -> Element:
    found = list(message.envelope.iter(q("saml2:Assertion")))
    children = list(message.security.iterchildren("*"))
    if not found:
        raise bad("missing", "Le VIHF est absent.")
    if len(found) != 1 or children != found:
        raise bad("security", "wsse:Security ne doit contenir que l'assertion, une seule fois.")
    # Comments are not signed (c14n leaves them out) and could split a text.
    if any(not isinstance(node.tag, str) for node in found[0].iter()):
        raise bad("comment", "Commentaire ou instruction de traitement dans l'assertion.")
    return found[0]


def _find_signature(assertion: Element) -> Element:
    identifier = assertion.get("ID", "")
    everywhere = assertion.getroottree().getroot()
    same = [e for e in everywhere.iter("*") for name in ("ID", "Id", "id") if identifier and e.get(name) == identifier]
    if len(same) != 1 or not identifier.startswith("_"):
        raise bad("id", "L'ID de l'assertion doit commencer par « _ » et être unique dans le message.")
    signatures = list(assertion.iter(q("ds:Signature")))
    if not signatures:
        raise bad("unsigned", "Le VIHF n'est pas signé.")
    children = list(assertion.iterchildren("*"))
    if len(signatures) != 1 or len(children) < 2 or children[1] is not signatures[0]:
        raise bad("signature-place", "La signature doit être unique et suivre Issuer.")
    return signatures[0]


def _child(parent: Element, name: str) -> Element:
    found = parent.findall(q(name))
    if len(found) != 1:
        raise bad("signature-shape", f"{name} doit être présent une fois.")
    return found[0]


def _check_signed_info(signed_info: Element, algorithms: frozenset[str]) -> None:
    names = [child.tag for child in signed_info.iterchildren("*")]
    if names != [q("ds:CanonicalizationMethod"), q("ds:SignatureMethod"), q("ds:Reference")]:
        raise bad("signature-shape", "SignedInfo doit avoir une seule référence.")
    if signed_info[0].get("Algorithm") != trust.EXCLUSIVE:
        raise bad("c14n", "SignedInfo doit être en c14n exclusif.")
    if signed_info[1].get("Algorithm") not in algorithms:
        raise bad("algorithm", "Algorithme de signature refusé.")


def _check_reference(reference: Element, assertion: Element) -> list[str]:
    if reference.get("URI") != "#" + str(assertion.get("ID")):
        raise bad("reference", "La référence ne désigne pas l'assertion.")
    transforms = list(_child(reference, "ds:Transforms").iterchildren("*"))
    if [t.get("Algorithm") for t in transforms] != [trust.ENVELOPED, trust.EXCLUSIVE]:
        raise bad("transforms", "Transformations attendues : enveloped-signature puis c14n exclusif.")
    if _child(reference, "ds:DigestMethod").get("Algorithm") not in trust.DIGESTS:
        raise bad("algorithm", "Algorithme d'empreinte refusé.")
    return _listed(transforms[1])


def _listed(method: Element) -> list[str]:
    """Prefixes of an InclusiveNamespaces child; only those of the published examples."""
    children = list(method.iterchildren("*"))
    if not children:
        return []
    text = children[0].get("PrefixList", "")
    if len(children) > 1 or children[0].tag != f"{{{trust.EXCLUSIVE}}}InclusiveNamespaces" or text not in PREFIX_LISTS:
        raise bad("transforms", "InclusiveNamespaces inattendu.")
    return text.split()


def _check_digest(assertion: Element, signature: Element, reference: Element, prefixes: list[str]) -> None:
    # The signature is taken out of the very tree that is used afterwards: what is read is what was signed.
    method = _child(reference, "ds:DigestMethod").get("Algorithm", "")
    expected = trust.from_base64(_child(reference, "ds:DigestValue").text)
    previous = signature.getprevious()
    if previous is None:
        raise bad("signature-place", "La signature doit suivre Issuer.")
    previous.tail = (previous.tail or "") + (signature.tail or "")
    assertion.remove(signature)
    if trust.digest(method, trust.exclusive_c14n(assertion, prefixes)) != expected:
        raise bad("digest", "L'empreinte du VIHF est fausse.")
