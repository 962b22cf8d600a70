//! The limits and habits of SQL databases.

use std::time::Duration;

use canopy_backend::sql::SqlLimits;

/// What databases, statements and results may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlSettings {
    /// What one statement may use. Defaults: 128 KiB of text, 1 MiB of a value or a row, 1,000
    /// parameters, 1,000 statements of a batch, 4 MiB of a row of a result, 1,000,000 rows and 64 MiB
    /// of a result, 8 MiB of one that is handed over as a list.
    pub limits: SqlLimits,
    /// Time that a statement runs, without that in which its rows wait to be taken. Default: 5 s.
    pub statement_time: Duration,
    /// How long a transaction, or a result that is not read to its end, may hold its connection.
    /// Default: 20 s.
    pub transaction_time: Duration,
    /// How long a statement waits to begin: for the database's writer, for a connection, for a
    /// thread. Then it is [`canopy_backend::sql::SqlError::Busy`]. Default: 5 s.
    pub wait: Duration,
    /// Bytes of memory that SQLite may take for one statement beside the pages that its connection
    /// keeps: for sorting, for what it may have to undo. Default: 32 MiB.
    pub statement_memory_bytes: u64,
    /// Bytes of memory that all statements of one tenant take together, beside 1 MiB for each. Default:
    /// 64 MiB; beyond it a statement that needs more is
    /// [`canopy_backend::sql::SqlError::Busy`].
    pub tenant_memory_bytes: u64,
    /// The same for all statements of the node. Default: 512 MiB.
    pub node_memory_bytes: u64,
    /// Columns of a table, a result or an index. Default: 500.
    pub columns: u32,
    /// Depth of an expression. Default: 100.
    pub expression_depth: u32,
    /// `SELECT`s joined by `UNION` and the like. Default: 50.
    pub compound_selects: u32,
    /// Instructions of a compiled statement. Default: 100,000.
    pub program_instructions: u32,
    /// Arguments of a function. Default: 100.
    pub function_arguments: u32,
    /// Bytes of a pattern of `LIKE` or `GLOB`. Default: 1,000.
    pub pattern_bytes: u32,
    /// Depth of triggers that set off triggers. Default: 20.
    pub trigger_depth: u32,
    /// Connections of one database that read or are in a transaction at once; one more writes.
    /// Default: 8.
    pub readers: usize,
    /// Statements of one tenant that run at once. Default: 16.
    pub tenant_statements: usize,
    /// Statements of the node that run at once, each on a thread of its own. Default: 64.
    pub node_statements: usize,
    /// Connections that the node has open; each takes 3 file descriptors and
    /// [`SqlSettings::cache_bytes`]. Beyond that idle ones are closed. Default: 256.
    pub open_connections: usize,
    /// Time without use after which a connection is closed. Default: 30 s.
    pub idle_close: Duration,
    /// Bytes of pages that a connection keeps in memory. Default: 2 MiB.
    pub cache_bytes: u64,
    /// Compiled statements that a connection keeps. Default: 64.
    pub cached_statements: usize,
    /// Time that the migrations of one version may take together. Default: 60 s.
    pub migration_time: Duration,
    /// As [`SqlSettings::statement_memory_bytes`], for a statement of a migration. Default:
    /// 256 MiB.
    pub migration_memory_bytes: u64,
}

impl Default for SqlSettings {
    fn default() -> Self {
        Self {
            limits: SqlLimits {
                statement_bytes: 128 << 10,
                value_bytes: 1 << 20,
                parameters: 1_000,
                batch_statements: 1_000,
                row_bytes: 4 << 20,
                result_rows: 1_000_000,
                result_bytes: 64 << 20,
                list_bytes: 8 << 20,
            },
            statement_time: Duration::from_secs(5),
            transaction_time: Duration::from_secs(20),
            wait: Duration::from_secs(5),
            statement_memory_bytes: 32 << 20,
            tenant_memory_bytes: 64 << 20,
            node_memory_bytes: 512 << 20,
            columns: 500,
            expression_depth: 100,
            compound_selects: 50,
            program_instructions: 100_000,
            function_arguments: 100,
            pattern_bytes: 1_000,
            trigger_depth: 20,
            readers: 8,
            tenant_statements: 16,
            node_statements: 64,
            open_connections: 256,
            idle_close: Duration::from_secs(30),
            cache_bytes: 2 << 20,
            cached_statements: 64,
            migration_time: Duration::from_secs(60),
            migration_memory_bytes: 256 << 20,
        }
    }
}

impl SqlSettings {
    /// The first setting that can't work, and why.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        if self.readers == 0 {
            Some("readers must be at least 1")
        } else if self.tenant_statements == 0 || self.node_statements == 0 {
            Some("tenant_statements and node_statements must be at least 1")
        } else if self.open_connections < 2 {
            Some("open_connections must be at least 2")
        } else if self.limits.value_bytes < 4096 || self.limits.value_bytes > 512 << 20 {
            Some("limits.value_bytes must be 4 KiB to 512 MiB")
        } else if self.limits.statement_bytes > 16 << 20 {
            Some("limits.statement_bytes must be at most 16 MiB")
        } else if self.limits.parameters > 32_766 {
            Some("limits.parameters must be at most 32766")
        } else if self.statement_memory_bytes < 1 << 20 || self.migration_memory_bytes < 1 << 20 {
            Some("statement_memory_bytes and migration_memory_bytes must be at least 1 MiB")
        } else if self.limits.row_bytes < self.limits.value_bytes as u64 {
            Some("limits.row_bytes must be at least limits.value_bytes")
        } else if self.columns < 16 || self.expression_depth < 10 || self.compound_selects < 2 {
            Some("columns, expression_depth and compound_selects must be at least 16, 10 and 2")
        } else {
            None
        }
    }
}
