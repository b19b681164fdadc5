"""An index in the order of the list of sets."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("vaults", "0002_repositories_plans_sets")]

    operations = [
        migrations.AddIndex(
            model_name="backupset",
            index=models.Index(fields=["-taken_at", "-id"], name="set_newest"),
        ),
    ]
