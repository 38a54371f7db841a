"""Dead letters can be found by recipient, by sender and by time, and be requeued and discarded in jobs."""

import django.db.models.deletion
import uuid
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('participants', '0003_retention'),
        ('relay', '0008_delivery_keys'),
    ]

    operations = [
        migrations.CreateModel(
            name='DeadLetterJob',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('public_id', models.UUIDField(default=uuid.uuid4, editable=False, unique=True, verbose_name='id')),
                ('action', models.CharField(choices=[('requeue', 'Requeue'), ('discard', 'Discard')], default='requeue', max_length=7)),
                ('recipient_name', models.CharField(blank=True, max_length=255, verbose_name='recipient')),
                ('since', models.DateTimeField(null=True)),
                ('until', models.DateTimeField()),
                ('requested_by', models.CharField(max_length=150)),
                ('requested_at', models.DateTimeField()),
                ('estimate', models.PositiveIntegerField()),
                ('done', models.PositiveIntegerField(default=0)),
                ('left', models.JSONField(default=dict)),
                ('reached_at', models.DateTimeField(null=True)),
                ('reached_id', models.BigIntegerField(default=0)),
                ('state', models.CharField(choices=[('running', 'Running'), ('done', 'Done'), ('stopped', 'Stopped')], default='running', max_length=7)),
                ('finished_at', models.DateTimeField(null=True)),
            ],
            options={
                'verbose_name': 'requeue or discard of many',
                'verbose_name_plural': 'requeues and discards of many',
            },
        ),
        migrations.AddField(
            model_name='delivery',
            name='sender',
            field=models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='participants.participant'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('discarded_at', None), ('state__in', ('dead', 'expired'))), fields=['ended_at', 'id'], name='dead_letters_by_end'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('discarded_at', None), ('state__in', ('dead', 'expired'))), fields=['recipient_name', 'ended_at', 'id'], name='dead_letters_to_recipient'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('discarded_at', None), ('state__in', ('dead', 'expired'))), fields=['sender', 'ended_at', 'id'], name='dead_letters_of_sender'),
        ),
        migrations.AddField(
            model_name='deadletterjob',
            name='sender',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='participants.participant'),
        ),
        migrations.AddIndex(
            model_name='deadletterjob',
            index=models.Index(condition=models.Q(('state', 'running')), fields=['id'], name='dead_letter_job_running'),
        ),
        migrations.AddConstraint(
            model_name='deadletterjob',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('finished_at', None), ('state', 'running')), models.Q(models.Q(('state', 'running'), _negated=True), ('finished_at__isnull', False)), _connector='OR'), name='a_job_that_runs_has_no_end'),
        ),
        migrations.AddConstraint(
            model_name='deadletterjob',
            constraint=models.UniqueConstraint(condition=models.Q(('state', 'running')), fields=('sender',), name='one_running_job_of_a_sender'),
        ),
        # What has been delivered is never looked for by its sender.
        migrations.RunSQL(
            """
            UPDATE relay_delivery SET sender_id = (
                SELECT m.sender_id FROM relay_message m WHERE m.id = relay_delivery.message_id
            ) WHERE state <> 'delivered' AND sender_id IS NULL
            """,
            migrations.RunSQL.noop,
        ),
    ]
