"""What is in a set: its tree, a search by name, and files and folders to take along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_GET, require_POST, require_safe

from backups.errors import BackupError
from backups.trees import Node, Tree
from portal.operations.errors import OperationError
from portal.vaults.models import BackupSet
from portal.vaults.trees import set_download, tree_index, tree_open, tree_reading
from portal.web.actions import refuse
from portal.web.pages import operators_only, page, user_of
from portal.web.streams import Blocks, Full
from portal.web.views.sets import set_or_404

PER_PAGE = 200


@require_safe
@operators_only
def set_browse(request: HttpRequest, set_id: str) -> HttpResponse:
    """A folder of the set, or what a search below it finds: `?path=/documents&q=report`."""
    found = set_or_404(set_id)
    tree = None if found.removed_at else tree_open(found)
    if tree is None:
        reading = tree_reading(found)
        return page(request, "sets/browse", {"set": found, "reading": reading})
    with tree:
        folder = _node(tree, request)
        query = request.GET.get("q", "").strip()[:100]
        rows = tree.search(query, folder, limit=PER_PAGE) if query else []
        context: dict[str, Any] = {"set": found, "folder": folder, "q": query, "found": rows, "limit": PER_PAGE}
        context["page"] = Paginator(_Children(tree, folder), PER_PAGE).get_page(request.GET.get("page"))
        context["query"] = _query(request)
        return page(request, "sets/browse", context)


@require_POST
@operators_only
def set_index(request: HttpRequest, set_id: str) -> HttpResponse:
    """Have the set read, so that it can be browsed."""
    try:
        tree_index(found=set_or_404(set_id), user=user_of(request))
    except OperationError as refused:
        refuse(request, refused)
        return redirect("set", set_id=set_id)
    return redirect("set-browse", set_id=set_id)


@require_GET
@operators_only
def set_fetch(request: HttpRequest, set_id: str) -> HttpResponseBase:
    """The file at `?path=`, or the folder as a zip archive; always as a file to keep, never shown."""
    found = set_or_404(set_id)
    tree = None if found.removed_at else tree_open(found)
    if tree is None:
        return redirect("set-browse", set_id=set_id)
    try:
        with tree:
            download = set_download(found=found, tree=tree, node=_node(tree, request), user=user_of(request))
        blocks = Blocks(download.blocks, download.fetch.stop)
    except Full:
        return _refused(request, found, "Enough downloads are running already.", "Wait until one of them ends.", 503)
    except (OperationError, BackupError) as failed:
        return _refused(request, found, failed.message, failed.remedy, 502)
    headers = {
        "Content-Disposition": str(content_disposition_header(True, download.name)),
        "X-Accel-Buffering": "no",
        "X-Content-Type-Options": "nosniff",
        **({"Content-Length": str(download.size)} if download.size is not None else {}),
    }
    return StreamingHttpResponse(blocks, content_type="application/octet-stream", headers=headers)


def _refused(request: HttpRequest, found: BackupSet, message: str, remedy: str, status: int) -> HttpResponse:
    context = {"set": found, "message": message, "remedy": remedy}
    return render(request, "web/sets/browse/refused.html", context, status=status)


def _node(tree: Tree, request: HttpRequest) -> Node:
    node = tree.node(request.GET.get("path") or "/")
    if node is None:
        raise Http404("path")
    return node


def _query(request: HttpRequest) -> str:
    query = request.GET.copy()
    query.pop("page", None)
    return query.urlencode()


class _Children(Sequence[Node]):
    """The children of a folder as a paginator wants them."""

    def __init__(self, tree: Tree, folder: Node) -> None:
        self._tree, self._folder = tree, folder

    def __len__(self) -> int:
        return self._tree.count(self._folder)

    @overload
    def __getitem__(self, wanted: int) -> Node: ...

    @overload
    def __getitem__(self, wanted: slice) -> Sequence[Node]: ...

    def __getitem__(self, wanted: int | slice) -> Node | Sequence[Node]:
        part = wanted if isinstance(wanted, slice) else slice(wanted, wanted + 1)
        rows = self._tree.children(self._folder, offset=part.start, limit=part.stop - part.start)
        return rows if isinstance(wanted, slice) else rows[0]
