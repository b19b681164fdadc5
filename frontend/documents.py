"""The documents: what is on its way, what failed and why, and the whole list page by page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from frontend import upload
from frontend.client import Json, ServiceError
from frontend.markup import inert
from frontend.progress import FILTERS, PROGRESS, busy, label, page_count, row, shown_state, summary
from frontend.session import ended, service

PAGE = 50
SECONDS = 2
AT_ONCE = 5


def page() -> None:
    """Upload on top, the list below; it refreshes itself while something is on its way."""
    st.markdown("## Documents")
    upload.form()
    watching = st.session_state.get("watching", True)
    st.fragment(_documents, run_every=SECONDS if watching else None)()


def _documents() -> None:
    for failure in st.session_state.get("failures", []):
        st.error(failure, icon=":material/error:")
    try:
        counts: dict[str, int] = service().documents(limit=1)["counts"]
        if counts:
            _on_their_way(counts)
            _failed(counts)
            _library(counts)
        else:
            _empty()
    except ServiceError as error:
        if ended(error):
            st.rerun()
        st.error(str(error), icon=":material/cloud_off:")
        return
    _watch_while_busy(counts)


def _empty() -> None:
    with st.container(key="empty", border=True, horizontal_alignment="center"):
        st.markdown("### :material/folder_open: No documents yet")
        st.caption("Add some above. Each can be asked about as soon as it is ready, usually within seconds.")


def _on_their_way(counts: dict[str, int]) -> None:
    waiting = busy(counts)
    if not waiting:
        return
    with st.container(key="on-their-way", border=True):
        st.markdown(f"**{sum(waiting.values()):,} on their way**")
        left = AT_ONCE
        # The furthest first: these are the ones that move.
        for state in sorted(waiting, key=lambda name: -PROGRESS[name]):
            for item in service().documents(limit=left, state=state)["documents"] if left else []:
                st.progress(PROGRESS[state], f"{inert(item['name'])} — {label(state)}")
                left -= 1
        if (more := sum(waiting.values()) - (AT_ONCE - left)) > 0:
            st.caption(f"and {more:,} more")


def _failed(counts: dict[str, int]) -> None:
    if not counts.get("failed"):
        return
    with st.expander(f":red[**{counts['failed']:,} could not be read**]", expanded=True, icon=":material/error:"):
        for item in service().documents(limit=AT_ONCE, state="failed")["documents"]:
            with st.container(key=f"failed-{item['id']}", horizontal=True, wrap=False, vertical_alignment="center"):
                st.markdown(f"**{inert(item['name'])}**  \n{inert(item['reason'] or '')}", width="stretch")
                if st.button("Retry", key=f"retry-{item['id']}", icon=":material/refresh:"):
                    _each([item], service().retry)
                if st.button("Delete", key=f"drop-{item['id']}", icon=":material/delete:"):
                    _confirm_delete([item])
        if counts["failed"] > AT_ONCE:
            st.caption(f"and {counts['failed'] - AT_ONCE:,} more: choose Failed below to see them all")


def _library(counts: dict[str, int]) -> None:
    st.caption(summary(counts))
    with st.container(horizontal=True, vertical_alignment="bottom", key="filters"):
        name = st.text_input(
            "Filter by name", placeholder="Filter by name", icon=":material/search:", label_visibility="collapsed",
            key="name-filter", on_change=_first_page,
        )  # fmt: skip
        state = st.selectbox(
            "State", FILTERS, label_visibility="collapsed", key="state-filter", on_change=_first_page, width=150
        )
    trail: list[int | None] = st.session_state.setdefault("trail", [None])
    answer = service().documents(limit=PAGE, after=trail[-1], state=FILTERS[state], name=name.strip())
    if not answer["documents"]:
        st.info("No document fits this filter.", icon=":material/filter_alt_off:")
    else:
        _table(answer["documents"], len(trail))
    known = None if name.strip() else page_count(counts, FILTERS[state], PAGE)
    _pager(trail, answer["next"], known)


def _first_page() -> None:
    st.session_state["trail"] = [None]


def _newer() -> None:
    st.session_state["trail"].pop()


def _pager(trail: list[int | None], following: int | None, pages: int | None) -> None:
    if len(trail) == 1 and (following is None or pages == 1):
        return
    with st.container(horizontal=True, horizontal_alignment="center", vertical_alignment="center", key="pager"):
        st.button("Newer", icon=":material/chevron_left:", disabled=len(trail) == 1, on_click=_newer)
        st.markdown(f"Page {len(trail):,}" + (f" of {pages:,}" if pages else ""), width="content")
        last = following is None or len(trail) == pages
        st.button(
            "Older", icon=":material/chevron_right:", icon_position="right", disabled=last,
            on_click=trail.append, args=[following],
        )  # fmt: skip


def _table(documents: list[Json], number: int) -> None:
    chosen = st.dataframe(
        [row(item) for item in documents],
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        # A selection belongs to the rows it was made on.
        key=f"table-{number}-{documents[0]['id']}",
        placeholder="-",
        column_config={
            "Name": st.column_config.TextColumn(width=260),
            "State": st.column_config.TextColumn(width=110),
            "Pages": st.column_config.NumberColumn(width=65),
            "Size": st.column_config.NumberColumn(format="bytes", width=75),
            "Added": st.column_config.DatetimeColumn(format="distance", width=125),
        },
    )
    selected = [documents[index] for index in chosen["selection"]["rows"] if index < len(documents)]
    if selected:
        _actions(selected)


def _actions(selected: list[Json]) -> None:
    with st.container(horizontal=True, key="actions"):
        if st.button(f"Delete {len(selected)}", icon=":material/delete:"):
            _confirm_delete(selected)
        failed = [item for item in selected if item["state"] == "failed"]
        if failed and st.button(f"Retry {len(failed)}", icon=":material/refresh:"):
            _each(failed, service().retry)
        if len(selected) == 1 and shown_state(selected[0]) == "Ready":
            _download(selected[0])


def _download(item: Json) -> None:
    client = service()
    st.download_button(
        "Download", lambda: client.content(item["id"]), item["name"], "application/octet-stream",
        icon=":material/download:", on_click="ignore",
    )  # fmt: skip


@st.dialog("Delete documents?")
def _confirm_delete(selected: list[Json]) -> None:
    one = len(selected) == 1
    st.markdown(f"{'This document' if one else f'These {len(selected)} documents'} will no longer be found:")
    for item in selected[:10]:
        st.text(item["name"])
    if len(selected) > 10:
        st.caption(f"and {len(selected) - 10} more")
    st.caption("The files are removed from the service. A backup taken before still holds them.")
    if st.button("Delete it" if one else "Delete them", type="primary", icon=":material/delete:"):
        _each(selected, service().delete)


def _each(items: list[dict[str, Any]], action: Callable[[str], None]) -> None:
    failures = []
    for item in items:
        try:
            action(item["id"])
        except ServiceError as error:
            if ended(error):
                st.rerun()
            failures.append(f"{inert(item['name'])}: {inert(str(error))}")
    st.session_state.update(watching=True, failures=failures)
    st.rerun()


def _watch_while_busy(counts: dict[str, int]) -> None:
    watching = bool(busy(counts))
    if watching != st.session_state.get("watching", True):
        st.session_state["watching"] = watching
        st.rerun()
