from django.urls import path

from participants.join import views

app_name = "join"

urlpatterns = [
    path("", views.apply, name="apply"),
    path("status/<str:token>/", views.status, name="status"),
    path("claim/<str:token>/", views.claim, name="claim"),
    path("<str:token>/", views.invited, name="invited"),
]
