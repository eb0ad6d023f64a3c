"""The pages of Eaglebox."""
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db import IntegrityError, connection, transaction
from django.db.models import Q
from django.http import FileResponse, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from .forms import UploadForm
from .models import AuditEntry, Document, Tag

PAGE = 20
TEXT_BYTES_MAX = 20_000


def page_of(request, documents):
    documents = documents.select_related("owner").prefetch_related("tags").defer("text")
    return Paginator(documents, PAGE).get_page(request.GET.get("page"))


@login_required
def document_list(request):
    return render(request, "documents/list.html", {"page": page_of(request, Document.objects.all())})


@login_required
def search(request):
    words, tag = request.GET.get("q", "").split(), request.GET.get("tag", "").strip()
    found = Document.objects.all()
    for word in words:
        found = found.filter(Q(title__icontains=word) | Q(client__icontains=word) | Q(text__icontains=word))
    if tag:
        found = found.filter(tags__name=tag.lower())
    context = {"page": page_of(request, found), "q": " ".join(words), "tag": tag}
    return render(request, "documents/list.html", context)


@login_required
def upload(request):
    form = UploadForm(request.POST or None, request.FILES or None)
    if request.method != "POST" or not form.is_valid():
        status = 400 if request.method == "POST" else 200
        return render(request, "documents/upload.html", {"form": form}, status=status)
    try:
        document = store(request.user, form)
    except IntegrityError:
        record(request.user, "upload refused", form.cleaned_data["upload_key"])
        return HttpResponse("This document was uploaded before.\n", status=409, content_type="text/plain")
    return redirect("detail", pk=document.pk)


def store(user, form):
    """The row, its tags and its file, or nothing of them."""
    document = form.save(commit=False)
    document.owner = user
    document.text = text_of(form.cleaned_data["file"])
    try:
        with transaction.atomic():
            document.save()
            for name in form.cleaned_data["tags"]:
                document.tags.add(Tag.objects.get_or_create(name=name)[0])
            record(user, "upload", document.upload_key, bytes=document.file.size)
    except Exception:
        if document.file._committed:
            document.file.storage.delete(document.file.name)
        raise
    return document


def text_of(file):
    """What search looks into: the beginning of a text file."""
    head = file.read(TEXT_BYTES_MAX)
    file.seek(0)
    return "" if b"\0" in head else head.decode("utf-8", "ignore")


def record(user, action, upload_key="", **details):
    AuditEntry.objects.create(user=user, action=action, upload_key=upload_key, details=details)


@login_required
def detail(request, pk):
    document = get_object_or_404(Document.objects.select_related("owner"), pk=pk)
    return render(request, "documents/detail.html", {"document": document})


@login_required
def download(request, pk):
    document = get_object_or_404(Document, pk=pk)
    name = document.file.name.rsplit("/", 1)[-1]
    return FileResponse(document.file.open("rb"), as_attachment=True, filename=name)


def healthz(request):
    """200 when this process can serve: its database answers."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return HttpResponse("ok\n", content_type="text/plain")
