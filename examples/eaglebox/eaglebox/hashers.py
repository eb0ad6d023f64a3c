"""Password hashing with a work factor from the environment, so that a rehearsal can log in 200 users quickly."""
from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher


class Hasher(PBKDF2PasswordHasher):
    algorithm = "pbkdf2_tuned"
    iterations = settings.PASSWORD_ITERATIONS
