"""Vectors from the specifications: what each signal says of training, and no `allow` that was not said.

Above each table stand the sections that it was checked against, and where its vectors are stricter: what cannot be read
is `unknown` here, and refused, where specifications would take it for silence.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from impasto.corpus.record import Basis, Consent, Licence, Signal
from impasto.corpus.signals import (
    ai_txt,
    content_usage,
    pages,
    precedence,
    robots_tag,
    robots_txt,
    tdmrep,
    training_mining,
    xmp,
)
from impasto.corpus.signals.reading import Reading, strictest

URL = "https://art.example/images/fox.jpg?size=2"

# Google, "Robots meta tag, data-nosnippet, and X-Robots-Tag specifications": "Using the X-Robots-Tag HTTP header" (case
# is no matter; several headers; `agent:` before a rule narrows it), "Valid indexing and serving rules" (values after a
# colon, a date with a comma). `noai` and `noimageai` are DeviantArt's (2022), in the same grammar. That `noindex`,
# `noimageindex` and `none` refuse is our choice, as it is img2dataset's; that a refusal to crawlers for training is one
# to us is ours.
ROBOTS_TAG = [
    ([], "absent"),
    ([""], "absent"),
    (["all"], "absent"),
    (["nofollow, noarchive"], "absent"),
    (["noai"], "deny"),
    (["NoAI"], "deny"),
    (["  noimageai  "], "deny"),
    (["noai, noimageai"], "deny"),
    (["nofollow", "noai"], "deny"),
    (["otherbot: noindex", "noai"], "deny"),
    (["otherbot: noai"], "absent"),
    (["otherbot: noindex, nofollow"], "absent"),
    (["otherbot: nofollow, noai"], "unknown"),
    (["Impasto: noai"], "deny"),
    (["impasto:noai"], "deny"),
    (["otherbot: nofollow, impasto: noimageai"], "deny"),
    (["*: noai"], "deny"),
    (["GPTBot: noai"], "deny"),
    (["unavailable_after: 25 Jun 2030 15:00:00 PST, noai"], "deny"),
    (["unavailable_after: Wed, 25 Jun 2030 15:00:00 GMT, noai"], "deny"),
    (["unavailable_after: 2030-06-25T15:00:00Z"], "absent"),
    (["noai, max-snippet:0"], "deny"),
    (["max-image-preview:none, noimageai"], "deny"),
    (["max-image-preview: none"], "absent"),
    (["noindex"], "deny"),
    (["none"], "deny"),
    (["no-ai"], "unknown"),
    (["no_image_ai"], "unknown"),
    (["noai=1"], "unknown"),
    (["noai: true"], "deny"),
    (['"noai"'], "deny"),
]

# The same, "Using the robots meta tag": name and content are case-insensitive; a crawler's name narrows it.
META = [
    ('<meta name="robots" content="noai, noimageai">', "deny"),
    ('<META NAME="Robots" CONTENT="NOAI">', "deny"),
    ('<meta name="impasto" content="noai"/>', "deny"),
    ('<meta name="googlebot" content="noai">', "absent"),
    ('<meta name="robots" content="index, follow">', "absent"),
    ('<meta name="description" content="noai">', "absent"),
    ('<!-- <meta name="robots" content="noai"> -->', "absent"),
    ("<meta name='robots' content='index'><meta name='robots' content='noimageai'>", "deny"),
    ("<meta name=robots content=noai", "absent"),  # never closed, so no element
    ("", "absent"),
]

# draft-ietf-aipref-attach, "HTTP Content-Usage Header Field"; draft-ietf-aipref-vocab, "Exemplary Serialization Format"
# (6): labels are case sensitive, values are the tokens y and n, parameters and unknown labels are ignored ("Syntax
# Extensions"), the last of a repeated key holds ("Multiple Preferences"), of several statements the most restrictive
# ("Combining Preferences"). Stricter here: a value that is neither, and what does not parse, is unknown to us too, but
# is refused.
CONTENT_USAGE = [
    ([], "absent"),
    ([""], "absent"),
    (["train-ai=n"], "deny"),
    (["train-ai=y"], "allow"),
    (["search=y, train-ai=n"], "deny"),
    (["search=n"], "absent"),
    (["train-ai=n, train-ai=y"], "allow"),  # of a key that is there twice the last holds
    (["train-ai=y, train-ai=n"], "deny"),
    (["train-ai=y", "train-ai=n"], "deny"),
    (["train-ai=y", "search=y"], "allow"),
    (["Train-AI=n"], "unknown"),
    (["train-ai=N"], "unknown"),
    (["train-ai"], "unknown"),
    (["train-ai=?0"], "unknown"),
    (['train-ai="n"'], "unknown"),
    (["train-ai=(n y)"], "unknown"),
    (["train-ai=n;why=art"], "deny"),
    (["train-ai = n"], "unknown"),
    (["train-ai=n,"], "unknown"),
    (["train-ai=y, train-genai=n"], "deny"),
    (["bots=n"], "deny"),
    (["träin-ai=n"], "unknown"),
    (['train-ai=y, train-ai, search=n, search="n"'], "unknown"),  # vocab, "Multiple Preferences", its example
    (["train-ai;allow=n, train-ai=y"], "allow"),  # vocab, "Preference Parameters", its example
    (['train-ai;has;parameters="?";'], "unknown"),
    (["train-ai=y, search=n"], "allow"),  # vocab, 6, its example
]

# RFC 9309: groups by product token, case-insensitive, `*` where none fits, groups of one token together (2.2.1); the
# longest path that fits, of two as long the Allow (2.2.2); `*`, `$` and `#` (2.2.3); other records are passed over
# (2.2.4).
ROBOTS_TXT = [
    ("", "absent"),
    ("User-agent: *\nDisallow:", "absent"),
    ("User-agent: *\nAllow: /", "absent"),  # leave to fetch is not leave to train
    ("User-agent: *\nDisallow: /", "deny"),
    ("user-agent: IMPASTO\ndisallow: /images/", "deny"),
    ("User-agent: *\nDisallow: /\n\nUser-agent: Impasto\nAllow: /", "absent"),
    ("User-agent: *\nDisallow: /*.jpg", "deny"),
    ("User-agent: *\nDisallow: /*.jpg$", "absent"),  # the url has a query
    ("User-agent: *\nDisallow: /images/\nAllow: /images/fox", "absent"),
    ("User-agent: GPTBot\nDisallow: /", "deny"),
    ("User-agent: otherbot\nDisallow: /", "absent"),
    ("User-agent: GPTBot\nUser-agent: CCBot\nDisallow: /images/\n\nUser-agent: *\nAllow: /", "deny"),
    ("<html><body>Not here</body></html>", "absent"),
    ("\ufeffUser-agent: *\nDisallow: /", "deny"),
    ("User-agent: *\nDisallow: /images/\nAllow: /images/", "absent"),  # 2.2.2: allow where they are as long
    ("User-agent: impasto\nDisallow: /a\n\nUser-agent: Impasto\nDisallow: /images/", "deny"),  # 2.2.1: together
    ("Sitemap: https://art.example/map.xml\nUser-agent: *\n\nDisallow: /images/ # ours", "deny"),
]

# draft-ietf-aipref-attach, "Example", without its rule for a path.
EXAMPLE = "User-Agent: *\nAllow: /\nDisallow: /never/\nContent-Usage: train-ai=n\n"

# draft-ietf-aipref-attach, "Content-Usage Rule Semantics" (the longest path; of identical paths the most restrictive)
# and "Processing Content-Usage Rules" (a value that does not begin with `/` has no path; a space or a tab ends the
# path).
USAGE_LINES = [
    ("User-agent: *\nDisallow:", "absent"),
    ("User-agent: *\nContent-Usage: train-ai=n", "deny"),
    ("User-agent: *\nContent-Usage: /images/ train-ai=n", "deny"),
    ("User-agent: *\nContent-Usage: /music/ train-ai=n", "absent"),
    ("User-agent: *\nContent-Usage: train-ai=n\nContent-Usage: /images/ train-ai=y", "allow"),
    ("User-agent: *\nContent-Usage: /images/ train-ai=y\nContent-Usage: /images/ train-ai=n", "deny"),
    ("User-agent: *\nContent-Usage: train-ai=n\n\nUser-agent: impasto\nContent-Usage: train-ai=y", "allow"),
    ("User-agent: *\nContent-Usage: train-ai=y\n\nUser-agent: impasto\nContent-Usage: train-ai=n", "deny"),
    ("User-agent: otherbot\nContent-Usage: train-ai=n", "absent"),
    ("User-agent: *\nContent-Usage: TRAIN-AI=n", "unknown"),
    ("User-agent: *\nContent-Usage: /images/", "absent"),
    ("Content-Usage: train-ai=n", "deny"),
    ("User-agent: *\ncontent-usage: /*.jpg train-ai=n # mine", "deny"),
    ("User-agent: *\nContent-Usage: /images/\ttrain-ai=n", "deny"),
    ("User-agent: *\nContent-Usage \t : \t train-ai=n", "deny"),
    ("User-agent: GPTBot\nContent-Usage: train-ai=n", "deny"),  # who gathers for training is refused, and we with them
    ("User-agent: GPTBot\nContent-Usage: train-ai=y", "absent"),  # leave for others is none for us
    (f"{EXAMPLE}Content-Usage: /images/ train-ai=y", "allow"),
    (EXAMPLE, "deny"),
]

# Spawning's ai.txt has no specification beyond its generator: robots.txt's syntax, with lines such as `Disallow:
# *.jpg`. That the longest rule holds is robots.txt's; that a refusal holds of two as long, and whatever the case, is
# our choice.
AI_TXT = [
    (None, "absent"),
    ("", "absent"),
    ("User-Agent: *\nDisallow: *.jpg\nAllow: *.txt", "deny"),
    ("User-Agent: *\nAllow: *.jpg\nDisallow: *.txt", "allow"),
    ("User-Agent: *\nDisallow: /", "deny"),
    ("User-Agent: *\nDisallow: *.png", "absent"),
    ("User-Agent: *\nAllow: *.jpg\nDisallow: *.jpg", "deny"),
    ("User-Agent: *\nDisallow: /\nAllow: /images/", "allow"),
    ("User-Agent: Spawning-AI\nDisallow: /\n\nUser-Agent: *\nAllow: /", "deny"),
    ("<!doctype html><p>Not found", "absent"),
    ("User-Agent: *\nDisallow: /\nDisallow: *", "deny"),
    ("User-Agent: *\nDisallow: *.JPG", "deny"),
]

# TDMRep, final report of 10 May 2024: "Declaring the reservation of TDM Rights" (1 and 0), "TDM File on the Origin
# Server" (an array of objects with location and tdm-reservation; `*` and `$`), "TDM Header Field in HTTP Responses",
# "Processing priority" (the header supersedes the file). Stricter here: other values are protocol errors, which the
# report takes for unset and we refuse; of several locations that fit it takes the first, and we the one that reserves.
# (tdm-reservation lines, tdm-policy lines, tdmrep.json)
RESERVED = '[{"location": "/", "tdm-reservation": 1}]'
TDMREP: list[tuple[list[str], list[str], str | None, str]] = [
    ([], [], None, "absent"),
    (["1"], [], None, "deny"),
    (["1"], ["https://art.example/policy.json"], None, "deny"),
    (["0"], [], None, "allow"),
    (["0", "1"], [], None, "deny"),
    (["0, 1"], [], None, "deny"),
    (["yes"], [], None, "unknown"),
    ([""], [], None, "unknown"),
    ([], ["https://art.example/policy.json"], None, "unknown"),
    (["0"], [], RESERVED, "allow"),  # the header overrides the file
    (["1"], [], '[{"location": "/", "tdm-reservation": 0}]', "deny"),
    ([], [], RESERVED, "deny"),
    ([], [], '[{"location": "/images/*.jpg", "tdm-reservation": 1, "tdm-policy": "https://p.example"}]', "deny"),
    ([], [], '[{"location": "/music/", "tdm-reservation": 1}]', "absent"),
    ([], [], '[{"location": "/images/", "tdm-reservation": 0}]', "allow"),
    ([], [], '[{"location": "/images/", "tdm-reservation": 0}, {"location": "*", "tdm-reservation": 1}]', "deny"),
    ([], [], '[{"location": "/", "tdm-reservation": true}]', "unknown"),
    ([], [], '[{"location": "/", "tdm-reservation": "1"}]', "deny"),
    ([], [], '[{"tdm-reservation": 1}]', "unknown"),
    ([], [], '{"location": "/", "tdm-reservation": 1}', "unknown"),
    ([], [], "[", "unknown"),
    ([], [], "[" * 100_000, "unknown"),
    ([], [], "<html>Not found</html>", "absent"),
    ([], [], "[]", "absent"),
    ([], [], '[{"location": "/images/*.jpg", "tdm-reservation": 0}, {"location": "/", "tdm-reservation": 1}]', "deny"),
    ([], [], '[{"location": "/", "tdm-reservation": 1}, {"location": "/images/*.jpg", "tdm-reservation": 0}]', "deny"),
    ([], [], '[{"location": "/images/fox.jpg$", "tdm-reservation": 1}]', "absent"),  # the url has a query
    ([], [], '[{"location": "/%69mages/", "tdm-reservation": 1}]', "deny"),  # percent-encoded, and need not be
]

# IPTC Photo Metadata Standard 2023.1, "Data Mining" and "Other Constraints", with PLUS's vocabulary (LDF, `DMI-...`).
# Stricter here: what is allowed under other constraints, and a value that is in no list, is unknown. TDMRep, "TDM
# Metadata in PDF files", for `tdm:reservation` in XMP, which we read in pictures too.
PLUS = "http://ns.useplus.org/ldf/vocab/DMI-"
XMP = [
    (f'plus:DataMining="{PLUS}PROHIBITED-GENAIMLTRAINING"', "", "deny"),
    (f'plus:DataMining="{PLUS}PROHIBITED-AIMLTRAINING"', "", "deny"),
    (f'plus:DataMining="{PLUS}PROHIBITED-EXCEPTSEARCHENGINEINDEXING"', "", "deny"),
    (f'plus:DataMining="{PLUS}PROHIBITED"', "", "deny"),
    (f'plus:DataMining="{PLUS}PROHIBITED-SEECONSTRAINT"', "", "deny"),
    (f'plus:DataMining="{PLUS}PROHIBITED-SEELINKEDRIGHTSEXPR"', "", "deny"),
    (f'plus:DataMining="{PLUS}UNSPECIFIED"', "", "absent"),
    (f'plus:DataMining="{PLUS}ALLOWED"', "", "allow"),
    (f'plus:DataMining="{PLUS}ALLOWED" plus:OtherConstraints="Ask first"', "", "unknown"),
    ('plus:DataMining="Prohibited for Generative AI/ML training"', "", "deny"),
    ('plus:DataMining="maybe"', "", "unknown"),
    ("", f"<plus:DataMining>{PLUS}PROHIBITED</plus:DataMining>", "deny"),
    ("", f'<plus:DataMining rdf:resource="{PLUS}PROHIBITED"/>', "deny"),
    ('tdm:reservation="1"', "", "deny"),
    ("", "", "absent"),
]

# CAWG Training and Data Mining Assertion 1.1 (16 May 2025), "Overview" (four entries; `constrained` is as `notAllowed`;
# `ai_training` is of models that generate nothing) and "Schema and example"; C2PA 1.4, "Training and Data Mining".
ALLOWED_USE = {"use": "allowed"}
MINING: list[tuple[Any, str]] = [
    ({"entries": {"c2pa.ai_generative_training": {"use": "notAllowed"}}}, "deny"),
    ({"entries": {"c2pa.ai_training": {"use": "constrained", "constraint_info": "ask"}}}, "deny"),
    ({"entries": {"cawg.ai_generative_training": {"use": "notAllowed"}}}, "deny"),
    ({"entries": {"cawg.data_mining": {"use": "constrained", "constraints_info": "ask"}}}, "deny"),
    ({"entries": {"cawg.ai_generative_training": {"use": "allowed"}}}, "allow"),
    ({"entries": {"cawg.ai_training": {"use": "allowed"}, "cawg.data_mining": {"use": "notAllowed"}}}, "deny"),
    ({"entries": {"cawg.ai_inference": {"use": "notAllowed"}}}, "absent"),
    ({"entries": {"cawg.ai_training": {"use": "Allowed"}}}, "unknown"),
    ({"entries": {"cawg.ai_training": {}}}, "unknown"),
    ({"entries": {"cawg.ai_training": "allowed"}}, "unknown"),
    ({"entries": []}, "unknown"),
    (None, "unknown"),
    ({"entries": {"cawg.ai_training": {"use": "allowed"}}}, "absent"),  # of models that generate nothing
    ({"entries": {"cawg.data_mining": {"use": "allowed"}}}, "absent"),
    ({"entries": {"org.example.ai_generative_training": {"use": "allowed"}}}, "absent"),  # somebody's own label
    (
        {"entries": {"c2pa.ai_generative_training": {"use": "allowed"}, "c2pa.ai_training": {"use": "notAllowed"}}},
        "deny",
    ),
    ({"entries": {"cawg.ai_inference": {"use": "notAllowed"}, "cawg.data_mining": {"use": "constrained"}}}, "deny"),
]


def packet(attributes: str, elements: str = "") -> bytes:
    return f"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/" xmlns:tdm="http://www.w3.org/ns/tdmrep/" {attributes}>{elements}
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>""".encode()


Vector = tuple[str, Callable[[], Reading], str]

VECTORS: list[Vector] = [
    *((f"X-Robots-Tag {v}", partial(robots_tag.read, v), w) for v, w in ROBOTS_TAG),
    *((f"meta {v}", partial(lambda html: robots_tag.read_meta(pages.metas(html)), v), w) for v, w in META),
    *((f"Content-Usage {v}", partial(content_usage.read, v), w) for v, w in CONTENT_USAGE),
    *((f"robots.txt {v}", partial(robots_txt.Robots(v).crawl, URL), w) for v, w in ROBOTS_TXT),
    *((f"robots.txt {v}", partial(robots_txt.Robots(v).usage, URL), w) for v, w in USAGE_LINES),
    *((f"ai.txt {v}", partial(ai_txt.read, v, URL), w) for v, w in AI_TXT),
    *((f"TDMRep {h} {p} {f}"[:120], partial(tdmrep.read, h, p, f, URL), w) for h, p, f, w in TDMREP),
    *((f"XMP {a} {e}", partial(xmp.read_packet, packet(a, e)), w) for a, e, w in XMP),
    *((f"C2PA {d}", partial(training_mining.read_assertion, d), w) for d, w in MINING),
]


def test_there_are_enough_vectors() -> None:
    assert len(VECTORS) >= 160
    assert sum(verdict in ("deny", "unknown") for *_, verdict in VECTORS) >= 90


@pytest.mark.parametrize(("read", "verdict"), [(r, w) for _, r, w in VECTORS], ids=[name for name, _, _ in VECTORS])
def test_vector(read: Callable[[], Reading], verdict: str) -> None:
    assert read().verdict == verdict


@given(st.text(max_size=60))
def test_allow_is_never_read_out_of_noise(text: str) -> None:
    """Only words that allow may be read as allowing; and nothing raises."""
    readings = [
        robots_tag.read([text]),
        robots_tag.read_meta(pages.metas(text)),
        content_usage.read([text]),
        robots_txt.Robots(text).crawl(URL),
        robots_txt.Robots(text).usage(URL),
        ai_txt.read(text, URL),
        tdmrep.read([text], [text], text, URL) if text.strip() != "0" else Reading("absent"),
        xmp.read_packet(text.encode()),
    ]
    assert "allow" not in [reading.verdict for reading in readings]


@given(st.permutations(["noai", "nofollow", "max-snippet:0", "unavailable_after: Wed, 25 Jun 2030 15:00:00 GMT"]))
def test_noai_is_found_wherever_it_stands(directives: list[str]) -> None:
    assert robots_tag.read([", ".join(directives)]).verdict == "deny"


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(404, "absent"), (401, "absent"), (429, "unknown"), (503, "unknown"), (301, "unknown"), (0, "unknown")],
)
def test_a_robots_txt_that_cannot_be_had(status: int, verdict: str) -> None:
    answer = robots_txt.of_answer(status, "")
    assert isinstance(answer, Reading)
    assert answer.verdict == verdict


def test_crawl_delay() -> None:
    assert robots_txt.Robots("User-agent: *\nCrawl-delay: 2.5").delay() == 2.5
    assert robots_txt.Robots("").delay() is None


@pytest.mark.parametrize("suffix", ["PNG", "JPEG", "WEBP"])
def test_xmp_in_files(suffix: str) -> None:
    file = io.BytesIO()
    data = packet(f'plus:DataMining="{PLUS}PROHIBITED"')
    if suffix == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", data.decode(), zip=True)
        Image.new("RGB", (8, 8)).save(file, suffix, pnginfo=info)
    else:
        Image.new("RGB", (8, 8)).save(file, suffix, xmp=data)
    reading = xmp.read(file.getvalue())
    assert reading.verdict == "deny"
    assert "DMI-PROHIBITED" in reading.raw


@pytest.mark.parametrize("packet", [b"<x", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', b"\xff\xfe"])
def test_xmp_that_cannot_be_read(packet: bytes) -> None:
    assert xmp.read_packet(packet).verdict == "unknown"


def test_xmp_of_what_is_no_image() -> None:
    assert xmp.read(b"no image").verdict == "unknown"


CREATED = {
    "label": "c2pa.actions.v2",
    "data": {
        "actions": [
            {
                "action": "c2pa.created",
                "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCreation",
            }
        ]
    },
}


def test_two_packets_of_one_file_are_both_read() -> None:
    info, file = PngImagePlugin.PngInfo(), io.BytesIO()
    info.add_itxt("xmp", packet(f'plus:DataMining="{PLUS}ALLOWED"').decode())
    info.add_itxt("XML:com.adobe.xmp", packet(f'plus:DataMining="{PLUS}PROHIBITED"').decode())
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=info)
    assert xmp.read(file.getvalue()).verdict == "deny"


@pytest.mark.parametrize(("use", "verdict"), [("allowed", "absent"), ("notAllowed", "deny")])
def test_leave_for_a_picture_it_was_made_from_is_none_for_this_one(use: str, verdict: str) -> None:
    data = {"entries": {"cawg.ai_generative_training": {"use": use}}}
    store = {
        "active_manifest": "own",
        "manifests": {"own": {}, "other": {"assertions": [{"label": "cawg.training-mining", "data": data}]}},
    }
    assert training_mining._judged(store, intact=True).verdict == verdict


@pytest.fixture(scope="module")
def signed() -> Callable[[str, Any], bytes]:
    """Sign a picture with an assertion under a label."""
    import c2pa

    from impasto.rights import identity

    own = identity.make("A maker")

    def sign(label: str, data: Any) -> bytes:
        picture, file = io.BytesIO(), io.BytesIO()
        Image.effect_noise((32, 32), 50).save(picture, "PNG")
        definition = json.dumps({"title": "fox", "assertions": [CREATED, {"label": label, "data": data}]})
        info = c2pa.C2paSignerInfo(own.algorithm, own.certificates.encode(), own.key.encode(), None)
        settings = training_mining.OFFLINE | {"builder": {"thumbnail": {"enabled": False}}}
        with (
            c2pa.Context.from_dict(settings) as context,
            c2pa.Signer.from_info(info) as signer,
            c2pa.Builder(definition, context) as builder,
        ):
            builder.sign(signer, "image/png", picture, file)
        return file.getvalue()

    return sign


@pytest.mark.parametrize(
    ("label", "name", "use", "verdict"),
    [
        ("c2pa.training-mining", "c2pa.ai_training", "constrained", "deny"),
        ("cawg.training-mining", "cawg.ai_generative_training", "notAllowed", "deny"),
        ("cawg.training-mining", "cawg.ai_generative_training", "constrained", "deny"),
        ("cawg.training-mining", "cawg.ai_generative_training", "allowed", "allow"),
        ("org.example.other", "cawg.ai_generative_training", "notAllowed", "absent"),
    ],
)
def test_signed_assertions(signed: Callable[[str, Any], bytes], label: str, name: str, use: str, verdict: str) -> None:
    picture = signed(label, {"entries": {name: {"use": use}}})
    assert training_mining.read(picture, "image/png").verdict == verdict


def test_damaged_credentials_are_unknown(signed: Callable[[str, Any], bytes]) -> None:
    picture = signed("cawg.training-mining", {"entries": {"cawg.ai_training": {"use": "allowed"}}})
    at = picture.index(b"allowed")
    for changed in (picture[:at] + b"alloweD" + picture[at + 7 :], picture.replace(b"jumb", b"jumX", 1)):
        assert training_mining.read(changed, "image/png").verdict == "unknown"


def test_a_picture_without_credentials() -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    assert training_mining.read(file.getvalue(), "image/png").verdict == "absent"
    assert training_mining.read(b"no image", "image/png").verdict == "unknown"


def signal(kind: str, verdict: Any) -> Signal:
    return Signal(kind=kind, raw="raw", verdict=verdict, seen_at="2026-01-01T00:00:00Z")


OWN = Consent(basis="owner", evidence="mine")
GRANT = Consent(basis="grant", evidence="letter of 2026-01-01")
NOBODY = Consent(basis="unknown")
BY = Consent(basis="licence", evidence="table")
FREE, NONE = Licence(spdx="CC0-1.0"), Licence(spdx="unknown")
DENIED, SITE = signal("X-Robots-Tag", "deny"), signal("ai.txt", "deny")
UNREADABLE, ALLOWED, ABSENT = signal("TDMRep", "unknown"), signal("Content-Usage", "allow"), signal("TDMRep", "absent")


@pytest.mark.parametrize(
    ("signals", "consent", "licence", "basis", "refused_by"),
    [
        ([], NOBODY, NONE, "unreserved", ()),
        ([ABSENT], NOBODY, NONE, "unreserved", ()),
        ([ALLOWED], NOBODY, NONE, "unreserved", ()),  # a site's word is no maker's consent
        ([DENIED], NOBODY, NONE, "unknown", ("X-Robots-Tag",)),
        ([ALLOWED, DENIED], NOBODY, NONE, "unknown", ("X-Robots-Tag",)),
        ([SITE, DENIED], NOBODY, NONE, "unknown", ("X-Robots-Tag",)),  # that of the work comes first
        ([SITE, ALLOWED], NOBODY, NONE, "unknown", ("ai.txt",)),
        ([UNREADABLE], NOBODY, NONE, "unknown", ("TDMRep",)),
        ([SITE], BY, FREE, "unknown", ("ai.txt",)),
        ([UNREADABLE], BY, FREE, "unknown", ("TDMRep",)),
        ([ABSENT], BY, FREE, "licence", ()),
        ([ABSENT], BY, NONE, "unreserved", ()),
        ([DENIED, SITE, UNREADABLE], GRANT, NONE, "grant", ()),
        ([DENIED], OWN, NONE, "owner", ()),
        ([DENIED], Consent(basis="grant"), NONE, "unknown", ("X-Robots-Tag",)),  # a grant without evidence is none
        ([signal("a kind of tomorrow", "deny")], BY, FREE, "unknown", ("a kind of tomorrow",)),
    ],
)
def test_precedence(
    signals: list[Signal], consent: Consent, licence: Licence, basis: Basis, refused_by: tuple[str, ...]
) -> None:
    decision = precedence.decide(signals, consent, licence)
    assert (decision.basis, decision.refused_by) == (basis, refused_by)
    assert decision.taken == (not refused_by)


def test_the_strictest_of_several() -> None:
    said = [Reading("allow", "a"), Reading("absent"), Reading("unknown", "u"), Reading("deny", "d")]
    assert strictest(said) == Reading("deny", "a | u | d")
    assert strictest(said[:3]).verdict == "unknown"
    assert strictest([]) == Reading("absent")
