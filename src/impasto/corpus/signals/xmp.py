"""What the XMP in an image says: PLUS/IPTC `plus:DataMining`, and TDMRep's `tdm:reservation`.

The vocabulary is PLUS's DMI (http://ns.useplus.org/ldf/vocab/DMI-...), which the IPTC Photo Metadata Standard takes
over since 2023.1.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from xml.etree import ElementTree

from impasto.corpus.signals import tdmrep
from impasto.corpus.signals.reading import Reading, strictest

PLUS = "{http://ns.useplus.org/ldf/xmp/1.0/}"
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
TDM = "{http://www.w3.org/ns/tdmrep/}"


def read(image: bytes) -> Reading:
    """Read the XMP of an image file (PNG, JPEG, WebP, TIFF, GIF); a packet that is not XML is unknown."""
    try:
        packets = list(_packets(image))
    except (OSError, ValueError, SyntaxError) as error:
        return Reading("unknown", f"the image cannot be read: {error}")
    return strictest(read_packet(packet) for packet in packets)


def read_packet(packet: bytes) -> Reading:
    """Read one XMP packet."""
    text = packet.decode("utf-8", errors="replace").strip("\0 \r\n\t")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        return Reading("unknown", "an XMP packet with a document type, which is not read")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        return Reading("unknown", f"an XMP packet that is not XML: {error}")
    mining = [_data_mining(value) for value in _values(root, f"{PLUS}DataMining")]
    if constraints := list(_values(root, f"{PLUS}OtherConstraints")):
        mining = [_constrained(reading, constraints[0]) for reading in mining]
    return strictest([*mining, tdmrep.read_header(list(_values(root, f"{TDM}reservation")))])


def _packets(image: bytes) -> Iterator[bytes]:
    from PIL import Image

    with Image.open(io.BytesIO(image)) as opened:
        found = [opened.info.get(key) for key in ("xmp", "XML:com.adobe.xmp")]
    yield from dict.fromkeys(one.encode() if isinstance(one, str) else one for one in found if one)


def _values(root: ElementTree.Element, name: str) -> Iterator[str]:
    """Yield the values of property `name`, in each of the ways in which RDF writes it."""
    for element in root.iter():
        if (value := element.get(name)) is not None:
            yield value
        if element.tag == name:
            yield element.get(f"{RDF}resource") or "".join(element.itertext()).strip()


def _data_mining(value: str) -> Reading:
    raw = f"plus:DataMining: {value}"
    code = value.rstrip("/").rsplit("/", 1)[-1].strip().upper()
    if code in ("DMI-UNSPECIFIED", ""):
        return Reading("absent", raw)
    if code == "DMI-ALLOWED":
        return Reading("allow", raw)
    return Reading("deny" if "PROHIBITED" in value.upper() else "unknown", raw)


def _constrained(reading: Reading, constraint: str) -> Reading:
    raw = f"{reading.raw}; plus:OtherConstraints: {constraint}"
    return Reading("unknown" if reading.verdict == "allow" else reading.verdict, raw)
