"""Traps that record every connection, look-up and datagram that a Python process and its children attempt.

As `sitecustomize`, in a folder of PYTHONPATH: each Python process imports it before anything else. Attempts are
refused and written to the file that NEUROLOCAL_SILENCE names. Sockets of this machine alone (AF_UNIX, pairs) pass; so
does a bind to a loopback port, by which urllib3 asks at its import whether there is IPv6. With
NEUROLOCAL_SILENCE_LOOPBACK all that names loopback passes, which the tests of servers need.
"""

TRAPS = """
import ipaddress, os, socket, sys

EVENTS = {
    "socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname",
    "socket.gethostbyaddr", "socket.getnameinfo", "socket.bind",
}

def of_this_machine(what):
    address = next((a for a in what if isinstance(a, tuple)), what)
    host = address[0] if address else None
    host = host.decode() if isinstance(host, bytes) else host
    if host in (None, "", "localhost", socket.gethostname()):
        return True
    try:
        number = ipaddress.ip_address(host)
    except ValueError:  # a name, which is looked up elsewhere
        return False
    return number.is_loopback or number.is_unspecified

def watch(event, arguments):
    if event in EVENTS:
        first = arguments[0] if arguments else None
        if isinstance(first, socket.socket) and first.family not in (socket.AF_INET, socket.AF_INET6):
            return
        if event == "socket.bind" and arguments[1][0] in ("127.0.0.1", "::1"):
            return
        what = arguments[1:] if isinstance(first, socket.socket) else arguments
        if os.environ.get("NEUROLOCAL_SILENCE_LOOPBACK") and of_this_machine(what):
            return
        with open(os.environ["NEUROLOCAL_SILENCE"], "a") as file:
            file.write(f"{event} {what} by {sys.argv}\\n")
        raise OSError(f"trapped: {event}")

sys.addaudithook(watch)
"""
