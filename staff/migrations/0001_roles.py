"""The groups that stand for roles. What their members may do is in staff/roles.py, and is given after each migration."""

from django.db import migrations

ROLES = ("viewer", "operator", "registrar", "approver", "auditor", "administrator")


def make_groups(apps, schema_editor):
    groups = apps.get_model("auth", "Group").objects
    for name in ROLES:
        groups.get_or_create(name=name)


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
    ]

    operations = [
        # The groups stay when this is undone: accounts may be in them.
        migrations.RunPython(make_groups, migrations.RunPython.noop),
    ]
