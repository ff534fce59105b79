"""
CPU time of one statement in an interpreter of its own; prints JSON.
"""

import json
import resource
import subprocess
import sys


def main() -> None:
    subprocess.run([sys.executable, "-c", sys.argv[1]], check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps({"cpu_s": used.ru_utime + used.ru_stime}))


if __name__ == "__main__":
    main()
