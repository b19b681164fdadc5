"""The product's face: its marks and the little style sheet that Streamlit's theme does not cover."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

_ASSETS = Path(__file__).parent / "assets"
MARK = str(_ASSETS / "mark.svg")
_WORDMARK = str(_ASSETS / "wordmark.svg")
PERSON = ":material/person:"


def begin() -> None:
    """Set title, icon and styles; the first thing a page does."""
    # An icon of our own: Streamlit fetches icons it knows by name from a font service on the internet.
    st.set_page_config(page_title="Ragkeep", page_icon=MARK, layout="centered")
    st.html(_ASSETS / "style.css")


def signpost() -> None:
    """The wordmark above the navigation, the mark alone where the sidebar is folded."""
    st.logo(_WORDMARK, size="large", icon_image=MARK)


def wordmark(width: int) -> None:
    """The wordmark by itself, `width` pixels wide."""
    st.image(_WORDMARK, width=width)
