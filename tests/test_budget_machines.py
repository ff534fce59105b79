"""
Retry budgets and budgets as state machines: random signals, and after each of them what a written rule says, computed
anew from all that ever happened.
"""

from fractions import Fraction
from itertools import accumulate

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from antichain.budget import Budget
from antichain.policies.retry_budget import RetryTokens
from antichain.retry_budget import RetryBudget
from tests.test_policy_machines import run_machine

SHARES = st.sampled_from(["0", "0.1", "0.2", "0.25", "0.3", "0.000001", "1", "1.5"])


class RetryBudgetMachine(RuleBasedStateMachine):
    """
    The table of a budget with a share s and a reserve r, where b is what it holds:

    | signal    | b before | answer | b after       |
    | --------- | -------- | ------ | ------------- |
    | (begin)   |          |        | r             |
    | call ends | b        |        | min(r, b + s) |
    | retry?    | b >= 1   | yes    | b - 1         |
    | retry?    | b < 1    | no     | b             |
    | not made  | b        |        | min(r, b + 1) |
    """

    @initialize(share=SHARES, reserve=st.sampled_from(["1", "2", "3.5", "10"]))
    def begin(self, share: str, reserve: str) -> None:
        self.share, self.reserve = Fraction(share), Fraction(reserve)
        self.tokens = RetryTokens(float(share), float(reserve))
        self.budget = RetryBudget(float(share), float(reserve))
        # Every signal that ever came, with its answer.
        self.history: list[str] = []
        self.pending = False

    def holds(self) -> Fraction:
        """Follow the table from the very beginning."""
        left = self.reserve
        for signal in self.history:
            if signal == "call":
                left = min(self.reserve, left + self.share)
            elif signal == "retry":
                left -= 1
            elif signal == "not made":
                left = min(self.reserve, left + 1)
        return left

    @rule(times=st.integers(1, 7))
    def calls_end(self, times: int) -> None:
        for _ in range(times):
            self.tokens.call_ended()
            self.budget.call_ended()
            self.history.append("call")
        self.pending = False

    @rule()
    def a_retry_is_wanted(self) -> None:
        expected = self.holds() >= 1
        assert self.tokens.spend() is self.budget.spend() is expected
        self.history.append("retry" if expected else "refused")
        self.pending = expected

    @precondition(lambda self: getattr(self, "pending", False))
    @rule()
    def the_retry_is_not_made_after_all(self) -> None:
        """Another budget has refused it."""
        self.tokens.give_back()
        self.budget.give_back()
        self.history.append("not made")
        self.pending = False

    @invariant()
    def is_as_written(self) -> None:
        if not hasattr(self, "tokens"):
            return
        assert Fraction(self.tokens.tokens, 1_000_000) == self.holds()
        made = self.history.count("retry") - self.history.count("not made")
        assert (self.budget.calls, self.budget.retries) == (self.history.count("call"), made)
        assert self.budget.refused == self.history.count("refused")

    @invariant()
    def no_stretch_has_more_than_its_share(self) -> None:
        """Wherever it begins and ends: retries <= reserve + share * calls."""
        signals = getattr(self, "history", [])
        worth = {"call": -getattr(self, "share", Fraction(0)), "retry": Fraction(1), "not made": Fraction(-1)}
        sums = list(accumulate((worth.get(signal, Fraction(0)) for signal in signals), initial=Fraction(0)))
        lowest = Fraction(0)
        for total in sums:
            lowest = min(lowest, total)
            assert total - lowest <= self.reserve if signals else True


class BudgetMachine(RuleBasedStateMachine):
    """
    The table of a budget, where u is all that was used of a unit, and k what of it a kept run has told:

    | signal                    | u after            | k after    |
    | ------------------------- | ------------------ | ---------- |
    | something uses n          | u + n              |            |
    | a kept run uses n         | u + n              | k + n      |
    | a kept run had used n     | u + max(0, n - k)  | max(n, k)  |

    It is used up once u reaches the limit of the unit, for good; the first unit of those is named.
    """

    UNITS = ("tokens", "usd", "pages")

    @initialize(tokens=st.integers(1, 300), usd=st.integers(1, 40))
    def begin(self, tokens: int, usd: int) -> None:
        self.limits = {"tokens": tokens, "usd": usd}
        self.budget = Budget(tokens=tokens, usd=usd)
        self.told = 0
        self.budget.watch(self.hear)
        # Every amount that counts: who, unit, amount.
        self.history: list[tuple[str | None, str, int]] = []
        self.was_spent = False

    def hear(self) -> None:
        self.told += 1

    def used(self, unit: str, who: str | None = None) -> int:
        return sum(n for run, name, n in self.history if name == unit and who in (None, run))

    @rule(
        who=st.sampled_from([None, None, "r", "s"]),
        used=st.dictionaries(st.sampled_from(UNITS), st.integers(0, 30), max_size=3),
    )
    def something_is_used(self, who: str | None, used: dict[str, int]) -> None:
        before = self.told
        self.budget.count(used, who)
        self.history += [(who, unit, n) for unit, n in used.items()]
        assert self.told == before + self.is_spent()

    @rule(
        who=st.sampled_from(["r", "s"]),
        had=st.dictionaries(st.sampled_from(UNITS), st.integers(0, 60), max_size=3),
    )
    def a_kept_run_goes_on(self, who: str, had: dict[str, int]) -> None:
        self.budget.recall(who, had)
        more = {unit: max(0, n - self.used(unit, who)) for unit, n in had.items()}
        self.history += [(who, unit, n) for unit, n in more.items()]

    def is_spent(self) -> bool:
        return any(self.used(unit) >= limit for unit, limit in self.limits.items())

    @invariant()
    def is_as_written(self) -> None:
        if not hasattr(self, "budget"):
            return
        budget = self.budget
        assert {unit: n for unit, n in budget.used.items() if n} == {
            unit: self.used(unit) for unit in self.UNITS if self.used(unit)
        }
        assert budget.left == {unit: max(0, limit - self.used(unit)) for unit, limit in self.limits.items()}
        out = [unit for unit, limit in self.limits.items() if self.used(unit) >= limit]
        assert (None if budget.spent is None else budget.spent.unit) == (out[0] if out else None)
        assert not self.was_spent or out
        self.was_spent = bool(out)


def test_a_retry_budget_follows_its_table() -> None:
    run_machine(RetryBudgetMachine)


def test_a_budget_follows_its_table() -> None:
    run_machine(BudgetMachine)
