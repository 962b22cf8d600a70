//! The only place that generates bindings for this capability.

use wasmtime::component::{HasData, Linker, LinkerInstance};

use crate::ctx::SqlView;

pub(crate) mod storage {
    #![allow(missing_docs, unused_qualifications, reason = "generated code")]

    wasmtime::component::bindgen!({
        inline: "
            package canopy:sql-host;
            world host { import canopy:storage/sql@0.1.0; }
        ",
        path: "../../../wit/storage/0.1.0",
        imports: { default: async | trappable },
        with: {
            "canopy:storage/sql.database": crate::storage::Database,
            "canopy:storage/sql.transaction": crate::storage::Transaction,
        },
        trappable_error_type: { "canopy:storage/sql.error" => crate::failure::Failure },
    });

    pub(crate) use canopy::storage::sql::*;
}

pub(crate) mod spin {
    #![allow(missing_docs, unused_qualifications, reason = "generated code")]

    wasmtime::component::bindgen!({
        inline: "
            package canopy:sql-host;
            world host { import spin:sqlite/sqlite@3.1.0; }
        ",
        path: "../../../wit/deps/spin-sqlite-3.1.0",
        imports: { default: async | trappable },
        with: { "spin:sqlite/sqlite.connection": crate::session::Session },
    });

    pub(crate) use spin::sqlite::sqlite::*;
}

pub(crate) mod spin2 {
    #![allow(missing_docs, unused_qualifications, reason = "generated code")]

    wasmtime::component::bindgen!({
        inline: "
            package canopy:sql-host;
            world host { import fermyon:spin/sqlite@2.0.0; }
        ",
        path: "../../../wit/deps/fermyon-spin-2.0.0",
        imports: { default: async | trappable },
        with: { "fermyon:spin/sqlite.connection": crate::session::Session },
    });

    pub(crate) use fermyon::spin::sqlite::*;
}

/// How the bindings reach this capability's part of a store.
pub(crate) struct Capability;

impl HasData for Capability {
    type Data<'a> = SqlView<'a>;
}

/// Serves `canopy:storage/sql` to components linked by `linker`, whose engine has WASI 0.3.
pub fn add_storage_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> SqlView<'_>,
) -> wasmtime::Result<()> {
    storage::add_to_linker::<T, Capability>(linker, view)
}

/// Serves `spin:sqlite` to components linked by `linker`, whose engine has WASI 0.3.
pub fn add_spin3_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> SqlView<'_>,
) -> wasmtime::Result<()> {
    spin::add_to_linker::<T, Capability>(linker, view)
}

/// Serves `fermyon:spin/sqlite` to components linked by `linker`.
pub fn add_spin2_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> SqlView<'_>,
) -> wasmtime::Result<()> {
    spin2::add_to_linker::<T, Capability>(linker, view)
}

/// Serves `interface` as the import that `instance` stands for, under whatever name. `false`: it is
/// none of this capability's. Of `spin:sqlite` any 3.x counts; what it has more is missed when the
/// component is linked.
pub fn add_one_to_linker<T: Send + 'static>(
    instance: &mut LinkerInstance<'_, T>,
    interface: &str,
    view: fn(&mut T) -> SqlView<'_>,
) -> wasmtime::Result<bool> {
    let unversioned = interface.split('@').next().unwrap_or_default();
    match unversioned {
        "canopy:storage/sql" => storage::add_to_linker_instance::<T, Capability>(instance, view)?,
        "spin:sqlite/sqlite" => spin::add_to_linker_instance::<T, Capability>(instance, view)?,
        "fermyon:spin/sqlite" => spin2::add_to_linker_instance::<T, Capability>(instance, view)?,
        _ => return Ok(false),
    }
    Ok(true)
}
