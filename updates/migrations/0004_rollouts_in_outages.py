from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('updates', '0003_staff_permissions'),
    ]

    operations = [
        migrations.AddField(
            model_name='rollout',
            name='in_outages',
            field=models.BooleanField(db_default=False, default=False, help_text='Instances in an outage are not spared: they are offered the release, and their time runs.'),
        ),
    ]
