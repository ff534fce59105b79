"""
Serve by hand until Ctrl-C: `python -m antichain.testing.provider --allowed 8 --latency 0.2`.
"""

import argparse
import signal
import sys
import threading
from collections import Counter
from collections.abc import Sequence

from antichain.testing.provider import Failure, FakeProvider, Quota, RetryAfter


def delay(text: str) -> float | tuple[float, float]:
    """
    Read `0.2`, or `0.1,0.3` for something between.
    """
    low, _, high = text.partition(",")
    return (float(low), float(high)) if high else float(low)


def failure(text: str) -> Failure:
    """
    Read `500`, `hang`, or `500:0.1` for a tenth of the calls.
    """
    kind, _, share = text.partition(":")
    return Failure(int(kind) if kind.isdigit() else kind, share=float(share or 1))  # type: ignore[arg-type]  # it checks


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """
    Read the command line.
    """
    parser = argparse.ArgumentParser("python -m antichain.testing.provider", description=FakeProvider.__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Serve a scripted OpenAI-compatible API on loopback, and print its URL."
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=delay, default=0.0, metavar="S[,S]", help="seconds, or from,to")
    parser.add_argument("--pace", type=delay, default=0.0, metavar="S[,S]", help="seconds between chunks of a stream")
    parser.add_argument("--allowed", type=int, metavar="N", help="calls at once; more get a 429")
    parser.add_argument("--queue", action="store_true", help="let more wait instead")
    parser.add_argument("--retry-after", type=float, metavar="S", help="what a 429 says")
    parser.add_argument("--requests", type=int, metavar="N", help="requests in any --per seconds")
    parser.add_argument("--tokens", type=int, metavar="N", help="tokens in any --per seconds")
    parser.add_argument("--per", type=float, default=60.0, metavar="S")
    failures = "status, hang, drop, cut, stall, malformed or slow, and a share of the calls"
    parser.add_argument("--fail", type=failure, action="append", default=[], metavar="KIND[:SHARE]", help=failures)
    parser.add_argument("--api-key")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Serve until Ctrl-C or SIGTERM, then say what happened.
    """
    given = read_arguments(arguments)
    limited = given.requests or given.tokens
    provider = FakeProvider(
        port=given.port,
        latency=given.latency,
        pace=given.pace,
        allowed=given.allowed,
        queue=given.queue,
        retry_after=given.retry_after if given.retry_after is None else RetryAfter(given.retry_after),
        quota=Quota(given.requests, given.tokens, given.per) if limited else (),
        failures=given.fail,
        api_key=given.api_key,
        seed=given.seed,
    )
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    with provider:
        sys.stdout.write(f"{provider.url}\n")
        sys.stdout.flush()
        over.wait()
    outcomes = Counter(each.outcome for each in provider.log)
    told = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())
    sys.stdout.write(f"{len(provider.log)} calls, at most {provider.peak} at once: {told or 'none'}\n")


if __name__ == "__main__":
    main()
