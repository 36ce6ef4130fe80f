"""Python frameworks, each connected to Redis as its documentation shows.

frameworks.py                         prints the frameworks, one a line
frameworks.py FRAMEWORK               connects as it does by default
frameworks.py FRAMEWORK named         connects with the client name "billing"

Prints the version and the line that sets the name as JSON, then "ready": once it is connected or, if it is a worker,
once it has run a job. Keeps the connections until it is killed or its standard input ends. REDIS_URL names the server.

Each function is one framework. The line below its `if NAMED:` is the line that docs/frameworks.md shows.
"""

import asyncio
import importlib.metadata
import inspect
import json
import os
import re
import sys

sys.dont_write_bytecode = True
from jobs import ready

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379")
NAMED = sys.argv[2:] == ["named"]
FRAMEWORKS = {}


def framework(name, distribution=None):
    """Enters a function into the table; the version is that of the distribution on PyPI."""

    def enter(function):
        FRAMEWORKS[name] = (function, distribution or name)
        return function

    return enter


def apart(act):
    """Does something in a process of its own, so that its connections are not the worker's."""
    child = os.fork()
    if child == 0:
        act()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, "the job was not sent"


def wait():
    """Returns when standard input ends."""
    sys.stdin.read()


async def hold():
    """Tells that an asynchronous framework is connected, and keeps its event loop running."""
    ready()
    await asyncio.to_thread(wait)


@framework("redis-py", "redis")
def redis_py():
    import redis

    if NAMED:
        client = redis.Redis.from_url(URL + "?client_name=billing")
    else:
        client = redis.Redis.from_url(URL)
    client.ping()
    ready()
    wait()


@framework("redis-py (driver_info)", "redis")
def redis_py_driver_info():
    import redis

    if NAMED:
        client = redis.Redis.from_url(URL, driver_info=redis.DriverInfo().add_upstream_driver("billing", "1.4.0"))
    else:
        client = redis.Redis.from_url(URL)
    client.ping()
    ready()
    wait()


@framework("redis-py (asyncio)", "redis")
def redis_py_asyncio():
    import redis.asyncio

    async def main():
        if NAMED:
            client = redis.asyncio.Redis.from_url(URL, client_name="billing")
        else:
            client = redis.asyncio.Redis.from_url(URL)
        await client.ping()
        await hold()

    asyncio.run(main())


@framework("valkey-py", "valkey")
def valkey_py():
    import valkey

    if NAMED:
        client = valkey.Valkey.from_url(URL + "?client_name=billing")
    else:
        client = valkey.Valkey.from_url(URL)
    client.ping()
    ready()
    wait()


@framework("valkey-glide (Python)", "valkey-glide")
def valkey_glide():
    from glide import GlideClient, GlideClientConfiguration, NodeAddress

    host, port = URL.removeprefix("redis://").split(":")
    address = NodeAddress(host, int(port))
    if NAMED:
        config = GlideClientConfiguration([address], client_name="billing")
    else:
        config = GlideClientConfiguration([address])

    async def main():
        client = await GlideClient.create(config)
        await client.ping()
        await hold()

    asyncio.run(main())


@framework("coredis")
def coredis_client():
    import coredis

    if NAMED:
        unconnected = coredis.Redis.from_url(URL, client_name="billing")
    else:
        unconnected = coredis.Redis.from_url(URL)

    async def main():
        async with unconnected as client:
            await client.ping()
            await hold()

    asyncio.run(main())


@framework("Celery", "celery")
def celery():
    """A worker, with results kept in Redis too."""
    from celery import Celery
    from celery.signals import task_postrun

    app = Celery("shop", broker=URL, backend=URL)
    if NAMED:
        app.conf.update(broker_transport_options={"client_name": "billing"}, redis_client_name="billing")

    @app.task
    def job():
        return "done"

    # Once the result is stored, so that the connection to the result backend is there too.
    task_postrun.connect(lambda **_: ready(), weak=False)
    app.conf.worker_redirect_stdouts = False
    apart(job.delay)
    app.worker_main(["worker", "--pool", "solo", "--loglevel", "ERROR"])


@framework("kombu")
def kombu():
    from kombu import Connection

    if NAMED:
        connection = Connection(URL, transport_options={"client_name": "billing"})
    else:
        connection = Connection(URL)
    with connection:
        connection.SimpleQueue("mail").put("hello")
        ready()
        wait()


@framework("rq")
def rq():
    import redis
    from rq import Queue, Worker

    apart(lambda: Queue("mail", connection=redis.Redis.from_url(URL)).enqueue(ready))
    if NAMED:
        worker = Worker(["mail"], name="billing-1", connection=redis.Redis.from_url(URL + "?client_name=billing"))
    else:
        worker = Worker(["mail"], connection=redis.Redis.from_url(URL))
    worker.work(logging_level="ERROR")


@framework("huey")
def huey():
    from huey import RedisHuey

    if NAMED:
        queue = RedisHuey("mail", url=URL + "?client_name=billing")
    else:
        queue = RedisHuey("mail", url=URL)
    job = queue.task()(ready)
    apart(job)
    queue.create_consumer(workers=2).run()


@framework("huey (client_name)", "huey")
def huey_client_name():
    from huey import RedisHuey

    if NAMED:
        queue = RedisHuey("mail", url=URL, client_name="billing")
    else:
        queue = RedisHuey("mail", url=URL)
    job = queue.task()(ready)
    apart(job)
    queue.create_consumer(workers=2).run()


@framework("arq")
def arq():
    from arq import create_pool
    from arq.connections import ArqRedis, ConnectionPool, RedisSettings
    from arq.worker import Worker

    async def job(_context):
        ready()

    async def enqueue():
        pool = await create_pool(RedisSettings.from_dsn(URL))
        await pool.enqueue_job("ready")

    job.__qualname__ = "ready"
    apart(lambda: asyncio.run(enqueue()))
    asyncio.set_event_loop(asyncio.new_event_loop())
    if NAMED:
        worker = Worker([job], redis_pool=ArqRedis(ConnectionPool.from_url(URL, client_name="billing")))
    else:
        worker = Worker([job], redis_settings=RedisSettings.from_dsn(URL))
    worker.run()


@framework("dramatiq")
def dramatiq():
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker

    if NAMED:
        broker = RedisBroker(url=URL + "?client_name=billing")
    else:
        broker = RedisBroker(url=URL)
    dramatiq.set_broker(broker)
    job = dramatiq.actor(ready)
    apart(job.send)
    dramatiq.Worker(broker, worker_threads=2).start()
    wait()


@framework("saq")
def saq():
    from saq import Queue, Worker

    async def job(_context):
        ready()

    async def enqueue():
        await Queue.from_url(URL).enqueue("ready")

    async def main():
        if NAMED:
            queue = Queue.from_url(URL + "?client_name=billing")
        else:
            queue = Queue.from_url(URL)
        await Worker(queue, functions=[job]).start()

    job.__qualname__ = "ready"
    apart(lambda: asyncio.run(enqueue()))
    asyncio.run(main())


def django(cache):
    """Sets Django up with a cache."""
    import django
    from django.conf import settings

    settings.configure(CACHES={"default": cache})
    django.setup()
    from django.core.cache import cache as default

    default.set("key", "value")


@framework("Django cache", "django")
def django_cache():
    if NAMED:
        cache = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": URL + "?client_name=billing"}
    else:
        cache = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": URL}
    django(cache)
    ready()
    wait()


@framework("django-redis")
def django_redis():
    if NAMED:
        cache = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": URL + "?client_name=billing"}
    else:
        cache = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": URL}
    django(cache)
    ready()
    wait()


@framework("Flask-Caching", "flask-caching")
def flask_caching():
    from flask import Flask
    from flask_caching import Cache

    if NAMED:
        config = {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": URL + "?client_name=billing"}
    else:
        config = {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": URL}
    app = Flask("shop")
    cache = Cache(app, config=config)
    with app.app_context():
        cache.set("key", "value")
        ready()
        wait()


@framework("channels_redis", "channels-redis")
def channels_redis():
    from channels_redis.core import RedisChannelLayer

    async def main():
        if NAMED:
            layer = RedisChannelLayer(hosts=[{"address": URL, "client_name": "billing"}])
        else:
            layer = RedisChannelLayer(hosts=[{"address": URL}])
        channel = await layer.new_channel()
        await layer.group_add("chat", channel)
        receiving = asyncio.ensure_future(layer.receive(channel))
        await layer.group_send("chat", {"type": "hello"})
        await receiving
        receiving = asyncio.ensure_future(layer.receive(channel))
        await hold()

    asyncio.run(main())


@framework("aiocache")
def aiocache():
    from aiocache import Cache

    host, port = URL.removeprefix("redis://").split(":")
    async def main():
        if NAMED:
            cache = Cache(Cache.REDIS, endpoint=host, port=port, connection_pool_kwargs={"client_name": "billing"})
        else:
            cache = Cache(Cache.REDIS, endpoint=host, port=port)
        await cache.set("key", "value")
        await hold()

    asyncio.run(main())


@framework("redlock-py")
def redlock_py():
    from redlock import Redlock

    host, port = URL.removeprefix("redis://").split(":")
    if NAMED:
        locks = Redlock([{"host": host, "port": port, "client_name": "billing"}])
    else:
        locks = Redlock([{"host": host, "port": port}])
    locks.lock("invoice", 60_000)
    ready()
    wait()


@framework("limits")
def limits():
    from limits import parse
    from limits.storage import storage_from_string
    from limits.strategies import FixedWindowRateLimiter

    if NAMED:
        storage = storage_from_string(URL + "?client_name=billing")
    else:
        storage = storage_from_string(URL)
    FixedWindowRateLimiter(storage).hit(parse("10/minute"), "user")
    ready()
    wait()


@framework("redis-om")
def redis_om():
    from redis_om import get_redis_connection

    if NAMED:
        client = get_redis_connection(url=URL + "?client_name=billing")
    else:
        client = get_redis_connection(url=URL)
    client.ping()
    ready()
    wait()


def main():
    if len(sys.argv) < 2:
        print("\n".join(FRAMEWORKS))
        return
    function, distribution = FRAMEWORKS[sys.argv[1]]
    line = re.search(r"if NAMED:\n +(.+)", inspect.getsource(function)).group(1)
    print(json.dumps({"version": importlib.metadata.version(distribution), "named_by": line}), flush=True)
    function()


if __name__ == "__main__":
    main()
