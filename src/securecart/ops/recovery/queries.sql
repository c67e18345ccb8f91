-- name: tables
-- Every table of the schema public as JSON, a partitioned one as a whole: columns, primary key, checks, size.
SELECT json_build_object(
    'name', class.relname,
    'columns', (
        SELECT json_agg(json_build_object(
            'name', attname, 'type', format_type(atttypid, atttypmod), 'generated', attgenerated <> '', 'identity', attidentity <> ''
        ) ORDER BY attnum)
        FROM pg_attribute WHERE attrelid = class.oid AND attnum > 0 AND NOT attisdropped
    ),
    'key', coalesce((
        SELECT json_agg(attname ORDER BY place)
        FROM pg_index
        CROSS JOIN LATERAL unnest(indkey::int2[]) WITH ORDINALITY AS part (number, place)
        JOIN pg_attribute ON attrelid = class.oid AND attnum = part.number
        WHERE indrelid = class.oid AND indisprimary AND place <= indnkeyatts
    ), '[]'),
    'bytes', pg_relation_size(class.oid)
        + (SELECT coalesce(sum(pg_relation_size(relid)), 0) FROM pg_partition_tree(class.oid) WHERE relid <> class.oid),
    'checks', coalesce((
        SELECT json_agg(pg_get_expr(conbin, conrelid) ORDER BY conname) FROM pg_constraint WHERE conrelid = class.oid AND contype = 'c'
    ), '[]')
)::text AS found
FROM pg_class AS class
WHERE class.relnamespace = 'public'::regnamespace AND class.relkind IN ('r', 'p') AND NOT class.relispartition
ORDER BY class.relname;

-- name: foreign_keys
-- Which columns of which table name which columns of which other one.
SELECT
    conname AS name, child.relname AS table, parent.relname AS parent,
    (
        SELECT array_agg(attname::text ORDER BY place)
        FROM unnest(conkey) WITH ORDINALITY AS part (number, place)
        JOIN pg_attribute ON attrelid = conrelid AND attnum = part.number
    ) AS columns,
    (
        SELECT array_agg(attname::text ORDER BY place)
        FROM unnest(confkey) WITH ORDINALITY AS part (number, place)
        JOIN pg_attribute ON attrelid = confrelid AND attnum = part.number
    ) AS parent_columns
FROM pg_constraint
JOIN pg_class AS child ON child.oid = conrelid
JOIN pg_class AS parent ON parent.oid = confrelid
WHERE contype = 'f' AND conparentid = 0
  AND child.relnamespace = 'public'::regnamespace AND parent.relnamespace = 'public'::regnamespace
ORDER BY conname;

-- name: uniques
-- Every unique index of a table, the primary key's too: its parts as expressions, and the condition of a partial one.
SELECT
    index.relname AS name, class.relname AS table, coalesce(pg_get_expr(indpred, indrelid), '') AS condition,
    (SELECT array_agg(pg_get_indexdef(indexrelid, part, true) ORDER BY part) FROM generate_series(1, indnkeyatts) AS part) AS parts
FROM pg_index
JOIN pg_class AS index ON index.oid = indexrelid
JOIN pg_class AS class ON class.oid = indrelid
WHERE indisunique AND indisvalid AND class.relnamespace = 'public'::regnamespace AND NOT class.relispartition
ORDER BY class.relname, index.relname;
