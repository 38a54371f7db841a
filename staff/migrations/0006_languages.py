from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('staff', '0005_identities'),
    ]

    operations = [
        migrations.AddField(
            model_name='account',
            name='language',
            field=models.CharField(blank=True, choices=[('et', 'Eesti'), ('en', 'English')], db_default='', default='', max_length=2),
        ),
    ]
