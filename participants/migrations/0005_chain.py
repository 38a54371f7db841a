"""Brings what was written so far into the chain of the audit log, and makes the log append-only in the database."""

from django.db import migrations

from participants import append_only, chain

BATCH = 1000


def bring_in(apps, schema_editor):
    change_model = apps.get_model("participants", "Change")
    owners = owners_of(apps)
    head = apps.get_model("participants", "ChainHead")(pk=1, number=0, hash=chain.GENESIS)
    fields = ("actor", "actor_kind", "institution", "institution_name", "before", "after")
    chained = ("number", "previous_hash", "hash")
    last = 0
    while rows := list(change_model.objects.filter(pk__gt=last).order_by("pk")[:BATCH]):
        for row in rows:
            row.actor, row.actor_kind = actor_of(row.actor)
            row.institution, row.institution_name = owners.get((row.kind, row.subject_id), (None, ""))
            row.before, row.after = chain.plain(row.before), chain.plain(row.after)
            chain.link(head, row)
        change_model.objects.bulk_update(rows, (*fields, *chained), batch_size=100)
        last = rows[-1].pk
    head.save(force_insert=True)


def actor_of(written):
    """Name and kind, which stood in one text."""
    if written in ("system", "command line"):
        return written, "system"
    if written == "staff key":
        return written, "key"
    if written.startswith("participant "):
        return written.removeprefix("participant "), "participant"
    return written, "person"


def owners_of(apps):
    """(kind, id) -> the institution that it belongs to now; earlier ones are not known."""
    found = {}
    for row in apps.get_model("participants", "Institution").objects.all():
        found["institution", str(row.public_id)] = (row.public_id, row.name)
    for row in apps.get_model("participants", "Participant").objects.select_related("institution"):
        found["participant", str(row.public_id)] = (row.institution.public_id, row.institution.name)
    for row in apps.get_model("participants", "ApiKey").objects.select_related("participant__institution"):
        found["apikey", str(row.pk)] = (row.participant.institution.public_id, row.participant.institution.name)
    return found


def let_go(apps, schema_editor):
    apps.get_model("participants", "ChainHead").objects.all().delete()


class Migration(migrations.Migration):
    dependencies = [("participants", "0004_audit_log")]

    operations = [
        migrations.RunPython(bring_in, let_go),
        migrations.RunPython(
            lambda apps, schema_editor: append_only.create(schema_editor.connection),
            lambda apps, schema_editor: append_only.drop(schema_editor.connection),
        ),
    ]
