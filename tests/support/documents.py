"""Small documents of the tests' own making, one of every kind that can be uploaded."""

from __future__ import annotations

import io

import docx
from fpdf import FPDF

HARBOUR = (
    "The harbour of Norderhaven closes to ships above nine metres of draught every second Tuesday. "
    "Pilots are ordered at the lighthouse keeper's office before six in the morning."
)
BAKERY = "The bakery in Market Lane sells rye bread with caraway on Fridays. It was founded by Ada Lindqvist in 1887."
TURBINE = "Turbine seven of the Kaltwasser plant must be balanced after four thousand hours of operation."


def pdf(*pages: str) -> bytes:
    """A PDF with one page for each text."""
    document = FPDF()
    document.set_font("Helvetica", size=12)
    for text in pages:
        document.add_page()
        document.multi_cell(0, 8, text)
    return bytes(document.output())


def encrypted_pdf(text: str) -> bytes:
    """A PDF that needs a password to be read."""
    document = FPDF()
    document.set_encryption(owner_password="owner", user_password="reader")
    document.add_page()
    document.set_font("Helvetica", size=12)
    document.multi_cell(0, 8, text)
    return bytes(document.output())


def word(*paragraphs: str) -> bytes:
    """A DOCX with a heading and the paragraphs."""
    document = docx.Document()
    document.add_heading("Notes", level=1)
    for text in paragraphs:
        document.add_paragraph(text)
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def corpus(number: int) -> dict[str, bytes]:
    """`number` distinct text files and one document of every other kind, by file name."""
    files = {
        f"memo-{i:03d}.txt": f"Memo {i}. Pump station {i} was inspected by engineer {i * 7 % 31}. {TURBINE}".encode()
        for i in range(number)
    }
    files["harbour.pdf"] = pdf("Introduction to the harbour rules.", HARBOUR)
    files["bakery.docx"] = word(BAKERY)
    files["turbine.html"] = f"<html><body><h1>Plant</h1><p>{TURBINE}</p></body></html>".encode()
    files["list.md"] = b"# Shopping\n\n- rye bread\n- lighthouse oil\n"
    return files
