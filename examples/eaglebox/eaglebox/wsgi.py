"""The entry point of gunicorn: eaglebox.wsgi."""
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "eaglebox.settings")
application = get_wsgi_application()
