"""manage.py seed: demo users and documents, quickly and always the same."""
import random
from datetime import timedelta

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils import timezone

from documents.models import AuditEntry, Document, Tag

CLIENTS = ["Abbott & Sons", "Bluewater Ltd", "Cedar Estates", "Dalton Rail", "Evergreen Foods", "Farrow Mills"]
KINDS = ["contract", "brief", "deposition", "invoice", "letter", "exhibit", "motion", "order"]
SUBJECTS = ["lease", "merger", "patent", "custody", "tax", "boundary", "pension", "licence", "shipping", "estate"]
WORDS = ("agreement between the parties hereto whereas claimant defendant court shall provide notice of breach "
         "within thirty days clause liability damages settlement evidence witness statement filed signed").split()


class Command(BaseCommand):
    help = "Creates users user000... (one shared password) and documents with files and tags."

    def add_arguments(self, parser):
        parser.add_argument("--documents", type=int, default=300)
        parser.add_argument("--users", type=int, default=200)
        parser.add_argument("--password", default="eaglebox")
        parser.add_argument("--bytes", type=int, default=8000, help="average size of a file")

    @transaction.atomic
    def handle(self, *args, documents, users, password, bytes, **options):
        owners = self.users(users, password)
        tags = self.tags()
        chance = random.Random(7)
        rows = [self.document(number, owners, chance, bytes) for number in range(documents)]
        Document.objects.bulk_create(rows, batch_size=500)
        rows = list(Document.objects.filter(upload_key__startswith="seed-").defer("text").order_by("id"))
        through = Document.tags.through
        through.objects.bulk_create(
            [through(document_id=row.pk, tag_id=tag.pk) for row in rows for tag in chance.sample(tags, 3)],
            batch_size=2000)
        AuditEntry.objects.bulk_create(
            [AuditEntry(user=row.owner, action="upload", upload_key=row.upload_key, at=row.created) for row in rows],
            batch_size=1000)
        self.stdout.write(f"seeded {len(rows)} documents and {len(owners)} users")

    def users(self, count, password):
        shared = make_password(password)  # one hash for all of them: hashing 200 times would take a minute
        User.objects.bulk_create([User(username=f"user{number:03}", password=shared) for number in range(count)],
                                 ignore_conflicts=True)
        return list(User.objects.filter(username__startswith="user").order_by("id"))

    def tags(self):
        names = SUBJECTS + KINDS + ["urgent", "signed", "archive", "draft"]
        Tag.objects.bulk_create([Tag(name=name) for name in names], ignore_conflicts=True)
        return list(Tag.objects.order_by("id"))

    def document(self, number, owners, chance, size):
        kind, subject, client = chance.choice(KINDS), chance.choice(SUBJECTS), chance.choice(CLIENTS)
        text = " ".join(chance.choices(WORDS, k=max(8, chance.randint(size // 12, size // 4))))
        document = Document(
            title=f"{subject.title()} {kind} {number:05}", client=client, case_ref=f"C-{2000 + number % 40}",
            owner=owners[number % len(owners)], text=text, upload_key=f"seed-{number:06}",
            created=timezone.now() - timedelta(minutes=7 * (number + 1)))
        document.file.save(f"{subject}-{kind}.txt", ContentFile(text.encode()), save=False)
        return document
