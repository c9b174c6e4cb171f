"""The entries of the YAML file of `run`, read strictly: a table each, and when each of its steps is due."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lakebound.errors import Misconfigured
from lakebound_spark.bronze.bronze_table import BronzeJob
from lakebound_spark.history.history_job import FILES_PER_MICRO_BATCH as FILES_OF_BRONZE
from lakebound_spark.history.history_job import HistoryJob
from lakebound_spark.history.key_selection import EVERY_KEY, KeySelection
from lakebound_spark.lake.schedule import STEPS, Daily, Every, Step
from lakebound_spark.lake.section import Section
from lakebound_spark.platform.streams import parse_trigger
from lakebound_spark.platform.tables import absolute_path, absolute_table, companion_table, is_path
from lakebound_spark.reading.source import BYTES_PER_MERGE, FILES_PER_MICRO_BATCH, default_reader
from lakebound_spark.silver.config import EntitiesConfig, MergeConfig, load_any_config, parse_any_config
from lakebound_spark.silver.due_merge import MERGE_BYTES, MERGE_ROWS, MergeSchedule
from lakebound_spark.silver.entity_job import EntityJob
from lakebound_spark.silver.freshness import Freshness
from lakebound_spark.silver.merge_job import BRONZE, MergeJob
from lakebound_spark.silver.stale_mark import default_control_folder
from lakebound_spark.upkeep.maintenance import MIN_RETENTION_HOURS, UpkeepJob

DEFAULTS: Final[Mapping[str, Every | Daily]] = {
    "bronze": Every(5 * 60),
    "silver": Every(60),
    "history": Every(15 * 60),
    "maintain": Daily(2 * 60 + 30),
    "audit": Daily(4 * 60 + 30),
}
"""When a step is due unless the file says otherwise."""
AUDITED_DAYS: Final = 2

ENTRY: Final = {
    "source": "the data prefix: the folder that holds the hour partitions",
    "checkpoints": "a folder of this table's own, for the progress of its steps",
    "target": "the silver table: a path (with a /) or a table's name",
    "config": "the YAML of merge_changes, as a path or written out here",
}
SETTINGS_OF_STEPS: Final[Mapping[str, tuple[str, ...]]] = {
    "bronze": ("every", "target", "reader", "max_files", "views"),
    "silver": ("every", "reader", "max_files", "max_bytes", "merge_every", "merge_rows", "merge_bytes", "publish"),
    "history": ("every", "max_files", "max_bytes"),
    "maintain": ("at", "retain_hours"),
    "audit": ("at", "days", "publish"),
}
_READERS: Final = ("auto-loader", "files")
_AVAILABLE_NOW: Final = parse_trigger("available-now")


@dataclass(frozen=True, slots=True)
class AuditJob:
    """One run of the audit, with the arguments of the job `audit`."""

    bronze: str
    days: int
    publish: bool


@dataclass(frozen=True, slots=True)
class LakeTable:
    """A table, or several of one source, with the jobs of each step; of a step that is off None or nothing."""

    target: str
    timings: Mapping[str, Every | Daily]
    """Of the steps that are on."""
    silver: MergeJob
    """Of several tables what they have in common."""
    bronze: BronzeJob | None
    views: bool
    histories: tuple[HistoryJob, ...]
    upkeep: tuple[UpkeepJob, ...]
    audit: AuditJob | None
    entities: EntityJob | None = None
    """The silver step where the configuration has `tables`; the target is then no table itself."""
    freshness: Freshness | None = field(default=None, compare=False)
    """What publishes how far silver is behind; it knows when it did last, over all turns of the step."""

    def steps(self) -> list[Step]:
        """The steps that are on."""
        return [Step(self.target, name, timing) for name, timing in self.timings.items()]

    def silver_tables(self) -> list[str]:
        """The target, or the tables that the configuration has in its place."""
        return [self.target] if self.entities is None else list(self.entities.config.tables)

    def commits(self) -> list[str]:
        """The tables whose leases the steps need: those that another job could commit to at the same time."""
        silver = self.silver_tables()
        tables = [*silver, *([self.bronze.target] if self.bronze else [])]
        if self.histories or self.upkeep:
            tables += [companion_table(target, "_history") for target in silver]
        if self.audit:
            tables.append(companion_table(self.audit.bronze, "_audits"))
        return tables


def read_tables(entries: Any, places: Places) -> list[LakeTable]:
    """The tables of the list `tables`. Raises Misconfigured for the first entry that is wrong."""
    if not isinstance(entries, list) or not entries:
        raise Misconfigured("tables is missing; give a list with one entry for each table")
    return [read_table(f"entry {number}", entry, places) for number, entry in enumerate(entries, 1)]


class Places:
    """The folders and tables that entries have taken, which no two may have in common."""

    def __init__(self) -> None:
        self._taken: dict[str, str] = {}

    def take(self, name: str, at: str, places: Mapping[str, str]) -> None:
        """Take what the entry of this name needs, all or nothing. Raises Misconfigured, `at` its place in the file."""
        wanted: dict[str, str] = {}
        for what, place in places.items():
            key = place.rstrip("/")
            other = self._taken.get(key) or wanted.get(key)
            if other is not None:
                raise Misconfigured(f"{at}: its {what} {place} is the {other}; give another")
            wanted[key] = f"{what} of {name}"
        self._taken |= wanted


def read_table(name: str, entry: Any, places: Places) -> LakeTable:
    """The table of one entry; ``name`` says which entry it is. Raises Misconfigured."""
    target = entry.get("target") if isinstance(entry, dict) else None
    at = f"{name} ({target})" if target else name
    table = _table(at, entry)
    bronze = {"bronze.target": table.bronze.target} if table.bronze else {}
    folder = absolute_path(entry["checkpoints"])
    tables = {f"table {one}": one for one in table.silver_tables() if table.entities}
    places.take(name, at, {"checkpoints folder": folder, "target": table.target, **bronze, **tables})
    return table


def _table(at: str, entry: Any) -> LakeTable:
    section = Section.of(at, entry, (*ENTRY, "aside", *STEPS))
    target = absolute_table(_required(section, "target"))
    parts = {name: section.part(name, SETTINGS_OF_STEPS[name]) for name in STEPS}
    written = _config(section)
    config = _in_common(written)
    bronze = _bronze(section, parts["bronze"], target, config) if parts["bronze"] else None
    if parts["silver"] is None:
        raise section.wrong("silver", "cannot be off; it is what the entry is about")
    if bronze is None:
        parts |= _without_bronze(section, config)
    elif config.history != "scd2":
        if section.values.get("history") not in (None, False):
            raise section.wrong("history", "needs `history: scd2` in the table's config")
        parts["history"] = None
    silver = _silver(section, parts["silver"], target, config, bronze)
    entities = None
    if isinstance(written, EntitiesConfig):
        try:
            entities = EntityJob.of(silver, written)
        except Misconfigured as error:
            raise Misconfigured(f"{section.place}: {error}") from None
    return LakeTable(
        target=target,
        timings={name: part.timing(DEFAULTS[name]) for name, part in parts.items() if part is not None},
        silver=silver,
        bronze=bronze,
        views=parts["bronze"] is not None and _views(parts["bronze"], target),
        histories=_histories(section, parts["history"], target, written, bronze) if bronze and parts["history"] else (),
        upkeep=_upkeep(parts["maintain"], target, written, bronze) if parts["maintain"] else (),
        audit=_audit(parts["audit"], bronze) if bronze and parts["audit"] else None,
        freshness=Freshness(config.source_table) if parts["silver"].flag("publish") else None,
        entities=entities,
    )


def _without_bronze(section: Section, config: MergeConfig) -> dict[str, None]:
    """History and audit as off. Raises Misconfigured where one of them is asked for."""
    history = section.values.get("history", config.history == "scd2")
    for name, asked in (("history", history), ("audit", section.values.get("audit"))):
        if asked not in (None, False):
            raise section.wrong(name, f"reads bronze, which is off; leave bronze on, or write `{name}: off`")
    return {"history": None, "audit": None}


def _config(section: Section) -> MergeConfig | EntitiesConfig:
    written = section.values.get("config")
    try:
        return parse_any_config(written) if isinstance(written, dict) else load_any_config(_required(section, "config"))
    except Misconfigured as error:
        raise Misconfigured(f"{section.place}, config: {error}") from None


def _in_common(written: MergeConfig | EntitiesConfig) -> MergeConfig:
    """What holds for every table: the source, and whether one of them has a history."""
    if isinstance(written, MergeConfig):
        return written
    with_history = any(table.history == "scd2" for table in written.tables.values())
    return MergeConfig(written.source_table, history="scd2" if with_history else "none")


def _required(section: Section, key: str) -> str:
    return section.required(key, ENTRY[key])


def _checkpoint(section: Section, step: str) -> str:
    return f"{absolute_path(_required(section, 'checkpoints')).rstrip('/')}/{step}"


def _bronze(section: Section, part: Section, target: str, config: MergeConfig) -> BronzeJob:
    return BronzeJob(
        source=absolute_path(_required(section, "source")),
        checkpoint=_checkpoint(section, "bronze"),
        target=absolute_table(part.text("target")) if part.text("target") else companion_table(target, "_bronze"),
        source_table=config.source_table,
        trigger=_AVAILABLE_NOW,
        reader=part.choice("reader", _READERS, default_reader()),
        files_per_micro_batch=part.number("max_files", FILES_PER_MICRO_BATCH),
    )


def _views(part: Section, target: str) -> bool:
    if part.flag("views") and is_path(target):
        raise part.wrong("views", "need a table with a name; a path has no views that stay")
    return part.flag("views")


def _silver(section: Section, part: Section, target: str, config: MergeConfig, bronze: BronzeJob | None) -> MergeJob:
    source, reader = _required(section, "source"), part.choice("reader", (*_READERS, BRONZE), default_reader())
    if reader == BRONZE and bronze is None:
        raise part.wrong("reader", "bronze cannot be read, since it is off")
    folder = section.text("aside", default_control_folder(source, config.source_table))
    return MergeJob(
        source=bronze.target if bronze and reader == BRONZE else absolute_path(source),
        checkpoint=_checkpoint(section, "silver"),
        target=target,
        config=config,
        trigger=_AVAILABLE_NOW,
        reader=reader,
        files_per_micro_batch=part.number("max_files", FILES_PER_MICRO_BATCH),
        bytes_per_merge=part.number("max_bytes", BYTES_PER_MERGE),
        control_folder=absolute_path(folder) if folder else "",
        schedule=MergeSchedule(
            part.interval("merge_every", 0, least=0),
            part.number("merge_rows", MERGE_ROWS),
            part.number("merge_bytes", MERGE_BYTES),
        ),
    )


def _histories(
    section: Section, part: Section, target: str, written: MergeConfig | EntitiesConfig, bronze: BronzeJob
) -> tuple[HistoryJob, ...]:
    if isinstance(written, MergeConfig):
        return (_history(part, target, _checkpoint(section, "history"), bronze, EVERY_KEY),)
    return tuple(
        _history(
            part,
            table,
            _checkpoint(section, f"history-{re.sub(r'[^A-Za-z0-9_.-]+', '_', table)}"),
            bronze,
            KeySelection.of_table(written, table),
        )
        for table, config in written.tables.items()
        if config.history == "scd2"
    )


def _history(part: Section, target: str, checkpoint: str, bronze: BronzeJob, keys: KeySelection) -> HistoryJob:
    return HistoryJob(
        bronze=bronze.target,
        checkpoint=checkpoint,
        target=companion_table(target, "_history"),
        source_table=bronze.source_table,
        trigger=_AVAILABLE_NOW,
        keys=keys,
        files_per_micro_batch=part.number("max_files", FILES_OF_BRONZE),
        bytes_per_micro_batch=part.number("max_bytes", BYTES_PER_MERGE),
    )


def _upkeep(
    part: Section, target: str, written: MergeConfig | EntitiesConfig, bronze: BronzeJob | None
) -> tuple[UpkeepJob, ...]:
    hours = part.number("retain_hours", MIN_RETENTION_HOURS, MIN_RETENTION_HOURS)
    config = _in_common(written)
    if isinstance(written, EntitiesConfig):
        jobs = [UpkeepJob(table, own, hours) for table, own in written.tables.items()]
        jobs.append(UpkeepJob(target, config, hours, is_whole=True))
    else:
        jobs = [UpkeepJob(target, config, hours)]
    return (*jobs, *([UpkeepJob(bronze.target, config, hours)] if bronze else []))


def _audit(part: Section, bronze: BronzeJob) -> AuditJob:
    return AuditJob(bronze.target, part.number("days", AUDITED_DAYS, 0), part.flag("publish"))
