"""What Git servers call when somebody pushed."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from portal.operations.errors import OperationError
from portal.stacks.projects.hooks import HookRefused, hook_called
from portal.web.throttle import address_of

MOST_BYTES = 1 << 20


@csrf_exempt
@require_POST
def push(request: HttpRequest, name: str) -> JsonResponse:
    """Fetch and deploy the project of that name. Answers 202 with the operation, or without one for another branch."""
    if int(request.headers.get("Content-Length") or 0) > MOST_BYTES:
        return JsonResponse({"error": {"code": "too_large", "message": "The call is too large."}}, status=413)
    bearer = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
    try:
        operation = hook_called(
            name=name,
            address=address_of(request),
            token=bearer or request.headers.get("X-Gitlab-Token", ""),
            signature=request.headers.get("X-Hub-Signature-256", ""),
            body=request.body,
        )
    except HookRefused as refused:
        return JsonResponse({"error": refused.as_dict()}, status=refused.status)
    except OperationError as refused:
        return JsonResponse({"error": refused.as_dict()}, status=409)
    return JsonResponse({"operation": str(operation.pk) if operation else None}, status=202)
