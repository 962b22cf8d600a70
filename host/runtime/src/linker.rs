//! What a component's imports are linked to.

use canopy_engine::Engine;
use canopy_ids::InterfaceName;
use wasmtime::component::Linker;
use wasmtime_wasi::p2::bindings::LinkOptions;
use wasmtime_wasi_tls::p2::LinkOptions as TlsOptions;

use crate::guest::GuestState;
use crate::io_error;
use crate::platform::{Storage, storage_of};

/// Linkers with what every component has. Made once per node.
pub(crate) struct Platform {
    base: Linker<GuestState>,
}

impl Platform {
    pub(crate) fn new(engine: &Engine) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(engine.raw());
        // Some of the platform's own functions replace wasmtime's.
        linker.allow_shadowing(true);

        let mut options = LinkOptions::default();
        options.network_error_code(true);
        wasmtime_wasi::p2::add_to_linker_with_options_async(&mut linker, &options)?;
        io_error::tell_reasons(&mut linker)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
        let mut options = TlsOptions::default();
        options.tls(true);
        wasmtime_wasi_tls::p2::add_to_linker(&mut linker, &options)?;
        canopy_capability_network::add_p2_to_linker(&mut linker, GuestState::network)?;

        if engine.settings().p3_enabled {
            wasmtime_wasi::p3::add_to_linker(&mut linker)?;
            wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
            wasmtime_wasi_tls::p3::add_to_linker(&mut linker)?;
            canopy_capability_network::add_p3_to_linker(&mut linker, GuestState::network)?;
        }

        canopy_capability_identity::add_to_linker(&mut linker, GuestState::identity)?;
        canopy_capability_config::add_to_linker(&mut linker, GuestState::config)?;
        canopy_capability_log::add_to_linker(&mut linker, GuestState::log)?;
        canopy_capability_blobs::add_draft_to_linker(&mut linker, GuestState::blobs)?;
        canopy_capability_keyvalue::add_wasi_to_linker(&mut linker, GuestState::keyvalue)?;
        canopy_capability_messages::add_canopy_to_linker(&mut linker, GuestState::messages)?;
        canopy_capability_messages::add_wasmcloud_to_linker(&mut linker, GuestState::messages)?;
        canopy_capability_sql::add_spin2_to_linker(&mut linker, GuestState::sql)?;
        canopy_capability_keyvalue::add_spin2_to_linker(&mut linker, GuestState::keyvalue)?;
        if engine.settings().p3_enabled {
            canopy_capability_keyvalue::add_spin3_to_linker(&mut linker, GuestState::keyvalue)?;
            canopy_capability_sql::add_spin3_to_linker(&mut linker, GuestState::sql)?;
            canopy_capability_sql::add_storage_to_linker(&mut linker, GuestState::sql)?;
            canopy_capability_keyvalue::add_canopy_to_linker(&mut linker, GuestState::keyvalue)?;
            canopy_capability_blobs::add_storage_to_linker(&mut linker, GuestState::blobs)?;
        }
        linker.allow_shadowing(false);
        Ok(Self { base: linker })
    }

    /// A linker with everything that the platform serves. What is defined in it later takes the
    /// place of the platform's: an interface that a driver serves has the import's own name.
    pub(crate) fn linker(&self) -> Linker<GuestState> {
        let mut linker = self.base.clone();
        linker.allow_shadowing(true);
        linker
    }

    /// Has the platform serve `interface` to the import named `label`.
    pub(crate) fn add_labelled(
        linker: &mut Linker<GuestState>,
        label: &str,
        interface: &InterfaceName,
    ) -> wasmtime::Result<()> {
        let name = interface.to_string();
        let instance = &mut linker.instance(label)?;
        let added = match storage_of(interface) {
            Some(Storage::KeyValue) => canopy_capability_keyvalue::add_one_to_linker(
                instance,
                &name,
                GuestState::keyvalue,
            )?,
            Some(Storage::Blobs) => {
                canopy_capability_blobs::add_one_to_linker(instance, &name, GuestState::blobs)?
            }
            Some(Storage::Sql) => {
                canopy_capability_sql::add_one_to_linker(instance, &name, GuestState::sql)?
            }
            None => false,
        };
        if added {
            Ok(())
        } else {
            Err(wasmtime::Error::msg(format!(
                "the platform does not serve `{interface}` under a label (`{label}`)"
            )))
        }
    }
}
