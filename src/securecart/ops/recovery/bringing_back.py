"""Bring rows back into the live database: judged once more under lock, written in one transaction, checked.

They wait in temporary tables that end with the transaction: `before N` holds the rows of a table as they were, `chosen N`
says what is to be done with which.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import asyncpg

from securecart.errors import RecoveryRefused
from securecart.ops.recovery.comparing import Key
from securecart.ops.recovery.deciding import Facts, Plan, Policy, Spot, Wish, decide
from securecart.ops.recovery.lost_rows import Lost
from securecart.ops.recovery.schema import key_text, parents_first, quoted, row_hash, speak_alike
from securecart.patience import POSTGRES_LONG
from securecart.stores.postgres import Transaction

__all__ = ["Return"]

EXAMPLES = 3
LONG_S = POSTGRES_LONG.answer_s


class Return:
    """The way back of some rows, inside one transaction of the tables' owner.

    First `prepare`, which changes nothing that anybody sees; `plan` says what would be done. Then `carry_out`.
    """

    def __init__(self, tx: Transaction, lost: Lost, facts: Facts, policy: Policy, wish: Wish) -> None:
        self._tx = tx
        self._lost = lost
        self._shape = lost.shape
        self._facts = facts
        self._policy = policy
        self._wish = wish
        self._collisions: dict[Spot, str] = {}
        self._numbers: dict[str, int] = {}
        self.plan = decide(self._shape, policy, facts, wish)

    async def prepare(self) -> Plan:
        """Have the rows ready, and find what stands in their way by now."""
        await speak_alike(self._tx)
        for number, table in enumerate(sorted(self.plan.tables), 1):
            self._numbers[table] = number
            await self._load(table)
        for table in self._numbers:
            self._collisions |= await self._collisions_of(table) | await self._breaking(table)
        if self._collisions:
            await self._decide_again()
        return self.plan

    async def carry_out(self) -> Plan:
        """Write what the plan says; what turns out to have changed in this very moment becomes a conflict.

        `RecoveryRefused` when a row that was written is not what it was.
        """
        try:
            await self._carry_out()
        except asyncpg.IntegrityConstraintViolationError as error:
            why = str(error).partition("\n")[0]  # what follows may be a whole row
            raise RecoveryRefused(
                problem=f"PostgreSQL does not take the rows as they are now: {why}. Nothing was changed."
            ) from error
        return self.plan

    async def _carry_out(self) -> None:
        order = parents_first(self._shape, self._numbers, before_others=self._policy.first)
        for table in order:
            if table in self._policy.counters:
                await self._lock(table)
        for table in order:
            missed = await self._write(table) | await self._put_back(table) | await self._correct(table)
            if missed:
                self._collisions |= missed
                await self._decide_again()
            await self._check(table)

    async def _decide_again(self) -> None:
        """Decide with all that stands in the way by now."""
        self.plan = decide(self._shape, self._policy, self._facts, self._wish, self._collisions)
        for table in self._numbers:
            await self._choose(table)

    async def _load(self, table: str) -> None:
        """Fill the temporary tables of this table."""
        before, chosen, columns = self._before(table), self._chosen(table), self._lost.columns(table)
        listed = ", ".join(quoted(name) for name in columns)
        await self._tx.execute(
            f"CREATE TEMP TABLE {before} ON COMMIT DROP AS SELECT {listed} FROM {quoted(table)} WITH NO DATA"  # noqa: S608
        )
        keys = ", ".join(f"{quoted(name)} {self._type(table, name)}" for name in self._key(table))
        await self._tx.execute(
            f"CREATE TEMP TABLE {chosen} ({keys}, what text, number bigint, expected bigint, add bigint[]) ON COMMIT DROP"
        )
        await self._tx.copy_to_table(
            self._before_name(table), source=self._lost.file(table), columns=columns, schema_name="pg_temp", timeout=LONG_S
        )
        await self._choose(table)
        await self._tx.execute(f"ANALYZE {before}")

    async def _choose(self, table: str) -> None:
        """Make `chosen` what the plan says by now."""
        facts, plan, chosen = self._facts[table], self.plan, self._chosen(table)
        await self._tx.execute(f"TRUNCATE {chosen}")
        if wanted := plan.write.get(table):
            await self._add_chosen(table, "write", wanted, [facts[key].before for key in wanted])
        if put_back := plan.put_back.get(table):
            await self._add_chosen(
                table, "put back", list(put_back), [facts[key].before for key in put_back], list(put_back.values())
            )
        if correct := plan.correct.get(table):
            for what, there in (("correct", True), ("add", False)):
                keys = [key for key in correct if (facts[key].after is not None) is there]
                if keys:
                    adding = ["{" + ",".join(map(str, correct[key][0])) + "}" for key in keys]
                    others = [correct[key][1] for key in keys]
                    await self._add_chosen(table, what, keys, [facts[key].before for key in keys], others, adding)
        await self._tx.execute(f"ANALYZE {chosen}")

    async def _add_chosen(
        self, table: str, what: str, keys: Sequence[Key], numbers: list[int], *more: list[int] | list[str]
    ) -> None:
        """Rows for `chosen`: by key, the number of each before; then the number that it must still have, and what to add."""
        key = self._key(table)
        kinds = [*("text" for _ in key), "bigint", *("bigint", "text")[: len(more)]]
        names = [*(f"k{place}" for place, _ in enumerate(key, 1)), "number", *("expected", "add")[: len(more)]]
        picked = [f"{name}::{self._type(table, column)}" for name, column in zip(names, key, strict=False)]
        picked += [f"{name}::bigint[]" if name == "add" else name for name in names[len(key) :]]
        into = [*map(quoted, key), *names[len(key) :], "what"]
        given = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(kinds, 1))
        await self._tx.execute(
            f"INSERT INTO {self._chosen(table)} ({', '.join(into)}) "  # noqa: S608 - names are quoted
            f"SELECT {', '.join(picked)}, ${len(kinds) + 1} "
            f"FROM unnest({given}) AS given ({', '.join(names)})",
            *(list(column) for column in zip(*keys, strict=True)),
            numbers,
            *more,
            what,
            timeout=LONG_S,
        )

    async def _collisions_of(self, table: str) -> dict[Spot, str]:
        """Rows whose place is taken by another one: of the same key, the same e-mail address, whatever must be unique."""
        found: dict[Spot, str] = {}
        width = len(self._key(table))
        for unique in self._shape.uniques_of(table):
            if not self.plan.write.get(table) and tuple(part.strip('"') for part in unique.parts) == self._key(table):
                continue  # rows that are there have their keys
            ours, theirs = key_text(self._key(table)), key_text(self._key(table))
            parts = ", ".join(f"({part}) AS u{place}" for place, part in enumerate(unique.parts, 1))
            condition = f"WHERE {unique.condition}" if unique.condition else ""
            same = " AND ".join(f"ours.u{place} = theirs.u{place}" for place in range(1, len(unique.parts) + 1))
            key_differs = " OR ".join(f"ours.k{place} <> theirs.k{place}" for place in range(1, width + 1))
            told = ", ".join(f"{whose}.k{place}" for whose in ("ours", "theirs") for place in range(1, width + 1))
            await self._tx.execute("SAVEPOINT looking")
            try:
                rows = await self._tx.fetch(
                    f"SELECT {told} FROM (SELECT {ours}, what, {parts} FROM ("  # noqa: S608 - the catalogue's own expressions
                    f"SELECT before.*, chosen.what FROM {self._before(table)} AS before JOIN {self._chosen(table)} AS chosen "
                    f"ON {self._meets(table, 'before', 'chosen')}) AS t {condition}) AS ours "
                    f"JOIN (SELECT {theirs}, {parts} FROM {quoted(table)} AS t {condition}) AS theirs ON {same} "
                    f"WHERE ours.what = 'write' OR ours.what = 'put back' AND ({key_differs})",
                    timeout=LONG_S,
                )
            except asyncpg.UndefinedColumnError:  # made of a column that came since: the index itself will tell
                await self._tx.execute("ROLLBACK TO looking")
                continue
            named = ", ".join(part.strip('"') for part in unique.parts)
            for row in rows:
                key, other = tuple(row[:width]), tuple(row[width:])
                found[table, key] = (
                    "it is there again" if key == other else f"its {named} belongs to {table} {', '.join(other)} by now"
                )
        return found

    async def _lock(self, table: str) -> None:
        """Lock the rows that will change, in the order of their keys, as everybody does."""
        key = ", ".join(f"t.{quoted(name)}" for name in self._key(table))
        await self._tx.execute(
            f"SELECT FROM {quoted(table)} AS t JOIN {self._chosen(table)} AS chosen ON {self._meets(table, 't', 'chosen')} "
            f"WHERE chosen.what <> 'write' ORDER BY {key} FOR UPDATE OF t",
            timeout=LONG_S,
        )

    async def _write(self, table: str) -> dict[Spot, str]:
        if not self.plan.write.get(table):
            return {}
        columns = self._lost.columns(table)
        written = await self._tx.execute(
            f"INSERT INTO {quoted(table)} AS t ({', '.join(map(quoted, columns))}) OVERRIDING SYSTEM VALUE "  # noqa: S608
            f"SELECT {', '.join(f'before.{quoted(name)}' for name in columns)} FROM {self._before(table)} AS before "
            f"JOIN {self._chosen(table)} AS chosen ON {self._meets(table, 'before', 'chosen')} AND chosen.what = 'write' "
            f"ORDER BY {', '.join(f'before.{quoted(name)}' for name in self._key(table))} "
            f"ON CONFLICT DO NOTHING",
            timeout=LONG_S,
        )
        return await self._missed(table, "write", written, "its place was taken in this very moment")

    async def _put_back(self, table: str) -> dict[Spot, str]:
        if not self.plan.put_back.get(table):
            return {}
        columns = self._lost.columns(table)
        fixed = {*self._key(table), *(one.name for one in self._shape.tables[table].columns if one.identity)}
        setting = ", ".join(f"{quoted(name)} = before.{quoted(name)}" for name in columns if name not in fixed)
        done = await self._tx.execute(
            f"UPDATE {quoted(table)} AS t SET {setting} FROM {self._before(table)} AS before "  # noqa: S608
            f"JOIN {self._chosen(table)} AS chosen ON {self._meets(table, 'before', 'chosen')} AND chosen.what = 'put back' "
            f"WHERE {self._meets(table, 't', 'before')} AND {row_hash(columns)} = chosen.expected",
            timeout=LONG_S,
        )
        return await self._missed(table, "put back", done, "it was changed in this very moment")

    async def _correct(self, table: str) -> dict[Spot, str]:
        """Take the accident's part out of counters; what else the accident changed in these rows is put back."""
        wanted = self.plan.correct.get(table, {})
        if not wanted:
            return {}
        key = self._key(table)
        setting = ", ".join(f"{quoted(name)} = sound.{quoted(name)}" for name in self._lost.columns(table) if name not in key)
        done = await self._tx.fetch(
            f"UPDATE {quoted(table)} AS t SET {setting} FROM ({self._sound(table)}) AS sound "  # noqa: S608
            f"WHERE {self._meets(table, 't', 'sound')} RETURNING {key_text(key)}",
            timeout=LONG_S,
        )
        return _without(table, wanted, done, "it was changed in this very moment")

    async def _breaking(self, table: str) -> dict[Spot, str]:
        """Rows whose counters cannot be corrected, given what was counted since."""
        wanted = self.plan.correct.get(table, {})
        if not wanted:
            return {}
        statement = f"SELECT {key_text(self._key(table))} FROM ({self._sound(table)}) AS t"  # noqa: S608
        sound = await self._tx.fetch(statement, timeout=LONG_S)
        return _without(
            table, wanted, sound, f"with what was counted since it would break {' or '.join(self._shape.tables[table].checks)}"
        )

    def _sound(self, table: str) -> str:
        """SQL for the rows with corrected counters as they will be: those that meet what every row has to meet."""
        shape, counters, columns = self._shape.tables[table], self._policy.counters[table], self._lost.columns(table)
        corrected = []
        for name in shape.kept:
            column = quoted(name)
            if name in counters:
                corrected.append(f"(t.{column} + chosen.add[{counters.index(name) + 1}])::{shape.type_of(name)} AS {column}")
            elif name in columns and name not in shape.key:
                corrected.append(f"CASE chosen.what WHEN 'add' THEN t.{column} ELSE before.{column} END AS {column}")
            else:
                corrected.append(f"t.{column}")
        return (
            f"SELECT * FROM (SELECT {', '.join(corrected)} FROM {quoted(table)} AS t "  # noqa: S608
            f"JOIN {self._chosen(table)} AS chosen ON {self._meets(table, 't', 'chosen')} AND chosen.what IN ('correct', 'add') "
            f"AND {row_hash([name for name in columns if name not in counters])} = chosen.expected "
            f"JOIN {self._before(table)} AS before ON {self._meets(table, 'before', 'chosen')}) AS new "
            f"WHERE {' AND '.join(f'({check})' for check in shape.checks) or 'true'}"
        )

    async def _check(self, table: str) -> None:
        """Every row that was written or put back is what it was; `RecoveryRefused`."""
        other = await self._unlike(table, ["write", "put back"])
        if other:
            examples = "; ".join(", ".join(key) for key in other[:EXAMPLES])
            raise RecoveryRefused(problem=f"Rows of {table} would not be what they were ({examples}). Nothing was changed.")

    async def _missed(self, table: str, what: str, said: str, why: str) -> dict[Spot, str]:
        """The rows that a statement left out, given what PostgreSQL said of it: those that are not what they were."""
        wanted = len((self.plan.write if what == "write" else self.plan.put_back)[table])
        if int(said.rsplit(maxsplit=1)[-1]) == wanted:
            return {}
        return {(table, key): why for key in await self._unlike(table, [what])}

    async def _unlike(self, table: str, what: list[str]) -> list[Key]:
        """The chosen rows that are missing, or not what they were."""
        found = await self._tx.fetch(
            f"SELECT {key_text(self._key(table), 'chosen')} FROM {self._chosen(table)} AS chosen "  # noqa: S608
            f"LEFT JOIN {quoted(table)} AS t ON {self._meets(table, 't', 'chosen')} WHERE chosen.what = ANY ($1) "
            f"AND {row_hash(self._lost.columns(table))} IS DISTINCT FROM chosen.number",
            what,
            timeout=LONG_S,
        )
        return [tuple(row) for row in found]

    def _key(self, table: str) -> tuple[str, ...]:
        return self._shape.tables[table].key

    def _type(self, table: str, column: str) -> str:
        return self._shape.tables[table].type_of(column)

    def _before_name(self, table: str) -> str:
        return f"before {self._numbers[table]}"

    def _before(self, table: str) -> str:
        return f"pg_temp.{quoted(self._before_name(table))}"

    def _chosen(self, table: str) -> str:
        return f"pg_temp.{quoted(f'chosen {self._numbers[table]}')}"

    def _meets(self, table: str, one: str, other: str) -> str:
        return " AND ".join(f"{one}.{quoted(name)} = {other}.{quoted(name)}" for name in self._key(table))


def _without(table: str, wanted: Iterable[Key], done: Sequence[asyncpg.Record], why: str) -> dict[Spot, str]:
    there = {tuple(row) for row in done}
    return {(table, key): why for key in wanted if key not in there}
