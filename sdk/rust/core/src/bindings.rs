//! Generated bindings of the interfaces that have a module of their own in this crate.
//!
//! An interface that a component does not use is left out of the component, so linking this crate
//! asks the platform for nothing.

#![allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    unused_qualifications,
    clippy::all,
    reason = "generated code"
)]

wit_bindgen::generate!({
    inline: "
        package canopy:sdk;

        world sdk {
            import canopy:tenant/identity@0.1.0;
            import wasi:config/store@0.2.0-rc.1;
            import wasi:logging/logging@0.1.0-draft;
        }
    ",
    path: [
        "../../../wit/tenant/0.1.0",
        "../../../wit/deps/config-0.2.0-rc.1",
        "../../../wit/deps/logging-0.1.0-draft",
    ],
    generate_all,
});
