"""The Compose runtime: every service is a container of a Docker Compose project on this host."""

from portal.runtime.compose.driver import ComposeRuntime

__all__ = ["ComposeRuntime"]
