from django.contrib.auth import views as auth
from django.urls import path

from documents import views

urlpatterns = [
    path("", views.document_list, name="list"),
    path("search", views.search, name="search"),
    path("upload", views.upload, name="upload"),
    path("documents/<int:pk>", views.detail, name="detail"),
    path("documents/<int:pk>/download", views.download, name="download"),
    path("login", auth.LoginView.as_view(), name="login"),
    path("logout", auth.LogoutView.as_view(), name="logout"),
    path("healthz", views.healthz, name="healthz"),
]
