"""Loads statuses into SQLite: redis-client-exporter watch --format json | python3 to_sqlite.py clients.db

    SELECT app, count(*), max(strftime('%s', sampled_at) - strftime('%s', last_interaction)) FROM latest_clients GROUP BY app;
"""
import json
import sqlite3
import sys

SCHEMA = """
CREATE TABLE IF NOT EXISTS statuses (redis, run_id, announcer, seq INT, sampled_at, connections INT, online INT, silent INT,
    opened_total INT, closed_total INT, truncated INT, PRIMARY KEY (announcer, redis, seq));
CREATE TABLE IF NOT EXISTS clients (redis, run_id, sampled_at, id INT, address, name, user, app, kind, age_seconds INT,
    idle_seconds INT, last_interaction, PRIMARY KEY (redis, run_id, sampled_at, id));
CREATE VIEW IF NOT EXISTS latest_clients AS
    SELECT * FROM clients JOIN (SELECT redis, max(sampled_at) AS sampled_at FROM clients GROUP BY redis) USING (redis, sampled_at);
"""
COLUMNS = {
    "statuses": "redis run_id announcer seq sampled_at connections online silent opened_total closed_total truncated".split(),
    "clients": "redis run_id sampled_at id address name user app kind age_seconds idle_seconds last_interaction".split(),
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
                insert(database, "clients", {"age_seconds": 0, "idle_seconds": 0, **status, **client, "kind": client.get("kind", "application")})
