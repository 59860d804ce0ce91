"""Build the page and launch it."""

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when Gradio is imported

from sapiens_demo.ui.page import build_page, launch_options
from sapiens_demo.ui.service import Service

service = Service()
demo = build_page(service)

if __name__ == "__main__":
    demo.launch(**launch_options(), prevent_thread_lock=True)
    service.warm_up()
    demo.block_thread()
