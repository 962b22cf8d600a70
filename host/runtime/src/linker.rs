//! What a component's imports are linked to.

use canopy_engine::Engine;
use wasmtime::component::Linker;
use wasmtime_wasi::p2::bindings::LinkOptions;
use wasmtime_wasi_tls::p2::LinkOptions as TlsOptions;

use crate::guest::GuestState;

/// Linkers with what every component has. Made once per node.
pub(crate) struct Platform {
    base: Linker<GuestState>,
    p3_enabled: bool,
}

impl Platform {
    pub(crate) fn new(engine: &Engine) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(engine.raw());
        // The platform's own look-up of names replaces wasmtime's.
        linker.allow_shadowing(true);

        let mut options = LinkOptions::default();
        options.network_error_code(true);
        wasmtime_wasi::p2::add_to_linker_with_options_async(&mut linker, &options)?;
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
        linker.allow_shadowing(false);
        Ok(Self {
            base: linker,
            p3_enabled: engine.settings().p3_enabled,
        })
    }

    /// A linker with everything that the platform serves, but for packages that are bound to a
    /// driver.
    pub(crate) fn linker(
        &self,
        is_bound: impl Fn(&str) -> bool,
    ) -> wasmtime::Result<Linker<GuestState>> {
        let mut linker = self.base.clone();
        if !is_bound("wasi:config") {
            canopy_capability_config::add_to_linker(&mut linker, GuestState::config)?;
        }
        if !is_bound("wasi:logging") {
            canopy_capability_log::add_to_linker(&mut linker, GuestState::log)?;
        }
        if !is_bound("wasi:blobstore") {
            canopy_capability_blobs::add_draft_to_linker(&mut linker, GuestState::blobs)?;
        }
        if !is_bound("wasi:keyvalue") {
            canopy_capability_keyvalue::add_wasi_to_linker(&mut linker, GuestState::keyvalue)?;
        }
        if !is_bound("fermyon:spin") {
            canopy_capability_sql::add_spin2_to_linker(&mut linker, GuestState::sql)?;
            canopy_capability_keyvalue::add_spin2_to_linker(&mut linker, GuestState::keyvalue)?;
        }
        if self.p3_enabled && !is_bound("spin:key-value") {
            canopy_capability_keyvalue::add_spin3_to_linker(&mut linker, GuestState::keyvalue)?;
        }
        if self.p3_enabled && !is_bound("spin:sqlite") {
            canopy_capability_sql::add_spin3_to_linker(&mut linker, GuestState::sql)?;
        }
        if !is_bound("canopy:networking") {
            canopy_capability_messages::add_canopy_to_linker(&mut linker, GuestState::messages)?;
        }
        if !is_bound("wasmcloud:messaging") {
            canopy_capability_messages::add_wasmcloud_to_linker(&mut linker, GuestState::messages)?;
        }
        if self.p3_enabled && !is_bound("canopy:storage") {
            canopy_capability_sql::add_storage_to_linker(&mut linker, GuestState::sql)?;
            canopy_capability_keyvalue::add_canopy_to_linker(&mut linker, GuestState::keyvalue)?;
            canopy_capability_blobs::add_storage_to_linker(&mut linker, GuestState::blobs)?;
        }
        Ok(linker)
    }
}
