"""The entry point of gunicorn: eaglebox.wsgi."""
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "eaglebox.settings")
application = get_wsgi_application()

from django.core.files.storage import default_storage  # noqa: E402 (needs the application)

default_storage.get_valid_name("ready")  # builds the storage now, not in somebody's request
