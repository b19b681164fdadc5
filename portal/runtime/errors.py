"""What can go wrong with a stack, as a tree.

StackRuntimeError
+-- StackFileError   the Compose file is not what we can run; names the path inside it
+-- PortTakenError        somebody else listens where a service should
+-- ServiceFailedError    a service did not become ready; carries the end of its log
+-- UnknownServiceError   a service that the stack does not have
+-- ScaleRefusedError     a service cannot have that many instances
+-- StackBusyError        somebody else is changing the stack
+-- SupervisorGoneError   the supervisor cannot be started or does not answer
+-- EngineGoneError       no Docker Engine answers
+-- ComposeMissingError   there is no docker command, or it has no Compose
+-- ComposeFailedError    a docker command failed; carries the end of what it said
+-- ImageMissingError     an image is not here and could neither be pulled nor built
"""

from __future__ import annotations


class StackRuntimeError(Exception):
    """Base of all faults of a runtime: `code` for programs, `message` and `remedy` for people."""

    code = "runtime"

    def __init__(self, message: str, remedy: str = "") -> None:
        self.message = message
        self.remedy = remedy
        super().__init__(message)


class StackFileError(StackRuntimeError):
    """`path` says where in the file, e.g. `services.api.ports[0]`."""

    code = "stack_file"

    def __init__(self, path: str, expected: str) -> None:
        self.path = path
        super().__init__(f"{path}: {expected}", "correct the stack file at that place")


class PortTakenError(StackRuntimeError):
    """`ports` maps each taken port to a sentence about who holds it."""

    code = "port_taken"

    def __init__(self, ports: dict[int, str]) -> None:
        self.ports = ports
        held: dict[str, list[str]] = {}
        for port, holder in sorted(ports.items()):
            held.setdefault(holder, []).append(str(port))
        taken = "; ".join(
            f"port {found[0]} is held by {holder}"
            if len(found) == 1
            else f"ports {', '.join(found)} are held by {holder}"
            for holder, found in held.items()
        )
        super().__init__(taken, "stop that program, or choose another base port with --port")


class ServiceFailedError(StackRuntimeError):
    """`service` did not become ready; `log` holds the last lines it wrote."""

    code = "service_failed"

    def __init__(self, service: str, reason: str, log: list[str]) -> None:
        self.service = service
        self.log = log
        tail = "".join(f"\n    {line}" for line in log)
        super().__init__(f"service {service} {reason}{tail}", f"read its log: manage.py logs {service}")


class UnknownServiceError(StackRuntimeError):
    """The stack has no service of that name."""

    code = "unknown_service"

    def __init__(self, project: str, service: str, known: list[str]) -> None:
        super().__init__(f"stack {project} has no service {service}", f"choose one of: {', '.join(known)}")


class ScaleRefusedError(StackRuntimeError):
    """A service cannot have that many instances; nothing was changed."""

    code = "scale_refused"

    def __init__(self, service: str, reason: str) -> None:
        self.service = service
        super().__init__(f"service {service} {reason}", "leave it at one instance")


class StackBusyError(StackRuntimeError):
    """Somebody else is changing the stack."""

    code = "stack_busy"

    def __init__(self, project: str) -> None:
        super().__init__(f"somebody else is changing the stack {project}", "try again when that is done")


class SupervisorGoneError(StackRuntimeError):
    """supervisord cannot be started or does not answer."""

    code = "supervisor_gone"


class EngineGoneError(StackRuntimeError):
    """No Docker Engine answers at `host`."""

    code = "engine_gone"

    def __init__(self, host: str, reason: str) -> None:
        self.host = host
        super().__init__(f"no Docker Engine answers at {host}: {reason}", "start Docker, or set DOCKER_HOST")


class ComposeMissingError(StackRuntimeError):
    """There is no docker command here, or it has no Compose."""

    code = "compose_missing"

    def __init__(self) -> None:
        super().__init__("docker compose is not here", "install Docker with its Compose plugin, version 2")


class ComposeFailedError(StackRuntimeError):
    """A docker command failed; `said` is the end of what it wrote to standard error."""

    code = "compose_failed"

    def __init__(self, verb: str, reason: str, said: str) -> None:
        self.said = said.strip()
        tail = "".join(f"\n    {line}" for line in self.said.splitlines()[-5:])
        super().__init__(f"{verb} {reason}{tail}")


class ImageMissingError(StackRuntimeError):
    """An image that a service needs is not on this host; nothing was stopped or started."""

    code = "image_missing"

    def __init__(self, images: dict[str, str], said: str) -> None:
        self.images = images
        wanted = ", ".join(f"{image} (service {service})" for service, image in images.items())
        super().__init__(
            f"not on this host and not to be had: {wanted}\n    {said}", "load the image, or correct its name"
        )
