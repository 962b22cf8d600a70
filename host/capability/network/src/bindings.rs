//! The only place that generates bindings for this capability.
//!
//! Of WASI's own interfaces the look-up of names, sockets in part, and the handing over of requests of 0.2
//! are replaced: the first asks the resolver for granted names alone; of sockets, what makes them or
//! carries bytes is counted, for which TCP of 0.3 is ours as a whole; the third lets go of what it was
//! given. Of header fields, what makes them is counted. All else of sockets and HTTP is wasmtime's, steered by what [`crate::ctx`] gives it.

use wasmtime::component::{HasData, Linker};
use wasmtime_wasi::sockets::WasiSocketsView;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_tls::WasiTlsView;

use crate::ctx::NetworkView;
use crate::{fields, handed_over, new_sockets, p3_sockets, wasi_tls};

pub(crate) mod p2 {
    #![allow(missing_docs, unused_qualifications, reason = "generated code")]

    wasmtime::component::bindgen!({
        path: [
            "../../../wit/deps/io-0.2.12",
            "../../../wit/deps/clocks-0.2.12",
            "../../../wit/deps/sockets-0.2.12",
        ],
        inline: "
            package canopy:network-host;
            world lookup { import wasi:sockets/ip-name-lookup@0.2.12; }
        ",
        imports: { default: trappable },
        with: {
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "wasi:sockets/network": wasmtime_wasi::p2::bindings::sockets::network,
            "wasi:sockets/ip-name-lookup.resolve-address-stream": crate::lookup::Addresses,
        },
        require_store_data_send: true,
    });

    pub(crate) use wasi::sockets::ip_name_lookup;
    pub(crate) use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress, Network};
}

pub(crate) mod p3 {
    #![allow(missing_docs, unused_qualifications, reason = "generated code")]

    wasmtime::component::bindgen!({
        path: ["../../../wit/deps/clocks-0.3.0", "../../../wit/deps/sockets-0.3.0"],
        inline: "
            package canopy:network-host;
            world lookup { import wasi:sockets/ip-name-lookup@0.3.0; }
        ",
        imports: { default: trappable },
        with: { "wasi:sockets/types": wasmtime_wasi::p3::bindings::sockets::types },
        require_store_data_send: true,
    });

    pub(crate) use wasi::sockets::ip_name_lookup;
    pub(crate) use wasmtime_wasi::p3::bindings::sockets::types::IpAddress;
}

pub(crate) struct Lookup;

impl HasData for Lookup {
    type Data<'a> = NetworkView<'a>;
}

/// Replaces what makes sockets and carries their bytes, looks names up and hands requests over in a `linker` that has WASI 0.2
/// and allows shadowing.
pub fn add_p2_to_linker<T: WasiSocketsView + WasiHttpView + WasiTlsView + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> NetworkView<'_>,
) -> wasmtime::Result<()> {
    new_sockets::limit_p2(linker, view)?;
    handed_over::end_options(linker)?;
    fields::count_p2(linker, view)?;
    wasi_tls::count_names(linker, view)?;
    p2::ip_name_lookup::add_to_linker::<T, Lookup>(linker, view)
}

/// Replaces what makes sockets and carries their bytes, and looks names up, in a `linker` that has WASI
/// 0.3 and allows shadowing.
pub fn add_p3_to_linker<T: WasiSocketsView + WasiHttpView + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> NetworkView<'_>,
) -> wasmtime::Result<()> {
    p3_sockets::replace(linker, view)?;
    fields::count_p3(linker, view)?;
    p3::ip_name_lookup::add_to_linker::<T, Lookup>(linker, view)
}
