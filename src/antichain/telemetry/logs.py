"""
Log records of a run: `antichain.run` for its start and end, `antichain.node` for its nodes.

Every record has `run_id`, `node_id`, `attempt` and `error_type` (None where there is none), for formatters and filters.
"""

import logging

from antichain.core.facts import Event, NodeAsks, NodeEnded, NodeRetrying, NodeStarted, RunEnded, RunStarted
from antichain.printable import printable
from antichain.record import describe_error

# A record is one line, and no foreign text in it makes a second one; an error's message is cut to so many characters.
SHOWN_MESSAGE = 2000


class LogListener:
    """
    Log what happens: runs and questions at INFO, retries at WARNING, failures at ERROR, attempts at DEBUG; a listener.
    """

    def __init__(self) -> None:
        self._run = logging.getLogger("antichain.run")
        self._node = logging.getLogger("antichain.node")
        self._name = ""
        self._started_at = 0.0

    def __call__(self, event: Event) -> None:
        """
        Log what *event* says, if it is worth a record.
        """
        match event:
            case NodeStarted():
                if self._node.isEnabledFor(logging.DEBUG):
                    node, attempt = _one_line(event.node), event.attempt
                    self._node.debug("node %s: attempt %d started", node, attempt, extra=_fields(event))
            case NodeEnded():
                self._end(event)
            case NodeRetrying():
                self._node.warning(
                    "node %s: attempt %d failed, the next one starts in %.3f s: %s",
                    _one_line(event.node),
                    event.attempt,
                    event.delay,
                    _message(event.error),
                    extra=_fields(event, event.error),
                )
            case NodeAsks():
                node, asked = _one_line(event.node), printable(" ".join(event.text.split()), SHOWN_MESSAGE)
                self._node.info("node %s asks: %s", node, asked, extra=_fields(event))
            case RunStarted():
                self._name, self._started_at = _one_line(event.name), event.time
                text = "run %s of graph %s started: %d nodes"
                self._run.info(text, _one_line(event.run_id), self._name, event.node_count, extra=_fields(event))
            case RunEnded():
                level = logging.ERROR if event.status == "failed" else logging.INFO
                seconds = event.time - self._started_at
                text = "run %s of graph %s %s after %.3f s"
                self._run.log(
                    level,
                    text,
                    _one_line(event.run_id),
                    self._name,
                    _ENDED[event.status],
                    seconds,
                    extra=_fields(event),
                )
            case _:
                return

    def _end(self, event: NodeEnded) -> None:
        if event.state == "failed":
            self._node.error(
                "node %s: failed (%s) in attempt %d%s: %s",
                _one_line(event.node),
                event.reason,
                event.attempt,
                ", which did not end and was abandoned" if event.abandoned else "",
                _message(event.error),
                extra=_fields(event, event.error),
            )
        elif event.abandoned:
            text = "node %s: %s (%s); attempt %d did not end and was abandoned"
            node = _one_line(event.node)
            self._node.warning(text, node, event.state, event.reason, event.attempt, extra=_fields(event))
        elif self._node.isEnabledFor(logging.DEBUG):
            node = _one_line(event.node)
            self._node.debug("node %s: %s (%s)", node, event.state, event.reason, extra=_fields(event))


_ENDED = {
    "succeeded": "succeeded",
    "partial": "succeeded in part",
    "failed": "failed",
    "cancelled": "was cancelled",
    "paused": "has paused until somebody answers",
}


def _fields(event: Event, error: BaseException | None = None) -> dict[str, object]:
    """
    Make what a record carries beside its message.
    """
    return {
        "run_id": _one_line(event.run_id),
        "node_id": None if event.node is None else _one_line(event.node),
        "attempt": event.attempt,
        "error_type": None if error is None else describe_error(error)["type"],
    }


def _message(error: BaseException | None) -> str:
    if error is None:
        return "no error is known"
    told = describe_error(error)
    return printable(f"{told['type']}: {told['message']}", SHOWN_MESSAGE)


def _one_line(text: str) -> str:
    # Not cut: an id is there to be searched for.
    return printable(text, None)
