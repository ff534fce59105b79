"""
Every name that spans and metrics carry, in one place: whoever renames one breaks somebody's dashboard.

Names of others (OpenTelemetry's semantic conventions) are written out here too, so that no release of theirs renames
ours. Those for generative AI are still in development there: they are told only to those who ask, by
`OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental`.
"""

from typing import Final

# Who says it: the instrumentation scope.
SCOPE: Final = "antichain"

# -- spans

# The span of a run. That of an attempt has the name of its node; instances of a mapped stage have that of the stage.
RUN_SPAN: Final = "parallel_executor.execute"

RUN_ID: Final = "antichain.run.id"
RUN_STATUS: Final = "antichain.run.status"
RUN_MAX_CONCURRENT: Final = "antichain.run.max_concurrent"
# Texts `name=size`.
RUN_LIMITS: Final = "antichain.run.limits"
GRAPH_NAME: Final = "antichain.graph.name"
GRAPH_NODES: Final = "antichain.graph.nodes"

NODE_ID: Final = "antichain.node.id"
NODE_ATTEMPT: Final = "antichain.node.attempt"
# Seconds from the instant at which the attempt could start to that at which it did; also a metric.
NODE_QUEUE_WAIT: Final = "antichain.node.queue_wait"
# Texts `name=slots`.
NODE_LIMITS: Final = "antichain.node.limits"
# What became of the node, where that is not plain success.
NODE_STATE: Final = "antichain.node.state"
NODE_REASON: Final = "antichain.node.reason"
# The attempt did not end when it was asked to, and was left behind.
NODE_ABANDONED: Final = "antichain.node.abandoned"
# Seconds until the next attempt.
NODE_RETRY_DELAY: Final = "antichain.node.retry_delay"

# The event of an attempt's span when it asks a person, and the one when it does not wait any more; with the question's
# text, and its number.
ASKS_EVENT: Final = "antichain.node.asks"
ANSWERED_EVENT: Final = "antichain.node.answered"
QUESTION_TEXT: Final = "antichain.question.text"
QUESTION_NUMBER: Final = "antichain.question.number"

# -- metrics

EXECUTIONS: Final = "antichain.node.executions"
DURATION: Final = "antichain.node.duration"
ERRORS: Final = "antichain.node.errors"
IN_FLIGHT: Final = "antichain.node.in_flight"
QUEUE_WAIT: Final = NODE_QUEUE_WAIT
LIMIT_SIZE: Final = "antichain.limit.size"
LIMIT_USED: Final = "antichain.limit.used"
LIMIT_PAUSE: Final = "antichain.limit.pause"
LIMIT_WAIT: Final = "antichain.limit.wait"
LIMIT_NAME: Final = "antichain.limit.name"

# -- semantic conventions, stable

ERROR_TYPE: Final = "error.type"
EXCEPTION_EVENT: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"

# -- semantic conventions for generative AI, in development

OPT_IN: Final = "OTEL_SEMCONV_STABILITY_OPT_IN"
OPT_IN_GENAI: Final = "gen_ai_latest_experimental"
GENAI_OPERATION: Final = "gen_ai.operation.name"
GENAI_INVOKE_WORKFLOW: Final = "invoke_workflow"
GENAI_WORKFLOW: Final = "gen_ai.workflow.name"
