"""Uploading: choose files, see each one go, and be told which did not and why."""

from __future__ import annotations

import os
from typing import Any

import streamlit as st

from frontend.atwork import at_work
from frontend.client import ServiceError
from frontend.markup import inert
from frontend.progress import human_bytes
from frontend.session import ended, service

TYPES = ["pdf", "docx", "html", "htm", "md", "txt"]
# The service's own limit; it is the service that enforces it.
LIMIT = int(os.environ.get("MAX_UPLOAD_BYTES") or 50 * 1024 * 1024)
_MEGABYTES = max(1, LIMIT // 1024**2)


def form() -> None:
    """The drop zone; what is dropped is uploaded at once, and the zone is empty again."""
    version = st.session_state.setdefault("uploader", 0)
    files = st.file_uploader(
        # Streamlit names the limit itself, in whole megabytes.
        "Add documents" if LIMIT % 1024**2 == 0 else f"Add documents, up to {human_bytes(LIMIT)} each",
        type=TYPES,
        accept_multiple_files=True,
        max_upload_size=_MEGABYTES,
        key=f"files-{version}",
    )
    if files:
        _send(files)


def _send(files: list[Any]) -> None:
    failures: list[str] = []
    with st.status(f"Uploading {len(files)} {'file' if len(files) == 1 else 'files'}", expanded=True) as status:
        bar, lines = st.progress(0.0), st.container(gap=None)
        for done, file in enumerate(files, start=1):
            line = lines.empty()
            line.caption(f":material/progress_activity: {inert(file.name)}")
            why = _send_one(file)
            failures += [f"{inert(file.name)}: {inert(why)}"] if why else []
            line.caption(f":material/{'error' if why else 'check_circle'}: {inert(file.name)}")
            bar.progress(done / len(files), f"{done} of {len(files)}")
        status.update(state="error" if failures else "complete")
    st.session_state.update(watching=True, failures=failures, uploader=st.session_state["uploader"] + 1)
    st.rerun()


def _send_one(file: Any) -> str | None:  # noqa: ANN401 - Streamlit does not export the type of an uploaded file
    """Upload one; returns why it was refused."""
    try:
        with at_work():
            service().upload(file.name, file)
    except ServiceError as error:
        if ended(error):
            st.rerun()
        return str(error)
    return None
