"""Prints the number of connected and online clients of each node, and the last interaction of each client.

Needs redis-py: pip install redis. In a cluster, one node sends the statuses of all.
"""
import json
import os
from datetime import datetime

import redis

client = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"))
pubsub = client.pubsub(ignore_subscribe_messages=True)
pubsub.subscribe("__redis__:cli")
for message in pubsub.listen():
    status = json.loads(message["data"])
    if status["kind"] == "status":
        print(f"connections {status['connections']} online {status['online']} on {status['redis']}", flush=True)
        for one in status["clients"]:
            if "last_interaction" in one:
                last = datetime.fromisoformat(one["last_interaction"].replace("Z", "+00:00")).astimezone().isoformat()
                print(f"{one['id']} {one.get('name', '')!r} {one.get('address', '')} {last}", flush=True)
