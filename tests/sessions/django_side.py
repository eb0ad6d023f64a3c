"""One side of the application: real Django sessions, in a process of its own (settings are global).

    django_side.py ENGINE DATABASE_URL REDIS_URL     commands on stdin, one JSON per line; answers likewise
"""
import importlib
import json
import sys
import urllib.parse

import django
from django.conf import settings

SECRET_KEY = "not so secret"


def configure(engine, database, redis):
    url = urllib.parse.urlsplit(database)
    settings.configure(
        SECRET_KEY=SECRET_KEY,
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"],
        SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}",
        USE_TZ=True,
        DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "HOST": url.hostname,
                               "PORT": url.port, "USER": url.username, "NAME": url.path[1:]}},
        CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis}})
    django.setup()


class Side:
    def __init__(self, engine):
        self.store = importlib.import_module(settings.SESSION_ENGINE).SessionStore

    def migrate(self):
        from django.core.management import call_command
        call_command("migrate", verbosity=0)

    def login(self, user):
        """As django.contrib.auth.login does: who the user is, and a hash that needs SECRET_KEY."""
        from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
        session = self.store()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        return session

    def create(self, count):
        from django.contrib.auth.models import User
        user, _ = User.objects.get_or_create(username="ada", defaults={"password": "!"})
        keys = []
        for n in range(count):
            session = self.login(user)
            session["cart"] = {"items": [n, n * 1.5, None, True], "note": "é😀\ud800", "big": 2**100 + n}
            if n % 3 == 0:
                session["long"] = "x" * 3000
            session.save()
            keys.append(session.session_key)
        return keys

    def who(self, keys):
        """The user name each key is logged in as (None: logged out) and its cart."""
        from django.contrib.auth import get_user
        from django.http import HttpRequest
        found = []
        for key in keys:
            request = HttpRequest()
            request.session = self.store(key)
            user = get_user(request)
            found.append([user.username or None, request.session.get("cart"), request.session.get("visits")])
        return found

    def touch(self, keys, visits):
        for key in keys:
            session = self.store(key)
            session["visits"] = visits
            session.save()

    def logout(self, keys):
        for key in keys:
            self.store(key).delete(key)

    def ttl(self, keys):
        from django.core.cache import cache
        return [cache.ttl(self.store.cache_key_prefix + key) for key in keys]


def main():
    engine, database, redis = sys.argv[1:]
    configure(engine, database, redis)
    side = Side(engine)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(getattr(side, name)(*arguments)), flush=True)


if __name__ == "__main__":
    main()
