//! The only place that generates bindings for this capability.

use wasmtime::component::{HasData, Linker};

use crate::ctx::MessagesView;

mod canopy {
    #![allow(missing_docs, unused_qualifications, reason = "generated code")]

    wasmtime::component::bindgen!({
        path: "../../../wit/networking/0.1.0",
        world: "canopy:networking/imports",
        imports: { default: async },
    });
}

mod wasmcloud {
    #![allow(missing_docs, unused_qualifications, reason = "generated code")]

    wasmtime::component::bindgen!({
        path: "../../../wit/deps/wasmcloud-messaging-0.2.0",
        inline: "
            package canopy:generated;
            world imports {
                import wasmcloud:messaging/consumer@0.2.0;
            }
        ",
        imports: { default: async },
    });
}

pub(crate) use canopy::canopy::networking::messages;
pub(crate) use wasmcloud::wasmcloud::messaging::{consumer, types};

struct Messages;

impl HasData for Messages {
    type Data<'a> = MessagesView<'a>;
}

/// Serves `canopy:networking/messages@0.1.0` to components linked by `linker`.
pub fn add_canopy_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> MessagesView<'_>,
) -> wasmtime::Result<()> {
    messages::add_to_linker::<T, Messages>(linker, view)
}

/// Serves `wasmcloud:messaging/consumer@0.2.0` to components linked by `linker`.
pub fn add_wasmcloud_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> MessagesView<'_>,
) -> wasmtime::Result<()> {
    types::add_to_linker::<T, Messages>(linker, view)?;
    consumer::add_to_linker::<T, Messages>(linker, view)
}
