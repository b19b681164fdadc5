"""The verbs of `manage.py`: what help shows before the environment exists, and where each is implemented.

Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb.

    Attributes:
        module: module that holds the click command, as attribute `command`.
        summary: one line for the help.
        development: needs the development lock (linters, test tools) besides the runtime lock.
        as_caller: keeps the caller's identity when root calls, because it reads the caller's own files.
        tools: needs restic and nginx.
    """

    module: str
    summary: str
    development: bool = False
    as_caller: bool = False
    tools: bool = True


VERBS: dict[str, Verb] = {
    "up": Verb("config.cli.up", "Start everything; on first use also install, back up and prove the backup."),
    "dev": Verb("config.cli.dev", "Start everything in containers that follow the source.", tools=False),
    "prod": Verb("config.cli.prod", "Start everything in containers for production, with TLS.", tools=False),
    "stop": Verb("config.cli.stop", "Stop the stack and keep the portal."),
    "down": Verb("config.cli.down", "Stop everything; all data stays."),
    "status": Verb("config.cli.status", "Show what runs and how it is."),
    "settings": Verb("config.cli.settings", "Show and change the stack's settings; rotate its secrets."),
    "logs": Verb("config.cli.logs", "Show the logs of a service."),
    "sh": Verb("config.cli.sh", "Open a shell, or run a command, inside a service."),
    "ingest": Verb(
        "config.cli.ingest", "Upload files or folders and wait until they can be asked about.", as_caller=True
    ),
    "ask": Verb("config.cli.ask", "Ask a question of the documents.", as_caller=True),
    "backup": Verb("config.cli.backup", "Take a backup set now."),
    "repositories": Verb("config.cli.repositories", "Add, test, adopt and remove the places where sets are kept."),
    "plans": Verb("config.cli.plans", "Say what is backed up when, where to, and how long it is kept."),
    "sets": Verb("config.cli.sets", "List the backup sets."),
    "sources": Verb("config.cli.sources", "Add and test what sets hold besides the stack itself.", as_caller=True),
    "restore": Verb("config.cli.restore", "Restore a backup set, undo a restore, or confirm it."),
    "plan": Verb("config.cli.plan", "Say what a deploy would do; change nothing."),
    "deploy": Verb("config.cli.deploy", "Deploy what the stack's files and settings say now."),
    "updates": Verb("config.cli.updates", "Ask registries whether they have newer images than those that serve."),
    "releases": Verb("config.cli.releases", "List what was deployed, or compare two releases."),
    "rollback": Verb("config.cli.rollback", "Have an earlier release serve again."),
    "stacks": Verb("config.cli.stacks", "List stacks; add, adopt, update and remove Compose projects of your own."),
    "drill": Verb("config.cli.drill", "Prove that a backup set can be restored."),
    "recover": Verb("config.cli.recover", "Bring a lost installation back on a blank machine."),
    "recovery-card": Verb("config.cli.recovery_card", "Print what a recovery needs, to be kept on paper."),
    "prove-key": Verb("config.cli.prove_key", "Prove that you still hold a repository's key."),
    "questions": Verb("config.cli.questions", "Set the questions that every drill asks."),
    "alarms": Verb("config.cli.alarms", "Show what is wrong, and set who is told of it."),
    "doctor": Verb("config.cli.doctor", "Look for what is wrong and say what to do."),
    "tidy": Verb("config.cli.tidy", "Show and remove what takes room and is needed by nothing."),
    "clean": Verb("config.cli.clean", "Remove all data of this installation, after confirmation."),
    "test": Verb(
        # Root's rights are given up for all tiers but that of Docker, see config.cli.test.
        "config.cli.test",
        "Run the tests this machine can run.",
        development=True,
        as_caller=True,
    ),
    "bench": Verb("config.cli.bench", "Measure what the product promises.", development=True),
    "check-all": Verb(
        "config.cli.check_all", "Format, lint, types, imports, migrations, unit tests.", development=True, tools=False
    ),
}


# Where everything runs in containers, the worker's carries these out: they work on the portal's rows and files.
INSIDE = frozenset(
    (
        *("backup", "repositories", "plans", "sets", "sources", "restore", "drill", "recovery-card", "prove-key"),
        *("questions", "alarms", "stop", "plan", "deploy", "releases", "rollback", "settings", "tidy", "stacks"),
        "updates",
    )
)


def overview() -> str:
    """The help text that needs nothing but Python."""
    width = max(map(len, VERBS))
    lines = [f"  {name:<{width}}  {verb.summary}" for name, verb in VERBS.items()]
    return "\n".join(
        [
            "Usage: python3 manage.py VERB [OPTIONS]",
            "",
            "Ragkeep runs a RAG stack, keeps it backed up, and proves that it can be restored.",
            "",
            *lines,
            "",
            "Start with: python3 manage.py up",
            "Options of a verb: python3 manage.py VERB --help",
        ]
    )
