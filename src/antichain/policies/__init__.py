"""
Frozen values that decide: when to try again, how long to wait, what fits, what a failure means.

Everything here is pure. Time and randomness come in as arguments; nothing here waits, reads or writes.
"""

from antichain.policies.failure import Join, OnError, as_join, as_on_error
from antichain.policies.limits import SharedLimit, as_size, as_uses
from antichain.policies.node import (
    NODE_POLICIES,
    UNSET,
    NodePolicies,
    Policies,
    Settled,
    Unset,
    merged,
    policies_of,
    settled,
)
from antichain.policies.options import RUN_OPTIONS, GraphOptions, RunOptions, check_options, split_options
from antichain.policies.retry import Backoff, Retry, as_retry, retry_after
from antichain.policies.timeout import Timeout, as_timeout

__all__ = [
    "NODE_POLICIES",
    "RUN_OPTIONS",
    "UNSET",
    "Backoff",
    "GraphOptions",
    "Join",
    "NodePolicies",
    "OnError",
    "Policies",
    "Retry",
    "RunOptions",
    "Settled",
    "SharedLimit",
    "Timeout",
    "Unset",
    "as_join",
    "as_on_error",
    "as_retry",
    "as_size",
    "as_timeout",
    "as_uses",
    "check_options",
    "merged",
    "policies_of",
    "retry_after",
    "settled",
    "split_options",
]
