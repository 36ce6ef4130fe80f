"""The job of the workers here, in a module of its own because workers import it by name."""


def ready():
    """Reports that the framework has connected and works."""
    print("ready", flush=True)
