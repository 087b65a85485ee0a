"""``python -m rtproxy.ticket``: the command that mints a ticket (`rtproxy.door.ticket`)."""

import sys

from rtproxy.door.ticket import main

if __name__ == "__main__":
    sys.exit(main())
