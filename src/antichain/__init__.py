"""
antichain executes a graph of nodes as parallel as their dependencies allow.

Reading map, in the order in which data flows: `graph` (what the user wrote) → `plan` (checked and indexed) → `core`
(decides, purely) → `driver` (carries: the one file that knows both the core and asyncio) → `run` (wires them) →
`record` (what became of it).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from antichain.adaptive import Adaptive as Adaptive
    from antichain.agents.calls.messages import ToolCall as ToolCall
    from antichain.agents.calls.results import ToolMessages as ToolMessages
    from antichain.agents.calls.results import ToolResult as ToolResult
    from antichain.agents.calls.run_calls import run_tool_calls as run_tool_calls
    from antichain.agents.calls.run_calls import run_tool_calls_sync as run_tool_calls_sync
    from antichain.agents.calls.sanitize import Sanitizer as Sanitizer
    from antichain.agents.plans.plan_stream import PlanStream as PlanStream
    from antichain.agents.plans.refusal import PlanRefused as PlanRefused
    from antichain.agents.plans.replan import replan as replan
    from antichain.agents.tools.faults import ArgumentsInvalid as ArgumentsInvalid
    from antichain.agents.tools.tool import Tool as Tool
    from antichain.agents.tools.tool import Tools as Tools
    from antichain.asking import Question as Question
    from antichain.breaker import Breaker as Breaker
    from antichain.breaker import BreakerOpen as BreakerOpen
    from antichain.budget import Budget as Budget
    from antichain.context import Context as Context
    from antichain.core.facts import Chunk as Chunk
    from antichain.core.facts import NodeAnswered as NodeAnswered
    from antichain.core.facts import NodeAsks as NodeAsks
    from antichain.core.facts import NodeEnded as NodeEnded
    from antichain.core.facts import NodeEntered as NodeEntered
    from antichain.core.facts import NodeReady as NodeReady
    from antichain.core.facts import NodeRetrying as NodeRetrying
    from antichain.core.facts import NodeStarted as NodeStarted
    from antichain.core.facts import RunEnded as RunEnded
    from antichain.core.facts import RunStarted as RunStarted
    from antichain.errors import AntichainError as AntichainError
    from antichain.errors import BudgetSpent as BudgetSpent
    from antichain.errors import GraphError as GraphError
    from antichain.errors import InternalError as InternalError
    from antichain.errors import NobodyAnswers as NobodyAnswers
    from antichain.errors import NodeFailed as NodeFailed
    from antichain.errors import NodeTimeout as NodeTimeout
    from antichain.errors import NotStorable as NotStorable
    from antichain.errors import OwnershipLost as OwnershipLost
    from antichain.errors import RunExists as RunExists
    from antichain.errors import RunFailed as RunFailed
    from antichain.errors import RunnerError as RunnerError
    from antichain.errors import RunOwned as RunOwned
    from antichain.errors import RunTimeout as RunTimeout
    from antichain.errors import StoreDamaged as StoreDamaged
    from antichain.errors import StoreError as StoreError
    from antichain.errors import UnknownRun as UnknownRun
    from antichain.executors import GraphNode as GraphNode
    from antichain.executors import ParallelGraphExecutor as ParallelGraphExecutor
    from antichain.executors import ParallelStepExecutor as ParallelStepExecutor
    from antichain.executors import Step as Step
    from antichain.gathering import amap as amap
    from antichain.gathering import gather as gather
    from antichain.gathering import map as map
    from antichain.graph import Graph as Graph
    from antichain.graph import Node as Node
    from antichain.graph import value as value
    from antichain.hedge import Hedge as Hedge
    from antichain.limit import Limit as Limit
    from antichain.plan import Plan as Plan
    from antichain.policies import Backoff as Backoff
    from antichain.policies import Policies as Policies
    from antichain.policies import Retry as Retry
    from antichain.policies import Timeout as Timeout
    from antichain.policies.retryable import TRANSIENT as TRANSIENT
    from antichain.rate import Rate as Rate
    from antichain.record import FailedAttempt as FailedAttempt
    from antichain.record import NodeRecord as NodeRecord
    from antichain.record import RunResult as RunResult
    from antichain.retry_budget import RetryBudget as RetryBudget
    from antichain.simulation import Estimate as Estimate
    from antichain.stages import Outcome as Outcome
    from antichain.stores import MemoryStore as MemoryStore
    from antichain.stores import SqliteStore as SqliteStore
    from antichain.stores.codec import register_codec as register_codec

# Where each public name lives; it is imported when it is first used.
_HOMES = {
    "adaptive": ("Adaptive",),
    "agents.calls.run_calls": ("run_tool_calls", "run_tool_calls_sync"),
    "agents.tools.faults": ("ArgumentsInvalid",),
    "agents.calls.messages": ("ToolCall",),
    "agents.plans.plan_stream": ("PlanStream",),
    "agents.plans.refusal": ("PlanRefused",),
    "agents.plans.replan": ("replan",),
    "agents.calls.results": ("ToolMessages", "ToolResult"),
    "agents.calls.sanitize": ("Sanitizer",),
    "agents.tools.tool": ("Tool", "Tools"),
    "asking": ("Question",),
    "breaker": ("Breaker", "BreakerOpen"),
    "budget": ("Budget",),
    "context": ("Context",),
    "core.facts": (
        "Chunk",
        "NodeAnswered",
        "NodeAsks",
        "NodeEnded",
        "NodeEntered",
        "NodeReady",
        "NodeRetrying",
        "NodeStarted",
        "RunEnded",
        "RunStarted",
    ),
    "errors": (
        "AntichainError",
        "BudgetSpent",
        "GraphError",
        "InternalError",
        "NobodyAnswers",
        "NodeFailed",
        "NodeTimeout",
        "NotStorable",
        "OwnershipLost",
        "RunExists",
        "RunFailed",
        "RunOwned",
        "RunnerError",
        "RunTimeout",
        "StoreDamaged",
        "StoreError",
        "UnknownRun",
    ),
    "executors": ("GraphNode", "ParallelGraphExecutor", "ParallelStepExecutor", "Step"),
    "gathering": ("amap", "gather", "map"),
    "graph": ("Graph", "Node", "value"),
    "stages": ("Outcome",),
    "stores": ("MemoryStore", "SqliteStore"),
    "stores.codec": ("register_codec",),
    "plan": ("Plan",),
    "hedge": ("Hedge",),
    "limit": ("Limit",),
    "policies": ("Backoff", "Policies", "Retry", "Timeout"),
    "policies.retryable": ("TRANSIENT",),
    "rate": ("Rate",),
    "record": ("FailedAttempt", "NodeRecord", "RunResult"),
    "retry_budget": ("RetryBudget",),
    "simulation": ("Estimate",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__version__ = "0.1.0"
__all__ = [
    "Adaptive",
    "AntichainError",
    "ArgumentsInvalid",
    "Backoff",
    "Breaker",
    "BreakerOpen",
    "Budget",
    "BudgetSpent",
    "Chunk",
    "Context",
    "Estimate",
    "FailedAttempt",
    "Graph",
    "GraphError",
    "GraphNode",
    "Hedge",
    "InternalError",
    "Limit",
    "MemoryStore",
    "NobodyAnswers",
    "Node",
    "NodeAnswered",
    "NodeAsks",
    "NodeEnded",
    "NodeEntered",
    "NodeFailed",
    "NodeReady",
    "NodeRecord",
    "NodeRetrying",
    "NodeStarted",
    "NodeTimeout",
    "NotStorable",
    "Outcome",
    "OwnershipLost",
    "ParallelGraphExecutor",
    "ParallelStepExecutor",
    "Plan",
    "PlanRefused",
    "PlanStream",
    "Policies",
    "Question",
    "Rate",
    "Retry",
    "RetryBudget",
    "RunEnded",
    "RunExists",
    "RunFailed",
    "RunOwned",
    "RunResult",
    "RunStarted",
    "RunTimeout",
    "RunnerError",
    "Sanitizer",
    "SqliteStore",
    "Step",
    "StoreDamaged",
    "StoreError",
    "TRANSIENT",
    "Timeout",
    "Tool",
    "ToolCall",
    "ToolMessages",
    "ToolResult",
    "Tools",
    "UnknownRun",
    "__version__",
    "amap",
    "gather",
    "map",
    "register_codec",
    "replan",
    "run_tool_calls",
    "run_tool_calls_sync",
    "value",
]


# Any: any public name.
def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'antichain' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"antichain.{home}"), name)
    return value


def __dir__() -> list[str]:
    return [*__all__]
