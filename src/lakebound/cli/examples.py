"""Two worked examples of each verb: its `--help` ends with them, and docs/CLI.md shows them."""

from __future__ import annotations

from typing import Final

import typer

EXAMPLES: Final = """\
lakebound init --table cars
lakebound init --table cars --partition-key vin --stack lakebound-cars
lakebound deploy
lakebound deploy --yes --stack lakebound-cars -p TableName=cars -p PartitionKeyName=vin -p "DropAttributes=first name"
lakebound doctor --before --table cars
lakebound doctor --stack lakebound-cars --smoke
lakebound smoke --stack lakebound-cars --table cars --dry-run
lakebound smoke --stack lakebound-cars --only item --only alarms
lakebound status
lakebound status --all
lakebound verify --table cars --target s3a://lake/silver/cars
lakebound verify --stack lakebound-cars --target lake.cars --repair --dry-run
lakebound query --target /lake/silver/cars "SELECT count(*) FROM live"
lakebound query --target main.lake.cars --json "SELECT vin, soc FROM current WHERE soc < 5 ORDER BY soc"
lakebound trace vin=WLB0000000000042
lakebound trace WLB0000000000042 --since 2026-11-24T03:00:00Z --json
lakebound replay --from 2026-11-24T03:00:00Z --to 2026-11-24T05:00:00Z
lakebound replay stream-20261124T030534123Z-2-0123456789abcdef0123456789abcdef.ndjson.gz --dry-run
lakebound cost --hours 72
lakebound cost --writes 100 --item-bytes 2048
lakebound report --out cars.html
lakebound report --stack lakebound-cars --latency 21.4,48.9
lakebound files mirror s3://lake/ddb/cars mirror --follow
lakebound files mirror s3://lake/ddb/cars mirror --dry-run
lakebound files check s3://lake/ddb/cars --threads 8
lakebound files check mirror --json
lakebound files flatten s3://lake/ddb/cars plain
lakebound files flatten mirror
lakebound backfill estimate --stack lakebound-cars
lakebound backfill estimate --table cars --read-capacity 500 --eventual
lakebound backfill start --name first --dry-run
lakebound backfill start --mode incremental_export --from 2026-11-24T00:00:00Z --to 2026-11-25T00:00:00Z
lakebound backfill list --count 5
lakebound backfill list --stack lakebound-cars --json
lakebound backfill watch --run first
lakebound backfill watch --run first --stack lakebound-cars --every 10
lakebound backfill close --run heal-1 --source s3a://lake/ddb/cars --target lake.cars --dry-run
lakebound backfill close --run heal-1 --source mirror --target /lake/silver/cars
lakebound dlq list --from buffer
lakebound dlq list --from quarantine --limit 100
lakebound dlq show 5d8e1c52-0f1b-4a43-9d0e-2f5f5a1c7f10 --from buffer
lakebound dlq show 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 --from quarantine --payload
lakebound dlq redrive --from stream --dry-run
lakebound dlq redrive --from quarantine --reason creation_time --rate 100
lakebound dlq discard --from buffer --all --dry-run
lakebound dlq discard --from quarantine --reason view_type --yes
lakebound config infer --table cars --output cars.yaml
lakebound config infer --files s3://lake/ddb/cars --entities --output cars.yaml
lakebound spark-conf
lakebound spark-conf --platform s3a
""".splitlines()


def add_examples(app: typer.Typer, program: str = "lakebound") -> None:
    """Let the help of every verb below `app` end with the examples that begin with the verb."""
    for verb in app.registered_commands:
        name = f"{program} {verb.name or getattr(verb.callback, '__name__', '')} "
        verb.epilog = "\n\n".join(["Examples:", *(line for line in EXAMPLES if f"{line} ".startswith(name))])
    for group in app.registered_groups:
        if group.typer_instance is not None:
            add_examples(group.typer_instance, f"{program} {group.name}")
