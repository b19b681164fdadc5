"""Waiting for one thing that one at a time can have: first come, first served, but those with a question go first."""

from __future__ import annotations

import asyncio
from collections import deque

# So many questions may pass before somebody else has a turn: nobody waits for ever.
IN_A_ROW = 8


class Line:
    """A lock with two queues, of one event loop; `release` hands it to whoever is next, before anybody new."""

    def __init__(self) -> None:
        self._held = False
        self._questions: deque[asyncio.Future[None]] = deque()
        self._others: deque[asyncio.Future[None]] = deque()
        self._passed = 0

    def locked(self) -> bool:
        """Whether somebody has it."""
        return self._held

    async def acquire(self, *, question: bool = False) -> None:
        """Wait for one's turn.

        Args:
            question: somebody waits for the answer, which takes a moment; whole documents can wait that long.
        """
        if not self._held:
            self._held = True
            return
        turn = asyncio.get_running_loop().create_future()
        (self._questions if question else self._others).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                # It was ours already.
                self.release()
            raise

    def release(self) -> None:
        """Let the next one have it."""
        while (turn := self._next()) is not None:
            # Who gave up stays in the queue until it is passed.
            if not turn.cancelled():
                turn.set_result(None)
                return
        self._held = False

    def _next(self) -> asyncio.Future[None] | None:
        others_first = self._passed >= IN_A_ROW and self._others
        queue = self._others if others_first or not self._questions else self._questions
        self._passed = self._passed + 1 if queue is self._questions else 0
        return queue.popleft() if queue else None
