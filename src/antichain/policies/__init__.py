"""
Frozen values that decide: when to try again, how long to wait, what fits, what a failure means.

Everything here is pure. Time and randomness come in as arguments; nothing here waits, reads or writes.
"""

from antichain.policies.failure import Join, OnError, as_join, as_on_error
from antichain.policies.limits import (
    AdaptiveLimit,
    Amounts,
    LimitValue,
    SharedLimit,
    SharedRate,
    Weighing,
    as_size,
    as_uses,
    as_weighing,
    as_weight,
    is_amount,
)
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
from antichain.policies.options import (
    RESUME_OPTIONS,
    RUN_OPTIONS,
    Durability,
    GraphOptions,
    OnChange,
    ResumeOptions,
    RunOptions,
    check_options,
    check_resume,
    check_storing,
    split_options,
)
from antichain.policies.retry import EVERYTHING, Allowance, Backoff, Retry, as_retry, retry_after
from antichain.policies.timeout import Timeout, as_timeout

__all__ = [
    "EVERYTHING",
    "NODE_POLICIES",
    "RESUME_OPTIONS",
    "RUN_OPTIONS",
    "UNSET",
    "AdaptiveLimit",
    "Allowance",
    "Amounts",
    "Backoff",
    "Durability",
    "GraphOptions",
    "Join",
    "LimitValue",
    "NodePolicies",
    "OnChange",
    "OnError",
    "Policies",
    "ResumeOptions",
    "Retry",
    "RunOptions",
    "Settled",
    "SharedLimit",
    "SharedRate",
    "Timeout",
    "Unset",
    "Weighing",
    "as_join",
    "as_on_error",
    "as_retry",
    "as_size",
    "as_timeout",
    "as_uses",
    "as_weighing",
    "as_weight",
    "check_options",
    "check_resume",
    "check_storing",
    "is_amount",
    "merged",
    "policies_of",
    "retry_after",
    "settled",
    "split_options",
]
