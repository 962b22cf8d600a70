//! What SQL may do that comes from an application.
//!
//! The threat: a statement that reaches out of its own database file (other files, extensions, the
//! process), that turns off what protects the file (its schema, its journal, its key), that changes
//! what the platform keeps in it, or that leaves something behind on a connection which the next
//! statement, of another request, meets. SQLite asks about every action of a statement when it
//! compiles it, also within views, triggers and the statements of virtual tables. What is not
//! allowed here by name is refused.

use rusqlite::hooks::{AuthAction, AuthContext, TransactionOperation};

/// The platform's own table in every database.
pub(crate) const MIGRATIONS: &str = "canopy_migration";

/// Modules of which an application may make tables.
const MODULES: &[&str] = &["fts5", "fts5vocab", "rtree", "rtree_i32"];

/// Tables that SQLite makes up, about the inside of the file and of the connection.
const INTERNALS: &[&str] = &[
    "dbstat",
    "sqlite_dbpage",
    "sqlite_dbptr",
    "sqlite_dbdata",
    "sqlite_stmt",
    "bytecode",
    "tables_used",
];

/// Functions that reach out of the database.
const FUNCTIONS: &[&str] = &[
    "load_extension",
    "fts3_tokenizer",
    "sqlcipher_export",
    "readfile",
    "writefile",
    "edit",
];

/// Settings that may be asked about, with an argument or without.
const PRAGMAS: &[&str] = &[
    "collation_list",
    "compile_options",
    "defer_foreign_keys",
    "foreign_key_check",
    "foreign_key_list",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "module_list",
    "pragma_list",
    // What `ALTER TABLE` asks for when a column with a rule is added to a table.
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
];

/// Settings that may be read and not set.
const READ_ONLY_PRAGMAS: &[&str] = &[
    "data_version",
    "encoding",
    "foreign_keys",
    "freelist_count",
    "page_count",
    "page_size",
];

const TEMPORARY: &str = "temporary tables, views and triggers are closed to applications: the next \
                         statement may run on another connection";

/// Why what `context` says is refused, or `None` if it is not.
pub(crate) fn refusal(context: &AuthContext<'_>) -> Option<String> {
    use AuthAction as A;
    match context.action {
        // `CREATE TABLE temp.x` is no CREATE TEMP TABLE to SQLite.
        A::CreateTable { .. }
        | A::CreateIndex { .. }
        | A::CreateTrigger { .. }
        | A::CreateView { .. }
        | A::CreateVtable { .. }
            if context.database_name.is_some_and(is_not_main) =>
        {
            Some(TEMPORARY.into())
        }
        A::AlterTable { database_name, .. } if is_not_main(database_name) => Some(TEMPORARY.into()),
        A::Select | A::Recursive | A::Analyze { .. } | A::Reindex { .. } => None,
        A::Savepoint { .. } => None,
        A::Function { function_name } => listed(FUNCTIONS, function_name)
            .then(|| format!("the function {function_name} is closed to applications")),
        A::Read { table_name, .. } => internal(table_name).or_else(|| own(table_name)),
        A::Insert { table_name }
        | A::Delete { table_name }
        | A::Update { table_name, .. }
        | A::CreateTable { table_name }
        | A::DropTable { table_name }
        | A::AlterTable { table_name, .. }
        | A::CreateIndex { table_name, .. }
        | A::DropIndex { table_name, .. }
        | A::CreateTrigger { table_name, .. }
        | A::DropTrigger { table_name, .. } => own(table_name),
        A::CreateView { view_name } | A::DropView { view_name } => own(view_name),
        A::CreateVtable {
            table_name,
            module_name,
        }
        | A::DropVtable {
            table_name,
            module_name,
        } => match listed(MODULES, module_name) {
            true => own(table_name),
            false => Some(format!(
                "virtual tables of {module_name} are closed to applications: those of {} are open",
                MODULES.join(", ")
            )),
        },
        A::Pragma {
            pragma_name,
            pragma_value,
        } => pragma(pragma_name, pragma_value),
        A::Attach { .. } | A::Detach { .. } => Some(
            "ATTACH and DETACH are closed to applications: a statement sees one database".into(),
        ),
        A::CreateTempTable { .. }
        | A::CreateTempIndex { .. }
        | A::CreateTempTrigger { .. }
        | A::CreateTempView { .. }
        | A::DropTempTable { .. }
        | A::DropTempIndex { .. }
        | A::DropTempTrigger { .. }
        | A::DropTempView { .. } => Some(TEMPORARY.into()),
        A::Transaction { operation } => Some(format!(
            "{} is no statement here: a transaction is begun and ended by the interface's own \
             functions",
            match operation {
                TransactionOperation::Begin => "BEGIN",
                TransactionOperation::Rollback => "ROLLBACK",
                _ => "COMMIT",
            }
        )),
        _ => Some("the statement does something that is closed to applications".into()),
    }
}

fn pragma(name: &str, value: Option<&str>) -> Option<String> {
    if listed(PRAGMAS, name) || (value.is_none() && listed(READ_ONLY_PRAGMAS, name)) {
        return None;
    }
    Some(match value.is_some() && listed(READ_ONLY_PRAGMAS, name) {
        true => format!("PRAGMA {name} can be read but not set"),
        false => format!("PRAGMA {name} is closed to applications"),
    })
}

fn is_not_main(database: &str) -> bool {
    !database.eq_ignore_ascii_case("main")
}

fn internal(table: &str) -> Option<String> {
    listed(INTERNALS, table).then(|| format!("the table {table} is closed to applications"))
}

fn own(table: &str) -> Option<String> {
    table
        .eq_ignore_ascii_case(MIGRATIONS)
        .then(|| format!("the table {MIGRATIONS} is the platform's own"))
}

fn listed(names: &[&str], name: &str) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}
