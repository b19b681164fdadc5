"""Signing in and out, and changing one's password."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth import views as auth
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm, UsernameField
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.urls import reverse_lazy

from portal.core.services import audit
from portal.web import throttle
from portal.web.pages import user_of


class SignInForm(AuthenticationForm):
    """E-mail address and password, counted against guessing."""

    error_messages = {
        "invalid_login": "That e-mail address and password do not belong together. "
        "Mind capital letters; `python3 manage.py up` printed the administrator's password once.",
        "inactive": "This account was switched off. Ask an administrator.",
    }

    username = UsernameField(
        label="E-mail address",
        widget=forms.TextInput(attrs={"autofocus": True, "autocomplete": "username", "inputmode": "email"}),
    )

    def clean_username(self) -> str:
        return str(self.cleaned_data["username"]).strip().lower()

    def clean(self) -> dict[str, Any]:
        name = self.cleaned_data.get("username") or ""
        address = throttle.address_of(self.request) if self.request else ""
        throttle.check(name=name, address=address)
        try:
            return super().clean()
        except ValidationError:
            throttle.failed(name=name, address=address)
            raise

    def confirm_login_allowed(self, user: AbstractBaseUser) -> None:
        super().confirm_login_allowed(user)  # type: ignore[arg-type]  # the stubs narrow it to their own alias


class SignIn(auth.LoginView):
    """Sign-in page; afterwards back to where one came from, on this site only."""

    template_name = "web/account/sign_in.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        response = super().form_valid(form)
        audit(action="sign-in", user=user_of(self.request), data={"address": throttle.address_of(self.request)})
        return response


class SignOut(auth.LogoutView):
    """Ends the session; POST only."""

    next_page = "sign-in"


class Password(auth.PasswordChangeView):
    """Change one's own password; other sessions of the account end."""

    template_name = "web/account/password.html"
    success_url = reverse_lazy("dashboard")

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        response = super().form_valid(form)
        audit(action="password.changed", user=user_of(self.request))
        messages.success(self.request, "Your password was changed. Other sessions of this account have ended.")
        return response
