"""
A scripted server that speaks OpenAI's API on loopback, to test clients, retries and limits against something honest.

It shares no code with what it tests. `python -m antichain.testing.provider --help` runs it by hand.
"""

from antichain.testing.provider.log import LogEntry
from antichain.testing.provider.provider import FakeProvider
from antichain.testing.provider.script import Failure, Quota, Reply, Request, RetryAfter, ToolCall
from antichain.testing.provider.tokens import Usage

__all__ = ["FakeProvider", "Failure", "LogEntry", "Quota", "Reply", "Request", "RetryAfter", "ToolCall", "Usage"]
