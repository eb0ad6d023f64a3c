from django import forms

from .models import Document, random_key


class UploadForm(forms.ModelForm):
    tags = forms.CharField(required=False, help_text="separated by commas")
    upload_key = forms.CharField(widget=forms.HiddenInput, initial=random_key, max_length=64)

    class Meta:
        model = Document
        fields = ["title", "client", "case_ref", "file", "upload_key"]

    def clean_tags(self):
        names = {name.strip().lower()[:60] for name in self.cleaned_data["tags"].split(",")}
        return sorted(names - {""})

    def validate_unique(self):
        """A key sent twice is answered with 409 by the view, not with a form error."""
