"""Tells one service of apprise what is on standard input; the program that `notify` starts for each URL."""

import json
import logging
import os
import sys

from pipeline.retraining.notify import URL_VARIABLE


def main() -> int:
    """Send the message to the service whose URL is in the environment.

    Returns:
        0 where the service took it; otherwise 1, and what is on standard error says why.
    """
    # The rest of the package does without it.
    import apprise

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    event = json.load(sys.stdin)
    service = apprise.Apprise()
    if not service.add(os.environ[URL_VARIABLE]):
        print("apprise does not know such a URL; its documentation lists them by service", file=sys.stderr)
        return 1
    kinds = {"failure": "failure", "refused": "warning"}
    notify_type = kinds.get(event["kind"], "success")
    return 0 if service.notify(title=event["title"], body=event["body"], notify_type=notify_type) else 1


if __name__ == "__main__":
    sys.exit(main())
