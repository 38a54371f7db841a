"""Two foreign keys get a wider index in place of their own, so that accepting a message costs no more than before.

The wider ones come first: no query is ever without.
"""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('participants', '0001_initial'),
        ('relay', '0001_initial'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(fields=['recipient', 'accepted_at'], name='delivery_received'),
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(fields=['sender', 'accepted_at'], name='message_sent'),
        ),
        migrations.AlterField(
            model_name='delivery',
            name='recipient',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='deliveries', to='participants.participant'),
        ),
        migrations.AlterField(
            model_name='message',
            name='sender',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='sent_messages', to='participants.participant'),
        ),
    ]
