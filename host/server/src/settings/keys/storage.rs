//! What is kept: keys, values, objects and databases.

use super::Key;
use crate::settings::value;

keys! {
    text "keys.operator_key_file" => keys.operator_key_file as option:
        "File of the key that wraps all others; operator.key in the data folder if not set. The first start makes it. Better kept on another disk than the data.";
    list "keys.operator_key_command" => keys.operator_key_command:
        "Program that prints that key, and its arguments, in place of the file.";
    time "keys.operator_key_timeout" => keys.operator_key_timeout:
        "Time for that program.";
    text "keys.previous_operator_key_file" => keys.previous_operator_key_file as option:
        "File of the key before, to change it: the next start wraps all keys with the new one. Then remove the setting and the file.";

    size "storage.bucket_name" => storage.limits.bucket_name_bytes:
        "A bucket's name.";
    size "storage.key" => storage.limits.key_bytes:
        "A key.";
    size "storage.value" => storage.limits.value_bytes:
        "A value.";
    count "storage.batch_keys" => storage.limits.batch_keys:
        "Keys of one operation.";
    size "storage.batch" => storage.limits.batch_bytes:
        "Keys and values of one operation together.";
    count "storage.page_keys" => storage.limits.page_keys:
        "Keys of one page of a listing.";
    count "storage.open_databases" => storage.open_databases:
        "Databases open at once; each takes 3 file descriptors and 3 more for each reader in use.";
    count "storage.tenant_databases" => storage.tenant_databases:
        "Databases of one tenant open at once; for a further one the tenant's own used least recently is closed.";
    time "storage.open_wait" => storage.open_wait:
        "How long an operation waits for a database to be opened when all are in use.";
    time "storage.idle_close" => storage.idle_close:
        "Time without use after which a database is closed.";
    count "storage.readers" => storage.readers:
        "Readings of one database that go on at once.";
    size "storage.cache" => storage.cache_bytes:
        "Memory for pages, of each connection to a database.";
    count "storage.commit_writes" => storage.commit_writes:
        "Writes of one installation that are committed together.";
    size "storage.queue" => storage.queue_bytes:
        "Writes of one installation that wait to be committed; further ones wait to be let in.";

    size "blobs.name" => blobs.limits.name_bytes:
        "A container's or an object's name.";
    size "blobs.object" => blobs.limits.object_bytes:
        "An object put in one piece, or a part of one.";
    size "blobs.metadata" => blobs.limits.metadata_bytes:
        "Metadata and content type of an object.";
    count "blobs.parts" => blobs.limits.parts:
        "Parts of one upload, and the greatest number of one.";
    count "blobs.uploads" => blobs.limits.uploads:
        "Uploads in parts of one installation that are under way.";
    count "blobs.concurrent_writes" => blobs.limits.concurrent_writes:
        "Bodies of one installation that are written at once.";
    count "blobs.concurrent_reads" => blobs.limits.concurrent_reads:
        "Bodies of one installation that are read at once; each holds up to 512 KiB of memory.";
    count "blobs.batch" => blobs.limits.batch:
        "Objects named by one operation.";
    count "blobs.containers" => blobs.limits.containers:
        "Containers of one installation.";
    count "blobs.page" => blobs.limits.page:
        "Entries of one page of a listing.";
    size "blobs.page_bytes" => blobs.limits.page_bytes:
        "Names and metadata of one page of a listing of objects.";
    count "blobs.open_indexes" => blobs.open_stores:
        "Installations whose index of objects is open at once; each takes 3 file descriptors.";
    count "blobs.tenant_indexes" => blobs.tenant_stores:
        "Installations of one tenant whose index of objects is open at once; for a further one the tenant's own used least recently is closed.";
    time "blobs.open_wait" => blobs.open_wait:
        "How long an operation waits for an index to be opened when all are in use.";
    time "blobs.idle_close" => blobs.idle_close:
        "Time without use after which an index is closed.";
    time "blobs.upload_expiry" => blobs.upload_expiry:
        "Time after which an upload in parts to which nothing was added is removed.";
    size "blobs.cache" => blobs.cache_bytes:
        "Memory for pages of each open index.";
    size "blobs.sync" => runtime.blobs.sync_bytes:
        "A body that wasi:blobstore gives in one piece; longer ones are read as streams.";
    time "blobs.address_expiry" => runtime.blobs.address_expiry:
        "The longest time for which a pre-signed address works.";

    size "sql.statement" => sql.limits.statement_bytes:
        "Text of a SQL statement.";
    size "sql.value" => sql.limits.value_bytes:
        "A value, and a row as it is stored. Bounds what a single function of SQLite can take: see docs/sql.md before raising it.";
    count "sql.parameters" => sql.limits.parameters:
        "Parameters of a statement.";
    count "sql.batch" => sql.limits.batch_statements:
        "Statements of a batch.";
    size "sql.row" => sql.limits.row_bytes:
        "Bytes of a row of a result.";
    count "sql.result_rows" => sql.limits.result_rows:
        "Rows of a result.";
    size "sql.result" => sql.limits.result_bytes:
        "Bytes of a result.";
    size "sql.list" => sql.limits.list_bytes:
        "Bytes of a result that is handed over as one list, as spin:sqlite does.";
    time "sql.statement_time" => sql.statement_time:
        "Time that a statement runs, without that in which its rows wait to be taken.";
    time "sql.transaction_time" => sql.transaction_time:
        "How long a transaction, or a result that is not read to its end, may stay open.";
    time "sql.wait" => sql.wait:
        "How long a statement waits to begin: for the writer, a connection, a thread.";
    size "sql.memory" => sql.statement_memory_bytes:
        "Memory of a statement: for sorting, and for what it may have to undo.";
    size "sql.tenant_memory" => sql.tenant_memory_bytes:
        "Memory of all statements of one tenant together, beside 1 MiB for each.";
    size "sql.node_memory" => sql.node_memory_bytes:
        "Memory of all statements of the node together, beside 1 MiB for each.";
    count "sql.columns" => sql.columns:
        "Columns of a table, a result or an index.";
    count "sql.expression_depth" => sql.expression_depth:
        "Depth of an expression.";
    count "sql.compound_selects" => sql.compound_selects:
        "SELECTs joined by UNION and the like.";
    count "sql.instructions" => sql.program_instructions:
        "Instructions of a compiled statement.";
    count "sql.function_arguments" => sql.function_arguments:
        "Arguments of a function.";
    size "sql.pattern" => sql.pattern_bytes:
        "A pattern of LIKE or GLOB.";
    count "sql.trigger_depth" => sql.trigger_depth:
        "Depth of triggers that set off triggers.";
    count "sql.readers" => sql.readers:
        "Connections of one database that read or are in a transaction at once; one more writes.";
    count "sql.tenant_statements" => sql.tenant_statements:
        "Statements of one tenant that run at once.";
    count "sql.node_statements" => sql.node_statements:
        "Statements of the node that run at once, each on a thread of its own.";
    count "sql.open_connections" => sql.open_connections:
        "Open connections of the node; each takes 3 file descriptors. Beyond that idle ones are closed.";
    time "sql.idle_close" => sql.idle_close:
        "Time without use after which a connection is closed.";
    size "sql.cache" => sql.cache_bytes:
        "Memory for pages, of each connection.";
    count "sql.cached_statements" => sql.cached_statements:
        "Compiled statements that a connection keeps.";
    time "sql.migration_time" => sql.migration_time:
        "Time that the migrations of one version may take together.";
    size "sql.migration_memory" => sql.migration_memory_bytes:
        "Memory of a statement of a migration.";
}
