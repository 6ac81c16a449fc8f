"""The words of Redshift and PostgreSQL, and which of them the stand-in knows in a query."""

from __future__ import annotations

_REDSHIFT = """
aes128 aes256 all allowoverwrite analyse analyze and any array as asc authorization az64 backup between binary
blanksasnull both bytedict bzip2 case cast check collate column constraint create credentials cross current_date
current_time current_timestamp current_user current_user_id default deferrable deflate defrag delta delta32k desc
disable distinct do else emptyasnull enable encode encrypt encryption end except explicit false for foreign freeze
from full globaldict256 globaldict64k grant group gzip having identity ignore ilike in initially inner intersect
interval into is isnull join language leading left like limit localtime localtimestamp lun luns lzo lzop minus
mostly16 mostly32 mostly8 natural new not notnull null nulls off offline offset oid old on only open or order outer
overlaps parallel partition percent permissions pivot placing primary raw readratio recover references respect
rejectlog resort restore right select session_user similar snapshot some sysdate system table tag tdes text255
text32k then timestamp to top trailing true truncatecolumns union unique unnest unpivot user using verbose wallet
when where with without
"""
_POSTGRES = """
asymmetric collation concurrently current_catalog current_role current_schema fetch lateral returning symmetric
system_user tablesample variadic window
"""
_CLAUSES = """
recursive materialized rows range groups filter within grouping sets rollup cube qualify connect exclude ordinality
conflict overriding normalized uescape escape overlay position substring trim xmlelement merge call
execute copy unload sysdate insert update delete values set over
"""
_SCALARS = """
coalesce nullif cast extract greatest least length len octet_length lower upper date_trunc row_number
json_extract_path_text
"""
_BEFORE_PARENTHESIS = """
select distinct from where by having limit offset union all except intersect as on using join and or not in exists
between like ilike case when then else values over
"""
_SYSTEM_COLUMNS = "ctid xmin xmax cmin cmax tableoid"

_KNOWN = """
select distinct all from where group by having order asc desc nulls limit offset union except intersect with as on
using join inner left right full outer cross and or not in exists between like ilike is null true false case when
then else end into values default set update delete insert cast over partition interval timestamp
"""

KEYWORDS = frozenset(_KNOWN.split())
"""Words of a query's grammar that are emulated."""
UNKNOWN = frozenset(f"{_REDSHIFT} {_POSTGRES} {_CLAUSES} {_SYSTEM_COLUMNS}".split()) - KEYWORDS
"""Words that have a meaning on either server which is not emulated."""

AGGREGATES = frozenset({"count", "sum", "min", "max", "avg"})
LAST_COUNTS = frozenset({"pg_last_copy_count", "pg_last_unload_count"})
FUNCTIONS = AGGREGATES | LAST_COUNTS | frozenset(_SCALARS.split())
EXTRACTED = frozenset({"year", "quarter", "month", "day", "hour", "minute"})
GROUPING = frozenset(_BEFORE_PARENTHESIS.split())
"""Words that a parenthesis may follow which is no call."""
CATALOG = frozenset({"tables", "columns", "schemata"})
"""Relations of information_schema that may be read."""
