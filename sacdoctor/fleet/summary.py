"""What is wrong how often in the results of many scans: counted by DuckDB, which reads them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from sacdoctor.errors import SacdoctorError, unopened

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MAGIC = b"PAR1"
_LINES = """
SELECT path, status, algorithm, sb3_version, findings FROM read_json(
    ?, format = 'newline_delimited', maximum_object_size = 268435456, columns = {
        'path': 'VARCHAR', 'status': 'VARCHAR', 'algorithm': 'VARCHAR', 'sb3_version': 'VARCHAR',
        'findings': 'STRUCT(rule VARCHAR, name VARCHAR, severity VARCHAR)[]'
    }
)"""
_PARQUET = """
SELECT
    path, any_value(status) AS status, any_value(algorithm) AS algorithm,
    any_value(sb3_version) AS sb3_version,
    list({'rule': rule, 'name': name, 'severity': severity}) FILTER ("row" = 'finding') AS findings
FROM read_parquet(?) GROUP BY path"""
_BY_RULE = """
SELECT
    rule, any_value(name), count(DISTINCT path),
    count(DISTINCT path) FILTER (severity = 'critical'),
    count(DISTINCT path) FILTER (severity = 'warning'),
    count(DISTINCT path) FILTER (severity = 'notice')
FROM (SELECT path, unnest(findings, recursive := true) FROM results)
GROUP BY rule ORDER BY 3 DESC, rule"""
_BY_GROUP = """
SELECT {0}, status, count(*) FROM results GROUP BY ALL ORDER BY {0} NULLS LAST, status"""


class RuleCount(Struct, frozen=True):
    """In how many checkpoints a rule has findings; with which severity, in one maybe several."""

    rule: str
    name: str
    checkpoints: int
    critical: int
    warning: int
    notice: int


class FleetSummary(Struct, frozen=True):
    """What many checkpoints come to. `statuses` count all of them, by the words of `Status`.

    `algorithms` and `sb3_versions` have such counts for each; None is where the file does not tell.
    """

    files: tuple[str, ...]
    statuses: Mapping[str, int]
    rules: tuple[RuleCount, ...]
    algorithms: Mapping[str | None, Mapping[str, int]]
    sb3_versions: Mapping[str | None, Mapping[str, int]]

    @property
    def checkpoints(self) -> int:
        """How many there are; each once, however many files tell of it."""
        return sum(self.statuses.values())


def summary_of(paths: Sequence[str | Path]) -> FleetSummary:
    """Return what the results in these files come to.

    Each is what `scan` wrote as JSON Lines or Parquet; a folder stands for the Parquet files in it.
    Of a checkpoint that several tell of, the last does. Raises `SacdoctorError` where one is
    something else.
    """
    try:
        import duckdb
    except ImportError:
        raise SacdoctorError("a summary needs duckdb: pip install 'sacdoctor[tables]'") from None
    connection = duckdb.connect(
        config={"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    )
    with connection:
        connection.execute(
            "CREATE TABLE all_results (source INTEGER, path VARCHAR, status VARCHAR, "
            "algorithm VARCHAR, sb3_version VARCHAR, "
            "findings STRUCT(rule VARCHAR, name VARCHAR, severity VARCHAR)[])"
        )
        for at, path in enumerate(map(Path, paths)):
            _read(connection, at, path)
        connection.execute(
            "CREATE VIEW results AS SELECT * FROM all_results "
            "QUALIFY row_number() OVER (PARTITION BY path ORDER BY source DESC) = 1"
        )
        return FleetSummary(
            files=tuple(map(str, paths)),
            statuses=dict(
                connection.execute(
                    "SELECT status, count(*) FROM results GROUP BY status ORDER BY status"
                ).fetchall()
            ),
            rules=tuple(RuleCount(*row) for row in connection.execute(_BY_RULE).fetchall()),
            algorithms=_grouped(connection.execute(_BY_GROUP.format("algorithm")).fetchall()),
            sb3_versions=_grouped(connection.execute(_BY_GROUP.format("sb3_version")).fetchall()),
        )


def _read(connection: DuckDBPyConnection, at: int, path: Path) -> None:
    import duckdb

    query, names = _question(path)
    try:
        connection.execute(f"INSERT INTO all_results SELECT {at}, * FROM ({query})", [names])
    except duckdb.Error:
        raise SacdoctorError(
            "it holds no results of scan --format jsonl or parquet", path
        ) from None


def _question(path: Path) -> tuple[str, list[str]]:
    """Return how a file is read, and the names that it is read by."""
    try:
        if path.is_dir():
            parts = [str(part) for part in sorted(path.glob("*.parquet"))]
            if not parts:
                raise SacdoctorError("the folder holds no .parquet file", path)
            return _PARQUET, [*map(_literal, parts)]
        with path.open("rb") as file:
            start = file.read(len(_MAGIC))
            file.seek(0)
            first = b"" if start == _MAGIC else file.readline(64 * 1024**2)
    except OSError as error:
        raise unopened(error).at(path) from None
    if start == _MAGIC:
        return _PARQUET, [_literal(str(path))]
    _refuse_other_than_results(first, path)
    return _LINES, [_literal(str(path))]


def _refuse_other_than_results(line: bytes, path: Path) -> None:
    try:
        known = {"path", "status", "findings"} <= json.loads(line).keys()
    except (AttributeError, ValueError):
        known = False
    if not known:
        raise SacdoctorError("it holds no results of scan --format jsonl or parquet", path)


def _literal(name: str) -> str:
    """Return a name that DuckDB takes for a file, not for a pattern."""
    return "".join(f"[{one}]" if one in "*?[" else one for one in name)


def _grouped(rows: Iterable[tuple[Any, ...]]) -> dict[str | None, dict[str, int]]:
    groups: dict[str | None, dict[str, int]] = {}
    for group, status, count in rows:
        groups.setdefault(group, {})[status] = count
    return groups
