from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tarfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from impasto.corpus import addresses
from impasto.corpus.fetch import Settings, fetch
from impasto.corpus.fetched import Fetched
from impasto.corpus.visit import Visit
from impasto.corpus.web import Manners
from impasto.errors import InvalidInput, NotFound
from tests.corpus.site import Page, Shaky, Site, image, served

MANNERS = Manners(contact="mailto:us@example.org", private=True, delay=0.0, per_host=4, timeout=10, pause=0.02)
SETTINGS = Settings(manners=MANNERS, threads=8, shard=50)


def table(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "table.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(path: Path, output: Path, settings: Settings = SETTINGS) -> list[Visit]:
    for _ in fetch(path, output, settings):
        pass
    fetched = Fetched.open(output)
    return [visit for shard in fetched.shards for visit in fetched.visits(shard)]


def header(name: str, value: str) -> Page:
    return Page(image(1), headers=((name, value),))


RESERVED = [
    (header("X-Robots-Tag", "NoAI"), "X-Robots-Tag"),
    (Page(image(1), headers=(("X-Robots-Tag", "otherbot: nofollow"), ("X-Robots-Tag", "noai"))), "X-Robots-Tag"),
    (header("tdm-reservation", "1"), "TDMRep"),
    (header("Content-Usage", "search=y, train-ai=n"), "Content-Usage"),
    (header("Content-Usage", "TRAIN-AI=n"), "Content-Usage"),
    (Page(b"", 302, (("Location", "/images/1.png"), ("X-Robots-Tag", "noai"))), "X-Robots-Tag"),
]


@pytest.mark.parametrize(("page", "kind"), RESERVED, ids=range(len(RESERVED)))
def test_reserved_by_a_header(page: Page, kind: str, tmp_path: Path) -> None:
    with served({("", "/a"): page}) as site:
        (visit,) = run(table(tmp_path, [{"url": site.url("/a")}]), tmp_path / "out")
    assert visit.status == "refused"
    assert kind in visit.reason
    assert {s.kind for s in visit.signals if s.verdict in ("deny", "unknown")} == {kind}
    assert visit.found is None


SITES = {
    "/robots.txt": (b"User-agent: *\nDisallow: /images/", "robots.txt"),
    "/ai.txt": (b"User-Agent: *\nDisallow: *.png", "ai.txt"),
    "/.well-known/tdmrep.json": (b'[{"location": "/images/", "tdm-reservation": 1}]', "TDMRep"),
}


@pytest.mark.parametrize("path", SITES)
def test_reserved_by_the_site(path: str, tmp_path: Path) -> None:
    body, kind = SITES[path]
    with served({("127.0.0.2", path): Page(body)}) as site:
        rows = [{"url": site.url("/images/1.png", "127.0.0.2")}, {"url": site.url("/images/2.png")}]
        refused, taken = run(table(tmp_path, rows), tmp_path / "out")
        asked = site.asked["127.0.0.2", "/images/1.png"]
    assert (refused.status, taken.status) == ("refused", "fetched")
    assert kind in refused.reason
    assert asked == (1 if kind == "TDMRep" else 0)  # the header may override the file, so that is asked for


def test_a_site_whose_rules_cannot_be_had_is_not_asked(tmp_path: Path) -> None:
    with served({("", "/robots.txt"): Page(status=503)}) as site:
        (visit,) = run(table(tmp_path, [{"url": site.url("/images/1.png")}]), tmp_path / "out")
        assert site.asked["127.0.0.1", "/images/1.png"] == 0
    assert (visit.status, visit.basis) == ("refused", "unknown")


def test_a_redirect_leads_to_another_sites_rules(tmp_path: Path) -> None:
    pages = {("127.0.0.2", "/robots.txt"): Page(b"User-agent: *\nDisallow: /")}
    with served(pages) as site:
        site.pages["", "/a"] = Page(b"", 301, (("Location", site.url("/images/1.png", "127.0.0.2")),))
        (visit,) = run(table(tmp_path, [{"url": site.url("/a")}]), tmp_path / "out")
        assert site.asked["127.0.0.2", "/images/1.png"] == 0
    assert visit.status == "refused"


def test_the_page_that_shows_it_is_read(tmp_path: Path) -> None:
    with served({("", "/page"): Page(b'<meta name="robots" content="noimageai">')}) as site:
        row = {"url": site.url("/images/1.png"), "page": site.url("/page")}
        (visit,) = run(table(tmp_path, [row]), tmp_path / "out")
    assert visit.status == "refused"
    assert "meta robots" in visit.reason


def test_all_that_was_looked_for_is_recorded(tmp_path: Path) -> None:
    with served({}) as site:
        rows = [{"URL": site.url("/images/1.png"), "TEXT": "a fox", "LICENSE": "?"}]
        (visit,) = run(table(tmp_path, rows), tmp_path / "out")
        assert site.agents == {MANNERS.agent}
    assert "Mozilla" not in MANNERS.agent
    kinds = "robots.txt,robots.txt Content-Usage,ai.txt,X-Robots-Tag,Content-Usage,TDMRep,XMP data mining"
    assert [s.kind for s in visit.signals] == [*kinds.split(","), "C2PA training-mining"]
    assert {s.verdict for s in visit.signals} == {"absent"}
    assert all(s.seen_at == visit.at for s in visit.signals)
    assert (visit.basis, visit.listed.caption, visit.listed.licence) == ("unreserved", "a fox", "unknown")


def test_a_grant_outweighs_a_reservation_but_opens_no_door(tmp_path: Path) -> None:
    granted = {"consent": "grant", "consent_evidence": "letter of 2026-01-01"}
    pages = {
        ("", "/a"): header("X-Robots-Tag", "noai"),
        ("127.0.0.2", "/robots.txt"): Page(b"User-agent: *\nDisallow: /"),
    }
    with served(pages) as site:
        rows = [{"url": site.url("/a"), **granted}, {"url": site.url("/images/2.png", "127.0.0.2"), **granted}]
        first, second = run(table(tmp_path, rows), tmp_path / "out")
    assert (first.status, first.basis) == ("fetched", "grant")
    assert second.status == "refused"


BAD = [
    ("file:///etc/passwd", "invalid"),
    ("ftp://127.0.0.1/a.png", "invalid"),
    ("http://user:word@127.0.0.1/a.png", "invalid"),
    ("http://[::1", "invalid"),
    ("", "invalid"),
    ("/images/x.png", "failed"),
    ("/text", "failed"),
    ("/loop", "failed"),
    ("/long", "failed"),
    ("/torn", "failed"),
]


def test_what_is_no_image(tmp_path: Path) -> None:
    pages = {
        ("", "/text"): Page(b"<html>"),
        ("", "/loop"): Page(b"", 302, (("Location", "/loop"),)),
        ("", "/long"): Page(bytes(200_000)),
        ("", "/torn"): Page(image(1)[:-60]),
    }
    settings = SETTINGS.model_copy(update={"manners": MANNERS.model_copy(update={"max_bytes": 100_000})})
    with served(pages) as site:
        rows = [{"url": site.url(url) if url.startswith("/") else url} for url, _ in BAD]
        visits = run(table(tmp_path, rows), tmp_path / "out", settings)
    assert [visit.status for visit in visits] == [status for _, status in BAD]
    assert all(visit.reason for visit in visits)


def test_private_networks_are_not_asked(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"manners": MANNERS.model_copy(update={"private": False})})
    with served({}) as site:
        (visit,) = run(table(tmp_path, [{"url": site.url("/images/1.png")}]), tmp_path / "out", settings)
        assert not site.asked
    assert (visit.status, "private network" in visit.reason) == ("failed", True)


@pytest.mark.parametrize("failure", [503, 429, 0])
def test_what_may_pass_is_tried_again(failure: int, tmp_path: Path) -> None:
    pages = {("", "/shaky"): Shaky(image(1), failures=2, failure=failure)}
    with served(pages) as site:
        (visit,) = run(table(tmp_path, [{"url": site.url("/shaky")}]), tmp_path / "out")
        assert site.asked["127.0.0.1", "/shaky"] == 3
    assert (visit.status, visit.passing) == ("fetched", False)


def test_it_is_tried_a_few_times_and_what_will_not_pass_once(tmp_path: Path) -> None:
    pages = {("", f"/{failure}"): Shaky(failures=99, failure=failure) for failure in (503, 404, 410)}
    with served(pages) as site:
        rows = [{"url": site.url(f"/{failure}")} for failure in (503, 404, 410)]
        visits = run(table(tmp_path, rows), tmp_path / "out")
        assert [site.asked["127.0.0.1", f"/{failure}"] for failure in (503, 404, 410)] == [3, 1, 1]
    assert [(visit.status, visit.passing) for visit in visits] == [("failed", code == 503) for code in (503, 404, 410)]


def test_the_pause_doubles_and_a_site_may_ask_for_more(tmp_path: Path) -> None:
    pages = {
        ("", "/a"): Shaky(image(1), failures=2),
        ("", "/b"): Shaky(image(2), asking=(("Retry-After", "1"),)),
        ("", "/c"): Shaky(image(3), asking=(("Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT"),)),
    }
    settings = SETTINGS.model_copy(update={"manners": MANNERS.model_copy(update={"pause": 0.2})})
    with served(pages) as site:
        for path, least in (("/a", 0.6), ("/b", 1.0), ("/c", 0.2)):
            start = time.monotonic()
            (visit,) = run(table(tmp_path, [{"url": site.url(path)}]), tmp_path / path[1:], settings)
            assert visit.status == "fetched"
            assert time.monotonic() - start >= least


def test_a_site_whose_rules_could_not_be_had_is_asked_for_them_again(tmp_path: Path) -> None:
    pages = {("", "/robots.txt"): Shaky(b"User-agent: *\nDisallow: /images/2"), ("", "/ai.txt"): Shaky(status=404)}
    with served(pages) as site:
        rows = [{"url": site.url(f"/images/{number}.png")} for number in (1, 2)]
        visits = run(table(tmp_path, rows), tmp_path / "out")
        assert site.asked["127.0.0.1", "/robots.txt"] <= 3
        assert site.asked["127.0.0.1", "/images/2.png"] == 0
    assert [visit.status for visit in visits] == ["fetched", "refused"]


def test_what_failed_is_tried_by_a_later_run_that_is_told_to(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"shard": 4, "runs": 1})
    again = settings.model_copy(update={"again": True})
    pages = {("", "/images/5.png"): Page(status=500), ("127.0.0.2", "/robots.txt"): Page(status=500)}
    with served({**pages, ("", "/same"): Page(image(1))}) as site:
        places = [*(("127.0.0.1", f"/images/{n}.png") for n in range(8)), ("127.0.0.2", "/images/9.png")]
        places += [("127.0.0.1", "/same"), ("127.0.0.1", "/gone")]
        path = table(tmp_path, [{"url": site.url(where, host)} for host, where in places])
        first = run(path, tmp_path / "out", settings)
        assert [visit.status for visit in first][5:] == ["failed", *["fetched"] * 2, "refused", "duplicate", "failed"]
        site.pages.clear()
        before = site.asked.copy()
        assert run(path, tmp_path / "out", settings) == first
        assert site.asked == before
        second = run(path, tmp_path / "out", again)
        asked = {where for _, where in site.asked - before} - {"/robots.txt", "/ai.txt", "/.well-known/tdmrep.json"}
    assert asked == {"/images/5.png", "/images/9.png", "/gone"}
    assert [visit.status for visit in second] == [*["fetched"] * 9, "duplicate", "failed"]
    assert all(first[row] == second[row] for row in (*range(5), 6, 7, 9))
    stored = Fetched.open(tmp_path / "out")
    assert [key for shard in stored.shards for key, _ in stored.images(shard)] == [f"{n:09d}" for n in range(9)]
    assert not list((tmp_path / "out").glob("*.journal"))


def test_what_may_pass_is_tried_in_a_few_runs_and_each_leaves_its_reason(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"manners": MANNERS.model_copy(update={"tries": 1}), "runs": 3, "shard": 2})
    pages = {
        ("", "/never"): Page(status=503),
        ("", "/gone"): Page(status=404),
        ("", "/late"): Shaky(image(7), failures=1, failure=429),
    }
    with served(pages) as site:
        names = ("/never", "/gone", "/late", "/images/1.png")
        path = table(tmp_path, [{"url": site.url(name)} for name in names])
        runs = [run(path, tmp_path / "out", settings) for _ in range(5)]
        assert [site.asked["127.0.0.1", name] for name in names] == [3, 1, 2, 1]
    assert [[visit.status for visit in visits] for visits in runs] == [
        ["failed", "failed", "failed", "fetched"],
        *[["failed", "failed", "fetched", "fetched"]] * 4,
    ]
    never, gone, late, _ = runs[-1]
    assert (never.runs, never.reason) == (3, "status 503")
    assert never.earlier == tuple(f"{visits[0].at}: status 503" for visits in runs[:2])
    assert (gone.runs, gone.earlier) == (1, ())
    assert (late.runs, late.earlier) == (2, (f"{runs[0][2].at}: status 429",))


def test_a_later_run_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    again = SETTINGS.model_copy(update={"again": True})
    with served({("", f"/images/{n}.png"): Page(status=404) for n in (3, 4)}) as site:
        path = table(tmp_path, [{"url": site.url(f"/images/{n}.png")} for n in range(20)])
        first = run(path, tmp_path / "out")
        site.pages.clear()
        progress = fetch(path, tmp_path / "out", again)
        next(progress)
        progress.close()  # with the shard open
        before = site.asked.copy()
        visits = run(path, tmp_path / "out")  # goes on, whether it is told to or not
        assert sum(1 for (_, name), _ in (site.asked - before).items() if name.startswith("/images")) <= 2
    assert [visit.status for visit in visits] == ["fetched"] * 20
    assert [v for v in visits if v.listed.place not in (3, 4)] == [v for v in first if v.listed.place not in (3, 4)]


@pytest.mark.parametrize("told", ["93.184.216.34 then 127.0.0.1", "both at once"])
def test_a_name_that_is_rebound_leads_nowhere(told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server gives a public address to whoever checks, and one of this machine to whoever connects."""
    asked = []

    def lying(host: str, port: Any, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        public, own = "93.184.216.34", "127.0.0.1"
        addresses = [public, own] if told == "both at once" else [own if len(asked) > 1 else public]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    settings = SETTINGS.model_copy(update={"manners": MANNERS.model_copy(update={"private": False})})
    with served({}) as site:
        path = table(tmp_path, [{"url": f"http://rebound.example:{site.port}/images/1.png"}])
        monkeypatch.setattr(socket, "getaddrinfo", lying)
        (visit,) = run(path, tmp_path / "out", settings)
        assert not site.asked
    assert visit.status in ("failed", "refused")
    assert visit.found is None
    assert "rebound.example" in asked


@pytest.mark.parametrize(
    ("address", "open_"),
    [
        *((text, True) for text in ("93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34")),
        *((text, False) for text in ("127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1")),
        *((text, False) for text in ("0.0.0.0", "224.0.0.1", "255.255.255.255", "240.0.0.1", "198.18.0.1")),
        *((text, False) for text in ("::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1")),
        *((text, False) for text in ("::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:4136::1")),
    ],
)
def test_which_addresses_are_of_the_open_internet(address: str, open_: bool) -> None:
    assert addresses.public(address) == open_


def test_repeats_are_kept_once(tmp_path: Path) -> None:
    pages = {("", "/same"): Page(image(3)), ("", "/again.jpg"): Page(image(3, "JPEG"))}
    with served(pages) as site:
        rows = [{"url": site.url(path)} for path in ("/images/3.png", "/images/4.png", "/same", "/again.jpg")]
        settings = SETTINGS.model_copy(update={"shard": 3})
        visits = run(table(tmp_path, rows), tmp_path / "out", settings)
    assert [visit.status for visit in visits] == ["fetched", "fetched", "duplicate", "duplicate"]
    assert [visit.duplicate_of for visit in visits[2:]] == ["000000000", "000000000"]
    with tarfile.open(tmp_path / "out" / "00000.tar") as archive:
        names = archive.getnames()
    assert names == [f"00000000{i}.{ext}" for i in (0, 1) for ext in ("png", "txt", "json")]


def test_a_host_is_not_pressed(tmp_path: Path) -> None:
    manners = MANNERS.model_copy(update={"per_host": 1, "delay": 0.05})
    with served({("127.0.0.2", "/robots.txt"): Page(b"User-agent: *\nCrawl-delay: 0.1")}) as site:
        rows = [{"url": site.url(f"/images/{i}.png", f"127.0.0.{1 + i % 2}")} for i in range(8)]
        start = time.monotonic()
        run(table(tmp_path, rows), tmp_path / "out", SETTINGS.model_copy(update={"manners": manners}))
        took = time.monotonic() - start
        assert max(site.most.values()) == 1
    assert took >= 0.25  # four from the slower host, whose delay is known after the first


def test_another_table_does_not_go_into_the_same_folder(tmp_path: Path) -> None:
    run(table(tmp_path, [{"url": "x"}]), tmp_path / "out")
    with pytest.raises(InvalidInput, match="another table"):
        run(table(tmp_path, [{"url": "y"}]), tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(InvalidInput, match="something else"):
        run(table(tmp_path, [{"url": "y"}]), tmp_path / "mine")
    with pytest.raises(NotFound):
        Fetched.open(tmp_path / "mine")


def test_the_caller_may_stop_and_go_on(tmp_path: Path) -> None:
    with served({}) as site:
        path = table(tmp_path, [{"url": site.url(f"/images/{i}.png")} for i in range(40)])
        progress = fetch(path, tmp_path / "out", SETTINGS.model_copy(update={"shard": 15, "threads": 2}))
        for _ in range(20):
            next(progress)
        progress.close()
        assert 20 <= sum(count for (_, name), count in site.asked.items() if "images" in name) <= 26
        visits = run(path, tmp_path / "out", SETTINGS.model_copy(update={"shard": 15}))
    assert [visit.status for visit in visits] == ["fetched"] * 40


PROGRAM = """
import sys
from pathlib import Path
from impasto.corpus import addresses
from impasto.corpus.fetch import Settings, fetch
table, output, settings = sys.argv[1:]
for progress in fetch(Path(table), Path(output), Settings.model_validate_json(settings)):
    print(progress.done, flush=True)
"""


def killed(path: Path, output: Path, settings: Settings, after: int) -> None:
    """Run a fetch in a process of its own and kill it once that many rows are over with."""
    arguments = [sys.executable, "-c", PROGRAM, str(path), str(output), settings.model_dump_json()]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= after:
                process.send_signal(signal.SIGKILL)
                break
        process.stdout.read()


def recorded(output: Path) -> set[str]:
    """Return the urls of all visits that are over with in a folder that nobody is writing to."""
    fetched = Fetched.open(output)
    visits = [visit for shard in fetched.shards for visit in fetched.visits(shard)]
    for path in output.glob("*.journal"):
        with closing(fetched.journal(int(path.stem))) as journal:
            visits += journal.visits.values()
    return {visit.listed.url for visit in visits}


def images_asked(site: Site) -> dict[str, int]:
    with site.lock:
        return {site.url(path, host): n for (host, path), n in site.asked.items() if path.startswith("/images/")}


def check_kills(count: int, kills: int, settings: Settings, folder: Path) -> None:
    """Kill a fetch of `count` rows several times.

    Nothing is lost, nothing that was fetched is asked for again, and of the rest only what was on its way at a kill.
    """
    with served({}) as site:
        hosts = [f"127.0.0.{1 + i % 7}" for i in range(count)]
        path = table(folder, [{"url": site.url(f"/images/{i}.png", host)} for i, host in enumerate(hosts)])
        times: dict[str, int] = {}  # how often a url had been asked for once it was over with
        for kill in range(1, kills + 1):
            killed(path, folder / "out", settings, count * kill // (kills + 1))
            known = recorded(folder / "out")
            assert times.keys() < known
            asked = images_asked(site)
            times = {**{url: asked[url] for url in known}, **times}
        visits = run(path, folder / "out", settings)
        images = images_asked(site)
    assert {url: images[url] for url in times} == times
    assert [visit.listed.place for visit in visits] == list(range(count))
    assert {visit.status for visit in visits} == {"fetched"}
    assert len(images) == count
    assert sum(images.values()) - count <= kills * settings.threads
    stored = {
        key for shard in Fetched.open(folder / "out").shards for key, _ in Fetched.open(folder / "out").images(shard)
    }
    assert len(stored) == count
    assert not list((folder / "out").glob("*.journal"))


def test_killed_and_resumed(tmp_path: Path) -> None:
    check_kills(200, 1, SETTINGS.model_copy(update={"shard": 80}), tmp_path)


@pytest.mark.slow
def test_thousands_killed_and_resumed(tmp_path: Path) -> None:
    check_kills(4000, 5, SETTINGS.model_copy(update={"shard": 700, "threads": 16}), tmp_path)


def test_a_torn_record_is_taken_away(tmp_path: Path) -> None:
    with served({}) as site:
        path = table(tmp_path, [{"url": site.url(f"/images/{i}.png")} for i in range(10)])
        progress = fetch(path, tmp_path / "out", SETTINGS)
        for _ in range(5):
            next(progress)
        progress.close()
        journal = tmp_path / "out" / "00000.journal"
        with closing(Fetched.open(tmp_path / "out").journal(0)) as opened:
            there = len(opened.visits)
        assert there >= 5
        whole = journal.read_bytes()
        for torn in (1, 100, 17):
            journal.write_bytes(whole[:-torn])
            with closing(Fetched.open(tmp_path / "out").journal(0)) as opened:
                assert len(opened.visits) == there - 1
        visits = run(path, tmp_path / "out")
    assert {visit.status for visit in visits} == {"fetched"}
