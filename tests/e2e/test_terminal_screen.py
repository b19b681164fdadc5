"""The screen of a terminal, told what programs tell one: the modules as the browser loads them, without a portal."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.support import browser

pytestmark = [pytest.mark.browser]

SCRIPTS = Path(__file__).resolve().parents[2] / "portal" / "web" / "static" / "web" / "js"
# What the text becomes on a screen of that size: lines, cursor, lines that left it, answers.
SHOW = """async ([rows, columns, text]) => {
  const [{ Screen }, { Parser }, { Commands }] = await Promise.all(
    ["screen", "parser", "commands"].map((name) => import(`/terminal/${name}.js`)));
  const screen = new Screen(rows, columns);
  const answers = [];
  const parser = new Parser(new Commands(screen, { answer: (text) => answers.push(text) }));
  for (const piece of Array.isArray(text) ? text : [text]) {
    if (Array.isArray(piece)) screen.resize(...piece);
    else parser.feed(piece);
  }
  const { row, column } = screen.cursor;
  return [screen.lines.map((line) => line.text), [row, column], screen.left.map((line) => line.text), answers.join("")];
}"""
LOOK = """async (text) => {
  const { Screen } = await import("/terminal/screen.js");
  const { Parser } = await import("/terminal/parser.js");
  const { Commands } = await import("/terminal/commands.js");
  const screen = new Screen(2, 20);
  new Parser(new Commands(screen)).feed(text);
  return screen.lines[0].cells.filter((cell) => cell.text !== " ")
    .map(({ text, pen }) => [text, pen.front, pen.back, [...pen.traits].sort().join(" ")]);
}"""
KEY = """async ([key, held, modes]) => {
  const { sequence } = await import("/terminal/keys.js");
  return sequence(new KeyboardEvent("keydown", { key, ...held }), { arrows: false, ...modes });
}"""
PASTE = "async ([text, bracketed]) => (await import('/terminal/keys.js')).pasted(text, { bracketed })"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(SCRIPTS)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with browser.chromium() as started:
            opened = started.new_page()
            opened.goto(f"http://127.0.0.1:{server.server_port}/theme.js")
            yield opened
    finally:
        server.shutdown()
        server.server_close()


def shown(page: Page, rows: int, columns: int, text: Any) -> list[Any]:  # noqa: ANN401 - pieces of text and sizes
    found: list[Any] = page.evaluate(SHOW, [rows, columns, text])
    return found


@pytest.mark.parametrize(
    ("size", "text", "lines", "cursor"),
    [
        pytest.param((3, 9), "one\r\ntwo\tx", ["one", "two     x", ""], [1, 8], id="text, lines, tabs"),
        pytest.param((3, 5), "abcdefg", ["abcde", "fg", ""], [1, 2], id="a long line goes on in the next"),
        pytest.param((2, 5), "abcde\rX", ["Xbcde", ""], [0, 1], id="a full line waits for the next character"),
        pytest.param(
            (2, 5), "\x1b[?7labcdefg", ["abcdg", ""], [0, 4], id="without wrapping the last cell is overwritten"
        ),
        pytest.param((3, 6), "ab\x1b[3;4Hx\x1b[2A\x1b[Dy", ["ab y", "", "   x"], [0, 4], id="the cursor is moved"),
        pytest.param((3, 4), "abcd\r\nef\r\ngh\x1b[2;2H\x1b[J", ["abcd", "e", ""], [1, 1], id="erased to the end"),
        pytest.param((3, 4), "abcd\r\nef\r\ngh\x1b[2;1H\x1b[1J", ["", " f", "gh"], [1, 0], id="erased from the start"),
        pytest.param((2, 6), "abcdef\x1b[3G\x1b[K", ["ab", ""], [0, 2], id="the rest of a line"),
        pytest.param((2, 6), "abcdef\x1b[2G\x1b[2P", ["adef", ""], [0, 1], id="characters deleted"),
        pytest.param((2, 6), "abcdef\x1b[2G\x1b[2@", ["a  bcd", ""], [0, 1], id="characters inserted"),
        pytest.param((2, 6), "abcdef\x1b[2G\x1b[3X", ["a   ef", ""], [0, 1], id="characters erased"),
        pytest.param((2, 8), "ad\x1b[2G\x1b[4hbc\x1b[4l", ["abcd", ""], [0, 3], id="insert mode"),
        pytest.param((4, 2), "1\r\n2\r\n3\r\n4\x1b[2H\x1b[L", ["1", "", "2", "3"], [1, 0], id="a line inserted"),
        pytest.param((4, 2), "1\r\n2\r\n3\r\n4\x1b[2H\x1b[2M", ["1", "4", "", ""], [1, 0], id="lines deleted"),
        pytest.param(
            (5, 2), "1\r\n2\r\n3\r\n4\r\n5\x1b[2;4r\x1b[4H\n", ["1", "3", "4", "", "5"], [3, 0], id="a region scrolls"
        ),
        pytest.param(
            (5, 2), "1\r\n2\r\n3\r\n4\r\n5\x1b[2;4r\x1b[2H\x1bM", ["1", "", "2", "3", "5"], [1, 0], id="and back"
        ),
        pytest.param((3, 6), "main\x1b[?1049h\x1b[Hvi\x1b[?1049l!", ["main!", "", ""], [0, 5], id="the other screen"),
        pytest.param((2, 6), "ab\x1b7\x1b[2;5Hx\x1b8c", ["abc", "    x"], [0, 3], id="the cursor kept and restored"),
        pytest.param((3, 6), "日本語x", ["日本語", "x", ""], [1, 1], id="wide characters fill two cells"),
        pytest.param((3, 5), "日本語", ["日本", "語", ""], [1, 2], id="and are not cut in two"),
        pytest.param((2, 6), "日本\x1b[2Gx", [" x本", ""], [0, 2], id="half of one that is overwritten goes"),
        pytest.param((2, 6), "e\u0301a🙂b", ["e\u0301a🙂b", ""], [0, 5], id="what joins takes no room, pictures two"),
        pytest.param((2, 8), "\x1b(0lqk\x1b(Bq", ["┌─┐q", ""], [0, 4], id="line drawing"),
        pytest.param(
            (2, 8), "ab\x1b]0;a title\x07cd\x1b]52;c;eA==\x1b\\e", ["abcde", ""], [0, 5], id="strings are no text"
        ),
        pytest.param((2, 8), "a\x1bP1$r0m\x1b\\b\x1b[?2026hc", ["abc", ""], [0, 3], id="what is unknown is left out"),
        pytest.param((2, 8), "a\x1b[3b", ["aaaa", ""], [0, 4], id="the last character again"),
        pytest.param((2, 9), "\x1b[3g\x1b[5G\x1bH\r\tx", ["    x", ""], [0, 5], id="tab stops of one's own"),
        pytest.param((3, 8), ["a\x1b", "[2", ";3", "Hx"], ["a", "  x", ""], [1, 3], id="sequences in pieces"),
        pytest.param((3, 8), "abc\x1bcd", ["d", "", ""], [0, 1], id="a reset"),
        pytest.param(
            (4, 2), "\x1b[2;3r\x1b[?6h\x1b[1;1Hx\x1b[9;1Hy", ["", "x", "y", ""], [2, 1], id="within the margins"
        ),
    ],
)
def test_what_the_screen_shows(
    page: Page, size: tuple[int, int], text: str | list[str], lines: list[str], cursor: list[int]
) -> None:
    assert shown(page, *size, text)[:2] == [lines, cursor]


def test_lines_that_leave_the_screen_are_kept_but_not_those_of_an_editor(page: Page) -> None:
    assert shown(page, 2, 4, "1\r\n2\r\n3\r\n4")[2] == ["1", "2"]
    assert shown(page, 2, 4, "\x1b[?1049h1\r\n2\r\n3\r\n4")[2] == []
    assert shown(page, 3, 4, "1\r\n2\r\n3\x1b[H\x1b[M")[2] == []


def test_a_screen_that_shrinks_keeps_the_line_with_the_cursor(page: Page) -> None:
    assert shown(page, 4, 6, ["1\r\n2\r\n3\r\n4", [2, 6]])[:3] == [["3", "4"], [1, 1], ["1", "2"]]
    assert shown(page, 4, 6, ["1\r\n2", [2, 6]])[:3] == [["1", "2"], [1, 1], []]
    assert shown(page, 2, 6, ["1\r\n2", [4, 3], "\r\n3"])[:2] == [["1", "2", "3", ""], [2, 1]]


def test_programs_are_told_where_the_cursor_is_and_what_they_speak_to(page: Page) -> None:
    assert shown(page, 4, 9, "ab\r\ncd\x1b[6n\x1b[5n\x1b[c")[3] == "\x1b[2;3R\x1b[0n\x1b[?1;2c"


def test_colours_and_traits(page: Page) -> None:
    text = "\x1b[1;31ma\x1b[0mb\x1b[38;5;208;48;2;1;2;255mc\x1b[39;49;7;4md"
    text += "\x1b[24;27me\x1b[38:2::10:20:30mf\x1b[m\x1b[97;100mg"
    assert page.evaluate(LOOK, text) == [
        ["a", 1, None, "bold"],
        ["b", None, None, ""],
        ["c", 208, "#0102ff", ""],
        ["d", None, None, "inverse underline"],
        ["e", None, None, ""],
        ["f", "#0a141e", None, ""],
        ["g", 15, 8, ""],
    ]


@pytest.mark.parametrize(
    ("key", "held", "modes", "sent"),
    [
        ("Enter", {}, {}, "\r"),
        ("Backspace", {}, {}, "\x7f"),
        ("Tab", {"shiftKey": True}, {}, "\x1b[Z"),
        ("ArrowUp", {}, {}, "\x1b[A"),
        ("ArrowUp", {}, {"arrows": True}, "\x1bOA"),
        ("ArrowLeft", {"ctrlKey": True}, {}, "\x1b[1;5D"),
        ("Delete", {}, {}, "\x1b[3~"),
        ("F1", {}, {}, "\x1bOP"),
        ("F12", {"shiftKey": True}, {}, "\x1b[24;2~"),
        ("c", {"ctrlKey": True}, {}, "\x03"),
        (" ", {"ctrlKey": True}, {}, "\x00"),
        ("b", {"altKey": True}, {}, "\x1bb"),
        ("a", {}, {}, None),
        ("V", {"ctrlKey": True, "shiftKey": True}, {}, None),
        ("v", {"metaKey": True}, {}, None),
    ],
)
def test_what_a_key_sends(
    page: Page, key: str, held: dict[str, bool], modes: dict[str, bool], sent: str | None
) -> None:
    assert page.evaluate(KEY, [key, held, modes]) == sent


def test_what_is_pasted_cannot_end_the_paste(page: Page) -> None:
    evil = "one\ntwo\x1b[201~three"
    assert page.evaluate(PASTE, [evil, True]) == "\x1b[200~one\rtwo[201~three\x1b[201~"
    assert page.evaluate(PASTE, [evil, False]) == "one\rtwo[201~three"
