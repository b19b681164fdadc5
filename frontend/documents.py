"""The documents: upload with progress, the list with states, delete and retry."""

from __future__ import annotations

from typing import Any

import streamlit as st

from frontend.client import ServiceError
from frontend.session import ended, service

TYPES = ["pdf", "docx", "html", "htm", "md", "txt"]
WORDS = {
    "received": "Waiting",
    "stored": "Waiting",
    "parsed": "Reading",
    "chunked": "Reading",
    "embedded": "Indexing",
    "indexed": "Indexing",
    "ready": "Ready",
    "failed": "Failed",
    "deleting": "Being deleted",
}
SETTLED = {"ready", "failed"}


def page() -> None:
    """Upload on top, the list below; the list refreshes itself while something is on its way."""
    st.header("Documents")
    _upload()
    busy = st.session_state.get("documents_busy", True)
    st.fragment(_list, run_every=2 if busy else None)()


def _upload() -> None:
    version = st.session_state.setdefault("uploader", 0)
    files = st.file_uploader(
        "Add documents (PDF, Word, HTML, Markdown, text)",
        type=TYPES,
        accept_multiple_files=True,
        key=f"files-{version}",
    )
    if not files or not st.button(f"Upload {len(files)}", type="primary", icon=":material/upload:"):
        return
    bar, failures = st.progress(0.0, "Uploading …"), list[str]()
    for done, file in enumerate(files, start=1):
        bar.progress((done - 1) / len(files), f"Uploading {done} of {len(files)}")
        try:
            service().upload(file.name, file)
        except ServiceError as error:
            if ended(error):
                st.rerun()
            failures.append(f"{file.name}: {error}")
    bar.progress(1.0, f"{len(files) - len(failures)} of {len(files)} uploaded")
    st.session_state.update(documents_busy=True, upload_failures=failures, uploader=version + 1)
    st.rerun()


def _list() -> None:
    for failure in st.session_state.get("upload_failures", []):
        st.error(failure)
    try:
        answer = service().documents()
    except ServiceError as error:
        if ended(error):
            st.rerun()
        st.error(str(error))
        return
    documents = answer["documents"]
    if not documents:
        st.info("No documents yet. Add some above; they can be asked about as soon as they are ready.")
    else:
        _summary(answer["counts"])
        _table(documents)
    _refresh_only_while_busy(answer["counts"])


def _summary(counts: dict[str, int]) -> None:
    waiting = sum(number for state, number in counts.items() if state not in SETTLED)
    parts = [f"{counts.get('ready', 0)} ready"]
    parts += [f"{waiting} in progress"] if waiting else []
    parts += [f"{counts['failed']} failed"] if counts.get("failed") else []
    st.caption(" · ".join(parts))


def _table(documents: list[dict[str, Any]]) -> None:
    rows = [
        {
            "Name": item["name"],
            "State": WORDS.get(item["state"], item["state"]),
            "Pages": item.get("pages"),
            "Size (KB)": round(item["bytes"] / 1024, 1),
            "Added": item["created_at"][:16].replace("T", " "),
            "Note": item.get("reason") or "",
        }
        for item in documents
    ]
    chosen = st.dataframe(
        rows, hide_index=True, width="stretch", on_select="rerun", selection_mode="multi-row", key="document-table"
    )
    selected = [documents[index] for index in chosen["selection"]["rows"] if index < len(documents)]
    if selected:
        _actions(selected)


def _actions(selected: list[dict[str, Any]]) -> None:
    left, right, _ = st.columns([1, 1, 2])
    if left.button(f"Delete {len(selected)}", icon=":material/delete:"):
        _confirm_delete(selected)
    failed = [item for item in selected if item["state"] == "failed"]
    if failed and right.button(f"Try {len(failed)} again", icon=":material/refresh:"):
        _each(failed, service().retry)


@st.dialog("Delete documents")
def _confirm_delete(selected: list[dict[str, Any]]) -> None:
    st.write(f"{len(selected)} documents will no longer be found, and their files are removed:")
    for item in selected[:10]:
        st.text(item["name"])
    if len(selected) > 10:
        st.caption(f"and {len(selected) - 10} more")
    if st.button("Delete them", type="primary"):
        _each(selected, service().delete)


def _each(items: list[dict[str, Any]], action: Any) -> None:  # noqa: ANN401 - a bound method taking an id
    failures = []
    for item in items:
        try:
            action(item["id"])
        except ServiceError as error:
            failures.append(f"{item['name']}: {error}")
    st.session_state.update(documents_busy=True, upload_failures=failures)
    st.rerun()


def _refresh_only_while_busy(counts: dict[str, int]) -> None:
    busy = any(state not in SETTLED for state, number in counts.items() if number)
    if busy != st.session_state.get("documents_busy", True):
        st.session_state["documents_busy"] = busy
        st.rerun()
