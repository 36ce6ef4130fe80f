"""Shows the clients of Redis on a web page, from the messages on the status channel. Needs Python 3.10 or newer:

    pip install -r requirements.txt
    REDIS_URL=redis://127.0.0.1:6379 CHANNEL=__redis__:cli HOST=127.0.0.1 PORT=5000 python app.py

Every user that may publish on the channel can publish anything, so messages are checked, bounded and escaped.
Signatures are not verified.
"""
import json
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import redis
from flask import Flask, Response, jsonify, render_template
from redis.backoff import NoBackoff
from redis.retry import Retry

SCHEMA = "redis-client-status/2"
MAX_MESSAGE_BYTES, MAX_TEXT_LENGTH, MAX_PARTS = 64 * 1024, 512, 256
MAX_NODES, MAX_CLIENTS = 256, 100_000  # Clients of all nodes together.
PART_SECONDS, FORGET_SECONDS, MAX_BACKOFF_SECONDS = 60, 600, 30
Clients = dict[int, dict[str, Any]]
Key = tuple[str, str]  # The members redis and run_id.


class Refused(Exception):
    """A message is not used. The text is the reason."""


@dataclass
class Status:
    """The clients and totals of a node. It is incomplete until the last part has arrived."""
    announcer: str
    seq: int
    part: int
    clients: Clients
    totals: dict[str, Any]
    updated_at: float  # Both by the monotonic clock: when clients were received, and any message.
    received_at: float

    def is_announced(self, now: float) -> bool:
        """Returns true unless no message has arrived for 2.5 times the announced frequency."""
        return bool(now - self.received_at <= 2.5 * self.totals["frequency"])


def number(value: Any, maximum: int = 2**63, types: Any = int) -> Any:
    """Returns a number from 0 to a maximum."""
    if isinstance(value, bool) or not isinstance(value, types) or not 0 <= value <= maximum:
        raise ValueError("not a number in its range")
    return value


def text(value: Any) -> str:
    """Returns a text of limited length that can be encoded: JSON may contain half of a surrogate pair."""
    if not isinstance(value, str) or len(value) > MAX_TEXT_LENGTH:
        raise ValueError("not a text of this length")
    return value.encode("utf-8", "replace").decode("utf-8")


def application_clients(clients: list[dict[str, Any]], node: str) -> Clients:
    """Returns the clients by ID, without internal connections: those have a member `kind`."""
    rows = [{"id": number(client["id"]), "node": node, "last_interaction": text(client.get("last_interaction", "")),
             **{member: text(client.get(member, "")) for member in ("address", "name", "app")}}
            for client in clients if "kind" not in client]
    return {row["id"]: row for row in rows}


class RedisMonitor:
    """Subscribes to the status channel in the background, and keeps the newest complete status of each node."""

    def __init__(self, url: str, channel: str) -> None:
        self.channel = channel
        self._redis = redis.Redis.from_url(
            url, retry=Retry(NoBackoff(), 0), socket_timeout=10, socket_keepalive=True, health_check_interval=30)
        self._lock = threading.Lock()
        self._nodes: dict[Key, Status] = {}
        self._incomplete: dict[Key, Status] = {}
        self._refused: Counter[str] = Counter()
        self._error = "not connected yet"

    def start(self) -> None:
        """Starts the thread that subscribes. It ends with the program."""
        threading.Thread(target=self._subscribe, name="redis-monitor", daemon=True).start()

    def get_client_info(self) -> list[dict[str, Any]]:
        """Returns a copy of the known clients: id, address, name, app, last_interaction, node."""
        clients: list[dict[str, Any]] = self.snapshot()["clients"]
        return clients

    def snapshot(self) -> dict[str, Any]:
        """Returns a copy of everything known: nodes, clients, refused messages by reason, error of the connection."""
        with self._lock:
            now = time.monotonic()
            self._forget(now)
            nodes = [{"node": key[0], "run_id": key[1], **status.totals, "announced": status.is_announced(now),
                      "age_seconds": round(now - status.updated_at, 1)} for key, status in self._nodes.items()]
            clients = [dict(client) for status in self._nodes.values() for client in status.clients.values()]
            return {"nodes": nodes, "clients": clients, "refused": dict(self._refused), "error": self._error}

    def receive(self, data: bytes) -> None:
        """Applies one message. A message that cannot be used changes nothing but a counter."""
        with self._lock:
            try:
                if len(data) > MAX_MESSAGE_BYTES:
                    raise Refused("oversize")
                message = json.loads(data)
                if message["schema"] != SCHEMA:
                    raise Refused("schema")
                self._forget(time.monotonic())
                self._apply(message, time.monotonic())
            except Refused as refused:
                self._refused[str(refused)] += 1
            except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
                self._refused["malformed"] += 1

    def _apply(self, message: dict[str, Any], now: float) -> None:
        key = (text(message["redis"]), text(message["run_id"]))
        totals = {name: number(message[name]) for name in ("connections", "online")}
        totals["frequency"] = number(message["frequency"], 86_400, (int, float))
        totals["sampled_at"] = text(message["sampled_at"])
        node = self._nodes.get(key)
        if message["kind"] == "status":
            totals["truncated"] = number(message["truncated"])
            self._add_part(key, message, totals, now)
        elif message["kind"] == "changes" and node:
            opened = application_clients(message["opened"], key[0])
            closed = {number(client["id"]) for client in message["closed"]}
            self._refuse_if_full(len(opened))
            node.clients = {id: client for id, client in (node.clients | opened).items() if id not in closed}
            node.totals, node.updated_at = node.totals | totals, now
        if node:
            node.received_at = now

    def _add_part(self, key: Key, message: dict[str, Any], totals: dict[str, Any], now: float) -> None:
        """Adds a part to the status of this announcer and seq. The last part replaces the status that is shown."""
        announcer, seq, part = text(message["announcer"]), number(message["seq"]), number(message["part"], MAX_PARTS)
        clients = application_clients(message["clients"], key[0])
        before = self._incomplete.pop(key, None)
        if part > 1:  # Parts arrive in order.
            if not before or (before.announcer, before.seq, before.part + 1) != (announcer, seq, part):
                raise Refused("incomplete")
            clients = before.clients | clients
        self._refuse_if_full(len(clients))
        statuses = self._nodes if part == number(message["parts"], MAX_PARTS) else self._incomplete
        if key not in statuses and len(statuses) >= MAX_NODES:
            raise Refused("full")
        statuses[key] = Status(announcer, seq, part, clients, totals, now, now)

    def _refuse_if_full(self, added: int) -> None:
        statuses = [*self._nodes.values(), *self._incomplete.values()]
        if added + sum(len(status.clients) for status in statuses) > MAX_CLIENTS:
            raise Refused("full")

    def _forget(self, now: float) -> None:
        """Forgets statuses without a message, and what a restarted server was before."""
        announced = {key[0] for key, status in self._nodes.items() if status.is_announced(now)}
        self._nodes = {key: status for key, status in self._nodes.items() if now - status.received_at < FORGET_SECONDS
                       and (status.is_announced(now) or key[0] not in announced)}
        self._incomplete = {key: one for key, one in self._incomplete.items() if now - one.received_at < PART_SECONDS}

    def _subscribe(self) -> None:
        """Receives messages without end. After an error it waits, each time twice as long, and subscribes again."""
        backoff = 1
        while True:
            try:
                with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:
                    pubsub.subscribe(self.channel)
                    while True:
                        message = pubsub.get_message(timeout=5)
                        self._error, backoff = "", 1
                        if message:
                            self.receive(message["data"])
            except (redis.RedisError, OSError, ValueError) as error:
                self._error = type(error).__name__  # Its text may contain the address.
            time.sleep(backoff)
            backoff = min(2 * backoff, MAX_BACKOFF_SECONDS)


def create_app(monitor: RedisMonitor) -> Flask:
    """Returns the web application of a monitor."""
    app = Flask(__name__)

    @app.get("/clients.json")
    def clients_json() -> Response:
        return jsonify(monitor.snapshot())

    @app.get("/clients")
    def clients() -> str:
        return render_template("clients.html", channel=monitor.channel, **monitor.snapshot())

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
        response.headers.update({"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"})
        return response

    return app


if __name__ == "__main__":
    redis_monitor = RedisMonitor(
        os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"), os.environ.get("CHANNEL", "__redis__:cli"))
    redis_monitor.start()
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "5000"))
    create_app(redis_monitor).run(host=host, port=port, debug=False)
