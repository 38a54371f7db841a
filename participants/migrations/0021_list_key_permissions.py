from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('participants', '0020_public_keys'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='listkey',
            options={'ordering': ('-number',), 'permissions': (('rotate_listkey', 'Can rotate and replace list keys'),), 'verbose_name': 'list key', 'verbose_name_plural': 'list keys'},
        ),
    ]
