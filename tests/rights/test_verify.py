"""What `verify` says of pictures: all that holds, and everything that somebody could have changed."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from impasto.cli import main
from impasto.errors import NotFound
from impasto.pictures import metadata
from impasto.recipe import FromPicture
from impasto.rights import credentials, identity
from impasto.rights.credentials import Made
from impasto.rights.identity import Identity
from impasto.rights.verify import Report, picture
from tests.rights.conftest import DIGEST, image, recipe

Signed = Callable[..., Path]
ENDINGS = ("png", "jpg", "webp")


def states(report: Report) -> dict[str, str]:
    return {finding.about: finding.state for finding in report.findings}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("telling", ["full", "private"])
def test_all_holds(signed: Signed, maker: Identity, ending: str, telling: str) -> None:
    report = picture(signed(f"fox.{ending}", telling), maker.root)
    assert report.state == "holds"
    bound = {"full": {"recipe", "infotext"}, "private": {"seal"}}[telling]
    assert states(report).keys() == {
        "signature",
        "signer",
        "file",
        *bound,
        *({"pixels"} - {ending == "jpg" and "pixels"}),
    }
    says = dict(report.says)
    assert says["is"] == "made by a trained model"
    assert says["program"].startswith("Impasto 0")
    assert ("prompt" in says) == (telling == "full")


def test_a_signer_that_is_not_known(signed: Signed) -> None:
    report = picture(signed())
    assert report.state == "unknown"
    assert [finding.about for finding in report.of("unknown")] == ["signer"]
    assert picture(signed("other.png"), identity.make().root).state == "unknown"


def test_another_signature_in_its_place(signed: Signed, maker: Identity) -> None:
    """Whoever removes a credential can sign in their own name; they cannot sign in the maker's."""
    path = signed()
    forger = identity.make(maker.name)  # it may even call itself the same
    metadata.save(image(1), path, recipe(prompt="no secret"))
    credentials.sign(path, Made(image(1), recipe(prompt="no secret")), forger)
    report = picture(path, maker.root)
    assert states(report)["signer"] == "unknown"
    assert report.state == "unknown"


# Each of these gets the bytes of a signed file, and gives those of one that was changed.


def chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 8
    while position < len(content):
        (length,) = struct.unpack(">I", content[position : position + 4])
        yield content[position + 4 : position + 8], content[position + 8 : position + 8 + length]
        position += 12 + length


def png(parts: Iterator[tuple[bytes, bytes]] | list[tuple[bytes, bytes]]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def changed_text(content: bytes, key: bytes, old: bytes, new: bytes) -> bytes:
    parts = [(kind, data.replace(old, new) if data.startswith(key) else data) for kind, data in chunks(content)]
    assert png(parts) != content
    return png(parts)


def changed_pixels(content: bytes) -> bytes:
    with Image.open(io.BytesIO(content)) as opened:
        opened.putpixel((3, 4), (1, 2, 3))
        rows = b"".join(b"\0" + opened.crop((0, y, 64, y + 1)).tobytes() for y in range(48))
    parts = [part for part in chunks(content) if part[0] not in (b"IDAT", b"IEND")]
    return png([*parts, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


def replaced_manifest(content: bytes, change: Callable[[bytes], bytes]) -> bytes:
    return png([(kind, change(data) if kind == b"caBX" else data) for kind, data in chunks(content)])


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def in_statement(data: bytes) -> bytes:
    return flipped(data, data.index(b"sha256:" + DIGEST[7:].encode()) + 20)


def in_signature(data: bytes) -> bytes:
    at = data.rindex(b"\xf6\x58\x40")  # COSE_Sign1: no payload, then 64 bytes of signature
    return flipped(data, at + 10)


def in_claim(data: bytes) -> bytes:
    return flipped(data, data.index(b"instanceID") + 24)


TAMPERED: dict[str, tuple[Callable[[bytes], bytes], set[str]]] = {
    "pixels": (changed_pixels, {"file", "pixels"}),
    "recipe": (lambda c: changed_text(c, b"impasto\0", b"secret", b"public"), {"file", "recipe"}),
    "a seed": (lambda c: changed_text(c, b"impasto\0", b'"seed":7', b'"seed":8'), {"file", "recipe"}),
    "infotext": (lambda c: changed_text(c, b"parameters", b"secret", b"public"), {"file", "infotext"}),
    "recipe removed": (
        lambda c: png([part for part in chunks(c) if not part[1].startswith(b"impasto\0")]),
        {"file", "recipe"},
    ),
    "recipe damaged": (lambda c: changed_text(c, b"impasto\0", b'"seed":7', b'"seed":}'), {"file", "recipe"}),
    "text added": (
        lambda c: png([*list(chunks(c))[:-1], (b"tEXt", b"Author\0Mallory"), (b"IEND", b"")]),
        {"file"},
    ),
    "behind the end": (lambda c: c + b"more", {"file"}),
    "statement": (lambda c: replaced_manifest(c, in_statement), {"statements", "receipts"}),
    "signature": (lambda c: replaced_manifest(c, in_signature), {"signature"}),
    "claim": (lambda c: replaced_manifest(c, in_claim), {"signature"}),
}


@pytest.mark.parametrize("tampering", TAMPERED)
def test_what_was_changed_is_said(signed: Signed, maker: Identity, tampering: str) -> None:
    change, wrong = TAMPERED[tampering]
    path = signed()
    path.write_bytes(change(path.read_bytes()))
    report = picture(path, maker.root)
    assert report.state == "changed"
    found = {finding.about for finding in report.of("changed")}
    assert found & wrong
    if tampering not in ("statement", "claim"):
        assert found == wrong
    if "signature" in wrong:
        assert not {"recipe", "pixels"} & states(report).keys()  # such credentials say nothing of them
    elif "pixels" not in wrong:
        assert states(report)["pixels"] == "holds"


def test_a_credential_of_another_picture(signed: Signed, maker: Identity) -> None:
    path, other = signed(), signed("other.png", image=image(1), recipe=recipe(prompt="an owl"))
    (manifest,) = [data for kind, data in chunks(other.read_bytes()) if kind == b"caBX"]
    path.write_bytes(replaced_manifest(path.read_bytes(), lambda _: manifest))
    report = picture(path, maker.root)
    assert {finding.about for finding in report.of("changed")} == {"file", "recipe", "infotext", "pixels"}
    assert states(report)["signature"] == "holds"


@pytest.mark.parametrize("ending", ENDINGS)
def test_removed_credentials(signed: Signed, maker: Identity, ending: str) -> None:
    path = signed(f"fox.{ending}")
    with Image.open(path) as opened:
        bare = opened.copy()
    bare.save(path)
    report = picture(path, maker.root)
    assert report.state == "unknown"
    assert states(report) == {"credentials": "unknown"}
    metadata.save(bare, path, recipe())
    report = picture(path, maker.root)
    assert states(report) == {"credentials": "unknown", "texts": "unknown"}
    assert dict(report.says)["prompt"] == "a secret fox"


def test_a_damaged_recipe_without_credentials(tmp_path: Path) -> None:
    texts = PngInfo()
    texts.add_itxt("impasto", "{}")
    image().save(tmp_path / "fox.png", pnginfo=texts)
    assert picture(tmp_path / "fox.png").state == "changed"


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_byte_counts(signed: Signed, maker: Identity, ending: str) -> None:
    """Whichever byte of the file is another, it is never said that all holds."""
    path = signed(f"fox.{ending}")
    content = path.read_bytes()
    kept = []
    for at in range(0, len(content), max(len(content) // 60, 1)):
        path.write_bytes(flipped(content, at))
        if picture(path, maker.root).state == "holds":
            kept.append(at)
    assert [content[at] for at in kept] == [0] * len(kept)  # padding that C2PA leaves room with, and nothing else
    assert len(kept) <= 6


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("left", [0.02, 0.3, 0.6, 0.98])
def test_truncated(signed: Signed, maker: Identity, ending: str, left: float) -> None:
    path = signed(f"fox.{ending}")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * left)])
    assert picture(path, maker.root).state != "holds"


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF\0\0\0\0WEBP"])
def test_no_picture_at_all(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    assert picture(tmp_path / "x.png").state in ("changed", "unknown")


def test_an_edit_of_a_picture_that_was_changed(signed: Signed, maker: Identity) -> None:
    source, begun = signed("source.png"), recipe(start=FromPicture(image=DIGEST, strength=0.5))
    good = picture(signed("good.png", recipe=begun, sources=[source]), maker.root)
    assert good.state == "holds"
    assert states(good)["sources"] == "holds"
    source.write_bytes(changed_pixels(source.read_bytes()))
    bad = picture(signed("bad.png", recipe=begun, sources=[source]), maker.root)
    assert {finding.about for finding in bad.of("changed")} == {"sources"}


def test_a_picture_of_another_program(other: Callable[..., Path], maker: Identity) -> None:
    camera = {"action": "c2pa.created", "digitalSourceType": f"{credentials.SOURCE_TYPES}digitalCapture"}
    path = other({"assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [camera]}}]})
    report = picture(path, maker.root)
    assert report.state == "holds"
    assert ("is", "taken by a camera") in report.says
    assert ("program", "Camera 7") in report.says


@pytest.fixture
def other(tmp_path: Path, maker: Identity) -> Callable[..., Path]:
    """Sign as another program would, with nothing of ours in it: (statement, how) -> path."""
    import c2pa

    def make(statement: dict[str, object], how: Callable[[c2pa.Builder], None] = lambda _: None) -> Path:
        plain = io.BytesIO()
        image().save(plain, "PNG")
        info = c2pa.C2paSignerInfo("es256", maker.certificates.encode(), maker.key.encode(), None)
        builder = c2pa.Builder({"claim_generator_info": [{"name": "Camera", "version": "7"}], **statement})
        how(builder)
        with c2pa.Signer.from_info(info) as signer, (tmp_path / "photo.png").open("w+b") as file:
            builder.sign(signer, "image/png", plain, file)
        return tmp_path / "photo.png"

    return make


def test_credentials_that_are_elsewhere_are_not_fetched(other: Callable[..., Path], maker: Identity) -> None:
    made = {"action": "c2pa.created", "digitalSourceType": credentials.CREATED}

    def away(builder: Any) -> None:
        builder.set_no_embed()
        builder.set_remote_url("http://127.0.0.1:9/manifest")

    report = picture(
        other({"assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [made]}}]}, away), maker.root
    )
    assert report.state == "unknown"
    assert "nothing is fetched" in report.findings[0].text


def test_a_statement_under_our_name_that_we_never_wrote(tmp_path: Path, maker: Identity) -> None:
    plain = io.BytesIO()
    image().save(plain, "PNG")
    statement = credentials._statement(credentials.Generation(), edited=False)
    statement["assertions"][1]["data"] = {"recipe": "nonsense", "format": "impasto-generation/9"}
    (tmp_path / "x.png").write_bytes(credentials._signed(plain.getvalue(), "image/png", statement, maker))
    assert picture(tmp_path / "x.png", maker.root).state == "changed"


def test_a_kept_recipe_opens_its_seal(tmp_path: Path, maker: Identity) -> None:
    path = tmp_path / "fox.png"
    kept = [metadata.save(image(), path, recipe(), telling="private") for _ in range(2)]
    credentials.sign(path, Made(image(), recipe()), maker)
    assert states(picture(path, maker.root, kept[1]))["kept recipe"] == "holds"
    assert states(picture(path, maker.root, kept[0]))["kept recipe"] == "changed"


def test_there_is_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        picture(tmp_path / "nowhere.png")


def test_the_command(signed: Signed, maker: Identity, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = signed()
    (tmp_path / "maker.pem").write_text(maker.public)
    assert main(["verify", str(path)]) == 3
    assert "not known here" in capsys.readouterr().out
    assert main(["verify", str(path), "--trust", str(tmp_path / "maker.pem")]) == 0
    out = capsys.readouterr().out
    assert "Nothing in the file was changed since it was signed." in out
    assert "prompt: a secret fox" in out
    path.write_bytes(changed_pixels(path.read_bytes()))
    assert main(["verify", str(path), "--trust", str(tmp_path / "maker.pem"), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["state"] == "changed"
    assert {
        "about": "pixels",
        "state": "changed",
        "text": "The pixels were changed after the picture was made.",
    } in told["findings"]
    assert main(["verify", str(tmp_path / "nowhere.png")]) == 2
    assert main(["verify", str(path), "--trust", str(path)]) == 2


def test_what_a_file_says_does_not_steer_the_terminal(
    tmp_path: Path, maker: Identity, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = recipe(prompt="\x1b[2J[bold]fox[/bold]")
    metadata.save(image(), tmp_path / "fox.png", evil)
    credentials.sign(tmp_path / "fox.png", Made(image(), evil), maker)
    main(["verify", str(tmp_path / "fox.png")])
    out = capsys.readouterr().out
    assert "\x1b[2J" not in out
    assert "[bold]fox[/bold]" in out
