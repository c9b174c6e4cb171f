"""`python -m tests.simulation`: replay a history, search more of them, print the tables of red controls and mutants."""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.simulation import failing_rules, guarantees, hop_model, mutants, small_scope
from tests.simulation import soak as soaking
from tests.simulation.histories import explain, live, live_many, report


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when every promise holds, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    history = commands.add_parser("history", help="live one seed and print what happened")
    history.add_argument("--seed", type=int, required=True)
    many = commands.add_parser("histories", help="live many seeds on every core")
    many.add_argument("--first", type=int, default=0)
    many.add_argument("--count", type=int, default=2_000)
    scope = commands.add_parser("scope", help="every n-th scenario of the small scope")
    scope.add_argument("--stride", type=int, default=1_000)
    hops = commands.add_parser("hops", help="search the hop model breadth first")
    hops.add_argument("--states", type=int, default=200_000)
    commands.add_parser("rules", help="the rules that fail, each with its counterexample")
    commands.add_parser("mutants", help="every mutant with the test that kills it")
    soak = commands.add_parser("soak", help="long histories through the handlers, 1 %% of every fault")
    soak.add_argument("--minutes", type=float, default=60.0)
    soak.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    commands.add_parser("guarantees", help="write docs/GUARANTEES.md")
    chosen = parser.parse_args(arguments)
    started = time.monotonic()
    status = 0
    if chosen.command == "history":
        lived = live(chosen.seed)
        print("\n".join(lived.log))
        print(explain(lived) if lived.broken else f"seed {chosen.seed} keeps every promise")
        status = int(bool(lived.broken))
    elif chosen.command == "histories":
        batch = live_many(chosen.first, chosen.count)
        print(report([batch]))
        for lived in batch.failing[:1]:
            print(explain(lived))
        status = int(bool(batch.failing))
    elif chosen.command == "scope":
        for number, family in enumerate(small_scope.FAMILIES):
            verdict = small_scope.slice_of(number, 0, chosen.stride)
            print(
                f"{family.__name__}: {verdict.deliveries} deliveries, {verdict.merges} merges, "
                f"{verdict.wrong or '0 wrong'}"
            )
            status |= int(bool(verdict.wrong))
    elif chosen.command == "hops":
        searched = hop_model.search(hop_model.Model(), chosen.states)
        print(f"{searched.states} states, {searched.steps} steps, lost: {'; '.join(searched.loss) or 'nothing'}")
        status = int(bool(searched.loss))
    elif chosen.command == "rules":
        print(failing_rules.table())
    elif chosen.command == "mutants":
        print(mutants.table())
        # Imported here: only this command needs Spark.
        from tests.spark import mutants as spark_mutants

        print(spark_mutants.table())
    elif chosen.command == "soak":
        status = int(bool(soaking.soak(chosen.minutes * 60, chosen.processes).broken))
    else:
        guarantees.write()
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
