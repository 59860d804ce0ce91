"""What holds for every test: nothing is asked of the network, nothing of the user's own caches is seen."""

import os
import socket
import tempfile

_HOME = tempfile.TemporaryDirectory(prefix="sapiens-tests-")

# Before anything imports huggingface_hub or gradio, which read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = _HOME.name
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
for name in (
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_ENDPOINT",
    "SAPIENS_CHECKPOINTS",
    "SAPIENS_KEEP_BF16",
):
    os.environ.pop(name, None)

_look_up = socket.getaddrinfo
_OWN_NAMES = (None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0", socket.gethostname())


def _look_up_own_names(host, *arguments, **options):
    name = host.decode() if isinstance(host, bytes) else host
    if name not in _OWN_NAMES:
        raise socket.gaierror(f"a test wants to reach {name}")
    return _look_up(host, *arguments, **options)


socket.getaddrinfo = _look_up_own_names
