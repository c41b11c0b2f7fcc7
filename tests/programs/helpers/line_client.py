"""line_client.py PORT LINES: says some lines one after the other, then all at once; prints the answers' checksum."""

import hashlib
import socket
import sys

port, count = int(sys.argv[1]), int(sys.argv[2])
lines = [b"%d + %d\n" % (n, n) for n in range(count)]
sum = hashlib.sha256()
with socket.create_connection(("127.0.0.1", port), timeout=15) as connection, connection.makefile("rwb") as file:
    for line in lines:
        file.write(line)
        file.flush()
        answer = file.readline()
        assert answer.endswith(b"\n"), answer
        sum.update(answer)
    file.write(b"".join(lines * 20))
    file.flush()
    connection.shutdown(socket.SHUT_WR)
    rest = file.read()
    sum.update(rest)
print(len(rest), sum.hexdigest())
