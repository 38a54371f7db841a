from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("observability", "0002_quota_alerts"),
    ]

    operations = [
        migrations.AlterField(
            model_name="alert",
            name="kind",
            field=models.CharField(
                choices=[
                    ("silence", "Not heard of"),
                    ("health", "Unwell, says its agent"),
                    ("quota", "Stores too much"),
                    ("parked", "Gone, says its endpoint"),
                ],
                max_length=10,
            ),
        ),
    ]
