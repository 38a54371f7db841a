"""What a release's manifest says never changes: a trigger refuses it, whoever asks and whatever the state.

SQLite: a later migration that rebuilds the table drops the trigger; it must create it again (a test sees to it).
"""

from django.db import migrations

FIXED = ("manifest", "digest", "version", "sequence", "severity", "notes_et", "notes_en", "author_id")
MESSAGE = "a release never changes what its manifest says"


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        changed = " OR ".join(f"NEW.{name} IS DISTINCT FROM OLD.{name}" for name in FIXED)
        schema_editor.execute(
            "CREATE FUNCTION updates_release_is_fixed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"RAISE EXCEPTION '{MESSAGE}' USING ERRCODE = 'integrity_constraint_violation'; END $$"
        )
        schema_editor.execute(
            "CREATE TRIGGER updates_release_is_fixed BEFORE UPDATE ON updates_release "
            f"FOR EACH ROW WHEN ({changed}) EXECUTE FUNCTION updates_release_is_fixed()"
        )
    else:
        changed = " OR ".join(f"NEW.{name} IS NOT OLD.{name}" for name in FIXED)
        schema_editor.execute(
            "CREATE TRIGGER updates_release_is_fixed BEFORE UPDATE ON updates_release "
            f"FOR EACH ROW WHEN {changed} BEGIN SELECT RAISE(ABORT, '{MESSAGE}'); END"
        )


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP TRIGGER updates_release_is_fixed ON updates_release")
        schema_editor.execute("DROP FUNCTION updates_release_is_fixed()")
    else:
        schema_editor.execute("DROP TRIGGER updates_release_is_fixed")


class Migration(migrations.Migration):
    dependencies = [("updates", "0001_initial")]

    operations = [migrations.RunPython(create, drop)]
