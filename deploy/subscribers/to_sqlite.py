"""Loads statuses into SQLite: redis-client-exporter watch --format json | python3 to_sqlite.py clients.db

    SELECT app, count(*), max(at - last_interaction) FROM latest_clients GROUP BY app;
"""
import json
import sqlite3
import sys

SCHEMA = """
CREATE TABLE IF NOT EXISTS statuses (node, run_id, announcer, seq INT, at REAL, connections INT, online INT, silent INT,
    truncated INT, PRIMARY KEY (announcer, node, seq));
CREATE TABLE IF NOT EXISTS clients (node, run_id, at REAL, id INT, addr, name, user, app, kind, age INT, idle INT,
    last_interaction INT, PRIMARY KEY (node, run_id, at, id));
CREATE VIEW IF NOT EXISTS latest_clients AS
    SELECT * FROM clients JOIN (SELECT node, max(at) AS at FROM clients GROUP BY node) USING (node, at);
"""
COLUMNS = {
    "statuses": "node run_id announcer seq at connections online silent truncated".split(),
    "clients": "node run_id at id addr name user app kind age idle last_interaction".split(),
}


def insert(database, table, row):
    columns = COLUMNS[table]
    marks = ", ".join("?" * len(columns))
    database.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", [row.get(column) for column in columns])


database = sqlite3.connect(sys.argv[1])
database.executescript(SCHEMA)
for line in sys.stdin:
    status = json.loads(line)
    if status["kind"] == "status":
        with database:
            insert(database, "statuses", status)
            for client in status["clients"]:
                insert(database, "clients", {"age": 0, "idle": 0, **status, **client, "kind": client.get("kind", "application")})
