#!/bin/sh
# Prints the number of connected and online clients for each status of a node. Needs redis-client-exporter on PATH, and sed. With jq:
#   … | jq -r 'select(.kind == "status") | .clients[] | select(.last_interaction) | [.id, .name, .last_interaction] | @tsv'
redis-client-exporter watch --redis.addr "${REDIS_URL:-redis://127.0.0.1:6379}" --format json "$@" |
  sed -un 's/^{"schema":"[^"]*","kind":"status","announcer":"[^"]*","redis":"\([^"]*\)".*"connections":\([0-9]*\),"online":\([0-9]*\),"silent".*/connections \2 online \3 on \1/p'
