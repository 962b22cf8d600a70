//! Generated bindings of storage and of messages.

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
        package canopy:sdk-more;

        world more {
            import wasi:keyvalue/store@0.2.0-draft;
            import wasi:keyvalue/atomics@0.2.0-draft;
            import wasi:keyvalue/batch@0.2.0-draft;
            import canopy:networking/messages@0.1.0;
        }
    ",
    path: ["../../wit/deps/keyvalue-0.2.0-draft", "../../wit/networking/0.1.0"],
    generate_all,
});

/// The platform's own storage in full.
#[cfg(feature = "storage")]
pub(crate) mod storage {
    wit_bindgen::generate!({
        inline: "
            package canopy:sdk-storage;

            world storage {
                import canopy:storage/key-value@0.1.0;
                import canopy:storage/blobs@0.1.0;
                import canopy:storage/sql@0.1.0;
            }
        ",
        path: ["../../wit/storage/0.1.0"],
        generate_all,
    });

    pub(crate) use canopy::storage::{blobs, key_value, sql};
}
