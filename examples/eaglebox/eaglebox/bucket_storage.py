"""Django's file storage in an S3 bucket. Debian's python3-django-storages ships without its S3 backend, so this small
one speaks to boto3 itself; it takes the same settings."""
import tempfile

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from django.conf import settings
from django.core.files import File
from django.core.files.storage import Storage

MEMORY_MAX = 1 << 20  # a larger download goes through a temporary file


class BucketStorage(Storage):
    """Keys are AWS_LOCATION plus the file's name. Files are never overwritten: a taken name gets a suffix."""

    def __init__(self):
        self.bucket, self.prefix = settings.AWS_STORAGE_BUCKET_NAME, settings.AWS_LOCATION
        # Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. A client is safe to share between threads.
        self.client = boto3.client(
            "s3", endpoint_url=settings.AWS_S3_ENDPOINT_URL, region_name=settings.AWS_S3_REGION_NAME,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, max_pool_connections=32,
                          retries={"max_attempts": 5}))

    def _open(self, name, mode="rb"):
        content = tempfile.SpooledTemporaryFile(max_size=MEMORY_MAX)
        try:
            self.client.download_fileobj(self.bucket, self.prefix + name, content)
        except ClientError as error:
            content.close()
            if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
                raise FileNotFoundError(name) from error
            raise
        content.seek(0)
        return File(content, name)

    def _save(self, name, content):
        content.seek(0)
        # upload_fileobj closes what it is given; the caller may want to read its file again.
        self.client.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=content.read())
        return name

    def delete(self, name):
        self.client.delete_object(Bucket=self.bucket, Key=self.prefix + name)

    def _head(self, name):
        try:
            return self.client.head_object(Bucket=self.bucket, Key=self.prefix + name)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
                return None
            raise

    def exists(self, name):
        return self._head(name) is not None

    def size(self, name):
        head = self._head(name)
        if head is None:
            raise FileNotFoundError(name)
        return head["ContentLength"]
