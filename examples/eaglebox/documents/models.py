"""What a law firm keeps: documents of a client's case, their tags, and who did what."""
import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone


def file_name(document, name):
    """documents/2024/05/<upload key>-contract.txt: the key makes names of different uploads different."""
    return f"documents/{document.created:%Y/%m}/{document.upload_key}-{name}"


def random_key():
    return uuid.uuid4().hex


class Tag(models.Model):
    name = models.CharField(max_length=60, unique=True)

    class Meta:
        ordering = ["name"]

    def __str__(self):
        return self.name


class Document(models.Model):
    title = models.CharField(max_length=200)
    client = models.CharField(max_length=120, db_index=True)
    case_ref = models.CharField("case", max_length=40, db_index=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="documents")
    file = models.FileField(upload_to=file_name, max_length=255)
    text = models.TextField(blank=True)
    tags = models.ManyToManyField(Tag, related_name="documents", blank=True)
    # Chosen by the client once for each document it means to upload; sending it twice is refused.
    upload_key = models.CharField(max_length=64, unique=True, default=random_key)
    created = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        ordering = ["-created", "-id"]

    def __str__(self):
        return self.title


class AuditEntry(models.Model):
    """One line for each thing that was asked for, also when it was refused."""

    at = models.DateTimeField(default=timezone.now)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    action = models.CharField(max_length=40)
    upload_key = models.CharField(max_length=64, blank=True, db_index=True)
    details = models.JSONField(default=dict)
