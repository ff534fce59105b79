"""
The demo's run in a process of its own, which `antichain demo --kill` kills: what to run is its one argument, as JSON.
"""

import json
import sys


def main(given: str) -> None:
    """
    Run the graph, stored.
    """
    from antichain.demo.graph import research
    from antichain.views.progress import open_progress

    url, questions, seed, name, store, run_id = json.loads(given)
    research(url, questions, seed, name).run(store=store, run_id=run_id, listeners=[open_progress()])


if __name__ == "__main__":
    main(sys.argv[1])
