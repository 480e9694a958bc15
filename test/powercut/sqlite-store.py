"""The SQLite control: `work` uses a table in WAL mode until it kills itself, `check` tells what is in it after a cut."""
import json
import os
import random
import signal
import sqlite3
import struct
import sys


def payload(number, size):
    return random.Random(number).randbytes(size)


def connect(directory, synchronous):
    os.makedirs(directory, exist_ok=True)
    base = sqlite3.connect(os.path.join(directory, "rows.db"), isolation_level=None)
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("PRAGMA synchronous=" + synchronous)
    base.execute("PRAGMA wal_autocheckpoint=40")
    base.execute("CREATE TABLE IF NOT EXISTS rows(id INTEGER PRIMARY KEY AUTOINCREMENT, size INTEGER, payload BLOB)")
    return base


def insert(base, number, size):
    base.execute("INSERT INTO rows(id, size, payload) VALUES(?, ?, ?)", (number, size, payload(number, size)))


def work(directory, log_path, synchronous, seed):
    log = open(log_path, "rb", buffering=0)
    count = 0

    def entries():
        return struct.unpack("<Q", os.pread(log.fileno(), 8, 16))[0]

    def note(**fact):
        os.write(1, (json.dumps(fact) + "\n").encode())

    chance = random.Random(seed)
    note(kind="opening", at=entries())
    base = connect(directory, synchronous)
    note(kind="opened", at=entries())
    for commit in range(1, 101):
        first = count + 1
        count += chance.choice([1, 1, 1, 8])
        for number in range(first, count + 1):
            note(kind="appending", stream="rows", id=str(number), at=entries())
        base.execute("BEGIN")
        for number in range(first, count + 1):
            insert(base, number, chance.randrange(300))
        base.execute("COMMIT")
        at = entries()
        for number in range(first, count + 1):
            note(kind="stored", stream="rows", id=str(number), seq=number, logId="", at=at)
        if commit % 5 == 0:
            through = max(0, count - chance.randrange(12))
            note(kind="acknowledging", stream="rows", through=through, at=entries())
            base.execute("DELETE FROM rows WHERE id <= ?", (through,))
            note(kind="durable", stream="rows", through=through, at=entries())
    os.kill(os.getpid(), signal.SIGKILL)


def read(base):
    wrong = []
    numbers = []
    for number, size, data in base.execute("SELECT id, size, payload FROM rows ORDER BY id"):
        numbers.append(number)
        if data != payload(number, size):
            wrong.append(number)
    return numbers, wrong


def check(directory, synchronous):
    base = connect(directory, synchronous)
    integrity = base.execute("PRAGMA integrity_check").fetchone()[0]
    numbers, wrong = read(base)
    added = 1_000_000
    insert(base, added, 200)
    base.close()
    base = connect(directory, synchronous)
    after, wrong_after = read(base)
    base.close()
    print(json.dumps({"integrity": integrity, "numbers": numbers, "wrong": wrong + wrong_after,
                      "isKept": after == numbers + [added]}))


if sys.argv[1] == "work":
    work(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
else:
    check(sys.argv[2], sys.argv[3])
