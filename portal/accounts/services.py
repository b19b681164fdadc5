"""Accounts of the portal: Django's own users, whose user name is their e-mail address."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import transaction

from portal.core.services import audit


def admin_ensure(email: str, password: str) -> User:
    """Make sure that an administrator with this address exists; an existing one keeps the password it has."""
    email = email.strip().lower()
    with transaction.atomic():
        user, made = User.objects.get_or_create(
            username=email, defaults={"email": email, "is_staff": True, "is_superuser": True}
        )
        if made:
            user.set_password(password)
            user.save(update_fields=["password"])
            audit(action="account.created", target=email, data={"administrator": True})
    return user
